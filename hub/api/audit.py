"""Tag `audit`."""

from typing import Any

from hub.api.paging import after, page
from hub.flow.context import Context
from hub.identity.api_keys import Client

_SHOWN = ("sequence", "at", "actor", "action", "subject", "detail", "digest")


def list_audit(
    ctx: Context, client: Client, cursor: str | None = None, limit: int = 50, subject: str | None = None
) -> dict[str, Any]:
    """Newest first."""
    key = after(cursor)
    with ctx.store.read() as uow:
        rows = uow.audit.page(client.tenant_id, int(key[0]) if key else None, limit, subject)
    return page(rows, limit, lambda row: [row["sequence"]], lambda row: {name: row[name] for name in _SHOWN})


def verify(ctx: Context, client: Client) -> dict[str, Any]:
    """Whether the chain is whole."""
    with ctx.store.read() as uow:
        broken = uow.audit.verify(client.tenant_id)
    return {"whole": broken is None, "broken_at": broken}
