"""Exchanges and queues as data; every engine declares from it. Queues per connector and lane, never per tenant."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Topic exchange, key `<tenant>.<type>`: any internal system may bind its own queue.
EVENTS = "hub.events"
#: Direct exchange, key = queue name: ids of deliveries that are due, and the bell that raw input has arrived.
DELIVERIES = "hub.deliveries"
#: Second nets (fanout, a queue of the same name): what no queue was bound for, and what a queue gave up on.
UNROUTED = "hub.unrouted"
DEAD = "hub.dead"
#: Wakes a worker to translate; the raw input itself is in the store.
INPUTS = "inputs"
LANES = ("live", "bulk")
#: Deliveries of one message before the broker gives it to `hub.dead`. Tries are counted in the store, never here.
DELIVERY_LIMIT = 50


@dataclass(frozen=True)
class Exchange:
    """An exchange; what it cannot route goes to ``alternate``."""

    name: str
    kind: str
    alternate: str = ""


@dataclass(frozen=True)
class Queue:
    """A durable queue bound to ``exchange`` by ``routing_key``; ``arguments`` are RabbitMQ's."""

    name: str
    exchange: str
    routing_key: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Topology:
    """Everything that has to exist on the broker, in the order in which it is declared."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]


def queue_name(connector: str, lane: str) -> str:
    """The queue of a connector's lane."""
    return f"deliveries.{connector}.{lane}"


def topology_for(connectors: Iterable[str]) -> Topology:
    """The topology for the installed connectors."""
    names = [*(queue_name(connector, lane) for connector in sorted(connectors) for lane in LANES), INPUTS]
    work = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT, "x-dead-letter-exchange": DEAD}
    net = {"x-queue-type": "quorum"}
    return Topology(
        (Exchange(UNROUTED, "fanout"), Exchange(DEAD, "fanout"), Exchange(EVENTS, "topic"),
         Exchange(DELIVERIES, "direct", UNROUTED)),
        (Queue(UNROUTED, UNROUTED, "", net), Queue(DEAD, DEAD, "", net),
         *(Queue(name, DELIVERIES, name, work) for name in names)),
    )  # fmt: skip
