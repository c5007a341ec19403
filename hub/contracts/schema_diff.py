"""Compares two schemas as callers write them (``request``) or read them (``response``).

What a component says is compared once for each direction, however many operations use it; each operation is told later.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from hub.contracts.changes import WARN, Change, severity
from hub.contracts.schema_view import ABSENT, ANNOTATIONS, Document, Json, Node, View, escape

REQUEST, RESPONSE = "request", "response"
#: Bounds that allow less when they are larger.
_COMPONENTS = "#/components/"
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")


@dataclass
class Scope:
    """One component in one direction, or one operation: its own changes and the scopes it uses."""

    name: str
    changes: list[Change] = field(default_factory=list)
    uses: dict[str, None] = field(default_factory=dict)


class SchemaComparison:
    """Compares schemas of two documents; changes are kept in scopes."""

    def __init__(self, old: Document, new: Document) -> None:
        self.old, self.new = old, new
        self.scopes: dict[str, Scope] = {}
        self._pairs: set[tuple[int, int, str]] = set()
        self._same = _unchanged(old, new)

    def scope(self, name: str) -> Scope:
        return self.scopes.setdefault(name, Scope(name))

    def compare(self, old: Node, new: Node, direction: str, scope: Scope, place: str) -> None:
        """Everything that differs between two schemas at a place of a scope."""
        first, second = _reference(old.schema), _reference(new.schema)
        if first is None or second is None or not (first.startswith(_COMPONENTS) and second.startswith(_COMPONENTS)):
            self._views(old, new, direction, scope, place)
            return
        if first == second and first in self._same:
            return
        before = first.rpartition("/")[2]  # a component that was renamed keeps its place
        name = f"{before} ({'written' if direction == REQUEST else 'read'})" + ("" if first == second else f" now {second}")
        scope.uses[name] = None
        if name not in self.scopes:
            target, was, now = self.scope(name), self.old.resolve(first), self.new.resolve(second)
            if was is not None and now is not None:
                self._views(was, now, direction, target, before)

    def _views(self, old: Node, new: Node, direction: str, scope: Scope, place: str) -> None:
        old, new = self.old.follow(old), self.new.follow(new)
        key = (id(old.schema), id(new.schema), f"{direction} {scope.name}")
        if key in self._pairs:  # a type that contains itself, or the same part again
            return
        self._pairs.add(key)
        _Pair(self, self.old.view(old), self.new.view(new), old.pointer, new.pointer, direction, scope, place).compare()


def component(node: Node) -> str | None:
    """The component that a schema refers to: what is inside is compared once, under the component's name."""
    name = _reference(node.schema)
    return name.rpartition("/")[2] if name is not None and name.startswith(_COMPONENTS) else None


def _reference(schema: Json) -> str | None:
    """The reference that a schema is, annotations aside."""
    if not isinstance(schema, Mapping):
        return None
    if "$ref" in schema:
        return str(schema["$ref"])
    parts = schema.get("allOf")
    if parts and len(parts) == 1 and set(schema) - ANNOTATIONS == {"allOf"} and isinstance(parts[0], Mapping):
        return str(parts[0]["$ref"]) if "$ref" in parts[0] else None
    return None


@dataclass
class _Pair:
    """Two views of the same thing."""

    comparison: SchemaComparison
    old: View
    new: View
    old_pointer: str
    new_pointer: str
    direction: str
    scope: Scope
    place: str

    def compare(self) -> None:
        self._types()
        self._enums()
        self._bounds()
        self._words("pattern", self.old.pattern, self.new.pattern)
        self._words("format", self.old.format, self.new.format)
        self._default()
        self._properties()
        self._additional()
        self._items()
        self._alternatives()
        self._discriminator()
        if _plain(self.old.negation) != _plain(self.new.negation):
            self._add("negation-changed", None, None, "not")

    def _add(self, kind: str, before: Json, after: Json, keyword: str = "", place: str = "", level: str = "") -> None:
        rule = f"{self.direction}-{kind}"
        pointer = self.old_pointer if after is None and before is not None else self.new_pointer
        here = self.place + place
        self.scope.changes.append(Change(
            rule, level or severity(rule), here, pointer + (f"/{keyword}" if keyword else ""), before, after
        ))  # fmt: skip

    def _types(self) -> None:
        old, new = self.old.types, self.new.types
        if old == new:
            return
        if old is None or new is None:
            self._add("type-narrowed" if old is None else "type-widened", _sorted(old), _sorted(new), "type")
            return
        if "number" in old:
            old |= {"integer"}
        if "number" in new:
            new |= {"integer"}
        lost, won = old - new, new - old
        if lost == {"null"}:
            self._add("became-not-nullable", True, False, "type")
        if won == {"null"}:
            self._add("became-nullable", False, True, "type")
        lost, won = lost - {"null"}, won - {"null"}
        if lost or won:
            kind = "type-changed" if lost and won else "type-narrowed" if lost else "type-widened"
            self._add(kind, _sorted(self.old.types), _sorted(self.new.types), "type")

    def _enums(self) -> None:
        old, new = self.old.enum, self.new.enum
        if old is None and new is None:
            return
        if old is None or new is None:
            self._add("enum-introduced" if old is None else "enum-dropped", old, new, "enum")
            return
        for value in old:
            if value not in new:
                self._add("enum-value-removed", value, None, "enum")
        for value in new:
            if value not in old:
                self._add("enum-value-added", None, value, "enum")

    def _bounds(self) -> None:
        for name in sorted(self.old.bounds.keys() | self.new.bounds.keys()):
            old, new = self.old.bounds.get(name), self.new.bounds.get(name)
            if old == new or (name in _LOWER and not old and not new) or (name == "uniqueItems" and bool(old) == bool(new)):
                continue
            try:
                tightened = _tightened(name, old, new)
            except TypeError:  # a bound that is no number: the linter's business
                continue
            self._add("bound-tightened" if tightened else "bound-loosened", old, new, name, f" {name}")

    def _words(self, name: str, old: str | None, new: str | None) -> None:
        if old != new:
            how = "introduced" if old is None else "dropped" if new is None else "changed"
            self._add(f"{name}-{how}", old, new, name)

    def _default(self) -> None:
        old, new = self.old.default, self.new.default
        if old is ABSENT and new is not ABSENT:
            self._add("default-added", None, new, "default")
        elif new is ABSENT and old is not ABSENT:
            self._add("default-removed", old, None, "default")
        elif old != new:
            self._add("default-changed", old, new, "default")

    def _properties(self) -> None:
        for name in sorted(self.old.properties.keys() | self.new.properties.keys() | self.old.required | self.new.required):
            before, after = self.old.properties.get(name), self.new.properties.get(name)
            place = f"{self.place}.{name}"
            if before is not None and after is not None:
                self._flags(name, before, after)
                if not self._hidden(before, after):
                    self.comparison.compare(before, after, self.direction, self.scope, place)
            elif before is not None:
                if not self._unseen(self.comparison.old.view(before)):
                    self._removed(name)
                continue
            elif after is not None:
                if not self._unseen(self.comparison.new.view(after)):
                    required = name in self.new.required
                    kind = "required-property-added" if required else "property-added"
                    self._add(kind, None, name, f"properties/{escape(name)}", f".{name}")
                continue
            was, now = name in self.old.required, name in self.new.required
            if was != now and not (after is not None and self._unseen(self.comparison.new.view(after))):
                has_default = after is not None and self.comparison.new.view(after).default is not ABSENT
                level = WARN if now and has_default and self.direction == REQUEST else ""
                kind = "property-became-required" if now else "property-became-optional"
                self._add(kind, was, now, "required", f".{name}", level)

    def _removed(self, name: str) -> None:
        kind = "required-property-removed" if name in self.old.required else "property-removed"
        if self.direction == REQUEST and self.new.additional is False:
            kind = "property-forbidden"
        rule = f"{self.direction}-{kind}"
        pointer = f"{self.old_pointer}/properties/{escape(name)}"
        self.scope.changes.append(Change(rule, severity(rule), f"{self.place}.{name}", pointer, name, None))

    def _unseen(self, view: View) -> bool:
        """Callers never write what is read only, and never read what is write only."""
        return view.read_only if self.direction == REQUEST else view.write_only

    def _hidden(self, before: Node, after: Node) -> bool:
        return self._unseen(self.comparison.old.view(before)) and self._unseen(self.comparison.new.view(after))

    def _flags(self, name: str, before: Node, after: Node) -> None:
        old, new = self.comparison.old.view(before), self.comparison.new.view(after)
        for was, now, on, off in (
            (old.read_only, new.read_only, "property-became-read-only", "property-became-writable"),
            (old.write_only, new.write_only, "property-became-write-only", "property-became-readable"),
        ):
            if was != now:
                self._add(on if now else off, was, now, f"properties/{escape(name)}", f".{name}")
        if new.deprecated and not old.deprecated:
            self._add("property-deprecated", None, True, f"properties/{escape(name)}/deprecated", f".{name}")

    def _additional(self) -> None:
        old, new = self.old.additional, self.new.additional
        if isinstance(old, Node) and isinstance(new, Node):
            self.comparison.compare(old, new, self.direction, self.scope, f"{self.place}.*")
        elif (old is False) != (new is False):
            forbidden = new is False
            kind = "additional-forbidden" if forbidden else "additional-allowed"
            self._add(kind, old is not False, new is not False, "additionalProperties")
        elif isinstance(new, Node) != isinstance(old, Node):
            kind = "items-introduced" if isinstance(new, Node) else "items-dropped"
            self._add(kind, None, None, "additionalProperties", ".*")

    def _items(self) -> None:
        old, new = self.old.items, self.new.items
        if old is not None and new is not None:
            self.comparison.compare(old, new, self.direction, self.scope, f"{self.place}[]")
        elif old is not None or new is not None:
            self._add("items-introduced" if old is None else "items-dropped", None, None, "items", "[]")

    def _alternatives(self) -> None:
        for name in ("oneOf", "anyOf"):
            old, new = self.old.alternatives.get(name), self.new.alternatives.get(name)
            if not old and not new:
                continue
            if not old or not new:
                self._add("alternatives-introduced" if not old else "alternatives-dropped", None, None, name, f" {name}")
                continue
            before, after = _named(self.comparison.old, old), _named(self.comparison.new, new)
            self._pair_renamed(before, after)
            for key in sorted(before.keys() - after.keys()):
                self._add("alternative-removed", key, None, name, f" {name}")
            for key in sorted(after.keys() - before.keys()):
                self._add("alternative-added", None, key, name, f" {name}")
            for key in sorted(before.keys() & after.keys()):
                self.comparison.compare(before[key], after[key], self.direction, self.scope, f"{self.place}<{key}>")

    def _pair_renamed(self, before: dict[str, Node], after: dict[str, Node]) -> None:
        """An alternative under another name that has the same shape is the same."""
        left: dict[tuple[Any, ...], list[str]] = {}
        for key in sorted(after.keys() - before.keys(), reverse=True):
            left.setdefault(_shape(self.comparison.new, after[key]), []).append(key)
        for key in sorted(before.keys() - after.keys()):
            if same := left.get(_shape(self.comparison.old, before[key])):
                after[key] = after.pop(same.pop())

    def _discriminator(self) -> None:
        old, new = self.old.discriminator, self.new.discriminator
        if not old and not new:
            return
        if not old or not new:
            kind = "discriminator-added" if not old else "discriminator-removed"
            self._add(kind, (old or {}).get("propertyName"), (new or {}).get("propertyName"), "discriminator")
            return
        if old.get("propertyName") != new.get("propertyName"):
            self._add("discriminator-changed", old.get("propertyName"), new.get("propertyName"), "discriminator")
        before, after = old.get("mapping") or {}, new.get("mapping") or {}
        for key in sorted(before.keys() | after.keys()):
            if key not in after:
                self._add("discriminator-value-removed", key, None, "discriminator")
            elif key not in before:
                self._add("discriminator-value-added", None, key, "discriminator")
            elif before[key] != after[key] and self._mapped(before[key], after[key]):
                self._add("discriminator-value-changed", before[key], after[key], "discriminator", f" {key}")

    def _mapped(self, old: str, new: str) -> bool:
        """Whether two mapping values lead to different shapes."""
        names = [name if "/" in name else f"#/components/schemas/{name}" for name in (old, new)]
        was, now = self.comparison.old.resolve(names[0]), self.comparison.new.resolve(names[1])
        return was is None or now is None or _shape(self.comparison.old, was) != _shape(self.comparison.new, now)


def _shape(document: Document, node: Node) -> tuple[Any, ...]:
    """What tells a schema from others, its name aside."""
    view = document.view(node)
    return (
        tuple(sorted(view.types or ())),
        tuple(sorted(view.properties)),
        tuple(sorted(view.required)),
        repr(view.enum),
        view.format,
    )


def _sorted(types: frozenset[str] | None) -> list[str] | None:
    return None if types is None else sorted(types)


def _plain(value: Json) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _tightened(name: str, old: Any, new: Any) -> bool:
    """Whether fewer values fit."""
    if name == "uniqueItems":
        return bool(new)
    if old is None or new is None:
        return old is None
    if name == "multipleOf":
        return bool(old % new)  # every multiple of the old one is one of the new one, or fewer fit
    return bool(new > old) if name in _LOWER else bool(new < old)


def _named(document: Document, nodes: Iterable[Node]) -> dict[str, Node]:
    """Alternatives by what tells them apart whatever their order: reference, title, or their types and properties."""
    found: dict[str, Node] = {}
    for node in nodes:
        schema, view = node.schema, document.view(node)
        key = (_reference(schema) or "").rpartition("/")[2] or (schema.get("title") if isinstance(schema, Mapping) else "")
        key = str(
            key or ",".join([*sorted(view.types or ()), *sorted(view.properties), *([view.format] if view.format else [])])
        )
        while key in found:
            key += "'"
        found[key] = node
    return found


def _unchanged(old: Document, new: Document) -> set[str]:
    """References whose target, and whatever it leads to, is the same on both sides."""
    same: dict[str, set[str]] = {}
    for group in ("schemas", "parameters", "responses", "requestBodies", "headers"):
        before = (old.root.get("components") or {}).get(group) or {}
        after = (new.root.get("components") or {}).get(group) or {}
        for name in before.keys() & after.keys():
            if before[name] == after[name]:
                same[f"#/components/{group}/{escape(name)}"] = set(_references(before[name]))
    while lost := [name for name, uses in same.items() if any(use.startswith(_COMPONENTS) and use not in same for use in uses)]:
        for name in lost:
            del same[name]
    return set(same)


def _references(value: Json) -> Iterable[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                yield item
            else:
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def spread(scopes: Mapping[str, Scope], operations: Mapping[str, Scope]) -> list[Change]:
    """Every change once, with the operations that reach it."""
    concerned: dict[str, set[str]] = {}
    for name, scope in operations.items():
        pending, seen = [scope], {scope.name}
        while pending:
            here = pending.pop()
            concerned.setdefault(here.name, set()).add(name)
            for use in here.uses:
                if use not in seen and use in scopes:
                    seen.add(use)
                    pending.append(scopes[use])
    found: dict[str, Change] = {}
    for scope in scopes.values():
        who = concerned.get(scope.name, set())
        for change in scope.changes:
            known = found.get(change.fingerprint)
            operations_of = sorted(who | set(known.operations if known else ()))
            found[change.fingerprint] = replace(change, operations=tuple(operations_of))
    return sorted(found.values(), key=_order)


def _order(change: Change) -> tuple[int, str, str]:
    return ("ERR", "WARN", "INFO").index(change.severity), change.place, change.rule
