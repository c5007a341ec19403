"""Retail transactions at the till: sale, return, exchange, void. Source: ARTS/OMG POSLog RetailTransaction."""

from marshmallow import Schema, fields, validate

from canonical.fields import BusinessDate, Extensions, Text, Timestamp
from canonical.money import MoneySchema
from canonical.v1.parts import (
    CustomerSchema,
    ForeignMoneySchema,
    LineSchema,
    LocationSchema,
    OriginalSchema,
    ReferenceSchema,
    ReturnLineSchema,
    TaxBreakdownSchema,
    TenderSchema,
    TillSchema,
    described,
    extensions,
    ident,
    part,
    price,
    several,
    words,
)

_LINES = validate.Length(min=1, max=1000)
_TENDERS = validate.Length(max=50)


class TransactionSchema(Schema):
    """What every transaction at a till carries."""

    id = Text(max_length=128, required=True, metadata=described("The source's id of the transaction."))
    number = Text(max_length=64, required=True, metadata=described("Receipt number."))
    location = fields.Nested(LocationSchema, required=True, metadata=described("Where."))
    till = fields.Nested(TillSchema, metadata=described("Which till."))
    customer = fields.Nested(CustomerSchema, metadata=described("To whom, if known."))
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    business_date = BusinessDate(required=True, metadata=described("Trading day it is booked on."))
    discount = fields.Nested(MoneySchema, metadata=described("Sum of the lines' discounts."))
    tax = fields.Nested(MoneySchema, required=True, metadata=described("Sum of the lines' taxes, included or added."))
    taxes = several(TaxBreakdownSchema, "The tax by category and rate (EN 16931 BG-23).", most=50)
    rounding = fields.Nested(MoneySchema, metadata=described("Cash rounding (EN 16931 BT-114), may be negative."))
    exchange_difference = price("tenders - change - total, where a payment was converted at another rate than the document.")
    presentment = part(ForeignMoneySchema, "The total in the currency that the customer saw.")
    extensions = Extensions(metadata=described("Namespaced custom fields."))


class SaleCompletedSchema(TransactionSchema):
    """A completed sale: the customer has paid and left."""

    order = part(ReferenceSchema, "The order it completes; then the fulfilment moves the goods, not the sale.")
    lines = fields.List(fields.Nested(LineSchema), required=True, validate=_LINES, metadata=described("Items sold."))
    tip = fields.Nested(MoneySchema, metadata=described("Tip, part of the total."))
    service_charge = fields.Nested(MoneySchema, metadata=described("Service charge without tax; a taxed one is a line."))
    total = fields.Nested(MoneySchema, required=True, metadata=described("What was to pay."))
    tenders = fields.List(fields.Nested(TenderSchema), required=True, validate=_TENDERS,
                          metadata=described("How it was paid; tenders - change = total."))  # fmt: skip
    change = fields.Nested(MoneySchema, metadata=described("Cash given back."))


class ReturnCompletedSchema(TransactionSchema):
    """Goods came back or money was given back. Amounts are positive.

    total = lines + tip + service charge + rounding - fees. Money given back without goods has lines of other kinds.
    """

    original = fields.Nested(OriginalSchema, metadata=described("The sale it reverses; absent without a receipt."))
    lines = fields.List(fields.Nested(ReturnLineSchema), required=True, validate=_LINES,
                        metadata=described("Items that came back, and charges that are given back."))  # fmt: skip
    fees = several(LineSchema, "Kept by the shop, e.g. a restocking fee (kind fee); they lower the total.", most=100)
    tip = price("Tip given back.")
    service_charge = price("Service charge given back, without tax; a taxed one is a line.")
    total = fields.Nested(MoneySchema, required=True, metadata=described("What was given back."))
    tenders = fields.List(fields.Nested(TenderSchema), required=True, validate=_TENDERS,
                          metadata=described("How it was given back (positive)."))  # fmt: skip


class ExchangeCompletedSchema(TransactionSchema):
    """Goods came back and others were sold in one transaction; total = sold - returned, may be negative."""

    original = fields.Nested(OriginalSchema, metadata=described("The sale the returned items come from."))
    returned = fields.List(fields.Nested(ReturnLineSchema), required=True, validate=_LINES,
                           metadata=described("Items that came back."))  # fmt: skip
    lines = fields.List(fields.Nested(LineSchema), required=True, validate=_LINES, metadata=described("Items sold."))
    tip = price("Tip, part of the total; negative: more is given back than was added.")
    service_charge = price("Service charge without tax; a taxed one is a line.")
    total = fields.Nested(MoneySchema, required=True, metadata=described("Sold - returned; negative: customer gets."))
    tenders = fields.List(fields.Nested(TenderSchema), required=True, validate=_TENDERS,
                          metadata=described("Signed like the total; none for an even exchange."))  # fmt: skip
    change = fields.Nested(MoneySchema, metadata=described("Cash given back."))


class SaleVoidedSchema(Schema):
    """A completed sale that was undone as a whole at the till (POSLog post-void): it nets to zero with its sale."""

    id = ident("The source's id of the void.")
    original = part(OriginalSchema, "The sale that is undone.", required=True)
    number = Text(max_length=64, metadata=described("Receipt number of the void."))
    location = part(LocationSchema, "Where.", required=True)
    till = part(TillSchema, "Which till.")
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    business_date = BusinessDate(required=True, metadata=described("Trading day it is booked on."))
    order = part(ReferenceSchema, "The order that the sale completed; its goods come back with a return, not with the void.")
    lines = several(LineSchema, "The sale's lines: what comes back.", least=1)
    tax = price("The sale's tax, as it is undone.")
    taxes = several(TaxBreakdownSchema, "The sale's tax by category and rate.", most=50)
    total = price("The sale's total, as it is undone.", required=True)
    tenders = several(TenderSchema, "The sale's tenders, as they are given back (positive).", most=50)
    change = price("The sale's change.")
    operator = ident("Who did it, as the till knows them.", required=False)
    reason = words("Why.")
    extensions = extensions()
