"""Text for people is cut and cleaned by the schema; identifiers are not."""

import pytest

from canonical.examples import EXAMPLES
from canonical.registry import violations
from hub.policies import schema_version
from hub.policies.text import clean, cleaned


def test_clean_cuts_at_a_mark_when_text_is_too_long() -> None:
    assert clean("abcdef", 4) == "abc…"
    assert clean("abcd", 4) == "abcd"
    assert clean("a\0\ud83db") == "a\ufffd\ufffdb"


def test_cleaned_returns_the_same_document_when_nothing_is_wrong() -> None:
    for name, example in EXAMPLES.items():
        assert cleaned(name, example) is example


def test_cleaned_leaves_identifiers_alone() -> None:
    odd = EXAMPLES["product.v1"] | {"sku": "a\0" + "b" * 300, "name": "n" * 600}

    told = cleaned("product.v1", odd)
    assert told["sku"] == odd["sku"]
    assert told["name"] == "n" * 511 + "…"


@pytest.mark.parametrize("odd", ["a\0", "\ud83d", "a\udc00b"])
@pytest.mark.parametrize("field", ["sku", "name", "id"])
def test_both_verdicts_name_the_field_when_text_is_none(odd: str, field: str) -> None:
    document = EXAMPLES["product.v1"] | {field: odd}

    assert schema_version.violations("product.v1", document) == violations("product.v1", document)
    assert [(item.code, item.field) for item in violations("product.v1", document)] == [("not_text", f"/{field}")]


def test_text_that_only_looks_like_an_escaped_nul_is_text() -> None:
    assert schema_version.violations("product.v1", EXAMPLES["product.v1"] | {"name": "a\\u0000"}) == []
