"""Refunds and exchanges: each case is worked out by hand. Prices without tax, 8 % on top.

The cases stand for public reports about comparable connectors: refunds told before they were done, exchanges told as a fee that was
kept, goods restocked that never came back.
"""

from decimal import Decimal
from typing import Any

import pytest

from canonical.movements import movements
from hub.sdk import Document, Ignored

HARBOUR, MILL = "gid://shopify/Location/905684977", "gid://shopify/Location/487838322"


def _usd(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "USD"}


def _number(gid: str) -> str:
    return gid.rpartition("/")[2]


def test_delivery_given_back_is_a_line_of_the_sales_delivery(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="10.00")
    bench.simulator.refund(order, {}, shipping="10.00")
    found = bench.documents(order)
    (line,) = found["return.completed.v1"]["lines"]

    assert (line["kind"], line["total"], line["taxes"][0]["amount"]) == ("delivery", _usd("10.80"), _usd("0.80"))
    assert line["original_line_id"] == found["sale.completed.v1"]["lines"][1]["id"]


@pytest.mark.parametrize("sign", [1, -1])
def test_adjustments_that_shopify_states_are_fees_and_amounts(bench: Any, sign: int) -> None:
    order = bench.simulator.place_order([("MUG", 3)], shipping="0.00")
    bench.simulator.refund(order, {"MUG": 1}, kept="8.00")
    bench.simulator.refund(order, {"MUG": 1}, more="5.00")
    for refund in order["refunds"]:
        for item in refund["orderAdjustments"]:
            value = sign * Decimal(item["amountSet"]["shopMoney"]["amount"])
            item["amountSet"] = bench.simulator._money(value)
    kept, more = (item.data for item in bench.read(order).values() if item.type == "return.completed.v1")

    assert [(fee["kind"], fee["total"]) for fee in kept["fees"]] == [("fee", _usd("8.00"))]
    assert (kept["total"], kept["lines"][0]["discount"]) == (_usd("100.00"), _usd("0.00"))
    assert [(line.get("kind"), line["total"]) for line in more["lines"]] == [(None, _usd("108.00")), ("amount", _usd("5.00"))]
    assert more["total"] == _usd("113.00")


def test_refund_is_refused_alone_with_its_figures_when_it_does_not_add_up(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 2)], shipping="0.00")
    wrong = bench.simulator.refund(order, {"MUG": 1}, given="90.00")
    right = bench.simulator.refund(order, {"MUG": 1})
    found = bench.read(order)
    refused = found[f"refund:{_number(wrong['id'])}"]

    assert refused.code == "refund_differs"
    assert "108.00" in refused.message
    assert "-18.00" in refused.message
    assert found[f"refund:{_number(right['id'])}"].data["total"] == _usd("108.00")


def test_refund_is_refused_when_it_is_not_what_its_transactions_gave(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00")
    refund = bench.simulator.refund(order, {"MUG": 1})
    refund["totalRefundedSet"] = bench.simulator._money("100.00")

    assert list(bench.refused(order).values()) == ["refund_differs"]


def test_fee_of_a_return_is_kept(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00")
    made = bench.simulator.give_return(order, "15.00", shipping_fee="4.00")
    bench.simulator.refund(order, {"MUG": 1}, given="89.00", of=made)
    back = bench.documents(order)["return.completed.v1"]

    assert [fee["total"] for fee in back["fees"]] == [_usd("15.00"), _usd("4.00")]
    assert (back["total"], back["tax"]) == (_usd("89.00"), _usd("8.00"))


def test_refund_is_told_once_when_it_is_no_longer_pending(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00", taxes_included=True)
    refund = bench.simulator.refund(order, {"MUG": 1}, status="PENDING")
    assert "return.completed.v1" not in bench.documents(order)
    assert any(isinstance(item, Ignored) and "pending" in item.reason for item in bench.read(order).values())

    bench.simulator.settle(order, refund, "SUCCESS")
    back = bench.documents(order)["return.completed.v1"]
    assert (back["total"], back["tax"]) == (_usd("100.00"), _usd("7.41"))
    assert bench.documents(order)["return.completed.v1"] == back


def test_refund_is_reversed_when_it_fails_after_it_was_told(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00")
    refund = bench.simulator.refund(order, {"MUG": 1})
    before = bench.documents(order)["return.completed.v1"]
    bench.simulator.settle(order, refund, "FAILURE")
    (item,) = [each for each in bench.read(order).values() if getattr(each, "type", "") == "payment.reversed.v1"]
    found, told = bench.documents(order), item.data

    assert item.follows == f"refund:{before['id']}", "the hub drops the reversal of a return that it was never told"
    assert "return.completed.v1" not in found, "told before, it stands; not told before, no money was given back"
    assert (told["fact"]["id"], told["fact_type"]) == (before["tenders"][0]["reference"], "payment.refunded")
    assert (told["amount"], told["sale_return"]["id"]) == (_usd("108.00"), before["id"])
    assert told["payment_id"] == found["sale.completed.v1"]["tenders"][0]["reference"]


def test_refund_is_refused_with_its_figures_when_a_part_of_its_money_failed(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00")
    refund = bench.simulator.refund(order, {"MUG": 1})
    (whole,) = refund["transactions"]
    parts = [("9", "SUCCESS", "100.00"), ("10", "FAILURE", "8.00")]
    refund["transactions"] = [
        {
            **whole,
            "id": f"gid://shopify/OrderTransaction/{place}",
            "status": status,
            "amountSet": bench.simulator._bag(value, order),
        }
        for place, status, value in parts
    ]
    bench.simulator._count_refund(order, refund)
    found = bench.read(order)
    refused = found[f"refund:{refund['id'].rpartition('/')[2]}"]

    assert refused.code == "refund_failed_in_part"
    assert "8 of 108 USD failed" in refused.message.replace(".00", "")
    assert found["payment:10:reversed"].data["amount"] == _usd("8.00")


def test_failed_attempt_is_no_fact_when_another_gave_the_money_back(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00")
    refund = bench.simulator.refund(order, {"MUG": 1}, status="FAILURE")
    done = {**refund["transactions"][0], "id": "gid://shopify/OrderTransaction/9", "status": "SUCCESS"}
    refund["transactions"].append(done)
    bench.simulator._count_refund(order, refund)
    found = bench.documents(order)

    assert [item["reference"] for item in found["return.completed.v1"]["tenders"]] == ["9"]
    assert "payment.reversed.v1" not in found


def test_exchange_at_a_till_is_an_exchange_when_money_is_given_back(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)])
    before = bench.documents(order)["sale.completed.v1"]
    bench.later()
    bench.simulator.exchange(order, {"MUG": 1}, [("HAT", 1)])
    found = bench.documents(order)
    exchange = found["exchange.completed.v1"]

    assert found["sale.completed.v1"] == before
    assert "return.completed.v1" not in found
    assert [(line["sku"], line["total"]) for line in exchange["returned"]] == [("MUG", _usd("108.00"))]
    assert [(line["sku"], line["total"]) for line in exchange["lines"]] == [("HAT", _usd("64.80"))]
    assert (exchange["total"], exchange["tenders"][0]["amount"]) == (_usd("-43.20"), _usd("-43.20"))
    assert exchange["tenders"][0]["payment_id"] == before["tenders"][0]["reference"]
    moved = [(item.sku, item.to_state) for item in movements("exchange.completed.v1", exchange)]
    assert moved == [("HAT", "none"), ("MUG", "available")]


def test_exchange_at_a_till_is_an_exchange_when_more_is_paid(bench: Any) -> None:
    order = bench.simulator.ring_sale([("HAT", 1)])
    bench.later()
    bench.simulator.exchange(order, {"HAT": 1}, [("MUG", 1)], fee="2.00")
    exchange = bench.documents(order)["exchange.completed.v1"]

    assert [(line["sku"], line.get("kind"), line["total"]) for line in exchange["lines"]] == [
        ("MUG", None, _usd("108.00")), ("FEE", "fee", _usd("2.00")),
    ]  # fmt: skip
    assert (exchange["total"], exchange["tenders"][0]["amount"]) == (_usd("45.20"), _usd("45.20"))
    assert bench.refused(order) == {}


def test_exchange_has_no_tender_when_it_is_even(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)])
    bench.later()
    bench.simulator.add_product("Cup", ["CUP"], "100.00", 10)
    bench.simulator.exchange(order, {"MUG": 1}, [("CUP", 1)])
    exchange = bench.documents(order)["exchange.completed.v1"]

    assert (exchange["total"], exchange["tenders"]) == (_usd("0.00"), [])


def test_exchange_of_an_older_till_is_an_exchange(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)])
    bench.later()
    bench.simulator.exchange(order, {"MUG": 1}, [("HAT", 1)])
    new = [{"lineItem": node["lineItem"]} for node in order["returns"].pop()["exchangeLineItems"]]
    order["refunds"][0]["return"] = None
    order["exchangeV2s"].append({"id": "gid://shopify/ExchangeV2/7", "refunds": [{"id": order["refunds"][0]["id"]}],
                                 "additions": {"lineItems": new}})  # fmt: skip
    exchange = bench.documents(order)["exchange.completed.v1"]

    assert (exchange["id"], exchange["total"]) == ("7", _usd("-43.20"))


def test_exchange_is_refused_alone_when_it_does_not_add_up(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)])
    bench.later()
    made = bench.simulator.exchange(order, {"MUG": 1}, [("HAT", 1)])
    (moved,) = order["refunds"][0]["transactions"]
    moved["amountSet"] = bench.simulator._money("40.00")

    assert bench.refused(order) == {f"exchange:{_number(made['id'])}": "exchange_differs"}
    assert bench.documents(order)["sale.completed.v1"]["total"] == _usd("108.00")


def test_missing_money_is_never_a_fee_when_the_new_item_is_not_known(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)])
    bench.later()
    bench.simulator.add_line(order, "HAT", 1)
    refund = bench.simulator.refund(order, {"MUG": 1}, given="43.20")

    assert bench.refused(order) == {f"refund:{_number(refund['id'])}": "refund_differs"}


def test_goods_of_an_exchange_leave_once_when_they_are_sent(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00")
    bench.simulator.fulfil(order, {"MUG": 1})
    bench.later()
    bench.simulator.exchange(order, {"MUG": 1}, [("HAT", 1)])
    bench.simulator.fulfil(order, {"HAT": 1}, "1Z")
    told = [item for item in bench.read(order).values() if isinstance(item, Document)]
    left = [item.sku for document in told for item in movements(document.type, document.data) if item.to_state == "none"]

    assert sorted(left) == ["HAT", "MUG"]
    assert [item.data["goods"][0]["sku"] for item in told if item.type == "shipment.dispatched.v1"] == ["HAT"]


def test_return_of_a_new_item_names_the_exchange_that_sold_it(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)])
    bench.later()
    made = bench.simulator.exchange(order, {"MUG": 1}, [("HAT", 1)])
    bench.later()
    bench.simulator.refund(order, {"HAT": 1})
    found = bench.documents(order)

    assert found["return.completed.v1"]["original"]["id"] == found["exchange.completed.v1"]["id"] == _number(made["id"])


def test_tip_is_given_back_as_a_tip(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)], tip="5.00")
    bench.simulator.refund(order, {"MUG": 1}, tip="5.00")
    back = bench.documents(order)["return.completed.v1"]

    assert (back["tip"], back["total"], len(back["lines"])) == (_usd("5.00"), _usd("113.00"), 1)


def test_tip_is_given_back_alone(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)], tip="5.00")
    bench.simulator.refund(order, {}, tip="5.00")
    back = bench.documents(order)["return.completed.v1"]

    assert (back["tip"], back["total"]) == (_usd("5.00"), _usd("5.00"))
    assert [(line["kind"], line["total"]) for line in back["lines"]] == [("amount", _usd("0.00"))]


def test_tip_is_given_back_in_an_exchange(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)], tip="5.00")
    bench.later()
    made = bench.simulator.exchange(order, {"MUG": 1}, [("HAT", 1)])
    tip = {"quantity": 1, "restockType": "NO_RESTOCK", "lineItem": {"id": order["lineItems"]["nodes"][1]["id"]},
           "location": None, "subtotalSet": bench.simulator._money("5.00"), "totalTaxSet": bench.simulator._money(0)}  # fmt: skip
    refund = order["refunds"][0]
    refund["refundLineItems"].append(tip)
    refund["transactions"][0]["amountSet"] = refund["totalRefundedSet"] = bench.simulator._money("48.20")
    exchange = bench.documents(order)["exchange.completed.v1"]

    assert made["id"].endswith(exchange["id"])
    assert (exchange["tip"], exchange["total"]) == (_usd("-5.00"), _usd("-48.20"))


def test_cash_is_rounded_when_it_is_given_back(bench: Any) -> None:
    order = bench.simulator.ring_sale([("PIE", 1)], rounding="0.02")
    bench.simulator.refund(order, {"PIE": 1}, rounding="0.02")
    back = bench.documents(order)["return.completed.v1"]

    assert (back["rounding"], back["total"], back["tenders"][0]["amount"]) == (_usd("0.02"), _usd("10.00"), _usd("10.00"))


def test_money_given_back_at_another_rate_is_an_exchange_difference(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00", abroad=("EUR", Decimal("0.5")))
    bench.simulator.refund(order, {"MUG": 1}, received="109.00")
    back = bench.documents(order)["return.completed.v1"]

    assert (back["total"], back["exchange_difference"]) == (_usd("108.00"), _usd("1.00"))
    assert back["presentment"] == {"amount": "54.00", "currency": "EUR"}


@pytest.mark.parametrize(("restock", "location", "is_till", "expected"), [
    ("NO_RESTOCK", None, True, []), ("RETURN", HARBOUR, True, ["HARBOUR-ST"]), ("RETURN", MILL, True, ["MILL-LANE"]),
    ("CANCEL", MILL, True, ["MILL-LANE"]), ("LEGACY_RESTOCK", HARBOUR, True, ["HARBOUR-ST"]),
    ("NO_RESTOCK", None, False, []), ("RETURN", MILL, False, ["MILL-LANE"]),
    ("CANCEL", MILL, False, []),  # it was never sent: it did not leave the stock with the sale
])  # fmt: skip
def test_returned_goods_go_where_shopify_restocks_them(
    bench: Any, restock: str, location: str | None, is_till: bool, expected: list[str]
) -> None:
    order = bench.simulator.ring_sale([("MUG", 1)]) if is_till else bench.simulator.place_order([("MUG", 1)], shipping="0.00")
    bench.simulator.refund(order, {"MUG": 1}, restock=restock, location=location)
    back = bench.documents(order)["return.completed.v1"]

    assert [item.place for item in movements("return.completed.v1", back)] == expected
    assert back["total"] == _usd("108.00")


def test_line_ids_are_unique_when_a_line_comes_back_in_parts(bench: Any) -> None:
    order = bench.simulator.ring_sale([("MUG", 2)])
    refund = bench.simulator.refund(order, {"MUG": 1})
    second = {**refund["refundLineItems"][0], "restockType": "NO_RESTOCK", "location": None}
    refund["refundLineItems"].append(second)
    refund["transactions"][0]["amountSet"] = refund["totalRefundedSet"] = bench.simulator._money("216.00")
    back = bench.documents(order)["return.completed.v1"]

    assert len({line["id"] for line in back["lines"]}) == 2
    assert [line.get("state") for line in back["lines"]] == [None, "none"]


def test_duties_are_given_back_as_duties(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], shipping="0.00", duties="12.50")
    bench.simulator.refund(order, {"MUG": 1}, duties=True)
    found = bench.documents(order)
    line = found["return.completed.v1"]["lines"][1]

    assert (line["kind"], line["total"]) == ("duty", _usd("12.50"))
    assert line["original_line_id"] == found["sale.completed.v1"]["lines"][1]["id"]


def test_gift_card_given_back_moves_no_stock(bench: Any) -> None:
    order = bench.simulator.ring_sale([("GIFT-50", 1)])
    bench.simulator.refund(order, {"GIFT-50": 1})
    back = bench.documents(order)["return.completed.v1"]

    assert back["lines"][0]["kind"] == "gift_card"
    assert list(movements("return.completed.v1", back)) == []


def test_free_goods_come_back_without_money(bench: Any) -> None:
    order = bench.simulator.place_order([("MUG", 1)], discount="100.00", shipping="0.00")
    bench.simulator.refund(order, {"MUG": 1})
    back = bench.documents(order)["return.completed.v1"]

    assert (back["total"], back["tenders"], back["lines"][0]["quantity"]) == (_usd("0.00"), [], "1")
