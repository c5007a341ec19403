"""Schema version policy: is it a valid document, and does the receiver speak its major version?

The hot path runs the generated JSON Schema in Rust. It may only accept; whatever it does not accept goes to the
marshmallow schema, which alone words errors. A property test holds both to one verdict.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from canonical.errors import Violation
from canonical.json_schema import standalone
from canonical.registry import MAX_VIOLATIONS, TYPES, shape_violations, type_named
from hub.errors import HubError


@cache
def _compiled(type_name: str) -> Any:
    return jsonschema_rs.validator_for(standalone(type_named(type_name)), validate_formats=True)


def violations(type_name: str, document: Any) -> list[Violation]:
    """Everything wrong with ``document``; the same verdict as `canonical.violations`, several times faster."""
    definition = type_named(type_name)
    if not _compiled(type_name).is_valid(document):
        found = shape_violations(definition.schema, document)
        if found:
            return found
    return list(definition.check(document))[:MAX_VIOLATIONS]


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


#: Casters between majors: (entity.event, from, to) → pure function. One major so far, so none.
CASTERS: dict[tuple[str, int, int], Any] = {}


def cast(type_name: str, document: Mapping[str, Any], major: int) -> tuple[str, Mapping[str, Any]] | None:
    """(type, document) in the ``major`` the receiver declares, or None if no caster leads there (refuse)."""
    name, _, current = type_name.rpartition(".v")
    if int(current) == major:
        return type_name, document
    caster = CASTERS.get((name, int(current), major))
    return (f"{name}.v{major}", caster(document)) if caster else None
