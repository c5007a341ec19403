"""Message Translator: raw input becomes canonical documents; what cannot, waits in quarantine (Invalid Message Channel).

Reads (thin webhooks) happen first, with no transaction open; then messages, deliveries, audit and the raw input's end are
committed in one transaction. Translating the same input twice yields the same messages (unique keys).
"""

import asyncio
import logging
import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any

import orjson

from canonical.errors import InvalidDocumentError
from hub.broker import LANES
from hub.errors import HubError, LeaseLostError, ThrottledError
from hub.flow import aside, withdraw
from hub.flow.budget import ReadBoundary
from hub.flow.causes import describe
from hub.flow.commit import EarlierFirstError, Read
from hub.flow.commit import commit as _commit
from hub.flow.context import Context
from hub.flow.route import tell_relay
from hub.flow.share import Share
from hub.identity.connections import pause
from hub.policies import audit, tracing
from hub.policies.dead_letter import backoff_seconds, remedy_for
from hub.policies.text import clean
from hub.runtime.performer import Run
from hub.runtime.plugins import NotInstalledError
from hub.runtime.session import Session
from hub.sdk.errors import AuthenticationError, PermanentError, RetryableError, UntranslatableError
from hub.sdk.steps import Document, Gone, Ignored, Refused, Request, Webhook
from hub.store import StoreUnavailableError, UnitOfWork
from hub.store.rows import Row
from hub.telemetry import SpanKind, fail, traceparent_of

log = logging.getLogger(__name__)
#: Raw inputs of a tenant in hand at a time, and bulk ones claimed at a time: small pieces beside live work, so that it meets a
#: little of a history always and never a lot of it.
_MOST, _MOST_BULK, _MOST_BESIDE = 60, 16, 4
#: The loop's timers may ring so much before their time.
_EARLY_SECONDS = 0.002


class _RawBoundary(ReadBoundary):
    """Reads of a translation: each keeps the claim alive."""

    def __init__(self, ctx: Context, session: Session, row: Row) -> None:
        super().__init__(ctx, session)
        self._ctx, self._row = ctx, row

    async def before_request(self, request: Request) -> None:
        ctx, row = self._ctx, self._row
        until = ctx.clock() + _lease(ctx)
        if not await ctx.commit(lambda uow: uow.raws.renew(row["tenant_id"], row["id"], ctx.instance, until)):
            raise LeaseLostError
        await super().before_request(request)


def _lease(ctx: Context) -> timedelta:
    """Longer than one read may take; each read renews it."""
    return timedelta(seconds=2 * ctx.settings.lease_seconds)


class Translator:
    """Claims raw inputs and translates them; of one connection at most ``translate_threads`` are read at a time."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        #: What this worker takes.
        self.lanes: Collection[str] = LANES
        self._random = random.Random()
        self._in_hand: Counter[str] = Counter()
        #: By connection: how many read at a time, and when the one that was claimed last may be followed.
        self._reading: dict[tuple[str, str], asyncio.Semaphore] = {}
        self._turns: dict[tuple[str, str], asyncio.Event] = {}
        self._bulk_at, self._bulk_last = 0.0, ""
        self._share, self._beside = Share(ctx), True

    def run_once(self) -> int:
        """Claim what is due now and start on it; returns how many. A tenant that is slow keeps nobody else waiting."""
        ctx, now, found = self._ctx, self._ctx.clock(), 0
        if not (lanes := self._lanes_now()):
            return 0
        with ctx.store.read() as uow:
            tenants = uow.raws.tenants_due(now, lanes)
        if tenants and "bulk" in lanes:
            self._beside = self._share.beside()
        most = _MOST_BESIDE if self._beside else _MOST_BULK
        # In turns, beginning after the one whose bulk work went last: one with a long history keeps no other one's waiting.
        for tenant in sorted(tenants, key=lambda tenant: (tenant <= self._bulk_last, tenant)):
            room = _MOST - self._in_hand[tenant]
            if room <= _MOST // 2:
                continue
            with ctx.store.begin() as uow:
                rows = uow.raws.claim_due(tenant, ctx.instance, now, now + _lease(ctx), room, most, lanes)
            if rows:
                found += len(rows)
                if _holds_bulk(rows):  # no other one's in this turn, even if this piece ends within it: the next one goes first
                    lanes = [lane for lane in lanes if lane != "bulk"]
                    self._bulk_last = tenant
                    self._bulk_at = math.inf  # one piece at a time; its end says when the next may begin
                self._in_hand[tenant] += len(rows)
                ctx.loop.submit(self._all(tenant, rows))
        return found

    def _lanes_now(self) -> list[str]:
        resting = self._bulk_at - self._ctx.loop.time() > _EARLY_SECONDS
        return [lane for lane in LANES if lane in self.lanes and not (lane == "bulk" and resting)]

    async def _all(self, tenant_id: str, rows: Sequence[Row]) -> None:
        """Read side by side, commit in the order of receipt per connection: a return must not come before its sale."""
        ctx, began = self._ctx, self._ctx.loop.time()
        try:
            sessions = await ctx.loop.in_store(self._sessions, tenant_id, {row["connection_id"] for row in rows})
            work = []
            for row in rows:
                key = (tenant_id, row["connection_id"])
                turn, done = self._turns.get(key), asyncio.Event()
                self._turns[key] = done
                work.append(self._translate(row, sessions[row["connection_id"]], turn, done))
            await asyncio.gather(*work)
        except Exception as error:  # the worker loop: the claims run out and the inputs are taken again
            log.warning("raw input of %s: %s", tenant_id, error)
        finally:
            self._in_hand[tenant_id] -= len(rows)
            if _holds_bulk(rows):  # what else goes on here gets the rest of the time
                rest = self._share.rest(ctx.loop.time() - began, self._beside)
                self._bulk_at = ctx.loop.time() + rest
                asyncio.get_running_loop().call_later(rest, ctx.raw_arrived.set)
            ctx.raw_arrived.set()

    def _sessions(self, tenant_id: str, connections: Iterable[str]) -> dict[str, Session | Exception]:
        found: dict[str, Session | Exception] = {}
        for connection_id in connections:
            try:
                with self._ctx.store.read() as uow:
                    found[connection_id] = self._ctx.sessions.get(uow, tenant_id, connection_id)
            except Exception as error:  # a store that is away, a connector's own constructor: told of each of its inputs
                found[connection_id] = error
        return found

    async def _translate(self, row: Row, session: Session | Exception, turn: asyncio.Event | None, done: asyncio.Event) -> None:
        """Take one claimed raw input to its end; it is given to be committed after the one before (``turn``)."""
        ctx, key = self._ctx, (row["tenant_id"], row["connection_id"])
        reading = self._reading.setdefault(key, asyncio.Semaphore(ctx.settings.translate_threads))
        try:
            with ctx.telemetry.span(
                tracing.TRANSLATE, row["traceparent"], SpanKind.INTERNAL, hub_tenant=row["tenant_id"], hub_raw=row["id"]
            ) as span:
                try:
                    if isinstance(session, Exception):
                        raise session
                    async with reading:
                        documents = await self._documents(row, session, traceparent_of(span))
                    if turn is not None:
                        await turn.wait()
                    with ctx.telemetry.span(tracing.ROUTE, traceparent_of(span), hub_tenant=row["tenant_id"]):
                        origin = aside.origin_of(_body(row)) if row["kind"] == aside.KIND else None
                        read = Read(ctx, row, session, documents, traceparent_of(span), origin)
                        committed = asyncio.ensure_future(ctx.commit_each(_commit, read))
                        await asyncio.sleep(0)  # it is in the queue: the next may follow it
                        done.set()
                        admitted = await committed
                    for item in admitted:
                        tell_relay(ctx, row["tenant_id"], item)
                except Exception as error:  # the worker loop: whatever went wrong becomes data on the row
                    fail(span, type(error).__name__)
                    known = None if isinstance(session, Exception) else session
                    await ctx.loop.in_store(self._failed, row, known, error)
        except Exception as error:  # the worker loop: the claim runs out and the input is taken again
            log.warning("raw input %s: %s", row["id"], error)
        finally:
            done.set()
            if self._turns.get(key) is done:
                del self._turns[key]

    async def _documents(self, claimed: Row, session: Session, parent: str) -> Sequence[Document | Gone | Ignored | Refused]:
        row = claimed
        if row["event_type"] == withdraw.GONE and row["kind"] == "poll":
            return [Gone(row["object"], orjson.loads(row["body"])["gone"])]
        if row["kind"] == aside.KIND:
            origin = aside.origin_of(_body(row))
            if origin.document is not None:
                return [origin.document]
            row = await self._ctx.loop.in_store(self._input, row, origin.input_id)
        boundary = _RawBoundary(self._ctx, session, claimed)
        body = _body(row)
        steps = session.connector.interpret(Webhook(body, row["headers"]), row["object"] if row["kind"] == "poll" else "")
        return await self._ctx.loop.performer.perform(steps, session, boundary, Run(), parent)

    def _input(self, row: Row, input_id: str) -> Row:
        """The input that a refused document was part of: it is translated again, and what is admitted already is known."""
        with self._ctx.store.read() as uow:
            found = uow.raws.get(row["tenant_id"], input_id)
        if found is None:
            raise UntranslatableError(f"input {input_id} is not kept any more", code="input_forgotten")
        return found

    def _failed(self, row: Row, session: Session | None, error: Exception) -> None:
        """Later, or quarantine: by what kind of error it was."""
        ctx, now = self._ctx, self._ctx.clock()
        if isinstance(error, LeaseLostError):
            return
        with ctx.store.begin() as uow:
            if isinstance(error, EarlierFirstError):
                self._postpone(uow, {**row, "attempts": row["attempts"] - 1}, 0.2, "earlier_first", "waits for its sale")
            elif isinstance(error, StoreUnavailableError):  # a deadlock, a restart: nothing is wrong with what was said
                self._postpone(uow, {**row, "attempts": row["attempts"] - 1}, 0.2, error.code, "the store was away")
            elif isinstance(error, NotInstalledError):
                self._postpone(uow, {**row, "attempts": row["attempts"] - 1}, 15.0, "not_installed", str(error))
            elif isinstance(error, ThrottledError):
                self._postpone(uow, row, error.wait_seconds, "throttled", str(error))
            elif isinstance(error, AuthenticationError):
                if session is not None:
                    pause(uow, session, error.message, now, "translate")
                self._postpone(uow, row, 30.0, error.code, error.message)
            elif isinstance(error, RetryableError):
                wait = error.retry_after
                if wait is None:
                    wait = backoff_seconds(ctx.settings, row["attempts"], self._random)
                self._postpone(uow, row, wait, error.code, error.message)
            elif _settled(error) or row["attempts"] >= ctx.settings.max_attempts:
                code, cause, given = describe(error)
                uow.raws.settle(row["tenant_id"], row["id"], ctx.instance, {
                    "state": "quarantined", "cause_code": code, "cause": cause, "remedy": remedy_for(code, given),
                    "settled_at": now,
                })  # fmt: skip
                audit.record(uow, row["tenant_id"], now, "translate", "raw.quarantined", f"raw/{row['id']}",
                             code=code, cause=cause)  # fmt: skip
            else:
                code, cause, _ = describe(error)
                self._postpone(uow, row, backoff_seconds(ctx.settings, row["attempts"], self._random), code, cause)

    def _postpone(self, uow: UnitOfWork, row: Row, seconds: float, code: str, cause: str) -> None:
        later = self._ctx.clock() + timedelta(seconds=seconds)
        values = {
            "available_at": later,
            "cause_code": clean(code, 64),
            "cause": clean(cause, 4000),
            "attempts": row["attempts"],
        }
        uow.raws.settle(row["tenant_id"], row["id"], self._ctx.instance, values)


def _body(row: Row) -> bytes:
    """What is translated: the bytes that arrived, or what a person put in their place."""
    body: bytes = row["body"] if row["corrected"] is None else row["corrected"]
    return body


def _holds_bulk(rows: Sequence[Row]) -> bool:
    return any(row["lane"] == "bulk" for row in rows)


def _settled(error: Exception) -> bool:
    """Whether trying again cannot change the answer."""
    settled = (
        PermanentError,
        InvalidDocumentError,
        ValueError,
        LookupError,
        TypeError,
        ArithmeticError,
        RecursionError,
        HubError,
    )
    return isinstance(error, settled)


def envelope_data(body: bytes) -> Any:
    """The document in a stored message's body."""
    return orjson.loads(body)["data"]
