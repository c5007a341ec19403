"""Tag `contracts`: types and their use."""

from typing import Any

from hub.contracts.types import contracts
from hub.flow.context import Context
from hub.identity.api_keys import Client


def list_types(ctx: Context, client: Client) -> dict[str, Any]:
    """Canonical types with schema, digest and example."""
    return {"items": contracts()}


def usage(ctx: Context, client: Client) -> dict[str, Any]:
    """Who called what on which day."""
    with ctx.store.read() as uow:
        rows = uow.usage.of(client.tenant_id)
    return {"items": [{key: row[key] for key in ("client", "operation", "day", "calls")} for row in rows]}
