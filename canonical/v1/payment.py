"""Money that moves outside the till's receipt: captures, refunds, chargebacks, gift cards.

Terms: ISO 20022 (end-to-end id, settlement), ARTS POSLog (tender, gift card activation).
"""

from marshmallow import Schema

from canonical.fields import BusinessDate, Text, Timestamp
from canonical.v1.parts import (
    TENDER_TYPES,
    ForeignMoneySchema,
    LocationSchema,
    ReferenceSchema,
    TillSchema,
    chosen,
    described,
    extensions,
    ident,
    part,
    price,
    words,
)


class CardSchema(Schema):
    """A payment card as far as it may be kept (PCI DSS 3.4.1: never more than this)."""

    brand = words("Card scheme, e.g. visa.")
    last_four = Text(min_length=4, max_length=4, pattern="[0-9]{4}", meaning="last four digits",
                     metadata=described("Last four digits; the number itself never enters the hub."))  # fmt: skip


class PaymentFactSchema(Schema):
    """What every fact about a payment carries. `payment_id` is the payment all of them are about."""

    id = ident("The source's id of this fact.")
    payment_id = ident("The payment's id at its source.")
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    business_date = BusinessDate(required=True, metadata=described("Trading day it is booked on."))
    location = part(LocationSchema, "Where, if at a place.")
    amount = price("How much, always positive.", required=True)
    provider = words("Who processes it.")
    reference = Text(max_length=128, metadata=described("End-to-end id (ISO 20022 EndToEndId)."))
    extensions = extensions()


class PaymentCapturedSchema(PaymentFactSchema):
    """Money was taken: by a terminal, a payment page or a transfer."""

    type = chosen(TENDER_TYPES, "Kind of tender (POSLog).")
    card = part(CardSchema, "The card, if it was one.")
    sale = part(ReferenceSchema, "The sale it pays.")
    order = part(ReferenceSchema, "The order it pays.")
    invoice = part(ReferenceSchema, "The invoice it pays.")
    till = part(TillSchema, "Which till took it.")
    brand = words("Card scheme or wallet, where no card is named.")
    settlement = part(ForeignMoneySchema, "What the provider settles, where that is in another currency.")
    tip = price("Tip within the amount.")
    fee = price("What the provider keeps of it.")


class PaymentAuthorizedSchema(PaymentFactSchema):
    """Money was reserved on a card or an account; nothing is taken before a capture."""

    type = chosen(TENDER_TYPES, "Kind of tender (POSLog).")
    card = part(CardSchema, "The card, if it was one.")
    sale = part(ReferenceSchema, "The sale it is for.")
    order = part(ReferenceSchema, "The order it is for.")
    until = Timestamp(metadata=described("When the reservation ends by itself."))


class PaymentMadeSchema(PaymentFactSchema):
    """The retailer paid somebody: a supplier's invoice, a refund by transfer, a tax."""

    party_id = ident("Supplier or customer who was paid, as the source knows them.", required=False)
    invoice = part(ReferenceSchema, "The invoice that was paid.")
    account = Text(max_length=64, metadata=described("The retailer's bank account or cash box."))
    text = words("Text of the payment.")


class PaymentRefundedSchema(PaymentFactSchema):
    """Money of a capture was given back; all refunds of a payment never exceed it."""

    sale_return = part(ReferenceSchema, "The return it belongs to.")
    reason = words("Why.")


REVERSIBLE = ("payment.captured", "payment.refunded", "payment.authorized", "payment.made")


class PaymentReversedSchema(PaymentFactSchema):
    """An earlier fact about a payment proved false: a refund failed after it was told, a capture was taken back.

    The amount is that of the fact; a money movement of its own (a refund, a chargeback) is no reversal.
    """

    fact = part(ReferenceSchema, "The fact that proved false, by the id of its document.", required=True)
    fact_type = chosen(REVERSIBLE, "Type of the fact, without its major.")
    sale = part(ReferenceSchema, "The sale that is unpaid now.")
    sale_return = part(ReferenceSchema, "The return whose money was not given back.")
    reason = words("Why.")


STAGES = ("opened", "won", "lost")


class PaymentChargedBackSchema(PaymentFactSchema):
    """The card's bank took it back, or was asked to (ISO 20022 reversal): a dispute in its stage."""

    stage = chosen(STAGES, "opened: money is held; lost: it is gone; won: it came back.")
    reason_code = words("The scheme's reason code.", people=False)
    fee = price("What the dispute costs.")


class GiftCardSchema(Schema):
    """A gift card, without its full number."""

    id = ident("The card's id at its source.")
    last_four = Text(min_length=4, max_length=4, pattern="[0-9A-Z]{4}", meaning="last four characters",
                     metadata=described("Last four characters of the number."))  # fmt: skip


class GiftCardFactSchema(Schema):
    """What every fact about a gift card carries. A card is a liability: issuing one is no revenue."""

    id = ident("The source's id of this fact.")
    gift_card = part(GiftCardSchema, "Which card.", required=True)
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    business_date = BusinessDate(required=True, metadata=described("Trading day it is booked on."))
    location = part(LocationSchema, "Where, if at a place.")
    amount = price("By how much the balance changed, always positive.", required=True)
    balance = price("Balance afterwards.")
    sale = part(ReferenceSchema, "The sale in which it happened.")
    extensions = extensions()


class GiftCardIssuedSchema(GiftCardFactSchema):
    """A card was sold or given away with a balance (POSLog activation)."""

    consideration = price("What was paid for it; zero for a card that was given away; absent: not known.")
    purpose = Text(
        choices=("single", "multi"), metadata=described("Voucher for one tax rate (single) or several (EU 2016/1065).")
    )
    program = words("Programme or brand of the card.")
    expires_on = BusinessDate(metadata=described("Last day on which it is valid."))


class GiftCardReloadedSchema(GiftCardFactSchema):
    """Money was put on a card."""


class GiftCardRedeemedSchema(GiftCardFactSchema):
    """A card paid for something."""


class GiftCardAdjustedSchema(GiftCardFactSchema):
    """A card's balance changed without a sale: it expired, was cashed out, or was corrected."""

    direction = chosen(("up", "down"), "Whether the balance rose or fell.")
    reason = chosen(("expired", "cashed_out", "corrected", "blocked"), "Kind of change.")
    text = words("Why, in the source's words.")
