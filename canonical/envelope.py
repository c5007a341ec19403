"""The envelope every canonical document travels in: CloudEvents 1.0 with the hub's extension attributes.

Source: CloudEvents 1.0 (attribute names are lower-case letters and digits, which is why they run together).
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError

from canonical.fields import BusinessDate, CanonicalField, Text, Timestamp

#: `<entity>.<event>.v<major>` for facts, `<entity>.v<major>` for records.
TYPE_PATTERN = r"[a-z][a-z_]*(\.[a-z][a-z_]*)?\.v[1-9][0-9]*"
TRACEPARENT_PATTERN = r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"


class Data(CanonicalField):
    """The document itself; its own schema is chosen by the envelope's ``type``."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, dict):
            raise ValidationError("must be an object: the canonical document")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": "object"}


class EnvelopeSchema(Schema):
    """What a caller sends: who says it (`source`), its id there, what it is (`type`) and the document (`data`)."""

    specversion = Text(choices=("1.0",), required=True, metadata={"description": "CloudEvents version: 1.0."})
    id = Text(max_length=128, required=True, metadata={"description": "Unique within `source`; repeats are duplicates."})
    source = Text(max_length=255, required=True, metadata={"description": "URI-reference of the system that says it."})
    type = Text(
        max_length=80, pattern=TYPE_PATTERN, meaning="type name such as sale.completed.v1", required=True,
        metadata={"description": "Canonical type with its major version, e.g. `sale.completed.v1`."},
    )  # fmt: skip
    time = Timestamp(required=True, metadata={"description": "When it happened (event time), with an offset."})
    subject = Text(max_length=255, metadata={"description": "The entity it is about; derived from the document."})
    datacontenttype = Text(choices=("application/json",), metadata={"description": "Always application/json."})
    dataschema = Text(max_length=255, metadata={"description": "URI of the schema of `data`."})
    tenantid = Text(max_length=64, metadata={"description": "Set by the hub from the caller's key; ignored on input."})
    correlationid = Text(max_length=128, metadata={"description": "What belongs together (one business process)."})
    causationid = Text(max_length=128, metadata={"description": "The message that caused this one."})
    businessdate = BusinessDate(metadata={"description": "The trading day; taken from the document where it has one."})
    traceparent = Text(
        max_length=55, pattern=TRACEPARENT_PATTERN, meaning="W3C traceparent",
        metadata={"description": "W3C trace context at creation."},
    )  # fmt: skip
    data = Data(required=True, metadata={"description": "The canonical document."})
