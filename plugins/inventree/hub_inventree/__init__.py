"""InvenTree (stock) for Crossdock."""

from collections.abc import Sequence

from hub.sdk import Connector, hookimpl
from hub_inventree.connector import InvenTree


@hookimpl
def hub_connectors() -> Sequence[type[Connector]]:
    """The connectors this plugin carries."""
    return [InvenTree]
