"""Polling Consumer: reads pages since the cursor; records and the cursor that follows them are committed together.

A record that looks as it did when it was read last is known and becomes nothing, so an inclusive bound, an overlap or a crash
repeats nothing; one that looks different becomes a raw input. Reads are rows (`sync_run`): by cadence, on demand, or of a
period that was (a backfill), which goes on where a crash or a pause left it and takes a share of the time only.
"""

import contextlib
import hashlib
import logging
import math
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hub.errors import HubError, ThrottledError
from hub.flow.budget import ReadBoundary
from hub.flow.context import Context
from hub.flow.ingest import received
from hub.flow.share import Share
from hub.identity.connections import pause
from hub.integrations.cadence import Cadence
from hub.policies import audit, redaction
from hub.policies.dead_letter import remedy_for
from hub.runtime.performer import Run
from hub.runtime.session import Session
from hub.sdk.errors import UNREADABLE, AuthenticationError, ConnectorError, RejectedByTargetError, RetryableError
from hub.sdk.steps import Page
from hub.store import StoreUnavailableError, UnitOfWork, new_id
from hub.store.rows import Row
from hub.sync import full, trail
from hub.sync.record_states import RecordState, States, states_of
from hub.sync.runs import add_run, moment, paced
from hub.telemetry import SpanKind, traceparent_of

log = logging.getLogger(__name__)
#: Pages of one run before others get their turn.
_PAGES = 50
#: Pages of a history before it gives way, and records of it that are stored together: what happens now feels each piece.
_HISTORY_PAGES, _PIECE = 1, 25
#: A history is not read on while so much of its connection waits to be translated; and how long until that is asked again.
_MOST_AHEAD, _AHEAD_SECONDS = 500, 1.0
#: How a turn ended, in words of the run's row.
_STATES = {"complete": "read", "failed": "failed", "asks": "paused"}


@dataclass(frozen=True)
class Stream:
    """One object of one connection that some flow reads, and how often flows ask for it."""

    tenant_id: str
    connection_id: str
    object: str
    cadences: frozenset[Cadence]
    #: When it is read in full, beside.
    full: frozenset[Cadence] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.tenant_id}/{self.connection_id}/{self.object}"

    def after(self, at: datetime) -> datetime:
        """The next time any cadence asks for."""
        return min(cadence.after(at, self.name) for cadence in self.cadences)


@dataclass
class _Read:
    """One turn of a read. ``run_id``: the row it is told in; a poll's is made with the first record that is new."""

    stream: Stream
    lane: str
    report: dict[str, Any]
    run_id: str | None = None
    polled: bool = True
    #: A full read's beginning: what was not seen since then is withdrawn.
    since: datetime | None = None


class _EndedError(Exception):
    """Somebody has paused or ended this run: what was just read is read again if it goes on."""


class Poller:
    """Runs the reads that are due."""

    def __init__(self, ctx: Context, threads: int = 8) -> None:
        self._ctx, self._threads = ctx, threads
        backing = max(1.0, ctx.settings.backing_poll_seconds)
        #: What webhooks lose is read: every stream that is told in real time is polled, too.
        self._backing = Cadence("every", backing)
        self._share = Share(ctx)
        self._read_before: set[tuple[str, str, str]] = set()
        self._full_known: set[Stream] = set()
        #: Seconds until somebody who had a turn wants another one.
        self.rest = math.inf

    def streams(self, of: str | None = None) -> list[Stream]:
        """Every stream that the integrations in force ask for; ``of`` one tenant, or of all."""
        with self._ctx.store.read() as uow:
            return [
                stream for tenant_id in (uow.all_tenants() if of is None else [of])
                for stream in self._ctx.configured.get(uow, tenant_id, "streams", partial(self._streams, uow, tenant_id))
            ]  # fmt: skip

    def _streams(self, uow: UnitOfWork, tenant_id: str) -> list[Stream]:
        found: dict[tuple[str, str, str], set[Cadence]] = {}
        in_full: dict[tuple[str, str, str], set[Cadence]] = {}
        active = {row["connection_id"] for row in uow.connections.all(tenant_id) if row["state"] == "active"}
        for entry in self._ctx.routes.in_force(uow, tenant_id):
            for _, flow in entry.flows():
                cadence = self._backing if flow.cadence.kind == "realtime" else flow.cadence
                for name in flow.read if flow.source in active else ():
                    key = (tenant_id, flow.source, name)
                    found.setdefault(key, set()).add(cadence)
                    in_full.setdefault(key, set()).update([flow.full_read] if flow.full_read else [])
        return [Stream(*key, frozenset(cadences), frozenset(in_full[key])) for key, cadences in found.items()]

    def run_due(self) -> int:
        """Run every read that is due; returns how many ran."""
        now, self.rest = self._ctx.clock(), math.inf
        streams = self.streams()
        full.start_due(self._ctx, streams, self._full_known)
        with self._ctx.store.read() as uow:
            looked, asked = uow.cursors.due(now), uow.runs.due(now)
            come = looked()
        due = [stream for stream in streams if self._due(stream, come)]
        work = [partial(self.run, stream) for stream in due] + [partial(self.go_on, row) for row in asked]
        if self._threads > 1 and len(work) > 1:
            with ThreadPoolExecutor(min(len(work), self._threads), thread_name_prefix="poll") as pool:
                for done in [pool.submit(item) for item in work]:
                    done.result()
        else:
            for item in work:
                item()
        return len(work)

    def _due(self, stream: Stream, come: Collection[tuple[str, str, str]]) -> bool:
        """``come``: those whose time has come; of the others only who was never read, or waits for closures, is looked at."""
        now, key = self._ctx.clock(), (stream.tenant_id, stream.connection_id, stream.object)
        kinds = {cadence.kind for cadence in stream.cadences}
        if key in come:
            return True
        if key in self._read_before and "on_closure" not in kinds:
            return False
        with self._ctx.store.read() as uow:
            row = uow.cursors.get(*key)
            if row is not None:
                self._read_before.add(key)
            if "on_closure" in kinds:
                closed = uow.messages.newest_at(stream.tenant_id, ("till.closed.v1",))
                return closed is not None and (row is None or closed > row["updated_at"])
        if row is None and "every" not in kinds:  # a calendar's first time is its next one
            self._wait(stream, {}, {}, stream.after(now))
            return False
        return row is None

    def _wait(self, stream: Stream, value: Mapping[str, Any], run: Mapping[str, Any], until: datetime) -> None:
        with self._ctx.store.begin() as uow:
            uow.cursors.put(_cursor(stream, value, run, self._ctx.clock(), until))

    def run(self, stream: Stream) -> Mapping[str, Any]:
        """Read a stream to its end (or 50 pages); returns the run: pages, read, new, state and error.

        What a system had before it was connected is a history: it comes page by page, like a backfill, as one run.
        """
        ctx, began = self._ctx, self._ctx.clock()
        with ctx.store.read() as uow:
            row = uow.cursors.get(stream.tenant_id, stream.connection_id, stream.object)
        cursor, before = (dict(row["value"]), dict(row["run"])) if row else ({}, {})
        first = not before or bool(before.get("backfill") and before["state"] != "complete")
        if first and self._ahead(stream):
            self._wait(stream, cursor, before, began + timedelta(seconds=_AHEAD_SECONDS))
            return before
        going = before if first and before.get("state") in ("more", "running") else {}
        report = {"started_at": began.isoformat(), "pages": 0, "read": 0, "new": 0, **going, "state": "running", "error": "",
                  "backfill": first}  # fmt: skip
        read = _Read(stream, "bulk" if first else "live", report, going.get("run_id"))
        beside = first and self._share.beside()

        def save(uow: UnitOfWork, value: Mapping[str, Any], wait: float | None = None) -> None:
            now = ctx.clock()
            if report["state"] == "more":
                wait = self._rest(now - began, beside) if first else 0.0
            later = stream.after(now) if wait is None else now + timedelta(seconds=wait)
            if wait is not None and report["state"] == "postponed":
                later = max(later, stream.after(now))
            report["run_id"] = read.run_id
            uow.cursors.put(_cursor(stream, value, report, now, later))

        self._turn(read, cursor, _HISTORY_PAGES if first else _PAGES, save)
        return read.report

    def _ahead(self, stream: Stream) -> bool:
        """Whether so much of a connection's history waits to be translated that nothing more is read of it."""
        with self._ctx.store.read() as uow:
            return uow.raws.waiting(stream.tenant_id, stream.connection_id, "bulk", _MOST_AHEAD) == _MOST_AHEAD

    def _rest(self, spent: timedelta, beside: bool) -> float:
        """Seconds that a history gives to others after a turn, by its share."""
        found = self._share.rest(spent.total_seconds(), beside)
        self.rest = min(self.rest, found)
        return found

    def go_on(self, row: Row) -> Mapping[str, Any]:
        """A turn of a run that somebody asked for: a few pages, then it gives way for as long as its share says."""
        ctx, began = self._ctx, self._ctx.clock()
        stream = Stream(row["tenant_id"], row["connection_id"], row["object"], frozenset({Cadence("on_demand")}))
        if self._ahead(stream):
            with ctx.store.begin() as uow:
                again = {"due_at": began + timedelta(seconds=_AHEAD_SECONDS)}
                uow.runs.save(row["tenant_id"], row["id"], ["running"], again)
            return {"state": "waits"}
        report: dict[str, Any] = {**{name: row[name] for name in ("pages", "read", "new")}, "state": "running", "error": ""}
        whole = full.Turn(row, began, ctx.settings.full_read_ask_share) if row["kind"] == full.KIND else None
        read = _Read(stream, "bulk", report, row["id"], polled=False, since=whole.since if whole else None)
        until, beside = moment(row["until"]), self._share.beside()

        def save(uow: UnitOfWork, value: Mapping[str, Any], wait: float | None = None) -> None:
            now = ctx.clock()
            reached = _said(str(value.get("high") or value.get("since") or row["reached"]))
            at = moment(reached)
            if report["state"] == "running" and until is not None and at is not None and at >= until:
                report["state"] = "complete"
            following = dict(value) if whole is None else whole.after(uow, report, value, now)
            ended = report["state"] in ("complete", "failed")
            took = (now - row["updated_at"]).total_seconds()  # however it was spent; a pause is not
            rest = wait if wait is not None else 0.0 if ended else self._rest(now - began, beside)
            ours = uow.runs.save(row["tenant_id"], row["id"], ["running"], {
                **{name: report[name] for name in ("pages", "read", "new", "error")}, "cursor": following,
                "state": _STATES.get(str(report["state"]), "running"), "reached": reached[:64],
                "updated_at": now, "due_at": now + timedelta(seconds=rest), "ended_at": now if ended else None,
                "seconds": row["seconds"] + took, "pace": paced(row, reached, took),
            })  # fmt: skip
            if not ours:
                raise _EndedError

        if whole is None or whole.reads:
            self._turn(read, dict(row["cursor"]) if whole is None else whole.cursor, _HISTORY_PAGES, save)
            return read.report
        report["state"] = "complete"
        with contextlib.suppress(_EndedError), ctx.store.begin() as uow:
            save(uow, value={})
        ctx.raw_arrived.set()
        ctx.due.add_input()
        return read.report

    def _turn(self, read: _Read, cursor: dict[str, Any], most: int, save: Any) -> None:
        """Read pages from ``cursor`` on, each committed with its records; what ends it stands in the report."""
        ctx, stream, report = self._ctx, read.stream, read.report
        wait: float | None = None
        with ctx.telemetry.span("hub.poll", "", SpanKind.INTERNAL, hub_connection=stream.connection_id) as span:
            session = None
            try:
                with ctx.store.read() as uow:
                    session = ctx.sessions.get(uow, stream.tenant_id, stream.connection_id)
                for _ in range(most):
                    page, cursor = self._page_or_beginning(read, session, cursor, traceparent_of(span))
                    report["pages"] += 1
                    states = states_of(session, stream.object, page.records)
                    report["read"] += len(page.records) - len(states)  # what it lists twice
                    left = self._all_but_the_last(read, states, partial(save, value=cursor), traceparent_of(span))
                    cursor, stuck = trail.followed(cursor, page, ctx.clock())
                    report["state"] = "running" if page.more else "complete"
                    self._save(read, left, partial(save, value=cursor), traceparent_of(span))
                    if stuck is not None:
                        raise stuck
                    if report["state"] == "complete":
                        break
                else:
                    report["state"] = "more"
            except _EndedError:
                return
            except ThrottledError as error:
                report["state"], wait = "throttled", error.wait_seconds
            except AuthenticationError as error:
                report["state"], report["error"] = "unauthorised", _said(error.message)
                wait = None if read.polled else 60.0
                with ctx.store.begin() as uow:
                    if session is not None:
                        pause(uow, session, report["error"], ctx.clock(), "poll")
            except RetryableError as error:
                report["state"], report["error"] = "postponed", _said(error.message)
                wait = error.retry_after or (None if read.polled else 10.0)
            except StoreUnavailableError:
                raise  # the end of this turn cannot be stored either
            except Exception as error:  # whatever it is, the stream keeps its cadence and shows it
                report["state"], report["error"] = "failed", _said(f"{type(error).__name__}: {error}")
                unforeseen = not isinstance(error, (ConnectorError, HubError, *UNREADABLE))
                log.warning("poll %s %s failed: %s", stream.connection_id, stream.object, report["error"], exc_info=unforeseen)
                if isinstance(error, trail.StuckError | RejectedByTargetError):  # the position leads nowhere
                    cursor = trail.beginning(cursor)
        try:
            with ctx.store.begin() as uow:
                save(uow, value=cursor, wait=wait)
                if read.polled and read.run_id is not None and (report["state"] != "more" or read.lane == "live"):
                    self._end(uow, read)
        except _EndedError:
            return

    def _end(self, uow: UnitOfWork, read: _Read) -> None:
        """A poll's row: what it read, and how it ended."""
        assert read.run_id is not None
        now, report = self._ctx.clock(), read.report
        values = {name: report[name] for name in ("pages", "read", "new", "error")}
        state = "failed" if report["state"] == "failed" else "read"
        uow.runs.save(
            read.stream.tenant_id, read.run_id, ["running"], {**values, "state": state, "updated_at": now, "ended_at": now}
        )

    def _page_or_beginning(
        self, read: _Read, session: Session, cursor: dict[str, Any], parent: str
    ) -> tuple[Page, dict[str, Any]]:  # fmt: skip
        """The page at ``cursor``, and the cursor that it was asked by: where the system refuses the saved position (its page
        token has expired), the read begins again at its bounds, once.
        """
        ctx, stream = self._ctx, read.stream
        try:
            return self._page(session, stream, trail.position(cursor), parent), cursor
        except RejectedByTargetError as error:
            if not trail.is_within(cursor) or trail.is_again(cursor):
                raise
            begun = trail.begun_again(cursor)
            said = _said(
                f"the saved position was refused ({error.message}); read again from {begun.get('since', 'the beginning')}"
            )
        read.report["notice"] = said
        log.warning("poll %s %s: %s", stream.connection_id, stream.object, said)
        with ctx.store.begin() as uow:
            audit.record(uow, stream.tenant_id, ctx.clock(), "poll", "read.begun_again",
                         f"stream/{stream.connection_id}/{stream.object}", reason=said)  # fmt: skip
        return self._page(session, stream, trail.position(begun), parent), begun

    def _page(self, session: Session, stream: Stream, cursor: Mapping[str, Any], parent: str) -> Page:
        steps = session.connector.read(stream.object, cursor)
        boundary = ReadBoundary(self._ctx, session)
        return self._ctx.loop.submit(self._ctx.loop.performer.perform(steps, session, boundary, Run(), parent)).result()

    def _all_but_the_last(self, read: _Read, states: States, save: Any, traceparent: str) -> States:
        """What is new of a history's page in small pieces, the cursor before it with each, and a rest after it; returns what is
        left. Read again after a crash, what was stored of a page is known.
        """
        if read.lane != "bulk" or len(states) <= _PIECE:
            return states
        stream = read.stream
        with self._ctx.store.read() as uow:
            known = uow.records.known(stream.tenant_id, stream.connection_id, stream.object, list(states))
        new = [ref for ref, state in states.items() if ref not in known or known[ref]["digest"] != state.digest]
        while len(new) > _PIECE:
            began = time.monotonic()
            self._save(read, {ref: states.pop(ref) for ref in new[:_PIECE]}, save, traceparent)
            new = new[_PIECE:]
            time.sleep(self._share.rest(time.monotonic() - began, self._share.beside()))
        return states

    def _save(self, read: _Read, found: States, save: Any, traceparent: str) -> None:
        """Records that look different than last time, and the cursor, in one transaction."""
        ctx, now, stream = self._ctx, self._ctx.clock(), read.stream
        with ctx.store.begin() as uow:
            known = uow.records.known(stream.tenant_id, stream.connection_id, stream.object, list(found))
            fresh = {ref: item for ref, item in found.items() if ref not in known or known[ref]["digest"] != item.digest}
            read.report["read"] += len(found)
            read.report["new"] += len(fresh)
            if read.since is not None:  # whichever process's clock says so: not before the beginning
                same = [ref for ref in found if ref not in fresh]
                uow.records.seen(stream.tenant_id, stream.connection_id, stream.object, same, max(now, read.since))
            if fresh:
                self._begin(uow, read)
                rows = []
                for ref, state in fresh.items():
                    number = int(known[ref]["changes"]) + 1 if ref in known else 1
                    rows.append({
                        "tenant_id": stream.tenant_id, "connection_id": stream.connection_id, "object": stream.object,
                        "ref": ref, "digest": state.digest, "changes": number, "changed_at": now,
                        "seen_at": max(now, read.since or now), "body": state.body,
                    })  # fmt: skip
                raws = [_raw(read, row, traceparent, now) for row in rows]
                _set_aside(uow, zip(raws, fresh.values(), strict=True), now)
                uow.raws.add_many(raws)
                uow.records.put(rows)
            if read.polled and read.run_id is not None:
                counts = {name: read.report[name] for name in ("pages", "read", "new")}
                uow.runs.save(stream.tenant_id, read.run_id, ["running"], {**counts, "updated_at": now})
            save(uow)
        if fresh:
            ctx.raw_arrived.set()
            ctx.due.add_input()

    def _begin(self, uow: UnitOfWork, read: _Read) -> None:
        if read.run_id is not None:
            return
        now, stream = self._ctx.clock(), read.stream
        uow.runs.abandon(stream.tenant_id, stream.connection_id, stream.object, now)
        key = (stream.tenant_id, stream.connection_id, stream.object)
        read.run_id = add_run(uow, *key, "poll", now, actor="poll")["id"]


def _set_aside(uow: UnitOfWork, raws: Iterable[tuple[dict[str, Any], RecordState]], now: datetime) -> None:
    """Those that nobody can read wait in quarantine, each alone, and not for a translation."""
    for raw, state in raws:
        if state.unreadable:
            code, cause = "unreadable_record", f"the record cannot be read: {state.unreadable}"
            raw |= {"state": "quarantined", "cause_code": code, "cause": cause, "remedy": remedy_for(code), "settled_at": now}
            audit.record(uow, raw["tenant_id"], now, "poll", "raw.quarantined", f"raw/{raw['id']}", code=code, cause=cause)


def _said(text: str) -> str:
    """A vendor's or connector's words as every store takes them, without secrets."""
    return redaction.text(text).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")[:500]


def _raw(read: _Read, row: Mapping[str, Any], traceparent: str, now: datetime) -> dict[str, Any]:
    """A record's new state as raw input: the same change of the same record is the same event, whoever reads it."""
    event = hashlib.sha256(f"{row['ref']}\x1f{row['changes']}\x1f{row['digest']}".encode()).hexdigest()
    return {
        "tenant_id": row["tenant_id"], "id": new_id(), "connection_id": row["connection_id"], "kind": "poll",
        "object": row["object"], "source_event_id": f"{row['object']}:{event}", "event_type": "", "headers": {},
        "body": row["body"], "traceparent": traceparent, **received(now), "lane": read.lane, "run_id": read.run_id,
    }  # fmt: skip


def _cursor(stream: Stream, value: Mapping[str, Any], run: Mapping[str, Any], now: datetime, until: datetime) -> dict[str, Any]:
    return {
        "tenant_id": stream.tenant_id, "connection_id": stream.connection_id, "object": stream.object, "value": dict(value),
        "updated_at": now, "next_run_at": until, "run": dict(run),
    }  # fmt: skip
