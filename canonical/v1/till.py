"""The day of a till: opened with a float, closed with counted tenders. Source: ARTS POSLog TenderControl, BusinessEOD."""

from marshmallow import Schema

from canonical.fields import BusinessDate, Count, Percent, Text, Timestamp
from canonical.v1.parts import (
    TAX_CATEGORIES,
    TENDER_TYPES,
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


class ClosingTenderSchema(Schema):
    """One tender of a closing till: what should be there, what was counted. Source: POSLog TenderControl."""

    type = chosen(TENDER_TYPES, "Kind of tender.")
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


class TillClosedSchema(TillFactSchema):
    """A till ends its session: a closure equals the sum of its transactions (Z report)."""

    opened_at = Timestamp(metadata=described("When the session began."))
    transactions = Count(required=True, metadata=described("How many sales, returns, exchanges and voids."))
    sales = price("Sum of the totals of sales and exchanges.", required=True)
    returns = price("Sum of the totals of returns and voids, positive; absent means none.")
    taxes = several(ClosingTaxSchema, "Tax by category and rate.", most=50)
    tenders = several(ClosingTenderSchema, "Each kind of tender, counted.", least=1, most=20)
    note = words("Remark of who counted.", longest=1000)
