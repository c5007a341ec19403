"""The product record. Source: GS1 Web Vocabulary (gs1:Product), schema.org Product."""

from marshmallow import Schema, fields

from canonical.fields import Extensions, Flag, Percent, Text, Timestamp
from canonical.money import MoneySchema
from canonical.v1.parts import LINE_KINDS, TAX_CATEGORIES, UNITS, described, gtin, ident, part, price, several, words


class OptionSchema(Schema):
    """One property that tells a variant from its siblings."""

    name = words("What varies, e.g. size.", required=True)
    value = words("How, e.g. XL.", required=True)


class VariantSchema(Schema):
    """To which product a variant belongs (gs1:ProductGroup, schema.org isVariantOf), and what makes it one."""

    product_id = ident("The source's id of the product that has variants.")
    product_name = words("Its name.")
    options = several(OptionSchema, "What tells it from the others, in the order of the shop.", most=20)


class ProductDetailsSchema(Schema):
    """Facts about a product for stock and accounting, the same in every major."""

    kind = Text(choices=LINE_KINDS, metadata=described("Kind of its lines; absent: goods."))
    stocked = Flag(metadata=described("False if it is not kept in stock; absent: it is."))
    department = words("Department for reports and accounts.")
    cost = price("Cost of one unit without tax.")


class ProductSchema(ProductDetailsSchema):
    """A product as sold: one record per stock keeping unit."""

    id = Text(max_length=128, required=True, metadata=described("The source's id of the product or variant."))
    sku = Text(max_length=64, required=True, metadata=described("The retailer's stock keeping unit."))
    gtin = gtin()
    name = Text(max_length=512, required=True, people=True, metadata=described("Name for people."))
    price = fields.Nested(MoneySchema, metadata=described("Default selling price."))
    variant = part(VariantSchema, "Set if it is a variant of a product.")
    brand = words("Brand.")
    category = words("Category, as a path such as Food/Coffee.")
    unit = Text(choices=UNITS, metadata=described("What a quantity counts; absent: piece (UN/ECE Rec 20)."))
    tax_category = Text(choices=TAX_CATEGORIES, metadata=described("VAT category (EN 16931 BT-151)."))
    tax_rate = Percent(metadata=described("VAT rate in percent (BT-152)."))
    active = Flag(required=True, metadata=described("False when it is withdrawn (a tombstone, not an absence)."))
    updated_at = Timestamp(required=True, metadata=described("When the source last changed it."))
    extensions = Extensions(metadata=described("Namespaced custom fields."))
