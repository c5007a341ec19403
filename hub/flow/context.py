"""What every step works with. `bootstrap` makes one per hub; nothing here is global."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from hub.broker import Broker
from hub.identity.sessions import Sessions
from hub.identity.vault import Vault
from hub.integrations.routes import Routes
from hub.runtime.loop import Loop
from hub.runtime.plugins import Plugins
from hub.settings import Settings
from hub.store import GroupCommit, Store, UnitOfWork
from hub.telemetry import Telemetry

T = TypeVar("T")


class Due:
    """Connections that have just got something to publish, and the bell that wakes the relay."""

    def __init__(self) -> None:
        self.bell = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[tuple[str, str]] = set()
        self._inputs = False

    def add(self, tenant_id: str, connection_id: str) -> None:
        with self._lock:
            self._connections.add((tenant_id, connection_id))
        self.bell.set()

    def add_input(self) -> None:
        """Raw input was stored: workers elsewhere should hear of it."""
        with self._lock:
            self._inputs = True
        self.bell.set()

    def take(self) -> tuple[set[tuple[str, str]], bool]:
        with self._lock:
            connections, inputs = self._connections, self._inputs
            self._connections, self._inputs = set(), False
        return connections, inputs


@dataclass
class Context:
    """The hub's parts, its clock, and the bells that wake a step when there is work (the sweeps find it without them)."""

    settings: Settings
    store: Store
    group: GroupCommit
    broker: Broker
    plugins: Plugins
    vault: Vault
    sessions: Sessions
    routes: Routes
    telemetry: Telemetry
    loop: Loop
    clock: Callable[[], datetime]
    instance: str
    raw_arrived: threading.Event = field(default_factory=threading.Event)
    due: Due = field(default_factory=Due)

    async def alone(self, work: Callable[[UnitOfWork], T]) -> T:
        """``work`` in a transaction of its own: it locks a row that others wait for, so it must not wait for a group."""

        def run() -> T:
            with self.store.begin() as uow:
                return work(uow)

        return await self.loop.in_store(run)

    async def commit(self, work: Callable[[UnitOfWork], T], *key: str) -> T:
        """``work`` in a group commit, awaited on the runtime loop; ``key`` as in `GroupCommit.submit`."""
        return await asyncio.wrap_future(self.group.submit(work, *key))
