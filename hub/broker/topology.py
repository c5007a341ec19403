"""Exchanges and queues as data; every engine declares from it. Queues per connector and lane, never per tenant."""

from collections.abc import Iterable
from dataclasses import dataclass

#: Topic exchange, key `<tenant>.<type>`: any internal system may bind its own queue.
EVENTS = "hub.events"
#: Direct exchange, key = queue name: ids of deliveries that are due.
DELIVERIES = "hub.deliveries"
LANES = ("live", "bulk")


@dataclass(frozen=True)
class Queue:
    """A durable queue bound to ``exchange`` by ``routing_key``."""

    name: str
    exchange: str
    routing_key: str


@dataclass(frozen=True)
class Topology:
    """Everything that has to exist on the broker: exchange name → type, and the queues."""

    exchanges: dict[str, str]
    queues: tuple[Queue, ...]


def queue_name(connector: str, lane: str) -> str:
    """The queue of a connector's lane."""
    return f"deliveries.{connector}.{lane}"


def topology_for(connectors: Iterable[str]) -> Topology:
    """The topology for the installed connectors."""
    names = [queue_name(connector, lane) for connector in sorted(connectors) for lane in LANES]
    queues = tuple(Queue(name, DELIVERIES, name) for name in names)
    return Topology({EVENTS: "topic", DELIVERIES: "direct"}, queues)
