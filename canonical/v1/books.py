"""The books: accounts, invoices, credit notes, journal entries, tax rates. Terms: EN 16931 / UBL (BT numbers), ISO 4217."""

from marshmallow import Schema, fields, validate

from canonical.fields import BusinessDate, Currency, Flag, Percent, Quantity, Rate, Text, Timestamp
from canonical.v1.parts import (
    TAX_CATEGORIES,
    AddressSchema,
    Country,
    ReferenceSchema,
    TaxBreakdownSchema,
    chosen,
    described,
    extensions,
    ident,
    part,
    price,
    several,
    words,
)

ACCOUNT_TYPES = ("asset", "liability", "equity", "income", "expense")


class AccountSchema(Schema):
    """An account of the chart of accounts."""

    id = ident("The source's id of the account.")
    code = Text(max_length=64, required=True, metadata=described("Account number."))
    name = words("Name.", required=True)
    type = chosen(ACCOUNT_TYPES, "Kind; says which side makes it grow.")
    currency = Currency(metadata=described("If it is kept in one currency only."))
    entity = Text(max_length=64, metadata=described("Legal entity whose account it is."))
    parent = Text(max_length=64, metadata=described("Number of the account it is summed up in."))
    postable = Flag(metadata=described("False for a heading; absent: entries may be booked on it."))
    control = Text(choices=("receivable", "payable", "bank", "inventory", "tax"),
                   metadata=described("Subledger that owns it; others must not book on it."))  # fmt: skip
    required_dimensions = fields.List(Text(max_length=64), validate=validate.Length(max=20),
                                      metadata=described("Dimensions that each of its lines must have."))  # fmt: skip
    tax_code = Text(max_length=64, metadata=described("Tax code of its lines."))
    active = Flag(required=True, metadata=described("False when nothing may be booked on it any more."))
    updated_at = Timestamp(required=True, metadata=described("When the source last changed it."))
    extensions = extensions()


class TaxRateSchema(Schema):
    """A tax rate as it is in force."""

    id = ident("The source's id of the rate.")
    name = words("Name on receipts.", required=True)
    rate = Percent(required=True, metadata=described("Rate in percent (EN 16931 BT-119)."))
    category = chosen(TAX_CATEGORIES, "VAT category (BT-118).")
    code = Text(max_length=64, metadata=described("Tax code at the source."))
    jurisdiction = words("Authority that levies the tax, e.g. US-NY.")
    country = Country(metadata=described("Where it applies (ISO 3166-1)."))
    region = words("State, province or district.")
    included = Flag(metadata=described("True if prices contain it."))
    valid_from = BusinessDate(metadata=described("First day."))
    valid_until = BusinessDate(metadata=described("Last day."))
    active = Flag(required=True, metadata=described("False when it is withdrawn."))
    updated_at = Timestamp(required=True, metadata=described("When the source last changed it."))
    extensions = extensions()


class PartySchema(Schema):
    """Seller or buyer of an invoice. Source: EN 16931 BG-4, BG-7."""

    id = ident("Customer or supplier id at the source.", required=False)
    name = words("Legal name (BT-27, BT-44).", required=True)
    tax_number = Text(max_length=32, metadata=described("VAT identifier (BT-31, BT-48)."))
    email = Text(max_length=254, metadata=described("E-mail (BT-43, BT-58); personal data."))
    address = part(AddressSchema, "Postal address (BG-5, BG-8).")


class AllowanceSchema(Schema):
    """A discount or charge on the whole document. Source: EN 16931 BG-20, BG-21."""

    charge = Flag(required=True, metadata=described("True: it is added (BG-21). False: it is taken off (BG-20)."))
    amount = price("How much, positive, without tax (BT-92, BT-99).", required=True)
    category = chosen(TAX_CATEGORIES, "VAT category (BT-95, BT-102).")
    rate = Percent(required=True, metadata=described("VAT rate (BT-96, BT-103)."))
    reason = words("Why (BT-97, BT-104).")


class InvoiceLineSchema(Schema):
    """A line: net = quantity x unit price - discount, rounded; the tax is counted per rate, not per line. Source: BG-25."""

    id = ident("Unique within the document (BT-126).")
    sku = Text(max_length=64, metadata=described("Article (BT-155)."))
    description = words("What (BT-153).", required=True, longest=512)
    quantity = Quantity(signed=True, required=True, metadata=described("How many (BT-129)."))
    unit_price = price("Price of one, without tax (BT-146).", required=True)
    discount = price("Taken off this line (BT-136).")
    net = price("The line without tax (BT-131).", required=True)
    category = chosen(TAX_CATEGORIES, "VAT category (BT-151).")
    rate = Percent(required=True, metadata=described("VAT rate (BT-152)."))
    order_line = ident("Line of the order (BT-132).", required=False)
    receipt_line = ident("Line of the goods receipt.", required=False)
    account_hint = Text(max_length=64, metadata=described("Account or cost centre the source proposes (BT-133)."))


class BillSchema(Schema):
    """What invoice and credit note have in common. Amounts are positive; the type says the direction."""

    id = ident("The source's id of the document.")
    number = Text(max_length=64, required=True, metadata=described("Invoice number (BT-1)."))
    issued_on = BusinessDate(required=True, metadata=described("Issue date (BT-2)."))
    supplied_on = BusinessDate(metadata=described("Day of supply (BT-72)."))
    seller = part(PartySchema, "Who bills (BG-4).", required=True)
    buyer = part(PartySchema, "Who is billed (BG-7).", required=True)
    sale = part(ReferenceSchema, "The sale it is for.")
    order = part(ReferenceSchema, "The order it is for (BT-13).")
    direction = Text(choices=("sale", "purchase"), metadata=described("Sale: the retailer is the seller; purchase: the buyer."))
    receipts = several(ReferenceSchema, "Goods receipts and despatch notes it is for (BT-15, BT-16).", most=100)
    lines = several(InvoiceLineSchema, "Lines (BG-25).", least=1)
    allowances = several(AllowanceSchema, "Discounts and charges on the document (BG-20, BG-21).", most=50)
    taxes = several(TaxBreakdownSchema, "VAT breakdown (BG-23): one entry per category and rate.", least=1, most=50)
    net = price("Total without tax (BT-109): lines - allowances + charges.", required=True)
    tax = price("Total tax (BT-110).", required=True)
    gross = price("Total with tax (BT-112).", required=True)
    prepaid = price("Already paid (BT-113).")
    rounding = price("Rounding of what is to pay (BT-114), may be negative.")
    payable = price("To pay (BT-115): gross - prepaid + rounding.", required=True)
    note = words("Remark (BT-22).", longest=1000)
    extensions = extensions()


class InvoiceSchema(BillSchema):
    """An invoice."""

    due_on = BusinessDate(metadata=described("When it is to be paid (BT-9)."))


class CreditNoteSchema(BillSchema):
    """An invoice taken back, wholly or in part; the two net to zero where they meet."""

    original = part(ReferenceSchema, "The invoice it corrects (BT-25).")
    reason = words("Why.")


class AccountReferenceSchema(Schema):
    """An account, by its number."""

    code = Text(max_length=64, required=True, metadata=described("Account number."))
    name = words("Name for people.")


class ConversionSchema(Schema):
    """The same amount in the books' currency, as it was converted once and for ever."""

    amount = price("In the books' currency.", required=True)
    rate = Rate(required=True, metadata=described("Units of the books' currency for one of the line's."))
    source = words("Who says so, e.g. ECB.", required=True)
    on = BusinessDate(required=True, metadata=described("Day of the rate."))


SIDES = ("debit", "credit")


class JournalLineSchema(Schema):
    """One line of an entry."""

    id = ident("Unique within the entry.")
    account = part(AccountReferenceSchema, "Which account.", required=True)
    side = chosen(SIDES, "Debit or credit.")
    amount = price("How much, positive.", required=True)
    converted = part(ConversionSchema, "In the books' currency, if that is another one.")
    tax_category = Text(choices=TAX_CATEGORIES, metadata=described("VAT category, for the return."))
    party_id = ident("Customer or supplier.", required=False)
    location_code = Text(max_length=64, metadata=described("Place, where the books are kept by place."))
    text = words("Booking text.")


class JournalEntrySchema(Schema):
    """A balanced entry: debits equal credits in every currency. A correction is another entry that reverses this one."""

    id = ident("The source's id of the entry.")
    number = Text(max_length=64, metadata=described("Number in the journal."))
    journal = words("Which journal, e.g. sales.", people=False)
    booking_date = BusinessDate(required=True, metadata=described("Day it is booked on (ISO 20022 booking date)."))
    value_date = BusinessDate(metadata=described("Day it has its effect (ISO 20022 value date)."))
    lines = several(JournalLineSchema, "At least two.", least=2)
    reverses = part(ReferenceSchema, "The entry it takes back.")
    sources = fields.List(fields.Nested(ReferenceSchema), validate=validate.Length(max=1000),
                          metadata=described("The documents it books: every amount can be traced."))  # fmt: skip
    text = words("What it is about.", longest=1000)
    extensions = extensions()
