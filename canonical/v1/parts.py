"""The parts that several documents share: places, people, lines, taxes, tenders.

Terms: ARTS/OMG POSLog (line items, tenders), GS1 (GTIN, GLN), EN 16931 (tax rate and category).
"""

from typing import Any

from marshmallow import Schema, fields, validate

from canonical.fields import Extensions, Flag, Percent, Quantity, Text
from canonical.money import MoneySchema


def described(text: str) -> dict[str, str]:
    """Marshmallow metadata carrying a field's description into JSON Schema and the reference."""
    return {"description": text}


def ident(text: str, required: bool = True) -> Text:
    """An id as some system gives it."""
    return Text(max_length=128, required=required, metadata=described(text))


def words(text: str, required: bool = False, longest: int = 255, people: bool = True) -> Text:
    """Text for people; or a code, if ``people`` is false."""
    return Text(max_length=longest, required=required, people=people, metadata=described(text))


def chosen(choices: tuple[str, ...], text: str, required: bool = True) -> Text:
    """One of a list of codes."""
    return Text(choices=choices, required=required, metadata=described(text))


def price(text: str, required: bool = False) -> fields.Nested:
    """An amount of money."""
    return fields.Nested(MoneySchema, required=required, metadata=described(text))


def part(schema: type[Schema], text: str, required: bool = False) -> fields.Nested:
    """A nested object."""
    return fields.Nested(schema, required=required, metadata=described(text))


def several(schema: type[Schema], text: str, least: int = 0, most: int = 1000) -> "fields.List[Any]":
    """A list of nested objects; required if at least one must be there."""
    length = validate.Length(min=least or None, max=most)
    return fields.List(fields.Nested(schema), required=least > 0, validate=length, metadata=described(text))


def stock_keeping_unit() -> Text:
    """The retailer's own article number."""
    return Text(max_length=64, required=True, metadata=described("The retailer's stock keeping unit."))


def gtin() -> Text:
    """A GS1 article number; its check digit is a rule."""
    return Text(max_length=14, min_length=8, pattern="[0-9]{8}|[0-9]{12,14}", meaning="GTIN (8, 12, 13 or 14 digits)",
                metadata=described("GS1 Global Trade Item Number."))  # fmt: skip


def extensions() -> Extensions:
    """The place for custom fields."""
    return Extensions(metadata=described("Namespaced custom fields."))


class Country(Text):
    """An ISO 3166-1 alpha-2 code."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=2, min_length=2, pattern="[A-Z]{2}", meaning="ISO 3166-1 country code", **kwargs)


class AddressSchema(Schema):
    """A postal address. Source: EN 16931 BG-8, UBL PostalAddress."""

    lines = fields.List(Text(max_length=255, people=True), validate=validate.Length(max=4),
                        metadata=described("Street, building, addition (BT-50, BT-51); personal data."))  # fmt: skip
    city = words("City (BT-52).")
    postal_code = Text(max_length=32, people=True, metadata=described("Post code (BT-53)."))
    region = words("State or province (BT-54).")
    country = Country(required=True, metadata=described("ISO 3166-1 alpha-2 (BT-55)."))


class ReferenceSchema(Schema):
    """Another document, by the id its source gave it."""

    id = ident("The document's id.")
    number = Text(max_length=64, metadata=described("Its number for people."))


class LocationSchema(Schema):
    """A store, warehouse or other place that trades or holds stock."""

    code = Text(max_length=64, required=True, metadata=described("The tenant's code for the place; links resolve it."))
    name = Text(people=True, metadata=described("Name for people."))
    gln = Text(min_length=13, max_length=13, pattern="[0-9]{13}", meaning="GLN (13 digits)",
               metadata=described("GS1 Global Location Number."))  # fmt: skip


class TillSchema(Schema):
    """The till (POSLog Workstation) that rang it up."""

    number = Text(max_length=64, required=True, metadata=described("Till id within the location."))
    session = Text(max_length=64, metadata=described("Cash session, where the till has them."))


class CustomerSchema(Schema):
    """The customer as the till knows them; personal fields are masked outside the store."""

    id = Text(max_length=128, required=True, metadata=described("The source system's customer id."))
    name = Text(people=True, metadata=described("Name (personal data)."))
    email = Text(max_length=254, metadata=described("E-mail (personal data)."))


#: VAT categories of EN 16931 (UN/CEFACT 5305): standard, zero, exempt, reverse charge, intra-community, export, outside,
#: Canaries, Ceuta and Melilla.
TAX_CATEGORIES = ("S", "Z", "E", "AE", "K", "G", "O", "L", "M")


class LineTaxSchema(Schema):
    """One tax on one line. Source: EN 16931 BG-30 (VAT per line)."""

    name = Text(required=True, people=True, metadata=described("Name on the receipt."))
    rate = Percent(required=True, metadata=described("Rate in percent."))
    amount = fields.Nested(MoneySchema, required=True, metadata=described("Tax on this line."))
    category = Text(choices=TAX_CATEGORIES, metadata=described("VAT category, UN/CEFACT 5305 (EN 16931 BT-151)."))
    included = Flag(metadata=described("True if the line's gross already contains it; absent means added on top."))


class LineSchema(Schema):
    """A line item: total = gross - discount + taxes that are not included. Source: POSLog LineItem."""

    id = Text(max_length=128, required=True, metadata=described("Unique within the document."))
    sku = Text(max_length=64, required=True, metadata=described("The retailer's stock keeping unit."))
    gtin = gtin()
    description = Text(max_length=512, people=True, metadata=described("As printed on the receipt."))
    quantity = Quantity(required=True, metadata=described("Always positive; the document says the direction."))
    unit_price = fields.Nested(MoneySchema, required=True, metadata=described("Price of one, before discount."))
    gross = fields.Nested(MoneySchema, required=True, metadata=described("quantity x unit price, rounded."))
    discount = fields.Nested(MoneySchema, metadata=described("Taken off this line (positive)."))
    taxes = fields.List(fields.Nested(LineTaxSchema), validate=validate.Length(max=20),
                        metadata=described("Taxes on this line."))  # fmt: skip
    total = fields.Nested(MoneySchema, required=True, metadata=described("What the customer pays for this line."))
    extensions = Extensions(metadata=described("Namespaced custom fields."))


class TaxBreakdownSchema(Schema):
    """One tax category and rate of a document: what was taxed and how much tax it makes. Source: EN 16931 BG-23."""

    category = chosen(TAX_CATEGORIES, "VAT category (BT-118).")
    rate = Percent(required=True, metadata=described("Rate in percent (BT-119)."))
    taxable = price("Sum taxed at this rate, without the tax (BT-116).", required=True)
    amount = price("The tax (BT-117).", required=True)
    exemption_reason = words("Why no tax is due (BT-120).")


class ReturnLineSchema(LineSchema):
    """A line that came back; quantities and amounts are positive, the document's type says the direction."""

    original_line_id = Text(max_length=128, metadata=described("Line of the original sale."))
    reason = Text(people=True, metadata=described("Why it came back."))


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
