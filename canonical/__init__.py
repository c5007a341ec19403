"""The published language of retail that every connector speaks. Pure: marshmallow and nothing of ours.

Start at `registry.TYPES` (what can be said), then `v1/` (how), `rules` (what must hold).
"""

from canonical.errors import ERROR_CODES, InvalidDocumentError, Violation
from canonical.registry import TYPES, CanonicalType, type_named, validate, violations

__all__ = [
    "ERROR_CODES",
    "TYPES",
    "CanonicalType",
    "InvalidDocumentError",
    "Violation",
    "type_named",
    "validate",
    "violations",
]
