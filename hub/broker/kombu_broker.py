"""kombu drives the embedded engine (`memory://`) and other brokers (`redis://`, …) by URL.

`memory://` forgets at exit; the store is what is durable, the relay's sweep publishes again. These brokers return nothing
that cannot be routed, so every key is checked against the declared queues before it leaves.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import kombu

from hub.broker.port import BrokerUnavailableError, OnMessage, Payload
from hub.broker.topology import DELIVERIES, EVENTS, Topology

T = TypeVar("T")


class KombuBroker:
    """`Broker` over one kombu URL. ``prefix`` keeps two hubs on one broker apart."""

    def __init__(self, url: str, prefix: str = "") -> None:
        self._url, self._prefix = url, prefix
        self._lock = threading.Lock()
        self._connection: kombu.Connection | None = None
        self._exchanges: dict[str, kombu.Exchange] = {}
        self._queues: dict[str, kombu.Queue] = {}
        #: See `Broker.refused`; these brokers compare no arguments.
        self.refused: Mapping[str, str] = {}

    def declare(self, topology: Topology) -> None:
        """See `Broker.declare`. Without the second nets: these brokers have no alternate or dead-letter exchanges."""
        wanted = {item.exchange for item in topology.queues if item.routing_key} | {
            item.name for item in topology.exchanges if item.kind == "topic"
        }
        self._exchanges = {
            item.name: kombu.Exchange(self._named(item.name), type=item.kind, durable=True)
            for item in topology.exchanges
            if item.name in wanted
        }
        self._queues = {
            item.name: kombu.Queue(
                self._named(item.name), self._exchanges[item.exchange], routing_key=self._named(item.routing_key)
            )
            for item in topology.queues
            if item.routing_key
        }

        def work() -> None:
            channel = self._connected().default_channel
            for declared in (*self._exchanges.values(), *self._queues.values()):
                declared(channel).declare()

        self._guarded(work)

    def publish(self, exchange: str, messages: Sequence[tuple[str, Payload]]) -> list[int]:
        """See `Broker.publish`."""

        def work() -> list[int]:
            refused = []
            producer = self._connected().Producer()
            for position, (key, payload) in enumerate(messages):
                if exchange == DELIVERIES and key not in self._queues:
                    refused.append(position)
                    continue
                routing_key = self._named(key) if key in self._queues else key
                producer.publish(
                    dict(payload), exchange=self._exchanges[exchange], routing_key=routing_key, delivery_mode=2,
                    serializer="json", retry=True, retry_policy={"max_retries": 3},
                )  # fmt: skip
            return refused

        return self._guarded(work)

    def announce(self, messages: Sequence[tuple[str, Payload]]) -> tuple[list[int], list[int]]:
        """See `Broker.announce`."""

        def unbound() -> bool:
            tables = getattr(self._connected().default_channel, "get_table", None)  # not every transport says
            return tables is not None and not tables(self._named(EVENTS))

        if self._guarded(unbound):
            return [], list(range(len(messages)))
        return self.publish(EVENTS, messages), []

    def consume(
        self, queues: Sequence[str], on_message: OnMessage, stop: threading.Event, prefetch: int = 200, drain_seconds: float = 0
    ) -> None:
        """See `Broker.consume`."""
        acknowledged: queue.SimpleQueue[kombu.Message] = queue.SimpleQueue()
        unacknowledged: dict[Any, kombu.Message] = {}
        with self._open() as connection, connection.channel() as channel:
            channel.basic_qos(0, prefetch, False)

            def receive(payload: Payload, message: kombu.Message) -> None:
                unacknowledged[message.delivery_tag] = message
                on_message(payload, lambda: acknowledged.put(message))

            def settle() -> None:
                while not acknowledged.empty():
                    message = acknowledged.get()
                    unacknowledged.pop(message.delivery_tag, None)
                    message.ack()

            bound = [self._queues[name](channel) for name in queues if name in self._queues]
            with connection.Consumer(bound, callbacks=[receive], channel=channel, accept=["json"]):
                while not stop.is_set():
                    try:
                        connection.drain_events(timeout=0.02)
                    except TimeoutError:
                        pass
                    settle()
            until = time.monotonic() + drain_seconds
            while unacknowledged and time.monotonic() < until:
                settle()
                time.sleep(0.01)
            settle()
            for message in unacknowledged.values():  # a real broker does this by itself, memory:// does not
                message.requeue()

    def problem(self) -> str | None:
        """See `Broker.problem`."""
        try:
            with self._open() as connection:
                connection.ensure_connection(max_retries=1, timeout=3)
        except (OSError, kombu.exceptions.KombuError) as error:
            return f"cannot reach {self._url.split('@')[-1]}: {error}"
        return None

    def differences(self, topology: Topology) -> list[str]:
        """See `Broker.differences`; these brokers make queues when they are first used."""
        return []

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.release()
                self._connection = None

    def _guarded(self, work: Callable[[], T]) -> T:
        with self._lock:
            try:
                return work()
            except (OSError, kombu.exceptions.KombuError) as error:
                if self._connection is not None:
                    self._connection.release()
                    self._connection = None
                raise BrokerUnavailableError(f"{self._url.split('@')[-1]}: {error}") from error

    def _named(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._prefix else name

    def _open(self) -> kombu.Connection:
        options = {"polling_interval": 0.01} if self._url.startswith("memory:") else {}
        return kombu.Connection(self._url, transport_options=options)

    def _connected(self) -> kombu.Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection
