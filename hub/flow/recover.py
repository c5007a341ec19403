"""What a crash left behind: claims whose worker is gone are taken back, and what may have been sent is looked up first."""

from datetime import datetime, timedelta
from typing import Any

from hub.flow.context import Context
from hub.policies import audit
from hub.policies.dead_letter import remedy_for
from hub.store import new_id
from hub.store.rows import Row


def _unrecorded(row: Row, sent: bool, traceparent: str, now: datetime) -> Row:
    """The try of a claim whose worker died before it could be recorded."""
    return {
        "tenant_id": row["tenant_id"], "id": new_id(), "delivery_id": row["id"], "number": row["attempts"] + 1,
        "kind": "probe" if row["probe"] else "write", "worker": row["lease_owner"], "started_at": now, "steps": [],
        "effects": int(sent), "external_id": None, "traceparent": traceparent, "revision": row["revision"], "document": "",
        # Somebody may have corrected it after it was claimed: nobody knows which document left.
        "correction": None,
    }  # fmt: skip


def recover(ctx: Context, others_are_dead: bool = False) -> int:
    """Take back claims whose worker is gone: unsent ones wait again, sent ones are ambiguous. Returns how many."""
    now = ctx.clock()
    with ctx.store.begin() as uow:
        rows = uow.deliveries.expired(now, ctx.instance if others_are_dead else None)
        for row in rows:
            sent = row["state"] == "sending"
            window = 0.0
            decided: dict[str, Any] = {"state": "ambiguous" if row["probe"] else "pending", "cause_code": "worker_lost"}
            if sent:
                connector = ctx.plugins.connectors.get(row["connector"])
                declared = connector.manifest.writes.get(row["type"]) if connector else None
                connection = uow.connections.get(row["tenant_id"], row["connection_id"])
                limits = connection["settings"].get("limits", {}) if connection else {}
                window = float(limits.get("max_in_flight_seconds", declared["max_in_flight_seconds"] if declared else 60))
                if declared is not None and declared["idempotency"] == "none":
                    decided = {"state": "dead", "cause_code": "undecidable", "settled_at": now,
                               "remedy": remedy_for("undecidable")}  # fmt: skip
                else:
                    decided = {"state": "ambiguous", "cause_code": "worker_lost", "probe": True}
            cause = "the worker died while sending" if sent else "the worker died before sending"
            ended = {"ended_at": now, "outcome": decided["state"], "code": "worker_lost", "detail": cause}
            unfinished = uow.attempts.unfinished(row["tenant_id"], row["id"])
            if not unfinished:
                message = uow.messages.get(row["tenant_id"], row["message_id"])
                unfinished = [_unrecorded(row, sent, message["traceparent"] if message else "", now)]
            uow.attempts.end([{**attempt, **ended} for attempt in unfinished])
            if decided["state"] == "dead":
                audit.record(uow, row["tenant_id"], now, "recover", "delivery.dead", f"delivery/{row['id']}",
                             message_id=row["message_id"], connection=row["connection_id"], code="undecidable",
                             cause=cause)  # fmt: skip
            available = now + timedelta(seconds=window)
            uow.deliveries.settle([
                (row, {**decided, "cause": cause, "attempts": row["attempts"] + 1, "available_at": available}),
            ])  # fmt: skip
        if others_are_dead:
            uow.deliveries.forget_published(now + timedelta(days=1))
            uow.raws.release()
    for row in rows:
        ctx.due.add(row["tenant_id"], row["connection_id"])
    return len(rows)
