"""Shopify (online shop, Shopify POS, inventory) for Crossdock."""

from collections.abc import Sequence

from hub.sdk import Connector, hookimpl
from hub_shopify.connector import Shopify


@hookimpl
def hub_connectors() -> Sequence[type[Connector]]:
    """The connectors this plugin carries."""
    return [Shopify]
