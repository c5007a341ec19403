"""What a completed order sells: kinds of lines, taxes, service charges, tenders, rounding."""

import copy
from typing import Any

import pytest
from hub_square.till import Charge, Rung
from hub_square.wire import TAX, money

from canonical.movements import movements
from hub.sdk import Change, Ignored, Refused

NO_TAX: tuple[Any, ...] = ()
INCLUSIVE = {"uid": "vat", "name": "VAT", "percentage": "20", "type": "INCLUSIVE", "scope": "ORDER"}
CITY = {"uid": "city", "name": "City Tax", "percentage": "1.5", "type": "ADDITIVE", "scope": "LINE_ITEM"}


def test_service_charge_is_a_line_with_its_taxes_when_it_is_taxed(shop: Any) -> None:
    steak = shop.till.add_item("STEAK", "Steak", 5000, 10)
    gratuity = Charge(name="Auto gratuity 20%", percentage="20", type="AUTO_GRATUITY", taxes=(TAX, CITY))
    order = shop.till.ring_sale([shop.till.rung(steak, taxes=(TAX,))], charges=[gratuity])

    data = shop.only(order).data

    assert shop.brief(data["lines"]) == [("STEAK", "goods", "54.50"), ("SERVICE-CHARGE", "service_charge", "11.05")]
    charge = data["lines"][1]
    assert charge["description"] == "Auto gratuity 20%"
    assert [(tax["name"], shop.amount(tax["amount"])) for tax in charge["taxes"]] == [
        ("State Sales Tax", "0.90"),
        ("City Tax", "0.15"),
    ]
    assert (shop.amount(data["total"]), shop.amount(data["tax"]), shop.amount(data["service_charge"])) == (
        "65.55",
        "5.55",
        "0.00",
    )


def test_service_charge_stays_a_field_when_it_is_not_taxed(shop: Any) -> None:
    steak = shop.till.add_item("STEAK", "Steak", 5000, 10)
    order = shop.till.ring_sale([(steak, 1)], charges=[Charge(name="Service", amount=300)])

    data = shop.only(order).data

    assert shop.brief(data["lines"]) == [("STEAK", "goods", "54.50")]
    assert (shop.amount(data["service_charge"]), shop.amount(data["total"])) == ("3.00", "57.50")


def test_service_charge_becomes_lines_when_it_is_apportioned(shop: Any) -> None:
    steak, wine = shop.till.add_item("STEAK", "Steak", 4000, 10), shop.till.add_item("WINE", "Wine", 1000, 10)
    order = shop.till.ring_sale(
        [(steak, 1), (wine, 1)], charges=[Charge(name="Large party", percentage="10", treatment="APPORTIONED_TREATMENT")]
    )

    data = shop.only(order).data

    assert shop.brief(data["lines"]) == [
        ("STEAK", "goods", "43.96"), ("SERVICE-CHARGE", "service_charge", "4.00"),
        ("WINE", "goods", "10.99"), ("SERVICE-CHARGE", "service_charge", "1.00"),
    ]  # fmt: skip
    assert data["lines"][0]["taxes"][0]["base"]["amount"] == "44.00"
    assert shop.amount(data["total"]) == "59.95"


@pytest.mark.parametrize(
    ("country", "currency", "gross_sales"),
    [("US", "USD", 1000), ("CA", "CAD", 1000), ("JP", "JPY", 1000), ("GB", "GBP", 1200), ("AU", "AUD", 1200)],
)
def test_gross_contains_inclusive_tax_when_square_deducts_it(shop: Any, country: str, currency: str, gross_sales: int) -> None:
    shop.till.location_id = shop.till.add_location("L-1", "UTC", country, currency)
    mug = shop.till.add_item("MUG", "Mug", 600, 10)
    order = shop.till.ring_sale([shop.till.rung(mug, 2, taxes=(INCLUSIVE,))])
    assert order["line_items"][0]["gross_sales_money"]["amount"] == gross_sales

    (line,) = shop.only(order).data["lines"]

    whole, tax = ("1200", "200") if currency == "JPY" else ("12.00", "2.00")
    assert (shop.amount(line["gross"]), shop.amount(line["total"])) == (whole, whole)
    assert [(shop.amount(each["amount"]), each["included"]) for each in line["taxes"]] == [(tax, True)]


def test_taxes_keep_their_names_when_some_are_included_and_some_on_top(shop: Any) -> None:
    shop.till.location_id = shop.till.add_location("L-1", "UTC", "CA", "CAD")
    mug = shop.till.add_item("MUG", "Mug", 1200, 10)
    order = shop.till.ring_sale([shop.till.rung(mug, taxes=(INCLUSIVE, CITY, TAX), discount=0)])

    data = shop.only(order).data

    taxes = [
        (tax["name"], tax["rate"], shop.amount(tax["amount"]), tax.get("included", False)) for tax in data["lines"][0]["taxes"]
    ]
    assert taxes == [("VAT", "20", "2.00", True), ("City Tax", "1.5", "0.15", False), ("State Sales Tax", "9", "0.90", False)]
    assert (shop.amount(data["total"]), shop.amount(data["tax"])) == ("13.05", "3.05")


def test_line_is_an_amount_when_it_has_no_article(shop: Any) -> None:
    mug = shop.till.add_item("MUG", "Mug", 1000, 10)
    repair = Rung(name="Repair", price=500, item_type="CUSTOM_AMOUNT", taxes=NO_TAX)
    document = shop.only(shop.till.ring_sale([(mug, 1), repair]))

    assert shop.brief(document.data["lines"]) == [("MUG", "goods", "10.90"), ("CUSTOM-AMOUNT", "amount", "5.00")]
    assert [(move.sku, str(move.quantity)) for move in movements(document.type, document.data)] == [("MUG", "1")]


@pytest.mark.parametrize(
    ("product_type", "kind", "stocked"),
    [("APPOINTMENTS_SERVICE", "service", None), ("DONATION", "donation", None), ("GIFT_CARD", "gift_card", None),
     ("EVENT", "service", None), ("DIGITAL", "goods", False), ("FOOD_AND_BEV", "goods", None), ("REGULAR", "goods", None)],
)  # fmt: skip
def test_kind_of_a_line_follows_the_type_of_its_product(shop: Any, product_type: str, kind: str, stocked: bool | None) -> None:
    item = shop.till.add_item("X-1", "Thing", 1000, 0, product_type)

    (line,) = shop.only(shop.till.ring_sale([(item, 1)])).data["lines"]

    assert (line["sku"], line.get("kind", "goods"), line.get("stocked")) == ("X-1", kind, stocked)


def test_gift_card_is_no_revenue_and_no_stock_when_sold_or_reloaded(shop: Any) -> None:
    card = Rung(name="Gift Card", price=5000, item_type="GIFT_CARD", taxes=NO_TAX)
    document = shop.only(shop.till.ring_sale([card], "CASH"))

    assert shop.brief(document.data["lines"]) == [("GIFT-CARD", "gift_card", "50.00")]
    assert list(movements(document.type, document.data)) == []


def test_quantity_has_its_unit_when_it_is_measured(shop: Any) -> None:
    cheese = shop.till.add_item("CHEESE", "Cheese", 1999, 0)
    weights = [{"weight_unit": "METRIC_KILOGRAM", "type": "TYPE_WEIGHT"}, {"weight_unit": "IMPERIAL_POUND"},
               {"generic_unit": "UNIT"}]  # fmt: skip
    order = shop.till.ring_sale([shop.till.rung(cheese, "0.335", unit=unit) for unit in weights])

    lines = shop.only(order).data["lines"]

    assert [line.get("unit") for line in lines] == ["kilogram", "other", None]
    assert (shop.amount(lines[0]["gross"]), lines[0]["quantity"]) == ("6.70", "0.335")


def test_modifiers_are_in_the_price_when_they_are_taken_several_times(shop: Any) -> None:
    steak = shop.till.add_item("STEAK", "Steak", 2200, 10)
    order = shop.till.ring_sale([shop.till.rung(steak, 2, modifiers=[("Well", 50, 1), ("Sauce", 75, 2), ("Plain", 0, 1)])])

    (line,) = shop.only(order).data["lines"]

    assert (shop.amount(line["unit_price"]), shop.amount(line["gross"])) == ("24.00", "48.00")


def test_sale_of_nothing_to_pay_has_its_goods(shop: Any) -> None:
    mug = shop.till.add_item("MUG", "Mug", 1000, 10)
    order = shop.till.ring_sale([(mug, 1)], tender=[], discount=1000, announce=False)
    document = shop.only(order)

    assert (shop.amount(document.data["total"]), document.data["tenders"]) == ("0.00", [])
    assert len(list(movements(document.type, document.data))) == 1


@pytest.mark.parametrize(("step", "total"), [(-2, "10.88"), (2, "10.92")])
def test_cash_rounding_is_in_the_total(shop: Any, step: int, total: str) -> None:
    mug = shop.till.add_item("MUG", "Mug", 1000, 10)

    data = shop.only(shop.till.ring_sale([(mug, 1)], "CASH", rounding=step)).data

    assert (shop.amount(data["total"]), data["rounding"]["amount"]) == (total, f"{step / 100:.2f}")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("CASH", {"type": "cash"}), ("CARD", {"type": "card", "provider": "square", "brand": "visa"}),
        ("THIRD_PARTY_CARD", {"type": "card"}), ("SQUARE_GIFT_CARD", {"type": "gift_card", "provider": "square"}),
        ("BUY_NOW_PAY_LATER", {"type": "pay_later", "provider": "square", "brand": "afterpay"}),
        ("BANK_ACCOUNT", {"type": "bank_transfer", "provider": "square"}),
        ("WALLET", {"type": "wallet", "provider": "square", "brand": "cash_app"}),
        ("SQUARE_ACCOUNT", {"type": "house_account", "provider": "square"}), ("OTHER", {"type": "check", "provider": "Cheque"}),
    ],
)  # fmt: skip
def test_tender_names_type_provider_and_brand(shop: Any, kind: str, expected: dict[str, str]) -> None:
    mug = shop.till.add_item("MUG", "Mug", 1000, 10)
    order = shop.till.ring_sale([(mug, 1)], kind)

    (tender,) = shop.only(order).data["tenders"]

    assert {key: tender.get(key) for key in ("type", "provider", "brand")} == {
        "type": "", "provider": None, "brand": None, **expected,
    }  # fmt: skip
    assert tender["reference"] == order["tenders"][0]["payment_id"]


def test_tip_is_told_of_its_tender_when_several_pay(shop: Any) -> None:
    mug = shop.till.add_item("MUG", "Mug", 1000, 10)

    data = shop.only(shop.till.ring_sale([(mug, 1)], [("CARD", 790), ("SQUARE_GIFT_CARD", 500)], tip=200)).data

    assert [(tender["type"], shop.amount(tender.get("tip"))) for tender in data["tenders"]] == [
        ("card", "2.00"),
        ("gift_card", ""),
    ]
    assert shop.amount(data["tip"]) == "2.00"


def test_tender_counts_only_when_it_brought_money(shop: Any) -> None:
    mug = shop.till.add_item("MUG", "Mug", 1000, 10)
    order = copy.deepcopy(shop.till.ring_sale([(mug, 1)]))
    failed = copy.deepcopy(order["tenders"][0])
    failed["card_details"]["status"] = "FAILED"
    order["tenders"] += [failed, {"id": "n", "type": "NO_SALE", "amount_money": money(0)}]

    assert len(shop.only(order).data["tenders"]) == 1


def test_opening_the_drawer_is_no_sale(shop: Any) -> None:
    order = shop.till.ring_sale([], "NO_SALE", announce=False)

    (item,) = shop.order(order)

    assert isinstance(item, Ignored)


@pytest.mark.parametrize(
    ("field", "figures"),
    [("total_money", ["10.90 USD", "11.40 USD"]), ("total_tax_money", ["0.90 USD", "1.40 USD"]),
     ("total_discount_money", ["0.00 USD", "0.50 USD"])],
)  # fmt: skip
def test_sale_is_refused_with_its_figures_when_it_does_not_add_up(shop: Any, field: str, figures: list[str]) -> None:
    mug = shop.till.add_item("MUG", "Mug", 1000, 10)
    order = copy.deepcopy(shop.till.ring_sale([(mug, 1)]))
    order[field]["amount"] += 50

    (item,) = shop.order(order)

    assert isinstance(item, Refused)
    assert (item.source_id, item.code) == (f"order:{order['id']}", "does_not_add_up")
    assert all(figure in item.message for figure in figures)


def test_sale_is_refused_with_its_figures_when_less_was_paid(shop: Any) -> None:
    mug = shop.till.add_item("MUG", "Mug", 1000, 10)

    (item,) = shop.order(shop.till.ring_sale([(mug, 1)], [("CARD", 1000)]))

    assert isinstance(item, Refused)
    assert "10.00 USD" in item.message
    assert "10.90 USD" in item.message


def test_sale_is_told_the_same_when_its_order_changes_later(shop: Any) -> None:
    """Square adds fees, and what is returned later, to the order itself; poll and webhook read the same."""
    mug = shop.till.add_item("MUG", "Mug", 1000, 10)
    order = shop.till.ring_sale([(mug, 2)], tip=100)
    first = shop.told()
    shop.till.touch(order)
    shop.till.ring_return(order, {order["line_items"][0]["uid"]: 1})
    refund = {"id": "R", "tender_id": order["tenders"][0]["id"], "amount_money": money(1090), "status": "APPROVED",
              "created_at": "2030-01-01T00:00:00Z", "location_id": order["location_id"], "reason": ""}  # fmt: skip
    order |= {"refunds": [refund], "updated_at": "2030-01-01T00:00:00Z"}

    again = [*shop.of(Change("order", order["id"])), shop.only(order)]

    assert len(first) == 2
    assert all(item == first[0] for item in (*first, *again))
    assert first[0].data["occurred_at"] == order["closed_at"]
