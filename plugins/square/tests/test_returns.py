"""What comes back: goods, tips, charges and amounts, of one receipt or several, and refunds that wait or fail."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hub_square import till
from hub_square.till import Charge
from hub_square.wire import TAX, money

from canonical.histories import check_return_against_sale
from hub.sdk import Change, Document, Ignored, Refused, Webhook

INCLUSIVE = {"uid": "vat", "name": "VAT", "percentage": "20", "type": "INCLUSIVE", "scope": "ORDER"}


def _line(sale: Any, place: int = 0) -> str:
    return str(sale["line_items"][place]["uid"])


def _sale(shop: Any, sku: str, price: int, **more: Any) -> Any:
    return shop.till.ring_sale([(shop.till.add_item(sku, sku, price, 10), 2)], announce=False, **more)


def test_refund_of_an_amount_is_an_amount_of_its_sale(shop: Any) -> None:
    sale = _sale(shop, "MUG", 1200)
    document = shop.only(shop.till.ring_return(sale, {}, amount=500))

    assert document.type == "return.completed.v1"
    assert shop.brief(document.data["lines"]) == [("CUSTOM-AMOUNT", "amount", "5.00")]
    assert "original_line_id" not in document.data["lines"][0]
    assert document.data["original"] == {"id": sale["id"]}
    assert list(check_return_against_sale(document.data, shop.only(sale).data)) == []


def test_tip_is_given_back_beside_the_goods(shop: Any) -> None:
    sale = _sale(shop, "MUG", 1000, tip=200)

    data = shop.only(shop.till.ring_return(sale, {_line(sale): 1}, tip=200)).data

    assert (shop.amount(data["tip"]), shop.amount(data["total"])) == ("2.00", "12.90")
    assert shop.brief(data["lines"]) == [("MUG", "goods", "10.90")]
    assert list(check_return_against_sale(data, shop.only(sale).data)) == []


def test_tip_is_given_back_alone(shop: Any) -> None:
    sale = _sale(shop, "MUG", 1000, tip=200)

    data = shop.only(shop.till.ring_return(sale, {}, tip=200)).data

    assert (shop.amount(data["tip"]), shop.amount(data["total"])) == ("2.00", "2.00")
    assert shop.brief(data["lines"]) == [("CUSTOM-AMOUNT", "amount", "0.00")]
    assert list(check_return_against_sale(data, shop.only(sale).data)) == []


@pytest.mark.parametrize("taxes", [(TAX,), ()])
def test_service_charge_is_given_back_as_it_was_sold(shop: Any, taxes: tuple[Any, ...]) -> None:
    sale = _sale(shop, "STEAK", 5000, charges=[Charge(name="Service", percentage="10", taxes=taxes)])
    charge = sale["service_charges"][0]["uid"]

    data = shop.only(shop.till.ring_return(sale, {_line(sale): 2, charge: 1})).data

    named = [line.get("original_line_id") for line in data["lines"]]
    assert named == [_line(sale), charge] if taxes else [_line(sale)]
    assert shop.amount(data.get("service_charge")) == ("" if taxes else "10.00")
    assert data["total"] == shop.only(sale).data["total"]
    assert list(check_return_against_sale(data, shop.only(sale).data)) == []


@pytest.mark.parametrize(("country", "currency"), [("US", "USD"), ("GB", "GBP")])
def test_inclusive_tax_is_given_back_within_the_price(shop: Any, country: str, currency: str) -> None:
    shop.till.location_id = shop.till.add_location("L-1", "UTC", country, currency)
    mug = shop.till.add_item("MUG", "Mug", 1200, 10)
    sale = shop.till.ring_sale([shop.till.rung(mug, 2, taxes=(INCLUSIVE,), modifiers=[("Engraved", 300, 1)])])

    (line,) = shop.only(shop.till.ring_return(sale, {_line(sale): 1})).data["lines"]

    assert (shop.amount(line["unit_price"]), shop.amount(line["gross"]), shop.amount(line["total"])) == ("15.00",) * 3
    assert (shop.amount(line["taxes"][0]["amount"]), line["taxes"][0]["included"]) == ("2.50", True)


@pytest.mark.parametrize("where", ["return", "order", "order, other sign"])
def test_cash_rounding_of_a_return_is_in_its_total(shop: Any, where: str) -> None:
    sale = _sale(shop, "MUG", 1000, tender="CASH")
    order = copy.deepcopy(shop.till.ring_return(sale, {_line(sale): 1}, rounding=-2))
    if where != "return":
        adjustment = order["returns"][0].pop("rounding_adjustment")
        adjustment["amount_money"]["amount"] *= 1 if where == "order" else -1
        order["rounding_adjustment"] = adjustment

    data = shop.only(order).data

    assert (shop.amount(data["rounding"]), shop.amount(data["total"])) == ("-0.02", "10.88")


def test_returns_of_two_receipts_are_two_documents(shop: Any) -> None:
    coat, hat = _sale(shop, "COAT", 9000), _sale(shop, "HAT", 2000, tender="CASH")
    order = shop.till.ring_returns([(sale, till.returned(sale, {_line(sale): 1})) for sale in (coat, hat)])
    order["refunds"].reverse()

    items = shop.order(order)
    order["returns"].reverse()

    assert all(isinstance(item, Document) for item in items)
    by_sale = {item.data["original"]["id"]: item.data for item in items}
    found = {key: [(each["type"], shop.amount(each["amount"])) for each in data["tenders"]] for key, data in by_sale.items()}
    assert found == {coat["id"]: [("card", "98.10")], hat["id"]: [("cash", "21.80")]}
    first, second = sorted(item.source_id for item in items)
    assert first == f"order:{order['id']}"
    assert second.startswith(f"order:{order['id']}:return:")
    assert len({item.data["id"] for item in items}) == 2
    assert shop.order(order) == items, "whatever the order in which Square lists them"


def test_refund_names_the_payment_that_it_gives_back(shop: Any) -> None:
    sale = _sale(shop, "MUG", 1000)
    order = shop.till.ring_return(sale, {_line(sale): 1})

    (tender,) = shop.only(order).data["tenders"]

    assert (tender["reference"], tender["payment_id"]) == (order["refunds"][0]["id"], sale["tenders"][0]["payment_id"])
    assert (tender["provider"], tender["brand"]) == ("square", "visa")


def test_refund_goes_by_its_own_record_when_its_sale_is_unknown(shop: Any) -> None:
    sale = _sale(shop, "MUG", 1000, tender="SQUARE_ACCOUNT")
    order = shop.till.ring_return(sale, {_line(sale): 1})
    del shop.till.orders[sale["id"]]

    (tender,) = shop.only(order).data["tenders"]

    assert (tender["type"], tender["payment_id"]) == ("house_account", sale["tenders"][0]["payment_id"])


def test_exchange_adds_a_tip(shop: Any) -> None:
    sale = _sale(shop, "MUG", 1000)
    hat = shop.till.add_item("HAT", "Hat", 2000, 10)

    data = shop.only(shop.till.ring_exchange(sale, {_line(sale): 1}, [(hat, 1)], tip=200)).data

    assert (shop.amount(data["tip"]), shop.amount(data["total"])) == ("2.00", "12.90")


def test_exchange_takes_what_other_receipts_give_back(shop: Any) -> None:
    coat, hat = _sale(shop, "COAT", 9000), _sale(shop, "HAT", 2000)
    boots = shop.till.add_item("BOOTS", "Boots", 15000, 10)
    order = shop.till.ring_exchange(coat, {_line(coat): 1}, [(boots, 1)], others=[(hat, {_line(hat): 1})])
    parts = {part["source_order_id"]: part["return_amounts"]["total_money"]["amount"] for part in order["returns"]}

    exchange, back = shop.order(order)

    assert (exchange.type, back.type) == ("exchange.completed.v1", "return.completed.v1")
    assert {exchange.data["original"]["id"], back.data["original"]["id"]} == {coat["id"], hat["id"]}
    credit = f"{parts[back.data['original']['id']] / 100:.2f}"
    assert [(each["type"], shop.amount(each["amount"])) for each in back.data["tenders"]] == [("store_credit", credit)]
    paid = [(each["type"], shop.amount(each["amount"])) for each in exchange.data["tenders"]]
    assert paid == [("card", "43.60"), ("store_credit", credit)]


def test_return_on_the_order_of_its_sale_has_an_id_of_its_own(shop: Any) -> None:
    sale = _sale(shop, "MUG", 1000)
    before = shop.only(sale)
    later = copy.deepcopy(sale)
    part = till.returned(sale, {_line(sale): 1})
    refund = {"id": "R1", "tender_id": sale["tenders"][0]["id"], "amount_money": money(1090), "status": "APPROVED",
              "created_at": "2030-05-01T12:00:00.000Z"}  # fmt: skip
    later |= {"returns": [part], "refunds": [refund], "return_amounts": part["return_amounts"],
              "updated_at": "2030-05-01T12:00:01.000Z"}  # fmt: skip

    told = shop.order(later)

    assert told[0] == before
    assert (told[1].type, told[1].source_id) == ("return.completed.v1", f"order:{sale['id']}:return:{part['uid']}")
    assert told[1].data["occurred_at"] == "2030-05-01T12:00:00.000Z"


def test_return_on_the_order_of_its_sale_does_not_change_with_the_next_one(shop: Any) -> None:
    sale = _sale(shop, "MUG", 1000)
    parts = [till.returned(sale, {_line(sale): 1}) | {"uid": "z"}, till.returned(sale, {}, amount=500) | {"uid": "a"}]
    refunds = [
        {"id": f"R{day}", "tender_id": sale["tenders"][0]["id"], "amount_money": part["return_amounts"]["total_money"],
         "status": "APPROVED", "created_at": f"2030-05-0{day}T12:00:00.000Z"}
        for day, part in enumerate(parts, start=1)
    ]  # fmt: skip
    _, first = shop.order(sale | {"returns": parts[:1], "refunds": refunds[:1]})

    told = shop.order(sale | {"returns": parts, "refunds": refunds})

    assert first in told
    assert sorted(item.data["occurred_at"][:10] for item in told[1:]) == ["2030-05-01", "2030-05-02"]


def test_refund_is_no_return_while_it_is_pending(shop: Any) -> None:
    sale = _sale(shop, "MUG", 1000)
    order = shop.till.ring_return(sale, {_line(sale): 1}, status="PENDING")
    waiting = shop.told()
    shop.till.settle_refund(order, "COMPLETED")

    told = shop.told()

    assert waiting
    assert all(isinstance(item, Ignored) for item in waiting)
    assert {item.source_id for item in told} == {f"order:{order['id']}"}


def test_refund_counts_as_its_webhook_says_when_the_order_is_behind(shop: Any) -> None:
    sale = _sale(shop, "MUG", 1000)
    order = shop.till.ring_return(sale, {_line(sale): 1}, status="PENDING", announce=False)
    shop.till.settle_refund(order, "COMPLETED")
    order["refunds"][0]["status"] = "PENDING"
    (event,) = (body for _, body, _ in shop.till.take_webhooks("https://hub") if json.loads(body)["type"] == "refund.updated")

    (change,) = shop.square.receive(Webhook(event))

    assert [item.type for item in shop.of(change)] == ["return.completed.v1"]


@pytest.mark.parametrize("status", ["FAILED", "REJECTED"])
def test_refund_is_no_return_when_it_never_succeeded(shop: Any, status: str) -> None:
    sale = _sale(shop, "MUG", 1000)
    order = shop.till.ring_return(sale, {_line(sale): 1}, status="PENDING", announce=False)
    shop.till.settle_refund(order, status)

    assert [item.type for item in shop.told() if isinstance(item, Document) and item.type.startswith("return")] == []


def test_refund_that_fails_after_it_was_told_is_reversed(shop: Any) -> None:
    sale = _sale(shop, "MUG", 1000)
    order = shop.till.ring_return(sale, {_line(sale): 1})
    assert [item.type for item in shop.told()] == ["return.completed.v1"] * 2
    shop.till.settle_refund(order, "FAILED")

    told = [item for item in shop.told() if isinstance(item, Document)]
    told += [item for item in shop.of(Change("order", order["id"])) if isinstance(item, Document)]

    refund = order["refunds"][0]["id"]
    assert {item.type for item in told} == {"payment.reversed.v1"}
    assert all(item.data == told[0].data and item.source_id == f"refund:{refund}:failed" for item in told)
    assert told[0].data["fact"] == {"id": refund}
    assert told[0].follows == f"order:{order['id']}"
    assert told[0].data["payment_id"] == sale["tenders"][0]["payment_id"]
    assert (told[0].data["sale_return"], shop.amount(told[0].data["amount"])) == ({"id": order["id"]}, "10.90")


@pytest.mark.parametrize("where", ["order", "return", "net", "refund"])
def test_return_is_refused_with_its_figures_when_it_does_not_add_up(shop: Any, where: str) -> None:
    sale = _sale(shop, "MUG", 1000)
    order = copy.deepcopy(shop.till.ring_return(sale, {_line(sale): 1}))
    wrong = {
        "order": order["return_amounts"]["total_money"], "return": order["returns"][0]["return_amounts"]["total_money"],
        "net": order["net_amounts"]["total_money"], "refund": order["refunds"][0]["amount_money"],
    }[where]  # fmt: skip
    wrong["amount"] += 50

    (item,) = shop.order(order)

    assert isinstance(item, Refused)
    assert "10.90 USD" in item.message
    assert "11.40 USD" in item.message or "-10.40 USD" in item.message


def test_return_with_its_sale_moves_goods_once(shop: Any) -> None:
    """Goods that are restocked come back with their order; what else became of them is told by the inventory."""
    sale = _sale(shop, "MUG", 1000)
    mug = sale["line_items"][0]["catalog_object_id"]
    order = shop.till.ring_return(sale, {_line(sale): 2}, restock=False)
    (line,) = shop.only(order).data["lines"]
    moves = [("SOLD", "RETURNED_BY_CUSTOMER"), ("RETURNED_BY_CUSTOMER", "IN_STOCK"), ("UNLINKED_RETURN", "WASTE"),
             ("UNLINKED_RETURN", "IN_STOCK"), ("IN_STOCK", "SOLD")]  # fmt: skip

    told = [shop.change(shop.till.adjust(mug, 1, *states, announce=False)) for states in moves]

    assert "state" not in line
    found = [(item.data["from_state"], item.data["to_state"]) for item in told if isinstance(item, Document)]
    assert found == [("available", "none"), ("none", "available"), ("available", "unsellable")]


def test_goods_come_back_with_the_inventory_when_it_is_set_so(make_shop: Callable[..., Any]) -> None:
    shop = make_shop(restocked_by="inventory")
    sale = _sale(shop, "MUG", 1000)
    mug = sale["line_items"][0]["catalog_object_id"]
    not_restocked = shop.till.ring_return(sale, {_line(sale): 1}, restock=False)
    (line,) = shop.only(not_restocked).data["lines"]
    moves = [("UNLINKED_RETURN", "IN_STOCK"), ("RETURNED_BY_CUSTOMER", "IN_STOCK"), ("SOLD", "RETURNED_BY_CUSTOMER"),
             ("UNLINKED_RETURN", "WASTE")]  # fmt: skip

    told = [shop.change(shop.till.adjust(mug, 1, *states, announce=False)) for states in moves]

    assert line["state"] == "none"
    found = [(item.data["from_state"], item.data["to_state"]) for item in told if isinstance(item, Document)]
    assert found == [("none", "available"), ("none", "available"), ("none", "unsellable")]
