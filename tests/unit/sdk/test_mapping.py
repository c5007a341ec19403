"""Field maps: expressions are data, and what they yield is safe to put into a document."""

from decimal import Decimal
from typing import Any

import pytest

from hub.sdk.errors import UntranslatableError
from hub.sdk.mapping import check_template, evaluate, render


@pytest.mark.parametrize(
    ("value", "expected"),
    [("4006381333931", "4006381333931"), (" 96385074 ", "96385074"), (36000291452, None), ("036000291452", "036000291452"),
     ("4006381333932", None), ("A-17", None), ("", None), (None, None), ("106141412345678908", None)],
)  # fmt: skip
def test_only_a_real_gtin_gets_through(value: Any, expected: str | None) -> None:
    assert evaluate("gtin(@.upc)", {"upc": value}) == expected
    assert render({"gtin": "= gtin(upc)", "x": 1}, {"upc": value}) == ({"gtin": expected} if expected else {}) | {"x": 1}


def test_an_expression_that_cannot_be_computed_says_which_and_what_to_do() -> None:
    with pytest.raises(UntranslatableError, match=r"money\(total, 'USD'\)") as caught:
        evaluate("money(total, 'USD')", {"total": "a lot"})

    assert (caught.value.code, caught.value.remedy) == ("map_failed", "correct the map, then replay")


@pytest.mark.parametrize(
    ("expression", "value", "expected"),
    [("amount(@, 'EUR')", Decimal("12.300000000000001"), {"amount": "12.30", "currency": "EUR"}),
     ("amount(@, 'JPY')", "1200", {"amount": "1200", "currency": "JPY"}),
     ("amount(@, 'EUR')", Decimal("-0.29999999999999998"), {"amount": "-0.30", "currency": "EUR"}), ("amount(@, 'EUR')", None, None),
     ("minor(@)", {"amount": "12.30", "currency": "EUR"}, 1230), ("minor(@)", {"amount": "1.234", "currency": "KWD"}, 1234),
     ("round(@, `2`)", Decimal("1.005"), "1.01"), ("round(@, `2`)", Decimal("-1.005"), "-1.01"), ("round(@, `-1`)", "15", "20"),
     ("instant(@, 'Europe/Berlin')", "2026-07-01T10:00:00", "2026-07-01T08:00:00Z"),
     ("instant(@, 'UTC')", "2026-07-01T10:00:00.000+0400", "2026-07-01T06:00:00Z"),
     ("instant(@, 'UTC')", "/Date(1783000000000+0000)/", "2026-07-02T13:46:40Z"),
     ("instant(@, 'UTC')", 1783000000, "2026-07-02T13:46:40Z"), ("instant(@, 'UTC')", 1783000000500, "2026-07-02T13:46:40.500000Z"),
     ("day(@, 'Australia/Sydney')", "2026-07-01T20:00:00Z", "2026-07-02"),
     ("parsed_time(@, '%m/%d/%Y', 'America/New_York')", "07/01/2026", "2026-07-01T04:00:00Z"),
     ("unit(@, 'lb', 'kg')", "2", "0.907185"), ("unit(@, 'kg', 'g')", "1.5", "1500"), ("unit(@, 'gal', 'l')", "1", "3.785412"),
     ("lookup(@, `{\"CASH\": \"cash\"}`)", "CASH", "cash"), ("lookup_or(@, `{\"7\": \"x\"}`, 'other')", 7, "x"),
     ("lookup_or(@, `{}`, 'other')", "CARD", "other"), ("trim(upper(@))", " a ", "A"), ("split(@, ',')", "a,b", ["a", "b"])],
)  # fmt: skip
def test_a_function_is_exact(expression: str, value: Any, expected: Any) -> None:
    assert evaluate(expression, value) == expected


@pytest.mark.parametrize(
    ("expression", "value", "why"),
    [("amount(@, 'EUR')", Decimal("12.345"), "more decimal places"), ("amount(@, 'EUR')", "twelve", "map"),
     ("lookup(@, `{\"CASH\": \"cash\"}`)", "CARD", "'CARD' is not in the table"), ("minor(@)", {"amount": "1"}, "currency"),
     ("unit(@, 'lb', 'm')", "2", "lb is a mass, m a length"), ("unit(@, 'stone', 'kg')", "2", "unknown unit 'stone'"),
     ("day(@, 'Mars')", "2026-07-01T20:00:00", "no IANA time zone"), ("instant(@, 'UTC')", "yesterday", "map")],
)  # fmt: skip
def test_what_cannot_be_computed_says_why(expression: str, value: Any, why: str) -> None:
    with pytest.raises(UntranslatableError, match=why):
        evaluate(expression, value)


def test_every_broken_expression_of_a_template_is_found_with_its_place() -> None:
    assert [pointer for pointer, _ in check_template({"a": "= good", "b": ["= bad(", {"c": "= also ["}]})] == ["/b/0", "/b/1/c"]
