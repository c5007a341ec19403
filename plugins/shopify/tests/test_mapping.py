"""What becomes of a shop's day, and what is written to it: worked out by hand."""

from decimal import Decimal
from typing import Any

import pytest
from hub_shopify import kit
from hub_shopify.connector import Shopify
from hub_shopify.simulator import ShopifySimulator

from canonical.examples import EXAMPLES
from canonical.registry import validate
from hub.sdk import Refused, RejectedByTargetError, Skipped, Written
from hub.sdk.kit import System
from hub.sdk.kit.subject import Trial
from hub.sdk.steps import Change, Document, Gone, Ignored, Webhook

SETTINGS = {"locations": {"905684977": "HARBOUR-ST"}, "timezone": "America/New_York"}
MONEY = {"currency": "USD"}


class Shop:
    """A connector beside a shop of its own."""

    def __init__(self) -> None:
        self.simulator = ShopifySimulator()
        headers = {"x-shopify-access-token": self.simulator.token}
        self.trial = Trial(Shopify(SETTINGS), System(self.simulator.handle, headers, SETTINGS, lambda: 0))
        for topic in Shopify.manifest.data["webhooks"]["topics"]:
            self.simulator.subscriptions[topic] = {"id": topic, "topic": topic, "callbackUrl": "https://hub"}
        self.simulator.add_product("Coffee", ["COFFEE"], "9.50", 10)
        self.simulator.add_product("Mug", ["MUG"], "12.00", 10)
        self.simulator.take_webhooks()

    def told(self) -> list[Document | Gone | Ignored | Refused]:
        """What the webhooks since the last call become, each document once."""
        found: dict[str, Document | Gone | Ignored | Refused] = {}
        for _, body, headers in self.simulator.take_webhooks():
            for change in self.trial.connector.receive(Webhook(body, headers)):
                translated = (
                    self.trial.perform(self.trial.connector.translate(change)) if isinstance(change, Change) else [change]
                )
                for item in translated:
                    found[item.source_id if isinstance(item, Document) else str(item)] = item
        for item in found.values():
            if isinstance(item, Document):
                validate(item.type, item.data)
        return list(found.values())

    def write(self, name: str, document: dict[str, Any]) -> Written | Skipped:
        validate(name, document)
        return self.trial.write(name, document, "XD0000000000000000000001")

    def available(self, sku: str) -> int:
        item = next(item for item in self.simulator.items.values() if item["sku"] == sku)
        return int(item["levels"]["gid://shopify/Location/905684977"]["quantities"]["available"])


def _of(found: list[Document | Gone | Ignored | Refused], name: str) -> Any:
    (document,) = (item for item in found if isinstance(item, Document) and item.type == name)
    return document.data


def _usd(amount: str) -> dict[str, str]:
    return {"amount": amount, **MONEY}


def test_an_order_that_is_paid_is_an_order_and_its_sale() -> None:
    shop = Shop()
    shop.simulator.place_order([("COFFEE", 3), ("MUG", 1)], discount="2.00", shipping="10.00")

    found = shop.told()
    placed, sale = _of(found, "order.placed.v1"), _of(found, "sale.completed.v1")

    # 3 x 9.50 - 2.00 = 26.50 and 12.00, 8 % on each and on 10.00 of delivery
    assert [line["total"] for line in placed["lines"]] == [_usd("28.62"), _usd("12.96"), _usd("10.80")]
    assert [line.get("kind", "goods") for line in sale["lines"]] == ["goods", "goods", "delivery"]
    assert placed["total"] == sale["total"] == _usd("52.38")
    assert sale["order"] == {"id": placed["id"], "number": "#1001"}
    assert sale["tenders"][0]["type"] == "card"
    assert sale["location"] == {"code": "ONLINE"}


def test_an_order_that_nobody_has_paid_is_no_sale_yet() -> None:
    shop = Shop()
    order = shop.simulator.place_order([("MUG", 1)], paid=False, shipping="0.00")

    assert any(isinstance(item, Ignored) and "0 of 12.96 USD is paid" in item.reason for item in shop.told())
    shop.simulator.pay(order)
    assert _of(shop.told(), "sale.completed.v1")["total"] == _usd("12.96")


def test_a_till_rings_a_sale_and_no_order() -> None:
    shop = Shop()
    shop.simulator.ring_sale([("MUG", 1)], given="20.00")

    found = shop.told()
    sale = _of(found, "sale.completed.v1")

    assert {item.type for item in found if isinstance(item, Document)} == {"sale.completed.v1", "stock_level.v1"}
    assert sale["location"] == {"code": "HARBOUR-ST"}
    assert (sale["tenders"][0]["type"], sale["tenders"][0]["amount"], sale["change"]) == ("cash", _usd("20.00"), _usd("7.04"))


def test_an_edited_order_is_told_as_it_is_and_its_sale_waits_for_a_person() -> None:
    shop = Shop()
    order = shop.simulator.place_order([("COFFEE", 3)], paid=False, shipping="0.00")
    shop.told()
    shop.simulator.edit(order, "COFFEE", 2)
    changed = _of(shop.told(), "order.changed.v1")
    shop.simulator.pay(order)

    assert changed["lines"][0]["quantity"] == "2"
    (refused,) = (item for item in shop.told() if isinstance(item, Refused))
    assert refused.code == "edited_sale"


def test_a_level_tells_states() -> None:
    shop = Shop()
    shop.simulator.adjust("MUG", -3)
    level = _of(shop.told(), "stock_level.v1")

    assert {entry["state"]: entry["quantity"] for entry in level["levels"]}["available"] == "7"


def test_a_sale_elsewhere_moves_every_line_at_once_or_none() -> None:
    shop = Shop()
    line = EXAMPLES["sale.completed.v1"]["lines"][0]
    mixed = EXAMPLES["sale.completed.v1"] | {"lines": [line | {"sku": "COFFEE"}]}
    assert len(EXAMPLES["sale.completed.v1"]["lines"]) >= 1
    moved = {"location": {"code": "HARBOUR-ST"}, "lines": [{"sku": "COFFEE", "quantity": "2"}, {"sku": "MUG", "quantity": "1"}]}

    done = shop.trial.write("sale.completed.v1", {**mixed, **moved}, "XD1")
    assert isinstance(done, Written)
    assert (shop.available("COFFEE"), shop.available("MUG")) == (8, 9)

    moved["lines"][1]["sku"] = "NOBODY-KNOWS"  # type: ignore[index]
    with pytest.raises(RejectedByTargetError) as refused:
        shop.trial.write("sale.completed.v1", {**mixed, **moved}, "XD2")
    assert (refused.value.code, refused.value.field) == ("unknown_sku", "/lines/1/sku")
    assert shop.available("COFFEE") == 8


def test_only_goods_are_moved_when_a_sale_has_other_lines() -> None:
    shop = Shop()
    line = EXAMPLES["sale.completed.v1"]["lines"][0]
    kinds = [("COFFEE", {}), ("GIFT", {"kind": "gift_card"}), ("DELIVERY", {"kind": "delivery"}), ("MUG", {"stocked": False})]
    lines = [line | {"id": sku, "sku": sku, "quantity": "2"} | more for sku, more in kinds]
    sale = {"location": {"code": "HARBOUR-ST"}, "lines": lines}

    assert isinstance(shop.trial.write("sale.completed.v1", sale, "XD1"), Written)
    assert (shop.available("COFFEE"), shop.available("MUG")) == (8, 10)
    of_order = shop.trial.write("sale.completed.v1", sale | {"order": {"id": "1"}}, "XD2")
    assert isinstance(of_order, Skipped), "goods of an order leave with its fulfilment"


def test_goods_come_back_to_the_place_that_took_them() -> None:
    shop = Shop()
    line = EXAMPLES["return.completed.v1"]["lines"][0] | {"sku": "COFFEE", "quantity": "1"}
    mill = {"code": "487838322"}
    lines = [line, line | {"id": "2", "restocked_at": mill}, line | {"id": "3", "state": "none"},
             line | {"id": "4", "state": "damaged"}]  # fmt: skip

    shop.trial.write("return.completed.v1", {"location": {"code": "HARBOUR-ST"}, "lines": lines}, "XD1")
    item = next(item for item in shop.simulator.items.values() if item["sku"] == "COFFEE")
    assert [level["quantities"]["available"] for level in item["levels"].values()] == [11, 11]
    assert len(shop.simulator.groups) == 1, "applied together or not at all"


def test_goods_leave_when_an_order_is_fulfilled_elsewhere() -> None:
    shop = Shop()
    goods = [{"sku": "MUG", "quantity": "3"}]
    sent = {**EXAMPLES["fulfillment.completed.v1"], "location": {"code": "HARBOUR-ST"}, "goods": goods}
    sent.pop("reserved", None)

    assert isinstance(shop.trial.write("fulfillment.completed.v1", sent, "XD1"), Written)
    assert shop.available("MUG") == 7


def test_product_tells_kind_and_whether_stock_is_kept() -> None:
    shop = Shop()
    shop.simulator.add_product("Gift card", ["GIFT-50"], "50.00", gift_card=True)
    shop.simulator.add_product("Engraving", ["ENGRAVING"], "20.00", tracked=False)
    found = [shop.trial.perform(shop.trial.connector.translate(Change("product", gid))) for gid in shop.simulator.products]
    told = {
        item.data["sku"]: (item.data.get("kind"), item.data.get("stocked")) for (item,) in found if isinstance(item, Document)
    }

    assert told == {"COFFEE": (None, None), "MUG": (None, None), "GIFT-50": ("gift_card", False), "ENGRAVING": (None, False)}


def test_weighed_goods_are_refused() -> None:
    shop = Shop()
    weighed = EXAMPLES["stock.adjusted.v1"] | {"sku": "MUG", "quantity": "0.5", "location": {"code": "HARBOUR-ST"}}

    with pytest.raises(RejectedByTargetError) as refused:
        shop.write("stock.adjusted.v1", weighed)
    assert (refused.value.code, refused.value.field) == ("fractional_quantity", "/quantity")


def test_a_count_never_undoes_what_moved_since() -> None:
    shop = Shop()
    count = EXAMPLES["stock.counted.v1"] | {"sku": "MUG", "quantity": "4", "location": {"code": "HARBOUR-ST"}}
    later = count | {"occurred_at": "2099-01-01T00:00:00Z", "business_date": "2099-01-01"}

    with pytest.raises(RejectedByTargetError) as refused:
        shop.write("stock.counted.v1", count)
    assert refused.value.code == "moved_since_count"

    assert isinstance(shop.write("stock.counted.v1", later), Written)
    assert shop.available("MUG") == 4


def test_only_what_differs_is_written() -> None:
    shop = Shop()
    product = {key: EXAMPLES["product.v1"][key] for key in ("id", "updated_at")} | {
        "sku": "MUG", "name": "Mug", "price": _usd("13.50"), "active": True,
    }  # fmt: skip

    first = shop.write("product.v1", product)
    labels = [request.label for request in shop.trial.requests if request.mutates]
    again = shop.write("product.v1", product)

    assert labels == ["SetVariant"]
    assert [request.label for request in shop.trial.requests if request.mutates] == labels
    assert isinstance(first, Written)
    assert isinstance(again, Written)
    assert first.external_id == again.external_id
    (mug,) = (item for item in shop.simulator.products.values() if item["title"] == "Mug")
    assert Decimal(mug["variants"][0]["price"]) == Decimal("13.50")


def test_a_customer_is_known_by_address_or_telephone() -> None:
    shop = Shop()
    known = shop.simulator.add_customer("Bob Norman", None, "+15556251199")
    customer = {"id": "c1", "name": "Robert Norman", "email": "bob@mail.example", "phone": "+15556251199", "active": True,
                "updated_at": "2026-11-01T10:00:00Z"}  # fmt: skip

    assert known.endswith(f"/{shop.write('customer.v1', customer).external_id}")  # type: ignore[union-attr]
    assert shop.simulator.customers[known]["email"] == "bob@mail.example"
    with pytest.raises(RejectedByTargetError) as refused:
        shop.write("customer.v1", {name: customer[name] for name in ("id", "name", "active", "updated_at")})
    assert refused.value.code == "no_identity"


def test_what_the_hub_knows_comes_before_what_looks_alike() -> None:
    shop = Shop()
    (mug,) = (item for item in shop.simulator.products.values() if item["title"] == "Mug")
    customer = shop.simulator.add_customer("Bob Norman", "old@mail.example")
    product = {"id": "77", "sku": "MUG-2", "name": "Mug", "active": True, "updated_at": "2026-11-01T10:00:00Z"}
    bob = {"id": "c1", "name": "Bob Norman", "email": "new@mail.example", "active": True, "updated_at": "2026-11-01T10:00:00Z"}

    def link(document: dict[str, Any], gid: str) -> dict[str, Any]:
        return {**document, "extensions": {"link": {"id": gid.rpartition("/")[2]}}}

    shop.trial.write("product.v1", link(product, mug["variants"][0]["id"]), "XD1")
    shop.trial.write("customer.v1", link(bob, customer), "XD2")

    assert len(shop.simulator.products) == 2
    assert mug["variants"][0]["sku"] == "MUG-2"
    assert [item["email"] for item in shop.simulator.customers.values()] == ["new@mail.example"]
    shop.trial.write("customer.v1", link(bob, "gid://shopify/Customer/9"), "XD3")  # what was known is gone
    assert len(shop.simulator.customers) == 1


def test_a_sku_is_never_syntax() -> None:
    shop = Shop()
    hostile = 'A" OR sku:"MUG'
    product = {"id": "1", "sku": hostile, "name": "Odd", "active": True, "updated_at": "2026-11-01T10:00:00Z"}

    made = shop.write("product.v1", product)

    assert isinstance(made, Written)
    assert [v["sku"] for item in shop.simulator.products.values() for v in item["variants"]] == ["COFFEE", "MUG", hostile]


def test_the_kits_day_becomes_documents() -> None:
    trial = kit.subject().trial()
    found = [item for change in trial.system.changes for item in trial.perform(trial.connector.translate(change))]

    assert {item.type for item in found if isinstance(item, Document)} == {
        "order.placed.v1", "order.changed.v1", "order.cancelled.v1", "sale.completed.v1", "return.completed.v1", "product.v1",
        "customer.v1", "stock_level.v1", "fulfillment.completed.v1", "shipment.dispatched.v1", "shipment.delivered.v1",
        "gift_card.issued.v1", "exchange.completed.v1", "payment.captured.v1", "payment.refunded.v1", "payment.reversed.v1",
    }  # fmt: skip


def test_goods_that_leave_a_parcel_and_its_arrival_are_facts_about_the_order() -> None:
    shop = Shop()
    order = shop.simulator.place_order([("COFFEE", 3), ("MUG", 1)])
    shop.told()
    sent = shop.simulator.fulfil(order, {"COFFEE": 2}, "1Z999")
    found = shop.told()
    left, parcel = _of(found, "fulfillment.completed.v1"), _of(found, "shipment.dispatched.v1")

    assert [(item["sku"], item["quantity"]) for item in left["goods"]] == [("COFFEE", "2")]
    assert left["location"] == {"code": "HARBOUR-ST"}
    assert left["order"] == parcel["order"] == {"id": order["id"].rsplit("/", 1)[-1], "number": "#1001"}
    assert (parcel["carrier"], parcel["tracking_number"], parcel["id"]) == ("UPS", "1Z999", left["shipment_id"])
    assert not [item for item in found if isinstance(item, Document) and item.type == "shipment.delivered.v1"]

    shop.simulator.deliver(order, sent)
    assert _of(shop.told(), "shipment.delivered.v1")["id"] == parcel["id"]
    shop.simulator.fulfil(order, {"COFFEE": 1, "MUG": 1})
    counter = [item for item in shop.told() if isinstance(item, Document) and item.type == "fulfillment.completed.v1"]
    assert [goods["quantity"] for goods in counter[-1].data["goods"]] == ["1", "1"]
    assert "shipment_id" not in counter[-1].data, "handed over at the counter"


def test_what_was_deleted_is_gone_whoever_says_so() -> None:
    shop = Shop()
    mug = next(gid for gid, product in shop.simulator.products.items() if product["title"] == "Mug")
    anna = shop.simulator.add_customer("Anna", "anna@mail.example")
    shop.simulator.take_webhooks()
    shop.simulator.delete_product(mug)
    shop.simulator.delete_customer(anna)

    told = [item for _, body, headers in shop.simulator.take_webhooks()
            for item in shop.trial.connector.receive(Webhook(body, headers))]  # fmt: skip
    assert told == [Gone("product", mug), Gone("customer", anna)]
    late = shop.trial.perform(shop.trial.connector.translate(Change("product", mug)))
    assert late == [Gone("product", mug)], "a webhook that comes after the record went says the same"
