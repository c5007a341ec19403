"""Majors of a type: whatever one says, the others say (G5, G7), and the rules hold in each."""

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from canonical_cases import seeds, versioned

from canonical.examples import EXAMPLES
from canonical.registry import TYPES, violations
from canonical.versions import CASTERS, KEPT, cast, majors
from hub.policies import schema_version

NAMES = sorted({name for name, _, _ in CASTERS})
VERSIONED = [f"{name}.v{major}" for name in NAMES for major in majors(name)]


def test_three_types_have_two_majors_and_every_pair_of_neighbours_has_both_casters() -> None:
    assert len(NAMES) >= 3
    for name in NAMES:
        known = sorted(definition.major for key, definition in TYPES.items() if key.rpartition(".v")[0] == name)
        assert majors(name) == known
        for first, second in itertools.pairwise(known):
            assert {(name, first, second), (name, second, first)} <= CASTERS.keys()
    single = [name for name in TYPES if name.rpartition(".v")[0] not in NAMES]
    assert all(TYPES[name].major == 1 for name in single)


@pytest.mark.parametrize("name", VERSIONED)
def test_every_document_is_valid_in_every_other_major_and_comes_back_unchanged(name: str) -> None:
    others = majors(name.rpartition(".v")[0])
    for chance in seeds(500):
        document = versioned(name, chance)
        assert schema_version.violations(name, document) == [], document
        for major in others:
            before = copy.deepcopy(document)
            found = cast(name, document, major)
            assert found is not None
            other, there = found

            assert document == before, "a caster changes nothing it was given"
            assert schema_version.violations(other, there) == [], there
            assert TYPES[other].subject(there) == TYPES[name].subject(document)
            assert cast(other, there, TYPES[name].major) == (name, document)


def test_what_an_older_major_cannot_say_travels_in_its_extensions() -> None:
    found = cast("product.v2", EXAMPLES["product.v2"] | {"status": "draft"}, 1)

    assert found is not None
    assert found[1]["active"] is False
    assert found[1]["gtin"] == "4006381333931"
    assert found[1]["extensions"][KEPT]["status"] == "draft"


def test_a_reader_of_the_older_major_that_changes_the_field_is_believed() -> None:
    """What was put aside counts only as long as it says the same as the field it explains."""
    older = cast("sale.completed.v2", EXAMPLES["sale.completed.v2"], 1)
    assert older is not None
    document: Any = copy.deepcopy(older[1])
    document["lines"][0]["discount"]["amount"] = "2.00"

    newer = cast("sale.completed.v1", document, 2)

    assert newer is not None
    assert newer[1]["lines"][0]["discounts"] == [{"amount": {"amount": "2.00", "currency": "USD"}}]


@pytest.mark.parametrize("nonsense", ["abc", True, None, [], ["x"] * 20, {}, {"code": "nothing"}, [{"amount": "1"}]])
@pytest.mark.parametrize("name", ["product.v1", "sale.completed.v1", "stock.adjusted.v1"])
def test_nonsense_in_the_casters_namespace_is_not_believed(name: str, nonsense: Any) -> None:
    """Anybody can write extensions: the newer document is valid whatever stands there."""
    aside = {KEPT: dict.fromkeys(("status", "gtins", "tax_included", "discounts", "reason"), nonsense)}
    document: Any = copy.deepcopy(EXAMPLES[name]) | {"extensions": aside, **({"gtin": "96385074"} if "product" in name else {})}
    for line in document.get("lines", ()):
        line["extensions"] = aside
    assert violations(name, document) == []

    found = cast(name, document, 2)

    assert found is not None
    assert violations(*found) == []


def test_a_draft_that_was_activated_in_the_older_major_is_active() -> None:
    older = cast("product.v2", EXAMPLES["product.v2"] | {"status": "draft"}, 1)
    assert older is not None

    newer = cast("product.v1", {**older[1], "active": True}, 2)

    assert newer is not None
    assert newer[1]["status"] == "active"


def test_no_caster_leads_to_a_major_that_does_not_exist() -> None:
    assert cast("product.v1", EXAMPLES["product.v1"], 9) is None
    assert cast("stock.counted.v1", EXAMPLES["stock.counted.v1"], 2) is None


def _broken() -> Iterator[tuple[str, Any, str, str]]:
    sale: Any = copy.deepcopy(EXAMPLES["sale.completed.v2"])
    sale["total"]["amount"] = "1.00"
    yield "sale.completed.v2", sale, "total_mismatch", "/total"
    sale = copy.deepcopy(EXAMPLES["sale.completed.v2"])
    sale["lines"][0]["discounts"][0]["amount"]["amount"] = "-0.60"
    yield "sale.completed.v2", sale, "line_total_mismatch", "/lines/0/total"
    yield "stock.adjusted.v2", EXAMPLES["stock.adjusted.v2"] | {"to_state": "available"}, "states_equal", "/to_state"
    yield "product.v2", EXAMPLES["product.v2"] | {"gtins": ["4006381333932"]}, "check_digit", "/gtins/0"


@pytest.mark.parametrize(("name", "document", "code", "field"), list(_broken()))
def test_the_rules_hold_in_the_newer_major_and_point_at_its_fields(name: str, document: Any, code: str, field: str) -> None:
    assert (code, field) in {(found.code, found.field) for found in violations(name, document)}
