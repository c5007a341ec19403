"""Isolated connectors: each connection's connector in a process of its own, its steps over a pipe (`hub.sdk.guest`).

A guest gets its settings, documents, answers, and nothing else: no environment, no credential, no file but its own, no network.
One that dies again and again is left alone for a time that doubles.
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, NoReturn, TypeVar

from hub.runtime.environments import Environment
from hub.runtime.guest import Done, Guest, Incident, Limits, Plan, PluginRestingError, one_line
from hub.sdk.connector import Connector
from hub.sdk.errors import ConnectorError
from hub.sdk.guest import wire
from hub.sdk.steps import (
    AccountField,
    Document,
    Gone,
    Ignored,
    Page,
    Refused,
    Request,
    Response,
    Skipped,
    Steps,
    Subscription,
    Webhook,
    Written,
)

log = logging.getLogger(__name__)
T = TypeVar("T")
JSON = Mapping[str, Any]
_END_SECONDS = 5.0
_DEATHS, _DEATHS_SECONDS = 3, 60.0
_REST_SECONDS, _REST_CAP_SECONDS = 30.0, 900.0


class RemoteSteps(Generator[Request, Response, T]):
    """A capability that runs in a guest: driven by `advance`, on the loop."""

    def __init__(self, connector: "IsolatedConnector", method: str, arguments: Sequence[Any], blob: bytes = b"") -> None:
        self._connector, self._start = connector, (method, list(arguments), blob)
        self._guest: Guest | None = None
        self._call = 0

    async def advance(self, response: Response | None, error: ConnectorError | None) -> Request | Done:
        """The next request, or the end; raises what the connector raised."""
        if self._guest is None:
            self._guest = await self._connector.guests.guest_of(self._connector)
            method, arguments, blob = self._start
            self._call = self._guest.new_call()
            return await self._guest.ask(self._call, ["start", self._call, method, arguments], blob)
        if response is not None:
            message = ["response", self._call, response.status, dict(response.headers)]
            return await self._guest.ask(self._call, message, response.content)
        assert error is not None
        return await self._guest.ask(self._call, ["throw", self._call, wire.described(error)], b"")

    def close(self) -> None:
        if self._guest is not None:
            self._guest.forget(self._call)

    def send(self, value: Response) -> NoReturn:
        raise TypeError("an isolated connector's steps are driven by the performer")

    def throw(self, kind: Any, value: Any = None, tb: TracebackType | None = None) -> NoReturn:
        raise TypeError("an isolated connector's steps are driven by the performer")


class IsolatedConnector(Connector):
    """Stands for a connector whose code this process never loads. One subclass per connector, made by `isolated`."""

    environment: ClassVar[Environment]
    guests: ClassVar["Guests"]
    #: Whose it is (tenant, connection); set by whoever makes the session.
    owner: tuple[str, str] = ("", "")

    def interpret(self, raw: Webhook, object_name: str = "") -> Steps[list[Document | Gone | Ignored | Refused]]:
        return RemoteSteps(self, "interpret", [dict(raw.headers), object_name], raw.body)

    def read(self, object_name: str, cursor: JSON) -> Steps[Page]:
        return RemoteSteps(self, "read", [object_name, cursor])

    def write(self, type_name: str, document: JSON, key: str) -> Steps[Written | Skipped]:
        return RemoteSteps(self, "write", [type_name, document, key])

    def write_many(
        self, type_name: str, items: Sequence[tuple[JSON, str]]
    ) -> Steps[Sequence[Written | Skipped | ConnectorError]]:
        return RemoteSteps(self, "write_many", [type_name, [list(item) for item in items]])

    def find(self, type_name: str, document: JSON, key: str) -> Steps[str | None]:
        return RemoteSteps(self, "find", [type_name, document, key])

    def check(self) -> Steps[str]:
        return RemoteSteps(self, "check", [])

    def describe(self) -> Steps[Sequence[AccountField]]:
        return RemoteSteps(self, "describe", [])

    def subscriptions(self) -> Steps[Sequence[Subscription]]:
        return RemoteSteps(self, "subscriptions", [])

    def subscribe(self, topic: str, url: str) -> Steps[None]:
        return RemoteSteps(self, "subscribe", [topic, url])

    def unsubscribe(self, subscription_id: str) -> Steps[None]:
        return RemoteSteps(self, "unsubscribe", [subscription_id])


class Guests:
    """The guests of this process; the longest unused makes room for the next. ``tell`` hears of each incident."""

    def __init__(self, limits: Limits, tell: Callable[[Incident], None] = lambda _: None) -> None:
        self.limits, self.tell = limits, tell
        self._alive: OrderedDict[IsolatedConnector, Guest] = OrderedDict()
        self._rests: dict[tuple[str, str, str], _Rest] = {}

    async def guest_of(self, connector: IsolatedConnector) -> Guest:
        """The running guest of a connector; started if need be. Raises PluginRestingError while it rests."""
        guest = self._alive.get(connector)
        if guest is None or guest.ended:
            rest = self._rest(connector)
            if (wait := rest.until - time.monotonic()) > 0:
                raise PluginRestingError(f"{connector.manifest.connector} rests after {rest.why}", retry_after=wait)
            plan = Plan(connector.manifest.connector, connector.environment, connector.settings)
            guest = self._alive[connector] = Guest(_Owner(self, connector), plan)
            guest.started = asyncio.get_running_loop().create_task(guest.start())
            self._make_room()
        self._alive.move_to_end(connector)
        guest.used = time.monotonic()
        await asyncio.shield(guest.started)
        return guest

    def died(self, connector: IsolatedConnector, why: str) -> None:
        """A guest ended that was not asked to: its connector rests if it happens too often."""
        rest = self._rest(connector)
        if rest.died(why):
            self.incident(connector, "crash loop", f"left alone for {rest.until - time.monotonic():.0f} s: {why}")

    def incident(self, connector: IsolatedConnector, kind: str, detail: str) -> None:
        data, (tenant_id, connection_id) = connector.manifest.data, connector.owner
        incident = Incident(data["connector"], data["version"], tenant_id, connection_id, kind, one_line(detail))
        log.warning("plugin %s %s, connection %s/%s: %s: %s", incident.connector, incident.version, tenant_id, connection_id,
                    kind, incident.detail)  # fmt: skip
        self.tell(incident)

    def end(self, unwanted: Callable[[IsolatedConnector], bool] = lambda _: True) -> None:
        """End guests: all, or those of the connectors named."""
        for connector in [item for item in self._alive if unwanted(item)]:
            self._alive.pop(connector).end()

    async def close(self) -> None:
        """End all, and wait until they are gone."""
        gone = [guest.gone for guest in self._alive.values()]
        self.end()
        if gone:
            await asyncio.wait(gone, timeout=_END_SECONDS)

    def _make_room(self) -> None:
        now = time.monotonic()
        for connector, guest in list(self._alive.items()):
            too_many = len(self._alive) > self.limits.processes
            if not guest.calls and guest.hello and (too_many or now - guest.used > self.limits.idle_seconds):
                del self._alive[connector]
                guest.end()

    def _rest(self, connector: IsolatedConnector) -> "_Rest":
        return self._rests.setdefault((connector.environment.digest, *connector.owner), _Rest())


class _Owner:
    """What a guest tells, said of its connector."""

    def __init__(self, guests: Guests, connector: IsolatedConnector) -> None:
        self._guests, self._connector, self.limits = guests, connector, guests.limits

    def incident(self, kind: str, detail: str) -> None:
        self._guests.incident(self._connector, kind, detail)

    def died(self, kind: str, detail: str) -> None:
        self.incident(kind, detail)
        self._guests.died(self._connector, f"{kind}: {detail}")


@dataclass
class _Rest:
    """How often a connector died lately, and until when it is left alone for that."""

    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=_DEATHS))
    until: float = 0.0
    length: float = _REST_SECONDS
    why: str = ""

    def died(self, why: str) -> bool:
        now = time.monotonic()
        if now - self.until > _REST_CAP_SECONDS:
            self.length = _REST_SECONDS
        self.deaths.append(now)
        if len(self.deaths) < _DEATHS or now - self.deaths[0] > _DEATHS_SECONDS:
            return False
        self.deaths.clear()
        self.until, self.why = now + self.length, why
        self.length = min(self.length * 2, _REST_CAP_SECONDS)
        return True


def isolated(environment: Environment, manifest: Any, guests: Guests) -> type[IsolatedConnector]:
    """The class that stands for the connector of ``manifest``, whose code is in ``environment``."""
    members = {"manifest": manifest, "environment": environment, "guests": guests, "__doc__": manifest.data["summary"]}
    return type(f"Isolated_{manifest.connector}", (IsolatedConnector,), members)
