"""A hub under test: real HTTP in, simulators on real ports out, settled when nothing is under way."""

import http.client
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn
from hub_inventree.simulator import InvenTreeSimulator
from hub_square.simulator import SquareSimulator
from hub_tryton.simulator import TrytonSimulator

from hub.bootstrap import Hub, utc_now
from hub.identity.api_keys import SCOPES, create_key
from hub.identity.connections import set_credentials
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.runtime.plugins import Plugins, load_plugins
from hub.sdk.testing import SimulatorServer
from hub.settings import Settings

VAULT_KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="

MANIFEST = """\
connector: acme
name: Acme
version: 1.0.0
kind: pos
summary: Test.
canonical: 1
environments: {production: {base_url: "https://api.acme.test"}}
credentials: {key: {description: API key}}
writes:
  sale.completed.v1:
    object: sale
    idempotency: native_key
    max_in_flight_seconds: 30
    request: {method: POST, path: /sales, json: {ref: "= key", total: "= document.total.amount"}}
    external_id: id
"""

INTEGRATION = """
integration: stores
duplicates: hold
connections:
  pos:
    connector: square
    base_url: {square}
    settings: {{timezone: America/New_York, locations: {{S8GWD5R9QB376: HARBOUR-ST}}}}
    limits: {{timeout_seconds: 1.0}}
  erp:
    connector: tryton
    base_url: {tryton}
    settings:
      database: tryton
      currency: USD
      accounts: {{receivable: "1.2.1", revenue: "4.1.1", tax: "2.2.4", tip: "4.1.2", service_charge: "4.1.2", rounding: "6.1.1",
                  gift_card_liability: "2.2.2", deposit: "2.3.1", donation: "2.3.4", duty: "6.3.5", exchange_difference: "6.2.1",
                  cash: "1.1.1", card: "1.1.2", gift_card: "1.1.3", wallet: "1.1.2", other: "1.1.3"}}
    limits: {{timeout_seconds: 1.0, max_in_flight_seconds: 1.2}}
  stock:
    connector: inventree
    base_url: {inventree}
    settings: {{locations: {{HARBOUR-ST: 1}}}}
    limits: {{timeout_seconds: 1.0, max_in_flight_seconds: 1.2}}
flows:
  - name: transactions
    on: [sale.completed.v1, return.completed.v1, exchange.completed.v1]
    to:
      - connection: erp
        map: {{comment: "join(' ', ['Till receipt', number])"}}
      - connection: stock
  - name: stock-facts
    on: [stock.counted.v1, stock.adjusted.v1]
    from: pos
    cadence: every 1s
    read: [inventory_change]
    to: [{{connection: stock}}]
"""


class Shop:
    """A hub with a till, an ERP and a stock system."""

    tenant = "acme"

    def __init__(self, folder: Path, database_url: str = "", plugins: Plugins | None = None, **settings: Any) -> None:
        self.square, self.inventree, self.tryton = SquareSimulator(), InvenTreeSimulator(), TrytonSimulator()
        self.servers = {
            "square": SimulatorServer(self.square), "inventree": SimulatorServer(self.inventree),
            "tryton": SimulatorServer(self.tryton),
        }  # fmt: skip
        values: dict[str, Any] = {
            "data_dir": folder, "database_url": database_url, "vault_key": VAULT_KEY, "egress_private_hosts": "127.0.0.1",
            "retry_base_seconds": 0.1, "sweep_seconds": 0.05, "lease_seconds": 5.0, "drain_seconds": 1.0, "public_url": "http://hub.test",
            "trace_sample_ratio": 1.0,
        }  # fmt: skip
        self.hub = Hub(Settings(**{**values, **settings}), plugins or load_plugins())
        self.hub.ctx.store.upgrade()
        with self.hub.ctx.store.begin() as uow:
            uow.tenants.add(self.tenant, "Acme", utc_now())
            self.key = create_key(uow, self.tenant, "ops", SCOPES, utc_now())
        self.apply(INTEGRATION.format(**{name: server.url for name, server in self.servers.items()}))
        self.credentials("pos", access_token=self.square.token, webhook_signature_key=self.square.signature_key)
        self.credentials("erp", username=self.tryton.username, password=self.tryton.password)
        self.credentials("stock", token=self.inventree.token)
        self.web: Web | None = None
        self.items: dict[str, str] = {}

    #: Refusals that a person accepts when a file is applied, e.g. `same-target:stock`.
    accepted: tuple[str, ...] = ()

    def apply(self, text: str) -> None:
        wanted = parse_integration(text, "stores.yaml", self.hub.ctx.plugins)
        with self.hub.ctx.store.begin() as uow:
            apply_integration(uow, self.hub.ctx.plugins, self.tenant, wanted, "test", "", utc_now(), accept=self.accepted)

    def credentials(self, connection: str, **values: str) -> None:
        ctx = self.hub.ctx
        with ctx.store.begin() as uow:
            set_credentials(uow, ctx.plugins, ctx.vault, self.tenant, connection, values, utc_now(), "test")

    def stock_item(self, sku: str, price: int = 1000, quantity: int = 100) -> str:
        """An item that all three systems know."""
        self.items[sku] = self.square.add_item(sku, f"Item {sku}", price, 0)
        self.inventree.add_part(sku, f"Item {sku}", 1, quantity)
        self.tryton.add_product(sku, f"Item {sku}")
        return self.items[sku]

    def start(self) -> "Shop":
        self.hub.start()
        return self

    def serve(self) -> "Web":
        self.web = Web(self.hub, self.key)
        return self.web

    def announce(self) -> list[dict[str, Any]]:
        """Deliver what the till has to say, through the hub's ingest; returns the answers."""
        from hub.flow.ingest import receive_webhook

        url = f"http://hub.test/webhooks/{self.tenant}/pos"
        answers = []
        for _, body, headers in self.square.take_webhooks(url):
            received = receive_webhook(self.hub.ctx, self.tenant, "pos", headers, body)
            answers.append({"id": received.raw_id, "duplicate": received.duplicate, "body": body, "headers": headers})
        return answers

    def deliveries(self, **filters: Any) -> list[dict[str, Any]]:
        with self.hub.ctx.store.read() as uow:
            return uow.deliveries.page(self.tenant, None, 200, **filters)

    def raws(self, **filters: Any) -> list[dict[str, Any]]:
        with self.hub.ctx.store.read() as uow:
            return uow.raws.page(self.tenant, None, 200, **filters)

    def settle(self, seconds: float = 30.0) -> None:
        """Wait until nothing is received, waiting or under way."""
        deadline, quiet = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            busy = self.raws(state="received") or self.deliveries(state=["pending", "claimed", "sending", "ambiguous"])
            quiet = 0 if busy else quiet + 1
            if quiet >= 3:
                return
            time.sleep(0.05)
        states = [(row["connection_id"], row["state"], row["cause_code"], row["cause"]) for row in self.deliveries()]
        raise AssertionError(f"not settled after {seconds} s: {states} {self.raws(state='received')}")

    def until(self, condition: Any, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"still not so after {seconds} s: {[d['cause'] for d in self.deliveries()]}"
            time.sleep(0.03)

    def close(self) -> None:
        if self.web is not None:
            self.web.close()
        self.hub.close()
        for server in self.servers.values():
            server.close()


class Web:
    """The hub's HTTP edge on a real port, and a client for it."""

    def __init__(self, hub: Hub, key: str) -> None:
        self.key = key
        self._server = uvicorn.Server(uvicorn.Config(hub.web(), port=0, log_level="error", lifespan="on", ws="none"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, raw: bytes | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """(status, parsed body, headers)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Authorization": f"Bearer {self.key}"}
        if body is not None or raw is not None:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        connection.request(method, path, raw if raw is not None else None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        kind = response.getheader("content-type") or ""
        parsed = json.loads(content) if "json" in kind else content
        return response.status, parsed, {name.lower(): value for name, value in response.getheaders()}

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


def envelope(document: Mapping[str, Any], type_name: str = "sale.completed.v1", identity: str | None = None) -> dict[str, Any]:
    """A CloudEvents envelope around a document."""
    return {
        "specversion": "1.0", "id": identity or document["id"], "source": "/test", "type": type_name,
        "time": "2026-11-21T12:00:00Z", "data": document,
    }  # fmt: skip
