"""Violations: what is wrong with a document, as data a caller can act on.

Every violation names a stable ``code``, the JSON pointer of the ``field`` and a message that says the remedy.
"""

from dataclasses import dataclass

#: Every code that `canonical` can report, with what it means. The error reference is generated from this table.
ERROR_CODES: dict[str, str] = {
    "unknown_type": "The type name is not in the registry; the message lists the known ones.",
    "invalid_field": "The field's value does not have the shape the schema asks for.",
    "missing_field": "A required field is absent.",
    "unknown_field": "The field is not part of the type; custom data belongs under `extensions`.",
    "currency_scale": "An amount has more decimal places than its currency has minor units (ISO 4217).",
    "currency_mixed": "A document's amounts are in more than one currency.",
    "line_gross_mismatch": "A line's gross is not quantity x unit price, within half a minor unit.",
    "line_total_mismatch": "A line's total is not gross - discount + added tax.",
    "tax_mismatch": "The document's tax is not the sum of its lines' taxes.",
    "discount_mismatch": "The document's discount is not the sum of its lines' discounts.",
    "total_mismatch": "Lines + tip + service charge + rounding do not make the total.",
    "tenders_mismatch": "Tenders - change do not make the total.",
    "negative_amount": "An amount that must not be negative is negative; reversals have their own types.",
    "return_exceeds_sale": "More is returned than was sold, counting earlier returns.",
    "return_line_unknown": "A returned line does not exist on the original sale.",
    "states_equal": "A stock movement's from-state and to-state are the same.",
    "subject_mismatch": "The envelope's subject differs from the one the document yields.",
    "business_date_mismatch": "The envelope's business date differs from the document's.",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong: ``code`` (see `ERROR_CODES`), ``field`` (JSON pointer, '' for the whole), ``message``."""

    code: str
    field: str
    message: str

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "field": self.field, "message": self.message}


class InvalidDocumentError(ValueError):
    """A document that breaks its schema or its rules. ``violations`` is never empty."""

    def __init__(self, type_name: str, violations: list[Violation]) -> None:
        self.type_name = type_name
        self.violations = violations
        first = violations[0]
        super().__init__(f"{type_name}: {first.field or '/'}: {first.message} ({len(violations)} violation(s))")
