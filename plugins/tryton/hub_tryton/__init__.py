"""Tryton (ERP) for Crossdock."""

from collections.abc import Sequence

from hub.sdk import Connector, hookimpl
from hub_tryton.connector import Tryton


@hookimpl
def hub_connectors() -> Sequence[type[Connector]]:
    """The connectors this plugin carries."""
    return [Tryton]
