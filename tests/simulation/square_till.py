"""A till of Square's: sales, returns and exchanges of every kind, rung up on its simulator."""

import random
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from hub_square.simulator import SquareSimulator
from hub_square.till import Charge, Rung, returned

from hub.sdk.steps import Request, Response
from hub.sdk.testing import SimRequest
from simulation.till_days import ARTICLES, OPENING, PLACES, WEBHOOKS, Books

Json = dict[str, Any]
_CITY = {"uid": "city-tax", "name": "City tax", "percentage": "1.25", "type": "ADDITIVE", "scope": "LINE_ITEM"}
_STATE = {"uid": "state-sales-tax", "name": "State Sales Tax", "percentage": "9", "type": "ADDITIVE", "scope": "ORDER"}
_INSIDE = {"uid": "inside", "name": "Included tax", "percentage": "7", "type": "INCLUSIVE", "scope": "LINE_ITEM"}
_TENDERS = {
    "CASH": "cash", "CARD": "card", "SQUARE_GIFT_CARD": "gift_card", "WALLET": "wallet", "BANK_ACCOUNT": "bank_transfer",
    "BUY_NOW_PAY_LATER": "pay_later",
}  # fmt: skip


class SquareTill:
    """One seller with two locations in two time zones."""

    connector = "square"
    reads = ("order", "inventory_change")
    settings = (
        '{timezone: America/New_York, business_day_start: "04:00", locations: {S8GWD5R9QB376: HARBOUR-ST, LALALALA1: WEST-ST}}'
    )

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.system = SquareSimulator(clock)
        self.system.add_location("LALALALA1", "America/Los_Angeles")
        self.places = ("S8GWD5R9QB376", "LALALALA1")
        self.items = {sku: self.system.add_item(sku, sku, price, 0) for sku, price in ARTICLES.items()}
        self.sales: list[Json] = []
        self.waiting: list[Json] = []
        self.adjusted = {sku: Decimal(0) for sku in ARTICLES}

    @property
    def credentials(self) -> dict[str, str]:
        return {"access_token": self.system.token, "webhook_signature_key": self.system.signature_key}

    def handle(self, request: Request) -> Response:
        return self.system.handle(SimRequest.of(request, {"authorization": f"Bearer {self.system.token}"}))

    def webhooks(self) -> list[tuple[bytes, dict[str, str]]]:
        return [(body, headers) for _, body, headers in self.system.take_webhooks(WEBHOOKS)]

    def act(self, chance: random.Random) -> str:
        self.system.location_id = chance.choice(self.places)
        name = chance.choices(
            ["sell", "take_back", "exchange", "give_back_money", "two_receipts", "touch", "adjust", "pend"],
            [10, 3, 2, 1, 1, 1, 1, 1],
        )[0]
        return name if getattr(self, name)(chance) else "nothing"

    def sell(self, chance: random.Random) -> bool:
        lines = [self._line(chance) for _ in range(chance.randint(1, 4))]
        charges = [
            Charge(name="Delivery", amount=chance.randint(1, 999), taxes=chance.choice([(), (_STATE,), (_STATE, _CITY)])),
            Charge(name="Service", percentage="10", taxes=chance.choice([(), (_STATE,)])),
        ][: chance.choice([0, 0, 0, 1, 2])]
        tender = chance.choice(list(_TENDERS))
        rounding = chance.choice([0, 0, -2, 2, 1]) if tender == "CASH" else 0
        discount = chance.choice([0, 0, 50]) if lines[0].price > 200 else 0
        sale = self.system.ring_sale(
            lines, tender, discount, chance.choice([0, 0, 200, 155]), charges=charges, rounding=rounding
        )
        self.sales.append(sale)
        return True

    def _line(self, chance: random.Random) -> Rung:
        kind = chance.random()
        if kind < 0.08:
            return Rung(name="Gift card", price=chance.choice([2500, 5000]), item_type="GIFT_CARD", taxes=())
        if kind < 0.16:
            return Rung(
                name="Repair", price=chance.randint(100, 5000), item_type="CUSTOM_AMOUNT", taxes=chance.choice([(), (_STATE,)])
            )
        sku = chance.choice(list(ARTICLES))
        modifiers = [("Wrapping", 150, 1)] if chance.random() < 0.1 else []
        taxes = chance.choice([(_STATE,), (_STATE, _CITY), (_INSIDE,), ()])
        return self.system.rung(self.items[sku], chance.randint(1, 3), taxes=taxes, modifiers=modifiers)

    def _old(self, chance: random.Random) -> Json | None:
        if not self.sales:
            return None
        return self.sales.pop(chance.randrange(len(self.sales)))

    def _some(self, sale: Json, chance: random.Random) -> dict[str, int]:
        lines = [line for line in sale["line_items"] if line["item_type"] == "ITEM"]
        return {line["uid"]: chance.randint(1, int(line["quantity"])) for line in lines if chance.random() < 0.7}

    def take_back(self, chance: random.Random) -> bool:
        sale = self._old(chance)
        if sale is None or not (some := self._some(sale, chance)):
            return False
        charges = {each["uid"]: 1 for each in sale.get("service_charges", []) if chance.random() < 0.3}
        tip = min(100, sale["total_tip_money"]["amount"]) if chance.random() < 0.3 else 0
        self.system.ring_return(sale, {**some, **charges}, tip=tip)
        return True

    def give_back_money(self, chance: random.Random) -> bool:
        sale = self._old(chance)
        if sale is None or sale["total_money"]["amount"] < 200:
            return False
        self.system.ring_return(sale, {}, amount=chance.randint(1, 200))
        return True

    def pend(self, chance: random.Random) -> bool:
        sale = self._old(chance)
        if sale is None or not (some := self._some(sale, chance)):
            return False
        self.waiting.append(self.system.ring_return(sale, some, status="PENDING"))
        return True

    def two_receipts(self, chance: random.Random) -> bool:
        first, second = self._old(chance), self._old(chance)
        if first is None or second is None:
            return False
        parts = [(sale, some) for sale in (first, second) if (some := self._some(sale, chance))]
        if len(parts) < 2:
            return False
        self.system.ring_returns([(sale, returned(sale, some)) for sale, some in parts])
        return True

    def exchange(self, chance: random.Random) -> bool:
        sale = self._old(chance)
        if sale is None or not (some := self._some(sale, chance)):
            return False
        wanted = [(self.items[chance.choice(list(ARTICLES))], chance.randint(1, 2))]
        self.system.ring_exchange(sale, some, wanted, tip=chance.choice([0, 0, 100]))
        return True

    def touch(self, chance: random.Random) -> bool:
        if not self.sales:
            return False
        self.system.touch(chance.choice(self.sales))
        return True

    def adjust(self, chance: random.Random) -> bool:
        sku = chance.choice(list(ARTICLES))
        self.system.adjust(self.items[sku], 2, "IN_STOCK", "WASTE")
        self.adjusted[sku] -= 2
        return True

    def end(self, chance: random.Random) -> None:
        for order in self.waiting:
            self.system.settle_refund(order, "COMPLETED")

    def untold(self, cause: str) -> str:
        """No input of a Square till that acts by the rules waits for a person."""
        raise AssertionError(cause)

    def books(self, untold: set[str]) -> Books:
        books = Books()
        for sku in ARTICLES:
            books.stock[sku] += OPENING * len(PLACES) + self.adjusted[sku]
        skus = {variation: sku for sku, variation in self.items.items()}
        kinds = {
            tender["id"]: _TENDERS[tender["type"]]
            for order in self.system.orders.values()
            for tender in order.get("tenders", [])
        }
        for order in self.system.orders.values():
            if order["id"] in untold:
                continue
            for tender in order.get("tenders", []):
                books.money[_TENDERS[tender["type"]]] += Decimal(tender["amount_money"]["amount"]) / 100
            for refund in order.get("refunds", []):
                books.money[kinds[refund["tender_id"]]] -= Decimal(refund["amount_money"]["amount"]) / 100
            books.tax += Decimal(order["total_tax_money"]["amount"]) / 100
            if "return_amounts" in order:
                books.tax -= Decimal(order["return_amounts"]["tax_money"]["amount"]) / 100
            for line in order.get("line_items", []):
                if line.get("catalog_object_id") in skus:
                    books.stock[skus[line["catalog_object_id"]]] -= Decimal(line["quantity"])
            for part in order.get("returns", []):
                for line in part["return_line_items"]:
                    if line.get("catalog_object_id") in skus:
                        books.stock[skus[line["catalog_object_id"]]] += Decimal(line["quantity"])
        return books
