"""The stock movement, major 2: a reason that can be counted."""

from marshmallow import Schema

from canonical.fields import Quantity, Text
from canonical.v1.parts import chosen, described, part, words
from canonical.v1.stock import MOVEMENT_STATES, StockFactSchema

REASONS = ("damage", "theft", "expiry", "loss", "found", "receipt", "production", "sample", "correction", "other")


class MovementReasonSchema(Schema):
    """Why stock moved."""

    code = chosen(REASONS, "Kind of reason.")
    text = words("In the source's words.")


class StockAdjustedV2Schema(StockFactSchema):
    """``quantity`` moved from one state to another, e.g. available to damaged, or none to available (receipt)."""

    from_state = Text(choices=MOVEMENT_STATES, required=True, metadata=described("State before."))
    to_state = Text(choices=MOVEMENT_STATES, required=True, metadata=described("State after."))
    quantity = Quantity(required=True, metadata=described("Always positive."))
    reason = part(MovementReasonSchema, "Why.", required=True)
