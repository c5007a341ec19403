"""Text policy: text for people never refuses a fact; an identifier is never changed.

NUL and lone surrogates are no text of PostgreSQL and of UTF-8. In text for people they are replaced, and what is too long is
cut at a mark. Canonical fields say what they are (`canonical.fields.Text.people`); a key of the hub's own is `bounded`
(`hub.store.ids`).
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields

from canonical.fields import UNSTORABLE, Extensions, Text
from canonical.registry import type_named

REPLACEMENT, MARK = "\ufffd", "…"


def clean(text: str, longest: int | None = None) -> str:
    """Replace what no store can hold, and cut ``text`` at a mark if it has more than ``longest`` characters."""
    if UNSTORABLE.search(text):
        text = UNSTORABLE.sub(REPLACEMENT, text)
    return text if longest is None or len(text) <= longest else text[: longest - 1] + MARK


def cleaned(type_name: str, document: Any) -> Any:
    """Clean the text for people of a document, by its schema. Returns the same object if nothing is changed."""
    return _of_schema(type_named(type_name).schema, document)


def _of_schema(schema: Schema, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for name, inner in value.items():
        declared = schema.fields.get(name)
        told = inner if declared is None else _of_field(declared, inner)
        if told is not inner:
            found[name] = told
    return {**value, **found} if found else value


def _of_field(declared: fields.Field[Any], value: Any) -> Any:
    if isinstance(declared, Text):
        return clean(value, declared.max_length) if declared.people and isinstance(value, str) else value
    if isinstance(declared, Extensions):
        return _everywhere(value)
    if isinstance(declared, fields.Nested):
        return _of_schema(declared.schema, value)
    if isinstance(declared, fields.List) and isinstance(value, list):
        return _same_or(value, [_of_field(declared.inner, item) for item in value])
    return value


def _everywhere(value: Any) -> Any:
    """Every string in custom fields: nobody knows more about them than that they are strings."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        told = {clean(key) if isinstance(key, str) else key: _everywhere(item) for key, item in value.items()}
        is_same = all(a is b and told[a] is value[a] for a, b in zip(told, value, strict=False)) and len(told) == len(value)
        return value if is_same else told
    if isinstance(value, list):
        return _same_or(value, [_everywhere(item) for item in value])
    return value


def _same_or(value: list[Any], told: list[Any]) -> list[Any]:
    return value if all(a is b for a, b in zip(value, told, strict=True)) else told
