"""The parts of a hub whose effects go through numbered ports: commit, publish, send, acknowledge.

Single-threaded, on virtual time.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, Protocol

from hub.runtime.egress import Egress
from hub.runtime.performer import Outgoing, Performer
from hub.sdk.connector import Connector
from hub.sdk.steps import Request, Response
from hub.settings import Settings
from hub.store import Memory
from hub.telemetry import Telemetry


class Surroundings(Protocol):
    """What survives a crash, and what the process runs on.

    Attributes:
        now: the time.
        memory: the database.
        messages: of the broker: (queue, payload), until they are acknowledged.
        announced: ids of messages that were published for subscribers.
    """

    now: datetime
    settings: Settings
    connectors: dict[str, type[Connector]]
    memory: Memory
    messages: list[tuple[str, dict[str, Any]]]
    announced: list[str]

    def answer(self, connection_id: str, request: Request) -> Response:
        """What a connection's system makes of a request; raises what the hub would make of no answer."""


class Crash(BaseException):
    """The process is gone, here."""


class Ports:
    """Counts effects and crashes right before effect ``crash_at`` (0: never).

    What a process does between two effects leaves no trace: a crash after effect n and one before effect n + 1 are the same.
    """

    def __init__(self, crash_at: int = 0) -> None:
        self.crash_at, self.count = crash_at, 0
        self.log: list[str] = []

    def __call__(self, name: str) -> None:
        self.count += 1
        self.log.append(name)
        if self.count == self.crash_at:
            raise Crash(name)


class PortedPerformer(Performer):
    """The performer, whose requests go straight to the surroundings, as somebody who is logged in."""

    def __init__(self, world: Surroundings, ports: Ports, telemetry: Telemetry) -> None:
        self._world, self._ports = world, ports
        self._egress, self._telemetry = Egress(world.settings.egress_private_hosts), telemetry
        self._clock = lambda: world.now

    async def _authenticate(self, session: Any, boundary: Any, refused: Mapping[str, str] | None = None) -> dict[str, str]:
        return {}

    async def _exchange(self, outgoing: Outgoing, session: Any, headers: Any, traceparent: str) -> Response:
        request = outgoing.request
        if request.mutates:  # a read leaves no trace
            self._ports("effect")
        return self._world.answer(session.connection_id, request)

    async def close(self) -> None:
        """Nothing is open."""


class InlineLoop:
    """The runtime loop, run only while something is submitted; sleeping moves the clock."""

    def __init__(self, world: Surroundings, performer: PortedPerformer) -> None:
        self._world, self.performer = world, performer
        self.loop = asyncio.new_event_loop()

    def submit(self, coroutine: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(self.loop.run_until_complete(coroutine))
        except Exception as error:
            future.set_exception(error)
        return future

    async def in_store(self, work: Any, *arguments: Any) -> Any:
        return work(*arguments)

    async def sleep(self, seconds: float) -> None:
        self._world.now += timedelta(seconds=seconds)

    def call(self, work: Any, *arguments: Any) -> None:
        self.loop.call_soon(work, *arguments)

    def time(self) -> float:
        return self._world.now.timestamp()

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()


class PortedBroker:
    """A broker that keeps what was confirmed, and hands out again what was not acknowledged."""

    def __init__(self, world: Surroundings, ports: Ports) -> None:
        self._world, self._ports = world, ports

    @property
    def refused(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def declare(self, topology: Any) -> None:
        """Everything exists."""

    def publish(self, exchange: str, messages: Sequence[tuple[str, Any]]) -> list[int]:
        for key, payload in messages:
            if key != "inputs":  # a bell: the sweep finds the input without it
                self._ports("publish")
                self._world.messages.append((key, dict(payload)))
        return []

    def announce(self, messages: Sequence[tuple[str, Any]]) -> tuple[list[int], list[int]]:
        for _, payload in messages:
            self._ports("publish")
            self._world.announced.append(payload["messageid"])
        return [], []

    def close(self) -> None:
        """Nothing is open."""
