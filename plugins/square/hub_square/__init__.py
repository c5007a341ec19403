"""Square (tills, payments, inventory) for Crossdock."""

from collections.abc import Sequence

from hub.sdk import Connector, hookimpl
from hub_square.connector import Square


@hookimpl
def hub_connectors() -> Sequence[type[Connector]]:
    """The connectors this plugin carries."""
    return [Square]
