"""The day of a till: opened with a float, closed with counted tenders. Source: ARTS POSLog TenderControl, BusinessEOD."""

from marshmallow import Schema

from canonical.fields import BusinessDate, Count, Percent, Text, Timestamp
from canonical.v1.parts import (
    TAX_CATEGORIES,
    TENDER_TYPES,
    ForeignMoneySchema,
    LineTaxSchema,
    LocationSchema,
    TillSchema,
    chosen,
    described,
    extensions,
    ident,
    part,
    price,
    several,
    words,
)


class OpeningTenderSchema(Schema):
    """What lies in the till when it opens."""

    type = chosen(TENDER_TYPES, "Kind of tender.")
    amount = price("How much was put in (POSLog Loan).", required=True)
    provider = words("Processor or issuer, where one type has several.")
    foreign = part(ForeignMoneySchema, "Same amount in its own currency, for foreign cash.")


class ClosingTenderSchema(Schema):
    """One tender of a closing till: what should be there, what was counted. Source: POSLog TenderControl."""

    type = chosen(TENDER_TYPES, "Kind of tender; several entries of one type differ in provider or foreign currency.")
    provider = words("Processor or issuer, where one type has several.")
    foreign = part(ForeignMoneySchema, "What was counted in its own currency, for foreign cash.")
    opening = price("Float at opening; absent means none.")
    taken = price("From sales, change already taken off.", required=True)
    given_back = price("For returns; absent means none.")
    paid_in = price("Put in between (POSLog PaidIn).")
    paid_out = price("Taken out between: bank, petty cash (POSLog PaidOut, Pickup).")
    expected = price("opening + taken - given_back + paid_in - paid_out.", required=True)
    counted = price("What somebody counted.", required=True)
    difference = price("counted - expected; negative: something is missing.", required=True)


class ClosingTaxSchema(Schema):
    """The tax of a day by category and rate."""

    category = Text(choices=TAX_CATEGORIES, metadata=described("VAT category (EN 16931 BT-118)."))
    rate = Percent(required=True, metadata=described("Rate in percent."))
    amount = price("The tax, returns taken off.", required=True)


#: Where cash is: in a till, in the safe, left from the session before, at the bank, with a person, outside the business.
CASH_PLACES = ("till", "safe", "previous_session", "bank", "employee", "outside")


class TillFactSchema(Schema):
    """What opening and closing carry."""

    id = ident("The source's id of this fact.")
    location = part(LocationSchema, "Where.", required=True)
    till = part(TillSchema, "Which till, and its session.", required=True)
    operator = ident("Who did it, as the till knows them.", required=False)
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    business_date = BusinessDate(required=True, metadata=described("Trading day; a session past midnight keeps its day."))
    extensions = extensions()


class TillOpenedSchema(TillFactSchema):
    """A till starts a session with its float."""

    tenders = several(OpeningTenderSchema, "The float.", most=20)
    source = Text(choices=CASH_PLACES, metadata=described("Where the float comes from."))


class TillClosedSchema(TillFactSchema):
    """A till ends its session: a closure equals the sum of its transactions (Z report)."""

    opened_at = Timestamp(metadata=described("When the session began."))
    transactions = Count(required=True, metadata=described("How many sales, returns, exchanges and voids."))
    sales = price("Sum of the totals of sales and exchanges.", required=True)
    returns = price("Sum of the totals of returns and voids, positive; absent means none.")
    taxes = several(ClosingTaxSchema, "Tax by category and rate.", most=50)
    tenders = several(ClosingTenderSchema, "Each kind of tender, counted.", least=1, most=20)
    z_number = Text(max_length=64, metadata=described("Number of the Z report."))
    first_receipt = Text(max_length=64, metadata=described("Number of the first receipt."))
    last_receipt = Text(max_length=64, metadata=described("Number of the last receipt."))
    gift_cards_sold = price("Gift cards sold and reloaded, part of the sales.")
    tips = price("Tips, part of the sales.")
    discounts = price("Discounts that were given.")
    rounding = price("Cash rounding, may be negative.")
    closes = Text(choices=("counted", "blind", "automatic"),
                  metadata=described("Counted in sight of the expected sum, blind, or closed by a clock."))  # fmt: skip
    note = words("Remark of who counted.", longest=1000)


CASH_REASONS = ("pickup", "loan", "paid_in", "paid_out", "tip_payout", "bank_deposit", "correction")


class TillCashMovedSchema(TillFactSchema):
    """Cash was moved without a sale: pickup, loan, paid in, paid out, tip payout, bank deposit (POSLog TenderControl)."""

    source = chosen(CASH_PLACES, "Where the cash was.")
    destination = chosen(CASH_PLACES, "Where it is now.")
    amount = price("How much, positive.", required=True)
    reason = chosen(CASH_REASONS, "Kind of movement.")
    purpose = words("Purpose in the source's words, e.g. cleaning.")
    taxes = several(LineTaxSchema, "Taxes within the amount, as on the receipt of a paid-out purchase.", most=20)
    receipt = Text(max_length=64, metadata=described("Number of the receipt for it."))


class DayTenderSchema(Schema):
    """Declared total of one tender of a store's day."""

    type = chosen(TENDER_TYPES, "Kind of tender.")
    provider = words("Processor or issuer, where one type has several.")
    amount = price("Taken less given back, as the store declares it.", required=True)


class StoreDayClosedSchema(Schema):
    """A store ended its business day: no transaction of that day follows (POSLog BusinessEOD)."""

    id = ident("The source's id of this fact.")
    location = part(LocationSchema, "Which store.", required=True)
    business_date = BusinessDate(required=True, metadata=described("Trading day that ended."))
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    transactions = Count(metadata=described("How many sales, returns, exchanges and voids the store declares."))
    sales = price("Declared sum of sales and exchanges.")
    returns = price("Declared sum of returns and voids, positive.")
    tenders = several(DayTenderSchema, "Declared sum of each tender.", most=50)
    deposit_bag = Text(max_length=64, metadata=described("Number of the bag for the bank."))
    operator = ident("Person who closed it, as the source knows them.", required=False)
    extensions = extensions()
