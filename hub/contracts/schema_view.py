"""A schema as a reader sees it: references followed, `allOf` merged, OpenAPI 3.0 and 3.1 spelt alike.

Works on plain JSON values and copies nothing; a document of megabytes is looked at where it matters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any
#: Keywords that say nothing about which documents fit.
ANNOTATIONS = frozenset({
    "title", "description", "example", "examples", "externalDocs", "xml", "$comment", "$id", "$schema", "deprecated",
    "readOnly", "writeOnly", "default",
})  # fmt: skip
BOUNDS = (
    "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
    "minProperties", "maxProperties", "multipleOf", "uniqueItems",
)  # fmt: skip
ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "absent", "__bool__": lambda self: False})()


@dataclass(frozen=True)
class Node:
    """A schema and where it stands in its document."""

    schema: Json
    pointer: str

    def at(self, *steps: str | int) -> "Node":
        """The schema below."""
        inner = self.schema
        for step in steps:
            inner = inner[step]
        return Node(inner, self.pointer + "".join(f"/{escape(str(step))}" for step in steps))


def escape(step: str) -> str:
    """A step of a JSON pointer."""
    return step.replace("~", "~0").replace("/", "~1")


@dataclass
class View:
    """What a schema says after its references and `allOf` are put together. ``types`` None: any."""

    types: frozenset[str] | None = None
    enum: list[Json] | None = None
    bounds: dict[str, Json] = field(default_factory=dict)
    pattern: str | None = None
    format: str | None = None
    default: Json = ABSENT
    properties: dict[str, Node] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    additional: Node | bool = True
    items: Node | None = None
    alternatives: dict[str, list[Node]] = field(default_factory=dict)
    negation: Json = None
    discriminator: Mapping[str, Any] | None = None
    read_only: bool = False
    write_only: bool = False
    deprecated: bool = False


class Document:
    """A document whose references are followed."""

    def __init__(self, root: Json) -> None:
        self.root = root
        self._views: dict[int, View] = {}

    def resolve(self, reference: str) -> Node | None:
        """What a local reference points to; None for one that leads nowhere or out of the document."""
        if not reference.startswith("#"):
            return None
        value = self.root
        for step in reference[1:].split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, list) and step.isdigit() and int(step) < len(value):
                value = value[int(step)]
            elif isinstance(value, Mapping) and step in value:
                value = value[step]
            else:
                return None
        return Node(value, reference)

    def follow(self, node: Node) -> Node:
        """Through references to something that is none."""
        for _ in range(50):
            if not isinstance(node.schema, Mapping) or "$ref" not in node.schema:
                return node
            found = self.resolve(str(node.schema["$ref"]))
            if found is None:
                return Node({}, node.pointer)
            node = found
        return Node({}, node.pointer)

    def view(self, node: Node) -> View:
        """The schema at ``node``, put together once."""
        node = self.follow(node)
        key = id(node.schema)
        if key not in self._views:
            view = View()
            self._merge(node, view, frozenset())
            self._views[key] = view
        return self._views[key]

    def _merge(self, node: Node, into: View, seen: frozenset[int]) -> None:
        node = self.follow(node)
        schema = node.schema
        if not isinstance(schema, Mapping) or id(schema) in seen:
            into.negation = into.negation or (True if schema is False else None)
            return
        for index in range(len(schema.get("allOf") or ())):
            self._merge(node.at("allOf", index), into, seen | {id(schema)})
        _types(schema, into)
        if "const" in schema or "enum" in schema:
            given = [schema["const"]] if "const" in schema else list(schema["enum"])
            into.enum = given if into.enum is None else [value for value in into.enum if value in given]
        _bounds(schema, into)
        into.pattern, into.format = schema.get("pattern", into.pattern), schema.get("format", into.format)
        into.default = schema.get("default", into.default)
        for name in schema.get("properties") or ():
            into.properties[name] = node.at("properties", name)
        into.required |= set(schema.get("required") or ()) if isinstance(schema.get("required"), list) else set()
        if "additionalProperties" in schema:
            given = schema["additionalProperties"]
            into.additional = given if isinstance(given, bool) else node.at("additionalProperties")
        if "items" in schema:
            into.items = node.at("items")
        for name in ("oneOf", "anyOf"):
            if schema.get(name):
                into.alternatives.setdefault(name, []).extend(node.at(name, n) for n in range(len(schema[name])))
        into.negation = schema.get("not", into.negation)
        into.discriminator = schema.get("discriminator", into.discriminator)
        into.read_only = bool(schema.get("readOnly", into.read_only))
        into.write_only = bool(schema.get("writeOnly", into.write_only))
        into.deprecated = bool(schema.get("deprecated", into.deprecated))


def _types(schema: Mapping[str, Any], into: View) -> None:
    given = schema.get("type")
    if given is None:
        return
    types = frozenset(given if isinstance(given, list) else [given])
    if schema.get("nullable"):
        types |= {"null"}
    into.types = types if into.types is None else (into.types & types or types)


def _bounds(schema: Mapping[str, Any], into: View) -> None:
    for name in BOUNDS:
        if name in schema:
            value = schema[name]
            if name in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):  # OpenAPI 3.0
                plain = name.replace("exclusiveM", "m")
                if value and plain in schema:
                    into.bounds.pop(plain, None)
                    into.bounds[name] = schema[plain]
            elif not (name in ("minimum", "maximum") and schema.get(f"exclusive{name.capitalize()}") is True):
                into.bounds[name] = value
