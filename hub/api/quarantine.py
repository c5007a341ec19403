"""Tag `quarantine`: input that could not become a message."""

import base64
import binascii
from typing import Any

from hub.api.messages import reason
from hub.api.paging import after_id, page
from hub.errors import HubError, NotFoundError
from hub.flow import replay as decisions
from hub.flow.context import Context
from hub.flow.lineage import public_raw, whole_raw
from hub.identity.api_keys import Client


def list_quarantine(
    ctx: Context, client: Client, cursor: str | None = None, limit: int = 50, state: str = "quarantined",
    **filters: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Newest first."""
    with ctx.store.read() as uow:
        rows = uow.raws.page(client.tenant_id, after_id(cursor), limit, state=state, **filters)
    return page(rows, limit, lambda row: [row["id"]], lambda row: public_raw(row, with_body=False))


def get_raw(ctx: Context, client: Client, id_: str) -> dict[str, Any]:
    """One raw input with its bytes."""
    with ctx.store.read() as uow:
        row = uow.raws.get(client.tenant_id, id_)
        if row is None:
            raise NotFoundError("raw input", id_)
        return whole_raw(uow, row)


def replay(ctx: Context, client: Client, id_: str, body: Any = None) -> tuple[dict[str, Any], int]:
    """Translate again, corrected if a body is given."""
    corrected = None
    if body and "body_base64" in body:
        try:
            corrected = base64.b64decode(body["body_base64"], validate=True)
        except (ValueError, binascii.Error):
            entry = {"code": "invalid_field", "field": "/body_base64", "message": "is not base64"}
            raise HubError("invalid_document", "the corrected body cannot be read", [entry]) from None
    row = decisions.replay_raw(ctx, client.tenant_id, id_, f"key/{client.name}", corrected, reason(body))
    return public_raw(row, with_body=False), 202


def discard(ctx: Context, client: Client, id_: str, body: Any = None) -> dict[str, Any]:
    """End it for good."""
    row = decisions.discard_raw(ctx, client.tenant_id, id_, f"key/{client.name}", reason(body))
    return public_raw(row, with_body=False)
