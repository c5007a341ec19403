"""Polling Consumer: reads pages since the cursor; records and the cursor that follows them are committed together.

Every record becomes a raw input, keyed by its content, so an inclusive bound or a crash repeats nothing: what was read
before is recognised. Runs are rows, so a poll that a crash cut off goes on from its last page.
"""

import hashlib
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from hub.errors import ThrottledError
from hub.flow.budget import ReadBoundary
from hub.flow.context import Context
from hub.flow.ingest import received
from hub.identity.connections import pause
from hub.policies import redaction
from hub.runtime.performer import Run
from hub.runtime.session import Session
from hub.sdk.errors import AuthenticationError, ConnectorError, RetryableError
from hub.sdk.steps import Page
from hub.store import new_id
from hub.telemetry import SpanKind, traceparent_of

log = logging.getLogger(__name__)
#: Pages of one run before others get their turn.
_PAGES = 50


@dataclass(frozen=True)
class Stream:
    """One object of one connection that some flow reads, at the shortest cadence asked for."""

    tenant_id: str
    connection_id: str
    object: str
    every_seconds: float


class Poller:
    """Runs the polls that are due."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def streams(self) -> list[Stream]:
        """Every stream that the integrations in force ask for."""
        found: dict[tuple[str, str, str], float] = {}
        with self._ctx.store.read() as uow:
            for tenant_id in uow.tenants.ids():
                active = {row["connection_id"] for row in uow.connections.all(tenant_id) if row["state"] == "active"}
                for entry in self._ctx.routes.in_force(uow, tenant_id):
                    for _, flow in entry.flows():
                        if flow.every_seconds is None or flow.source not in active:
                            continue
                        for name in flow.read:
                            key = (tenant_id, flow.source, name)
                            found[key] = min(found.get(key, flow.every_seconds), flow.every_seconds)
        return [Stream(*key, every) for key, every in found.items()]

    def run_due(self) -> int:
        """Run every stream that is due; returns how many ran."""
        due = []
        for stream in self.streams():
            with self._ctx.store.read() as uow:
                row = uow.cursors.get(stream.tenant_id, stream.connection_id, stream.object)
            if row is None or row["next_run_at"] <= self._ctx.clock():
                due.append(stream)
        if due:
            with ThreadPoolExecutor(min(len(due), 8), thread_name_prefix="poll") as pool:
                list(pool.map(self.run, due))
        return len(due)

    def run(self, stream: Stream) -> Mapping[str, Any]:
        """Read a stream to its end (or 50 pages); returns the run: pages, read, new, state and error."""
        ctx = self._ctx
        with ctx.store.read() as uow:
            session = ctx.sessions.get(uow, stream.tenant_id, stream.connection_id)
            row = uow.cursors.get(stream.tenant_id, stream.connection_id, stream.object)
        cursor = dict(row["value"]) if row else {}
        report: dict[str, Any] = {
            "started_at": ctx.clock().isoformat(), "pages": 0, "read": 0, "new": 0, "state": "running", "error": "",
            # What a system had before it was connected comes in the bulk lane, behind what happens now.
            "backfill": row is None or bool(row["run"].get("backfill") and row["run"]["state"] != "complete"),
        }  # fmt: skip
        wait = stream.every_seconds
        with ctx.telemetry.span("hub.poll", "", SpanKind.INTERNAL, hub_connection=stream.connection_id) as span:
            try:
                more = True
                while more and report["pages"] < _PAGES:
                    page = self._page(session, stream, cursor, traceparent_of(span))
                    cursor, more = dict(page.cursor), page.more
                    report["pages"] += 1
                    report["state"] = "complete" if not more else "running"
                    self._save(stream, page, cursor, report, wait, traceparent_of(span))
                if more:
                    report["state"], wait = "more", 0.0
            except ThrottledError as error:
                report["state"], wait = "throttled", error.wait_seconds
            except AuthenticationError as error:
                report["state"], report["error"] = "unauthorised", error.message
                with ctx.store.begin() as uow:
                    pause(uow, session, error.message, ctx.clock(), "poll")
            except RetryableError as error:
                report["state"], report["error"] = "postponed", error.message
                wait = max(wait, error.retry_after or 0.0)
            except (ConnectorError, ValueError, LookupError, TypeError) as error:
                report["state"], report["error"] = "failed", redaction.text(f"{type(error).__name__}: {error}")[:500]
                log.warning("poll %s %s failed: %s", stream.connection_id, stream.object, report["error"])
        self._save(stream, Page([], cursor, more=False), cursor, report, wait, "")
        return report

    def _page(self, session: Session, stream: Stream, cursor: Mapping[str, Any], parent: str) -> Page:
        steps = session.connector.read(stream.object, cursor)
        boundary = ReadBoundary(self._ctx, session)
        return self._ctx.loop.submit(self._ctx.loop.performer.perform(steps, session, boundary, Run(), parent)).result()

    def _save(
        self,
        stream: Stream,
        page: Page,
        cursor: Mapping[str, Any],
        report: dict[str, Any],
        wait: float,
        traceparent: str,
    ) -> None:
        ctx, now = self._ctx, self._ctx.clock()
        with ctx.store.begin() as uow:
            for record in page.records:
                body = orjson.dumps(record, default=str, option=orjson.OPT_SORT_KEYS)
                _, created = uow.raws.add({
                    "tenant_id": stream.tenant_id, "id": new_id(), "connection_id": stream.connection_id, "kind": "poll",
                    "object": stream.object, "source_event_id": f"{stream.object}:{hashlib.sha256(body).hexdigest()}",
                    "event_type": "", "headers": {}, "body": body, "traceparent": traceparent, **received(now),
                    "lane": "bulk" if report["backfill"] else "live",
                })  # fmt: skip
                report["read"] += 1
                report["new"] += created
            uow.cursors.put({
                "tenant_id": stream.tenant_id, "connection_id": stream.connection_id, "object": stream.object,
                "value": dict(cursor), "updated_at": now, "next_run_at": now + timedelta(seconds=wait), "run": dict(report),
            })  # fmt: skip
        if page.records:
            ctx.raw_arrived.set()
            ctx.due.add_input()
