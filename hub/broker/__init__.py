"""The only room that speaks to a broker. Three verbs: declare, publish, consume; one topology, declared as data."""

from hub.broker.port import Broker, BrokerUnavailableError, OnMessage
from hub.broker.topology import DEAD, DELIVERIES, EVENTS, INPUTS, LANES, UNROUTED, Topology, queue_name, topology_for


def open_broker(url: str, prefix: str = "", confirm_seconds: float = 5.0) -> Broker:
    """The engine for a URL: amqp(s):// is RabbitMQ through pika, anything else what kombu makes of it.

    Several RabbitMQ nodes are separated by `;`. ``prefix`` keeps hubs that share a broker apart.
    """
    if url.startswith(("amqp://", "amqps://")):
        from hub.broker.rabbitmq import RabbitMQ

        return RabbitMQ(url, prefix, confirm_seconds)
    from hub.broker.kombu_broker import KombuBroker

    return KombuBroker(url, prefix)


__all__ = [
    "DEAD", "DELIVERIES", "EVENTS", "INPUTS", "LANES", "UNROUTED", "Broker", "BrokerUnavailableError", "OnMessage",
    "Topology", "open_broker", "queue_name", "topology_for",
]  # fmt: skip
