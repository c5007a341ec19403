"""Buying: suppliers, purchase orders, what arrived. Terms: UBL Order, ReceiptAdvice; EN 16931 BG-4 (seller)."""

from marshmallow import Schema

from canonical.fields import BusinessDate, Flag, Quantity, Text, Timestamp
from canonical.v1.parts import (
    AddressSchema,
    LocationSchema,
    ReferenceSchema,
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


class SupplierReferenceSchema(Schema):
    """A supplier, by the tenant's code."""

    code = Text(max_length=64, required=True, metadata=described("The tenant's code for the supplier; links resolve it."))
    name = words("Name for people.")


class SupplierSchema(Schema):
    """A supplier record."""

    id = ident("The source's id of the supplier.")
    code = Text(max_length=64, required=True, metadata=described("The tenant's code for the supplier."))
    name = words("Name (EN 16931 BT-27).", required=True)
    tax_number = Text(max_length=32, metadata=described("VAT identifier (BT-31)."))
    gln = Text(min_length=13, max_length=13, pattern="[0-9]{13}", meaning="GLN (13 digits)",
               metadata=described("GS1 Global Location Number."))  # fmt: skip
    email = Text(max_length=254, metadata=described("For orders."))
    phone = Text(max_length=64, metadata=described("For people."))
    address = part(AddressSchema, "Postal address (BG-5).")
    active = Flag(required=True, metadata=described("False when it is withdrawn."))
    updated_at = Timestamp(required=True, metadata=described("When the source last changed it."))
    extensions = extensions()


class PurchaseLineSchema(Schema):
    """A line of a purchase order: total = quantity x unit cost, rounded."""

    id = ident("Unique within the document.")
    sku = stock_keeping_unit()
    gtin = gtin()
    supplier_sku = Text(max_length=64, metadata=described("The supplier's article number (UBL SellersItemIdentification)."))
    description = words("For people.", longest=512)
    quantity = Quantity(required=True, metadata=described("Ordered."))
    unit_cost = price("Cost of one, without tax.", required=True)
    total = price("quantity x unit cost, rounded.", required=True)


PURCHASE_STATES = ("draft", "ordered", "partly_received", "received", "cancelled")


class PurchaseOrderSchema(Schema):
    """An order to a supplier, as it stands."""

    id = ident("The source's id of the order.")
    number = Text(max_length=64, required=True, metadata=described("Order number."))
    supplier = part(SupplierReferenceSchema, "From whom.", required=True)
    destination = part(LocationSchema, "Where it is delivered.", required=True)
    state = chosen(PURCHASE_STATES, "How far it is.")
    ordered_at = Timestamp(metadata=described("When it was sent to the supplier."))
    expected_at = Timestamp(metadata=described("When it should arrive."))
    lines = several(PurchaseLineSchema, "What is ordered.", least=1)
    total = price("Sum of the lines, without tax.", required=True)
    updated_at = Timestamp(required=True, metadata=described("When the source last changed it."))
    extensions = extensions()


class ReceivedLineSchema(Schema):
    """What arrived of one line."""

    line_id = ident("Line of the purchase order.", required=False)
    sku = stock_keeping_unit()
    gtin = gtin()
    accepted = Quantity(zero=True, required=True, metadata=described("Taken into stock (UBL ReceivedQuantity)."))
    rejected = Quantity(zero=True, metadata=described("Sent back (UBL RejectedQuantity)."))
    unit_cost = price("What one cost, where it differs from the order.")
    lot = Text(max_length=64, metadata=described("Lot or batch (GS1 AI 10)."))
    expires_on = BusinessDate(metadata=described("Expiry date (GS1 AI 17)."))


class PurchaseReceivedSchema(Schema):
    """A delivery from a supplier was taken in: none to available. Source: UBL ReceiptAdvice."""

    id = ident("The source's id of the receipt.")
    order = part(ReferenceSchema, "The purchase order, if there is one.")
    supplier = part(SupplierReferenceSchema, "From whom.", required=True)
    location = part(LocationSchema, "Where.", required=True)
    delivery_note = Text(max_length=64, metadata=described("The supplier's delivery note."))
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    business_date = BusinessDate(required=True, metadata=described("Trading day it is booked on."))
    lines = several(ReceivedLineSchema, "What arrived.", least=1)
    freight = price("Freight that is part of the goods' cost, without tax.")
    extensions = extensions()
