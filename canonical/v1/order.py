"""Orders and what is done for them: placed, changed, cancelled, fulfilled, shipped.

Terms: UBL Order and DespatchAdvice, schema.org Order, GS1 (SSCC).
"""

from marshmallow import Schema, fields, validate

from canonical.fields import BusinessDate, Count, Flag, Quantity, Text, Timestamp
from canonical.v1.parts import (
    AddressSchema,
    CustomerSchema,
    LineSchema,
    LocationSchema,
    ReferenceSchema,
    TaxBreakdownSchema,
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

CHANNELS = ("web", "store", "phone", "marketplace", "wholesale", "other")


class OrderStateSchema(Schema):
    """An order as it stands: the whole of it, never a difference."""

    id = ident("The source's id of the order.")
    number = Text(max_length=64, required=True, metadata=described("Order number for people."))
    revision = Count(metadata=described("Counts the order's states; absent in the first."))
    channel = Text(choices=CHANNELS, metadata=described("Where it was placed."))
    location = part(LocationSchema, "Who fulfils it, or where it is collected.")
    customer = part(CustomerSchema, "Who ordered.")
    ship_to = part(AddressSchema, "Where it goes (UBL DeliveryAddress).")
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    requested_by = Timestamp(metadata=described("When it is wanted (UBL RequestedDeliveryPeriod)."))
    lines = several(LineSchema, "What is ordered (UBL OrderLine).", least=1)
    discount = price("Sum of the lines' discounts.")
    shipping = price("Delivery, tax included, where its tax is not known; else it is a line of kind delivery.")
    tax = price("Sum of the lines' taxes, included or added.", required=True)
    taxes = several(TaxBreakdownSchema, "The tax by category and rate.", most=50)
    total = price("Lines + shipping.", required=True)
    note = words("The customer's remark.", longest=1000)
    extensions = extensions()


class OrderPlacedSchema(OrderStateSchema):
    """Somebody ordered."""


class OrderChangedSchema(OrderStateSchema):
    """The order was changed before it was complete; this is all of it as it is now."""

    reason = words("Why.")


class OrderCancelledSchema(Schema):
    """The order will not be fulfilled, or not what was left of it."""

    id = ident("The source's id of the order.")
    number = Text(max_length=64, metadata=described("Order number for people."))
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    refund_due = price("What has to be given back.")
    reason = words("Why.")
    extensions = extensions()


class GoodsSchema(Schema):
    """Goods that move: what, how many, which lot. Source: EPCIS quantityElement, UBL DespatchLine."""

    line_id = ident("Line of the order or transfer they belong to.", required=False)
    sku = stock_keeping_unit()
    gtin = gtin()
    quantity = Quantity(required=True, metadata=described("Always positive."))
    lot = Text(max_length=64, metadata=described("Lot or batch (GS1 AI 10)."))
    serials = fields.List(Text(max_length=64), validate=validate.Length(max=1000),
                          metadata=described("Serial numbers (GS1 AI 21)."))  # fmt: skip


class FulfillmentFactSchema(Schema):
    """What every fact about fulfilling an order carries."""

    id = ident("The source's id of this fact.")
    order = part(ReferenceSchema, "The order.", required=True)
    location = part(LocationSchema, "Where the goods were.", required=True)
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    goods = several(GoodsSchema, "What.", least=1)
    extensions = extensions()


class FulfillmentCompletedSchema(FulfillmentFactSchema):
    """Goods of an order were picked and handed over, at a counter or to a carrier. They leave the stock here, once."""

    shipment_id = ident("The shipment they go with, if they are sent.", required=False)
    reserved = Flag(metadata=described("True if they were reserved before: then they leave from there."))


class ShipmentDispatchedSchema(FulfillmentFactSchema):
    """A parcel left (UBL DespatchAdvice). It moves no stock: the fulfilment did."""

    carrier = words("Who carries it.")
    tracking_number = Text(max_length=128, metadata=described("The carrier's number."))
    packages = fields.List(Text(min_length=18, max_length=18, pattern="[0-9]{18}", meaning="SSCC (18 digits)"),
                           validate=validate.Length(max=100),
                           metadata=described("GS1 Serial Shipping Container Codes."))  # fmt: skip
    ship_to = part(AddressSchema, "Where it goes.")


class ShipmentDeliveredSchema(Schema):
    """A parcel arrived."""

    id = ident("The source's id of the shipment.")
    order = part(ReferenceSchema, "The order.", required=True)
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    business_date = BusinessDate(metadata=described("Day on which revenue may be booked, if on delivery."))
    received_by = words("Who took it (personal data).")
    extensions = extensions()
