"""Schema version policy: is it a valid document, and does the receiver speak its major version?

The hot path runs the generated JSON Schema in Rust, of plain documents (`canonical.plain`) together with the rules that every
document keeps to. It may only accept; whatever it does not accept goes to the marshmallow schema and to the rules, which alone
word errors. A property test holds them to one verdict.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import jsonschema_rs
import orjson
from marshmallow import Schema

from canonical import plain, versions
from canonical.errors import Violation
from canonical.json_schema import of_schema
from canonical.registry import MAX_VIOLATIONS, TYPES, shape_violations, type_named
from canonical.rules import text_rules
from hub.errors import HubError


def compiled(schema: type[Schema]) -> Any:
    """A validator of a marshmallow schema's shape that may only accept."""
    return jsonschema_rs.validator_for(of_schema(schema, schema.__name__), validate_formats=True)


#: By type, the validators of its plain documents by currency; for the first that come, so that nobody fills the memory.
_PLAIN: defaultdict[str, dict[str, Any]] = defaultdict(dict)
_CURRENCIES = 16


@cache
def _compiled(type_name: str) -> Any:
    return compiled(type_named(type_name).schema_class)


def violations(type_name: str, document: Any) -> list[Violation]:
    """Everything wrong with ``document``; the same verdict as `canonical.violations`, several times faster."""
    definition = type_named(type_name)
    if found := text_violations(document):
        return found
    if _plain(type_name, document):
        return list(definition.check(document))[:MAX_VIOLATIONS]
    if not _compiled(type_name).is_valid(document):
        found = shape_violations(definition.schema, document)
        if found:
            return found
    return list(definition.rules(document))[:MAX_VIOLATIONS]


def text_violations(document: Any) -> list[Violation]:
    """Text that no store can hold (NUL, lone surrogates); looked for in one pass over the JSON text."""
    try:
        if b"\\u0000" not in orjson.dumps(document):
            return []
    except TypeError:  # a lone surrogate, or a value that JSON has no form for: the schema words that
        pass
    return list(text_rules(document))[:MAX_VIOLATIONS]


def _plain(type_name: str, document: Any) -> bool:
    """Whether the shape is right, and what every document keeps to is certainly kept to."""
    known, currency = _PLAIN[type_name], plain.currency(type_name, document)
    validator = known.get(currency)
    if validator is None:
        if len(known) >= _CURRENCIES or len(currency) > 3:
            return False
        made = jsonschema_rs.validator_for(plain.schema(type_name, currency), validate_formats=True)
        validator = known.setdefault(currency, made)
    return bool(validator.is_valid(document)) and plain.keys_fine(type_name, document)


def require_valid(type_name: str, document: Any, pointer: str = "") -> None:
    """Raise HubError (`unknown_type`, `invalid_document`) with one entry per bad field."""
    if type_name not in TYPES:
        known = ", ".join(sorted(TYPES))
        error = Violation("unknown_type", "/type", f"{type_name!r} is not one of {known}")
        raise HubError("unknown_type", error.message, [error.as_dict()])
    found = violations(type_name, document)
    if found:
        errors = [Violation(item.code, pointer + item.field, item.message).as_dict() for item in found]
        raise HubError("invalid_document", f"{len(errors)} thing(s) wrong with this {type_name}", errors)


def spoken(written: Collection[str], type_name: str) -> str | None:
    """The type in which a receiver that writes ``written`` gets a ``type_name``: its own, or another major (newest first)."""
    if type_name in written:
        return type_name
    entity = type_name.rpartition(".v")[0]
    others = (f"{entity}.v{major}" for major in sorted(versions.majors(entity), reverse=True))
    return next((name for name in others if name in written), None)


def cast(type_name: str, document: Mapping[str, Any], wanted: str) -> Mapping[str, Any] | None:
    """``document`` as a ``wanted``, another major of its type; None if no caster leads there (refuse)."""
    if type_name == wanted:
        return document
    found = versions.cast(type_name, document, type_named(wanted).major)
    return found[1] if found is not None and found[0] == wanted else None
