"""Stock facts. A count is a dated observation, an adjustment is a movement between states; they never interchange.

Source: GS1 EPCIS 2.0 (OBSERVE against ADD/DELETE; dispositions).
"""

from marshmallow import Schema, fields

from canonical.fields import BusinessDate, Extensions, Quantity, Text, Timestamp
from canonical.v1.parts import LocationSchema, described

STATES = ("available", "reserved", "damaged", "in_transit", "unsellable")
#: A movement may also come from or go to outside the stock (receipt, shrinkage).
MOVEMENT_STATES = (*STATES, "none")


class StockFactSchema(Schema):
    """What every stock fact carries: which item, where, when."""

    id = Text(max_length=128, required=True, metadata=described("The source's id of the fact."))
    location = fields.Nested(LocationSchema, required=True, metadata=described("Where."))
    sku = Text(max_length=64, required=True, metadata=described("The retailer's stock keeping unit."))
    gtin = Text(max_length=14, min_length=8, pattern="[0-9]{8}|[0-9]{12,14}", meaning="GTIN (8, 12, 13 or 14 digits)",
                metadata=described("GS1 Global Trade Item Number."))  # fmt: skip
    occurred_at = Timestamp(required=True, metadata=described("Event time, with offset."))
    business_date = BusinessDate(required=True, metadata=described("Trading day it is booked on."))
    reason = Text(metadata=described("Why, in the source's words."))
    extensions = Extensions(metadata=described("Namespaced custom fields."))


class StockCountedSchema(StockFactSchema):
    """Somebody counted: at ``occurred_at`` there were ``quantity`` in ``state``. Later movements come on top."""

    state = Text(choices=STATES, required=True, metadata=described("State counted."))
    quantity = Quantity(required=True, zero=True, metadata=described("Quantity counted, zero allowed."))


class StockAdjustedSchema(StockFactSchema):
    """``quantity`` moved from one state to another, e.g. available to damaged, or none to available (receipt)."""

    from_state = Text(choices=MOVEMENT_STATES, required=True, metadata=described("State before."))
    to_state = Text(choices=MOVEMENT_STATES, required=True, metadata=described("State after."))
    quantity = Quantity(required=True, metadata=described("Always positive."))
