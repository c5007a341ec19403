"""Lints a contract by rules that are data (`ruleset.yaml`), in Spectral's shape: given a place, a function must hold.

Each finding has its rule, JSON pointer and line; the score is the share of checks that hold, weighted by severity.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hub.contracts.diff import SUNSET_DAYS
from hub.contracts.schema_view import Document, Json, Node, escape
from hub.errors import HubError

WEIGHTS = {"error": 10, "warn": 3, "hint": 1}
_TOKEN = re.compile(r"\.\.(?P<deep>[\w$*-]+)|\.(?P<name>[\w$-]+)|\[(?P<any>\*)\]|\[(?P<union>[\w$,-]+)\]")


@dataclass(frozen=True)
class Rule:
    """One rule: of which documents (``openapi``, ``event``, ``connector``), where it looks (``given``), what must hold there
    (``then``), how bad it is, and why, for its page.
    """

    id: str
    of: str
    severity: str
    given: str
    then: tuple[Mapping[str, Any], ...]
    message: str
    why: str
    good: str
    bad: str


@dataclass(frozen=True)
class Finding:
    """One rule broken at one place. ``line`` counts from 1; 0 where the text is not known."""

    rule: str
    severity: str
    pointer: str
    line: int
    message: str


@dataclass
class Report:
    """What was found, and per rule how many checks were made and how many failed."""

    findings: list[Finding] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def score(self) -> float:
        """0 to 100: each rule's share of checks that hold, weighted by severity; rules with nothing to check do not count."""
        rules = {rule.id: rule for rule in ruleset()}
        weights = {name: WEIGHTS[rules[name].severity] for name in self.checked}
        held = sum(weights[name] * (1 - self.failed[name] / self.checked[name]) for name in self.checked)
        return round(100 * held / sum(weights.values()), 1) if weights else 100.0


@cache
def ruleset() -> tuple[Rule, ...]:
    """The rules, in the order of the file."""
    loaded = yaml.safe_load((Path(__file__).parent / "ruleset.yaml").read_text("utf-8"))["rules"]
    return tuple(
        Rule(name, said.get("of", "openapi"), said["severity"], said["given"], tuple(said["then"]), said["message"],
             said["why"], str(said["good"]), str(said["bad"]))
        for name, said in loaded.items()
    )  # fmt: skip


def lint_text(text: str) -> Report:
    """Lint a document as it is written (YAML or JSON), with line numbers. Raises HubError `invalid_document`."""
    try:
        parsed = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
        tree = yaml.compose(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise HubError("invalid_document", f"neither YAML nor JSON: {error}") from None
    return lint(parsed, lambda pointer: _line(tree, pointer))


def lint_others(events: Mapping[str, Json], connectors: Mapping[str, Json]) -> Report:
    """Lint what else others rely on: event types (JSON Schemas) and connectors (as `described`); pointers as in changes."""
    report = Report()
    for of, prefix, documents in (("event", "events", events), ("connector", "connectors", connectors)):
        for name, document in sorted(documents.items()):
            found = lint(document, of=of)
            report.findings += [replace(item, pointer=f"{prefix}#/{escape(name)}{item.pointer}") for item in found.findings]
            report.checked += found.checked
            report.failed += found.failed
    return report


def lint(document: Json, line: Callable[[str], int] = lambda pointer: 0, of: str = "openapi") -> Report:
    """Lint a parsed document by the rules for its kind."""
    report, whole = Report(), Document(document)
    for rule in ruleset():
        if rule.of != of:
            continue
        seen: set[str] = set()
        for node in _given(Node(document, ""), _tokens(rule.given)):
            for then in rule.then:
                for at, value, holds in _check(whole, node, then, seen):
                    report.checked[rule.id] += 1
                    if not holds:
                        report.failed[rule.id] += 1
                        message = rule.message.format(value=value, field=then.get("field", ""))
                        report.findings.append(Finding(rule.id, rule.severity, at, line(at), message))
    return report


def _tokens(given: str) -> list[tuple[str, tuple[str, ...]]]:
    found, at = [], 1
    while at < len(given):
        match = _TOKEN.match(given, at)
        if match is None:
            raise ValueError(f"{given!r} is not understood from {given[at:]!r}")
        at = match.end()
        kind = next(name for name, value in match.groupdict().items() if value is not None)
        found.append((kind, tuple(match[kind].split(","))))
    return found


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node.schema, Mapping):
        for key in node.schema:
            yield Node(node.schema[key], f"{node.pointer}/{escape(str(key))}")
    elif isinstance(node.schema, list):
        for index in range(len(node.schema)):
            yield Node(node.schema[index], f"{node.pointer}/{index}")


#: What lies below these is data, not contract.
_DATA = ("example", "examples", "default", "enum", "const")


def _everywhere(node: Node) -> Iterator[Node]:
    yield node
    for child in _children(node):
        if child.pointer.rpartition("/")[2] not in _DATA or node.pointer.endswith("/properties"):
            yield from _everywhere(child)


def _given(node: Node, tokens: list[tuple[str, tuple[str, ...]]]) -> Iterator[Node]:
    if not tokens:
        yield node
        return
    (kind, names), rest = tokens[0], tokens[1:]
    if kind == "deep":
        for inner in _everywhere(node):
            if names == ("*",):
                yield from _given(inner, rest)
            elif isinstance(inner.schema, Mapping) and names[0] in inner.schema:
                yield from _given(Node(inner.schema[names[0]], f"{inner.pointer}/{escape(names[0])}"), rest)
    elif kind == "any":
        for child in _children(node):
            yield from _given(child, rest)
    elif isinstance(node.schema, Mapping):
        for name in names:
            if name in node.schema:
                yield from _given(Node(node.schema[name], f"{node.pointer}/{escape(name)}"), rest)


Result = tuple[str, Any, bool]


def _check(whole: Document, node: Node, then: Mapping[str, Any], seen: set[str]) -> Iterator[Result]:
    """(pointer, value, whether it holds) for every value that ``then`` looks at."""
    options, name = then.get("options", {}), then["function"]
    if name == "unique":
        yield node.pointer, node.schema, str(node.schema) not in seen
        seen.add(str(node.schema))
        return
    if name in _NODE_FUNCTIONS:
        yield from _NODE_FUNCTIONS[name](whole, node, options)
        return
    wanted = then.get("field")
    if wanted == "@key":
        for child in _children(node):
            key = child.pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
            yield child.pointer, key, _holds(name, key, options)
        return
    resolved = whole.follow(node)
    if wanted is None:
        yield node.pointer, node.schema, _holds(name, resolved.schema, options)
    elif isinstance(resolved.schema, Mapping):
        value = resolved.schema.get(wanted)
        inside = f"{node.pointer}/{escape(wanted)}" if wanted in resolved.schema and resolved is node else node.pointer
        yield inside, value, _holds(name, value, options)


def _holds(name: str, value: Any, options: Mapping[str, Any]) -> bool:
    match name:
        case "truthy":
            return bool(value)
        case "undefined":
            return value is None
        case "pattern":
            wanted, unwanted = options.get("match"), options.get("notMatch")
            text = str(value)
            return (wanted is None or bool(re.search(wanted, text))) and (unwanted is None or not re.search(unwanted, text))
        case "length":
            return value is not None and len(value) >= options.get("min", 0)
        case "enumeration":
            return value not in options["notValues"]
        case "or":
            return isinstance(value, Mapping) and any(name in value for name in options["properties"])
        case "keys":
            return isinstance(value, Mapping) and any(re.search(options["some"], str(key)) for key in value)
    raise ValueError(f"unknown function {name!r}")


def _secured(whole: Document, node: Node, _: Mapping[str, Any]) -> Iterator[Result]:
    yield node.pointer, None, "security" in node.schema or "security" in whole.root


def _scoped(whole: Document, node: Node, _: Mapping[str, Any]) -> Iterator[Result]:
    ways = node.schema.get("security", whole.root.get("security"))
    if ways:
        yield node.pointer, None, "x-scope" in node.schema or any(scopes for way in ways for scopes in way.values())


def _problem(whole: Document, node: Node, _: Mapping[str, Any]) -> Iterator[Result]:
    if node.pointer.rpartition("/")[2][:1] in "45":
        content = (whole.follow(node).schema or {}).get("content") or {}
        yield node.pointer, None, not content or "application/problem+json" in content


def _parameters(whole: Document, node: Node) -> Iterator[Mapping[str, Any]]:
    parent = whole.resolve("#" + node.pointer.rpartition("/")[0])
    for owner in (parent.schema if parent else {}, node.schema):
        for parameter in owner.get("parameters") or ():
            found = whole.follow(Node(parameter, "")).schema
            if isinstance(found, Mapping):
                yield found


def _parameter(whole: Document, node: Node, options: Mapping[str, Any]) -> Iterator[Result]:
    if options.get("unless") in node.schema:
        return
    wanted = (options["in"], options["name"].lower())
    found = any((given.get("in"), str(given.get("name")).lower()) == wanted for given in _parameters(whole, node))
    yield node.pointer, None, found


def _paged(whole: Document, node: Node, options: Mapping[str, Any]) -> Iterator[Result]:
    if options.get("unless") in node.schema:
        return
    for status, answer in (node.schema.get("responses") or {}).items():
        content = (whole.follow(Node(answer, "")).schema or {}).get("content") or {}
        schema = (content.get("application/json") or {}).get("schema")
        if str(status).startswith("2") and schema is not None and "items" in whole.view(Node(schema, "")).properties:
            yield node.pointer, None, any(given.get("name") in options["names"] for given in _parameters(whole, node))


def _sunset(_: Document, node: Node, __: Mapping[str, Any]) -> Iterator[Result]:
    if node.schema.get("deprecated"):
        try:
            ends = date.fromisoformat(str(node.schema.get("x-sunset")))
            begins = date.fromisoformat(str(node.schema.get("x-deprecated-at", node.schema.get("x-sunset"))))
            announced = "x-deprecated-at" not in node.schema or (ends - begins).days >= SUNSET_DAYS
        except ValueError:
            announced = False
        yield node.pointer, None, announced


def _times(whole: Document, node: Node, _: Mapping[str, Any]) -> Iterator[Result]:
    if isinstance(node.schema, Mapping):
        for name in node.schema:
            if str(name).endswith(("_at", "_date", "_time")):
                view = whole.view(Node(node.schema[name], ""))
                if view.types is None or "string" in view.types:
                    yield f"{node.pointer}/{escape(str(name))}", name, view.format in ("date-time", "date", "time")


def _bounded(whole: Document, node: Node, options: Mapping[str, Any]) -> Iterator[Result]:
    view = whole.view(node)
    if view.types is not None and options["type"] in view.types and view.enum is None and view.format is None:
        yield node.pointer, None, options["bound"] in view.bounds or view.pattern is not None


def _credentials(_: Document, node: Node, __: Mapping[str, Any]) -> Iterator[Result]:
    basic = (node.schema.get("type"), str(node.schema.get("scheme", "")).lower()) == ("http", "basic")
    yield node.pointer, None, not basic and not (node.schema.get("type") == "apiKey" and node.schema.get("in") == "query")


def _resolves(whole: Document, node: Node, _: Mapping[str, Any]) -> Iterator[Result]:
    if isinstance(node.schema, str) and node.schema.startswith("#"):
        yield node.pointer, node.schema, whole.resolve(node.schema) is not None


def _alone(whole: Document, node: Node, _: Mapping[str, Any]) -> Iterator[Result]:
    if isinstance(node.schema, Mapping) and isinstance(node.schema.get("$ref"), str):
        allowed = str(whole.root.get("openapi", "3.0")).startswith("3.1")
        yield node.pointer, None, allowed or len(node.schema) == 1


_NODE_FUNCTIONS: dict[str, Callable[[Document, Node, Mapping[str, Any]], Iterator[Result]]] = {
    "secured": _secured, "scoped": _scoped, "problem": _problem, "parameter": _parameter, "paged": _paged, "sunset": _sunset,
    "times": _times, "bounded": _bounded, "credentials": _credentials, "resolves": _resolves, "alone": _alone,
}  # fmt: skip


def _line(tree: Any, pointer: str) -> int:
    """The line of a place in the text, from 1."""
    node, line = tree, 1
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if str(key.value) == name), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and name.isdigit() and int(name) < len(node.value):
            node = node.value[int(name)]
            line = node.start_mark.line + 1
        else:
            break
    return line
