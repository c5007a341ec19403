"""Message Translator: raw input becomes canonical documents; what cannot, waits in quarantine (Invalid Message Channel).

Reads (thin webhooks) happen first, with no transaction open; then messages, deliveries, audit and the raw input's end are
committed in one transaction. Translating the same input twice yields the same messages (unique keys).
"""

import asyncio
import logging
import random
import traceback
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import orjson

from canonical.errors import InvalidDocumentError
from canonical.fields import parse_timestamp
from canonical.registry import type_named
from hub.errors import HubError, LeaseLostError, ThrottledError
from hub.flow.budget import ReadBoundary
from hub.flow.context import Context
from hub.flow.recipients import NewMessage
from hub.flow.route import admit_many
from hub.identity.connections import pause
from hub.policies import audit, redaction, schema_version, tracing
from hub.policies.dead_letter import backoff_seconds, remedy_for
from hub.runtime.performer import Run
from hub.runtime.plugins import NotInstalledError
from hub.runtime.session import Session
from hub.sdk.errors import AuthenticationError, ConnectorError, PermanentError, RetryableError
from hub.sdk.steps import Document, Ignored, Request, Webhook
from hub.store import UnitOfWork
from hub.store.rows import Row
from hub.telemetry import SpanKind, fail, traceparent_of

log = logging.getLogger(__name__)
#: A return waits this long for its sale, if the source sent something before it that is not translated yet.
_SALE_FIRST = timedelta(seconds=60)


class _EarlierFirstError(Exception):
    """What this document refers to may be among what arrived before it."""


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
    """Claims raw inputs and translates them, at most ``translate_threads`` of a tenant at a time."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._random = random.Random()
        self._busy: dict[str, Future[None]] = {}

    def run_once(self) -> int:
        """Claim what is due now and start on it; returns how many. A tenant that is slow keeps nobody else waiting."""
        ctx, now = self._ctx, self._ctx.clock()
        self._busy = {tenant: future for tenant, future in self._busy.items() if not future.done()}
        with ctx.store.read() as uow:
            tenants = [tenant for tenant in uow.raws.tenants_due(now) if tenant not in self._busy]
        found = 0
        for tenant in tenants:
            limit = ctx.settings.translate_threads
            with ctx.store.begin() as uow:
                rows = uow.raws.claim_due(tenant, ctx.instance, now, now + _lease(ctx), limit)
            if rows:
                found += len(rows)
                self._busy[tenant] = ctx.loop.submit(self._all(rows))
                self._busy[tenant].add_done_callback(lambda _: ctx.raw_arrived.set())
        return found

    @property
    def busy(self) -> bool:
        """Whether a translation is under way."""
        return any(not future.done() for future in self._busy.values())

    async def _all(self, rows: Sequence[Row]) -> None:
        """Read side by side, commit in the order of receipt per connection: a return must not come before its sale."""
        turns: dict[str, asyncio.Event] = {}
        work = []
        for row in rows:
            turn = turns.get(row["connection_id"])
            if turn is None:
                turn = asyncio.Event()
                turn.set()
            done = turns[row["connection_id"]] = asyncio.Event()
            work.append(self.translate(row, turn, done))
        await asyncio.gather(*work)

    async def translate(self, row: Row, turn: asyncio.Event, done: asyncio.Event) -> None:
        """Take one claimed raw input to its end; commits when it is its ``turn``."""
        try:
            await self._translate(row, turn)
        except Exception as error:  # the worker loop: the claim runs out and the input is taken again
            log.warning("raw input %s: %s", row["id"], error)
        finally:
            done.set()

    async def _translate(self, row: Row, turn: asyncio.Event) -> None:
        ctx = self._ctx
        with ctx.telemetry.span(
            tracing.TRANSLATE, row["traceparent"], SpanKind.INTERNAL, hub_tenant=row["tenant_id"], hub_raw=row["id"]
        ) as span:
            session = None
            try:
                session = await ctx.loop.in_store(self._session, row)
                documents = await self._documents(row, session, traceparent_of(span))
                await turn.wait()
                with ctx.telemetry.span(tracing.ROUTE, traceparent_of(span), hub_tenant=row["tenant_id"]):
                    await ctx.loop.in_store(self._commit, row, session, documents, traceparent_of(span))
            except Exception as error:  # the worker loop: whatever went wrong becomes data on the row
                fail(span, type(error).__name__)
                await ctx.loop.in_store(self._failed, row, session, error)

    def _session(self, row: Row) -> Session:
        with self._ctx.store.read() as uow:
            return self._ctx.sessions.get(uow, row["tenant_id"], row["connection_id"])

    async def _documents(self, row: Row, session: Session, parent: str) -> list[Document | Ignored]:
        boundary = _RawBoundary(self._ctx, session, row)
        body = row["body"] if row["corrected"] is None else row["corrected"]
        steps = session.connector.interpret(Webhook(body, row["headers"]), row["object"] if row["kind"] == "poll" else "")
        return await self._ctx.loop.performer.perform(steps, session, boundary, Run(), parent)

    def _commit(self, row: Row, session: Session, documents: Sequence[Document | Ignored], traceparent: str) -> None:
        ctx, now = self._ctx, self._ctx.clock()
        ignored = [item.reason for item in documents if isinstance(item, Ignored)]
        real = [item for item in documents if isinstance(item, Document)]
        for document in real:
            if found := schema_version.violations(document.type, document.data):
                raise InvalidDocumentError(document.type, found)
        with ctx.store.begin() as uow:
            self._require_sale_first(uow, row, real)
            admitted = []
            for result in admit_many(ctx, uow, [self._message(row, session, item, traceparent) for item in real]):
                if isinstance(result, Exception):
                    raise result
                admitted.append(result)
            state = "translated" if real else "ignored"
            ours = uow.raws.settle(
                row["tenant_id"], row["id"], ctx.instance, {"state": state, "ignored": ignored, "settled_at": now}
            )
            if not ours:
                raise LeaseLostError
            audit.record(
                uow, row["tenant_id"], now, "translate", f"raw.{state}", f"raw/{row['id']}", ignored=ignored,
                messages=[item.message_id for item in admitted], known=sum(item.duplicate for item in admitted),
            )  # fmt: skip
        for item in admitted:
            for connection_id in item.connections:
                ctx.due.add(row["tenant_id"], connection_id)
        ctx.due.bell.set()

    def _require_sale_first(self, uow: UnitOfWork, row: Row, documents: Sequence[Document]) -> None:
        """Workers translate side by side: a return may be read before the sale that arrived first."""
        if self._ctx.clock() - row["received_at"] > _SALE_FIRST:
            return
        for document in documents:
            if not document.data.get("original"):
                continue
            subject = type_named(document.type).subject(document.data)
            known = any(item["type"].startswith("sale.") for item in uow.messages.about(row["tenant_id"], subject))
            if not known and uow.raws.unfinished_before(row["tenant_id"], row["connection_id"], row["id"]):
                raise _EarlierFirstError

    @staticmethod
    def _message(row: Row, session: Session, document: Document, traceparent: str) -> NewMessage:
        occurred = document.data.get("occurred_at") or document.data.get("updated_at")
        return NewMessage(
            row["tenant_id"], document.type, f"connection/{session.connection_id}", document.source_id,
            document.data, parse_timestamp(occurred) if occurred else row["received_at"], traceparent,
            f"connection/{session.connection_id}", session.connection_id, row["id"], lane=row["lane"],
            read_at=row["received_at"] if row["kind"] == "poll" else None,
        )  # fmt: skip

    def _failed(self, row: Row, session: Session | None, error: Exception) -> None:
        """Later, or quarantine: by what kind of error it was."""
        ctx, now = self._ctx, self._ctx.clock()
        if isinstance(error, LeaseLostError):
            return
        with ctx.store.begin() as uow:
            if isinstance(error, _EarlierFirstError):
                self._postpone(uow, {**row, "attempts": row["attempts"] - 1}, 0.2, "earlier_first", "waits for its sale")
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
        values = {"available_at": later, "cause_code": code, "cause": cause, "attempts": row["attempts"]}
        uow.raws.settle(row["tenant_id"], row["id"], self._ctx.instance, values)


def _settled(error: Exception) -> bool:
    """Whether trying again cannot change the answer."""
    return isinstance(error, PermanentError | InvalidDocumentError | ValueError | LookupError | TypeError | HubError)


def describe(error: Exception) -> tuple[str, str, str]:
    """(code, cause, remedy if the error carries one) for people; a stranger's error keeps its traceback."""
    if isinstance(error, ConnectorError):
        return error.code, error.message, error.remedy
    if isinstance(error, InvalidDocumentError):
        listed = "; ".join(f"{item.field or '/'}: {item.message} [{item.code}]" for item in error.violations[:10])
        return "invalid_document", f"{error.type_name}: {listed}", ""
    if isinstance(error, HubError):
        return error.code, error.detail, ""
    if isinstance(error, ValueError) and "JSON" in type(error).__name__:
        return "malformed_json", f"the body is not JSON: {error}", ""
    trace = "".join(traceback.format_exception(error)[-3:])
    return "connector_bug", redaction.text(f"{type(error).__name__}: {error}\n{trace}")[:4000], ""


def envelope_data(body: bytes) -> Any:
    """The document in a stored message's body."""
    return orjson.loads(body)["data"]
