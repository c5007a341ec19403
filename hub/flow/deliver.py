"""Competing Consumers: claim a delivery, probe if its last try is unknown, write, hand the result to `outcome`, acknowledge.

No transaction is open while the target is called. Before each request that may change the target the intent is committed
and the lease checked, in one statement; a worker that was paused too long finds its lease gone and sends nothing.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import orjson

from hub.errors import LeaseLostError
from hub.flow import outcome
from hub.flow.budget import ReadBoundary
from hub.flow.context import Context
from hub.flow.translate import envelope_data
from hub.integrations.files import Target
from hub.integrations.routes import InForce
from hub.policies import schema_version, tracing
from hub.policies.dead_letter import remedy_for
from hub.runtime.performer import Run
from hub.runtime.session import Session
from hub.sdk.errors import PermanentError
from hub.sdk.mapping import evaluate
from hub.sdk.steps import Request, Skipped, Steps, Written
from hub.store import new_id
from hub.store.rows import Row
from hub.telemetry import SpanKind, fail, traceparent_of

log = logging.getLogger(__name__)


class Claim:
    """A claimed delivery with everything its steps need; also the boundary around its requests."""

    def __init__(self, ctx: Context, row: Row, session: Session, message: Row, target: Target | None, attempt_id: str) -> None:
        self._ctx, self.row, self.session, self.message = ctx, row, session, message
        self.target, self.attempt_id = target, attempt_id
        self._budget = ReadBoundary(ctx, session)
        declared = session.manifest.writes.get(row["type"])
        window = session.limits.get("max_in_flight_seconds")
        self.write = outcome.Write(
            declared["idempotency"] if declared else "none",
            float(window if window is not None else declared["max_in_flight_seconds"] if declared else 0),
            declared["object"] if declared else "",
        )

    async def before_request(self, request: Request) -> None:
        await self._budget.before_request(request)

    async def before_effect(self, request: Request) -> None:
        if not await self._ctx.loop.in_store(self._intend):
            raise LeaseLostError

    async def throttled(self, seconds: float) -> None:
        await self._budget.throttled(seconds)

    def _intend(self) -> bool:
        ctx, now = self._ctx, self._ctx.clock()
        with ctx.store.begin() as uow:
            if not uow.deliveries.intend(self.row, now, now + timedelta(seconds=ctx.settings.lease_seconds)):
                return False
            uow.attempts.update(self.row["tenant_id"], self.attempt_id, {"effects": 1, "outcome": "sending"})
        return True

    def document(self) -> Mapping[str, Any]:
        """The document to write: corrected if a person corrected it, cast to the connector's major, target fields mapped."""
        data = orjson.loads(self.row["corrected"]) if self.row["corrected"] else envelope_data(self.message["body"])
        major = self.session.manifest.data["canonical"]
        found = schema_version.cast(self.row["type"], data, major)
        if found is None:
            raise PermanentError(
                f"{self.row['connector']} speaks canonical v{major} and no caster leads there from {self.row['type']}",
                code="version_refused",
            )
        document = dict(found[1])
        if self.target is not None and self.target.map:
            fields = {name: evaluate(expression, data) for name, expression in self.target.map.items()}
            given = {name: value for name, value in fields.items() if value is not None}
            document["extensions"] = {**document.get("extensions", {}), "target": given}
        return document


class Deliverer:
    """Takes delivery ids from the broker; each one becomes a task on the runtime loop."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._random = random.Random()

    def on_message(self, payload: Mapping[str, Any], acknowledge: Callable[[], None]) -> None:
        """Called by the broker's thread; acknowledges after the outcome is committed (or there was nothing to do)."""
        done = self._ctx.loop.submit(self.deliver(payload["tenant_id"], payload["delivery_id"]))

        def end(future: "Future[bool]") -> None:
            if not future.cancelled() and (error := future.exception()) is not None:
                log.error("delivery %s: %s", payload["delivery_id"], error, exc_info=error)
            acknowledge()

        done.add_done_callback(end)

    async def deliver(self, tenant_id: str, delivery_id: str) -> bool:
        """One try of one delivery; False if it was not ours to try."""
        ctx = self._ctx
        session = await ctx.loop.in_store(self._session, tenant_id, delivery_id)
        if session is None:
            return False
        async with session.slots:
            claim = await ctx.loop.in_store(self._claim, tenant_id, delivery_id, session)
            if claim is None:
                return False
            row = claim.row
            with ctx.telemetry.span(
                tracing.DELIVER, claim.message["traceparent"], SpanKind.CONSUMER, hub_tenant=tenant_id,
                hub_delivery=delivery_id, hub_connection=row["connection_id"], hub_attempt=row["attempts"] + 1,
            ) as span:  # fmt: skip
                run = Run()
                result: Written | Skipped | Exception
                try:
                    result = await self._attempt(claim, run, traceparent_of(span))
                except asyncio.CancelledError:
                    raise
                except Exception as error:  # the worker loop: whatever went wrong becomes an outcome
                    result = error
                    fail(span, type(error).__name__)
                decision = outcome.decide(ctx, row, claim.write, result, run, self._random)
                document_id = envelope_data(claim.message["body"])["id"]
                state = decision.state if decision else "lost"
                with ctx.telemetry.span(tracing.OUTCOME, traceparent_of(span), hub_outcome=state):
                    return await ctx.loop.in_store(
                        outcome.commit, ctx, row, session, claim.attempt_id, claim.write, decision, run, document_id
                    )

    async def _attempt(self, claim: Claim, run: Run, parent: str) -> Written | Skipped:
        performer, session, row = self._ctx.loop.performer, claim.session, claim.row
        document = claim.document()
        if row["type"] not in session.manifest.writes:
            raise PermanentError(f"{row['connector']} no longer writes {row['type']}", code="version_refused")
        if row["probe"] and claim.write.idempotency == "find":
            find = session.connector.find(row["type"], document, row["key"])
            found = await performer.perform(find, session, claim, run, parent)
            if found is not None:
                return Written(found, {"found_by": "probe"})
        write: Steps[Written | Skipped] = session.connector.write(row["type"], document, row["key"])
        return await performer.perform(write, session, claim, run, parent)

    def _session(self, tenant_id: str, delivery_id: str) -> Session | None:
        with self._ctx.store.read() as uow:
            row = uow.deliveries.get(tenant_id, delivery_id)
            if row is None or row["connector"] not in self._ctx.plugins.connectors:
                return None
            return self._ctx.sessions.get(uow, tenant_id, row["connection_id"])

    def _claim(self, tenant_id: str, delivery_id: str, session: Session) -> Claim | None:
        ctx, now = self._ctx, self._ctx.clock()
        until = now + timedelta(seconds=ctx.settings.lease_seconds)
        with ctx.store.begin() as uow:
            rows = uow.deliveries.claim(tenant_id, [delivery_id], ctx.instance, now, until)
            if not rows:
                # Blocked by a sibling that committed later, or paused meanwhile: the sweep publishes it again when it may go.
                uow.deliveries.mark_published([(tenant_id, delivery_id)], None)
                return None
            row = rows[0]
            message = uow.messages.get(tenant_id, row["message_id"])
            assert message is not None
            attempt_id = new_id()
            uow.attempts.add({
                "tenant_id": tenant_id, "id": attempt_id, "delivery_id": row["id"], "number": row["attempts"] + 1,
                "kind": "probe" if row["probe"] else "write", "worker": ctx.instance, "started_at": now,
                "ended_at": None, "outcome": "claimed", "code": "", "detail": "", "steps": [], "effects": 0,
                "external_id": None, "traceparent": message["traceparent"],
            })  # fmt: skip
            target = self._target(ctx.routes.in_force(uow, tenant_id), row)
        return Claim(ctx, row, session, message, target, attempt_id)

    @staticmethod
    def _target(routes: list[InForce], row: Row) -> Target | None:
        """The flow's target as it is in force now: a corrected map applies to what still waits."""
        for entry in routes:
            for name, flow in entry.flows():
                if name == row["flow"]:
                    for target in flow.targets:
                        if target.connection_id == row["connection_id"]:
                            return target
        return None


def recover(ctx: Context, others_are_dead: bool = False) -> int:
    """Take back claims whose worker is gone: unsent ones wait again, sent ones are ambiguous. Returns how many."""
    now = ctx.clock()
    with ctx.store.begin() as uow:
        tenants = uow.tenants.ids()
        rows = uow.deliveries.expired(tenants, now, ctx.instance if others_are_dead else None)
        for row in rows:
            sent = row["state"] == "sending"
            window = 0.0
            decided: dict[str, Any] = {"state": "pending", "cause_code": "worker_lost"}
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
            for attempt in uow.attempts.unfinished(row["tenant_id"], row["id"]):
                ended = {"ended_at": now, "outcome": decided["state"], "code": "worker_lost", "detail": cause}
                uow.attempts.update(row["tenant_id"], attempt["id"], ended)
            uow.deliveries.settle(row, now, {
                **decided, "cause": cause, "attempts": row["attempts"] + 1,
                "available_at": now + timedelta(seconds=window),
            })  # fmt: skip
        if others_are_dead:
            uow.deliveries.forget_published(tenants)
            uow.raws.release(tenants)
    if rows:
        ctx.delivery_due.set()
    return len(rows)
