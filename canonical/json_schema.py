"""JSON Schema of the canonical types, derived from their marshmallow schemas (the one definition)."""

from typing import Any

from marshmallow import Schema, fields, validate

from canonical.fields import CanonicalField, Extensions
from canonical.registry import CanonicalType


def component_name(schema: type[Schema]) -> str:
    """`SaleCompletedSchema` is the component `SaleCompleted`."""
    return schema.__name__.removesuffix("Schema")


def components(schema: type[Schema], into: dict[str, Any], ref: str = "#/components/schemas/") -> dict[str, Any]:
    """Add ``schema`` and every schema it nests to ``into`` by component name; returns a `$ref` to it."""
    name = component_name(schema)
    if name not in into:
        into[name] = {}
        properties, required = {}, []
        for key, schema_field in schema().fields.items():
            properties[key] = _of_field(schema_field, into, ref)
            if schema_field.required:
                required.append(key)
        doc = (schema.__doc__ or "").strip().split("\n")[0]
        into[name] = {"type": "object", "description": doc, "properties": properties, "additionalProperties": False}
        if required:
            into[name]["required"] = required
    return {"$ref": ref + name}


def _of_field(schema_field: fields.Field[Any], into: dict[str, Any], ref: str) -> dict[str, Any]:
    described = {"description": text} if (text := schema_field.metadata.get("description")) else {}
    if isinstance(schema_field, fields.Nested):
        inner = components(type(schema_field.schema), into, ref)
        return {"allOf": [inner]} | described if described else inner
    if isinstance(schema_field, fields.List):
        bounds: dict[str, Any] = {}
        for validator in schema_field.validators:
            if not isinstance(validator, validate.Length):
                raise TypeError(f"{schema_field.name}: {validator} has no JSON Schema here")
            bounds |= {"minItems": validator.min} if validator.min is not None else {}
            bounds |= {"maxItems": validator.max} if validator.max is not None else {}
        return {"type": "array", "items": _of_field(schema_field.inner, into, ref)} | bounds | described
    if isinstance(schema_field, Extensions):
        full = schema_field.json_schema()
        # OpenAPI 3.0 knows neither patternProperties nor type lists; the hub checks the rest itself.
        openapi = {"type": "object", "additionalProperties": {"type": "object"}}
        shape = openapi if ref.startswith("#/components") else full
        into.setdefault("Extensions", shape | {"description": "Namespaced custom fields; numbers are written as strings."})
        return {"allOf": [{"$ref": ref + "Extensions"}]} | described
    if isinstance(schema_field, CanonicalField):
        return schema_field.json_schema() | described
    raise TypeError(f"{schema_field.name}: {type(schema_field).__name__} is not a canonical field")


def standalone(definition: CanonicalType) -> dict[str, Any]:
    """One self-contained JSON Schema document (draft 2020-12) for a type."""
    return of_schema(definition.schema_class, definition.name)


def of_schema(schema: type[Schema], title: str) -> dict[str, Any]:
    """One self-contained JSON Schema document for a marshmallow schema."""
    into: dict[str, Any] = {}
    components(schema, into, "#/$defs/")
    body = into.pop(component_name(schema))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:crossdock:canonical:{title}",
        "title": title,
        **body,
        "$defs": into,
    }
