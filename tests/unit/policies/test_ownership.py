"""The state of an entity: a pure function of what was said; every rule by itself, and what holds whatever was said."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.policies.ownership import Rule, decide, document, empty, hear, wanted, wrote

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def said(rules: dict[str, Rule], *words: tuple[str, float, dict[str, Any]]) -> Any:
    """What is heard last, after all that was said before."""
    state: dict[str, Any] = empty()
    heard = None
    for origin, seconds, data in words:
        heard = hear(state, rules, origin, data, at(seconds))
        state = heard.state
    return heard


def test_only_the_owner_changes_what_it_owns() -> None:
    heard = said({"name": Rule("a")}, ("b", 0, {"name": "B"}), ("a", 1, {"name": "A"}), ("b", 2, {"name": "C"}))

    assert heard.state["fields"]["name"]["value"] == "A"
    assert [(c.wanted, c.kept, c.why, c.open) for c in heard.conflicts] == [("C", "A", "a owns it", False)]
    assert wanted(heard.state, {"name": Rule("a")}, "b") == {"name": "A"}, "it gets the owner's word back"
    assert wanted(heard.state, {"name": Rule("a")}, "a") == {}, "an owner is told nothing"


def test_what_is_told_as_before_is_no_change_whatever_others_did_meanwhile() -> None:
    heard = said({}, ("a", 0, {"x": 1, "y": 1}), ("b", 1, {"x": 2, "y": 1}), ("a", 2, {"x": 1, "y": 5}))

    assert {field: held["value"] for field, held in heard.state["fields"].items()} == {"x": 2, "y": 5}
    assert heard.changed == ["y"]


def test_an_older_word_of_the_same_system_is_stale_and_one_of_the_same_time_counts_if_it_was_read() -> None:
    heard = said({}, ("a", 5, {"x": 2}), ("a", 4, {"x": 1}))
    assert heard.stale
    state = hear(empty(), {}, "a", {"x": 1}, AT, read_at=at(5)).state
    assert hear(state, {}, "a", {"x": 2}, AT).stale
    assert hear(state, {}, "a", {"x": 2}, AT, read_at=at(4)).stale
    assert hear(state, {}, "a", {"x": 2}, AT, read_at=at(6)).changed == ["x"]


@pytest.mark.parametrize(
    ("rule", "words", "value", "open_"),
    [(Rule(), [("a", 0, [1]), ("b", 1, [2])], [2], None), (Rule(), [("a", 1, [1]), ("b", 0, [2])], [1], False),
     (Rule(tolerance_seconds=5), [("a", 0, 1), ("b", 3, 2)], 1, True), (Rule(tolerance_seconds=5), [("a", 0, 1), ("b", 9, 2)], 2, None),
     (Rule(merge="union"), [("a", 0, ["x"]), ("b", 1, ["y"])], ["x", "y"], False),
     (Rule(merge="union"), [("a", 0, ["x", "y"]), ("b", 1, ["x", "y"]), ("b", 2, ["y", "z"])], ["y", "z"], None),
     (Rule(merge="sum"), [("a", 0, "10"), ("b", 1, "10"), ("a", 2, "7"), ("b", 3, "15")], "12", False),
     (Rule(merge="review"), [("a", 0, 1), ("b", 9, 2)], 1, True)],
)  # fmt: skip
def test_where_nobody_owns_it_the_policy_decides(rule: Rule, words: Any, value: Any, open_: bool | None) -> None:
    heard = said({"x": rule}, *[(origin, seconds, {"x": item}) for origin, seconds, item in words])

    assert heard.state["fields"]["x"]["value"] == value
    assert [conflict.open for conflict in heard.conflicts] == ([] if open_ is None else [open_])


def test_what_a_person_has_to_decide_stays_as_it_is_everywhere_until_then() -> None:
    rules = {"x": Rule(merge="review")}
    state = said(rules, ("a", 0, {"x": 1}), ("b", 9, {"x": 2})).state

    assert wanted(state, rules, "b") == {}
    assert wanted(decide(state, "x", 1, at(20)), rules, "b") == {"x": 1}
    assert wanted(decide(state, "x", 2, at(20)), rules, "a") == {"x": 2}


@pytest.mark.parametrize(
    ("write", "known", "sent"),
    [("always", {}, True), ("create", None, True), ("create", {}, False), ("update", None, False), ("update", {}, True),
     ("if_empty", {}, True), ("if_empty", {"x": ""}, True), ("if_empty", {"x": 7}, False), ("if_empty", None, True)],
)  # fmt: skip
def test_when_a_field_is_written(write: str, known: dict[str, Any] | None, sent: bool) -> None:
    rules = {"x": Rule(write=write), "y": Rule("b")}
    state = said(rules, ("a", 0, {"x": 1})).state
    if known is not None:
        state = hear(state, {"x": Rule("a")}, "b", {"y": 0, **known}, at(1)).state

    assert ("x" in wanted(state, rules, "b")) == sent


def test_a_whole_document_has_the_targets_own_word_where_it_is_not_to_be_changed() -> None:
    rules = {"x": Rule(write="create")}
    state = said(rules, ("a", 0, {"sku": "S", "x": 1, "y": 1}), ("b", 1, {"sku": "S", "x": 9, "y": 1})).state
    state = hear(state, rules, "a", {"sku": "S", "x": 1, "y": 2}, at(2)).state

    assert document(state, rules, "b", at(3), in_part=True) | {"updated_at": ""} == {
        "id": "",
        "sku": "S",
        "y": 2,
        "x": 9,
        "updated_at": "",
    }


FIELDS = ["p", "q", "r"]
RULES = {"p": Rule("a"), "q": Rule("b"), "r": Rule()}
WORD = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 50),
    st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 3), min_size=1),
)


@given(words=st.lists(WORD, max_size=25))
def test_whatever_is_said_owners_decide_and_everybody_can_be_told_once(words: list[Any]) -> None:
    state: dict[str, Any] = empty()
    by_owner: dict[str, set[int]] = {"p": set(), "q": set()}
    for origin, seconds, data in words:
        before = copy.deepcopy(state)
        heard = hear(state, RULES, origin, data, at(seconds))
        assert state == before, "pure"
        state = heard.state
        for field, owner in (("p", "a"), ("q", "b")):
            if origin == owner and field in data:
                by_owner[field].add(data[field])
    for field, values in by_owner.items():
        if field in state["fields"]:
            assert state["fields"][field]["value"] in values, "the owner said it"
    for target in ("a", "b", "c"):
        needed = wanted(state, RULES, target)
        assert not {field for field in needed if RULES[field].owner == target}
        state = wrote(state, target, needed)
        assert wanted(state, RULES, target) == {}, "who was told knows"
