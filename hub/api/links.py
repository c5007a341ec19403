"""Tag `links`."""

from typing import Any

from hub.api.paging import after, page
from hub.flow.context import Context
from hub.identity.api_keys import Client

_KEYS = ("connection_id", "kind", "canonical_id")


def list_links(
    ctx: Context, client: Client, cursor: str | None = None, limit: int = 50, **filters: str | None
) -> dict[str, Any]:
    """By connection, kind, canonical id."""
    key = after(cursor, len(_KEYS))
    with ctx.store.read() as uow:
        rows = uow.links.page(client.tenant_id, tuple(map(str, key)) if key else None, limit, **filters)
    shown = (*_KEYS, "external_id")
    return page(rows, limit, lambda row: [row[name] for name in _KEYS], lambda row: {name: row[name] for name in shown})
