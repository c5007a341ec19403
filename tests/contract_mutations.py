"""Mutations of real OpenAPI documents with a known class: what breaks a caller and what does not.

Each mutation takes a document and a source of chance, changes the document in place and returns the rule that must be found
(``BREAKING``), or returns whether there was a place for it (``COMPATIBLE``).
"""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

Doc = dict[str, Any]
METHODS = ("get", "put", "post", "delete", "patch")


def operations(doc: Doc) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in doc["paths"].items():
        for method in METHODS:
            if isinstance(item, dict) and method in item:
                yield path, method, item[method]


def resolved(doc: Doc, value: Any) -> Any:
    while isinstance(value, dict) and "$ref" in value:
        found: Any = doc
        for step in value["$ref"][2:].split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def _object(doc: Doc, schema: Any) -> dict[str, Any] | None:
    """The schema as an object with properties of its own, one level deep."""
    schema = resolved(doc, schema)
    if isinstance(schema, dict) and len(schema.get("allOf", ())) == 1 and "properties" not in schema:
        schema = resolved(doc, schema["allOf"][0])
    if not isinstance(schema, dict) or not schema.get("properties") or "allOf" in schema:
        return None
    return {**copy.deepcopy({key: value for key, value in schema.items() if key != "properties"}),
            "properties": copy.deepcopy(schema["properties"])}  # fmt: skip


def isolate(doc: Doc, chance: random.Random, side: str) -> dict[str, Any] | None:
    """Write one operation's body (``request``) or successful answer (``response``) in place, so that nobody shares it.

    Returns the object schema, for a mutation to change; both documents of a pair are made from the isolated one.
    """
    found = list(operations(doc))
    chance.shuffle(found)
    for _, _, operation in found:
        if side == "request":
            body = resolved(doc, operation.get("requestBody"))
            media = _json((body or {}).get("content"))
            schema = _object(doc, (body or {}).get("content", {}).get(media, {}).get("schema")) if media else None
            if schema is not None and media is not None:
                own = copy.deepcopy(body)
                own["content"][media]["schema"] = schema
                operation["requestBody"] = own
                return schema
        else:
            for status in ("200", "201", 200):
                answer = resolved(doc, operation.get("responses", {}).get(status))
                media = _json((answer or {}).get("content"))
                schema = _object(doc, answer["content"][media].get("schema")) if media else None
                if schema is not None and media is not None:
                    own = copy.deepcopy(answer)
                    own["content"][media]["schema"] = schema
                    operation["responses"][status] = own
                    return schema
    return None


def _json(content: Any) -> str | None:
    return next((name for name in content or () if "json" in name), None)


def _optional(schema: dict[str, Any]) -> list[str]:
    return [name for name in schema["properties"] if name not in schema.get("required", ())]


# --- what both sides of a pair get before the mutation, so that there is something to change --------------------------------


def furnish(schema: dict[str, Any]) -> None:
    """Properties of every kind beside the document's own."""
    schema["properties"] |= {
        "m_text": {"type": "string", "maxLength": 20, "minLength": 2},
        "m_code": {"type": "string", "enum": ["a", "b", "c"]},
        "m_free": {"type": "string"},
        "m_count": {"type": "number", "minimum": 0, "maximum": 10, "multipleOf": 2},
        "m_when": {"type": "string", "format": "date-time"},
        "m_maybe": {"type": "string", "nullable": True},
        "m_sure": {"type": "string"},
        "m_list": {"type": "array", "items": {"type": "integer"}, "maxItems": 5},
        "m_open": {"type": "object", "additionalProperties": True, "properties": {"x": {"type": "string"}}},
        "m_either": {"oneOf": [{"title": "Text", "type": "string"}, {"title": "Number", "type": "integer"}]},
        "m_default": {"type": "integer", "default": 1},
    }
    schema["required"] = [*schema.get("required", ()), "m_sure"]


def _change(name: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda schema: schema["properties"][name].update(values)


def _drop(name: str, *keys: str) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        for key in keys:
            del schema["properties"][name][key]

    return change


def _remove(name: str) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        del schema["properties"][name]
        schema["required"] = [item for item in schema["required"] if item != name]

    return change


def _require(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda schema: schema["required"].append(name)


def _add(name: str, required: bool = False) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        schema["properties"][name] = {"type": "string"}
        if required:
            schema["required"].append(name)

    return change


_ONE = {"title": "Text", "type": "string"}
_TWO = {"title": "Number", "type": "integer"}
_THREE = {"title": "Flag", "type": "boolean"}

#: (side, what, change, rule) of the ones that break.
BREAKING_SCHEMAS: list[tuple[str, str, Callable[[dict[str, Any]], None], str]] = [
    ("request", "new required property", _add("m_new", True), "request-required-property-added"),
    ("request", "became required", _require("m_text"), "request-property-became-required"),
    ("request", "enum value removed", _change("m_code", enum=["a", "b"]), "request-enum-value-removed"),
    ("request", "enum introduced", _change("m_free", enum=["x"]), "request-enum-introduced"),
    ("request", "type narrowed", _change("m_count", type="integer"), "request-type-narrowed"),
    ("request", "type changed", _change("m_free", type="integer"), "request-type-changed"),
    ("request", "shorter", _change("m_text", maxLength=10), "request-bound-tightened"),
    ("request", "longer at least", _change("m_text", minLength=3), "request-bound-tightened"),
    ("request", "bound introduced", _change("m_free", maxLength=5), "request-bound-tightened"),
    ("request", "smaller maximum", _change("m_count", maximum=9), "request-bound-tightened"),
    ("request", "larger minimum", _change("m_count", minimum=1), "request-bound-tightened"),
    ("request", "exclusive", _change("m_count", exclusiveMaximum=True), "request-bound-tightened"),
    ("request", "multiple", _change("m_count", multipleOf=4), "request-bound-tightened"),
    ("request", "unique", _change("m_list", uniqueItems=True), "request-bound-tightened"),
    ("request", "fewer items", _change("m_list", maxItems=4), "request-bound-tightened"),
    ("request", "items changed", lambda s: s["properties"]["m_list"]["items"].update(type="string"), "request-type-changed"),
    ("request", "pattern", _change("m_free", pattern="^x"), "request-pattern-introduced"),
    ("request", "format", _change("m_free", format="uuid"), "request-format-introduced"),
    ("request", "other format", _change("m_when", format="date"), "request-format-changed"),
    ("request", "no null", _drop("m_maybe", "nullable"), "request-became-not-nullable"),
    ("request", "closed", _change("m_open", additionalProperties=False), "request-additional-forbidden"),
    ("request", "alternative removed", _change("m_either", oneOf=[_ONE]), "request-alternative-removed"),
    ("request", "default changed", _change("m_default", default=2), "request-default-changed"),
    ("request", "default removed", _drop("m_default", "default"), "request-default-removed"),
    ("response", "required removed", _remove("m_sure"), "response-required-property-removed"),
    ("response", "may be absent", lambda s: s["required"].remove("m_sure"), "response-property-became-optional"),
    ("response", "type changed", _change("m_free", type="integer"), "response-type-changed"),
    ("response", "type widened", _change("m_list", items={"type": "number"}), "response-type-widened"),
    ("response", "null", _change("m_sure", nullable=True), "response-became-nullable"),
    ("response", "other format", _change("m_when", format="date"), "response-format-changed"),
    ("response", "no format", _drop("m_when", "format"), "response-format-dropped"),
    ("response", "longer", _change("m_text", maxLength=40), "response-bound-loosened"),
    ("response", "unbounded", _drop("m_count", "maximum"), "response-bound-loosened"),
    ("response", "smaller", _change("m_count", minimum=-1), "response-bound-loosened"),
    ("response", "another shape", _change("m_either", oneOf=[_ONE, _TWO, _THREE]), "response-alternative-added"),
    ("response", "write only", _change("m_free", writeOnly=True), "response-property-became-write-only"),
    ("response", "items unknown", _drop("m_list", "items"), "response-items-dropped"),
]
#: (side, what, change) of the ones that do not.
COMPATIBLE_SCHEMAS: list[tuple[str, str, Callable[[dict[str, Any]], None]]] = [
    ("request", "new optional property", _add("m_new")),
    ("request", "became optional", lambda s: s["required"].remove("m_sure")),
    ("request", "enum value added", _change("m_code", enum=["c", "a", "d", "b"])),
    ("request", "enum dropped", _drop("m_code", "enum")),
    ("request", "type widened", lambda s: s["properties"]["m_list"]["items"].update(type="number")),
    ("request", "longer", _change("m_text", maxLength=40)),
    ("request", "unbounded", _drop("m_text", "maxLength", "minLength")),
    ("request", "coarser multiple", _change("m_count", multipleOf=1)),
    ("request", "null", _change("m_sure", nullable=True)),
    ("request", "no format", _drop("m_when", "format")),
    ("request", "another shape", _change("m_either", oneOf=[_THREE, _TWO, _ONE])),
    ("request", "read only and required", lambda s: (s["properties"].update(m_id={"type": "string", "readOnly": True}),
                                                    s["required"].append("m_id"))),
    ("request", "zero length is none", _change("m_free", minLength=0)),
    ("response", "new property", _add("m_new")),
    ("response", "new required property", _add("m_new", True)),
    ("response", "became required", _require("m_text")),
    ("response", "enum value removed", _change("m_code", enum=["b", "a"])),
    ("response", "shorter", _change("m_text", maxLength=10)),
    ("response", "integer only", _change("m_count", type="integer")),
    ("response", "no null", _drop("m_maybe", "nullable")),
    ("response", "format", _change("m_free", format="uuid")),
    ("response", "one shape less", _change("m_either", oneOf=[_TWO])),
    ("response", "optional removed, said to be WARN", _remove("m_text")),
    ("response", "default changed", _change("m_default", default=2)),
    ("both", "described", _change("m_free", description="x", example="y", title="z")),
    ("both", "31 spelling", lambda s: s["properties"].update(m_maybe={"type": ["string", "null"]})),
    ("both", "allOf of one", lambda s: s["properties"].update(m_free={"allOf": [{"type": "string"}], "description": "x"})),
    ("both", "split in parts", lambda s: s["properties"].update(
        m_text={"allOf": [{"type": "string", "maxLength": 20}, {"minLength": 2}]})),
    ("both", "reordered", lambda s: (s.update(properties=dict(reversed(list(s["properties"].items())))), s["required"].reverse())),
]  # fmt: skip


# --- operations ------------------------------------------------------------------------------------------------------------


def _some(doc: Doc, chance: random.Random) -> dict[str, Any]:
    """An operation, with a parameter, an answer header and a security requirement to change."""
    path, method, operation = chance.choice(list(operations(doc)))
    operation["parameters"] = [*operation.get("parameters", ()),
                               {"name": "m_page", "in": "query", "schema": {"type": "integer", "default": 1}},
                               {"name": "m_sort", "in": "query", "schema": {"type": "string", "enum": ["up", "down"]}}]  # fmt: skip
    operation["security"] = [{"mKey": []}, {"mOauth": ["read"]}]
    operation["responses"]["299"] = {
        "description": "x", "headers": {"X-M": {"required": True, "schema": {"type": "string"}}},
        "content": {"application/json": {"schema": {"type": "object"}}, "text/csv": {"schema": {"type": "string"}}},
    }  # fmt: skip
    operation["x-m-place"] = [path, method]
    return operation


def _unplace(doc: Doc, operation: dict[str, Any]) -> None:
    path, method = operation["x-m-place"]
    del doc["paths"][path][method]


BREAKING_OPERATIONS: list[tuple[str, Callable[[Doc, dict[str, Any]], Any], str]] = [
    ("removed", _unplace, "operation-removed"),
    ("required parameter", lambda d, o: o["parameters"].append({"name": "m_x", "in": "query", "required": True, "schema": {}}),
     "required-parameter-added"),
    ("required header", lambda d, o: o["parameters"].append({"name": "M-X", "in": "header", "required": True, "schema": {}}),
     "required-parameter-added"),
    ("parameter required", lambda d, o: o["parameters"][-2].update(required=True), "parameter-became-required"),
    ("parameter narrowed", lambda d, o: o["parameters"][-1]["schema"].update(enum=["up"]), "request-enum-value-removed"),
    ("parameter default", lambda d, o: o["parameters"][-2]["schema"].update(default=2), "request-default-changed"),
    ("parameter style", lambda d, o: o["parameters"][-1].update(style="pipeDelimited"), "parameter-serialization-changed"),
    ("answer gone", lambda d, o: o["responses"].pop("299"), "success-response-removed"),
    ("answer media type gone", lambda d, o: o["responses"]["299"]["content"].pop("text/csv"), "response-media-type-removed"),
    ("answer body gone", lambda d, o: o["responses"]["299"].pop("content"), "response-body-removed"),
    ("answer header gone", lambda d, o: o["responses"]["299"].pop("headers"), "required-response-header-removed"),
    ("answer header optional", lambda d, o: o["responses"]["299"]["headers"]["X-M"].pop("required"),
     "response-header-became-optional"),
    ("way in gone", lambda d, o: o["security"].pop(0), "security-alternative-removed"),
    ("scope added", lambda d, o: o["security"][1]["mOauth"].append("write"), "security-scope-added"),
    ("body required", lambda d, o: o.update(requestBody={"required": True, "content": {"application/json": {"schema": {}}}}),
     "required-body-added"),
]  # fmt: skip
COMPATIBLE_OPERATIONS: list[tuple[str, Callable[[Doc, dict[str, Any]], Any]]] = [
    ("optional parameter", lambda d, o: o["parameters"].append({"name": "m_x", "in": "query", "schema": {}})),
    ("parameter widened", lambda d, o: o["parameters"][-1]["schema"].update(enum=["up", "down", "none"])),
    ("parameters reordered", lambda d, o: o["parameters"].reverse()),
    ("style spelt out", lambda d, o: o["parameters"][-1].update(style="form", explode=True)),
    ("error documented", lambda d, o: o["responses"].update({"418": {"description": "teapot"}})),
    ("answer media type added", lambda d, o: o["responses"]["299"]["content"].update({"text/plain": {}})),
    ("answer header added", lambda d, o: o["responses"]["299"]["headers"].update({"X-N": {"schema": {}}})),
    ("header in another case", lambda d, o: o["responses"]["299"].update(
        headers={"x-m": o["responses"]["299"]["headers"]["X-M"]})),
    ("another way in", lambda d, o: o["security"].append({"mOther": []})),
    ("ways reordered", lambda d, o: o["security"].reverse()),
    ("described", lambda d, o: o.update(summary="x", description="y", tags=["z"])),
    ("deprecated with a sunset", lambda d, o: o.update({"deprecated": True, "x-sunset": "2030-01-01"})),
    ("another operation", lambda d, o: d["paths"].update({"/m/new": {"get": {"responses": {"200": {"description": "x"}}}}})),
    ("path parameters renamed", lambda d, o: _rename_parameters(d)),
    ("components renamed", lambda d, o: _rename_components(d)),
    ("paths reordered", lambda d, o: d.update(paths=dict(reversed(list(d["paths"].items()))))),
]  # fmt: skip


def _rename_parameters(doc: Doc) -> None:
    import re

    for path in list(doc["paths"]):
        if "{" not in path:
            continue
        item = doc["paths"].pop(path)
        for owner in (item, *(item[method] for method in METHODS if method in item)):
            owner["parameters"] = [dict(resolved(doc, parameter)) for parameter in owner.get("parameters", ())]
            for parameter in owner["parameters"]:
                if parameter.get("in") == "path" and f"{{{parameter['name']}}}" in path:
                    parameter["name"] = f"m_{parameter['name']}"
        doc["paths"][re.sub(r"\{([^}]*)\}", r"{m_\1}", path)] = item


def _rename_components(doc: Doc) -> None:
    schemas = doc.get("components", {}).get("schemas", {})

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: (item.replace("#/components/schemas/", "#/components/schemas/M") if key == "$ref" and isinstance(item, str)
                          else renamed(item)) for key, item in value.items()}  # fmt: skip
        return [renamed(item) for item in value] if isinstance(value, list) else value

    renamed_schemas = {f"M{name}": renamed(schema) for name, schema in schemas.items()}
    rest = renamed({key: value for key, value in doc.items() if key != "components"})
    components = {key: renamed(value) for key, value in doc.get("components", {}).items() if key != "schemas"}
    doc.clear()
    doc.update(rest | {"components": components | {"schemas": renamed_schemas}})
