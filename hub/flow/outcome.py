"""What happened becomes data, here and nowhere else: one transaction for attempt, delivery, link, audit and connection.

| what happened | the delivery |
|---|---|
| Written, or found by the probe | applied, with the target's own id |
| Skipped, or superseded by a newer state | skipped, with the reason |
| PermanentError | dead, with cause and remedy |
| AuthenticationError | waits; its connection pauses |
| RateLimitedError, ThrottledError, TargetUnavailableError | waits; costs no try |
| AmbiguousWriteError, or anything unreadable after an effect left | ambiguous: probed later and later; dead when that ends |
| anything else | tried again with backoff, flagged as a bug in the connector; dead when the tries are used up |
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hub.errors import LeaseLostError, ThrottledError
from hub.flow import entities, names
from hub.flow.causes import describe
from hub.flow.context import Context
from hub.identity.connections import pause
from hub.policies import audit
from hub.policies.dead_letter import backoff_seconds, remedy_for
from hub.runtime.performer import Run
from hub.runtime.session import Session
from hub.sdk.errors import (
    AmbiguousWriteError,
    AuthenticationError,
    PermanentError,
    RateLimitedError,
    RetryableError,
    TargetUnavailableError,
)
from hub.sdk.steps import Skipped, Written
from hub.settings import Settings
from hub.store import UnitOfWork
from hub.store.rows import Row

_OUTAGE_SECONDS = 30.0
#: A try that was sent to find out whether a target is back counts less: with the longest backoff these last about a day.
_TRIES_PER_TRIAL = 3
_FINAL = ("applied", "skipped", "dead")


@dataclass(frozen=True)
class Write:
    """What the decision depends on, from the manifest and the connection: strategy, quiesce window, object name."""

    idempotency: str
    max_in_flight_seconds: float
    object: str


@dataclass(frozen=True)
class Outcome:
    """The decision: the delivery's next ``state`` and why. ``after_seconds`` until it is due again; ``counts`` as a try."""

    state: str
    code: str = ""
    cause: str = ""
    remedy: str = ""
    after_seconds: float = 0.0
    probe: bool = False
    external_id: str | None = None
    pause: bool = False
    counts: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)
    #: Whether ``external_id`` is the target's own id as it is, so that it may be linked.
    is_linked: bool = True


def decide(
    ctx: Context, row: Row, write: Write, result: Written | Skipped | Exception, run: Run, source: random.Random,
    is_trial: bool = False,
) -> Outcome | None:  # fmt: skip
    """What follows from a result; None if the claim was lost (somebody else decides).

    ``is_trial``: this try was to find out whether a target that is down is back.
    """
    settings = ctx.settings
    sent = run.effects > 0
    # What an earlier try may have applied stays unknown until a probe has answered, whatever became of this one.
    unknown = sent or bool(row["probe"])
    quiesce = write.max_in_flight_seconds if sent else 0.0
    backoff = backoff_seconds(settings, row["attempts"] + 1, source)
    match result:
        case Written():
            return Outcome("applied", external_id=result.external_id, detail=result.detail)
        case Skipped():
            return Outcome("skipped", "skipped", result.reason)
        case LeaseLostError():
            return None
        case ThrottledError():
            return _later(result.wait_seconds, "throttled", str(result), unknown, quiesce)
        case AuthenticationError():
            return Outcome("pending", result.code, result.message, result.remedy, probe=unknown, pause=True)
        case AmbiguousWriteError():
            return _ambiguous(settings, row, write, result, source, is_trial)
        case PermanentError():
            return Outcome("dead", result.code, result.message, remedy_for(result.code, result.remedy))
        case RateLimitedError() | TargetUnavailableError():
            # Not longer than a breaker stays open: the breaker spares the target, a long backoff would only delay the return.
            wait = min(backoff, _OUTAGE_SECONDS) if result.retry_after is None else result.retry_after
            if row["probe"] and row["attempts"] + 1 >= settings.max_attempts and _is_past_horizon(ctx, row):
                return _unknown(row["attempts"], result.message)
            return _later(wait, result.code, result.message, unknown, quiesce, remedy=result.remedy)
    number = row["failures"] + 1
    code, cause, _ = describe(result)
    if sent and not isinstance(result, RetryableError):
        return _ambiguous(settings, row, write, AmbiguousWriteError(cause, code=code), source, is_trial)
    if number >= settings.max_attempts and row["probe"]:
        return _unknown(number, cause)
    if number >= settings.max_attempts:
        return Outcome("dead", "attempts_exhausted", f"{number} tries; the last: {cause}", remedy_for("attempts_exhausted"))
    asked = result.retry_after if isinstance(result, RetryableError) else None
    backoff = backoff_seconds(settings, number, source)
    return _later(backoff if asked is None else asked, code, cause, unknown, quiesce, counts=True)


def _later(
    seconds: float, code: str, cause: str, probe: bool, quiesce: float, counts: bool = False, remedy: str = ""
) -> Outcome:  # fmt: skip
    state = "ambiguous" if probe else "pending"
    return Outcome(state, code, cause, remedy, after_seconds=max(seconds, quiesce), probe=probe, counts=counts)


def _ambiguous(
    settings: Settings, row: Row, write: Write, result: AmbiguousWriteError, source: random.Random, is_trial: bool
) -> Outcome:  # fmt: skip
    if write.idempotency == "none":
        return Outcome("dead", "undecidable", result.message, remedy_for("undecidable"))
    number = row["failures"] + 1
    if number >= settings.max_attempts * (_TRIES_PER_TRIAL if is_trial else 1):
        return _unknown(row["failures"], result.message)
    wait = max(write.max_in_flight_seconds, backoff_seconds(settings, number, source), result.retry_after or 0.0)
    return Outcome("ambiguous", result.code, result.message, result.remedy, after_seconds=wait, probe=True, counts=True)


def _unknown(lookups: int, cause: str) -> Outcome:
    text = f"unknown outcome, look-up failed {lookups} times; the last: {cause}"
    return Outcome("dead", "outcome_unknown", text, remedy_for("outcome_unknown"), counts=True)


def _is_past_horizon(ctx: Context, row: Row) -> bool:
    return bool(ctx.clock() - row["created_at"] > timedelta(days=ctx.settings.retry_horizon_days))


@dataclass(frozen=True)
class Ending:
    """A claim and what became of it. ``outcome`` None: the claim was lost, somebody else decides. ``kept``: its recording."""

    row: Row
    session: Session
    attempt: Mapping[str, Any]
    object: str
    document_id: str
    outcome: Outcome | None
    run: Run
    at: datetime
    document: str
    kept: Row | None = None


def commit(uow: UnitOfWork, endings: Sequence[Ending]) -> list[bool]:
    """Record the attempts and move the deliveries; False where the claim had passed to another worker."""
    settled = uow.deliveries.settle([(item.row, _settled(item, item.outcome)) for item in endings if item.outcome])
    moved = [(item.row["tenant_id"], item.row["id"]) in settled for item in endings]
    uow.attempts.end([_ended(item, ours) for item, ours in zip(endings, moved, strict=True)])
    applied, merged = [], []
    learned: dict[str, list[dict[str, str]]] = {}
    for item, ours in zip(endings, moved, strict=True):
        outcome, row = item.outcome, item.row
        if outcome is None or not ours:
            continue
        if outcome.state == "applied" and outcome.external_id is not None and outcome.is_linked:
            applied.append({
                "tenant_id": row["tenant_id"], "connection_id": row["connection_id"], "kind": item.object,
                "canonical_id": item.document_id, "external_id": outcome.external_id, "created_at": item.at,
            })  # fmt: skip
            if alias := names.learned(row["type"], row, outcome.external_id):
                learned.setdefault(row["tenant_id"], []).append(alias)
        if outcome.state in _FINAL:
            audit.record(
                uow, row["tenant_id"], item.at, "deliver", f"delivery.{outcome.state}", f"delivery/{row['id']}",
                message_id=row["message_id"], connection=row["connection_id"], external_id=outcome.external_id,
                code=outcome.code, cause=outcome.cause,
            )  # fmt: skip
        if outcome.state == "applied" and row["merged"] is not None:
            merged.append((row, item.at))
        if outcome.pause:
            pause(uow, item.session, outcome.cause, item.at, "deliver")
    if kept := [item.kept for item, ours in zip(endings, moved, strict=True) if ours and item.kept]:
        uow.recordings.add(kept)
    uow.links.put(applied)
    for tenant_id, aliases in sorted(learned.items()):
        uow.aliases.put(tenant_id, aliases, endings[0].at)
    for row, at in sorted(merged, key=lambda pair: str(pair[0]["subject"])):  # in one order for every process
        entities.wrote(uow, row, at)
    return moved


def _settled(item: Ending, outcome: Outcome) -> dict[str, Any]:
    return {
        "state": outcome.state, "cause_code": outcome.code, "cause": outcome.cause, "remedy": outcome.remedy,
        "available_at": item.at + timedelta(seconds=outcome.after_seconds), "probe": outcome.probe,
        "attempts": item.row["attempts"] + 1, "failures": item.row["failures"] + outcome.counts,
        "external_id": outcome.external_id, "settled_at": item.at if outcome.state in _FINAL else None,
    }  # fmt: skip


def _ended(item: Ending, ours: bool) -> dict[str, Any]:
    outcome = item.outcome if ours else None
    return {
        **item.attempt, "ended_at": item.at, "steps": item.run.steps, "effects": item.run.effects,
        "outcome": outcome.state if outcome else "lost",
        "code": outcome.code if outcome else "lease_lost", "detail": outcome.cause if outcome else "",
        "external_id": outcome.external_id if outcome else None, "document": item.document,
    }  # fmt: skip


def skip(uow: UnitOfWork, row: Row, code: str, cause: str, now: datetime) -> None:
    """End a claimed delivery that must not be written any more."""
    values = {"state": "skipped", "cause_code": code, "cause": cause, "settled_at": now}
    uow.deliveries.settle([(row, values)])
    audit.record(uow, row["tenant_id"], now, "deliver", "delivery.skipped", f"delivery/{row['id']}",
                 message_id=row["message_id"], connection=row["connection_id"], code=code, cause=cause)  # fmt: skip
