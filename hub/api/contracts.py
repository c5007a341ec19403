"""Tag `contracts`: types and their use."""

from typing import Any

from hub.api.paging import after, page
from hub.contracts.types import contracts
from hub.flow.context import Context
from hub.identity.api_keys import Client


def list_types(ctx: Context, client: Client) -> dict[str, Any]:
    """Canonical types with schema, digest and example."""
    return {"items": contracts()}


_KEYS = ("operation", "client", "day")


def usage(ctx: Context, client: Client, cursor: str | None = None, limit: int = 50) -> dict[str, Any]:
    """Who called what on which day: by operation, client, day."""
    key = after(cursor, len(_KEYS))
    with ctx.store.read() as uow:
        rows = uow.usage.page(client.tenant_id, tuple(map(str, key)) if key else None, limit)
    shown = ("client", "operation", "day", "calls")
    return page(rows, limit, lambda row: [row[name] for name in _KEYS], lambda row: {name: row[name] for name in shown})
