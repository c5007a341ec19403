"""The diff of contracts against mutations of real documents with known classes, and against itself."""

import copy
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from canonical_cases import TIMES
from contract_mutations import (
    BREAKING_OPERATIONS,
    BREAKING_SCHEMAS,
    COMPATIBLE_OPERATIONS,
    COMPATIBLE_SCHEMAS,
    _some,
    furnish,
    isolate,
)

from hub.contracts.changes import ERR, SCHEMA_KINDS, all_rules
from hub.contracts.diff import compare
from hub.contracts.document import document

SPECS = Path(__file__).resolve().parents[3] / "shared/specs"
VENDORS = {
    "xero": "xero/xero_accounting.yaml", "quickbooks": "quickbooks/ballerina_quickbooks.online_openapi.yaml",
    "holded": "holded/invoice-api.json",
}  # fmt: skip
if TIMES > 1:  # CASES_TIMES=2: the large ones too, minutes
    VENDORS |= {
        "square": "square/api.json", "inventree": "inventree/api-v534.yaml", "sap-b1": "sap-b1/purchasing.json",
        "business-central": "business-central/BCOAS1.0.yaml",
    }  # fmt: skip
NAMES = ["ours", *VENDORS]


@cache
def _loaded(name: str) -> bytes:
    if name == "ours":
        return orjson.dumps(document())
    path = SPECS / VENDORS[name]
    if not path.exists():
        pytest.skip(f"the vendor's file {VENDORS[name]} is not here")
    text = path.read_text("utf-8")
    parsed = orjson.loads(text) if path.suffix == ".json" else yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return orjson.dumps(parsed, option=orjson.OPT_NON_STR_KEYS, default=str)


def _copies(name: str) -> tuple[Any, Any]:
    return orjson.loads(_loaded(name)), orjson.loads(_loaded(name))


def _found(old: Any, new: Any) -> tuple[set[str], set[str]]:
    """(rules that are ERR, every rule)."""
    changes = compare(old, new)
    return {change.rule for change in changes if change.severity == ERR}, {change.rule for change in changes}


def _pair(name: str, seed: int, side: str, change: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Two copies of a document, one operation's schema written in place and furnished in both, changed in the newer."""
    pair = _copies(name)
    for newer, each in enumerate(pair):
        schema = isolate(each, random.Random(seed), side)
        if schema is None:
            pytest.skip(f"{name} has no {side} body to change")
        furnish(schema)
        if newer:
            change(schema)
    return pair


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("side", "what", "change", "rule"), BREAKING_SCHEMAS, ids=[f"{s} {w}" for s, w, _, _ in BREAKING_SCHEMAS]
)
def test_a_schema_that_breaks_somebody_is_found(name: str, side: str, what: str, change: Any, rule: str) -> None:
    errors, _ = _found(*_pair(name, len(what), side, change))

    assert rule in errors


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("side", "what", "change"), [
        (one, what, change) for side, what, change in COMPATIBLE_SCHEMAS
        for one in (("request", "response") if side == "both" else (side,))
    ],
)  # fmt: skip
def test_a_schema_that_breaks_nobody_is_no_error(name: str, side: str, what: str, change: Any) -> None:
    errors, rules = _found(*_pair(name, len(what), side, change))

    assert errors == set()
    assert rules or what in ("reordered", "described", "31 spelling", "allOf of one", "split in parts", "zero length is none",
                             "read only and required")  # fmt: skip


def _operated(name: str, seed: int, change: Any) -> tuple[Any, Any]:
    pair = _copies(name)
    for newer, each in enumerate(pair):
        operation = _some(each, random.Random(seed))
        if newer:
            change(each, operation)
    return pair


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("what", "change", "rule"), BREAKING_OPERATIONS, ids=[what for what, _, _ in BREAKING_OPERATIONS])
def test_an_operation_that_breaks_somebody_is_found(name: str, what: str, change: Any, rule: str) -> None:
    for seed in (1, 2):
        old, new = _operated(name, seed, change)
        if rule == "required-body-added":
            for each in (old, new):
                path, method = _some(orjson.loads(_loaded(name)), random.Random(seed))["x-m-place"]
                if each is old:
                    each["paths"][path][method].pop("requestBody", None)
        errors, _ = _found(old, new)
        assert rule in errors


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("what", "change"), COMPATIBLE_OPERATIONS, ids=[what for what, _ in COMPATIBLE_OPERATIONS])
def test_an_operation_that_breaks_nobody_is_no_error(name: str, what: str, change: Any) -> None:
    errors, _ = _found(*_operated(name, 3, change))

    assert errors == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_document_does_not_differ_from_itself_however_it_is_ordered(name: str) -> None:
    def shuffled(value: Any, chance: random.Random) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            chance.shuffle(keys)
            return {key: shuffled(value[key], chance) for key in keys}
        return [shuffled(item, chance) for item in value] if isinstance(value, list) else value

    old, new = _copies(name)

    assert compare(old, shuffled(new, random.Random(1))) == []


def test_a_fingerprint_stays_when_the_document_changes_elsewhere() -> None:
    old, new = _pair("ours", 1, "request", _require("m_text"))
    (before,) = [change for change in compare(old, new) if change.severity == ERR]
    other = copy.deepcopy(new)
    other["paths"]["/m/new"] = {"get": {"responses": {"200": {"description": "x"}}}}
    other["paths"] = dict(reversed(list(other["paths"].items())))
    other["info"]["title"] = "another"

    (after,) = [change for change in compare(old, other) if change.severity == ERR]

    assert before.fingerprint == after.fingerprint
    assert len(before.fingerprint) == 12
    assert before.operations == after.operations
    assert len(before.operations) == 1


def _require(name: str) -> Callable[[Any], None]:
    return lambda schema: schema["required"].append(name)


def test_a_component_is_told_once_with_every_operation_that_reaches_it() -> None:
    old, new = orjson.loads(_loaded("ours")), orjson.loads(_loaded("ours"))
    del new["components"]["schemas"]["Delivery"]["properties"]["state"]
    new["components"]["schemas"]["Delivery"]["required"].remove("state")

    (found,) = compare(old, new)

    assert (found.rule, found.place) == ("response-required-property-removed", "Delivery.state")
    assert found.pointer == "#/components/schemas/Delivery/properties/state"
    assert {"GET /v1/deliveries", "GET /v1/deliveries/{}", "GET /v1/dead-letters"} <= set(found.operations)


def test_a_removed_operation_may_go_after_its_sunset_and_not_before() -> None:
    def rules(sunset: str) -> set[str]:
        old, new = _copies("ours")
        old["paths"]["/v1/events"]["post"] |= {"deprecated": True, "x-sunset": sunset}
        del new["paths"]["/v1/events"]
        return _found(old, new)[1]

    assert rules("2020-01-01") == {"operation-removed-after-sunset"}
    assert "operation-removed" in rules("2999-01-01")


def test_every_rule_has_a_severity_and_a_meaning() -> None:
    assert len(all_rules()) > 100
    assert all(level in ("ERR", "WARN", "INFO") and text for level, text in all_rules().values())
    assert len(SCHEMA_KINDS) == len({text for _, _, text in SCHEMA_KINDS.values()})
