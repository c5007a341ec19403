"""Stock facts and levels. A count is a dated observation, a movement goes from one state to another; they never interchange.

Source: GS1 EPCIS 2.0 (OBSERVE against ADD/DELETE; dispositions).
"""

from marshmallow import Schema, fields

from canonical.fields import BusinessDate, Extensions, Flag, Quantity, Text, Timestamp
from canonical.v1.order import GoodsSchema
from canonical.v1.parts import LocationSchema, described, extensions, gtin, ident, part, several, stock_keeping_unit, words

STATES = ("available", "reserved", "damaged", "in_transit", "unsellable")
#: A movement may also come from or go to outside the stock (receipt, shrinkage).
MOVEMENT_STATES = (*STATES, "none")


class StockFactSchema(Schema):
    """What every stock fact carries: which item, where, when."""

    id = Text(max_length=128, required=True, metadata=described("The source's id of the fact."))
    location = fields.Nested(LocationSchema, required=True, metadata=described("Where."))
    sku = Text(max_length=64, required=True, metadata=described("The retailer's stock keeping unit."))
    gtin = gtin()
    lot = Text(max_length=64, metadata=described("Lot or batch (GS1 AI 10)."))
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    business_date = BusinessDate(required=True, metadata=described("Trading day it is booked on."))
    extensions = Extensions(metadata=described("Namespaced custom fields."))


class ReasonedSchema(StockFactSchema):
    """A stock fact with its reason in words."""

    reason = words("Why, in the source's words.")


class StockCountedSchema(ReasonedSchema):
    """Somebody counted: at ``occurred_at`` there were ``quantity`` in ``state``. Later movements come on top."""

    state = Text(choices=STATES, required=True, metadata=described("State counted."))
    quantity = Quantity(required=True, zero=True, metadata=described("Quantity counted, zero allowed."))
    scope = Text(choices=("full", "cycle"), metadata=described("Full inventory or cycle count of a part of it."))
    expected = Quantity(signed=True, zero=True, metadata=described("Quantity that the counting system expected."))


class StockAdjustedSchema(ReasonedSchema):
    """``quantity`` moved from one state to another, e.g. available to damaged, or none to available (receipt)."""

    from_state = Text(choices=MOVEMENT_STATES, required=True, metadata=described("State before."))
    to_state = Text(choices=MOVEMENT_STATES, required=True, metadata=described("State after."))
    quantity = Quantity(required=True, metadata=described("Always positive."))


class StockReservedSchema(ReasonedSchema):
    """Available stock was promised to somebody: from available to reserved."""

    reservation_id = ident("The reservation's id at its source.")
    order_id = ident("The order it is for.", required=False)
    quantity = Quantity(required=True, metadata=described("Always positive."))
    until = Timestamp(metadata=described("When the promise ends by itself."))


class StockReleasedSchema(ReasonedSchema):
    """A promise was taken back: from reserved to available. What was fulfilled is no release, it has left the stock."""

    reservation_id = ident("The reservation's id at its source.")
    quantity = Quantity(required=True, metadata=described("Always positive."))


class TransferFactSchema(Schema):
    """Goods between two places of the tenant. What is on its way is in transit, at neither."""

    id = ident("The source's id of this fact.")
    transfer_id = ident("The transfer's id, the same at both ends.")
    origin = part(LocationSchema, "Where the goods come from (EPCIS source).", required=True)
    destination = part(LocationSchema, "Where they go (EPCIS destination).", required=True)
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    business_date = BusinessDate(required=True, metadata=described("Trading day it is booked on."))
    goods = several(GoodsSchema, "What.", least=1)
    extensions = extensions()


class TransferSentSchema(TransferFactSchema):
    """Goods left the origin: available there to in transit (CBV shipping)."""


class TransferReceivedSchema(TransferFactSchema):
    """Goods arrived: in transit to available at the destination (CBV receiving). Never more than was sent."""

    final = Flag(metadata=described("True if nothing more comes: what is missing then is shrinkage."))


class LevelSchema(Schema):
    """How many are in one state."""

    state = Text(choices=STATES, required=True, metadata=described("State (EPCIS disposition)."))
    quantity = Quantity(
        signed=True, zero=True, required=True, metadata=described("May be negative: sold before it was received.")
    )


class StockLevelSchema(Schema):
    """What a system believes to have of one item at one place at a time: for comparing books, never for booking."""

    id = ident("The source's id of the record.")
    location = part(LocationSchema, "Where.", required=True)
    sku = stock_keeping_unit()
    gtin = gtin()
    as_of = Timestamp(required=True, metadata=described("When it was so."))
    levels = several(LevelSchema, "By state, each at most once.", least=1, most=len(STATES))
    reorder_point = Quantity(zero=True, metadata=described("Order again below this."))
    note = words("Remark.")
    extensions = extensions()
