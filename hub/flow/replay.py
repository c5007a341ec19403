"""What a person may decide: replay, correct and replay, or discard. Each decision is one transaction with its audit record.

A replayed delivery keeps its id, its key and its trace; if any earlier try may have been applied, it is probed first.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from canonical.errors import Violation
from hub.errors import HubError, NotFoundError
from hub.flow import corrections
from hub.flow.context import Context
from hub.flow.translate import envelope_data
from hub.policies import audit, schema_version, tracing
from hub.sdk.webhook import body_digest
from hub.store import UnitOfWork
from hub.store.rows import Row


def _dead(uow: UnitOfWork, tenant_id: str, delivery_id: str) -> Row:
    row = uow.deliveries.get(tenant_id, delivery_id)
    if row is None:
        raise NotFoundError("delivery", delivery_id)
    return row


def _sent(uow: UnitOfWork, tenant_id: str, rows: Sequence[Row]) -> set[str]:
    """Return the ids of which something may have reached the system that the connection leads to now."""
    found: set[str] = set()
    for connection_id in {row["connection_id"] for row in rows}:
        moved = uow.audit.last(tenant_id, f"connection/{connection_id}", "connection.moved")
        ids = [row["id"] for row in rows if row["connection_id"] == connection_id]
        found |= uow.attempts.with_effects(tenant_id, ids, moved)
    return found


def _refuse(row: Row, wanted: str) -> HubError:
    return HubError("wrong_state", f"delivery {row['id']} is {row['state']}; only a {wanted} one can be changed so")


def replay_delivery(ctx: Context, tenant_id: str, delivery_id: str, actor: str, reason: str = "") -> Row:
    """Let a dead letter try again, with the maps and connector version of now. Raises `not_found`, `wrong_state`."""
    return _again(ctx, tenant_id, delivery_id, actor, reason)


def correct_delivery(ctx: Context, tenant_id: str, delivery_id: str, document: Any, actor: str, reason: str = "") -> Row:
    """Let a dead letter try again with a corrected document (validated first); the original stays with the message.

    The message's other open deliveries get the corrected document, too, and stay in their states: a dead one waits for its
    own replay. What was applied stays as it is.
    """
    with ctx.store.read() as uow:
        row = _dead(uow, tenant_id, delivery_id)
        message = uow.messages.get(tenant_id, row["message_id"])
        assert message is not None
        schema_version.require_valid(row["type"], document)
        original = envelope_data(message["body"])
        if document["id"] != original["id"]:
            wrong = Violation("invalid_field", "/id", f"must stay {original['id']!r}: it is the same fact")
            raise HubError("invalid_document", "a correction may not change the document's id", [wrong.as_dict()])
    return _again(ctx, tenant_id, delivery_id, actor, reason, document)


def _again(ctx: Context, tenant_id: str, delivery_id: str, actor: str, reason: str, document: Any = None) -> Row:
    """Let a dead letter try again, with ``document`` if a person corrected it."""
    now = ctx.clock()
    with ctx.store.read() as uow:
        message = uow.messages.get(tenant_id, _dead(uow, tenant_id, delivery_id)["message_id"])
    assert message is not None
    with ctx.telemetry.span(tracing.REPLAY, message["traceparent"], hub_delivery=delivery_id), ctx.store.begin() as uow:
        row = _dead(uow, tenant_id, delivery_id)
        sent = bool(_sent(uow, tenant_id, [row]))
        if not uow.deliveries.change_state(tenant_id, delivery_id, ["dead"], {**_again_values(now), "probe": sent}):
            raise _refuse(row, "dead-lettered")
        action, detail = "delivery.replayed", dict[str, Any](reason=reason)
        if document is not None:
            kept, others = corrections.correct_open(ctx, uow, row, message, document, actor, reason, now)
            uow.deliveries.correct(tenant_id, delivery_id, {"corrected": kept["after"], "correction": kept["id"]})
            found = corrections.changes(row["type"], orjson.loads(kept["before"]), document)
            action = "delivery.corrected"
            detail = {"reason": kept["reason"], "correction": kept["id"], "message_id": message["id"], "also_for": others,
                      **corrections.audited(found)}  # fmt: skip
        audit.record(uow, tenant_id, now, actor, action, f"delivery/{delivery_id}", was=row["cause_code"], **detail)
        again = uow.deliveries.get(tenant_id, delivery_id)
        assert again is not None
    ctx.due.add(tenant_id, again["connection_id"])
    return again


def replay_many(
    ctx: Context, tenant_id: str, filters: Mapping[str, str | None], before: datetime, limit: int, actor: str, reason: str
) -> tuple[int, bool]:
    """Let the oldest dead letters of before then try again: (how many, whether there are more). One that dies again is not
    looked at twice, if the same time is said again.
    """
    now = ctx.clock()
    with ctx.store.begin() as uow:
        rows = uow.deliveries.dead(tenant_id, filters, before, limit + 1)
        chosen = rows[:limit]
        sent = _sent(uow, tenant_id, chosen)
        for probe in (False, True):
            ids = [row["id"] for row in chosen if (row["id"] in sent) is probe]
            uow.deliveries.revive(tenant_id, ids, {**_again_values(now), "probe": probe})
        for row in chosen:
            audit.record(uow, tenant_id, now, actor, "delivery.replayed", f"delivery/{row['id']}", was=row["cause_code"],
                         reason=reason)  # fmt: skip
    for connection_id in {row["connection_id"] for row in chosen}:
        ctx.due.add(tenant_id, connection_id)
    return len(chosen), len(rows) > limit


def _again_values(now: datetime) -> dict[str, Any]:
    return {
        "state": "pending", "available_at": now, "published_at": None, "cause_code": "", "cause": "", "remedy": "",
        "failures": 0, "settled_at": None,
    }  # fmt: skip


def discard_delivery(ctx: Context, tenant_id: str, delivery_id: str, actor: str, reason: str) -> Row:
    """End a dead letter for good, with a reason; later siblings go on."""
    now = ctx.clock()
    with ctx.store.begin() as uow:
        row = _dead(uow, tenant_id, delivery_id)
        if not uow.deliveries.change_state(tenant_id, delivery_id, ["dead"], {"state": "discarded", "settled_at": now}):
            raise _refuse(row, "dead-lettered")
        audit.record(uow, tenant_id, now, actor, "delivery.discarded", f"delivery/{delivery_id}",
                     was=row["cause_code"], reason=reason)  # fmt: skip
        gone = uow.deliveries.get(tenant_id, delivery_id)
        assert gone is not None
    ctx.due.add(tenant_id, gone["connection_id"])
    return gone


def _raw(uow: UnitOfWork, tenant_id: str, raw_id: str) -> Row:
    row = uow.raws.get(tenant_id, raw_id)
    if row is None:
        raise NotFoundError("quarantined input", raw_id)
    return row


def replay_raw(ctx: Context, tenant_id: str, raw_id: str, actor: str, body: bytes | None = None, reason: str = "") -> Row:
    """Translate a quarantined input again, with ``body`` in its place if a person corrected it; the original stays."""
    now = ctx.clock()
    values: dict[str, Any] = {
        "state": "received", "available_at": now, "attempts": 0, "cause_code": "", "cause": "", "remedy": "",
        "settled_at": None,
    }  # fmt: skip
    with ctx.store.begin() as uow:
        row = _raw(uow, tenant_id, raw_id)
        if body is not None:
            values["corrected"] = body
        if not uow.raws.change_state(tenant_id, raw_id, ["quarantined"], values):
            raise HubError("wrong_state", f"input {raw_id} is {row['state']}, not quarantined")
        detail: dict[str, Any] = {"reason": reason}
        if body is not None:
            kept = corrections.keep_raw(uow, row, body, actor, reason, now)
            found = corrections.raw_changes(kept["before"], body)
            detail = {"reason": kept["reason"], "correction": kept["id"], "corrected_sha256": body_digest(body),
                      **corrections.audited(found)}  # fmt: skip
        audit.record(uow, tenant_id, now, actor, "raw.replayed", f"raw/{raw_id}", was=row["cause_code"],
                     corrected=body is not None, **detail)  # fmt: skip
        again = _raw(uow, tenant_id, raw_id)
    ctx.raw_arrived.set()
    ctx.due.add_input()
    return again


def discard_raw(ctx: Context, tenant_id: str, raw_id: str, actor: str, reason: str) -> Row:
    """End a quarantined input for good, with a reason; its bytes stay."""
    now = ctx.clock()
    with ctx.store.begin() as uow:
        row = _raw(uow, tenant_id, raw_id)
        if not uow.raws.change_state(tenant_id, raw_id, ["quarantined"], {"state": "discarded", "settled_at": now}):
            raise HubError("wrong_state", f"input {raw_id} is {row['state']}, not quarantined")
        audit.record(uow, tenant_id, now, actor, "raw.discarded", f"raw/{raw_id}", was=row["cause_code"], reason=reason)
        return _raw(uow, tenant_id, raw_id)


def decide_suspect(ctx: Context, tenant_id: str, message_id: str, release: bool, actor: str, reason: str) -> Row:
    """A held suspected duplicate: let it go (two equal coffees are two sales) or drop it (the till sent it twice)."""
    now = ctx.clock()
    with ctx.store.begin() as uow:
        row = uow.messages.get(tenant_id, message_id)
        if row is None:
            raise NotFoundError("message", message_id)
        if not uow.messages.set_state(tenant_id, message_id, "held", "routed" if release else "dropped"):
            raise HubError("wrong_state", f"message {message_id} is {row['state']}, not held")
        uow.deliveries.release_held(tenant_id, message_id, "pending" if release else "discarded", now)
        action = "message.released" if release else "message.dropped"
        audit.record(uow, tenant_id, now, actor, action, f"message/{message_id}", suspect_of=row["suspect_of"],
                     reason=reason)  # fmt: skip
        decided = uow.messages.get(tenant_id, message_id)
        assert decided is not None
        for item in uow.deliveries.of_message(tenant_id, message_id):
            ctx.due.add(tenant_id, item["connection_id"])
    ctx.due.bell.set()
    return decided
