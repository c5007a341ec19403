"""What every broker engine offers: declare, publish, consume, and the two questions a doctor asks."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from hub.broker.topology import Topology

Payload = Mapping[str, Any]
Acknowledge = Callable[[], None]
OnMessage = Callable[[Payload, Acknowledge], None]


class BrokerUnavailableError(Exception):
    """The broker cannot be reached, is blocked by an alarm, or did not confirm in time; nothing is known about the batch."""


class Broker(Protocol):
    """One broker behind three verbs. Whoever consumes must bear being told twice; what was lost is never reported as done."""

    @property
    def refused(self) -> Mapping[str, str]:
        """Exchanges and queues that the broker refused when they were declared last, by name: why, and the remedy.

        They are neither published to nor consumed until a later `declare` finds them mended.
        """

    def declare(self, topology: Topology) -> None:
        """Make exchanges, queues and bindings exist; safe to repeat. Raises BrokerUnavailableError.

        Each is declared for itself: one that the broker refuses is in `refused`, and the others are declared.
        """

    def publish(self, exchange: str, messages: Sequence[tuple[str, Payload]]) -> list[int]:
        """Publish (routing key, payload) pairs; returns the positions that the broker did not take ([]: all are safe).

        Raises BrokerUnavailableError when it is unknown what arrived.
        """

    def announce(self, messages: Sequence[tuple[str, Payload]]) -> tuple[list[int], list[int]]:
        """Publish (routing key, event) pairs on the event exchange; returns the positions that the broker did not take, and
        those that nobody listens for. Raises as `publish`.
        """

    def consume(
        self, queues: Sequence[str], on_message: OnMessage, stop: threading.Event, prefetch: int = 200, drain_seconds: float = 0
    ) -> None:
        """Hand messages to ``on_message(payload, acknowledge)`` until ``stop``; any thread may call ``acknowledge``.

        After ``stop`` nothing new is taken, and what is in hand has ``drain_seconds`` to be acknowledged; the rest goes back
        to its queue. Reconnects by itself.
        """

    def problem(self) -> str | None:
        """Why the broker cannot be used, or None."""

    def differences(self, topology: Topology) -> list[str]:
        """Where the broker differs from ``topology``, one line each; changes nothing."""

    def close(self) -> None:
        """Give the connections back."""
