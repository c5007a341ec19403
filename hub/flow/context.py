"""What every step works with. `bootstrap` makes one per hub; nothing here is global."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from hub.broker import Broker
from hub.contracts.fields import Sample, fields
from hub.identity.api_keys import Client, Clients
from hub.identity.sessions import Sessions
from hub.identity.vault import Vault
from hub.integrations.routes import Routes
from hub.runtime.loop import Inbox, Loop
from hub.runtime.plugins import Plugins
from hub.settings import Settings
from hub.store import Configured, GroupCommit, Store, UnitOfWork
from hub.store.rows import Row
from hub.telemetry import Telemetry

T = TypeVar("T")
Item = TypeVar("Item")


class Due:
    """Connections that have just got something to publish, and the bell that wakes the relay."""

    def __init__(self) -> None:
        self.bell = threading.Event()
        self._lock = threading.Lock()
        self._connections: dict[tuple[str, str], bool] = {}
        self._inputs = False

    def add(self, tenant_id: str, connection_id: str, freed: bool = False) -> None:
        """``freed``: something of the connection has ended, so there is a place for the next."""
        key = (tenant_id, connection_id)
        with self._lock:
            self._connections[key] = freed or self._connections.get(key, False)
        self.bell.set()

    def add_input(self) -> None:
        """Raw input was stored: workers elsewhere should hear of it."""
        with self._lock:
            self._inputs = True
        self.bell.set()

    def take(self) -> tuple[dict[tuple[str, str], bool], bool]:
        """(connections, each with whether a place was freed; whether there is raw input)."""
        with self._lock:
            connections, inputs = self._connections, self._inputs
            self._connections, self._inputs = {}, False
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
    configured: Configured
    clients: Clients
    sessions: Sessions
    routes: Routes
    telemetry: Telemetry
    loop: Loop
    clock: Callable[[], datetime]
    instance: str
    raw_arrived: threading.Event = field(default_factory=threading.Event)
    due: Due = field(default_factory=Due)
    _sample: Sample = field(init=False)
    _inboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Inbox] = field(default_factory=WeakKeyDictionary)

    def __post_init__(self) -> None:
        self._sample = Sample(self.settings.field_sample)

    def used(self, uow: UnitOfWork, client: Client, operation: str, body: Any = None) -> None:
        """Count one use of an operation, or of an event type; of a sample of bodies, note which fields were sent."""
        day = self.clock().date().isoformat()
        uow.usage.count(client.tenant_id, client.name, operation, day, 1)
        if body is not None and self._sample.takes(client.tenant_id, client.name, operation):
            uow.usage.sample(client.tenant_id, client.name, operation, day, fields(body))

    def connection(self, uow: UnitOfWork, tenant_id: str, connection_id: str) -> Row | None:
        """The row of a connection, to read."""
        named = ("connection", connection_id)
        return self.configured.get(uow, tenant_id, named, lambda: uow.connections.get(tenant_id, connection_id))

    async def alone(self, work: Callable[[UnitOfWork], T], durable: bool = True) -> T:
        """``work`` in a transaction of its own: it locks a row that others wait for, so it must not wait for a group.

        ``durable``: see `Store.begin`.
        """

        def run() -> T:
            with self.store.begin(durable) as uow:
                return work(uow)

        return await self.loop.in_store(run)

    async def commit(self, work: Callable[[UnitOfWork], T], *key: str) -> T:
        """``work`` in a group commit, awaited on the runtime loop; ``key`` as in `GroupCommit.submit`."""
        return await self._inbox().result(self.group.submit(work, *key))

    async def commit_each(
        self, many: Callable[[UnitOfWork, list[Item]], Sequence[T]], item: Item, *key: str, weight: int = 1
    ) -> T:
        """As `commit`, for work that is cheaper together; see `GroupCommit.submit_each`."""
        return await self._inbox().result(self.group.submit_each(many, item, *key, weight=weight))

    def _inbox(self) -> Inbox:
        """Of the loop that is running: the edge's, or the runtime's."""
        loop = asyncio.get_running_loop()
        found = self._inboxes.get(loop)
        if found is None:
            found = self._inboxes[loop] = Inbox(loop)
        return found
