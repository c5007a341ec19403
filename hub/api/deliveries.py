"""Tag `deliveries`."""

from typing import Any

from hub.api.paging import after_id, page
from hub.errors import NotFoundError
from hub.flow.context import Context
from hub.flow.lineage import public_attempt, public_delivery, whole_delivery
from hub.identity.api_keys import Client


def list_deliveries(
    ctx: Context, client: Client, cursor: str | None = None, limit: int = 50, **filters: str | None
) -> dict[str, Any]:
    """Newest first."""
    with ctx.store.read() as uow:
        rows = uow.deliveries.page(client.tenant_id, after_id(cursor), limit, **filters)
    return page(rows, limit, lambda row: [row["id"]], public_delivery)


def get_delivery(ctx: Context, client: Client, id_: str) -> dict[str, Any]:
    """One delivery."""
    with ctx.store.read() as uow:
        row = uow.deliveries.get(client.tenant_id, id_)
        if row is None:
            raise NotFoundError("delivery", id_)
        return whole_delivery(uow, row)


def list_attempts(ctx: Context, client: Client, id_: str) -> dict[str, Any]:
    """Every try, oldest first."""
    get_delivery(ctx, client, id_)
    with ctx.store.read() as uow:
        rows = uow.attempts.of_delivery(client.tenant_id, id_)
    return {"items": [public_attempt(row) for row in rows], "next_cursor": None}
