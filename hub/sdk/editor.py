"""JSON Schema of connector.yaml, for editors: completion and the error while one types. Derived from `ManifestSchema`."""

from typing import Any

from marshmallow import Schema, fields, validate

from canonical.registry import TYPES
from hub.sdk.declaration import ManifestSchema

Json = dict[str, Any]


def manifest_schema() -> Json:
    """The whole schema (draft 2020-12). An editor takes it by `# yaml-language-server: $schema=connector.schema.json`."""
    found = schema_of(ManifestSchema(), "connector.yaml")
    found["properties"]["writes"]["propertyNames"] = {"enum": sorted(TYPES)}
    return found


def schema_of(schema: Schema, title: str) -> Json:
    """A marshmallow schema as JSON Schema (draft 2020-12)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **_object(schema)}


def _object(schema: Schema) -> Json:
    known = schema.fields
    return {
        "type": "object", "additionalProperties": False,
        "properties": {item.data_key or name: _field(item) for name, item in known.items()},
        "required": [item.data_key or name for name, item in known.items() if item.required],
    }  # fmt: skip


def _field(item: fields.Field[Any]) -> Json:
    found = _shape(item)
    for validator in item.validators:
        if isinstance(validator, validate.OneOf):
            found["enum"] = list(validator.choices)
        elif isinstance(validator, validate.Range):
            found |= {"minimum": validator.min} if validator.min is not None else {}
            found |= {"maximum": validator.max} if validator.max is not None else {}
        elif isinstance(validator, validate.Length) and isinstance(item, fields.List):
            found["minItems"] = validator.min
        elif isinstance(validator, validate.Length) and isinstance(item, fields.Dict):
            found["minProperties"] = validator.min
        elif isinstance(validator, validate.Regexp):
            found["pattern"] = validator.regex.pattern
        else:
            raise TypeError(f"{item.name}: {validator} has no JSON Schema here")
    if isinstance(item.load_default, str | int | float | bool) and item.load_default != "":
        found["default"] = item.load_default
    return {"anyOf": [found, {"type": "null"}]} if item.allow_none else found


def _shape(item: fields.Field[Any]) -> Json:
    match item:
        case fields.Nested():
            shape = _object(item.schema)
            # A field whose own class reads more than an object (a short form) says so by its name for it.
            return shape if type(item) is fields.Nested else {"anyOf": [shape, {"type": "string"}]}
        case fields.List():
            return {"type": "array", "items": _field(item.inner)}
        case fields.Dict():
            values = _field(item.value_field) if item.value_field is not None else {}
            return {"type": "object", "additionalProperties": values or True}
        case fields.Bool():
            return {"type": "boolean"}
        case fields.Int():
            return {"type": "integer"}
        case fields.Float():
            return {"type": "number"}
        case fields.Str():
            return {"type": "string"}
        case fields.Raw():
            return {}
    raise TypeError(f"{item.name}: {type(item).__name__} has no JSON Schema here")
