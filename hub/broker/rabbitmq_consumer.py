"""One consuming session at RabbitMQ: a connection of its own, batched acknowledgements, an orderly end."""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pika

from hub.broker.port import OnMessage

log = logging.getLogger(__name__)
#: How often a consumer looks whether it is to stop, and then whether what is in hand is done.
LOOK_SECONDS, DRAINED_SECONDS = 0.5, 0.1


def text_of(error: BaseException) -> str:
    """The text of an error of pika's, which some have only in their parts."""
    return str(error) or str(getattr(error, "exceptions", "")) or type(error).__name__


def release(connection: Any) -> None:
    """Close what an ended connection's loop still holds."""
    if connection is not None:
        try:
            connection.ioloop.close()
        except Exception as error:
            log.debug("the loop was closed already: %s", error)


class Consumer:
    """One consuming connection, on the thread that calls `run`."""

    def __init__(
        self, node: Any, queues: list[str], on_message: OnMessage, stop: threading.Event, prefetch: int, drain_seconds: float,
        is_outdated: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._is_outdated = is_outdated
        self._node, self._queues, self._on_message = node, queues, on_message
        self._stop, self._prefetch, self._drain_seconds = stop, prefetch, drain_seconds
        self._connection: Any = None
        self._channel: Any = None
        self._unacknowledged: dict[int, bool] = {}
        self._tags: list[str] = []
        self._lock = threading.Lock()
        self._flushing = False
        self._draining_until: float | None = None
        self._why = ""

    def run(self) -> str:
        """Consume until stopped (and drained) or disconnected; returns why it ended."""
        self._connection = pika.SelectConnection(
            self._node, on_open_callback=lambda connection: connection.channel(on_open_callback=self._opened),
            on_open_error_callback=self._ended, on_close_callback=self._ended,
        )  # fmt: skip
        self._connection.ioloop.call_later(LOOK_SECONDS, self._look)
        try:
            self._connection.ioloop.start()
        finally:
            release(self._connection)
        return self._why

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(lambda _, why: self._close(text_of(why)))
        channel.add_on_cancel_callback(lambda _: self._close("a queue was deleted"))
        channel.basic_qos(prefetch_count=self._prefetch)
        for queue in self._queues:
            self._tags.append(channel.basic_consume(queue, self._receive))

    def _receive(self, channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        tag = method.delivery_tag
        try:
            payload = json.loads(body)
            if not isinstance(payload, dict):
                raise TypeError("not an object")
        except (ValueError, TypeError) as error:
            log.error("a message on %s is not ours (%s); it goes to the dead-letter exchange", method.routing_key, error)
            channel.basic_reject(tag, requeue=False)
            return
        self._unacknowledged[tag] = False
        self._on_message(payload, lambda: self._acknowledge(tag))

    def _acknowledge(self, tag: int) -> None:
        """Any thread: marks it; one flush acknowledges all that are marked by then."""
        with self._lock:
            if tag in self._unacknowledged:
                self._unacknowledged[tag] = True
            if self._flushing:
                return
            self._flushing = True
        try:
            self._connection.ioloop.add_callback_threadsafe(self._flush)
        except Exception as error:
            log.debug("acknowledged after the connection ended: %s", error)

    def _flush(self) -> None:
        with self._lock:
            self._flushing = False
            done = [tag for tag, acknowledged in self._unacknowledged.items() if acknowledged]
            first_open = next((tag for tag, acknowledged in self._unacknowledged.items() if not acknowledged), None)
            for tag in done:
                del self._unacknowledged[tag]
        if not done or not self._channel.is_open:
            return
        prefix = [tag for tag in done if first_open is None or tag < first_open]
        if prefix:
            self._channel.basic_ack(prefix[-1], multiple=True)
        for tag in done[len(prefix) :]:
            self._channel.basic_ack(tag)

    def _look(self) -> None:
        """Now and then: whether to stop, whether what is in hand is done, and whether a queue was mended."""
        if self._stop.is_set() and self._draining_until is None:
            self._draining_until = time.monotonic() + self._drain_seconds
            if self._channel is not None and self._channel.is_open:
                for consumer_tag in self._tags:
                    self._channel.basic_cancel(consumer_tag)
        if self._draining_until is not None and (not self._unacknowledged or time.monotonic() > self._draining_until):
            self._flush_if_open()
            self._close("stopped")
            if not self._connection.is_closing:
                self._connection.ioloop.stop()
            return
        if self._draining_until is None and self._is_outdated():  # what is in hand comes again: a claim decides
            self._close("other queues are to be consumed")
            return
        self._connection.ioloop.call_later(LOOK_SECONDS if self._draining_until is None else DRAINED_SECONDS, self._look)

    def _flush_if_open(self) -> None:
        if self._channel is not None and self._channel.is_open:
            self._flush()

    def _close(self, why: str) -> None:
        self._why = self._why or why
        if self._connection.is_open:
            self._connection.close()

    def _ended(self, _connection: Any, why: Any) -> None:
        self._why = self._why or text_of(why)
        self._connection.ioloop.stop()
