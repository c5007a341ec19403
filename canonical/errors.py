"""Violations: what is wrong with a document, as data a caller can act on.

Every violation names a stable ``code``, the JSON pointer of the ``field`` and a message that says the remedy.
"""

from dataclasses import dataclass

#: Every code that `canonical` can report, with what it means. The error reference is generated from this table.
ERROR_CODES: dict[str, str] = {
    "unknown_type": "The type name is not in the registry; the message lists the known ones.",
    "invalid_field": "The field's value does not have the shape the schema asks for.",
    "missing_field": "A required field is absent.",
    "not_text": "The text holds NUL or a lone surrogate, which no system can store.",
    "unknown_field": "The field is not part of the type; custom data belongs under `extensions`.",
    "currency_scale": "An amount has more decimal places than its currency has minor units (ISO 4217).",
    "currency_unknown": "A currency code is no active currency of ISO 4217.",
    "currency_mixed": "A document's amounts are in more than one currency.",
    "line_gross_mismatch": "A line's gross is not quantity x unit price, within half a minor unit.",
    "line_total_mismatch": "A line's total is not gross - discount + added tax.",
    "tax_mismatch": "The document's tax is not the sum of its lines' taxes.",
    "tax_exceeds_price": "The included taxes of a line are more than its price less discount.",
    "discount_mismatch": "The document's discount is not the sum of its lines' discounts.",
    "total_mismatch": "Lines + tip + service charge + rounding - fees do not make the total.",
    "tenders_mismatch": "Tenders - change do not make the total (+ exchange difference).",
    "rounding_implausible": "A rounding is larger than cash is ever rounded in its currency.",
    "exchange_difference_implausible": "An exchange difference without, or too large for, payments in another currency.",
    "negative_amount": "An amount that must not be negative is negative; reversals have their own types.",
    "return_exceeds_sale": "More is returned than was sold, counting earlier returns.",
    "return_exceeds_paid": "More money is given back than the original sale came to, counting earlier returns.",
    "return_line_unknown": "A returned line does not exist on the original sale.",
    "states_equal": "A stock movement's from-state and to-state are the same.",
    "check_digit": "A GTIN, GLN or SSCC does not end with its check digit (GS1 modulo 10).",
    "business_date_implausible": "The trading day is more than three days before or one after the local day of the event.",
    "tax_breakdown_mismatch": "The tax by category and rate is not what the lines say.",
    "tax_category_rate": "The VAT category does not go with its rate: zero, exempt and reverse-charged supplies have none.",
    "tax_amount_mismatch": "A tax is not its base x rate, within half a minor unit (EN 16931 BR-CO-17).",
    "net_mismatch": "The net is not lines - allowances + charges (EN 16931 BR-CO-13), or not the sum of a payout's lines.",
    "gross_mismatch": "The gross total is not net + tax (EN 16931 BR-CO-15).",
    "payable_mismatch": "What is to pay is not gross - prepaid + rounding (EN 16931 BR-CO-16).",
    "journal_unbalanced": "A journal entry's debits and credits differ in a currency.",
    "conversion_mismatch": "A converted amount is not amount x rate, within half a minor unit.",
    "tender_count_mismatch": "A closing till's expected amount or difference is not what its parts make.",
    "closure_mismatch": "A till's closure is not the sum of its transactions.",
    "closure_unverifiable": "A closure's sum cannot be checked: a void names neither its tenders nor a sale that is known.",
    "repeated_key": "Entries of a list that must differ are the same.",
    "locations_equal": "A movement's origin and destination are the same.",
    "nothing_moved": "A line moves nothing.",
    "period_reversed": "A period ends before it begins.",
    "sale_voided": "The sale was voided: it can neither come back nor be voided again.",
    "reversal_mismatch": "A void does not take back all of its sale, to the last minor unit.",
    "refund_exceeds_payment": "More is refunded than was captured and not refunded before.",
    "transfer_exceeds_sent": "More arrives than the transfer sent.",
    "release_exceeds_reservation": "More is released than was reserved.",
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
