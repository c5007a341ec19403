"""Runs told truly: what was read is what became something, was left out with a reason, or is in quarantine; or it says so."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from hub.errors import HubError, NotFoundError
from hub.flow.context import Context
from hub.integrations.cadence import NEVER
from hub.policies import audit
from hub.store import UnitOfWork, new_id
from hub.store.rows import Row

_SHOWN = ("id", "connection_id", "object", "kind", "state", "since", "until", "reached", "pages", "read", "new", "error",
          "actor", "reason", "started_at", "updated_at", "ended_at")  # fmt: skip
#: Where a full read begins (`hub.sync.full`).
FULL: dict[str, Any] = {"pass": 1, "read": {}}
#: How fast a run is counts by the last minutes: beside live work it is slower. One that is silent for so long is slowing down.
_LATELY_SECONDS, _SILENT_SECONDS = 180.0, 30.0
_WAITING = ("pending", "claimed", "sending", "ambiguous", "held")


def moment(text: str) -> datetime | None:
    """A time or date that a cursor holds; None if it is neither."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def told(uow: UnitOfWork, row: Row, now: datetime) -> dict[str, Any]:
    """A run, what became of everything that it read, and how far it is.

    `complete` is true only when nothing is left to read, to translate or to deliver.
    """
    counts = uow.runs.reckoning(row["tenant_id"], row["id"])
    raw, deliveries = counts["raw"], counts["deliveries"]
    open_ = sum(deliveries.get(state, 0) for state in _WAITING)
    reckoning = {
        "known": row["read"] - row["new"], "translated": raw.get("translated", 0), "ignored": raw.get("ignored", 0),
        "quarantined": raw.get("quarantined", 0), "discarded": raw.get("discarded", 0), "waiting": raw.get("received", 0),
        # Two changes of one record in one page are one: what is not there was never stored, and is told.
        "missing": row["new"] - sum(raw.values()),
        "applied": deliveries.get("applied", 0), "skipped": deliveries.get("skipped", 0), "dead": deliveries.get("dead", 0),
        "given_up": deliveries.get("discarded", 0), "open": open_,
    }  # fmt: skip
    complete = row["state"] == "read" and not (reckoning["waiting"] or open_ or reckoning["missing"])
    shown = {key: row[key] for key in _SHOWN}
    return {**shown, "reckoning": reckoning, "complete": complete, "summary": _summary(row, reckoning, complete),
            **_progress(row, reckoning, now)}  # fmt: skip


def _summary(row: Row, found: dict[str, int], complete: bool) -> str:
    parts = [f"{row['read']} read: {found['known']} known, {found['translated']} translated"]
    parts += [f"{found[name]} {name}" for name in ("ignored", "quarantined", "discarded", "waiting", "missing") if found[name]]
    ends = [
        f"{found[name]} {name.replace('_', ' ')}" for name in ("applied", "skipped", "dead", "given_up", "open") if found[name]
    ]
    verdict = (
        "complete" if complete else {"read": "not complete yet", "running": "still reading"}.get(row["state"], row["state"])
    )
    if found["missing"] or (row["state"] == "failed"):
        verdict = f"NOT COMPLETE ({row['error'] or 'records are missing'})"
    return f"{', '.join(parts)}; deliveries: {', '.join(ends) or 'none'}; {verdict}"


def _progress(row: Row, found: dict[str, int], now: datetime) -> dict[str, Any]:
    """`progress` (0 to 1) and `remaining_seconds` until all is delivered, at its pace; None where nothing says how much
    there is. What was read and waits to be translated or delivered is not done.
    """
    since, until, at = (moment(row[name]) for name in ("since", "until", "reached"))
    read: float | None = 1.0 if row["state"] == "read" else None
    if read is None and since is not None and until is not None and at is not None and until > since:
        read = min(1.0, max(0.0, (at - since) / (until - since)))
    if read is None:
        return {"progress": None, "remaining_seconds": None}
    ended = sum(found[name] for name in ("applied", "skipped", "dead", "given_up"))
    each = max(1.0, (ended + found["open"]) / found["translated"]) if found["translated"] else 1.0
    behind = min(1.0, (found["waiting"] + found["open"] / each) / row["new"]) if row["new"] else 0.0
    progress = read * (1.0 - behind)
    since_told = (now - row["updated_at"]).total_seconds() if row["state"] in ("running", "read") else 0.0
    pace = progress / max(1e-9, row["seconds"] + since_told)
    if row["pace"] > 0 and row["seconds"] > 0 and read > 0:  # what is delivered follows what is read: so much faster or slower
        silent = max(0.0, since_told - _SILENT_SECONDS) if row["state"] == "running" else 0.0
        pace *= row["pace"] / (read / row["seconds"]) / (1 + silent / _LATELY_SECONDS)
    remaining = None if progress <= 0 else (1 - progress) / pace
    return {"progress": round(progress, 4), "remaining_seconds": None if remaining is None else round(remaining, 1)}


def paced(row: Row, reached: str, seconds: float) -> float:
    """A run's pace (of its period, per second) when it got so far in so many seconds more; what was long ago counts less."""
    since, until, before, at = (moment(text) for text in (row["since"], row["until"], row["reached"], reached))
    if since is None or until is None or before is None or at is None or until <= since or seconds <= 0:
        return float(row["pace"])
    weight = max(1 - math.exp(-seconds / _LATELY_SECONDS), seconds / (row["seconds"] + seconds))
    return float(row["pace"] + weight * ((at - before) / (until - since) / seconds - row["pace"]))


def start_backfill(
    ctx: Context, tenant_id: str, connection_id: str, name: str, since: str, until: str, actor: str, reason: str,
    full: bool = False,
) -> Row:  # fmt: skip
    """Read again what was, from ``since`` (RFC 3339, or the system's own notation) until ``until`` (default: now).

    ``full``: everything that is listed, and withdraw what was there before and is not (`hub.sync.full`).

    Raises HubError (`invalid_request`) where a connection's object cannot be read by period.
    """
    with ctx.store.begin() as uow:
        return add_backfill(ctx, uow, tenant_id, connection_id, name, since, until, actor, reason, full)


def add_backfill(
    ctx: Context, uow: UnitOfWork, tenant_id: str, connection_id: str, name: str, since: str, until: str, actor: str,
    reason: str, full: bool = False,
) -> Row:  # fmt: skip
    """As `start_backfill`, in the caller's transaction."""
    now = ctx.clock()
    connection = uow.connections.get(tenant_id, connection_id)
    if connection is None:
        raise NotFoundError("connection", connection_id)
    objects = ctx.plugins.get(connection["connector"], tenant_id).manifest.objects
    declared = objects[name]["read"] if name in objects else None
    if declared is None:
        readable = ", ".join(sorted(key for key, item in objects.items() if item["read"])) or "nothing"
        raise _wrong("/object", f"{name!r} cannot be read; {readable} can")
    if since and not declared["incremental"]:
        raise _wrong("/since", f"{name} is not read by time: leave it out to read everything")
    if full and (since or until):
        raise _wrong("/withdraw", "needs a read of everything: leave since and until out")
    if full and uow.runs.open(tenant_id, connection_id, name, "full"):
        raise HubError("wrong_state", f"{connection_id} {name} is being read in full already: `hub sync runs --kind full`")
    kind, until = ("full", "") if full else ("backfill", until or now.isoformat())
    cursor = FULL if full else {"since": since} if since else {}
    row = add_run(uow, tenant_id, connection_id, name, kind, now, since=since, until=until, cursor=cursor, reached=since,
                  actor=actor, reason=reason, due_at=now)  # fmt: skip
    audit.record(uow, tenant_id, now, actor, "run.started", f"run/{row['id']}", connection=connection_id, object=name,
                 kind=kind, since=since, until=until, reason=reason)  # fmt: skip
    return row


def second_look(cursor: dict[str, Any]) -> dict[str, Any]:
    """A full read's cursor after an interruption: what is missing is looked for again before it is withdrawn."""
    return cursor if cursor["pass"] == 1 else {**cursor, "pass": 2, "read": {}}


def add_run(
    uow: UnitOfWork, tenant_id: str, connection_id: str, name: str, kind: str, now: datetime, **values: Any
) -> Row:  # fmt: skip
    """The row of a read that begins: a poll, a backfill or a full read."""
    row = {
        "tenant_id": tenant_id, "id": new_id(), "connection_id": connection_id, "object": name, "kind": kind,
        "state": "running", "since": "", "until": "", "cursor": {}, "reached": "", "pages": 0, "read": 0, "new": 0,
        "error": "", "actor": "", "reason": "", "started_at": now, "updated_at": now, "ended_at": None, "due_at": NEVER,
        "seconds": 0.0, "pace": 0.0, **values,
    }  # fmt: skip
    uow.runs.add(row)
    return row


def change(ctx: Context, tenant_id: str, run_id: str, action: str, actor: str, reason: str) -> None:
    """`pause`, `resume` or `cancel` a run; raises HubError (`wrong_state`) if it is not in a state for that."""
    now = ctx.clock()
    steps: dict[str, tuple[list[str], dict[str, Any]]] = {
        "pause": (["running"], {"state": "paused"}),
        "resume": (["paused", "failed"], {"state": "running", "due_at": now, "ended_at": None, "error": ""}),
        "cancel": (["running", "paused", "failed"], {"state": "cancelled", "ended_at": now}),
    }
    states, values = steps[action]
    with ctx.store.begin() as uow:
        row = uow.runs.get(tenant_id, run_id)
        if row is None:
            raise NotFoundError("run", run_id)
        if action == "resume" and row["kind"] == "full":
            values = {**values, "cursor": second_look(row["cursor"])}
        if row["kind"] == "poll" or not uow.runs.save(tenant_id, run_id, states, {**values, "updated_at": now}):
            raise HubError("wrong_state", f"a {row['kind']} that is {row['state']} cannot be told to {action}")
        done = {"pause": "run.paused", "resume": "run.resumed", "cancel": "run.cancelled"}[action]
        audit.record(uow, tenant_id, now, actor, done, f"run/{run_id}", reason=reason)


def hasten(ctx: Context, tenant_id: str, connection_id: str, name: str) -> None:
    """Let a stream be read now, whatever its cadence says."""
    now = ctx.clock()
    with ctx.store.begin() as uow:
        row = uow.cursors.get(tenant_id, connection_id, name)
        value, run = (row["value"], row["run"]) if row else ({}, {})
        uow.cursors.put({
            "tenant_id": tenant_id, "connection_id": connection_id, "object": name, "value": value, "updated_at": now,
            "next_run_at": now - timedelta(seconds=1), "run": run,
        })  # fmt: skip


def set_cursor(
    ctx: Context, tenant_id: str, connection_id: str, name: str, value: dict[str, Any], actor: str, reason: str
) -> None:  # fmt: skip
    """Let a stream go on from ``value`` (`{"since": …}`, or the connector's own): what another integration has read is not
    read again. The next read is of what is new: in the live lane, and due at once.
    """
    now = ctx.clock()
    with ctx.store.begin() as uow:
        before = uow.cursors.get(tenant_id, connection_id, name)
        run = {
            "state": "complete",
            "started_at": now.isoformat(),
            "pages": 0,
            "read": 0,
            "new": 0,
            "error": "",
            "backfill": False,
        }
        uow.cursors.put({
            "tenant_id": tenant_id, "connection_id": connection_id, "object": name, "value": value, "updated_at": now,
            "next_run_at": now, "run": run,
        })  # fmt: skip
        audit.record(uow, tenant_id, now, actor, "cursor.set", f"stream/{connection_id}/{name}", cursor=value,
                     before=before["value"] if before else None, reason=reason)  # fmt: skip


def _wrong(field: str, message: str) -> HubError:
    return HubError("invalid_request", errors=[{"code": "invalid_field", "field": field, "message": message}])
