"""Money that moves outside the till's receipt: captures, refunds, chargebacks, gift cards.

Terms: ISO 20022 (end-to-end id, settlement), ARTS POSLog (tender, gift card activation).
"""

from marshmallow import Schema

from canonical.fields import BusinessDate, Text, Timestamp
from canonical.v1.parts import (
    TENDER_TYPES,
    LocationSchema,
    ReferenceSchema,
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
    tip = price("Tip within the amount.")
    fee = price("What the provider keeps of it.")


class PaymentRefundedSchema(PaymentFactSchema):
    """Money of a capture was given back; all refunds of a payment never exceed it."""

    sale_return = part(ReferenceSchema, "The return it belongs to.")
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


class GiftCardReloadedSchema(GiftCardFactSchema):
    """Money was put on a card."""


class GiftCardRedeemedSchema(GiftCardFactSchema):
    """A card paid for something."""
