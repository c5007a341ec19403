"""Master records beside the product: price, customer, location. A record is the whole of it as it is now.

Terms: GS1 Web Vocabulary, schema.org, EN 16931 (parties).
"""

from marshmallow import Schema, fields, validate

from canonical.fields import BusinessDate, Currency, Flag, Quantity, Text, Timestamp
from canonical.v1.parts import (
    AddressSchema,
    LocationSchema,
    chosen,
    described,
    extensions,
    gtin,
    ident,
    part,
    price,
    several,
    stock_keeping_unit,
    words,
)


class PriceSchema(Schema):
    """What one item costs, in a price list, at a place, from a quantity on. Source: schema.org UnitPriceSpecification."""

    id = ident("The source's id of the price.")
    sku = stock_keeping_unit()
    gtin = gtin()
    price_list = Text(max_length=64, metadata=described("Which list; absent: the only one."))
    location = part(LocationSchema, "Only there; absent: everywhere.")
    amount = price("Price of one.", required=True)
    tax_included = Flag(required=True, metadata=described("True if the amount contains the tax."))
    least_quantity = Quantity(metadata=described("From this quantity on."))
    valid_from = Timestamp(metadata=described("From when."))
    valid_until = Timestamp(metadata=described("Until when."))
    active = Flag(required=True, metadata=described("False when it is withdrawn."))
    updated_at = Timestamp(required=True, metadata=described("When the source last changed it."))
    extensions = extensions()


class PriceChangedSchema(Schema):
    """A price was changed: the fact, for labels, audits and promotions."""

    id = ident("The source's id of the change.")
    sku = stock_keeping_unit()
    gtin = gtin()
    price_list = Text(max_length=64, metadata=described("Which list; absent: the only one."))
    location = part(LocationSchema, "Only there; absent: everywhere.")
    before = price("Price of one before; absent: there was none.")
    after = price("Price of one from then on.", required=True)
    tax_included = Flag(required=True, metadata=described("True if the amounts contain the tax."))
    occurred_at = Timestamp(required=True, metadata=described("From when it counts."))
    valid_until = Timestamp(metadata=described("Until when, for a promotion."))
    reason = words("Why.")
    extensions = extensions()


class CustomerRecordSchema(Schema):
    """A customer. Personal fields are masked outside the store."""

    id = ident("The source's id of the customer.")
    number = Text(max_length=64, metadata=described("Customer number for people."))
    name = words("Name (personal data).", required=True)
    company = words("Company, if it is one (EN 16931 BT-44).")
    email = Text(max_length=254, metadata=described("E-mail (personal data)."))
    phone = Text(max_length=64, metadata=described("Telephone (personal data)."))
    tax_number = Text(max_length=32, metadata=described("VAT identifier (BT-48)."))
    addresses = several(AddressSchema, "Postal addresses (personal data).", most=20)
    groups = fields.List(Text(max_length=64), validate=validate.Length(max=50), metadata=described("Customer groups."))
    marketing = Flag(metadata=described("True if they agreed to be written to."))
    active = Flag(required=True, metadata=described("False when withdrawn."))
    updated_at = Timestamp(required=True, metadata=described("When the source last changed it."))
    extensions = extensions()


LOCATION_TYPES = ("store", "warehouse", "office", "online", "other")


class PlaceSchema(Schema):
    """A location record: store, warehouse, office. Source: GS1 Place."""

    id = ident("The source's id of the place.")
    code = Text(max_length=64, required=True, metadata=described("The tenant's code; what every document calls it."))
    name = words("Name for people.", required=True)
    type = chosen(LOCATION_TYPES, "What it is.")
    gln = Text(min_length=13, max_length=13, pattern="[0-9]{13}", meaning="GLN (13 digits)",
               metadata=described("GS1 Global Location Number."))  # fmt: skip
    address = part(AddressSchema, "Postal address.")
    time_zone = Text(max_length=64, pattern="[A-Za-z]+(/[A-Za-z0-9_+-]+)*", meaning="IANA time zone",
                     required=True, metadata=described("IANA time zone; says what a trading day is."))  # fmt: skip
    currency = Currency(required=True, metadata=described("ISO 4217, what its tills ring up."))
    entity = Text(max_length=64, metadata=described("Legal entity whose place it is."))
    cutoff = Text(max_length=5, pattern="([01][0-9]|2[0-3]):[0-5][0-9]", meaning="time of day (HH:MM)",
                  metadata=described("Local time at which a trading day begins, e.g. 04:00; absent: midnight."))  # fmt: skip
    calendar = words("Trading calendar it keeps.")
    opened_on = BusinessDate(metadata=described("First trading day."))
    closed_on = BusinessDate(metadata=described("Last trading day."))
    active = Flag(required=True, metadata=described("False when it is given up."))
    updated_at = Timestamp(required=True, metadata=described("When the source last changed it."))
    extensions = extensions()
