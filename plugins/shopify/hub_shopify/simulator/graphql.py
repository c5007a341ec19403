"""As much of GraphQL as the simulator needs: one operation, arguments, variables, aliases, inline fragments.
Not for the connector.

Source: GraphQL specification, October 2021, sections 2 and 6. What the connector asks is checked against Shopify's own schema,
by a library, in this plugin's tests; this only runs it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(r'[\s,]*(?:#[^\n]*)?(\.\.\.|[A-Za-z_]\w*|-?\d+(?:\.\d+)?|"(?:\\.|[^"\\])*"|[{}()\[\]:!$=@|&]|\Z)')


class GraphQLError(Exception):
    """The document cannot be run."""


@dataclass(frozen=True)
class _Field:
    key: str
    name: str
    arguments: Mapping[str, Any]
    below: "list[_Field] | None"


@dataclass(frozen=True)
class _Variable:
    name: str


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens, place = [], 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise GraphQLError(f"syntax error at {text[place : place + 20]!r}")
            if not match[1]:
                break
            self._tokens.append(match[1])
            place = match.end()
        self._tokens.append("")  # the end: nothing follows it
        self._place = 0

    def take(self, *wanted: str) -> str:
        token = self._tokens[self._place]
        if wanted and token not in wanted:
            raise GraphQLError(f"expected {' or '.join(wanted)}, found {token or 'the end'}")
        if not token:
            raise GraphQLError("the document ends too early")
        self._place += 1
        return token

    def at(self, token: str) -> bool:
        return self._tokens[self._place] == token

    def operation(self) -> tuple[str, list[_Field]]:
        kind = "query" if self.at("{") else self.take("query", "mutation")
        while not self.at("{"):  # name and variable definitions: the schema's concern, checked in the tests
            self.take()
        return kind, self.selections()

    def selections(self) -> list[_Field]:
        self.take("{")
        found = []
        while not self.at("}"):
            key = name = self.take()
            if name == "...":  # an inline fragment: `... on Type { … }`
                self.take("on")
                found.append(_Field(name, self.take(), {}, self.selections()))
                continue
            if self.at(":"):
                self.take()
                name = self.take()
            arguments = self._object("(", ")") if self.at("(") else {}
            found.append(_Field(key, name, arguments, self.selections() if self.at("{") else None))
        self.take("}")
        return found

    def _object(self, opening: str, closing: str) -> dict[str, Any]:
        self.take(opening)
        found = {}
        while not self.at(closing):
            name = self.take()
            self.take(":")
            found[name] = self._value()
        self.take(closing)
        return found

    def _value(self) -> Any:
        if self.at("{"):
            return self._object("{", "}")
        if self.at("["):
            self.take()
            items = []
            while not self.at("]"):
                items.append(self._value())
            self.take("]")
            return items
        if self.at("$"):
            self.take()
            return _Variable(self.take())
        token = self.take()
        if token in ("true", "false", "null") or token[0] in '"-0123456789':
            return json.loads(token)
        return token  # an enum value


def execute(text: str, variables: Mapping[str, Any], roots: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The data of a document's operation; ``roots``: by kind, the fields and what they are (a function gets the arguments).

    Raises GraphQLError if it cannot be read or asks for what is not there.
    """
    kind, fields = _Reader(text).operation()
    return _selected(fields, roots[kind], variables, kind)


def _selected(fields: list[_Field], value: Mapping[str, Any], variables: Mapping[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields:
        if field.key == "...":
            if value.get("__typename") == field.name:
                found |= _selected(field.below or [], value, variables, path)
            continue
        if field.name not in value:
            raise GraphQLError(f"Field '{field.name}' doesn't exist on {path}")
        inner = value[field.name]
        if callable(inner):
            inner = inner(**{name: _filled(item, variables) for name, item in field.arguments.items()})
        found[field.key] = _completed(field, inner, variables, f"{path}.{field.name}")
    return found


def _completed(field: _Field, value: Any, variables: Mapping[str, Any], path: str) -> Any:
    if isinstance(value, list):
        return [_completed(field, item, variables, path) for item in value]
    if value is None:
        return None
    if isinstance(value, Mapping) != (field.below is not None):
        raise GraphQLError(f"{path} {'must have' if field.below is None else 'cannot have'} a selection of subfields")
    return value if field.below is None else _selected(field.below, value, variables, path)


def _filled(value: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(value, _Variable):
        return variables.get(value.name)
    if isinstance(value, dict):
        return {name: _filled(item, variables) for name, item in value.items()}
    return [_filled(item, variables) for item in value] if isinstance(value, list) else value
