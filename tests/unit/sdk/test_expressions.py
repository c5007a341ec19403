"""Expressions as functions give what the library's interpreter gives, whatever the expression and the data."""

from typing import Any

import jmespath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError

from hub.sdk.expressions import function
from hub.sdk.functions import Functions

_OPTIONS = jmespath.Options(custom_functions=Functions())
_NAME = st.sampled_from(["a", "b", "items", "name"])
_LEAF = st.one_of(
    _NAME, st.just("@"), st.sampled_from(["`1`", "`null`", "`[1, 2]`", "'text'", "`true`"]), st.just("length(@)"), st.just("*")
)


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.builds(lambda one, name: f"{one}.{name}", inner, _NAME),
        inner.map(lambda one: f"{one}[]"),
        inner.map(lambda one: f"{one}[*]"),
        inner.map(lambda one: f"{one}[0]"),
        inner.map(lambda one: f"{one}[-1:]"),
        st.builds(lambda one, name: f"{one}[*].{name}", inner, _NAME),
        st.builds(lambda one, name: f"{one}[?{name}]", inner, _NAME),
        pair.map(lambda two: f"{{x: {two[0]}, y: {two[1]}}}"),
        pair.map(lambda two: f"[{two[0]}, {two[1]}]"),
        st.builds(lambda one, name: f"{one}[].{{k: {name}, l: @}}", inner, _NAME),
        pair.map(lambda two: f"{two[0]} | {two[1]}"),
        pair.map(lambda two: f"{two[0]} || {two[1]}"),
        pair.map(lambda two: f"{two[0]} && {two[1]}"),
        pair.map(lambda two: f"{two[0]} == {two[1]}"),
        inner.map(lambda one: f"!{one}"),
        inner.map(lambda one: f"({one})"),
        inner.map(lambda one: f"type({one})"),
        inner.map(lambda one: f"sort_by({one}, &name)"),
        inner.map(lambda one: f"map(&a, {one})"),
        pair.map(lambda two: f"not_null({two[0]}, {two[1]})"),
    )


_EXPRESSIONS = st.recursive(_LEAF, _grow, max_leaves=6)
_DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "yy"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAME, inner, max_size=3),
    max_leaves=12,
)


def _outcome(work: Any) -> Any:
    try:
        return "value", work()
    except (JMESPathError, ValueError, ArithmeticError, KeyError, TypeError) as error:
        return "error", type(error)


@settings(max_examples=1500, deadline=None)
@given(_EXPRESSIONS, _DATA)
def test_a_function_gives_what_the_library_gives(expression: str, data: Any) -> None:
    try:
        parsed = jmespath.compile(expression)
    except JMESPathError:
        return

    ours, theirs = (
        _outcome(lambda: function(parsed.parsed, _OPTIONS)(data)), _outcome(lambda: parsed.search(data, options=_OPTIONS))
    )  # fmt: skip

    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("lines[].{sku: sku, total: total.amount}", [{"sku": "A", "total": "1.00"}, {"sku": "B", "total": None}]),
        ("lines[?sku == 'B'].sku | [0]", "B"),
        ("missing.at.all", None),
        ("length(lines)", 2),
    ],
)
def test_what_maps_are_made_of(expression: str, value: Any) -> None:
    data = {"lines": [{"sku": "A", "total": {"amount": "1.00"}}, {"sku": "B"}]}

    assert function(jmespath.compile(expression).parsed, _OPTIONS)(data) == value
