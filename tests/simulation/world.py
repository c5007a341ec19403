"""A hub whose every effect goes through a numbered port: commit, publish, send, acknowledge.

The hub's own code runs, single-threaded, on virtual time and an in-memory SQLite. A `World` is what survives a crash (the
database, the broker's messages, the target); a `SimHub` is one incarnation of the process. `Crash` at a port ends it.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from hub.flow import deliver, ingest
from hub.flow.context import Context
from hub.flow.relay import Relay
from hub.flow.translate import Translator
from hub.identity.api_keys import SCOPES, Client, Clients
from hub.identity.sessions import Sessions
from hub.identity.vault import open_vault, save_credentials
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.integrations.routes import Routes
from hub.runtime.egress import Egress
from hub.runtime.performer import Performer
from hub.runtime.plugins import Plugins
from hub.sdk.connector import Connector
from hub.sdk.errors import AmbiguousWriteError, RejectedByTargetError, TargetUnavailableError
from hub.sdk.manifest import parse_manifest
from hub.sdk.steps import Change, Document, Request, Response, Webhook, Written
from hub.sdk.webhook import sign
from hub.settings import Settings
from hub.store import Configured, Store
from hub.store.engine import _begin_sqlite, _prepare_sqlite
from hub.telemetry import Telemetry

TENANT = "acme"
SECRET = "webhook-secret"
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
VAULT_KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
QUIESCE = 5.0

SHOP = """
connector: shop
name: Shop
version: 1.0.0
kind: shop
summary: A till that tells by thin webhooks.
canonical: 1
self_hosted: true
credentials: {secret: {description: Signing secret}}
webhooks: {signature: {header: x-signature, encoding: hex}, secret: secret, event_id: event}
objects:
  product:
    fetch: {path: "/products/{ref}"}
    map: {type: product.v1, source_id: "= join('@', [record.id, record.updated_at])", data: {id: "= record.id", sku: "= record.id",
          name: "= record.name", active: true, updated_at: "= record.updated_at"}}
"""

TARGET = """
connector: {name}
name: {name}
version: 1.0.0
kind: erp
summary: A target of writes in two requests.
canonical: 1
self_hosted: true
writes:
  product.v1: {{object: product, idempotency: {idempotency}, max_in_flight_seconds: {quiesce}}}
"""

INTEGRATION = """
integration: sim
connections:
  till: {{connector: shop, base_url: "http://till.test"}}
  erp: {{connector: {target}, base_url: "http://erp.test"}}
flows:
  - name: products
    on: product.v1
    to: [{{connection: erp}}]
"""


class Shop(Connector):
    manifest = parse_manifest(SHOP, "shop.yaml")

    def receive(self, webhook: Webhook) -> Any:
        return [Change("product", webhook.json()["product"])]


def _write(self: Connector, document: Any, key: str) -> Any:
    """Looks first and continues from what it finds: create, then confirm."""
    found = yield Request("GET", f"/documents/{key}", expect=(404,))
    if found.status == 404:
        yield Request("POST", "/documents", json={"key": key, "document": document})
        yield Request("POST", f"/documents/{key}/confirm")
    elif not found.json()["confirmed"]:
        yield Request("POST", f"/documents/{key}/confirm")
    return Written(key)


def _find(self: Connector, document: Any, key: str) -> Any:
    found = yield Request("GET", f"/documents/{key}", expect=(404,))
    return key if found.status == 200 and found.json()["confirmed"] else None


def _blind(self: Connector, document: Any, key: str) -> Any:
    """Sends without looking: the target dedupes by our key, or the hub has probed before."""
    yield Request("POST", "/documents", json={"key": key, "document": document}, headers={"Idempotency-Key": key})
    return Written(key)


def target_connector(name: str, idempotency: str, methods: dict[str, Any]) -> type[Connector]:
    text = TARGET.format(name=name, idempotency=idempotency, quiesce=QUIESCE)
    return type(name.title(), (Connector,), {"manifest": parse_manifest(text, f"{name}.yaml"), **methods})


CONNECTORS: dict[str, type[Connector]] = {
    "shop": Shop,
    "finder": target_connector("finder", "find", {"write_product": _write, "find_product": _find}),
    "prober": target_connector("prober", "find", {"write_product": _blind, "find_product": _find}),
    "native": target_connector("native", "native_key", {"write_product": _blind}),
}


_TELEMETRY = Telemetry(sample_ratio=0.0)


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


class Target:
    """The till and the ERP in one: counts what it applied, and how it misbehaves is a list of faults for effects to come."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.products: dict[str, dict[str, Any]] = {}
        self.documents: list[dict[str, Any]] = []
        self.confirmed: set[str] = set()
        self.applications: list[tuple[str, str]] = []
        self.faults: list[str] = []
        self.dedupes = False
        self.late: list[tuple[datetime, Callable[[], Any]]] = []
        self.requests = 0
        self.on_read: Callable[[], None] | None = None
        self.unwell: Exception | None = None

    def handle(self, request: Request, headers: Any) -> Response:
        self.requests += 1
        if not request.mutates and self.on_read is not None:
            response, on_read, self.on_read = self._answer(request), self.on_read, None
            on_read()  # the answer is on its way while something else happens
            return response
        if self.unwell and not request.path.startswith("/products"):
            raise self.unwell
        for due, apply in list(self.late):
            if due <= self.world.now:
                self.late.remove((due, apply))
                apply()
        fault = self.faults.pop(0) if request.mutates and self.faults else ""
        if fault == "down":
            raise TargetUnavailableError("connection refused")
        if fault == "reject":
            raise RejectedByTargetError("the document is refused")
        if fault == "slow":  # it arrives, the caller gives up, and only then it is applied
            self.late.append((self.world.now + timedelta(seconds=QUIESCE - 1), lambda: self._answer(request)))
            raise AmbiguousWriteError("timed out")
        response = self._answer(request)
        if fault == "lost":
            raise AmbiguousWriteError("connection reset")
        if fault == "applied and refused":
            raise RejectedByTargetError("an error page, though it was applied")
        return response

    def _answer(self, request: Request) -> Response:
        parts = request.path.strip("/").split("/")
        if parts[0] == "products":
            return Response(200, {}, orjson.dumps(self.products[parts[1]]))
        if request.method == "GET":
            known = [row for row in self.documents if row["key"] == parts[1]]
            body = {"confirmed": parts[1] in self.confirmed}
            return Response(200, {}, orjson.dumps(body)) if known else Response(404, {}, b"{}")
        if len(parts) == 3:
            self.confirmed.add(parts[1])
            return Response(200, {}, b"{}")
        body = request.json
        if self.dedupes and any(row["key"] == body["key"] for row in self.documents):
            return Response(200, {}, b"{}")
        self.documents.append(body)
        self.applications.append((body["document"]["sku"], body["document"]["updated_at"]))
        if self.world.target_name != "finder":
            self.confirmed.add(body["key"])
        return Response(201, {}, b"{}")


class World:
    """What survives a crash."""

    _template: dict[str, sqlite3.Connection] = {}  # noqa: RUF012 - a configured, empty database, per target connector
    _engine: sa.Engine | None = None
    _raw: Any = None
    _open: list["SimHub"] = []  # noqa: RUF012 - incarnations that a failed check left behind

    def __init__(self, target: str = "finder", **settings: Any) -> None:
        for hub in list(World._open):
            hub.end()
        self.now = START
        self.target_name = target
        self.target = Target(self)
        self.target.dedupes = target == "native"
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.announced: list[str] = []
        self.connectors = CONNECTORS
        self.settings = Settings(
            vault_key=VAULT_KEY, public_url="http://hub.test", lease_seconds=10.0, retry_base_seconds=1.0,
            egress_private_hosts="till.test,erp.test", **settings,
        )  # fmt: skip
        self.acknowledged: dict[str, str] = {}
        if World._engine is None:
            World._raw = sqlite3.connect(":memory:", check_same_thread=False)
            _prepare_sqlite(World._raw, None)
            World._engine = sa.create_engine("sqlite://", creator=lambda: World._raw, poolclass=sa.pool.StaticPool)
            sa.event.listen(World._engine, "begin", _begin_sqlite)
            World._engine.dispose = lambda close=True: None  # type: ignore[method-assign]
        if target not in World._template:
            self._configure(target)
        World._template[target].backup(World._raw)

    def _configure(self, target: str) -> None:
        sqlite3.connect(":memory:").backup(World._raw)
        store = SimStore(Ports())
        store.upgrade()
        with store.begin() as uow:
            uow.tenants.add(TENANT, "Acme", START)
            plugins = Plugins(self.connectors)
            wanted = parse_integration(INTEGRATION.format(target=target), "sim.yaml", plugins)
            apply_integration(uow, plugins, TENANT, wanted, "test", "", START)
            save_credentials(uow, open_vault(self.settings), TENANT, "till", {"secret": SECRET}, START)
        World._template[target] = sqlite3.connect(":memory:", check_same_thread=False)
        World._raw.backup(World._template[target])

    def incarnation(self, crash_at: int = 0) -> "SimHub":
        hub = SimHub(self, Ports(crash_at))
        World._open.append(hub)
        return hub


class SimStore(Store):
    """The store, with a port before each commit."""

    def __init__(self, ports: Ports) -> None:
        self.url, self.sqlite = "sqlite://", True
        self._writer = contextlib.nullcontext()  # type: ignore[assignment]
        assert World._engine is not None
        self.engine = World._engine
        self._ports = ports

    @contextlib.contextmanager
    def begin(self, durable: bool = True) -> Iterator[Any]:
        before = World._raw.total_changes
        with super().begin() as uow:
            yield uow
            uow.flush()
            if World._raw.total_changes != before:  # a transaction that changed nothing is no effect
                self._ports("commit")

    def close(self) -> None:
        """The engine is the world's."""


class InlineGroup:
    """Group commit of one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, work: Any, *key: str) -> "Future[Any]":
        return self.submit_each(lambda uow, works: [work(uow) for work in works], work, *key)

    def submit_each(self, many: Any, item: Any, *key: str) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            with self._store.begin() as uow:
                (result,) = many(uow, [item])
            future.set_result(result)
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing runs."""


class SimPerformer(Performer):
    """The performer, whose bytes go straight to the target."""

    def __init__(self, world: World, ports: Ports, telemetry: Telemetry) -> None:
        self._world, self._ports = world, ports
        self._egress, self._telemetry = Egress("till.test,erp.test"), telemetry
        self._clock = lambda: world.now

    async def _exchange(self, request: Request, session: Any, headers: Any, traceparent: str) -> Response:
        if request.mutates:  # a read leaves no trace
            self._ports("effect")
        return self._world.target.handle(request, headers)

    async def close(self) -> None:
        """Nothing is open."""


class InlineLoop:
    """The runtime loop, run only while something is submitted; sleeping moves the world's clock."""

    def __init__(self, world: World, performer: SimPerformer) -> None:
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


class SimBroker:
    """A broker that keeps what was confirmed, and hands out again what was not acknowledged."""

    def __init__(self, world: World, ports: Ports) -> None:
        self._world, self._ports = world, ports

    def declare(self, topology: Any) -> None:
        """Everything exists."""

    def publish(self, exchange: str, messages: Sequence[tuple[str, Any]]) -> list[int]:
        for key, payload in messages:
            if key != "inputs":  # a bell: the sweep finds the input without it
                self._ports("publish")
            if exchange == "hub.events":
                self._world.announced.append(payload["messageid"])
            elif key != "inputs":
                self._world.messages.append((key, dict(payload)))
        return []

    def close(self) -> None:
        """Nothing is open."""


class SimHub:
    """One incarnation of the process: the flow's own steps, driven one after the other."""

    def __init__(self, world: World, ports: Ports) -> None:
        self.world, self.ports = world, ports
        store, telemetry = SimStore(ports), _TELEMETRY
        plugins, vault = Plugins(world.connectors), open_vault(world.settings)
        self.loop = InlineLoop(world, SimPerformer(world, ports, telemetry))
        configured = Configured()
        self.ctx = Context(
            world.settings, store, InlineGroup(store), SimBroker(world, ports), plugins, vault,  # type: ignore[arg-type]
            configured, Clients(configured), Sessions(plugins, vault, configured, store), Routes(configured), telemetry,
            self.loop, lambda: world.now, f"sim-{id(ports)}",  # type: ignore[arg-type]
        )  # fmt: skip
        self.relay, self.translator, self.deliverer = Relay(self.ctx), Translator(self.ctx), deliver.Deliverer(self.ctx)

    # -- what comes in --------------------------------------------------------------------------------------------

    def webhook(self, product: str, version: int) -> None:
        """The till says that a product has changed; it says so again until it is answered."""
        event = f"{product}@{version}"
        self.world.target.products[product] = document(product, version)
        body = orjson.dumps({"event": event, "product": product})
        headers = {"x-signature": sign(CONNECTORS["shop"].manifest.signature, SECRET, body)}  # type: ignore[arg-type]
        self.world.acknowledged[event] = ingest.receive_webhook(self.ctx, TENANT, "till", headers, body).raw_id

    def publish(self, product: str, version: int, seconds: float | None = None) -> str:
        """An internal system publishes a product."""
        data = document(product, version)
        envelope = {
            "specversion": "1.0", "id": f"{product}@{version}", "source": "/pim", "type": "product.v1",
            "time": data["updated_at"], "data": data,
        }  # fmt: skip
        admitted = ingest.accept_event(self.ctx, Client(TENANT, "k", "pim", frozenset(SCOPES)), envelope)
        self.world.acknowledged[envelope["id"]] = admitted.message_id
        return admitted.message_id

    # -- the loops ------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Everything that is due, once; False if nothing was."""
        found = self.translator.run_once()
        found += self.relay.run_due()
        found += self.relay.sweep()
        found += self.relay.announce()
        found += self.consume()
        return bool(found)

    def consume(self) -> int:
        taken = 0
        for message in list(self.world.messages):
            taken += 1
            self.loop.loop.run_until_complete(self.deliverer.deliver(TENANT, message[1]["delivery_id"], message[1]["trial"]))
            self.ports("acknowledge")
            if message in self.world.messages:
                self.world.messages.remove(message)
        return taken

    def run(self, limit: int = 300) -> None:
        """Until nothing is open (dead letters apart); moves the clock when nothing is due."""
        for _ in range(limit):
            if self.step():
                continue
            if not self.waiting():
                return
            self.world.now += timedelta(seconds=self.patience())
            deliver.recover(self.ctx)
            self.relay.give_back_stale()
            self.relay.promote()
        raise AssertionError(f"not at rest: {self.rows('delivery')} {self.rows('raw_input')}")

    def patience(self) -> float:
        """Seconds until something can be due: the nearest lease or time of availability, one at least."""
        with self.ctx.store.engine.connect() as connection:
            text = (
                "SELECT min(t) FROM (SELECT available_at AS t FROM delivery WHERE state IN ('pending', 'ambiguous') UNION ALL"
                " SELECT lease_until FROM delivery WHERE state IN ('claimed', 'sending') UNION ALL"
                " SELECT max(available_at, coalesce(lease_until, available_at)) FROM raw_input WHERE state = 'received')"
                " WHERE t > :now"
            )
            now = self.world.now.replace(tzinfo=None).strftime("%Y-%m-%d %H:%M:%S.%f")
            found = connection.execute(sa.text(text), {"now": now}).scalar()
        if not found:
            return 1.0
        return max(0.01, (datetime.fromisoformat(found).replace(tzinfo=UTC) - self.world.now).total_seconds() + 0.001)

    def waiting(self) -> bool:
        open_ = ("pending", "claimed", "sending", "ambiguous")
        with self.ctx.store.read() as uow:
            rows = uow.deliveries.page(TENANT, None, 200)
            blocked = {row["id"] for row in rows if row["state"] == "pending" and uow.deliveries.blocker(row)}
            paused = {row["connection_id"] for row in uow.connections.all(TENANT) if row["state"] == "paused"}
            raws = uow.raws.page(TENANT, None, 200, state="received")
        dead = {row["subject"] for row in rows if row["state"] == "dead"}
        return bool(raws) or any(
            row["state"] in open_
            and not (row["id"] in blocked and row["subject"] in dead)
            and row["connection_id"] not in paused
            for row in rows
        )

    def rows(self, table: str) -> list[dict[str, Any]]:
        with self.ctx.store.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()]

    def end(self) -> None:
        if self in World._open:
            World._open.remove(self)
            self.loop.close()


def document(product: str, version: int) -> dict[str, Any]:
    """A product's state; a later version is a minute younger."""
    at = START + timedelta(minutes=version)
    return {"id": product, "sku": product, "name": f"{product} v{version}", "active": True, "updated_at": at.isoformat()}


def crashing(world: World, crash_at: int, act: Callable[[SimHub], Any]) -> SimHub:
    """Run ``act`` in an incarnation that dies at a boundary; the incarnation, dead or alive."""
    hub = world.incarnation(crash_at)
    try:
        act(hub)
    except Crash:
        # what the database had not committed is gone with the process
        World._raw.rollback()
    finally:
        hub.end()
    return hub


__all__ = ["QUIESCE", "START", "TENANT", "Crash", "Document", "Ports", "SimHub", "World", "crashing", "document"]
