"""Tag `connectors`."""

from typing import Any

from hub.flow.context import Context
from hub.identity.api_keys import Client
from hub.marketplace.catalogue import catalogue


def list_connectors(ctx: Context, client: Client) -> dict[str, Any]:
    """Installed and quarantined ones."""
    return {"items": catalogue(ctx.plugins), "next_cursor": None}
