"""What is told at a look: documents about which the rules that every document keeps to certainly have nothing to say.

Most documents are in one currency and to its minor unit. That is said as a JSON Schema too, so that one pass of a compiled
validator answers for the shape and for the amounts. Keys with a check digit are looked at where the type has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from canonical.fields import amount_pattern
from canonical.identifiers import valid_key
from canonical.json_schema import standalone
from canonical.money import CURRENCIES, scale
from canonical.registry import type_named
from canonical.rules import KEYS


def schema(name: str, currency: str) -> dict[str, Any]:
    """The type's JSON Schema, for those documents only whose amounts are all in ``currency`` and no finer than it has.

    ``currency``: as `currency` says; of none, none pass; of a type that may mix them, those of currencies with two places.
    """
    made = standalone(type_named(name))
    money = made["$defs"].get("Money")
    if money is not None:
        declared = money["properties"]
        mixed = type_named(name).currencies == "many"
        places = scale(currency)
        allowed = (
            sorted(other for other in CURRENCIES if scale(other) >= places)
            if mixed
            else [currency]
            if currency in CURRENCIES
            else []
        )
        kind: dict[str, Any] = {"enum": allowed} if allowed else {"not": {}}
        money["properties"] = {
            "amount": {**declared["amount"], "pattern": f"^({amount_pattern(places)})$"},
            "currency": {**declared["currency"], **kind},
        }
    return made


def currency(name: str, document: Any) -> str:
    """The one that its first amount is in; '' where it has none at a look, or where they may be mixed."""
    for path in _amounts(name):
        found = document
        for step in path:
            found = found[0] if isinstance(found, list) and found else found
            found = found.get(step) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found
    return ""


@cache
def _amounts(name: str) -> tuple[tuple[str, ...], ...]:
    """Where its currency stands: in its own amounts, those that are required first, else in those of what it holds."""
    made = standalone(type_named(name))

    def of(declared: Mapping[str, Any]) -> list[tuple[str, ...]]:
        fields = [(field, _inner(item)) for field, item in declared.get("properties", {}).items()]
        required = declared.get("required", ())
        found = [field for field, part in fields if part == "Money"]
        return [(field, "currency") for field in sorted(found, key=lambda field: field not in required)]

    parts = [(field, _inner(item)) for field, item in made["properties"].items()]
    inner = [(field, *path) for field, part in parts if part in made["$defs"] for path in of(made["$defs"][part])]
    return () if type_named(name).currencies == "many" else (*of(made), *inner)


@dataclass(frozen=True)
class _Keyed:
    """Where keys with a check digit may stand: fields of an object, and those of what it holds."""

    fields: tuple[str, ...]
    inner: tuple[tuple[str, "_Keyed"], ...]


def keys_fine(name: str, document: Mapping[str, Any]) -> bool:
    """Whether every GTIN, GLN and SSCC of a document of this shape ends with its check digit."""
    return _fine(document, _keyed(name))


def _fine(value: Mapping[str, Any], keyed: _Keyed) -> bool:
    for field in keyed.fields:
        if field in value:
            found = value[field]
            if not all(map(valid_key, [found] if isinstance(found, str) else found)):
                return False
    for field, below in keyed.inner:
        if field in value:
            found = value[field]
            if not all(_fine(item, below) for item in (found if isinstance(found, list) else (found,))):
                return False
    return True


@cache
def _keyed(name: str) -> _Keyed:
    made = standalone(type_named(name))

    def of(declared: Mapping[str, Any]) -> _Keyed:
        properties = declared["properties"]
        inner = [(field, _inner(item)) for field, item in properties.items()]
        found = [(field, of(made["$defs"][part])) for field, part in inner if "properties" in made["$defs"].get(part, {})]
        below = tuple((field, keyed) for field, keyed in found if keyed.fields or keyed.inner)
        return _Keyed(tuple(field for field in properties if field in KEYS), below)

    return of(made)


def _inner(declared: Mapping[str, Any]) -> str:
    """The name of what a property holds, or each of its items; '' where it is a value."""
    declared = declared.get("items", declared)
    declared = declared["allOf"][0] if "allOf" in declared else declared
    return str(declared.get("$ref", "")).rpartition("/")[2]
