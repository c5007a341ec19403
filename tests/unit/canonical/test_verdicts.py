"""The fast path (compiled JSON Schema) and marshmallow reach one verdict; loading changes nothing."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import canonical
from canonical import generate, rules
from canonical.examples import EXAMPLES
from canonical.registry import TYPES, shape_violations
from hub.policies import schema_version

STRINGS = [
        "0", "-0", "1.0", "01", "1.", ".5", "1e3", "-0.00", "12.345678", "999999999999999.9999", "1000000000000000", "٣", "1\n",
        "2026-02-30", "2024-02-29", "0000-01-01", "2026-11-21", "2026-11-21T12:00:00Z", "2026-11-21T12:00:00", "2026-11-21 12:00Z",
        "2026-11-21T23:59:60Z", "2026-02-29T00:00:00Z", "2026-11-21T12:00:00+24:00", "2026-11-21T12:00:00.123456789+05:30",
        "2026-11-21t12:00:00z", "USD", "usd", "US", "USDX", "cash", "CASH", "12345678", "1234567", "x" * 600, "",
]  # fmt: skip
_JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=False),
    st.just([]),
    st.just({}),
    st.text(max_size=5),
    st.sampled_from(STRINGS),
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += _paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += _paths(item, (*path, index))
    return found


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, Any]:
    """A type and its example with up to three places changed, removed or added."""
    name = draw(st.sampled_from(sorted(TYPES)))
    document = copy.deepcopy(EXAMPLES[name])
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(_paths(document) or [("id",)]))
        parent = document
        for step in path[:-1]:
            parent = parent[step]
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "replace":
                parent[path[-1]] = draw(_JUNK)
            case "remove" if isinstance(parent, dict):
                parent.pop(path[-1], None)
            case "add" if isinstance(parent, dict):
                parent[draw(st.sampled_from(["surprise", "rounding", "gln", "extensions", "change"]))] = draw(_JUNK)
    return name, document


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_the_fast_path_and_marshmallow_agree_on_every_document(case: tuple[str, Any]) -> None:
    name, document = case

    reference = canonical.violations(name, document)
    fast = schema_version.violations(name, document)

    assert fast == reference
    accepted = schema_version._compiled(name).is_valid(document)
    assert not (accepted and shape_violations(TYPES[name].schema, document)), "the fast path accepted what marshmallow refuses"
    if schema_version._plain(name, document):
        assert accepted, "what is plain has the shape"
        assert _said(name, document) == [], "what was called plain is refused by the rules"


def _said(name: str, document: Any) -> list[Any]:
    mixed = TYPES[name].currencies == "many"
    return [*rules.currency_rules(document, mixed), *rules.identifier_rules(document)]


@pytest.mark.parametrize("path", [path for path in _paths(EXAMPLES["sale.completed.v1"]) if path[-1] != "extensions"])
def test_every_strange_string_in_every_place_gets_one_verdict(path: tuple[Any, ...]) -> None:
    for text in STRINGS:
        document = copy.deepcopy(EXAMPLES["sale.completed.v1"])
        parent: Any = document
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = text

        assert schema_version.violations("sale.completed.v1", document) == canonical.violations("sale.completed.v1", document)
        if schema_version._plain("sale.completed.v1", document):
            assert _said("sale.completed.v1", document) == []


def test_every_example_is_plain_and_nothing_that_is_wrong() -> None:
    for name, document in EXAMPLES.items():
        assert schema_version._plain(name, document), name
    sale = EXAMPLES["sale.completed.v1"]
    for path, wrong in [
        (("tip", "currency"), "EUR"), (("lines", 1, "total", "amount"), "13.080"), (("lines", 0, "gtin"), "12345678"),
        (("location", "gln"), "4012345000017"),
    ]:  # fmt: skip
        document = copy.deepcopy(sale)
        parent: Any = document
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = wrong
        assert not schema_version._plain("sale.completed.v1", document), path
        assert schema_version.violations("sale.completed.v1", document) == canonical.violations("sale.completed.v1", document)
        assert schema_version.violations("sale.completed.v1", document)


def test_an_amount_is_plain_to_its_currency_s_minor_unit() -> None:
    for currency, amount, fine in [
        ("JPY", "100", True),
        ("JPY", "100.0", False),
        ("BHD", "1.125", True),
        ("USD", "1.125", False),
    ]:
        document = {**EXAMPLES["payment.captured.v1"], "amount": {"amount": amount, "currency": currency}}
        document = {key: value for key, value in document.items() if key not in ("tip", "fee")}

        assert schema_version._plain("payment.captured.v1", document) == fine, (currency, amount)
        assert (schema_version.violations("payment.captured.v1", document) == []) == fine


def test_whoever_makes_up_currencies_fills_no_memory() -> None:
    schema_version._PLAIN.clear()
    for first in "ABCDE":
        for last in "ABCDEFG":
            document = {**EXAMPLES["payment.refunded.v1"], "amount": {"amount": "1.00", "currency": f"Q{first}{last}"}}
            (found,) = schema_version.violations("payment.refunded.v1", document)
            assert found.code == "currency_unknown"
    assert len(schema_version._PLAIN["payment.refunded.v1"]) == schema_version._CURRENCIES


@pytest.mark.parametrize("name", sorted(TYPES))
def test_loading_a_valid_document_changes_nothing(name: str) -> None:
    document = copy.deepcopy(EXAMPLES[name])

    assert TYPES[name].schema.load(document) == EXAMPLES[name]
    assert canonical.violations(name, document) == []
    assert schema_version._compiled(name).is_valid(document), "the example must take the fast path"


def test_generated_files_are_what_the_schemas_say() -> None:
    stale = [str(path) for path, content in generate.outputs().items() if not path.exists() or path.read_text() != content]

    assert stale == []


def test_the_drift_check_fails_when_a_file_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    monkeypatch.setattr(generate, "outputs", lambda: {path: "new"})
    monkeypatch.setattr(generate, "ROOT", tmp_path)

    assert generate.main(["--check"]) == 1
    assert path.read_text() == "old"
    assert generate.main([]) == 0
    assert path.read_text() == "new"


def test_a_float_amount_is_refused_with_its_field_and_the_remedy() -> None:
    document = copy.deepcopy(EXAMPLES["sale.completed.v1"])
    document["total"]["amount"] = 34.7

    (violation,) = canonical.violations("sale.completed.v1", document)

    assert (violation.code, violation.field) == ("invalid_field", "/total/amount")
    assert "string" in violation.message


def test_every_error_code_that_is_reported_is_in_the_table() -> None:
    source = "".join(path.read_text() for path in Path(canonical.__file__).parent.glob("*.py"))

    for code in canonical.ERROR_CODES:
        assert f'"{code}"' in source.replace("ERROR_CODES", ""), f"{code} is documented and never reported"
    assert json.dumps(sorted(canonical.ERROR_CODES))
