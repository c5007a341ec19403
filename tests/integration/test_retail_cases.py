"""Retail cases end to end: an act at a till becomes the right balance of each account and the right stock, or waits with figures."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hub_square.simulator import SquareSimulator
from hub_square.till import Charge, Rung, returned
from retail_cases import WEBHOOKS, Case, Webhook, shopify_case, square_case

STATE = {"uid": "state-sales-tax", "name": "State Sales Tax", "percentage": "9", "type": "ADDITIVE", "scope": "ORDER"}
INSIDE = {"uid": "inside", "name": "Included tax", "percentage": "9", "type": "INCLUSIVE", "scope": "LINE_ITEM"}
MUG_SOLD = {"card": "10.90", "revenue": "-10.00", "tax": "-0.90"}


def _same(case: Case, books: dict[str, str], stock: dict[str, int]) -> None:
    """All is delivered, nothing waits, and the targets hold exactly this."""
    assert case.quarantined() == []
    assert case.open() == []
    assert case.books() == books
    assert case.stock() == {sku: Decimal(value) for sku, value in stock.items()}


def _twice_reversed(webhooks: list[Webhook]) -> list[Webhook]:
    return (webhooks + webhooks)[::-1]


def _uids(order: dict[str, Any], name: str = "line_items") -> list[str]:
    return [line["uid"] for line in order[name]]


# -- Square ---------------------------------------------------------------------------------------------------------


def test_service_charge_has_its_own_tax_when_square_taxes_it() -> None:
    case, till, items = square_case()
    till.ring_sale([till.rung(items["MUG"], 5)], charges=[Charge(name="Service", amount=1000, taxes=(STATE,))])
    case.run()
    _same(case, {"card": "65.40", "revenue": "-50.00", "service_charge": "-10.00", "tax": "-5.40"}, {"MUG": -5})


def test_service_charges_come_back_when_one_has_inclusive_tax_and_one_added() -> None:
    case, till, items = square_case()
    charges = [Charge(name="A", amount=1000, taxes=(INSIDE,)), Charge(name="B", percentage="10", taxes=(STATE,))]
    sale = till.ring_sale([till.rung(items["MUG"])], charges=charges)
    till.ring_return(sale, dict.fromkeys(_uids(sale, "service_charges"), 1))
    case.run()
    _same(case, MUG_SOLD, {"MUG": -1})


def test_inclusive_tax_is_not_added_when_square_deducts_it_from_gross() -> None:
    case, till, items = square_case()
    till.ring_sale([till.rung(items["MUG"], taxes=(INSIDE,))])
    case.run()
    _same(case, {"card": "10.00", "revenue": "-9.17", "tax": "-0.83"}, {"MUG": -1})


def test_books_are_even_when_discounted_goods_with_both_kinds_of_tax_come_back_in_two_steps() -> None:
    case, till, items = square_case()
    lines = [till.rung(items["MUG"], 3, taxes=(INSIDE,), discount=100), till.rung(items["HAT"], 2, taxes=(INSIDE, STATE))]
    charge = Charge(name="Service", percentage="10", treatment="APPORTIONED_TREATMENT")
    sale = till.ring_sale(lines, charges=[charge])
    mug, hat = _uids(sale)
    till.ring_return(sale, {mug: 1})
    till.ring_return(sale, {mug: 2, hat: 2})
    case.run(_twice_reversed)
    _same(case, {}, {})


def test_refund_of_an_amount_moves_money_alone() -> None:
    case, till, items = square_case()
    sale = till.ring_sale([till.rung(items["MUG"], 2)])
    till.ring_return(sale, {}, amount=500)
    case.run()
    _same(case, {"card": "16.80", "revenue": "-15.00", "tax": "-1.80"}, {"MUG": -2})


def test_two_receipts_are_given_back_each_to_its_tender() -> None:
    case, till, items = square_case()
    coat, hat = till.ring_sale([till.rung(items["COAT"])]), till.ring_sale([till.rung(items["HAT"])], "CASH")
    case.run()
    till.ring_returns([(sale, returned(sale, {_uids(sale)[0]: 1})) for sale in (coat, hat)])
    case.run()
    _same(case, {}, {})
    assert {sale["original"]["id"] for sale in case.documents("return.completed.v1")} == {coat["id"], hat["id"]}


def test_tip_is_given_back_with_its_goods() -> None:
    case, till, items = square_case()
    sale = till.ring_sale([till.rung(items["MUG"])], tip=200)
    case.run()
    assert case.books() == MUG_SOLD | {"card": "12.90", "tip": "-2.00"}
    till.ring_return(sale, {_uids(sale)[0]: 1}, tip=200)
    case.run()
    _same(case, {}, {})


def test_exchange_takes_a_tip() -> None:
    case, till, items = square_case()
    sale = till.ring_sale([till.rung(items["MUG"])])
    till.ring_exchange(sale, {_uids(sale)[0]: 1}, [till.rung(items["HAT"])], tip=200)
    case.run()
    _same(case, {"card": "23.80", "revenue": "-20.00", "tax": "-1.80", "tip": "-2.00"}, {"HAT": -1})


def test_exchange_is_exact_when_taxes_are_inside_and_both_sides_are_discounted() -> None:
    case, till, items = square_case()
    sale = till.ring_sale([till.rung(items["MUG"], 3, taxes=(INSIDE,), discount=100)])
    new = till.rung(items["HAT"], taxes=(INSIDE,), discount=50)
    till.ring_exchange(sale, {_uids(sale)[0]: 2}, [new], tip=33)
    case.run()
    _same(case, {"card": "29.50", "revenue": "-26.76", "tax": "-2.41", "tip": "-0.33"}, {"MUG": -1, "HAT": -1})


def test_even_exchange_leaves_the_books_as_they_were() -> None:
    case, till, items = square_case()
    sale = till.ring_sale([till.rung(items["MUG"])])
    till.ring_exchange(sale, {_uids(sale)[0]: 1}, [till.rung(items["MUG"])])
    case.run()
    _same(case, MUG_SOLD, {"MUG": -1})


@pytest.mark.parametrize("name", ["V" * 400, "half \ud83d a pair"])
def test_sale_is_booked_when_its_text_cannot_be_kept(name: str) -> None:
    case, till, items = square_case()
    till.ring_sale([till.rung(items["MUG"], variation_name=name)])
    case.run()
    _same(case, MUG_SOLD, {"MUG": -1})


def test_business_date_is_that_of_the_location_when_a_month_ends() -> None:
    case, till, items = square_case()
    case.now = case.now.replace(day=1, month=12, hour=6, minute=30)
    till.location_id = till.add_location("LALALALA1", "America/Los_Angeles")
    till.ring_sale([till.rung(items["MUG"])])
    case.run()
    _same(case, MUG_SOLD, {"MUG": -1})
    assert [sale["business_date"] for sale in case.documents("sale.completed.v1")] == ["2026-11-30"]


def test_custom_stock_state_waits_alone_when_its_sibling_is_known() -> None:
    case, till, items = square_case()
    for before, after in (("NONE", "IN_STOCK"), ("ORDERED_FROM_VENDOR", "RECEIVED_FROM_VENDOR"), ("IN_STOCK", "CUSTOM")):
        till.adjust(items["MUG"], 3, before, after)
    case.run()
    assert case.stock() == {"MUG": 3}
    assert case.open() == []
    assert all("unknown_state: inventory state CUSTOM" in cause for cause in case.quarantined())


def test_repair_moves_no_stock_when_it_is_sold_beside_goods() -> None:
    case, till, items = square_case()
    till.ring_sale([till.rung(items["MUG"]), Rung(name="Repair", price=500, item_type="CUSTOM_AMOUNT", taxes=())])
    case.run()
    _same(case, {"card": "15.90", "revenue": "-15.00", "tax": "-0.90"}, {"MUG": -1})


def test_gift_card_is_a_liability_when_it_pays_for_its_own_sale_and_is_given_back() -> None:
    case, till, items = square_case()
    card = Rung(name="Gift card", price=2500, item_type="GIFT_CARD", taxes=())
    sale = till.ring_sale([card, till.rung(items["MUG"])], [("SQUARE_GIFT_CARD", 2500), ("CASH", 1090)])
    case.run()
    paid = {"cash": "10.90", "revenue": "-10.00", "tax": "-0.90"}
    _same(case, paid | {"gift_card": "25.00", "gift_card_liability": "-25.00"}, {"MUG": -1})
    till.ring_return(sale, {_uids(sale)[0]: 1})
    case.run()
    _same(case, paid, {"MUG": -1})


def test_goods_move_when_there_is_nothing_to_pay() -> None:
    case, till, items = square_case()
    sale = till.ring_sale([till.rung(items["MUG"], discount=1000)])
    case.run()
    _same(case, {}, {"MUG": -1})
    till.ring_return(sale, {_uids(sale)[0]: 1})
    case.run()
    _same(case, {}, {})


def test_only_the_refund_that_succeeds_is_booked_when_two_were_pending() -> None:
    case, till, items = square_case()
    sale = till.ring_sale([till.rung(items["MUG"], 3)])
    first, second = (till.ring_return(sale, {_uids(sale)[0]: 1}, status="PENDING") for _ in range(2))
    case.run()
    _same(case, {"card": "32.70", "revenue": "-30.00", "tax": "-2.70"}, {"MUG": -3})
    till.settle_refund(second, "COMPLETED")
    case.run(_twice_reversed)
    till.settle_refund(first, "FAILED")
    case.run()
    _same(case, {"card": "21.80", "revenue": "-20.00", "tax": "-1.80"}, {"MUG": -2})


@pytest.mark.parametrize(("currency", "country", "left"), [("JPY", "JP", ["1995", "-1830", "-165"]),
                                                           ("KWD", "KW", ["1.995", "-1.830", "-0.165"])])  # fmt: skip
def test_amounts_are_exact_when_a_currency_has_no_or_three_decimals(currency: str, country: str, left: list[str]) -> None:
    case, till, items = square_case(currency, country)
    sale = till.ring_sale([till.rung(items["MUG"], 3, taxes=(INSIDE,), discount=7)])
    till.ring_return(sale, {_uids(sale)[0]: 1})
    case.run()
    _same(case, dict(zip(("card", "revenue", "tax"), left, strict=True)), {"MUG": -2})


def test_stock_is_taken_from_two_batches_and_the_empty_one_is_not_taken_twice() -> None:
    case, till, items = square_case()
    part = next(row["part"] for row in case.goods.items.values() if row["quantity"])
    case.goods.add_item(part, 2)
    till.ring_sale([till.rung(items["MUG"], 11)])
    case.run(_twice_reversed)
    _same(case, {"card": "119.90", "revenue": "-110.00", "tax": "-9.90"}, {"MUG": -9})


def test_stock_owes_what_is_sold_beyond_the_last_one() -> None:
    case, till, items = square_case()
    for quantity in (10, 1):
        till.ring_sale([till.rung(items["MUG"], quantity)])
        case.run()
    assert (case.open(), case.quarantined()) == ([], [])
    assert case.books() == {"card": "119.90", "revenue": "-110.00", "tax": "-9.90"}
    assert case.stock() == {"MUG": -10}, "InvenTree keeps no stock below zero"


# -- Shopify --------------------------------------------------------------------------------------------------------


def test_gift_card_is_a_liability_and_no_stock_when_it_is_sold_and_redeemed() -> None:
    case, shop = shopify_case()
    shop.place_order([("GIFT-50", 1)], shipping="0.00")
    order = shop.place_order([("MUG", 1)], shipping="0.00", gateway="gift_card")
    shop.fulfil(order, {"MUG": 1})
    case.run()
    books = {"card": "50.00", "gift_card": "10.80", "revenue": "-10.00", "tax": "-0.80", "gift_card_liability": "-50.00"}
    _same(case, books, {"MUG": -1})


def test_gift_card_is_a_liability_when_it_pays_and_is_given_back_at_a_till() -> None:
    case, shop = shopify_case()
    sale = shop.ring_sale([("GIFT-50", 1), ("MUG", 1)], gateway="gift_card")
    case.run()
    books = {"gift_card": "60.80", "revenue": "-10.00", "tax": "-0.80", "gift_card_liability": "-50.00"}
    _same(case, books, {"MUG": -1})
    shop.refund(sale, {"GIFT-50": 1})
    case.run()
    _same(case, {"gift_card": "10.80", "revenue": "-10.00", "tax": "-0.80"}, {"MUG": -1})


def test_delivery_has_its_tax_and_gives_it_back() -> None:
    case, shop = shopify_case()
    order = shop.place_order([("MUG", 1)], shipping="10.00")
    shop.fulfil(order, {"MUG": 1})
    case.run()
    _same(case, {"card": "21.60", "revenue": "-10.00", "service_charge": "-10.00", "tax": "-1.60"}, {"MUG": -1})
    shop.refund(order, {}, shipping="4.00")
    shop.refund(order, {}, shipping="6.00")
    case.run(_twice_reversed)
    _same(case, {"card": "10.80", "revenue": "-10.00", "tax": "-0.80"}, {"MUG": -1})


def test_nothing_is_booked_of_a_refund_until_it_succeeds() -> None:
    case, shop = shopify_case()
    sale = shop.ring_sale([("COAT", 1)])
    refund = shop.refund(sale, {"COAT": 1}, status="PENDING")
    case.run()
    _same(case, {"cash": "97.20", "revenue": "-90.00", "tax": "-7.20"}, {"COAT": -1})
    shop.settle(sale, refund, "SUCCESS")
    case.run()
    _same(case, {}, {})


def test_nothing_is_booked_of_a_refund_that_fails_while_another_succeeds() -> None:
    case, shop = shopify_case()
    sale = shop.ring_sale([("MUG", 3)])
    first, second = (shop.refund(sale, {"MUG": 1}, status="PENDING") for _ in range(2))
    case.run()
    shop.settle(sale, second, "SUCCESS")
    case.run(_twice_reversed)
    shop.settle(sale, first, "FAILURE")
    case.run(_twice_reversed)
    _same(case, {"cash": "21.60", "revenue": "-20.00", "tax": "-1.60"}, {"MUG": -2})
    assert case.documents("payment.reversed.v1") == [], "the return was never told"


def test_refund_that_fails_after_it_was_told_is_reversed_once() -> None:
    case, shop = shopify_case()
    sale = shop.ring_sale([("MUG", 1)])
    refund = shop.refund(sale, {"MUG": 1})
    case.run()
    shop.settle(sale, refund, "FAILURE")
    case.run(_twice_reversed)
    (told,) = case.documents("payment.reversed.v1")
    assert told["amount"] == {"amount": "10.80", "currency": "USD"}
    assert len(case.documents("return.completed.v1")) == 1
    assert case.quarantined() == []


def test_refunds_in_steps_keep_a_fee_and_what_did_not_come_back() -> None:
    case, shop = shopify_case()
    sale = shop.ring_sale([("MUG", 4)])
    shop.refund(sale, {"MUG": 1})
    shop.refund(sale, {"MUG": 1}, kept="1.00")
    shop.refund(sale, {"MUG": 2}, restock="NO_RESTOCK")
    case.run(_twice_reversed)
    _same(case, {"cash": "1.00", "service_charge": "-1.00"}, {"MUG": -2})


def test_exchange_at_a_till_moves_both_goods_and_the_difference() -> None:
    case, shop = shopify_case()
    sale = shop.ring_sale([("COAT", 1)])
    shop.exchange(sale, {"COAT": 1}, [("HAT", 1)])
    case.run()
    _same(case, {"cash": "21.60", "revenue": "-20.00", "tax": "-1.60"}, {"HAT": -1})


def test_new_item_of_an_exchange_is_given_back_when_the_sale_had_a_tip_and_a_discount() -> None:
    case, shop = shopify_case()
    sale = shop.ring_sale([("COAT", 1)], tip="2.00", discount="1.11")
    shop.exchange(sale, {"COAT": 1}, [("HAT", 2)])
    shop.refund(sale, {"HAT": 1})
    case.run(_twice_reversed)
    _same(case, {"cash": "23.60", "revenue": "-20.00", "tax": "-1.60", "tip": "-2.00"}, {"HAT": -1})


@pytest.mark.parametrize(("rounding", "cash"), [("0.02", "10.82"), ("-0.02", "10.78")])
def test_cash_rounding_has_its_account(rounding: str, cash: str) -> None:
    case, shop = shopify_case()
    shop.ring_sale([("MUG", 1)], rounding=rounding)
    case.run()
    kept = f"{-Decimal(rounding):f}"
    _same(case, {"cash": cash, "revenue": "-10.00", "tax": "-0.80", "rounding": kept}, {"MUG": -1})


def test_stock_stays_when_goods_did_not_come_back() -> None:
    case, shop = shopify_case()
    sale = shop.ring_sale([("MUG", 1)])
    shop.refund(sale, {"MUG": 1}, restock="NO_RESTOCK")
    case.run()
    _same(case, {}, {"MUG": -1})


def test_free_order_moves_its_goods_both_ways() -> None:
    case, shop = shopify_case()
    order = shop.place_order([("MUG", 2)], shipping="0.00", discount="20.00")
    shop.fulfil(order, {"MUG": 2})
    shop.refund(order, {"MUG": 1})
    case.run()
    _same(case, {}, {"MUG": -1})


def test_part_capture_waits_with_its_figures_when_goods_have_left() -> None:
    case, shop = shopify_case()
    order = shop.place_order([("MUG", 1), ("HAT", 1)], shipping="0.00", paid=False)
    shop.authorize(order)
    shop.pay(order, "10.80", kind="CAPTURE")
    shop.fulfil(order, {"MUG": 1})
    case.run()
    assert case.quarantined()
    assert all("10.80 of 32.40 USD" in cause for cause in case.quarantined())
    assert (case.books(), case.stock()) == ({}, {"MUG": -1})


def test_duties_and_fees_have_their_accounts() -> None:
    case, shop = shopify_case()
    shop.place_order([("MUG", 1)], shipping="0.00", duties="12.50", fee="0.30")
    case.run()
    books = {"card": "23.60", "revenue": "-10.00", "tax": "-0.80", "service_charge": "-0.30", "duty": "-12.50"}
    _same(case, books, {})


def test_fulfilment_and_refund_are_told_when_the_order_was_edited_after_its_sale() -> None:
    case, shop = shopify_case()
    order = shop.place_order([("MUG", 3)], shipping="0.00")
    case.run()
    shop.edit(order, "MUG", 2)
    shop.fulfil(order, {"MUG": 2})
    case.run()
    assert case.stock() == {"MUG": -2}
    shop.refund(order, {"MUG": 1})
    case.run()
    _same(case, {"card": "21.60", "revenue": "-20.00", "tax": "-1.60"}, {"MUG": -1})


@pytest.mark.parametrize(("received", "difference"), [("10.74", "0.06"), ("10.84", "-0.04")])
def test_capture_at_another_rate_is_an_exchange_difference(received: str, difference: str) -> None:
    case, shop = shopify_case()
    shop.place_order([("MUG", 1)], shipping="0.00", abroad=("EUR", Decimal("0.92")), received=received)
    case.run()
    _same(case, {"card": received, "revenue": "-10.00", "tax": "-0.80", "exchange_difference": difference}, {})


@pytest.mark.parametrize("currency", ["JPY", "KWD"])
def test_sale_and_refund_are_even_when_the_shops_currency_has_other_decimals(currency: str) -> None:
    case, shop = shopify_case(currency)
    sale = shop.ring_sale([("MUG", 3)], discount="1")
    case.run()
    assert case.quarantined() == []
    assert case.books()["cash"] == {"JPY": "31", "KWD": "31.320"}[currency]
    shop.refund(sale, {"MUG": 3})
    case.run()
    _same(case, {}, {})


# -- both -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connector", ["square", "shopify"])
@pytest.mark.parametrize("body", [b"null", b"[1]", b"7", b"{}", b'{"data": null}', b'"x"'])
def test_webhook_waits_with_a_clear_cause_when_it_is_no_event(connector: str, body: bytes) -> None:
    case = square_case()[0] if connector == "square" else shopify_case()[0]
    signed = _signed(case, body)
    case.run(lambda _: [signed])
    assert [cause for cause in case.quarantined() if cause.startswith("connector_bug")] == []
    assert (case.books(), case.stock()) == ({}, {})


def _signed(case: Case, body: bytes) -> Webhook:
    if isinstance(case.pos, SquareSimulator):
        return case.pos.signed(body, WEBHOOKS)
    _, sent, headers = case.pos.signed("ORDERS_CREATE", json.loads(body))
    return sent, headers
