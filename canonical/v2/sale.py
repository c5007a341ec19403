"""The completed sale, major 2: discounts one by one with their reason, tenders that name their payment."""

from marshmallow import Schema, fields, validate

from canonical.fields import Quantity, Text
from canonical.v1.parts import (
    TENDER_TYPES,
    LineDetailsSchema,
    LineTaxSchema,
    ReferenceSchema,
    TenderDetailsSchema,
    article,
    chosen,
    described,
    extensions,
    gtin,
    ident,
    part,
    price,
    several,
    words,
)
from canonical.v1.sale import TransactionSchema


class DiscountSchema(Schema):
    """Something taken off a line. Source: EN 16931 BG-27, POSLog RetailPriceModifier."""

    amount = price("How much, positive.", required=True)
    reason = words("Why: a promotion, a coupon, the customer's price.")
    code = Text(max_length=64, metadata=described("The promotion's or coupon's code."))


class LineV2Schema(LineDetailsSchema):
    """A line item: total = gross - discounts + taxes that are not included. Source: POSLog LineItem."""

    id = ident("Unique within the document.")
    sku = article()
    gtin = gtin()
    description = words("As printed on the receipt.", longest=512)
    quantity = Quantity(required=True, metadata=described("Always positive; the document says the direction."))
    unit_price = price("Price of one, before discounts.", required=True)
    gross = price("quantity x unit price, rounded.", required=True)
    discounts = fields.List(fields.Nested(DiscountSchema), validate=validate.Length(min=1, max=20),
                            metadata=described("Taken off this line, in the order in which it was."))  # fmt: skip
    taxes = several(LineTaxSchema, "Taxes on this line.", most=20)
    total = price("What the customer pays for this line.", required=True)
    extensions = extensions()


class TenderV2Schema(TenderDetailsSchema):
    """How it was paid. Source: POSLog Tender."""

    method = chosen(TENDER_TYPES, "Kind of tender.")
    amount = price("Amount tendered.", required=True)
    payment_id = ident("The payment's id at its source; `payment.captured` is about it.", required=False)


class SaleCompletedV2Schema(TransactionSchema):
    """A completed sale: the customer has paid and left."""

    order = part(ReferenceSchema, "The order it completes; then the fulfilment moves the goods, not the sale.")
    lines = several(LineV2Schema, "Items sold.", least=1)
    tip = price("Tip, part of the total.")
    service_charge = price("Service charge without tax; a taxed one is a line.")
    total = price("What was to pay.", required=True)
    tenders = fields.List(fields.Nested(TenderV2Schema), required=True, validate=validate.Length(max=50),
                          metadata=described("How it was paid; tenders - change = total."))  # fmt: skip
    change = price("Cash given back.")
