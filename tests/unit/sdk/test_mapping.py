"""Field maps: expressions are data, and what they yield is safe to put into a document."""

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


def test_every_broken_expression_of_a_template_is_found_with_its_place() -> None:
    assert [pointer for pointer, _ in check_template({"a": "= good", "b": ["= bad(", {"c": "= also ["}]})] == ["/b/0", "/b/1/c"]
