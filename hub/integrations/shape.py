"""The shape of an integration file, as marshmallow schemas; `hub.integrations.files` reads it and says what they cannot."""

from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from hub.broker import LANES
from hub.policies.ownership import MERGES, WRITES
from hub.sdk.declaration import ConnectionLimitsSchema

_NAME = validate.Regexp(r"^[a-z][a-z0-9_-]{0,62}$", error="lower-case letters, digits, - and _, starting with a letter")

#: How records are compared, and of which entities.
MATCHES = ("exact", "normalised", "gtin", "email", "phone", "fuzzy")
MATCHED = ("customer", "product", "location", "supplier")
_VALUES = validate.Regexp(r"^[a-z][a-z0-9_]{0,62}$", error="lower-case letters, digits and _, starting with a letter")


class _Strict(Schema):
    class Meta:
        unknown = RAISE


class _ConnectionSchema(_Strict):
    connector = fields.Str(required=True)
    environment = fields.Str(load_default="production")
    base_url = fields.Str(load_default="")
    settings = fields.Dict(keys=fields.Str(), load_default=dict)
    limits = fields.Nested(ConnectionLimitsSchema, load_default=dict)


class _TargetSchema(_Strict):
    connection = fields.Str(required=True)
    where = fields.Str(load_default="")
    map = fields.Dict(keys=fields.Str(), values=fields.Str(), load_default=dict)


class _FlowSchema(_Strict):
    name = fields.Str(required=True, validate=_NAME)
    on = fields.Raw(required=True)
    source = fields.Str(data_key="from", load_default="")
    cadence = fields.Str(load_default="realtime")
    lane = fields.Str(load_default="live", validate=validate.OneOf(LANES))
    read = fields.List(fields.Str(), load_default=list)
    full_read = fields.Str(load_default="")
    where = fields.Str(load_default="")
    to = fields.List(fields.Nested(_TargetSchema), load_default=list)


class _RuleSchema(_Strict):
    owner = fields.Str(load_default="")
    merge = fields.Str(load_default="newest", validate=validate.OneOf(MERGES))
    write = fields.Str(load_default="always", validate=validate.OneOf(WRITES))
    tolerance_seconds = fields.Float(load_default=0.0, validate=validate.Range(min=0, max=86400))


class _Owned(fields.Nested):
    """A rule, or (in short) the connection that owns the field."""

    def _deserialize(self, value: Any, *arguments: Any, **named: Any) -> Any:
        return super()._deserialize({"owner": value} if isinstance(value, str) else value, *arguments, **named)


class _Value(fields.Raw):
    """A text, number or truth value."""

    def _deserialize(self, value: Any, *arguments: Any, **named: Any) -> Any:
        if not isinstance(value, str | int | float | bool):
            raise ValidationError("a text, a number, true or false")
        return super()._deserialize(value, *arguments, **named)


class _ValueMapSchema(_Strict):
    """One system's words for another's; several may lead to one. Without a `default` an unknown one waits for a person."""

    map = fields.Dict(keys=fields.Str(), values=_Value(), required=True, validate=validate.Length(min=1))
    default = _Value()


class _MatchSchema(_Strict):
    """How records of two systems are compared. Short: the way alone, of the field of that name."""

    field = fields.Str(load_default="")
    how = fields.Str(required=True, validate=validate.OneOf(MATCHES))
    at_least = fields.Float(load_default=0.92, validate=validate.Range(min=0.5, max=1))
    review = fields.Float(load_default=0.8, validate=validate.Range(min=0.5, max=1))


class _Match(fields.Nested):
    """A rule, or (in short) `email`, `phone` or `gtin`: the field of that name."""

    def _deserialize(self, value: Any, *arguments: Any, **named: Any) -> Any:
        return super()._deserialize({"how": value, "field": value} if isinstance(value, str) else value, *arguments, **named)


class _IdentitySchema(_Strict):
    """Whose records of an entity are compared. The first system's keys are everybody's."""

    systems = fields.List(fields.Str(), required=True, validate=validate.Length(min=2))
    match = fields.List(_Match(_MatchSchema), required=True, validate=validate.Length(min=1))


class _SequenceSchema(_Strict):
    """Documents of a connection that are numbered without a hole, per series (a till, a day)."""

    on = fields.Raw(required=True)
    source = fields.Str(data_key="from", required=True)
    series = fields.List(fields.Str(), load_default=list)
    number = fields.Str(load_default="number")
    within = fields.Float(load_default=900.0, validate=validate.Range(min=0, max=604800))


class _OverriddenTargetSchema(_Strict):
    where = fields.Str()
    map = fields.Dict(keys=fields.Str(), values=fields.Str(allow_none=True))


class _OverriddenFlowSchema(_Strict):
    where = fields.Str()
    cadence = fields.Str()
    lane = fields.Str(validate=validate.OneOf(LANES))
    to = fields.Dict(keys=fields.Str(), values=fields.Nested(_OverriddenTargetSchema))


class _OverriddenConnectionSchema(_Strict):
    environment = fields.Str()
    base_url = fields.Str()
    settings = fields.Dict(keys=fields.Str())
    limits = fields.Nested(ConnectionLimitsSchema)


class _OverrideSchema(_Strict):
    """What is otherwise for one environment or one tenant. A map's field that is null is left out."""

    connections = fields.Dict(keys=fields.Str(), values=fields.Nested(_OverriddenConnectionSchema), load_default=dict)
    flows = fields.Dict(keys=fields.Str(), values=fields.Nested(_OverriddenFlowSchema), load_default=dict)
    values = fields.Dict(keys=fields.Str(), values=fields.Nested(_ValueMapSchema(partial=("map",))), load_default=dict)


class FileSchema(_Strict):
    """An integration file."""

    integration = fields.Str(required=True, validate=_NAME)
    connections = fields.Dict(keys=fields.Str(validate=_NAME), values=fields.Nested(_ConnectionSchema), required=True)
    flows = fields.List(fields.Nested(_FlowSchema), required=True, validate=validate.Length(min=1))
    duplicates = fields.Str(load_default="hold", validate=validate.OneOf(("hold", "pass")))
    ownership = fields.Dict(
        keys=fields.Str(), values=fields.Dict(keys=fields.Str(), values=_Owned(_RuleSchema)), load_default=dict
    )
    values = fields.Dict(keys=fields.Str(validate=_VALUES), values=fields.Nested(_ValueMapSchema), load_default=dict)
    identity = fields.Dict(keys=fields.Str(), values=fields.Nested(_IdentitySchema), load_default=dict)
    sequences = fields.Dict(keys=fields.Str(validate=_NAME), values=fields.Nested(_SequenceSchema), load_default=dict)
    environments = fields.Dict(keys=fields.Str(validate=_NAME), values=fields.Nested(_OverrideSchema), load_default=dict)
    tenants = fields.Dict(keys=fields.Str(), values=fields.Nested(_OverrideSchema), load_default=dict)
