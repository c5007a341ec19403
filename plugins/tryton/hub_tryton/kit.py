"""What the conformance kit needs to judge this connector."""

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from canonical.examples import EXAMPLES
from hub.sdk.kit import Subject, System
from hub.sdk.steps import Change, Page
from hub.sdk.testing import SimRequest, drive
from hub_tryton.connector import Tryton
from hub_tryton.simulator import TrytonSimulator

JSON = Mapping[str, Any]
_WRITES = ("sale.completed.v1", "return.completed.v1", "exchange.completed.v1")
#: A void that says how the money was given back: without that, it is refused.
_VOID = EXAMPLES["sale.voided.v1"] | {
    "tenders": [EXAMPLES["sale.completed.v1"]["tenders"][0] | {"tip": EXAMPLES["sale.completed.v1"]["tip"]}],
    "change": EXAMPLES["sale.completed.v1"]["change"],
}
_ACCOUNTS = {
    "receivable": "1.2.1", "revenue": "4.1.1", "tax": "2.2.4", "tip": "4.1.2", "service_charge": "4.1.2", "rounding": "6.1.1",
    "cash": "1.1.1", "card": "1.1.2", "gift_card": "1.1.3", "gift_card_liability": "2.2.2",
}  # fmt: skip


def system() -> System:
    """A database that knows the examples' articles, with the examples' year open."""
    simulator = TrytonSimulator(today=lambda: date(2026, 11, 21))
    for number in range(1, 10):
        simulator.add_product(f"SKU-000{number}", f"Article {number}")
    simulator.add_attribute("care", "Care instructions")
    simulator.change_product(3, attributes={"care": "wash cold", "washes": 30}, list_price=Decimal("1.2345"))
    parameters = [simulator.username, {"password": simulator.password}, "en"]
    body = json.dumps({"id": 1, "method": "common.db.login", "params": parameters}).encode()
    user, token, _ = json.loads(simulator.handle(SimRequest("POST", "/tryton/rpc/", body=body)).content)["result"]
    session = base64.b64encode(f"{simulator.username}:{user}:{token}".encode()).decode()
    return System(
        handle=simulator.handle,
        headers={"authorization": f"Session {session}"},
        settings={"database": "tryton", "currency": "USD", "accounts": _ACCOUNTS},
        applied=lambda: len(simulator.invoices()),
        secrets=[simulator.password, session],
        changes=[Change("product", str(row["id"]), row) for row in _products(simulator, session)],
        listed={"product": lambda: {str(key) for key in simulator.rows["product.product"]}},
        touch={"product": lambda: simulator.change_product(1, attributes={"care": "wash hot"})},
        delete={"product": lambda: simulator.change_product(2, active=False)},
        stored=lambda identity, name: simulator.rows["account.invoice"][int(identity.partition(",")[2])].get(name),
    )


def _products(simulator: TrytonSimulator, session: str) -> Sequence[JSON]:
    """The products as the connector reads them."""
    connector = Tryton({"database": "tryton", "currency": "USD", "accounts": _ACCOUNTS})
    page: Page = drive(connector, connector.read("product", {}), simulator.handle, {"authorization": f"Session {session}"})
    return page.records


def subject() -> Subject:
    """The connector with a document of every type it writes, and one that Tryton cannot take."""
    unknown = EXAMPLES["sale.completed.v1"] | {
        "lines": [line | {"sku": "SKU-9999"} for line in EXAMPLES["sale.completed.v1"]["lines"]]
    }
    return Subject(
        connector=Tryton,
        system=system,
        documents={**{name: [EXAMPLES[name]] for name in _WRITES}, "sale.voided.v1": [_VOID]},
        refused=[("sale.completed.v1", unknown)],
        custom={"sale.completed.v1": {"comment": "Till receipt 7"}},
    )
