"""Tag `connectors`."""

from typing import Any

from hub.flow.context import Context
from hub.identity.api_keys import Client
from hub.marketplace.catalogue import catalogue, page


def list_connectors(ctx: Context, client: Client) -> dict[str, Any]:
    """Installed and quarantined ones."""
    return {"items": catalogue(ctx.plugins), "next_cursor": None}


def get_connector(ctx: Context, client: Client, connector: str) -> dict[str, Any]:
    """One, with its incidents and outcomes."""
    with ctx.store.read() as uow:
        return page(uow, ctx.plugins, client.tenant_id, connector)
