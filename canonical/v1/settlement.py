"""Money on its way to the bank: payouts of processors and lines of bank statements. Terms: ISO 20022 camt.053."""

from marshmallow import Schema

from canonical.fields import BusinessDate, Text, Timestamp
from canonical.v1.parts import chosen, described, extensions, ident, part, price, several, words

PAYOUT_STATES = ("paid", "failed", "returned")
PAYOUT_LINES = ("charge", "refund", "fee", "dispute", "reserve", "adjustment", "advance", "transfer")


class PayoutLineSchema(Schema):
    """One entry of a payout: net = gross - fee - fee tax. Amounts are signed: what the retailer gets is positive."""

    id = ident("Unique within the payout.")
    type = chosen(PAYOUT_LINES, "Kind of entry.")
    payment_id = ident("The payment it is about.", required=False)
    gross = price("Amount before fees.", required=True)
    fee = price("Fee taken off; positive lowers the net.")
    fee_tax = price("Tax on the fee.")
    net = price("gross - fee - fee tax.", required=True)
    occurred_at = Timestamp(metadata=described("When the entry was made, with offset."))
    text = words("In the processor's words.")


class PayoutSettledSchema(Schema):
    """A processor settled what it held: net = sum of the lines' nets; negative: the processor debits the account."""

    id = ident("The source's id of this fact.")
    payout_id = ident("The payout's id at the processor; its later states have the same.")
    provider = words("Processor.", required=True)
    account = Text(max_length=64, metadata=described("Bank account that is credited, last four characters or a name."))
    status = chosen(PAYOUT_STATES, "State of the payout.")
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    business_date = BusinessDate(required=True, metadata=described("Trading day it is booked on."))
    arrives_on = BusinessDate(metadata=described("Day on which the bank credits it."))
    lines = several(PayoutLineSchema, "Entries.", least=1)
    net = price("Sum of the lines' nets.", required=True)
    reference = Text(max_length=128, metadata=described("End-to-end id on the bank statement (ISO 20022)."))
    extensions = extensions()


class BankPartySchema(Schema):
    """The other side of a bank line."""

    name = words("Name (personal data).")
    account = Text(max_length=64, metadata=described("Account number (personal data)."))


class BankLineSchema(Schema):
    """An entry of a bank statement, as it was booked. Source: ISO 20022 camt.053 Ntry."""

    id = ident("The bank's id of the entry, or a digest of the line where there is none.")
    account = Text(max_length=64, required=True, metadata=described("The retailer's account."))
    statement = Text(max_length=64, metadata=described("Statement it stands in."))
    indicator = chosen(("credit", "debit"), "Credit: money came in (CdtDbtInd).")
    amount = price("How much, positive.", required=True)
    balance = price("Balance after it.")
    business_date = BusinessDate(required=True, metadata=described("Booking date (BookgDt)."))
    value_date = BusinessDate(metadata=described("Value date (ValDt)."))
    occurred_at = Timestamp(required=True, metadata=described("When the bank booked it, with offset."))
    end_to_end_id = Text(max_length=128, metadata=described("Reference of the payer (EndToEndId)."))
    counterparty = part(BankPartySchema, "The other side.")
    text = words("Remittance information.", longest=1000)
    extensions = extensions()
