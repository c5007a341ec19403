"""RabbitMQ through pika: pipelined confirms and `mandatory` when publishing, batched acknowledgements when consuming.

Source: RELIABILITY 1.2 (every rule measured), pika's asynchronous publisher and consumer examples. Quorum queues; a
publish counts only by its own confirm; a blocked connection fails a publish within ``confirm_seconds`` instead of hanging.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import takewhile
from typing import Any

import orjson
import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from hub.broker.port import BrokerUnavailableError, OnMessage, Payload
from hub.broker.rabbitmq_consumer import LOOK_SECONDS, Consumer, release, text_of
from hub.broker.topology import EVENTS, Topology

log = logging.getLogger(__name__)
logging.getLogger("pika").setLevel(logging.CRITICAL)  # it logs every error before it raises it; this room words them
#: Messages whose confirms are outstanding at once (more does not go faster, measured).
_WINDOW = 1000


class RabbitMQ:
    """`Broker` over one or several nodes (`amqp://a;amqp://b`): each connection tries them in turn."""

    def __init__(self, url: str, prefix: str = "", confirm_seconds: float = 5.0) -> None:
        self._nodes = [_parameters(part) for part in url.split(";")]
        self._prefix, self._confirm_seconds = prefix, confirm_seconds
        self._topology = Topology((), ())
        self._refused: dict[str, str] = {}
        self._publisher: _Publisher | None = None
        self._lock = threading.Lock()
        random.shuffle(self._nodes)

    @property
    def refused(self) -> Mapping[str, str]:
        """See `Broker.refused`."""
        return self._refused

    def declare(self, topology: Topology) -> None:
        """See `Broker.declare`."""
        self._topology = topology
        try:
            with self._blocking() as connection:
                refused = self._declare_on(connection, topology)
        except (AMQPError, OSError) as error:
            raise BrokerUnavailableError(f"{self._where()}: {text_of(error)}") from error
        for name in sorted(refused.keys() - self._refused.keys()):
            log.error("%s", refused[name])
        for name in sorted(self._refused.keys() - refused.keys()):
            log.warning("%s is as declared again", self._named(name))
        self._refused = refused

    def _declare_on(self, connection: Any, topology: Topology) -> dict[str, str]:
        """By name, what the broker refused and why: a refusal closes the channel, so the next has a new one."""
        refused: dict[str, str] = {}
        channel = connection.channel()
        wanted: list[tuple[str, Any]] = [("exchange", item) for item in topology.exchanges]
        for kind, item in wanted + [("queue", item) for item in topology.queues]:
            if not channel.is_open:
                channel = connection.channel()
            try:
                if kind == "exchange":
                    channel.exchange_declare(**self._exchange(item))
                else:
                    channel.queue_declare(**self._queue(item))
                    channel.queue_bind(self._named(item.name), self._named(item.exchange), self._named(item.routing_key))
            except ChannelClosedByBroker as error:
                refused[item.name] = self._differs(kind, self._named(item.name), error)
        return refused

    @staticmethod
    def _differs(kind: str, name: str, error: Any) -> str:
        """Why an exchange or queue cannot be used, with the remedy."""
        return (
            f"{kind} {name} differs: {error.reply_text}; delete this {kind} at the broker, and the hub declares it anew within "
            "seconds. What waits for it is in the hub's database: nothing is lost"
        )

    def _exchange(self, exchange: Any) -> dict[str, Any]:
        arguments = {"alternate-exchange": self._named(exchange.alternate)} if exchange.alternate else None
        return {"exchange": self._named(exchange.name), "exchange_type": exchange.kind, "durable": True, "arguments": arguments}

    def _queue(self, queue: Any) -> dict[str, Any]:
        arguments = dict(queue.arguments)
        if "x-dead-letter-exchange" in arguments:
            arguments["x-dead-letter-exchange"] = self._named(arguments["x-dead-letter-exchange"])
        return {"queue": self._named(queue.name), "durable": True, "arguments": arguments}

    def publish(self, exchange: str, messages: Sequence[tuple[str, Payload]]) -> list[int]:
        """See `Broker.publish`. What no queue is bound for was not taken."""
        refused, unheard = self._publish(exchange, [(self._named(key), payload) for key, payload in messages])
        for position in unheard:
            log.error("%s: %s %s is routed to no queue", self._where(), exchange, messages[position][0])
        return sorted({*refused, *unheard})

    def announce(self, messages: Sequence[tuple[str, Payload]]) -> tuple[list[int], list[int]]:
        """See `Broker.announce`."""
        return self._publish(EVENTS, messages)

    def _publish(self, exchange: str, messages: Sequence[tuple[str, Payload]]) -> tuple[list[int], list[int]]:
        with self._lock:
            if self._publisher is None:
                self._publisher = _Publisher(self._nodes, self._where())
            publisher = self._publisher
        found: tuple[list[int], list[int]] = ([], [])
        for start in range(0, len(messages), _WINDOW):
            part = messages[start : start + _WINDOW]
            batch = _Batch(self._named(exchange), [(key, orjson.dumps(payload)) for key, payload in part])
            publisher.send(batch, self._confirm_seconds)
            for kind, positions in zip(found, (batch.refused, batch.unheard), strict=True):
                kind.extend(start + position for position in sorted(positions))
        return found

    def consume(
        self, queues: Sequence[str], on_message: OnMessage, stop: threading.Event, prefetch: int = 200, drain_seconds: float = 0
    ) -> None:
        """See `Broker.consume`. A deleted queue is declared again; a refused one is taken up when it is mended."""
        names: list[str] = []

        def usable() -> list[str]:
            return [self._named(name) for name in queues if name not in self._refused]

        def is_outdated() -> bool:
            return usable() != names

        backoff, turn = _Backoff(), 0
        while not stop.is_set():
            if not (names := usable()):
                stop.wait(LOOK_SECONDS)
                continue
            node = self._nodes[turn % len(self._nodes)]
            session = Consumer(node, names, on_message, stop, prefetch, drain_seconds, is_outdated)
            started = time.monotonic()
            why = session.run()
            if stop.is_set():
                return
            if is_outdated():
                continue
            turn += 1
            log.warning("consumer of %s lost its connection: %s", self._where(), why)
            if time.monotonic() - started > 10:
                backoff = _Backoff()
            stop.wait(backoff.next())
            try:
                self.declare(self._topology)
            except BrokerUnavailableError as error:
                log.warning("%s", error)

    def problem(self) -> str | None:
        """See `Broker.problem`."""
        try:
            self._blocking().close()
        except (AMQPError, OSError) as error:
            return f"cannot reach {self._where()}: {text_of(error)}"
        return None

    def differences(self, topology: Topology) -> list[str]:
        """See `Broker.differences`. Also says what waits in the second nets: somebody has to look at it."""
        found: list[str] = []
        try:
            with self._blocking() as connection:
                for exchange in topology.exchanges:
                    wanted = self._exchange(exchange)
                    found += self._compare(connection, "exchange", wanted, lambda channel, w: channel.exchange_declare(**w))
                for queue in topology.queues:
                    wanted = self._queue(queue)
                    found += self._compare(connection, "queue", wanted, lambda channel, w: channel.queue_declare(**w))
        except (AMQPError, OSError) as error:
            found.append(f"cannot reach {self._where()}: {text_of(error)}")
        return found

    def _compare(self, connection: Any, kind: str, wanted: dict[str, Any], declare: Callable[[Any, Any], Any]) -> list[str]:
        """Passive first (nothing is created), then with arguments, which RabbitMQ compares."""
        name = wanted[kind]
        try:
            declare(connection.channel(), {kind: name, "passive": True})
        except ChannelClosedByBroker:
            return [f"{kind} {name} is missing: start a worker, or run `hub work` once"]
        try:
            answer = declare(connection.channel(), wanted)
        except ChannelClosedByBroker as error:
            return [self._differs(kind, name, error)]
        waiting = answer.method.message_count if kind == "queue" else 0
        net = name.rpartition("hub.")[2] in ("unrouted", "dead")
        return [f"queue {name} holds {waiting} message(s) that no worker took"] if net and waiting else []

    def close(self) -> None:
        with self._lock:
            if self._publisher is not None:
                self._publisher.close()
                self._publisher = None

    def _blocking(self) -> Any:
        return pika.BlockingConnection(self._nodes)

    def _where(self) -> str:
        return ", ".join(f"{node.host}:{node.port}" for node in self._nodes)

    def _named(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._prefix and name else name


def _parameters(url: str) -> Any:
    parameters = pika.URLParameters(url.strip())
    parameters.virtual_host = parameters.virtual_host.strip("/") or "/"  # `…:5672//` is how other libraries write it
    parameters.heartbeat = 20
    parameters.socket_timeout = parameters.stack_timeout = 5.0
    parameters.connection_attempts = 1
    parameters.client_properties = {"connection_name": "crossdock"}
    return parameters


class _Backoff:
    """0.2 s doubling to 5 s, with jitter."""

    def __init__(self) -> None:
        self._ceiling = 0.2

    def next(self) -> float:
        wait = self._ceiling / 2 + random.uniform(0, self._ceiling / 2)
        self._ceiling = min(5.0, self._ceiling * 2)
        return wait


class _Batch:
    """Messages that are published together; done when each has its confirm."""

    def __init__(self, exchange: str, messages: list[tuple[str, bytes]]) -> None:
        self.exchange, self.messages, self.outstanding = exchange, messages, len(messages)
        #: Positions that the broker did not take, and that no queue is bound for.
        self.refused: set[int] = set()
        self.unheard: set[int] = set()
        self.done: Future[None] = Future()

    def confirmed(self, position: int, taken: bool) -> None:
        self.outstanding -= 1
        if not taken:
            self.refused.add(position)
        if not self.outstanding and not self.done.done():
            self.done.set_result(None)

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(BrokerUnavailableError(why))


class _Publisher:
    """A SelectConnection on its own thread. All state but `blocked` belongs to that thread."""

    def __init__(self, nodes: list[Any], where: str) -> None:
        self._nodes, self._where = nodes, where
        self._connection: Any = None
        self._channel: Any = None
        self._next_tag = 1
        self._unconfirmed: dict[int, tuple[_Batch, int]] = {}
        self._ready, self._closed = threading.Event(), threading.Event()
        self.blocked = ""
        self._why = "not connected yet"
        self._thread = threading.Thread(target=self._run, name="broker-publisher", daemon=True)
        self._thread.start()

    def send(self, batch: _Batch, seconds: float) -> None:
        """Publish and wait for every confirm; raises BrokerUnavailableError after ``seconds``."""
        if not batch.messages:
            return
        if not self._ready.wait(seconds):
            raise BrokerUnavailableError(f"{self._where}: {self._why}")
        if self.blocked:
            raise BrokerUnavailableError(f"{self._where} takes no messages: {self.blocked}")
        try:
            self._connection.ioloop.add_callback_threadsafe(lambda: self._send(batch))
        except Exception as error:
            raise BrokerUnavailableError(f"{self._where}: {text_of(error)}") from error
        try:
            batch.done.result(seconds)
        except FutureTimeoutError:
            raise BrokerUnavailableError(f"{self._where} did not confirm within {seconds:g} s {self.blocked}") from None

    def _send(self, batch: _Batch) -> None:
        if self._channel is None or not self._channel.is_open:
            batch.fail(f"{self._where}: {self._why}")
            return
        for position, (key, body) in enumerate(batch.messages):
            tag, self._next_tag = self._next_tag, self._next_tag + 1
            self._unconfirmed[tag] = (batch, position)
            properties = pika.BasicProperties(content_type="application/json", delivery_mode=2, message_id=str(tag))
            self._channel.basic_publish(batch.exchange, key, body, properties, mandatory=True)

    def _run(self) -> None:
        backoff, turn = _Backoff(), 0
        while not self._closed.is_set():
            node = self._nodes[turn % len(self._nodes)]
            turn += 1
            try:
                self._connection = pika.SelectConnection(
                    node, on_open_callback=self._opened, on_open_error_callback=self._ended, on_close_callback=self._ended
                )
                self._connection.ioloop.start()
            except Exception as error:
                self._lost(text_of(error))
            finally:
                release(self._connection)
            if self._next_tag > 1:
                backoff = _Backoff()
            self._closed.wait(backoff.next())

    def _opened(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:
        self._channel, self._next_tag = channel, 1
        channel.add_on_close_callback(lambda _, why: self._connection.is_open and self._connection.close(200, text_of(why)))
        channel.add_on_return_callback(self._on_returned)
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._ready.set())

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        self.blocked = f"blocked by the broker ({frame.method.reason})"
        log.warning("%s: %s", self._where, self.blocked)

    def _on_unblocked(self, _connection: Any, _frame: Any) -> None:
        self.blocked = ""

    def _on_returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        """Nobody is bound: the confirm that follows says only that the broker has seen it."""
        if found := self._unconfirmed.get(int(properties.message_id)):
            found[0].unheard.add(found[1])

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        taken = type(method).__name__ == "Ack"
        if method.multiple:
            tags = list(takewhile(lambda tag: tag <= method.delivery_tag, self._unconfirmed))
        else:
            tags = [method.delivery_tag]
        for tag in tags:
            if found := self._unconfirmed.pop(tag, None):
                found[0].confirmed(found[1], taken)

    def _ended(self, _connection: Any, why: Any) -> None:
        self._lost(text_of(why))
        self._connection.ioloop.stop()

    def _lost(self, why: str) -> None:
        self._ready.clear()
        self._channel, self._why, self.blocked = None, why, ""
        for batch, _ in self._unconfirmed.values():
            batch.fail(f"{self._where}: {why}")
        self._unconfirmed.clear()

    def close(self) -> None:
        self._closed.set()
        connection = self._connection
        if connection is not None and self._thread.is_alive():
            try:
                connection.ioloop.add_callback_threadsafe(lambda: connection.is_open and connection.close())
            except Exception as error:
                log.debug("publisher was closed already: %s", error)
        self._thread.join(5)
