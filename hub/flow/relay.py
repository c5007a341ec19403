"""Transactional outbox: the relay is the only publisher. It selects by state, so what a crash left behind is found again.

It publishes what may go now and no more: per connection a window of deliveries under way, within what its limits allow.
Everything else waits in the store. So the broker's queues stay short, a tenant with a hundred times the load takes its own
window and nobody else's, and bulk work takes what live work leaves. Publishing twice is harmless (a claim decides),
publishing never is not: a row counts as published only until ``STALE``.
"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson

from hub.broker import DELIVERIES, INPUTS, LANES, BrokerUnavailableError, queue_name, topology_for
from hub.flow.budget import limits_of
from hub.flow.context import Context
from hub.policies import rate_limit, redaction, tracing
from hub.store import UnitOfWork
from hub.store.rows import Row

log = logging.getLogger(__name__)
#: After this long without a claim a delivery id is published again.
STALE = timedelta(seconds=60)
_BATCH = 500
#: Deliveries in one message: the broker's cost is per message.
_PARCEL = 16
_TOGETHER = ("tenant_id", "connection_id", "lane", "trial")
#: A connection whose window was full is not looked at again for so long, unless a place was freed here.
_FULL_SECONDS = 0.1
#: So long what it saw of a connection with nothing to wait for holds for what is admitted here.
_FREE = timedelta(seconds=1)


class Relay:
    """Publishes ids of deliveries that are due, and announces messages on the event exchange."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        #: What it publishes of what this process commits; the sweep publishes all. Live work is not to do what bulk work costs.
        self.lanes: tuple[str, ...] = LANES
        self._full: dict[tuple[str, str], float] = {}
        self._unheard: set[str] = set()

    def run_due(self) -> int:
        """Publish at once what this process has just committed; returns how many deliveries."""
        fresh = self._ctx.due.take()
        self._publish(fresh.going)
        if fresh.inputs and INPUTS not in self._ctx.broker.refused:
            self._ctx.broker.publish(DELIVERIES, [(INPUTS, {})])
        now = time.monotonic()
        # Where there is no place, whoever frees one publishes the next; asking before is in vain.
        wanted = {key for key, freed in fresh.connections.items() if freed or self._full.get(key, 0.0) < now}
        if freed := [key for key in wanted if fresh.connections[key]]:  # mostly nothing waits for the place
            with self._ctx.store.read() as uow:
                wanted -= {*freed} - {*uow.deliveries.with_due(freed, self._ctx.clock(), self.lanes)}
        return len(fresh.going) + self._relay(sorted(wanted), self.lanes)

    def end(self) -> None:
        """What was admitted to go while this process was ending is for another's relay."""
        if going := self._ctx.due.take().going:
            self._give_back(going)

    def sweep(self) -> int:
        """Publish whatever is due in any connection; returns how many deliveries."""
        with self._ctx.store.read() as uow:
            found = uow.deliveries.due_connections(self._ctx.clock())
        return self._relay([(row["tenant_id"], row["connection_id"]) for row in found], LANES)

    def give_back_stale(self) -> int:
        """What was published and never claimed is due again; returns how many."""
        with self._ctx.store.begin() as uow:
            return uow.deliveries.forget_published(self._ctx.clock() - STALE)

    def promote(self) -> int:
        """Let go what waits behind nothing any more; returns how many."""
        with self._ctx.store.begin() as uow:
            return uow.deliveries.promote_all()

    def _relay(self, connections: Sequence[tuple[str, str]], lanes: Collection[str]) -> int:
        """Take rows first, publish, and give back what the broker did not take.

        Marked before they are published: a worker may have claimed, tried and postponed one before a later mark would
        arrive. A crash in between costs STALE at most.
        """
        taken: list[Row] = []
        for tenant_id, connection_id in connections:
            # Undone by a crash of the database, they are due again and published twice.
            with self._ctx.store.begin(durable=False) as uow:
                taken += self._admit(uow, tenant_id, connection_id, lanes)
        return self._publish(taken)

    def _publish(self, taken: Sequence[Row]) -> int:
        """Publish rows that count as published; what the broker does not take does not."""
        if closed := self._ctx.broker.refused:
            self._give_back([row for row in taken if _queue_of(row) in closed])
            taken = [row for row in taken if _queue_of(row) not in closed]
        parcels = _parcels(taken)
        for start in range(0, len(parcels), _BATCH):
            batch = parcels[start : start + _BATCH]
            messages = [
                (_queue_of(rows[0]), {
                    "tenant_id": rows[0]["tenant_id"], "connection_id": rows[0]["connection_id"],
                    "delivery_ids": [row["id"] for row in rows], "lane": rows[0]["lane"], "trial": rows[0]["trial"],
                })
                for rows in batch
            ]  # fmt: skip
            with self._ctx.telemetry.span(tracing.RELAY, messaging_batch=len(messages)):
                try:
                    refused = self._ctx.broker.publish(DELIVERIES, messages)
                except BaseException:
                    self._give_back([row for rows in parcels[start:] for row in rows])
                    raise
                if refused:
                    self._give_back([row for position in refused for row in batch[position]])
                    log.error("the broker has no queue for %d messages; declaring the topology again", len(refused))
                    self._ctx.broker.declare(topology_for(self._ctx.plugins.connectors))
        return len(taken)

    def _give_back(self, rows: Sequence[Row]) -> None:
        with self._ctx.store.begin() as uow:
            uow.deliveries.give_back([(row["tenant_id"], row["id"]) for row in rows])

    def _admit(self, uow: UnitOfWork, tenant_id: str, connection_id: str, lanes: Collection[str]) -> list[Row]:
        """What may go to one connection now: live first, bulk with what is left (one at least)."""
        ctx, now, key = self._ctx, self._ctx.clock(), (tenant_id, connection_id)
        ctx.due.allow(*key, 0, now)
        connection = ctx.connection(uow, *key)
        limits = limits_of(ctx, connection) if connection is not None and connection["state"] == "active" else None
        if connection is None or limits is None:
            return []
        lanes = self._usable(connection["connector"], lanes)
        if not lanes:  # they wait in the store until the queue is mended
            return []
        budget = uow.budgets.get(*key)
        batch = max((int(item["batch"]) for item in self._writes(connection)), default=1)
        window = rate_limit.window(budget, limits, now.timestamp(), ctx.settings.lease_seconds / 4, batch)
        if not window:
            return []
        under_way = uow.deliveries.under_way(*key, now)
        live, bulk = under_way.get("live", 0), under_way.get("bulk", 0)
        room = max(0, window - live - bulk)
        trial = bool(budget["open_until"])
        if room and trial:  # the breaker is open and its time is up: exactly one finds out whether the target is back
            budget = uow.budgets.lock(*key)
            if not budget["open_until"] or budget["open_until"] > now.timestamp():
                return []
            budget["open_until"] = now.timestamp() + float(limits["breaker_seconds"])
            uow.budgets.save(budget)
            lanes = self._usable(connection["connector"], LANES)
        self._full[key] = 0.0 if room else time.monotonic() + _FULL_SECONDS
        taken = uow.deliveries.take_due(*key, "live", now, room) if room and "live" in lanes else []
        # Bulk work leaves half of the window to what may come; live work that fills it must not stop bulk work for ever.
        left = 1 if trial else max(window // 2, 1) - bulk
        left = min(left, room - len(taken)) or (1 if not trial and not bulk else 0)
        # Where nothing waits and nothing is counted, what comes next may go with its admission, without being looked for.
        calm = (
            "live" in lanes
            and len(taken) < room
            and not rate_limit.counted(limits)
            and not rate_limit.troubled(budget, limits, now.timestamp())
        )
        if calm:
            ctx.due.allow(*key, room - len(taken), now + _FREE)
        if under_way["due"] and left > 0 and "bulk" in lanes:
            taken += uow.deliveries.take_due(*key, "bulk", now, left)
        return [{**row, "connector": connection["connector"], "trial": trial} for row in taken]

    def _usable(self, connector: str, lanes: Collection[str]) -> Collection[str]:
        """The lanes whose queues the broker has not refused."""
        refused = self._ctx.broker.refused
        return [lane for lane in lanes if queue_name(connector, lane) not in refused] if refused else lanes

    def _writes(self, connection: Row) -> Any:
        return self._ctx.plugins.connectors[connection["connector"]].manifest.writes.values()

    def announce(self) -> int:
        """Publish new messages on the event exchange, personal fields masked; returns how many are done with.

        Of a kind that nobody listened for lately the first is published, and the others if somebody does: the broker would
        drop them all, and reading them costs as much as publishing them.
        """
        ctx, asked, others = self._ctx, list[Row](), dict[str, list[Row]]()
        with ctx.store.read() as uow:
            events = uow.messages.unpublished(_BATCH)
        for row in events:
            key = _event_key(row)
            if key in self._unheard and key in others:
                others[key].append(row)
            else:
                others.setdefault(key, [])
                asked.append(row)
        left = self._announce(asked)
        if heard := [row for key, rows in others.items() if key not in self._unheard for row in rows]:
            left |= self._announce(sorted(heard, key=lambda row: (row["tenant_id"], row["id"])))
        done = [(row["tenant_id"], row["id"]) for row in events if row["id"] not in left]
        if done:
            with ctx.store.begin() as uow:
                uow.messages.announced(done)
        return len(done)

    def _announce(self, rows: Sequence[Row]) -> set[str]:
        """Ids of those that the broker did not take."""
        if not rows:
            return set()
        with self._ctx.store.read() as uow:
            bodies = uow.messages.bodies(rows)
        messages = []
        for row in rows:
            envelope = orjson.loads(bodies[row["id"]])
            envelope["data"] = redaction.document(row["type"], envelope["data"])
            messages.append((_event_key(row), envelope))
        refused, unheard = self._ctx.broker.announce(messages)
        self._unheard.difference_update(_event_key(row) for row in rows)
        self._unheard.update(_event_key(rows[position]) for position in unheard)
        return {rows[position]["id"] for position in refused}


def queue_trouble(ctx: Context, connector: str) -> str:
    """Why a connector's deliveries wait although its connections are active: the broker refused a queue; '' if it did not."""
    refused = ctx.broker.refused
    found = [refused[name] for lane in LANES if (name := queue_name(connector, lane)) in refused]
    return f"deliveries wait: {'; '.join(found)}"[:1000] if found else ""


def _queue_of(row: Row) -> str:
    return queue_name(row["connector"], row["lane"])


def _event_key(row: Row) -> str:
    return f"{row['tenant_id']}.{row['type']}"


def _parcels(rows: Sequence[Row]) -> list[list[Row]]:
    """Deliveries that travel in one message: of one connection and lane, in their order, few enough for workers to share."""
    found: list[list[Row]] = []
    for row in rows:
        last = found[-1] if found else []
        if not last or len(last) >= _PARCEL or any(last[0][name] != row[name] for name in _TOGETHER):
            found.append(last := [])
        last.append(row)
    return found


def delivery_ids(payload: Mapping[str, Any]) -> list[str]:
    """What a message on `hub.deliveries` is about; none if it is a bell."""
    return [str(item) for item in payload.get("delivery_ids") or filter(None, [payload.get("delivery_id")])]


class SecondNet:
    """Reads the second nets: what no queue was bound for and what a queue gave up on goes back to the store, with an alarm."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._declared_at = 0.0
        self.caught = 0

    def on_message(self, payload: Any, acknowledge: Any) -> None:
        """Called by the broker's thread."""
        ctx = self._ctx
        log.error("the broker could not place, or gave up on, %s; it is published again", payload)
        try:
            if time.monotonic() - self._declared_at > 0.1:
                self._declared_at = time.monotonic()
                ctx.broker.declare(topology_for(ctx.plugins.connectors))
        except BrokerUnavailableError as error:
            log.error("%s", error)
        self.caught += 1
        if ids := delivery_ids(payload):
            tenant_id = str(payload["tenant_id"])
            ctx.group.submit(lambda uow: uow.deliveries.give_back([(tenant_id, item) for item in ids])).result()
            ctx.due.add(tenant_id, str(payload["connection_id"]))
        acknowledge()
