"""Facts of retail beside the plain sale: lines that are no goods, returned goods' fate, fees, foreign money, facts proved false."""

import copy
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from canonical.examples import EXAMPLES
from canonical.histories import check_closure, check_return_against_sale
from canonical.money import CURRENCIES, SCALES
from canonical.movements import WITHOUT_MOVEMENT, movements
from canonical.registry import TYPES, violations

Json = dict[str, Any]


def _usd(value: str) -> dict[str, str]:
    return {"amount": value, "currency": "USD"}


def _line(line_id: str, kind: str, price: str, sku: str = "X", **more: Any) -> Json:
    return {"id": line_id, "sku": sku, "kind": kind, "quantity": "1", "unit_price": _usd(price), "gross": _usd(price),
            "total": _usd(price), **more}  # fmt: skip


def _taxed(line: Json, *taxes: Json) -> Json:
    added = sum((Decimal(tax["amount"]["amount"]) for tax in taxes if not tax.get("included")), Decimal(0))
    return {**line, "taxes": list(taxes), "total": _usd(f"{Decimal(line['total']['amount']) + added:.2f}")}


def _tax(rate: str, value: str, **more: Any) -> Json:
    return {"name": f"Tax {rate}", "rate": rate, "amount": _usd(value), **more}


def _transaction(lines: list[Json], total: str, tax: str = "0.00", **more: Any) -> Json:
    head = {"id": "S-1", "number": "1", "location": {"code": "STORE"}, "occurred_at": "2026-11-30T12:00:00-05:00",
            "business_date": "2026-11-30"}  # fmt: skip
    tenders = [{"type": "card", "amount": _usd(total)}]
    return {**head, "lines": lines, "tax": _usd(tax), "total": _usd(total), "tenders": tenders, **more}


def _codes(name: str, document: Json) -> set[tuple[str, str]]:
    return {(found.code, found.field) for found in violations(name, document)}


ALL_KINDS = [
    _line("1", "goods", "10.00", "MUG"), _line("2", "service", "20.00"), _line("3", "gift_card", "50.00", gift_card_id="GC-1"),
    _line("4", "deposit", "0.25"), _line("5", "donation", "1.00"), _line("6", "amount", "5.00", "CUSTOM-AMOUNT"),
    _taxed(_line("7", "delivery", "10.00", "DELIVERY"), _tax("8", "0.80"), _tax("2", "0.20", jurisdiction="US-NY-NYC")),
    _taxed(_line("8", "service_charge", "10.00", "SERVICE-CHARGE"), _tax("10", "1.00")),
    _line("9", "duty", "12.50", "DUTY"), _line("10", "fee", "0.10", "FEE"),
]  # fmt: skip


def test_sale_moves_only_goods_when_it_has_lines_of_every_kind() -> None:
    sale = _transaction(ALL_KINDS, "120.85", "2.00")

    assert violations("sale.completed.v1", sale) == []
    assert [(item.sku, item.quantity) for item in movements("sale.completed.v1", sale)] == [("MUG", Decimal(1))]
    not_stocked = _transaction([_line("1", "goods", "10.00", "MUG", stocked=False)], "10.00")
    assert list(movements("sale.completed.v1", not_stocked)) == []


def test_movements_knows_every_type_and_refuses_another() -> None:
    for name, document in EXAMPLES.items():
        moved = list(movements(name, document))
        assert not (moved and name.rpartition(".v")[0] in WITHOUT_MOVEMENT)
    assert {name.rpartition(".v")[0] for name in TYPES} >= WITHOUT_MOVEMENT
    with pytest.raises(ValueError, match="not known"):
        movements("sale.forgotten.v1", {})


@pytest.mark.parametrize(
    ("line", "moved"),
    [
        ({}, [("none", "available", "STORE")]),
        ({"state": "damaged"}, [("none", "damaged", "STORE")]),
        ({"state": "none"}, []),
        ({"restocked_at": {"code": "WH-1"}}, [("none", "available", "WH-1")]),
        ({"kind": "amount"}, []),
        ({"kind": "gift_card"}, []),
    ],
)
def test_return_moves_goods_into_the_state_and_place_that_its_line_names(line: Json, moved: list[tuple[str, str, str]]) -> None:
    back = _transaction([_line("r1", "goods", "10.00", "MUG") | line], "10.00")

    assert violations("return.completed.v1", back) == []
    found = [(item.from_state, item.to_state, item.place) for item in movements("return.completed.v1", back)]
    assert found == moved


def test_void_moves_nothing_when_its_sale_completed_an_order() -> None:
    void = EXAMPLES["sale.voided.v1"]

    assert len(list(movements("sale.voided.v1", void))) == 2
    assert list(movements("sale.voided.v1", void | {"order": {"id": "O-1"}})) == []


def test_return_adds_up_when_tip_delivery_and_fee_are_part_of_it() -> None:
    delivery = _taxed(_line("r2", "delivery", "10.00", "DELIVERY", original_line_id="7"), _tax("8", "0.80"))
    fee = _taxed(_line("f1", "fee", "5.00", "FEE"), _tax("10", "0.50"))
    back = _transaction(
        [_line("r1", "goods", "10.00", "MUG"), delivery], "17.30", "0.30", tip=_usd("2.00"), fees=[fee],
        taxes=[{"category": "S", "rate": "8", "taxable": _usd("10.00"), "amount": _usd("0.80")},
               {"category": "S", "rate": "10", "taxable": _usd("-5.00"), "amount": _usd("-0.50")}],
    )  # fmt: skip

    assert violations("return.completed.v1", back) == []
    assert ("total_mismatch", "/total") in _codes("return.completed.v1", back | {"fees": []})
    kept_more = _transaction([_line("r1", "goods", "10.00")], "10.00") | {"tax": _usd("-0.50")}
    assert ("negative_amount", "/tax") in _codes("return.completed.v1", kept_more)


def test_exchange_adds_up_when_it_has_a_tip_and_a_service_charge() -> None:
    exchange = _transaction(
        [_line("1", "goods", "20.00", "COAT"), _line("2", "service_charge", "1.00", "SERVICE-CHARGE")], "13.00",
        returned=[_line("r1", "goods", "10.00", "HAT")], tip=_usd("2.00"),
    )  # fmt: skip

    assert violations("exchange.completed.v1", exchange) == []


def test_return_is_refused_when_more_money_than_the_sale_came_to_is_given_back() -> None:
    sale = _transaction([_line("1", "goods", "10.00", "MUG"), _line("2", "delivery", "5.00", "DELIVERY")], "15.00")
    amount = _transaction([_line("r1", "amount", "9.00", "CUSTOM-AMOUNT")], "9.00")
    part = _transaction([_line("r1", "delivery", "3.00", "DELIVERY", original_line_id="2")], "3.00")

    assert list(check_return_against_sale(amount, sale)) == []
    assert [found.code for found in check_return_against_sale(amount, sale, [amount])] == ["return_exceeds_paid"]
    assert list(check_return_against_sale(part, sale)) == []
    assert [found.code for found in check_return_against_sale(part, sale, [part])] == ["return_exceeds_sale"]
    elsewhere = _transaction([_line("r1", "delivery", "3.00", "DELIVERY", original_line_id="9")], "3.00")
    assert [found.code for found in check_return_against_sale(elsewhere, sale)] == ["return_line_unknown"]


def test_returned_line_is_sized_as_its_sale_was_when_the_kinds_differ() -> None:
    sale = _transaction([_line("1", "goods", "15.00", "CUSTOM-AMOUNT")], "15.00")  # told before lines had a kind
    back = _transaction([_line("r1", "amount", "15.00", "CUSTOM-AMOUNT", original_line_id="1")], "15.00")

    assert list(check_return_against_sale(back, sale)) == []
    assert {found.code for found in check_return_against_sale(back, sale, [back])} == {
        "return_exceeds_sale",
        "return_exceeds_paid",
    }


def test_return_may_exceed_the_total_by_the_rounding_when_the_sale_was_rounded_down() -> None:
    sale = _transaction([_line("1", "goods", "10.02", "MUG")], "10.00", rounding=_usd("-0.02"))
    back = _transaction([_line("r1", "goods", "10.02", "MUG")], "10.02")

    assert violations("sale.completed.v1", sale) == []
    assert list(check_return_against_sale(back, sale)) == []


def test_lines_of_one_id_are_summed_when_an_older_sale_repeats_it() -> None:
    sale = _transaction([_line("1", "goods", "10.00", "MUG"), _line("1", "goods", "10.00", "MUG")], "20.00")
    back = _line("r1", "goods", "20.00", "MUG", original_line_id="1") | {"quantity": "2", "unit_price": _usd("10.00")}

    assert list(check_return_against_sale(_transaction([back], "20.00"), sale)) == []
    assert ("repeated_key", "/lines") in _codes("sale.completed.v1", sale)


FOREIGN = {"amount": "100.00", "currency": "EUR", "rate": "1.0741"}


def _converted(paid: str, difference: str, **tender: Any) -> Json:
    tenders = [{"type": "card", "amount": _usd(paid), **tender}]
    return _transaction([_line("1", "goods", "108.00")], "108.00", tenders=tenders, exchange_difference=_usd(difference))


def test_tenders_make_the_total_when_a_payment_was_converted_at_another_rate() -> None:
    assert violations("sale.completed.v1", _converted("107.41", "-0.59", foreign=FOREIGN)) == []
    assert violations("sale.completed.v1", _converted("108.37", "0.37", foreign=FOREIGN)) == []
    presented = _converted("107.41", "-0.59", foreign=FOREIGN) | {"presentment": {"amount": "100.00", "currency": "EUR"}}
    assert violations("sale.completed.v1", presented) == []


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (_converted("107.41", "-0.59"), ("exchange_difference_implausible", "/exchange_difference")),
        (_converted("90.00", "-18.00", foreign=FOREIGN), ("exchange_difference_implausible", "/exchange_difference")),
        (_converted("107.41", "-0.60", foreign=FOREIGN), ("tenders_mismatch", "/tenders")),
        (_converted("107.41", "-0.59", foreign=FOREIGN | {"currency": "XXQ"}),
         ("currency_unknown", "/tenders/0/foreign/currency")),
        (_converted("107.41", "-0.59", foreign=FOREIGN | {"currency": "JPY"}),
         ("currency_scale", "/tenders/0/foreign/amount")),
    ],
)  # fmt: skip
def test_exchange_difference_is_refused_when_nothing_explains_it(document: Json, found: tuple[str, str]) -> None:
    assert found in _codes("sale.completed.v1", document)


def test_compound_and_fixed_taxes_are_valid_when_they_say_their_base() -> None:
    compound = _tax("9.975", "10.47", base=_usd("105.00"), code="QST", jurisdiction="CA-QC")
    bag = _tax("0", "0.05", per_unit=_usd("0.05"))
    line = _taxed(_line("1", "goods", "100.00", unit="kilogram"), _tax("5", "5.00", code="GST"), compound, bag)

    assert violations("sale.completed.v1", _transaction([line], "115.52", "15.52")) == []


NONSENSE: list[tuple[str, Callable[[Json], Any], tuple[str, str]]] = [
    ("negative tip", lambda d: d.update(tip=_usd("-2.00")), ("negative_amount", "/tip")),
    ("negative total", lambda d: d.update(total=_usd("-34.70")), ("negative_amount", "/total")),
    ("negative tender", lambda d: d["tenders"].append(d["tenders"][0] | {"amount": _usd("-5.00")}),
     ("negative_amount", "/tenders/1/amount")),
    ("negative change", lambda d: d.update(change=_usd("-1.00")), ("negative_amount", "/change")),
    ("negative tax", lambda d: d["lines"][0]["taxes"][0].update(amount=_usd("-1.62")),
     ("negative_amount", "/lines/0/taxes/0/amount")),
    ("negative service charge", lambda d: d.update(service_charge=_usd("-1.00")), ("negative_amount", "/service_charge")),
    ("included tax above the price", lambda d: d["lines"][1]["taxes"][0].update(amount=_usd("12.01"), included=True),
     ("tax_exceeds_price", "/lines/1/taxes")),
    ("rounding of 490", lambda d: d.update(rounding=_usd("490.00")), ("rounding_implausible", "/rounding")),
    ("repeated line ids", lambda d: d["lines"][1].update(id="1"), ("repeated_key", "/lines")),
]  # fmt: skip


@pytest.mark.parametrize(("change", "found"), [case[1:] for case in NONSENSE], ids=[case[0] for case in NONSENSE])
@pytest.mark.parametrize("name", ["sale.completed.v1", "sale.completed.v2"])
def test_sale_is_refused_when_it_is_nonsense(name: str, change: Callable[[Json], Any], found: tuple[str, str]) -> None:
    document = copy.deepcopy(EXAMPLES[name])
    change(document)

    assert found in _codes(name, document)


@pytest.mark.parametrize(("currency", "rounding", "is_plausible"), [
    ("CHF", "0.04", True), ("SEK", "0.50", True), ("HUF", "-2.40", True), ("USD", "1.00", False), ("JPY", "9", True), ("JPY", "10", False),
])  # fmt: skip
def test_rounding_is_bounded_by_the_cash_of_its_currency(currency: str, rounding: str, is_plausible: bool) -> None:
    def money(value: str) -> dict[str, str]:
        return {"amount": value, "currency": currency}

    line = _line("1", "goods", "100") | {name: money("100") for name in ("unit_price", "gross", "total")}
    due = money(f"{100 + Decimal(rounding)}")
    sale = _transaction([line], "100") | {
        "tax": money("0"), "rounding": money(rounding), "total": due, "tenders": [{"type": "cash", "amount": due}],
    }  # fmt: skip

    assert (("rounding_implausible", "/rounding") not in _codes("sale.completed.v1", sale)) == is_plausible
    assert violations("sale.completed.v1", sale) == [] or not is_plausible


@pytest.mark.parametrize("name", [name for name, document in EXAMPLES.items() if "USD" in str(document)])
def test_unknown_currency_is_refused_in_every_type(name: str) -> None:
    document = _replaced(EXAMPLES[name], "USD", "XXQ")

    assert "currency_unknown" in {found.code for found in violations(name, document)}
    assert SCALES.keys() <= CURRENCIES


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    return new if value == old else value


def _closure(**more: Any) -> Json:
    cash = {
        "type": "cash",
        "taken": _usd("0.00"),
        "expected": _usd("0.00"),
        "counted": _usd("0.00"),
        "difference": _usd("0.00"),
    }
    return EXAMPLES["till.closed.v1"] | {"transactions": "2", "sales": _usd("34.70"), "returns": _usd("34.70"), "tenders": [cash],
                                         "taxes": []} | more  # fmt: skip


def test_closure_is_checked_when_it_holds_sales_of_another_major_and_voids() -> None:
    sale, void = ("sale.completed.v2", EXAMPLES["sale.completed.v2"]), ("sale.voided.v1", EXAMPLES["sale.voided.v1"])

    assert list(check_closure(_closure(), [sale, void])) == []


def test_closure_is_reported_as_unverifiable_when_a_void_names_no_known_sale() -> None:
    void = EXAMPLES["sale.voided.v1"]
    alone = _closure(transactions="1", sales=_usd("0.00"))

    assert [found.code for found in check_closure(alone, [("sale.voided.v1", void)])] == ["closure_unverifiable"]
    told = void | {"tenders": [{"type": "cash", "amount": _usd("40.00")}], "change": _usd("5.30")}
    assert violations("sale.voided.v1", told) == []
    back = {"type": "cash", "taken": _usd("0.00"), "given_back": _usd("34.70"), "expected": _usd("-34.70"),
            "counted": _usd("-34.70"), "difference": _usd("0.00")}  # fmt: skip
    tax = [{"rate": "9", "amount": _usd("-2.70")}]
    assert list(check_closure(alone | {"tenders": [back], "taxes": tax}, [("sale.voided.v1", told)])) == []


def test_closure_keeps_tenders_apart_by_provider() -> None:
    sale = _transaction([_line("1", "goods", "30.00")], "30.00") | {
        "tenders": [{"type": "card", "provider": name, "amount": _usd(value)} for name, value in (("a", "10.00"), ("b", "20.00"))],
    }  # fmt: skip

    def tender(provider: str, value: str) -> Json:
        return {"type": "card", "provider": provider, "taken": _usd(value), "expected": _usd(value), "counted": _usd(value),
                "difference": _usd("0.00")}  # fmt: skip

    closure = _closure(
        transactions="1", sales=_usd("30.00"), returns=_usd("0.00"), tenders=[tender("a", "10.00"), tender("b", "20.00")]
    )

    assert violations("till.closed.v1", closure) == []
    assert list(check_closure(closure, [("sale.completed.v1", sale)])) == []
    swapped = closure | {"tenders": [tender("a", "20.00"), tender("b", "10.00")]}
    assert [found.field for found in check_closure(swapped, [("sale.completed.v1", sale)])] == ["/tenders/0", "/tenders/1"]
    assert ("repeated_key", "/tenders") in _codes(
        "till.closed.v1", closure | {"tenders": [tender("a", "10.00"), tender("a", "20.00")]}
    )


def test_refund_frees_its_amount_when_it_proves_false() -> None:
    check = TYPES["payment.refunded.v1"].history
    assert check is not None
    captured, refund = EXAMPLES["payment.captured.v1"], EXAMPLES["payment.refunded.v1"] | {"amount": _usd("34.70")}
    known: list[tuple[str, Json]] = [("payment.captured.v1", captured), ("payment.refunded.v1", refund)]
    again, failed = refund | {"id": "PE-9"}, EXAMPLES["payment.reversed.v1"] | {"amount": _usd("34.70")}

    assert [found.code for found in check(again, known)] == ["refund_exceeds_payment"]
    assert list(check(again, [*known, ("payment.reversed.v1", failed)])) == []


def test_reversal_is_refused_when_its_fact_was_another_amount_or_reversed_before() -> None:
    check = TYPES["payment.reversed.v1"].history
    assert check is not None
    failed, known = EXAMPLES["payment.reversed.v1"], [("payment.refunded.v1", EXAMPLES["payment.refunded.v1"])]

    assert list(check(failed, known)) == []
    assert [found.field for found in check(failed | {"amount": _usd("1.00")}, known)] == ["/amount"]
    again = failed | {"id": "PE-5"}
    assert [found.field for found in check(again, [*known, ("payment.reversed.v1", failed)])] == ["/fact/id"]


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("till.cash_moved.v1", {"destination": "till"}, ("locations_equal", "/destination")),
        ("till.cash_moved.v1", {"amount": _usd("0.00"), "taxes": []}, ("negative_amount", "/amount")),
        ("store_day.closed.v1", {"sales": _usd("41.25")}, ("closure_mismatch", "/tenders")),
        ("payout.settled.v1", {"net": _usd("21.01")}, ("net_mismatch", "/net")),
        ("bank.line.v1", {"amount": _usd("-1.00")}, ("negative_amount", "/amount")),
        ("gift_card.issued.v1", {"consideration": _usd("-1.00")}, ("negative_amount", "/consideration")),
    ],
)
def test_accounting_fact_is_refused_when_it_does_not_add_up(name: str, change: Json, found: tuple[str, str]) -> None:
    assert found in _codes(name, EXAMPLES[name] | change)
