"""A hub whose every effect goes through a numbered port: commit, publish, send, acknowledge.

The hub's own code runs, single-threaded, on virtual time and an in-memory SQLite. A `World` is what survives a crash (the
database, the broker's messages, the target); a `SimHub` is one incarnation of the process. `Crash` at a port ends it.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from hub.flow import ingest
from hub.identity.api_keys import SCOPES, Client
from hub.identity.vault import open_vault, save_credentials
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.rehearsal.incarnation import Incarnation
from hub.rehearsal.ports import Crash, Ports
from hub.runtime.plugins import Plugins
from hub.sdk.connector import Connector
from hub.sdk.errors import AmbiguousWriteError, RejectedByTargetError, TargetUnavailableError
from hub.sdk.manifest import parse_manifest
from hub.sdk.steps import Change, Document, Request, Response, Webhook, Written
from hub.sdk.webhook import sign
from hub.settings import Settings
from hub.store import Memory, MemoryStore

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

    def handle(self, request: Request) -> Response:
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

    memory = Memory()
    _empty: Any = memory.copy()
    _template: dict[str, Any] = {}  # noqa: RUF012 - a configured, empty database, per target connector
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
        if target not in World._template:
            self._configure(target)
        World.memory.restore(World._template[target])

    def _configure(self, target: str) -> None:
        World.memory.restore(World._empty)
        store = MemoryStore(World.memory, lambda: None)
        store.upgrade()
        with store.begin() as uow:
            uow.tenants.add(TENANT, "Acme", START)
            plugins = Plugins(self.connectors)
            wanted = parse_integration(INTEGRATION.format(target=target), "sim.yaml", plugins)
            apply_integration(uow, plugins, TENANT, wanted, "test", "", START)
            save_credentials(uow, open_vault(self.settings), TENANT, "till", {"secret": SECRET}, START)
        World._template[target] = World.memory.copy()

    def answer(self, connection_id: str, request: Request) -> Response:
        return self.target.handle(request)

    def incarnation(self, crash_at: int = 0) -> "SimHub":
        hub = SimHub(self, Ports(crash_at))
        World._open.append(hub)
        return hub


class SimHub(Incarnation):
    """The hub, and what comes in."""

    world: "World"

    def __init__(self, world: "World", ports: Ports) -> None:
        super().__init__(world, TENANT, ports)

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

    def end(self) -> None:
        if self in World._open:
            World._open.remove(self)
            super().end()


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
        World.memory.crash()
    finally:
        hub.end()
    return hub


__all__ = ["QUIESCE", "START", "TENANT", "Crash", "Document", "Ports", "SimHub", "World", "crashing", "document"]
