"""The product record, major 2: several bar codes, a status instead of a flag, a price that says whether it contains tax."""

from marshmallow import Schema, fields, validate

from canonical.fields import Flag, Percent, Text, Timestamp
from canonical.money import MoneySchema
from canonical.v1.parts import TAX_CATEGORIES, UNITS, chosen, described, extensions, ident, part, stock_keeping_unit, words
from canonical.v1.product import ProductDetailsSchema, VariantSchema

STATUSES = ("active", "draft", "withdrawn")
_GTIN = Text(max_length=14, min_length=8, pattern="[0-9]{8}|[0-9]{12,14}", meaning="GTIN (8, 12, 13 or 14 digits)")


class ListPriceSchema(Schema):
    """The default selling price. Source: schema.org UnitPriceSpecification."""

    amount = fields.Nested(MoneySchema, required=True, metadata=described("Price of one."))
    tax_included = Flag(metadata=described("Whether the amount contains the tax; absent: not known."))


class ProductV2Schema(ProductDetailsSchema):
    """A product as sold: one record per stock keeping unit."""

    id = ident("The source's id of the product or variant.")
    sku = stock_keeping_unit()
    gtins = fields.List(_GTIN, validate=validate.Length(min=1, max=20),
                        metadata=described("GS1 Global Trade Item Numbers, the main one first."))  # fmt: skip
    name = words("Name for people.", required=True, longest=512)
    price = part(ListPriceSchema, "Default selling price.")
    variant = part(VariantSchema, "Set if it is a variant of a product.")
    brand = words("Brand.")
    category = words("Category, as a path such as Food/Coffee.")
    unit = Text(choices=UNITS, metadata=described("What a quantity counts; absent: piece (UN/ECE Rec 20)."))
    tax_category = Text(choices=TAX_CATEGORIES, metadata=described("VAT category (EN 16931 BT-151)."))
    tax_rate = Percent(metadata=described("VAT rate in percent (BT-152)."))
    status = chosen(STATUSES, "active, draft (not yet sold) or withdrawn.")
    updated_at = Timestamp(required=True, metadata=described("When the source last changed it."))
    extensions = extensions()
