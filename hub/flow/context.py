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


@dataclass
class Fresh:
    """What has just been committed and is to be published: connections with something due (and whether a place was freed in
    it), deliveries that went with their admission, and whether there is raw input.
    """

    connections: dict[tuple[str, str], bool] = field(default_factory=dict)
    going: list[Row] = field(default_factory=list)
    inputs: bool = False


class Due:
    """What the relay of this process is to publish, and the bell that wakes it."""

    def __init__(self) -> None:
        self.bell = threading.Event()
        self._lock = threading.Lock()
        self._fresh = Fresh()
        self._places: dict[tuple[str, str], tuple[int, datetime]] = {}
        self._closed = False

    def add(self, tenant_id: str, connection_id: str, freed: bool = False) -> None:
        """``freed``: something of the connection has ended, so there is a place for the next."""
        key = (tenant_id, connection_id)
        with self._lock:
            self._fresh.connections[key] = freed or self._fresh.connections.get(key, False)
        self.bell.set()

    def go(self, rows: Sequence[Row]) -> None:
        """Deliveries that count as published since they were committed: their ids are to be published now."""
        with self._lock:
            self._fresh.going += rows
        self.bell.set()

    def allow(self, tenant_id: str, connection_id: str, places: int, until: datetime) -> None:
        """So many deliveries of a connection that nobody waits for may go as soon as they are admitted."""
        with self._lock:
            self._places[tenant_id, connection_id] = (places, until)

    def place(self, tenant_id: str, connection_id: str, now: datetime) -> bool:
        """Take one of these places; False if there is none."""
        with self._lock:
            places, until = self._places.get((tenant_id, connection_id), (0, now))
            if places <= 0 or until <= now or self._closed:
                return False
            self._places[tenant_id, connection_id] = (places - 1, until)
            return True

    def close(self) -> None:
        """The relay of this process is about to end: what is admitted from now on is for another's sweep."""
        with self._lock:
            self._closed = True

    def add_input(self) -> None:
        """Raw input was stored: workers elsewhere should hear of it."""
        with self._lock:
            self._fresh.inputs = True
        self.bell.set()

    def take(self) -> Fresh:
        """All that came since this was asked last."""
        with self._lock:
            fresh, self._fresh = self._fresh, Fresh()
        return fresh


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
