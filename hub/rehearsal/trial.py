"""A connector in the hub's own engine, beside its kit's system: crashed before every effect, answers that never come."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any

import orjson
import yaml

from canonical.registry import TYPES
from hub.flow import ingest
from hub.identity.api_keys import SCOPES, Client
from hub.identity.vault import open_vault, save_credentials
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.rehearsal.incarnation import Incarnation
from hub.rehearsal.ports import Crash, Ports
from hub.runtime.plugins import Plugins
from hub.sdk.errors import AmbiguousWriteError, TargetUnavailableError
from hub.sdk.kit.subject import JSON, Subject
from hub.sdk.steps import Request, Response
from hub.sdk.testing.simulator import SimRequest
from hub.settings import Settings
from hub.store import Memory, MemoryStore

_TENANT, _CONNECTION = "rehearsal", "system"
_START = datetime(2026, 11, 21, 12, tzinfo=UTC)
_VAULT_KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
#: What becomes of the first effect: nothing, its answer is lost, it never leaves, it arrives after the hub gave up.
_FAULTS = ("", "answer lost", "connection refused", "arrives late")
_MOST_TURNS = 100
Act = Callable[[Incarnation], None]


class _World:
    """What survives a crash: the database, the broker's messages and the system."""

    def __init__(self, subject: Subject, memory: Memory, kept: Any, fault: str = "") -> None:
        memory.restore(kept)
        self.now, self.memory, self.system = _START, memory, subject.system()
        self.connectors = {subject.connector.manifest.connector: subject.connector}
        self.settings = _settings()
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.announced: list[str] = []
        self._fault = fault
        self._late: list[tuple[datetime, Request]] = []
        self._windows = [item["max_in_flight_seconds"] for item in subject.connector.manifest.writes.values()]

    def answer(self, connection_id: str, request: Request) -> Response:
        for due, late in [item for item in self._late if item[0] <= self.now]:
            self._late.remove((due, late))
            self._asked(late)
        fault, self._fault = (self._fault, "") if request.mutates else ("", self._fault)
        if fault == "connection refused":
            raise TargetUnavailableError("the connection was refused")
        if fault == "arrives late":
            self._late.append((self.now + timedelta(seconds=0.9 * min(self._windows)), request))
        elif fault:
            self._asked(request)
        if fault:
            raise AmbiguousWriteError("no answer")
        return self._asked(request)

    def _asked(self, request: Request) -> Response:
        return self.system.handle(SimRequest.of(request, self.system.headers))


def rehearse(subject: Subject) -> Iterator[str]:
    """What a subject's samples and streams do not survive in a hub: a line for each crash or fault not made up for."""
    for name, document in subject.effect_once():
        yield from _write(subject, name, document)
    manifest, system = subject.connector.manifest, subject.system()
    for name in [name for name, declared in manifest.objects.items() if declared["read"] and name in system.listed]:
        yield from _read(subject, name)


def _write(subject: Subject, name: str, document: JSON) -> Iterator[str]:
    memory, kept = _configured(subject, {"on": name, "to": [{"connection": _CONNECTION}]})
    client = Client(_TENANT, "k", "rehearsal", frozenset(SCOPES))
    envelope = {
        "specversion": "1.0",
        "id": "1",
        "source": "/rehearsal",
        "type": name,
        "time": _START.isoformat(),
        "data": document,
    }

    def act(hub: Incarnation) -> None:
        ingest.accept_event(hub.ctx, client, envelope)
        hub.run()

    wanted = None
    for fault in _FAULTS:
        for place, world, problem in _crashes(partial(_World, subject, memory, kept, fault), act, every=not fault):
            added = world.system.applied() - subject.system().applied()
            states = {row["state"]: row["cause"] for row in memory.rows("delivery")}
            wanted = added if wanted is None else wanted
            where = f"{name}: {fault or 'in the hub'}{f', crashed before {place}' if place else ''}"
            if problem:
                yield f"{where}: {problem}"
            elif not states.keys() <= {"applied", "skipped"}:
                yield f"{where}: it ended as {', '.join(f'{state} ({why})' for state, why in states.items())}"
            elif added != wanted:
                yield f"{where}: applied {added} instead of {wanted}"


def _read(subject: Subject, name: str) -> Iterator[str]:
    flow = {"on": sorted(TYPES), "from": _CONNECTION, "read": [name], "cadence": "every 1m", "to": []}
    memory, kept = _configured(subject, flow)

    def act(hub: Incarnation) -> None:
        for stream in hub.poller.streams():
            for _ in range(_MOST_TURNS):
                if (run := hub.poller.run(stream))["state"] not in ("more", "throttled", "postponed"):
                    break
                hub.world.now += timedelta(seconds=1)
            if run["state"] != "complete":
                raise AssertionError(f"the read ended as {run['state']}: {run['error']}")

    for place, world, problem in _crashes(partial(_World, subject, memory, kept), act):
        connector = subject.connector(world.system.settings)
        rows = memory.rows("raw_input")
        seen = {connector.change_of(name, orjson.loads(row["body"])).ref for row in rows if row["object"] == name}
        where = f"{name}: read by the hub{f', crashed before {place}' if place else ''}"
        if problem:
            yield f"{where}: {problem}"
        elif missed := sorted(world.system.listed[name]() - seen):
            yield f"{where}: {len(missed)} records were not seen, {missed[0]!r} the first; keep in the cursor what is to come"


def _crashes(make: Callable[[], _World], act: Act, every: bool = True) -> Iterator[tuple[str, _World, str]]:
    """(where it crashed, the world afterwards, what went wrong): without a crash; if ``every``, with one before each effect."""
    world = make()
    problem, log = _lived(world, act, 0)
    yield "", world, problem
    for place, effect in enumerate(log, 1) if every else ():
        world = make()
        _lived(world, act, place)
        yield f"{effect} {place} of {len(log)}", world, _lived(world, act, 0)[0]


def _lived(world: _World, act: Act, crash_at: int) -> tuple[str, list[str]]:
    """One incarnation, until it is at rest or crashes: (what went wrong, its effects)."""
    ports = Ports(crash_at)
    hub = Incarnation(world, _TENANT, ports)
    try:
        act(hub)
    except Crash:
        world.memory.crash()
    except AssertionError as error:
        return str(error)[:300], ports.log
    finally:
        hub.end()
    return "", ports.log


def _configured(subject: Subject, flow: Mapping[str, Any]) -> tuple[Memory, Any]:
    """A database with one connection to the system and one flow."""
    manifest, system = subject.connector.manifest, subject.system()
    memory = Memory()
    memory.restore(_empty())
    store = MemoryStore(memory, lambda: None)
    connection = {"connector": manifest.connector, "base_url": "http://system.test", "settings": dict(system.settings)}
    text = yaml.safe_dump({"integration": "rehearsal", "duplicates": "pass", "connections": {_CONNECTION: connection},
                           "flows": [{"name": "flow", **flow}]})  # fmt: skip
    plugins = Plugins({manifest.connector: subject.connector})
    with store.begin() as uow:
        uow.tenants.add(_TENANT, "Rehearsal", _START)
        secrets = dict.fromkeys(manifest.data["credentials"], "rehearsed-secret")
        save_credentials(uow, open_vault(_settings()), _TENANT, _CONNECTION, secrets, _START)
        apply_integration(uow, plugins, _TENANT, parse_integration(text, "rehearsal.yaml", plugins), "kit", "", _START)
    return memory, memory.copy()


@cache
def _empty() -> Any:
    memory = Memory()
    MemoryStore(memory, lambda: None).upgrade()
    return memory.copy()


def _settings() -> Settings:
    return Settings(
        vault_key=_VAULT_KEY, public_url="http://hub.test", lease_seconds=10.0, retry_base_seconds=1.0,
        egress_private_hosts="system.test",
    )  # fmt: skip
