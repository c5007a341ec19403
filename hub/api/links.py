"""Tag `links`: the systems' own ids, and who is who."""

from collections.abc import Mapping
from typing import Any

from hub.api.messages import reason
from hub.api.paging import after, after_id, page
from hub.flow.context import Context
from hub.identity.api_keys import Client
from hub.sync import matching

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


def plan_links(
    ctx: Context, client: Client, entity: str, system: str, verdict: str | None = None, cursor: str | None = None,
    limit: int = 50,
) -> dict[str, Any]:  # fmt: skip
    """What linking would do, in its order."""
    start = after(cursor)
    with ctx.store.read() as uow:
        found = matching.plan(ctx, uow, client.tenant_id, entity, system)
    rows = [row for row in enumerate(found.items) if verdict in (None, row[1].verdict)]
    rows = [row for row in rows if start is None or row[0] > _place(start[0])]
    shown = page(rows[: limit + 1], limit, lambda row: [row[0]], lambda row: row[1].shown())
    return {"entity": entity, "leads": found.leads, "system": system, "counts": found.counts(), "digest": found.digest, **shown}


def _place(part: Any) -> int:
    return part if isinstance(part, int) else -1


def link(ctx: Context, client: Client, entity: str, body: Mapping[str, Any]) -> dict[str, int]:
    """Remember what a plan found."""
    return matching.link(
        ctx, client.tenant_id, entity, body["system"], body["digest"], body.get("decisions", {}), f"key/{client.name}",
        reason(body),
    )  # fmt: skip


def import_links(ctx: Context, client: Client, entity: str, body: Mapping[str, Any]) -> dict[str, int]:
    """Links that another integration has kept."""
    found = matching.import_links(ctx, client.tenant_id, entity, body["links"], f"key/{client.name}", reason(body))
    return {"links": found, "decided": 0}


def merge(ctx: Context, client: Client, entity: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """One is another."""
    args = (client.tenant_id, entity, body["key"], body["canonical"], body.get("system", ""))
    matching.merge(ctx, *args, f"key/{client.name}", reason(body))
    return list_aliases(ctx, client, entity, body["key"])


def split(ctx: Context, client: Client, entity: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """It is itself again."""
    matching.split(ctx, client.tenant_id, entity, body["key"], body.get("system", ""), f"key/{client.name}", reason(body))
    return list_aliases(ctx, client, entity, body["key"])


def list_aliases(
    ctx: Context, client: Client, entity: str, key: str | None = None, cursor: str | None = None, limit: int = 50
) -> dict[str, Any]:
    """Newest first, ended ones too."""
    with ctx.store.read() as uow:
        rows = uow.aliases.page(client.tenant_id, entity, after_id(cursor), limit, key)
    hidden = ("tenant_id", "entity", "id")
    return page(rows, limit, lambda row: [row["id"]], lambda row: {k: v for k, v in row.items() if k not in hidden})
