"""The product record. Source: GS1 Web Vocabulary (gs1:Product), schema.org Product."""

from marshmallow import Schema, fields

from canonical.fields import Extensions, Flag, Text, Timestamp
from canonical.money import MoneySchema
from canonical.v1.parts import described


class ProductSchema(Schema):
    """A product as sold: one record per stock keeping unit."""

    id = Text(max_length=128, required=True, metadata=described("The source's id of the product or variant."))
    sku = Text(max_length=64, required=True, metadata=described("The retailer's stock keeping unit."))
    gtin = Text(max_length=14, min_length=8, pattern="[0-9]{8}|[0-9]{12,14}", meaning="GTIN (8, 12, 13 or 14 digits)",
                metadata=described("GS1 Global Trade Item Number."))  # fmt: skip
    name = Text(max_length=512, required=True, metadata=described("Name for people."))
    price = fields.Nested(MoneySchema, metadata=described("Default selling price."))
    active = Flag(required=True, metadata=described("False when it is withdrawn (a tombstone, not an absence)."))
    updated_at = Timestamp(required=True, metadata=described("When the source last changed it."))
    extensions = Extensions(metadata=described("Namespaced custom fields."))
