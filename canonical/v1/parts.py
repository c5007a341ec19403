"""The parts that several documents share: places, people, lines, taxes, tenders.

Terms: ARTS/OMG POSLog (line items, tenders), GS1 (GTIN, GLN), EN 16931 (tax rate and category).
"""

from typing import Any

from marshmallow import Schema, fields, validate

from canonical.fields import Amount, Currency, Extensions, Flag, Percent, Quantity, Rate, Text
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


def article() -> Text:
    """The article of a line, or a code of its kind."""
    return Text(
        max_length=64, required=True, metadata=described("Stock keeping unit; without an article a code such as DELIVERY.")
    )


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
    rate = Percent(required=True, metadata=described("Rate in percent; 0 for a fixed amount per unit."))
    amount = fields.Nested(MoneySchema, required=True, metadata=described("Tax on this line."))
    category = Text(choices=TAX_CATEGORIES, metadata=described("VAT category, UN/CEFACT 5305 (EN 16931 BT-151)."))
    included = Flag(metadata=described("True if the line's gross already contains it; absent means added on top."))
    base = price("Amount that is taxed, where it is not the line's price less discount and included taxes (compound taxes).")
    per_unit = price("Fixed tax on one unit, for a tax that is no percentage.")
    code = Text(max_length=64, metadata=described("Tax code at the source."))
    jurisdiction = words("Authority that levies the tax, e.g. US-NY.")


#: Kinds of a line; `goods` is the default. Only goods move stock. `amount`: a sum typed in at the till without an article.
LINE_KINDS = (
    "goods", "service", "gift_card", "deposit", "donation", "fee", "delivery", "service_charge", "duty", "amount",
)  # fmt: skip
UNITS = ("piece", "kilogram", "gram", "litre", "millilitre", "metre", "square_metre", "hour", "pack", "other")


class LineDetailsSchema(Schema):
    """Facts about a line beyond its amounts, the same in every major."""

    kind = Text(choices=LINE_KINDS, metadata=described("Kind of line; absent: goods. Only goods move stock."))
    stocked = Flag(metadata=described("False for goods that are not kept in stock; absent: they are."))
    unit = Text(choices=UNITS, metadata=described("Unit of the quantity; absent: piece (UN/ECE Rec 20)."))
    department = words("Department or category of the article.")
    gift_card_id = ident("Gift card that is sold or reloaded (kind gift_card).", required=False)
    unit_cost = price("Cost of one unit without tax, as the source knows it.")


class LineSchema(LineDetailsSchema):
    """A line item: total = gross - discount + taxes that are not included. Source: POSLog LineItem."""

    id = Text(max_length=128, required=True, metadata=described("Unique within the document."))
    sku = article()
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
    code = Text(max_length=64, metadata=described("Tax code at the source."))
    jurisdiction = words("Authority that levies the tax, e.g. US-NY.")
    exemption_reason = words("Why no tax is due (BT-120).")


#: States in which returned goods end; `none`: they did not come back into any stock.
RETURN_STATES = ("available", "damaged", "unsellable", "none")


class ReturnLineSchema(LineSchema):
    """A line that came back; quantities and amounts are positive, the document's type says the direction."""

    original_line_id = Text(max_length=128, metadata=described("Line of the original sale."))
    reason = Text(people=True, metadata=described("Why it came back."))
    state = Text(
        choices=RETURN_STATES,
        metadata=described("Stock state of the goods afterwards; absent: available; none: not restocked."),
    )
    restocked_at = part(LocationSchema, "Place that took the goods, where it is not the document's location.")


class OriginalSchema(Schema):
    """The sale that a return or exchange refers to."""

    id = Text(max_length=128, required=True, metadata=described("The sale document's id."))
    number = Text(max_length=64, metadata=described("Its receipt number."))


TENDER_TYPES = (
    "cash", "card", "gift_card", "bank_transfer", "wallet", "other",
    "store_credit", "house_account", "voucher", "check", "pay_later", "loyalty", "deposit",
)  # fmt: skip


class ForeignMoneySchema(Schema):
    """An amount in another currency than the document's, with the rate at which the source converted it."""

    amount = Amount(required=True, metadata=described("Decimal string, at most the currency's minor units."))
    currency = Currency(required=True, metadata=described("ISO 4217 alphabetic code."))
    rate = Rate(metadata=described("Units of the document's currency for one of this currency."))


class TenderDetailsSchema(Schema):
    """Facts about a tender beyond its kind and amount, the same in every major."""

    provider = words("Processor or issuer, e.g. square, adyen, sodexo.")
    brand = words("Card scheme or wallet, e.g. visa.")
    tip = price("Tip within the amount.")
    foreign = part(ForeignMoneySchema, "Same amount in the currency in which the customer paid.")


class TenderSchema(TenderDetailsSchema):
    """How it was paid. Source: POSLog Tender."""

    type = Text(choices=TENDER_TYPES, required=True, metadata=described("Kind of tender."))
    amount = fields.Nested(MoneySchema, required=True, metadata=described("Amount tendered."))
    reference = Text(
        max_length=128, metadata=described("The source's id of this tender; without payment_id it is the payment's id.")
    )
    payment_id = ident("The payment whose money moves, where that is not the reference: a refund names what it gives back.",
                       required=False)  # fmt: skip
