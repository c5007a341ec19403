"""Sales of an order: each case is worked out by hand. Prices without tax, 8 % on top.

The cases stand for public reports about comparable connectors: gift cards booked as revenue, tax of delivery lost, cash rounding
kept in two fields, captures at another rate, parts of a total that were not asked for.
"""

from decimal import Decimal
from typing import Any

import pytest

from canonical.movements import movements
from hub.sdk import Document, Ignored, UntranslatableError
from hub.sdk.steps import Change


def _usd(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "USD"}


def test_gift_card_is_issued_and_moves_no_stock_when_sold(bench: Any) -> None:
    order = bench.simulator.place_order([("GIFT-50", 1), ("MUG", 1)], shipping="0.00")
    bench.simulator.fulfil(order, {"GIFT-50": 1, "MUG": 1}, "1Z")
    found = bench.documents(order)
    sale, card = found["sale.completed.v1"], found["gift_card.issued.v1"]

    assert [(line["sku"], line.get("kind")) for line in sale["lines"]] == [("GIFT-50", "gift_card"), ("MUG", None)]
    assert (card["amount"], card["sale"]["id"]) == (_usd("50.00"), sale["id"])
    assert sale["tax"] == _usd("8.00")
    assert [item["sku"] for item in found["fulfillment.completed.v1"]["goods"]] == ["MUG"]


def test_fulfilment_is_no_document_when_only_gift_cards_leave(bench: Any) -> None:
    order = bench.simulator.place_order([("GIFT-50", 2)], shipping="0.00")
    bench.simulator.fulfil(order, {"GIFT-50": 2})
    told = [item for item in bench.read(order).values() if isinstance(item, Document)]

    assert [item.type for item in told if item.type.startswith(("fulfillment", "shipment"))] == []
    cards = [item.data for item in told if item.type == "gift_card.issued.v1"]
    assert [card["amount"] for card in cards] == [_usd("50.00")] * 2
    assert len({card["gift_card"]["id"] for card in cards}) == 2


def test_card_sold_at_a_till_moves_no_stock(bench: Any) -> None:
    order = bench.simulator.ring_sale([("GIFT-50", 1), ("ENGRAVING", 1), ("MUG", 1)])
    sale = bench.documents(order)["sale.completed.v1"]

    assert [item.sku for item in movements("sale.completed.v1", sale)] == ["MUG"]
    assert sale["lines"][1]["stocked"] is False


def test_delivery_is_a_line_with_its_own_tax(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="10.00")
    found = bench.documents(order)

    for document in (found["sale.completed.v1"], found["order.placed.v1"]):
        delivery = document["lines"][1]
        assert (delivery["kind"], delivery["sku"], delivery["total"]) == ("delivery", "DELIVERY", _usd("10.80"))
        assert delivery["taxes"] == [{"name": "State Tax", "rate": "8", "amount": _usd("0.80")}]
        assert (document["tax"], document["total"]) == (_usd("8.80"), _usd("118.80"))


def test_sale_is_refused_alone_when_its_tax_is_not_the_orders(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00")
    bench.simulator.fulfil(order, {"MUG": 1})
    order["totalTaxSet"]["shopMoney"]["amount"] = order["totalTaxSet"]["presentmentMoney"]["amount"] = "9.00"
    number = order["id"].rpartition("/")[2]

    assert bench.refused(order) == {f"order:{number}": "tax_differs", f"order:{number}:sale": "tax_differs"}
    assert "fulfillment.completed.v1" in bench.documents(order)


def test_sale_is_refused_with_its_figures_when_parts_of_its_total_are_missing(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00", fee="3.00")
    order["additionalFees"].clear()
    refused = bench.read(order)[f"order:{order['id'].rpartition('/')[2]}:sale"]

    assert refused.code == "total_differs"
    assert "108.00" in refused.message
    assert "111" in refused.message


def test_duties_and_fees_are_lines(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00", duties="12.50", fee="3.00")
    sale = bench.documents(order)["sale.completed.v1"]

    charged = [(line["kind"], line["sku"], line["total"]) for line in sale["lines"][1:]]
    assert charged == [("duty", "DUTY", _usd("12.50")), ("fee", "FEE", _usd("3.00"))]
    assert sale["total"] == _usd("123.50")


def test_duties_are_one_line_when_only_their_total_is_stated(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00", duties="12.50")
    order["lineItems"]["nodes"][0]["duties"].clear()
    sale = bench.documents(order)["sale.completed.v1"]

    assert [line["kind"] for line in sale["lines"][1:]] == ["duty"]
    assert sale["total"] == _usd("120.50")


@pytest.mark.parametrize(("price", "rounding", "total"), [("9.24", "0.02", "10.00"), ("9.28", "-0.02", "10.00")])
def test_cash_is_rounded_when_the_till_rounds(bench: Any, price: str, rounding: str, total: str) -> None:
    (pie,) = (item for item in bench.simulator.products.values() if item["title"] == "Pie")
    pie["variants"][0]["price"] = price
    order = bench.simulator.ring_sale([("PIE", 1)], rounding=rounding)
    sale = bench.documents(order)["sale.completed.v1"]

    assert sale["rounding"] == _usd(rounding)
    assert (sale["total"], sale["tenders"][0]["amount"]) == (_usd(total), _usd(total))


def test_cash_is_given_change_from_when_more_is_handed_over(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)], given="120.00")
    sale = bench.documents(order)["sale.completed.v1"]

    assert (sale["tenders"][0]["amount"], sale["change"], sale["total"]) == (_usd("120.00"), _usd("12.00"), _usd("108.00"))


def test_tip_is_told_once_when_it_is_a_line_item(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)], tip="5.00")
    sale = bench.documents(order)["sale.completed.v1"]

    assert (sale["tip"], sale["total"], len(sale["lines"])) == (_usd("5.00"), _usd("113.00"), 1)


def test_tip_is_told_once_when_it_stands_beside_the_lines(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)], tip="5.00")
    order["lineItems"]["nodes"].pop()
    sale = bench.documents(order)["sale.completed.v1"]

    assert (sale["tip"], sale["total"], len(sale["lines"])) == (_usd("5.00"), _usd("113.00"), 1)


def test_free_order_is_a_sale_of_nothing_and_its_goods_leave(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], discount="100.00", shipping="0.00")
    bench.simulator.fulfil(order, {"MUG": 1})
    found = bench.documents(order)

    assert (found["sale.completed.v1"]["total"], found["sale.completed.v1"]["tenders"]) == (_usd("0.00"), [])
    assert found["sale.completed.v1"]["occurred_at"] == order["processedAt"]
    assert found["fulfillment.completed.v1"]["goods"][0]["quantity"] == "1"


@pytest.mark.parametrize(("received", "difference"), [("107.41", "-0.59"), ("108.37", "0.37")])
def test_capture_at_another_rate_is_an_exchange_difference(bench: Any, received: str, difference: str) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00", abroad=("EUR", Decimal("0.5")), received=received)
    sale = bench.documents(order)["sale.completed.v1"]

    assert (sale["total"], sale["exchange_difference"]) == (_usd("108.00"), _usd(difference))
    assert sale["presentment"] == {"amount": "54.00", "currency": "EUR"}
    assert (sale["tenders"][0]["amount"], sale["tenders"][0]["foreign"]) == (_usd(received), sale["presentment"])


def test_foreign_order_waits_when_it_is_not_paid_in_the_customers_currency(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], paid=False, shipping="0.00", abroad=("EUR", Decimal("0.5")))
    bench.simulator.pay(order, "100.00")

    assert "sale.completed.v1" not in bench.documents(order)


def test_part_capture_waits_for_a_person_when_goods_have_left(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1), ("HAT", 1)], paid=False, shipping="0.00")
    bench.simulator.authorize(order)
    bench.simulator.pay(order, "108.00", kind="CAPTURE")
    sale = f"order:{order['id'].rpartition('/')[2]}:sale"
    assert bench.refused(order) == {}, "it may still be paid"

    bench.simulator.fulfil(order, {"MUG": 1})
    assert bench.refused(order) == {sale: "part_paid"}
    assert "payment.captured.v1" not in bench.documents(order), "the sale that may come has this payment"

    bench.simulator.cancel(order)
    assert bench.refused(order) == {sale: "part_paid"}
    captured = bench.documents(order)["payment.captured.v1"]
    assert (captured["amount"], captured["type"], captured["order"]["number"]) == (_usd("108.00"), "card", "#1001")


def test_part_capture_is_told_and_given_back_when_the_order_is_cancelled(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1), ("HAT", 1)], paid=False, shipping="0.00")
    bench.simulator.pay(order, "108.00", kind="CAPTURE")
    bench.simulator.cancel(order)
    bench.simulator.refund(order, {"MUG": 1, "HAT": 1}, given="108.00", restock="CANCEL")
    found = bench.documents(order)

    assert bench.refused(order) == {}
    assert {"sale.completed.v1", "return.completed.v1"}.isdisjoint(found)
    assert found["payment.refunded.v1"]["payment_id"] == found["payment.captured.v1"]["id"]
    assert found["payment.refunded.v1"]["amount"] == _usd("108.00")


def test_parts_become_one_sale_when_all_is_captured(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1), ("HAT", 1)], paid=False, shipping="0.00")
    bench.simulator.pay(order, "108.00", kind="CAPTURE")
    bench.simulator.pay(order, "64.80", kind="CAPTURE")
    sale = bench.documents(order)["sale.completed.v1"]

    assert [item["amount"] for item in sale["tenders"]] == [_usd("108.00"), _usd("64.80")]


def test_unpaid_order_sold_nothing_when_it_is_cancelled(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], paid=False, shipping="0.00")
    bench.simulator.authorize(order)
    bench.simulator.void(order, order["transactions"][0])
    bench.simulator.cancel(order)
    bench.simulator.refund(order, {"MUG": 1}, kept="108.00", restock="CANCEL")
    found = bench.read(order)

    assert {item.type for item in found.values() if isinstance(item, Document)} == {"order.placed.v1", "order.cancelled.v1"}
    assert any("nothing was sold" in item.reason for item in found.values() if isinstance(item, Ignored))


def test_sale_is_refused_when_more_is_paid_than_the_order(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], paid=False, shipping="0.00")
    bench.simulator.pay(order, "110.00")

    assert list(bench.refused(order).values()) == ["overpaid"]


def test_payment_after_the_sale_is_refused_alone(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00")
    bench.simulator.pay(order, "5.00")

    assert bench.refused(order) == {f"order:{order['id'].rpartition('/')[2]}:later": "later_payment"}
    assert bench.documents(order)["sale.completed.v1"]["total"] == _usd("108.00")


def test_captured_payment_is_reversed_when_it_is_voided(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00")
    before = bench.documents(order)["sale.completed.v1"]
    void = bench.simulator.void(order, order["transactions"][0])
    found = bench.documents(order)
    paid = before["tenders"][0]["reference"]

    assert found["sale.completed.v1"] == before
    told = found["payment.reversed.v1"]
    assert (told["fact"]["id"], told["fact_type"], told["amount"]) == (paid, "payment.captured", _usd("108.00"))
    assert (told["sale"]["id"], told["occurred_at"]) == (before["id"], void["processedAt"])

    bench.simulator.pay(order, "108.00")  # the customer pays in another way
    assert bench.documents(order)["payment.captured.v1"]["amount"] == _usd("108.00")
    assert bench.refused(order) == {}


@pytest.mark.parametrize(("gateway", "kind", "provider"), [
    ("shopify_payments", "card", "shopify_payments"), ("gift_card", "gift_card", None), ("paypal", "wallet", "paypal"),
    ("Cash on Delivery (COD)", "cash", "cash_on_delivery_cod"), ("shopify_store_credit", "store_credit", "shopify_store_credit"),
    ("shop_pay_installments", "pay_later", "shop_pay_installments"), ("manual", "other", None), ("Voucher", "other", "voucher"),
    ("Bank Deposit", "bank_transfer", "bank_deposit"), ("cash", "cash", None),
])  # fmt: skip
def test_tender_names_kind_and_provider_of_its_gateway(bench: Any, gateway: str, kind: str, provider: str | None) -> None:
    order = bench.simulator.place_order([("MUG", 1)], gateway=gateway, shipping="0.00")
    (tender,) = bench.documents(order)["sale.completed.v1"]["tenders"]

    assert (tender["type"], tender.get("provider")) == (kind, provider)


def test_tender_is_of_the_kind_that_the_settings_name(bench: Any) -> None:
    bench.trial.connector.settings["gateways"]["Voucher"] = "voucher"
    order = bench.simulator.place_order([("MUG", 1)], gateway="Voucher", shipping="0.00")

    assert bench.documents(order)["sale.completed.v1"]["tenders"][0]["type"] == "voucher"


def test_line_without_article_is_an_amount(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)], tip="5.00")
    order["totalTipReceivedSet"] = bench.simulator._money(0)
    order["lineItems"]["nodes"][1]["name"] = "Odd job"
    sale = bench.documents(order)["sale.completed.v1"]

    assert (sale["lines"][1]["kind"], sale["lines"][1]["sku"], sale["total"]) == ("amount", "CUSTOM-LINE", _usd("113.00"))
    assert [item.sku for item in movements("sale.completed.v1", sale)] == ["MUG"]


def test_facts_stay_as_they_were_told_whatever_happens_later(bench: Any) -> None:
    customer = bench.simulator.add_customer("Anna Ray", "anna@mail.example")
    order = bench.simulator.place_order([("MUG", 2), ("HAT", 1)], discount="7.00", customer=customer)
    before = bench.read(order)
    told = {key: item.data for key, item in before.items() if isinstance(item, Document)}
    assert {item.type for item in before.values()} == {"order.placed.v1", "sale.completed.v1"}

    bench.later()
    sent = bench.simulator.fulfil(order, {"MUG": 2}, "1Z")
    bench.simulator.deliver(order, sent)
    bench.simulator.rename(customer, "Anna Bell")
    bench.simulator.refund(order, {"MUG": 1}, shipping="10.00")
    bench.simulator.refund(order, {"HAT": 1}, restock="CANCEL")
    after = bench.read(order)

    assert {key: after[key].data for key in told} == told
    bench.simulator.add_line(order, "PIE", 1)
    bench.simulator.edit(order, "MUG", 0)
    sale = next(key for key in told if key.endswith(":sale"))
    assert bench.read(order)[sale].data == told[sale], "an edit after the sale does not change it"


def test_sale_is_dated_by_the_payment_that_completed_it(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], paid=False, shipping="0.00")
    bench.later()
    paid = bench.simulator.pay(order)
    bench.later()
    bench.simulator.refund(order, {"MUG": 1})

    assert bench.documents(order)["sale.completed.v1"]["occurred_at"] == paid["processedAt"]


def test_refund_and_fulfilment_are_told_when_the_sale_of_an_edited_order_waits(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 2)], paid=False, shipping="0.00")
    bench.simulator.edit(order, "MUG", 1)
    bench.later()
    bench.simulator.pay(order)
    bench.simulator.fulfil(order, {"MUG": 1})
    bench.simulator.refund(order, {"MUG": 1})

    assert list(bench.refused(order).values()) == ["edited_sale"]
    assert {"fulfillment.completed.v1", "return.completed.v1"} <= bench.documents(order).keys()


def test_refunds_are_told_when_no_line_of_an_edited_order_is_left(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 2)], shipping="0.00")
    bench.later()
    bench.simulator.edit(order, "MUG", 1)
    bench.simulator.refund(order, {"MUG": 1})

    assert {"sale.completed.v1", "return.completed.v1"} <= bench.documents(order).keys()


def test_order_is_whole_when_its_lists_have_several_pages(bench: Any) -> None:
    for number in range(130):
        bench.simulator.add_product(f"Part {number}", [f"PART-{number}"], "1.00", 10)
    bought = {f"PART-{number}": 1 for number in range(130)}
    order = bench.simulator.place_order(list(bought.items()), shipping="0.00")
    bench.simulator.fulfil(order, bought)
    bench.simulator.refund(order, bought)
    found = bench.documents(order)

    assert len(found["sale.completed.v1"]["lines"]) == 130
    assert len(found["fulfillment.completed.v1"]["goods"]) == 130
    assert len(found["return.completed.v1"]["lines"]) == 130


@pytest.mark.parametrize(("name", "count"), [("transactions", 100), ("refunds", 100), ("shippingLines", 51)])
def test_order_is_refused_when_the_end_of_a_list_is_not_known(bench: Any, name: str, count: int) -> None:
    order = bench.simulator.place_order([("MUG", 1)])
    if name == "refunds":
        bench.simulator.refund(order, {"MUG": 1})
    found = order[name]["nodes"] if name == "shippingLines" else order[name]
    found += [dict(found[0])] * (count - 1)

    with pytest.raises(UntranslatableError, match=name) as refused:
        bench.trial.perform(bench.trial.connector.translate(Change("order", order["id"])))
    assert refused.value.code == "too_large"
