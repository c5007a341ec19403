"""Tag `messages`."""

from datetime import datetime
from typing import Any

from marshmallow import ValidationError

from canonical.fields import Timestamp, parse_timestamp
from hub.api.paging import after_id, page
from hub.errors import HubError, NotFoundError
from hub.flow import corrections, replay
from hub.flow.context import Context
from hub.flow.lineage import public_delivery, public_message
from hub.flow.translate import envelope_data
from hub.identity.api_keys import Client


def list_messages(
    ctx: Context, client: Client, cursor: str | None = None, limit: int = 50, **filters: str | None
) -> dict[str, Any]:
    """Newest first. Connexion hands `type` over as `type_`: it is a builtin's name."""
    wanted = {name.rstrip("_"): value for name, value in filters.items()}
    with ctx.store.read() as uow:
        rows = uow.messages.page(client.tenant_id, after_id(cursor), limit, **wanted)
    return page(rows, limit, lambda row: [row["id"]], public_message)


def get_message(ctx: Context, client: Client, id_: str) -> dict[str, Any]:
    """One message with document and deliveries."""
    with ctx.store.read() as uow:
        row = uow.messages.get(client.tenant_id, id_)
        if row is None:
            raise NotFoundError("message", id_)
        deliveries = uow.deliveries.of_message(client.tenant_id, id_)
        corrected = corrections.of_message(uow, client.tenant_id, id_)
    document = envelope_data(row["body"])
    return {
        "message": public_message(row),
        "document": document,
        "deliveries": [public_delivery(d) for d in deliveries],
    } | ({"corrections": corrected} if corrected else {})


def release(ctx: Context, client: Client, id_: str, body: Any = None) -> dict[str, Any]:
    """Let a suspected duplicate go."""
    return public_message(replay.decide_suspect(ctx, client.tenant_id, id_, True, f"key/{client.name}", reason(body)))


def drop(ctx: Context, client: Client, id_: str, body: Any = None) -> dict[str, Any]:
    """Drop a suspected duplicate."""
    return public_message(replay.decide_suspect(ctx, client.tenant_id, id_, False, f"key/{client.name}", reason(body)))


def reason(body: Any) -> str:
    """The reason in an optional body."""
    return str((body or {}).get("reason", ""))


def moment(body: Any, name: str) -> datetime | None:
    """A time in a body, if it is there; raises HubError (`invalid_request`) naming the field."""
    if body.get(name) is None:
        return None
    try:
        return parse_timestamp(Timestamp().deserialize(body[name]))
    except ValidationError as error:
        wrong = {"code": "invalid_field", "field": f"/{name}", "message": str(error.messages[0])}
        raise HubError("invalid_request", errors=[wrong]) from None
