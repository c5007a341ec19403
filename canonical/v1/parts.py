"""The parts that several documents share: places, people, lines, taxes, tenders.

Terms: ARTS/OMG POSLog (line items, tenders), GS1 (GTIN, GLN), EN 16931 (tax rate and category).
"""

from marshmallow import Schema, fields, validate

from canonical.fields import Extensions, Flag, Percent, Quantity, Text
from canonical.money import MoneySchema


def described(text: str) -> dict[str, str]:
    """Marshmallow metadata carrying a field's description into JSON Schema and the reference."""
    return {"description": text}


class LocationSchema(Schema):
    """A store, warehouse or other place that trades or holds stock."""

    code = Text(max_length=64, required=True, metadata=described("The tenant's code for the place; links resolve it."))
    name = Text(metadata=described("Name for people."))
    gln = Text(min_length=13, max_length=13, pattern="[0-9]{13}", meaning="GLN (13 digits)",
               metadata=described("GS1 Global Location Number."))  # fmt: skip


class TillSchema(Schema):
    """The till (POSLog Workstation) that rang it up."""

    number = Text(max_length=64, required=True, metadata=described("Till id within the location."))
    session = Text(max_length=64, metadata=described("Cash session, where the till has them."))


class CustomerSchema(Schema):
    """The customer as the till knows them; personal fields are masked outside the store."""

    id = Text(max_length=128, required=True, metadata=described("The source system's customer id."))
    name = Text(metadata=described("Name (personal data)."))
    email = Text(max_length=254, metadata=described("E-mail (personal data)."))


class LineTaxSchema(Schema):
    """One tax on one line. Source: EN 16931 BG-30 (VAT per line)."""

    name = Text(required=True, metadata=described("Name on the receipt."))
    rate = Percent(required=True, metadata=described("Rate in percent."))
    amount = fields.Nested(MoneySchema, required=True, metadata=described("Tax on this line."))
    included = Flag(metadata=described("True if the line's gross already contains it; absent means added on top."))


class LineSchema(Schema):
    """A line item: total = gross - discount + taxes that are not included. Source: POSLog LineItem."""

    id = Text(max_length=128, required=True, metadata=described("Unique within the document."))
    sku = Text(max_length=64, required=True, metadata=described("The retailer's stock keeping unit."))
    gtin = Text(max_length=14, min_length=8, pattern="[0-9]{8}|[0-9]{12,14}", meaning="GTIN (8, 12, 13 or 14 digits)",
                metadata=described("GS1 Global Trade Item Number."))  # fmt: skip
    description = Text(max_length=512, metadata=described("As printed on the receipt."))
    quantity = Quantity(required=True, metadata=described("Always positive; the document says the direction."))
    unit_price = fields.Nested(MoneySchema, required=True, metadata=described("Price of one, before discount."))
    gross = fields.Nested(MoneySchema, required=True, metadata=described("quantity x unit price, rounded."))
    discount = fields.Nested(MoneySchema, metadata=described("Taken off this line (positive)."))
    taxes = fields.List(fields.Nested(LineTaxSchema), validate=validate.Length(max=20),
                        metadata=described("Taxes on this line."))  # fmt: skip
    total = fields.Nested(MoneySchema, required=True, metadata=described("What the customer pays for this line."))
    extensions = Extensions(metadata=described("Namespaced custom fields."))


class ReturnLineSchema(LineSchema):
    """A line that came back; quantities and amounts are positive, the document's type says the direction."""

    original_line_id = Text(max_length=128, metadata=described("Line of the original sale."))
    reason = Text(metadata=described("Why it came back."))


class OriginalSchema(Schema):
    """The sale that a return or exchange refers to."""

    id = Text(max_length=128, required=True, metadata=described("The sale document's id."))
    number = Text(max_length=64, metadata=described("Its receipt number."))


TENDER_TYPES = ("cash", "card", "gift_card", "bank_transfer", "wallet", "other")


class TenderSchema(Schema):
    """How it was paid. Source: POSLog Tender."""

    type = Text(choices=TENDER_TYPES, required=True, metadata=described("Kind of tender."))
    amount = fields.Nested(MoneySchema, required=True, metadata=described("Amount tendered."))
    reference = Text(max_length=128, metadata=described("The payment's id at the source."))
