"""A Shopify shop: sales at its till, orders of its online shop, refunds and exchanges, on its simulator."""

import random
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from hub_shopify.simulator import ShopifySimulator

from hub.sdk.steps import Request, Response
from hub.sdk.testing import SimRequest
from simulation.till_days import ARTICLES, OPENING, PLACES, WEBHOOKS, Books

Json = dict[str, Any]
_GATEWAYS = {
    "cash": "cash",
    "shopify_payments": "card",
    "gift_card": "gift_card",
    "paypal": "wallet",
    "bank_deposit": "bank_transfer",
}
_CARD = "GIFT-50"
_TOPICS = ("ORDERS_CREATE", "ORDERS_UPDATED", "REFUNDS_CREATE", "FULFILLMENTS_CREATE", "FULFILLMENTS_UPDATE")


def _worth(bag: Json | None) -> Decimal:
    return Decimal(str(bag["shopMoney"]["amount"])) if bag else Decimal(0)


class ShopifyTill:
    """One shop with two locations; its orders leave from the first."""

    connector = "shopify"
    reads = ("order",)
    settings = (
        '{timezone: America/New_York, online_location: HARBOUR-ST, locations: {"905684977": HARBOUR-ST, "487838322": WEST-ST}}'
    )

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.system = ShopifySimulator(clock)
        for sku, price in ARTICLES.items():
            self.system.add_product(sku, [sku], f"{price / 100:.2f}", 0)
        self.system.add_product("Gift card", [_CARD], "50.00", 0, gift_card=True)
        for topic in _TOPICS:
            self.system.subscriptions[topic] = {"id": topic, "topic": topic, "callbackUrl": WEBHOOKS}
        self.system.webhooks.clear()
        self.sales: list[Json] = []
        self.waiting: list[tuple[Json, Json]] = []
        #: Orders that were edited before they were paid: their sale waits for a person.
        self.edited: list[Json] = []

    @property
    def credentials(self) -> dict[str, str]:
        return {"access_token": self.system.token, "client_secret": self.system.client_secret}

    def handle(self, request: Request) -> Response:
        return self.system.handle(SimRequest.of(request, {"x-shopify-access-token": self.system.token}))

    def webhooks(self) -> list[tuple[bytes, dict[str, str]]]:
        return [(body, headers) for _, body, headers in self.system.take_webhooks()]

    def act(self, chance: random.Random) -> str:
        actions = {"sell": 6, "order": 5, "refund": 4, "exchange": 2, "pend": 1, "unpaid": 1, "edit": 1}
        name = chance.choices(list(actions), list(actions.values()))[0]
        return name if getattr(self, name)(chance) else "nothing"

    def _bought(self, chance: random.Random, cards: bool = True) -> list[tuple[str, int]]:
        bought = [(sku, chance.randint(1, 3)) for sku in chance.sample(list(ARTICLES), chance.randint(1, 3))]
        return bought + ([(_CARD, 1)] if cards and chance.random() < 0.1 else [])

    def sell(self, chance: random.Random) -> bool:
        gateway = chance.choice(list(_GATEWAYS))
        rounding = chance.choice(["0.00", "0.02", "-0.02"]) if gateway == "cash" else "0.00"
        self.sales.append(self.system.ring_sale(
            self._bought(chance), gateway, tip=chance.choice(["0.00", "0.00", "2.50"]), rounding=rounding,
            discount=chance.choice(["0.00", "0.00", "1.11"]),
        ))  # fmt: skip
        return True

    def order(self, chance: random.Random) -> bool:
        bought = self._bought(chance)
        order = self.system.place_order(
            bought, shipping=chance.choice(["0.00", "10.00", "4.99"]), discount=chance.choice(["0.00", "0.00", "3.33"]),
            duties=chance.choice(["0.00", "0.00", "12.50"]), fee=chance.choice(["0.00", "0.00", "0.30"]),
            tip=chance.choice(["0.00", "0.00", "1.00"]), taxes_included=chance.random() < 0.3,
            gateway=chance.choice(["shopify_payments", "paypal", "gift_card"]),
        )  # fmt: skip
        if chance.random() < 0.8:
            self.system.fulfil(order, dict(bought))
            self.sales.append(order)
        return True

    def unpaid(self, chance: random.Random) -> bool:
        order = self.system.place_order(self._bought(chance, cards=False), paid=False)
        if chance.random() < 0.5:
            self.system.cancel(order)
        return True

    def edit(self, chance: random.Random) -> bool:
        order = self.system.place_order([("SKU-1", 3), ("SKU-2", 1)], paid=False)
        self.system.edit(order, "SKU-1", 2)
        self.system.pay(order)
        self.edited.append(order)
        return True

    def _old(self, chance: random.Random) -> Json | None:
        return self.sales.pop(chance.randrange(len(self.sales))) if self.sales else None

    def _some(self, order: Json, chance: random.Random) -> dict[str, int]:
        lines = [line for line in order["lineItems"]["nodes"] if line["sku"] in ARTICLES and line["currentQuantity"]]
        return {line["sku"]: chance.randint(1, line["currentQuantity"]) for line in lines if chance.random() < 0.6}

    def refund(self, chance: random.Random) -> bool:
        order = self._old(chance)
        if order is None:
            return False
        some = self._some(order, chance)
        has_delivery = bool(order["shippingLines"]["nodes"])
        shipping = "2.00" if has_delivery and chance.random() < 0.4 else "0.00"
        tip = "1.00" if _worth(order["totalTipReceivedSet"]) and chance.random() < 0.4 else "0.00"
        if not some and shipping == "0.00" and tip == "0.00":
            return False
        kept = chance.choice(["0.00", "0.00", "1.00"]) if some else "0.00"
        self.system.refund(order, some, shipping, kept, restock=chance.choice(["RETURN", "RETURN", "NO_RESTOCK"]), tip=tip,
                           location=chance.choice(list(self.system.locations)))  # fmt: skip
        return True

    def pend(self, chance: random.Random) -> bool:
        order = self._old(chance)
        if order is None or not (some := self._some(order, chance)):
            return False
        self.waiting.append((order, self.system.refund(order, some, status="PENDING")))
        return True

    def exchange(self, chance: random.Random) -> bool:
        order = self._old(chance)
        if order is None or order["sourceName"] != "pos" or not (some := self._some(order, chance)):
            return False
        wanted = [sku for sku in ARTICLES if sku not in {line["sku"] for line in order["lineItems"]["nodes"]}]
        if not wanted:
            return False
        self.system.exchange(order, some, [(chance.choice(wanted), chance.randint(1, 2))])
        return True

    def end(self, chance: random.Random) -> None:
        for order, refund in self.waiting:
            self.system.settle(order, refund, "SUCCESS")

    def untold(self, cause: str) -> str:
        """The order of a quarantined input that names what was paid of it."""
        order = next(order for order in self.edited if f"order {order['name']} " in cause)
        paid = sum((_worth(item["amountSet"]) for item in order["transactions"]), Decimal(0))
        assert f"({paid} of {_worth(order['originalTotalPriceSet'])} USD" in cause
        return str(order["name"])

    def books(self, untold: set[str]) -> Books:
        books = Books()
        for sku in ARTICLES:
            books.stock[sku] += OPENING * len(PLACES)
        for order in self.system.orders.values():
            if order["name"] not in untold:
                self._money(order, books)
            self._goods(order, books)
        return books

    @staticmethod
    def _money(order: Json, books: Books) -> None:
        paid = [item for item in order["transactions"] if item["status"] == "SUCCESS"]
        if not paid and _worth(order["totalPriceSet"]):
            return
        for item in paid:
            sign = -1 if item["kind"] in ("REFUND", "CHANGE") else 1
            books.money[_GATEWAYS[item["gateway"]]] += sign * (_worth(item["amountSet"]) + _worth(item["amountRoundingSet"]))
        for line in [*order["lineItems"]["nodes"], *order["shippingLines"]["nodes"]]:
            books.tax += sum((_worth(tax["priceSet"]) for tax in line["taxLines"]), Decimal(0))
        for refund in order["refunds"]:
            books.tax -= sum((_worth(item["totalTaxSet"]) for item in refund["refundLineItems"]), Decimal(0))
            books.tax -= sum((_worth(item["taxAmountSet"]) for item in refund["refundShippingLines"]), Decimal(0))

    @staticmethod
    def _goods(order: Json, books: Books) -> None:
        sold = {line["id"]: line for line in order["lineItems"]["nodes"]}
        at_till = order["sourceName"] == "pos"
        if at_till:
            for line in sold.values():
                if line["sku"] in ARTICLES:
                    books.stock[line["sku"]] -= line["quantity"]
        for sent in order["fulfillments"]:
            for item in sent["fulfillmentLineItems"]:
                if (sku := sold[item["lineItem"]["id"]]["sku"]) in ARTICLES:
                    books.stock[sku] -= item["quantity"]
        for refund in order["refunds"]:
            for item in refund["refundLineItems"]:
                if (sku := sold[item["lineItem"]["id"]]["sku"]) in ARTICLES and item["restockType"] == "RETURN":
                    books.stock[sku] += item["quantity"]
