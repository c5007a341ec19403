"""Totals, tenders, returns: each rule with the document that breaks exactly it."""

import copy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonical.examples import EXAMPLES
from canonical.histories import check_return_against_sale
from canonical.money import from_minor, money, scale, to_minor
from canonical.registry import TYPES, violations


def _sale() -> dict[str, Any]:
    return copy.deepcopy(EXAMPLES["sale.completed.v1"])


def _amount(value: str) -> dict[str, str]:
    return {"amount": value, "currency": "USD"}


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        (lambda d: d.update(total=_amount("34.71")), "total_mismatch", "/total"),
        (lambda d: d.update(tax=_amount("2.71")), "tax_mismatch", "/tax"),
        (lambda d: d.update(discount=_amount("0.00")), "discount_mismatch", "/discount"),
        (lambda d: d.update(change=_amount("5.00")), "tenders_mismatch", "/tenders"),
        (lambda d: d["lines"][0].update(gross=_amount("19.01")), "line_gross_mismatch", "/lines/0/gross"),
        (lambda d: d["lines"][1].update(total=_amount("13.09")), "line_total_mismatch", "/lines/1/total"),
        (lambda d: d["change"].update(currency="EUR"), "currency_mixed", "/change"),
        (lambda d: d["change"].update(amount="5.300"), "currency_scale", "/change"),
    ],
)
def test_a_sale_that_does_not_add_up_is_told_where(change: Any, code: str, field: str) -> None:
    document = _sale()
    change(document)

    assert (code, field) in {(v.code, v.field) for v in violations("sale.completed.v1", document)}


def test_a_movement_must_move() -> None:
    document = EXAMPLES["stock.adjusted.v1"] | {"to_state": "available"}

    assert [v.code for v in violations("stock.adjusted.v1", document)] == ["states_equal"]


def test_more_cannot_come_back_than_was_sold_counting_earlier_returns() -> None:
    sale, back = _sale(), copy.deepcopy(EXAMPLES["return.completed.v1"])

    assert list(check_return_against_sale(back, sale)) == []
    (violation,) = check_return_against_sale(back, sale, [back])
    assert (violation.code, violation.field) == ("return_exceeds_sale", "/lines/0/quantity")


def test_a_line_that_was_never_sold_cannot_come_back() -> None:
    back = copy.deepcopy(EXAMPLES["return.completed.v1"])
    back["lines"][0]["original_line_id"] = "99"

    (violation,) = check_return_against_sale(back, _sale())

    assert violation.code == "return_line_unknown"


@given(st.integers(-(10**12), 10**12), st.sampled_from(["USD", "JPY", "KWD", "CLF"]))
def test_minor_units_survive_the_round_trip(minor: int, currency: str) -> None:
    value = from_minor(minor, currency)

    assert to_minor(value) == minor
    assert -int(Decimal(value["amount"]).as_tuple().exponent) == scale(currency)


def test_an_amount_finer_than_its_currency_is_refused() -> None:
    with pytest.raises(ValueError, match="minor units"):
        money("1.001", "USD")


@pytest.mark.parametrize("name", sorted(TYPES))
def test_subjects_keep_what_belongs_together_in_order(name: str) -> None:
    subject = TYPES[name].subject(EXAMPLES[name])

    expected = {
        "return.completed.v1": "sale/S-1001",
        "exchange.completed.v1": "sale/S-1001",
        "sale.completed.v1": "sale/S-1001",
    }
    assert subject == expected.get(name, subject)
    assert "/" in subject
