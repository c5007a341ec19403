"""Tag `dead-letters`: deliveries that need a person."""

from typing import Any

from hub.api.deliveries import list_deliveries
from hub.api.messages import moment, reason
from hub.flow import replay as decisions
from hub.flow.context import Context
from hub.flow.lineage import public_delivery, whole_delivery
from hub.identity.api_keys import Client


def list_dead_letters(
    ctx: Context, client: Client, cursor: str | None = None, limit: int = 50, **filters: str | None
) -> dict[str, Any]:
    """Newest first, with cause and remedy."""
    return list_deliveries(ctx, client, cursor, limit, state="dead", **filters)


def replay(ctx: Context, client: Client, id_: str, body: Any = None) -> tuple[dict[str, Any], int]:
    """Try again."""
    row = decisions.replay_delivery(ctx, client.tenant_id, id_, f"key/{client.name}", reason(body))
    return public_delivery(row), 202


def replay_many(ctx: Context, client: Client, body: Any) -> tuple[dict[str, Any], int]:
    """Try all of a kind again, a thousand at a time."""
    before = moment(body, "before") or ctx.clock()
    filters = {name: body.get(name) for name in ("connection_id", "type", "cause_code")}
    count, more = decisions.replay_many(
        ctx, client.tenant_id, filters, before, int(body.get("limit") or 1000), f"key/{client.name}", reason(body)
    )
    return {"replayed": count, "more": more, "before": before.isoformat()}, 202


def discard(ctx: Context, client: Client, id_: str, body: Any = None) -> dict[str, Any]:
    """End it for good."""
    return public_delivery(decisions.discard_delivery(ctx, client.tenant_id, id_, f"key/{client.name}", reason(body)))


def correct(ctx: Context, client: Client, id_: str, body: Any) -> tuple[dict[str, Any], int]:
    """Correct the document and try again."""
    row = decisions.correct_delivery(ctx, client.tenant_id, id_, body["document"], f"key/{client.name}", reason(body))
    with ctx.store.read() as uow:
        return whole_delivery(uow, row), 202
