"""Generated days at tills, run through a hub to an ERP and a stock system: simulators, virtual time, one process.

A `Day` is a hub with the real connectors; its systems are the vendors' simulators, asked without a network. A `Till` acts on
its own simulator only and keeps its own books, summed up by other means than the connectors use.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from hub_inventree.simulator import InvenTreeSimulator
from systems import erp_with, loaded_plugins

from canonical.money import amount
from canonical.movements import movements
from canonical.totals import signed_lines
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
#: Articles that every system knows, with their prices in minor units; the stock system has plenty of each at each place.
ARTICLES = {"SKU-1": 950, "SKU-2": 1999, "SKU-3": 333, "SKU-4": 12500}
PLACES = {"HARBOUR-ST": 1, "WEST-ST": 2}
OPENING = 1000
#: Accounts in the ERP: what each tender and each kind of line is booked on. No two share one.
TENDERS = {
    "cash": "1.1.1", "card": "1.1.2", "gift_card": "1.1.3", "wallet": "1.1.4", "bank_transfer": "1.1.5", "other": "1.1.6",
    "store_credit": "1.1.7", "pay_later": "1.1.8", "house_account": "1.1.9",
}  # fmt: skip
TAX = "2.2.4"
PURPOSES = {
    "receivable": "1.2.1", "revenue": "4.1.1", "tax": TAX, "tip": "2.2.5", "service_charge": "4.1.2", "rounding": "6.1.1",
    "gift_card_liability": "2.2.6", "deposit": "2.2.7", "donation": "2.2.8", "duty": "2.2.9", "exchange_difference": "6.1.2",
}  # fmt: skip

INTEGRATION = """
integration: days
connections:
  pos: {{connector: {till}, base_url: "http://till.test", settings: {settings}}}
  erp:
    connector: tryton
    base_url: "http://erp.test"
    settings: {{database: tryton, currency: USD, accounts: {accounts}}}
  stock: {{connector: inventree, base_url: "http://stock.test", settings: {{locations: {places}}}}}
flows:
  - name: transactions
    on: [sale.completed.v1, return.completed.v1, exchange.completed.v1, sale.voided.v1]
    from: pos
    cadence: every 1h
    read: [{reads}]
    to: [{{connection: erp}}, {{connection: stock}}]
  - name: goods
    on: [stock.counted.v1, stock.adjusted.v1, fulfillment.completed.v1]
    from: pos
    to: [{{connection: stock}}]
"""

Totals = dict[str, Decimal]


@dataclass
class Books:
    """Money per tender, tax and available stock per SKU."""

    money: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    tax: Decimal = Decimal(0)
    stock: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def shown(self) -> tuple[Totals, Decimal, Totals]:
        """Without what is zero."""
        money = {name: value for name, value in sorted(self.money.items()) if value}
        return money, self.tax + 0, {sku: value for sku, value in sorted(self.stock.items()) if value}


class Till(Protocol):
    """A till or shop: its simulator, what happens in it and its own books."""

    connector: str
    settings: str
    #: Objects that are polled: each fact whose webhook is lost is found by one of them.
    reads: tuple[str, ...]
    credentials: Mapping[str, str]

    def act(self, chance: random.Random) -> str:
        """Something happens; returns its name."""

    def end(self, chance: random.Random) -> None:
        """Whatever was pending is decided."""

    def webhooks(self) -> list[tuple[bytes, dict[str, str]]]:
        """(body, headers) of what was announced since the last call."""

    def handle(self, request: Request) -> Response:
        """The simulator's answer."""

    def untold(self, cause: str) -> str:
        """The reference of the fact that a quarantined input is about; asserts that the cause names its figures."""

    def books(self, untold: set[str]) -> Books:
        """Its own books, without the facts in ``untold``."""


@dataclass
class Day:
    """One day: a till, a hub, an ERP and a stock system."""

    till: Callable[[Callable[[], datetime]], Till]
    seed: int
    now: datetime = START
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.settings = Settings(
            vault_key=VAULT_KEY, public_url="http://hub.test", lease_seconds=10.0, retry_base_seconds=1.0,
            egress_private_hosts="till.test,erp.test,stock.test",
        )  # fmt: skip
        self.connectors = loaded_plugins().connectors
        self.pos = self.till(lambda: self.now)
        self.erp, self.session = erp_with(ARTICLES, [*PURPOSES.values(), *TENDERS.values()], self.now)
        self.stock = InvenTreeSimulator(lambda: self.now)
        for sku in ARTICLES:
            part = self.stock.add_part(sku, sku, 1, OPENING)
            for place in list(PLACES.values())[1:]:
                self.stock._new_item(part, place, Decimal(OPENING))
        self.memory = _configured(self.settings, self.pos)

    def answer(self, connection_id: str, request: Request) -> Response:
        """The systems, each asked by somebody who is logged in."""
        if connection_id == "pos":
            return self.pos.handle(request)
        if connection_id == "erp":
            return self.erp.handle(SimRequest.of(request, {"authorization": f"Session {self.session}"}))
        return self.stock.handle(SimRequest.of(request, {"authorization": f"Token {self.stock.token}"}))

    def run(self, actions: int) -> None:
        """The day, its webhooks late, twice, lost and in any order within a window, to the last delivery and one poll."""
        chance = random.Random(self.seed)
        hub = Incarnation(self, TENANT, Ports())
        try:
            waiting: list[tuple[bytes, dict[str, str]]] = []
            for number in range(actions):
                self.now += timedelta(seconds=chance.randint(5, 900))
                self.happened[self.pos.act(chance)] += 1
                waiting += self.pos.webhooks()
                if chance.random() < 0.4 or number == actions - 1:
                    chance.shuffle(waiting)
                    self._tell(hub, waiting, chance)
                    waiting = []
            self.now += timedelta(hours=1)
            self.pos.end(chance)
            self._tell(hub, self.pos.webhooks(), chance)
            for stream in hub.poller.streams():
                assert hub.poller.run(stream)["state"] == "complete"
            hub.run(limit=2000)
        finally:
            hub.end()

    def _tell(self, hub: Incarnation, webhooks: list[tuple[bytes, dict[str, str]]], chance: random.Random) -> None:
        for body, headers in webhooks:
            for _ in range(chance.choices([0, 1, 2], [1, 8, 1])[0]):
                ingest.receive_webhook(hub.ctx, TENANT, "pos", headers, body)
        hub.run(limit=2000)

    # -- the books of the others ----------------------------------------------------------------------------------

    def documents(self) -> list[tuple[str, dict[str, Any]]]:
        """(type, document) of every message."""
        return [(row["type"], json.loads(row["body"])["data"]) for row in self.memory.rows("message")]

    def of_hub(self) -> Books:
        """By the documents that the hub holds."""
        books = Books()
        for sku in ARTICLES:
            books.stock[sku] += OPENING * len(PLACES)
        for name, document in self.documents():
            for move in movements(name, document):
                books.stock[move.sku] -= move.quantity if move.from_state == "available" else 0
                books.stock[move.sku] += move.quantity if move.to_state == "available" else 0
            if "tenders" not in document:
                continue
            sign = -1 if name.startswith(("return.", "sale.voided")) else 1
            for tender in document["tenders"]:
                books.money[tender["type"]] += sign * amount(tender["amount"])
            books.money["cash"] -= sign * amount(document.get("change"))
            for parity, line in signed_lines(document):
                books.tax += sign * parity * sum((amount(tax["amount"]) for tax in line.get("taxes", ())), Decimal(0))
        return books

    def of_targets(self) -> Books:
        """By the ERP's accounts and the stock system's items."""
        books = Books()
        for tender, value in self.erp.money(TENDERS).items():
            books.money[tender] += value
        books.tax = -self.erp.money({"tax": TAX})["tax"]
        for sku, value in self.stock.stock().items():
            books.stock[sku] += value
        return books

    def open(self) -> list[str]:
        """Deliveries that did not end as applied, skipped or superseded."""
        ended = ("applied", "skipped", "superseded")
        return [f"{row['connection_id']} {row['type']} {row['state']} {row['cause_code']}: {row['cause'][:200]}"
                for row in self.memory.rows("delivery") if row["state"] not in ended]  # fmt: skip

    def quarantined(self) -> list[dict[str, Any]]:
        """Inputs that wait for a person."""
        return [row for row in self.memory.rows("raw_input") if row["state"] == "quarantined"]


_KEPT: dict[str, Any] = {}


def _configured(settings: Settings, till: Till) -> Memory:
    """A database with the tenant, its connections and flows; made once per till."""
    memory = _KEPT.setdefault("memory", Memory())
    if (kept := _KEPT.get(till.connector)) is None:
        if "empty" not in _KEPT:
            MemoryStore(memory, lambda: None).upgrade()
            _KEPT["empty"] = memory.copy()
        memory.restore(_KEPT["empty"])
        store = MemoryStore(memory, lambda: None)
        text = INTEGRATION.format(
            till=till.connector,
            settings=till.settings,
            reads=", ".join(till.reads),
            accounts=json.dumps(PURPOSES | TENDERS),
            places=json.dumps(PLACES),
        )
        with store.begin() as uow:
            uow.tenants.add(TENANT, "Acme", START)
            wanted = parse_integration(text, "days.yaml", loaded_plugins())
            apply_integration(uow, loaded_plugins(), TENANT, wanted, "test", "", START)
        kept = _KEPT[till.connector] = memory.copy()
    memory.restore(kept)
    with MemoryStore(memory, lambda: None).begin() as uow:
        given = {"pos": dict(till.credentials), "erp": {"username": "hub", "password": "x"}, "stock": {"token": "x"}}
        for connection_id, values in given.items():
            set_credentials(uow, loaded_plugins(), open_vault(settings), TENANT, connection_id, values, START, "test")
    found: Memory = memory
    return found
