"""A hub between one vendor's simulator and two targets: what is booked at the ERP and left in the stock system, in one process.

Systems are asked without a network and time stands still, so a case is a few lines: act on the vendor, call `run`, compare
`books`, `stock` and `quarantined`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hub_inventree.simulator import InvenTreeSimulator
from hub_shopify.simulator import ShopifySimulator
from hub_square.simulator import SquareSimulator
from systems import erp_with, loaded_plugins

from hub.flow import ingest
from hub.identity.connections import set_credentials
from hub.identity.vault import open_vault
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.rehearsal.incarnation import Incarnation
from hub.rehearsal.ports import Ports
from hub.sdk.steps import Request, Response
from hub.sdk.testing import SimRequest
from hub.settings import Settings
from hub.store import Memory, MemoryStore

TENANT = "acme"
VAULT_KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
WEBHOOKS = f"http://hub.test/webhooks/{TENANT}/pos"
START = datetime(2026, 11, 20, 15, tzinfo=UTC)
OPENING = 10
PRICES = {"MUG": 1000, "COAT": 9000, "HAT": 2000}
#: Accounts in the ERP by what is booked on them. No two share one.
ACCOUNTS = {
    "cash": "1.1.1", "card": "1.1.2", "gift_card": "1.1.3", "other": "1.1.6", "receivable": "1.2.1", "revenue": "4.1.1",
    "tax": "2.2.4", "tip": "2.2.5", "service_charge": "4.1.2", "rounding": "6.1.1", "gift_card_liability": "2.2.6",
    "deposit": "2.2.7", "donation": "2.2.8", "duty": "2.2.9", "exchange_difference": "6.1.2",
}  # fmt: skip
PLACES = {"HARBOUR-ST": 1}
SETTINGS = {
    "square": '{timezone: America/New_York, locations: {S8GWD5R9QB376: HARBOUR-ST, LALALALA1: HARBOUR-ST}}',
    "shopify": '{timezone: America/New_York, online_location: HARBOUR-ST, '
               'locations: {"905684977": HARBOUR-ST, "487838322": HARBOUR-ST}}',
}  # fmt: skip
INTEGRATION = """
integration: cases
connections:
  pos: {{connector: {connector}, base_url: "http://till.test", settings: {settings}}}
  erp:
    connector: tryton
    base_url: "http://erp.test"
    settings: {{database: tryton, currency: {currency}, accounts: {accounts}}}
  stock: {{connector: inventree, base_url: "http://stock.test", settings: {{locations: {places}}}}}
flows:
  - name: transactions
    on: [sale.completed.v1, return.completed.v1, exchange.completed.v1, sale.voided.v1]
    from: pos
    to: [{{connection: erp}}, {{connection: stock}}]
  - name: goods
    on: [stock.counted.v1, stock.adjusted.v1, fulfillment.completed.v1]
    from: pos
    to: [{{connection: stock}}]
"""
Webhook = tuple[bytes, dict[str, str]]


@dataclass(kw_only=True)
class Case:
    """One vendor, one hub, one ERP, one stock system; each article has `OPENING` in stock."""

    pos: SquareSimulator | ShopifySimulator
    connector: str
    currency: str = "USD"
    now: datetime = START
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pos.clock = lambda: self.now
        self.settings = Settings(
            vault_key=VAULT_KEY, public_url="http://hub.test", lease_seconds=10.0, retry_base_seconds=1.0,
            egress_private_hosts="till.test,erp.test,stock.test",
        )  # fmt: skip
        self.connectors = loaded_plugins().connectors
        self.erp, self.session = erp_with(PRICES, ACCOUNTS.values(), self.now, self.currency)
        self.goods = InvenTreeSimulator(lambda: self.now)
        for sku in PRICES:
            self.goods.add_part(sku, sku, 1, OPENING)
        self.memory = self._configured()

    def answer(self, connection_id: str, request: Request) -> Response:
        """Answer a request of the hub as the system behind a connection."""
        if connection_id == "pos":
            is_square = self.connector == "square"
            name, value = (
                ("authorization", f"Bearer {self.pos.token}") if is_square else ("x-shopify-access-token", self.pos.token)
            )
            return self.pos.handle(SimRequest.of(request, {name: value}))
        if connection_id == "erp":
            return self.erp.handle(SimRequest.of(request, {"authorization": f"Session {self.session}"}))
        return self.goods.handle(SimRequest.of(request, {"authorization": f"Token {self.goods.token}"}))

    def run(self, order: Callable[[list[Webhook]], list[Webhook]] = list) -> None:
        """Send what the vendor announced since the last call, as ``order`` returns it, and deliver all of it."""
        taken = self.pos.take_webhooks(WEBHOOKS)
        hub = Incarnation(self, TENANT, Ports())
        try:
            for body, headers in order([(body, headers) for _, body, headers in taken]):
                ingest.receive_webhook(hub.ctx, TENANT, "pos", headers, body)
            hub.run(limit=2000)
        finally:
            hub.end()
        self.now += timedelta(minutes=10)

    def books(self) -> dict[str, str]:
        """Account → balance at the ERP (debit positive), without what is zero."""
        return {name: f"{value:f}" for name, value in self.erp.money(ACCOUNTS).items() if value}

    def stock(self) -> dict[str, Decimal]:
        """SKU → how many more (or fewer) than at the start the stock system has, without what did not change."""
        return {sku: value - OPENING for sku, value in self.goods.stock().items() if value != OPENING}

    def quarantined(self) -> list[str]:
        """Causes of what waits for a person: whole inputs and single documents."""
        return [
            f"{row['cause_code']}: {row['cause']}" for row in self.memory.rows("raw_input") if row["state"] == "quarantined"
        ]

    def open(self) -> list[str]:
        """Deliveries that did not end as applied, skipped or superseded."""
        ended = ("applied", "skipped", "superseded")
        return [f"{row['connection_id']} {row['type']} {row['state']} {row['cause_code']}: {row['cause']}"
                for row in self.memory.rows("delivery") if row["state"] not in ended]  # fmt: skip

    def documents(self, name: str) -> list[dict[str, Any]]:
        """Documents of a type that the hub holds."""
        return [json.loads(row["body"])["data"] for row in self.memory.rows("message") if row["type"] == name]

    def _configured(self) -> Memory:
        kept: dict[Any, Any] = _KEPT
        if "empty" not in kept:
            memory = Memory()
            MemoryStore(memory, lambda: None).upgrade()
            kept["memory"], kept["empty"] = memory, memory.copy()
        memory = kept["memory"]
        memory.restore(kept["empty"])
        text = INTEGRATION.format(
            connector=self.connector, settings=SETTINGS[self.connector], currency=self.currency,
            accounts=json.dumps(ACCOUNTS), places=json.dumps(PLACES),
        )  # fmt: skip
        credentials: Mapping[str, dict[str, str]] = {
            "pos": {"access_token": self.pos.token, **self._secret()}, "erp": {"username": "hub", "password": "x"},
            "stock": {"token": "x"},
        }  # fmt: skip
        with MemoryStore(memory, lambda: None).begin() as uow:
            uow.tenants.add(TENANT, "Acme", START)
            apply_integration(
                uow, loaded_plugins(), TENANT, parse_integration(text, "cases.yaml", loaded_plugins()), "test", "", START
            )
            for connection_id, values in credentials.items():
                set_credentials(uow, loaded_plugins(), open_vault(self.settings), TENANT, connection_id, values, START, "test")
        found: Memory = memory
        return found

    def _secret(self) -> dict[str, str]:
        if isinstance(self.pos, SquareSimulator):
            return {"webhook_signature_key": self.pos.signature_key}
        return {"client_secret": self.pos.client_secret}


_KEPT: dict[str, Any] = {}


def square_case(currency: str = "USD", country: str = "US") -> tuple[Case, SquareSimulator, dict[str, str]]:
    """A case at a Square till, its simulator and its articles (SKU → variation id)."""
    till = SquareSimulator(lambda: START)
    if currency != "USD":
        till.location_id = till.add_location("LALALALA1", "America/New_York", country, currency)
    items = {sku: till.add_item(sku, sku, price, 0) for sku, price in PRICES.items()}
    till.take_webhooks(WEBHOOKS)
    return Case(pos=till, connector="square", currency=currency), till, items


def shopify_case(currency: str = "USD") -> tuple[Case, ShopifySimulator]:
    """A case at a Shopify shop and its simulator; GIFT-50 is a gift card."""
    shop = ShopifySimulator(lambda: START, currency)
    for sku, price in PRICES.items():
        shop.add_product(sku, [sku], f"{price / 100:.2f}", 0)
    shop.add_product("Gift card", ["GIFT-50"], "50.00", 0, gift_card=True)
    for topic in ("ORDERS_CREATE", "ORDERS_UPDATED", "REFUNDS_CREATE", "FULFILLMENTS_CREATE", "FULFILLMENTS_UPDATE"):
        shop.subscriptions[topic] = {"id": topic, "topic": topic, "callbackUrl": WEBHOOKS}
    shop.webhooks.clear()
    return Case(pos=shop, connector="shopify", currency=currency), shop
