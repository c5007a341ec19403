"""Tag `conflicts`: what was said in vain about entities with owners, and what a person decides."""

from typing import Any

from hub.api.messages import reason
from hub.api.paging import after_id, page
from hub.errors import NotFoundError
from hub.flow import entities
from hub.flow.context import Context
from hub.identity.api_keys import Client
from hub.store.rows import Row

_SHOWN = ("id", "subject", "field", "origin", "wanted", "kept", "why", "state", "message_id", "at", "resolution", "actor",
          "reason", "resolved_at")  # fmt: skip


def list_conflicts(
    ctx: Context, client: Client, cursor: str | None = None, limit: int = 50, **filters: str | None
) -> dict[str, Any]:
    """Newest first."""
    with ctx.store.read() as uow:
        rows = uow.conflicts.page(client.tenant_id, after_id(cursor), limit, **filters)
    return page(rows, limit, lambda row: [row["id"]], _public)


def resolve(ctx: Context, client: Client, id_: str, body: Any) -> dict[str, Any]:
    """Decide an open one."""
    return _public(entities.resolve(ctx, client.tenant_id, id_, body["keep"], f"key/{client.name}", reason(body)))


def get_entity(ctx: Context, client: Client, subject: str = "") -> dict[str, Any]:
    """What counts of an entity, field by field, and what each system is known to have."""
    with ctx.store.read() as uow:
        row = uow.entities.get(client.tenant_id, subject)
    if row is None:
        raise NotFoundError("entity", subject)
    state = row["state"]
    return {
        "subject": subject, "type": row["type"], "version": row["version"], "stopped": row["tripped"],
        "fields": state["fields"],
        "systems": {name: said["fields"] for name, said in state["said"].items()}, "updated_at": row["updated_at"],
    }  # fmt: skip


def _public(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in _SHOWN}
