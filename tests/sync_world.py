"""A system of rows that is read in every way, and a hub on virtual time beside it: every effect a port, any of them the last."""

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from hub.flow import ingest
from hub.identity.api_keys import SCOPES, Client
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.rehearsal.incarnation import Incarnation
from hub.rehearsal.ports import Crash, Ports
from hub.runtime.plugins import Plugins
from hub.sdk.connector import Connector
from hub.sdk.manifest import parse_manifest
from hub.sdk.steps import Request, Response
from hub.settings import Settings
from hub.store import Memory, MemoryStore

TENANT = "acme"
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
CLIENT = Client(TENANT, "k", "pim", frozenset(SCOPES))

MANIFEST = """
connector: rows
name: Rows
version: 1.0.0
kind: erp
summary: A system of rows.
canonical: 2
self_hosted: true
objects:
  row:
    read:
      request: {path: /rows, params: {since: "= since", page: "= page", limit: "= limit"}}
      records: items
      ref: id
      PAGING
    map:
      type: product.v2
      source_id: "= join('@', [record.id, text(record.version)])"
      data: {id: "= record.id", sku: "= record.id", name: "= record.name", status: "= record.deleted && 'withdrawn' || 'active'", updated_at: "= record.changed"}
writes:
  product.v2:
    object: row
    idempotency: upsert
    max_in_flight_seconds: 2
    request: {method: PUT, path: "/rows/{document.id}", json: {name: "= document.name", at: "= document.updated_at"}}
    external_id: id
  sale.completed.v1:
    object: sale
    idempotency: native_key
    max_in_flight_seconds: 2
    request: {method: POST, path: /sales, json: {key: "= key", number: "= document.number"}}
    external_id: id
"""
_EMPTY: list[Any] = []


def rows_connector(paging: str) -> type[Connector]:
    """The connector that reads rows in the way that ``paging`` (more lines of `read`) declares."""
    text = MANIFEST.replace("PAGING", paging.strip().replace("\n", "\n      "))
    return type("Rows", (Connector,), {"manifest": parse_manifest(text, "rows.yaml")})


class Rows:
    """The system: rows with the time they say, the time they were committed (seen) and a version."""

    def __init__(self, world: "World", how: str = "inclusive") -> None:
        self.world, self.how = world, how
        self.rows: dict[str, dict[str, Any]] = {}
        self.versions = itertools.count(1)
        self.sales: list[str] = []
        self.written: list[tuple[str, str]] = []
        self.requests = 0

    def put(
        self, identity: str, changed: datetime, name: str = "", deleted: bool = False, seen: datetime | None = None
    ) -> None:
        """``seen``: committed, and so visible, only then."""
        version = next(self.versions)
        self.rows[identity] = {
            "id": identity, "name": name or f"{identity} v{version}", "deleted": deleted, "version": version,
            "changed": self.stamp(changed), "seen": seen or changed,
        }  # fmt: skip

    def stamp(self, at: datetime) -> str:
        return at.isoformat().replace("+00:00", "Z")

    def answer(self, request: Request) -> Response:
        self.requests += 1
        if request.path == "/sales":
            if request.json["key"] not in self.sales:
                self.sales.append(request.json["key"])
            return _json({"id": request.json["key"]})
        if request.method == "PUT":
            self.written.append((request.path.rpartition("/")[2], request.json["name"]))
            return _json({"id": request.path})
        since, limit = str(request.params["since"]), int(request.params["limit"])
        visible = [row for row in self.rows.values() if row["seen"] <= self.world.now]
        if self.how == "version":
            found = sorted((row for row in visible if row["version"] > int(since)), key=lambda row: row["version"])[:limit]
            return _json({"items": [_told(row) for row in found], "version": found[-1]["version"] if found else int(since)})
        if self.how == "day":
            visible = [row for row in visible if row["changed"][:10] >= since[:10]]
        else:
            visible = [
                row for row in visible if row["changed"] > since or (self.how != "exclusive" and row["changed"] == since)
            ]
        visible.sort(key=lambda row: (row["changed"], row["id"]))
        start = int(request.params.get("page") or 0)
        return _json({"items": [_told(row) for row in visible[start : start + limit]]})


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seen"}


def _json(body: Any) -> Response:
    return Response(200, {"content-type": "application/json"}, orjson.dumps(body))


class World:
    """What survives a crash."""

    def __init__(self, integration: str, paging: str = "paging: {type: offset, limit: 50}\nincremental: changed", how: str = "inclusive",
                 **settings: Any) -> None:  # fmt: skip
        self.now, self.memory = START, Memory()
        if not _EMPTY:
            MemoryStore(self.memory, lambda: None).upgrade()
            _EMPTY.append(self.memory.copy())
        self.memory.restore(_EMPTY[0])
        self.connectors = {"rows": rows_connector(paging)}
        self.settings = Settings(
            vault_key="q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=", public_url="http://hub.test", lease_seconds=10.0,
            retry_base_seconds=1.0, egress_private_hosts="a.test,b.test", **settings,
        )  # fmt: skip
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.announced: list[str] = []
        self.system = Rows(self, how)
        plugins = Plugins(self.connectors)
        with MemoryStore(self.memory, lambda: None).begin() as uow:
            uow.tenants.add(TENANT, "Acme", START)
            wanted = parse_integration(integration, "sync.yaml", plugins, TENANT)
            apply_integration(uow, plugins, TENANT, wanted, "test", "", START)

    def answer(self, connection_id: str, request: Request) -> Response:
        return self.system.answer(request)

    def hub(self, crash_at: int = 0) -> Incarnation:
        return Incarnation(self, TENANT, Ports(crash_at))

    def live(self, act: Any, crash_at: int = 0) -> bool:
        """``act`` in an incarnation of its own, which dies at a port; whether it did."""
        hub = self.hub(crash_at)
        try:
            act(hub)
        except Crash:
            self.memory.crash()
            return True
        finally:
            hub.end()
        return False

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.memory.rows(table)

    def told(self) -> list[tuple[str, str]]:
        """(id, name) of every product that became a message, in their order."""
        found = [orjson.loads(row["body"])["data"] for row in sorted(self.rows("message"), key=lambda row: str(row["id"]))]
        return [(data["id"], data["name"]) for data in found]


def poll(hub: Incarnation) -> None:
    """Whatever is due, and what follows from it, to its end."""
    hub.poller.run_due()
    hub.run()


def publish(hub: Incarnation, type_name: str, data: Mapping[str, Any]) -> None:
    ingest.accept_event(hub.ctx, CLIENT, {
        "specversion": "1.0", "id": data["id"], "source": "/test", "type": type_name, "time": "2026-11-21T12:00:00Z",
        "data": dict(data),
    })  # fmt: skip


def later(world: World, **span: float) -> None:
    world.now += timedelta(**span)
