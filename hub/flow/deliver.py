"""Competing Consumers: claim deliveries, probe if the last try is unknown, write, hand the result to `outcome`, acknowledge.

No transaction is open while the target is called. Before each request that may change the target the intent is committed
and the lease checked, in one statement; a worker that was paused too long finds its lease gone and sends nothing.
"""

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from canonical.registry import type_named
from hub.flow import outcome, recording
from hub.flow.budget import calm
from hub.flow.claim import Claim, Guard, claims_of, digest_of
from hub.flow.context import Context
from hub.flow.entities import taken_over
from hub.flow.relay import delivery_ids
from hub.flow.storable import minimal, not_stored, storable, storable_run
from hub.policies import rate_limit, tracing
from hub.runtime.performer import Run
from hub.runtime.session import Session
from hub.sdk.errors import PermanentError
from hub.sdk.steps import Skipped, Steps, Written
from hub.store import StoreUnavailableError, UnitOfWork
from hub.store.rows import Row
from hub.telemetry import SpanKind, fail, traceparent_of

log = logging.getLogger(__name__)
#: How long a delivery waits in a worker for a place among its connection's concurrent ones, then for the relay again.
_PATIENCE_SECONDS = 2.0
_BUSY_SECONDS, _BULK_BUSY_SECONDS = 0.03, 0.25


class _Parcel:
    """The deliveries of one message: it is acknowledged when each has its end."""

    def __init__(self, count: int, acknowledge: Callable[[], None]) -> None:
        self._left, self._acknowledge = count, acknowledge

    def one_done(self) -> None:
        self._left -= 1
        if not self._left:
            self._acknowledge()


@dataclass
class _Waiting:
    """A delivery id that the broker handed over."""

    id: str
    bulk: bool
    trial: bool
    acknowledge: Callable[[], None]
    since: float


class Deliverer:
    """Takes delivery ids from the broker; a desk per connection claims them in batches and works on them."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._desks: dict[tuple[str, str], _Desk] = {}
        self._draining = False

    def on_message(self, payload: Mapping[str, Any], acknowledge: Callable[[], None]) -> None:
        """Called by the broker's thread; acknowledged after the outcome is committed (or there was nothing to do)."""
        key = (str(payload["tenant_id"]), str(payload["connection_id"]))
        if not (ids := delivery_ids(payload)):
            log.error("a message for %s names no delivery: %s", key, payload)
            acknowledge()
            return
        self._ctx.loop.call(self._put, key, ids, payload.get("lane") == "bulk", bool(payload.get("trial")), acknowledge)

    def _put(
        self, key: tuple[str, str], ids: Sequence[str], bulk: bool, trial: bool, acknowledge: Callable[[], None]
    ) -> None:  # fmt: skip
        desk = self._desks.get(key)
        if desk is None:
            desk = self._desks[key] = _Desk(self._ctx, *key)
            desk.closed = self._draining
        parcel, now = _Parcel(len(ids), acknowledge), self._ctx.loop.time()
        desk.put([_Waiting(delivery_id, bulk, trial, parcel.one_done, now) for delivery_id in ids])

    async def drain(self) -> None:
        """Take nothing new; return when what is claimed has its outcome, and what is not is due for other workers."""
        self._draining = True
        for desk in self._desks.values():
            desk.closed = True
        while any(desk.busy for desk in self._desks.values()):
            await asyncio.sleep(0.02)

    async def deliver(self, tenant_id: str, delivery_id: str, trial: bool = False) -> bool:
        """One try of one delivery, without a broker; False if it was not ours to try."""
        with self._ctx.store.read() as uow:
            row = uow.deliveries.get(tenant_id, delivery_id)
        if row is None:
            return False
        desk = _Desk(self._ctx, tenant_id, row["connection_id"])
        return await desk.try_one(delivery_id, trial)


class _Desk:
    """The deliveries of one connection that are in this worker's hands."""

    def __init__(self, ctx: Context, tenant_id: str, connection_id: str) -> None:
        self._ctx, self._tenant_id, self._connection_id = ctx, tenant_id, connection_id
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._random = random.Random()
        self._freed = asyncio.Event()
        #: Bulk deliveries that are being written, and when the relay hears of what has ended since it was told last.
        self._bulk = 0
        self._telling: asyncio.TimerHandle | None = None
        self.closed = False

    @property
    def busy(self) -> bool:
        return self._task is not None or bool(self._tasks)

    def put(self, items: Sequence[_Waiting]) -> None:
        self._waiting.extend(items)
        if not all(item.bulk for item in items):
            self._freed.set()  # what waits now may be bulk work
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _return(self, items: Sequence[_Waiting]) -> None:
        """What this worker does not claim is due again."""
        if items:
            await self._give_back([item.id for item in items])
        for item in items:
            item.acknowledge()

    async def _run(self) -> None:
        """Claim what waits, as long as something waits; once closed, give it back."""
        try:
            while self._waiting:
                if self.closed:
                    items = list(self._waiting)
                    self._waiting.clear()
                    await self._return(items)
                    continue
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), 100))]
                try:
                    claims, busy = await self._claim(batch)
                except Exception as error:  # the worker loop: the store is away, or has something against it
                    log.warning("deliveries of %s cannot be claimed now: %s", self._connection_id, error)
                    self._waiting.extendleft(reversed(batch))
                    await asyncio.sleep(0.3)
                    continue
                now, late = self._ctx.loop.time(), []
                ours = {claim.row["id"] for group in claims for claim in group}
                for item in batch:
                    if item.id in busy and now - item.since < _PATIENCE_SECONDS:
                        self._waiting.append(item)
                    elif item.id not in ours:
                        late.append(item)
                await self._return(late)
                by_id = {item.id: item for item in batch}
                for group in claims:
                    self._bulk += _in_bulk(group)
                    task = asyncio.get_running_loop().create_task(self._finish(group, by_id))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                if busy:
                    await self._a_place()
        finally:
            self._task = None

    async def _a_place(self) -> None:
        """Until one is free here, or all for bulk work: it goes in rounds, each with one claim and one commit.

        Another worker frees them unheard, and a delivery may take long: no longer than a moment.
        """
        live = any(not item.bulk for item in self._waiting)
        self._freed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BUSY_SECONDS if live else _BULK_BUSY_SECONDS):
                await self._freed.wait()
                while self._bulk and all(item.bulk for item in self._waiting):
                    self._freed.clear()
                    await self._freed.wait()

    async def _finish(self, group: list[Claim], items: Mapping[str, _Waiting]) -> None:
        try:
            await self._work(group, any(items[claim.row["id"]].trial for claim in group))
        except Exception as error:  # the outcome could not be committed: the lease runs out and `recover` decides
            log.error("deliveries %s: %s", [claim.row["id"] for claim in group], error, exc_info=error)
        finally:
            if bulk := _in_bulk(group):
                self._bulk -= bulk
                self._bulk_ended()
            self._freed.set()
            for claim in group:
                items[claim.row["id"]].acknowledge()

    def _bulk_ended(self) -> None:
        """Tell the relay of the places that are free at the end of a round, or of a moment."""
        if not self._bulk:
            self._tell()
        elif self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_BULK_BUSY_SECONDS, self._tell)

    def _tell(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._ctx.due.add(self._tenant_id, self._connection_id, freed=True)

    async def try_one(self, delivery_id: str, trial: bool) -> bool:
        claims, _ = await self._claim([_Waiting(delivery_id, False, trial, lambda: None, 0.0)])
        if not claims:
            await self._give_back([delivery_id])
            return False
        moved = await self._work(claims[0], trial)
        self._tell()
        return moved

    async def _give_back(self, ids: list[str]) -> None:
        """Blocked by a sibling that committed later, or paused meanwhile: the sweep publishes it again when it may go."""
        keys = [(self._tenant_id, delivery_id) for delivery_id in ids]
        try:
            await self._ctx.commit(lambda uow: uow.deliveries.give_back(keys), self._tenant_id, self._connection_id)
        except Exception as error:
            log.warning("%d deliveries could not be given back now: %s", len(ids), error)

    async def _claim(self, items: Sequence[_Waiting]) -> tuple[list[list[Claim]], set[str]]:
        """(claims, grouped as they will be written; ids for which the connection has no place now)."""
        return await self._ctx.loop.in_store(self._claimed, items)

    def _claimed(self, items: Sequence[_Waiting]) -> tuple[list[list[Claim]], set[str]]:
        """What is needed for the claims is read before and after them: the connection's row is locked for them alone."""
        ctx, now = self._ctx, self._ctx.clock()
        with ctx.store.read() as uow:
            try:
                session = ctx.sessions.get(uow, self._tenant_id, self._connection_id)
            except KeyError:  # its connector is not installed here
                return [], set()
            routes = ctx.routes.in_force(uow, self._tenant_id)
        # Undone by a crash of the database, a claim does not get past its intent; a committed intent has made it durable.
        intended = _sends_at_once(session)
        with ctx.store.begin(durable=intended) as uow:
            taken, busy = self._take(uow, session, items, now, intended)
        if not (rows := taken()):
            return [], busy
        with ctx.store.read() as uow:
            uow.ask_version(self._tenant_id)
            messages = uow.messages.many(self._tenant_id, [row["message_id"] for row in rows])
            ends = self._overtaken(uow, rows)
            mine = [row for row in rows if row["id"] not in ends]
            claims = claims_of(ctx, uow, session, mine, messages, routes, now)
        if ends:
            with ctx.store.begin() as uow:
                for row in [row for row in rows if row["id"] in ends]:
                    outcome.skip(uow, row, *ends[row["id"]], now)
                    if ends[row["id"]][0] == "ownership_changed":  # what still counts for it is merged anew
                        uow.entities.mark_due(self._tenant_id, row["subject"], now)
        return _groups(claims), busy

    def _take(
        self, uow: UnitOfWork, session: Session, items: Sequence[_Waiting], now: datetime, intended: bool
    ) -> tuple[Callable[[], list[Row]], set[str]]:  # fmt: skip
        """The rows that are ours (after the commit), of as many as there are places; who finds none is busy."""
        ctx, key = self._ctx, (self._tenant_id, self._connection_id)
        locking, counting = uow.budgets.locking(*key), uow.deliveries.counting(*key, now)
        budget = locking()
        if budget is None:  # made now, and counted again: the lock comes first
            budget, counting = uow.budgets.lock(*key), uow.deliveries.counting(*key, now)
        if budget["open_until"] > now.timestamp():  # the breaker is open: only who was sent to try may try
            items = [item for item in items if item.trial]
        batch = max((int(item["batch"]) for item in session.manifest.writes.values()), default=1)
        places = int(session.limits["concurrency"]) * batch
        taken = counting()
        free = max(0, places - taken.total() - rate_limit.held(budget, now.timestamp()))
        live = [item.id for item in items if not item.bulk][:free]
        # Half of the places are kept for what may come: bulk work would hold them all for as long as its target takes.
        left = min(free - len(live), max(places // 2, 1) - taken["bulk"])
        chosen = live + [item.id for item in items if item.bulk][: max(0, left)]
        if not rate_limit.troubled(budget, session.limits, now.timestamp()):
            calm(ctx, session)
        until = now + timedelta(seconds=ctx.settings.lease_seconds)
        if not chosen:
            return list, {item.id for item in items}
        rows = uow.deliveries.claiming(self._tenant_id, chosen, ctx.instance, now, until, intended)
        return rows, {item.id for item in items} - set(chosen)

    def _overtaken(self, uow: UnitOfWork, rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
        """By id, code and cause of those that must not be written any more.

        While one is open no later one begins: what a newer state overtook had been overtaken when it was first claimed, and was
        never sent, whatever a crash has made of that. Else what may have been sent already is seen through.
        """
        newest = uow.deliveries.newest_applied([row for row in rows if type_named(row["type"]).supersedes])
        found = {}
        for row in rows:
            if at := newest.get(row["id"]):  # a state that arrives after a newer one of its entity was applied is never applied
                cause = f"the target has the state of {at.isoformat()}, this one is of {row['event_at'].isoformat()}"
                found[row["id"]] = ("superseded", cause)
            elif not row["probe"] and (fields := taken_over(self._ctx, uow, row)):
                cause = f"{self._connection_id} owns {', '.join(fields)} by now; what still counts for it is sent anew"
                found[row["id"]] = ("ownership_changed", cause)
        return found

    async def _work(self, group: list[Claim], trial: bool) -> bool:
        """Try a group of claims and commit each one's outcome; whether they were still ours."""
        ctx, first = self._ctx, group[0]
        with ctx.telemetry.span(
            tracing.DELIVER, first.message["traceparent"], SpanKind.CONSUMER, hub_tenant=self._tenant_id,
            hub_delivery=first.row["id"], hub_connection=self._connection_id, hub_attempt=first.row["attempts"] + 1,
            hub_batch=len(group),
        ) as span:  # fmt: skip
            # While another version is beside this one, what is asked and answered is kept, to compare the two.
            two = ctx.plugins.other(first.row["connector"], self._tenant_id) is not None
            run = Run(exchanges=[] if two else None)
            given: dict[str, Mapping[str, Any]] = {}  # attempt → the document that its connector gets
            results: Sequence[Written | Skipped | Exception]
            try:
                results = await self._attempt(group, given, Guard(ctx, group, trial), run, traceparent_of(span))
            except asyncio.CancelledError:
                raise
            except Exception as error:  # the worker loop: whatever went wrong becomes an outcome
                results = [error] * len(group)
                fail(span, type(error).__name__)
            kept = recording.record(group, given, run, results, ctx.clock()) if two else None
            moved = True
            commits = []
            stored = storable_run(run)
            for claim, result in zip(group, results, strict=True):
                decision = self._decided(claim, result, run, trial)
                state = decision.state if decision else "lost"
                ctx.plugins.conduct.outcome(claim.session, state, result, ctx.clock())
                with ctx.telemetry.span(tracing.OUTCOME, traceparent_of(span), hub_outcome=state):
                    commits.append(
                        self._commit(claim, decision, stored, given.get(claim.attempt_id), kept if claim is first else None)
                    )
            if len(commits) == 1:
                return await commits[0]
            for done in await asyncio.gather(*commits, return_exceptions=True):
                if isinstance(done, BaseException):
                    raise done
                moved = moved and done
            return moved

    def _decided(
        self, claim: Claim, result: Written | Skipped | Exception, run: Run, trial: bool
    ) -> outcome.Outcome | None:  # fmt: skip
        """The outcome in a form that the store takes; None if the claim was lost."""
        try:
            found = outcome.decide(self._ctx, claim.row, claim.write, result, run, self._random, trial)
            return None if found is None else storable(found)
        except Exception as error:  # a plugin's result that cannot even be looked at (its own __str__ fails, say)
            log.error("delivery %s: its result cannot be used", claim.row["id"], exc_info=error)
            return not_stored(error)

    async def _commit(
        self, claim: Claim, decision: outcome.Outcome | None, run: Run, given: Mapping[str, Any] | None, kept: Row | None
    ) -> bool:  # fmt: skip
        ending = outcome.Ending(
            claim.row, claim.session, claim.attempt(), claim.write.object, claim.canonical_id, decision, run, self._ctx.clock(),
            "" if given is None else digest_of(given), kept,
        )  # fmt: skip
        try:
            moved = await self._ctx.commit_each(outcome.commit, ending, self._tenant_id, self._connection_id)
        except StoreUnavailableError:
            raise
        except Exception as error:  # the store takes everything else than this: said so once, and nothing is sent again
            log.error("the outcome of delivery %s cannot be stored: %s", claim.row["id"], ascii(str(error))[:500])
            instead = minimal(ending, error)
            moved = await self._ctx.commit_each(outcome.commit, instead, self._tenant_id, self._connection_id)
        if not _in_bulk([claim]):
            self._tell()  # a place is free, and the next sibling may go
        return moved

    async def _attempt(
        self, group: list[Claim], given: dict[str, Mapping[str, Any]], guard: Guard, run: Run, parent: str
    ) -> Sequence[Written | Skipped | Exception]:
        performer, session, row = self._ctx.loop.performer, group[0].session, group[0].row
        if row["type"] not in session.manifest.writes:
            raise PermanentError(f"{row['connector']} no longer writes {row['type']}", code="version_refused")
        for claim in group:
            given[claim.attempt_id] = claim.document()
        if len(group) > 1:
            items = [(given[claim.attempt_id], claim.row["key"]) for claim in group]
            many = session.connector.write_many(row["type"], items)
            results = await performer.perform(many, session, guard, run, parent)
            if len(results) != len(items):
                raise TypeError(f"write_many answered {len(results)} results for {len(items)} documents")
            return results
        document = given[group[0].attempt_id]
        if row["probe"] and group[0].write.idempotency == "find":
            find = session.connector.find(row["type"], document, row["key"])
            found = await performer.perform(find, session, guard, run, parent)
            if found is not None:
                return [Written(found, {"found_by": "probe"})]
        write: Steps[Written | Skipped] = session.connector.write(row["type"], document, row["key"])
        return [await performer.perform(write, session, guard, run, parent)]


def _groups(claims: list[Claim]) -> list[list[Claim]]:
    """Claims that are written together: of one type, where the connector writes in bulk; a probe goes alone."""
    groups: list[list[Claim]] = []
    bulk: dict[str, list[Claim]] = {}
    for claim in claims:
        declared = claim.session.manifest.writes.get(claim.row["type"])
        size = int(declared["batch"]) if declared else 1
        if size == 1 or claim.row["probe"]:
            groups.append([claim])
            continue
        group = bulk.get(claim.row["type"])
        if group is None or len(group) >= size:
            group = bulk[claim.row["type"]] = []
            groups.append(group)
        group.append(claim)
    return groups


def _in_bulk(group: Sequence[Claim]) -> int:
    """How many of these are bulk work."""
    return sum(claim.row["lane"] == "bulk" for claim in group)


def _sends_at_once(session: Session) -> bool:
    """Whether a claim of this connection is its intent, too: nothing has to be waited for before the bytes leave.

    After a crash all that was claimed counts as sent, and is probed. Where nothing can be probed, a person would have to
    decide about what never left: there the intent is recorded when it is about to.
    """
    probed = all(item["idempotency"] != "none" for item in session.manifest.writes.values())
    return probed and not rate_limit.counted(session.limits)
