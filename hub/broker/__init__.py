"""The only room that speaks to a broker. Three verbs: declare, publish, consume; one topology, declared as data."""

from hub.broker.kombu_broker import Broker
from hub.broker.topology import DELIVERIES, EVENTS, Topology, queue_name, topology_for

__all__ = ["DELIVERIES", "EVENTS", "Broker", "Topology", "queue_name", "topology_for"]
