"""kombu drives the embedded engine (`memory://`) and other brokers by URL. RabbitMQ through pika comes beside it.

`memory://` forgets at exit; the store is what is durable, the relay's sweep publishes again.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import kombu

from hub.broker.topology import Topology

Payload = Mapping[str, Any]
Acknowledge = Callable[[], None]
OnMessage = Callable[[Payload, Acknowledge], None]


class Broker:
    """The three verbs over one broker URL. ``namespace`` keeps two hubs in one process apart."""

    def __init__(self, url: str, namespace: str = "") -> None:
        self._url, self._namespace = url, namespace
        self._lock = threading.Lock()
        self._connection: kombu.Connection | None = None
        self._exchanges: dict[str, kombu.Exchange] = {}
        self._queues: dict[str, kombu.Queue] = {}

    def declare(self, topology: Topology) -> None:
        """Make exchanges and queues exist; safe to repeat."""
        self._exchanges = {
            name: kombu.Exchange(self._named(name), type=kind, durable=True) for name, kind in topology.exchanges.items()
        }
        self._queues = {
            item.name: kombu.Queue(
                self._named(item.name), self._exchanges[item.exchange], routing_key=self._named(item.routing_key)
            )
            for item in topology.queues
        }
        with self._lock:
            channel = self._connected().default_channel
            for exchange in self._exchanges.values():
                exchange(channel).declare()
            for item in self._queues.values():
                item(channel).declare()

    def publish(self, exchange: str, messages: Iterable[tuple[str, Payload]]) -> int:
        """Publish (routing key, payload) pairs; returns how many. Raises if the broker did not take one."""
        count = 0
        with self._lock:
            producer = self._connected().Producer()
            for key, payload in messages:
                routing_key = self._named(key) if key in self._queues else key
                producer.publish(
                    dict(payload), exchange=self._exchanges[exchange], routing_key=routing_key, delivery_mode=2,
                    serializer="json", retry=True, retry_policy={"max_retries": 3},
                )  # fmt: skip
                count += 1
        return count

    def consume(self, queues: Iterable[str], on_message: OnMessage, stop: threading.Event, prefetch: int = 64) -> None:
        """Hand messages to ``on_message(payload, acknowledge)`` until ``stop``; any thread may call ``acknowledge``."""
        acknowledged: queue.SimpleQueue[kombu.Message] = queue.SimpleQueue()
        with self._open() as connection, connection.channel() as channel:
            channel.basic_qos(0, prefetch, False)

            unacknowledged: dict[str, kombu.Message] = {}

            def receive(payload: Payload, message: kombu.Message) -> None:
                unacknowledged[message.delivery_tag] = message
                on_message(payload, lambda: acknowledged.put(message))

            bound = [self._queues[name](channel) for name in queues]
            with connection.Consumer(bound, callbacks=[receive], channel=channel, accept=["json"]):
                while not stop.is_set():
                    try:
                        connection.drain_events(timeout=0.02)
                    except TimeoutError:
                        pass
                    while not acknowledged.empty():
                        message = acknowledged.get()
                        unacknowledged.pop(message.delivery_tag, None)
                        message.ack()
            for message in unacknowledged.values():  # a real broker does this by itself, memory:// does not
                message.requeue()

    def problem(self) -> str | None:
        """Why the broker cannot be used, or None."""
        try:
            with self._open() as connection:
                connection.ensure_connection(max_retries=1, timeout=3)
        except (OSError, kombu.exceptions.KombuError) as error:
            return f"cannot reach {self._url.split('@')[-1]}: {error}"
        return None

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.release()
                self._connection = None

    def _named(self, name: str) -> str:
        return f"{self._namespace}.{name}" if self._namespace else name

    def _open(self) -> kombu.Connection:
        options = {"polling_interval": 0.01} if self._url.startswith("memory:") else {}
        return kombu.Connection(self._url, transport_options=options)

    def _connected(self) -> kombu.Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection
