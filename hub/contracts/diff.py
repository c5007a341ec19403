"""Compares two OpenAPI documents (3.0 or 3.1) and says what each change means for those who call.

`compare` takes parsed documents and returns changes, worst first. Paths are the same whatever their parameters are called;
webhooks and callbacks are read the other way round: there the hub calls.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from hub.contracts.changes import Change, severity
from hub.contracts.document import METHODS
from hub.contracts.schema_diff import REQUEST, RESPONSE, SchemaComparison, Scope, spread
from hub.contracts.schema_view import Document, Json, Node, escape

_PARAMETER = re.compile(r"\{([^}]*)\}")
#: A sunset is announced at least so many days ahead (oasdiff's default for stable operations).
SUNSET_DAYS = 180


def template(path: str) -> str:
    """A path whatever its parameters are called: ``/v1/messages/{}``."""
    return _PARAMETER.sub("{}", path)


def compare(old: Json, new: Json, today: date | None = None) -> list[Change]:
    """Every change between two documents. ``today`` decides whether a removed operation's sunset has passed."""
    return _Comparison(Document(old), Document(new), today or datetime.now(UTC).date()).run()


def compare_schemas(old: Json, new: Json, name: str, directions: Iterable[str] = (REQUEST, RESPONSE)) -> list[Change]:
    """The same for two JSON Schemas: an event type is written by its publishers and read by its subscribers."""
    comparison = SchemaComparison(Document(old), Document(new))
    scope = comparison.scope(name)
    for direction in directions:
        comparison.compare(Node(old, ""), Node(new, ""), direction, scope, name)
    return spread(comparison.scopes, {name: scope})


class _Comparison:
    def __init__(self, old: Document, new: Document, today: date) -> None:
        self._old, self._new, self._today = old, new, today
        self._schemas = SchemaComparison(old, new)
        self._operations: dict[str, Scope] = {}

    def run(self) -> list[Change]:
        before, after = self._paths(self._old), self._paths(self._new)
        for key in sorted(before.keys() | after.keys()):
            if key not in after:
                self._removed(key, before[key])
            elif key not in before:
                self._note(self._scope(key), "operation-added", None, key, after[key][1])
            else:
                self._operation(self._scope(key), before[key], after[key], REQUEST)
        self._webhooks()
        self._servers()
        self._schemes()
        calls = {name: scope for name, scope in self._operations.items() if name not in ("servers", "credentials", "webhooks")}
        return spread(self._schemas.scopes, calls)

    @staticmethod
    def _paths(document: Document) -> dict[str, tuple[Node, Node]]:
        """``GET /v1/messages/{}`` → (path item, operation)."""
        paths = document.root.get("paths") or {}
        alike: Counter[str] = Counter()
        found = {}
        for path in sorted(paths):
            item = document.follow(Node(document.root, "#").at("paths", path))
            alike[template(path)] += 1
            name = template(path)
            if alike[name] > 1:  # some documents have two that differ in a parameter's name only
                name += f" ({alike[name]})"
            for method in METHODS:
                if isinstance(item.schema, Mapping) and isinstance(item.schema.get(method), Mapping):
                    found[f"{method.upper()} {name}"] = (item, item.at(method))
        return found

    def _scope(self, name: str) -> Scope:
        scope = self._schemas.scope(name)
        self._operations[name] = scope
        return scope

    def _note(self, scope: Scope, rule: str, before: Json, after: Json, node: Node, place: str = "", keyword: str = "") -> None:
        pointer = node.pointer + (f"/{keyword}" if keyword else "")
        scope.changes.append(Change(rule, severity(rule), f"{scope.name}{place}", pointer, before, after))

    def _removed(self, key: str, pair: tuple[Node, Node]) -> None:
        sunset = _day(pair[1].schema.get("x-sunset"))
        over = bool(pair[1].schema.get("deprecated")) and sunset is not None and sunset <= self._today
        self._note(self._scope(key), "operation-removed-after-sunset" if over else "operation-removed", key, None, pair[1])

    def _operation(self, scope: Scope, old: tuple[Node, Node], new: tuple[Node, Node], direction: str) -> None:
        before, after = old[1].schema, new[1].schema
        if before.get("operationId") != after.get("operationId"):
            self._note(
                scope, "operation-id-changed", before.get("operationId"), after.get("operationId"), new[1], "", "operationId"
            )
        self._deprecation(scope, before, after, new[1])
        self._parameters(scope, old, new, direction)
        self._body(scope, old[1], new[1], direction)
        self._responses(scope, old[1], new[1], RESPONSE if direction == REQUEST else REQUEST)
        self._security(scope, before, after, new[1])
        self._callbacks(scope, old[1], new[1])

    def _deprecation(self, scope: Scope, before: Mapping[str, Any], after: Mapping[str, Any], node: Node) -> None:
        was, now = _day(before.get("x-sunset")), _day(after.get("x-sunset"))
        if after.get("deprecated") and not before.get("deprecated"):
            rule = "operation-deprecated" if now is not None else "operation-deprecated-without-sunset"
            self._note(scope, rule, None, str(now) if now else None, node, "", "deprecated")
        elif before.get("deprecated") and not after.get("deprecated"):
            self._note(scope, "operation-reactivated", True, False, node, "", "deprecated")
        if was is not None and now != was:
            earlier = now is not None and now < was
            self._note(scope, "sunset-earlier" if earlier else "sunset-later", str(was), now and str(now), node, "", "x-sunset")

    def _parameters(self, scope: Scope, old: tuple[Node, Node], new: tuple[Node, Node], direction: str) -> None:
        before, after = self._named(self._old, old), self._named(self._new, new)
        for key in sorted(before.keys() | after.keys()):
            place = f" {key}"
            if key not in after:
                self._note(scope, "parameter-removed", key, None, before[key], place)
                continue
            now = after[key]
            if key not in before:
                rule = "required-parameter-added" if now.schema.get("required") else "parameter-added"
                self._note(scope, rule, None, key, now, place)
                continue
            was = before[key]
            required = bool(was.schema.get("required")), bool(now.schema.get("required"))
            if required == (False, True):
                self._note(scope, "parameter-became-required", False, True, now, place, "required")
            elif required == (True, False):
                self._note(scope, "parameter-became-optional", True, False, now, place, "required")
            if now.schema.get("deprecated") and not was.schema.get("deprecated"):
                self._note(scope, "parameter-deprecated", None, True, now, place, "deprecated")
            styles = _style(was.schema), _style(now.schema)
            if styles[0] != styles[1]:
                self._note(scope, "parameter-serialization-changed", styles[0], styles[1], now, place)
            if "schema" in was.schema and "schema" in now.schema:
                self._schemas.compare(was.at("schema"), now.at("schema"), direction, scope, f"{scope.name}{place}")
            self._contents(scope, was, now, direction, place)

    @staticmethod
    def _named(document: Document, pair: tuple[Node, Node]) -> dict[str, Node]:
        """``query limit`` → parameter; path parameters by their position, for their names are nobody's business."""
        item, operation = pair
        path = _PARAMETER.findall(item.pointer.replace("~1", "/").replace("~0", "~"))
        found = {}
        for owner in (item, operation):
            for index in range(len(owner.schema.get("parameters") or ())):
                node = document.follow(owner.at("parameters", index))
                if not isinstance(node.schema, Mapping) or "name" not in node.schema:
                    continue
                name, where = str(node.schema["name"]), str(node.schema.get("in"))
                if where == "header":
                    name = name.lower()
                key = f"path {path.index(name) + 1}" if where == "path" and name in path else f"{where} {name}"
                found[key] = node
        return found

    def _body(self, scope: Scope, old: Node, new: Node, direction: str) -> None:
        before = self._old.follow(old.at("requestBody")) if "requestBody" in old.schema else None
        after = self._new.follow(new.at("requestBody")) if "requestBody" in new.schema else None
        if before is None and after is None:
            return
        if before is None or after is None:
            if after is not None:
                rule = "required-body-added" if after.schema.get("required") else "body-added"
                self._note(scope, rule, None, None, after, " body")
            elif before is not None:
                self._note(scope, "body-removed", None, None, before, " body")
            return
        required = bool(before.schema.get("required")), bool(after.schema.get("required"))
        if required[0] != required[1]:
            rule = "body-became-required" if required[1] else "body-became-optional"
            self._note(scope, rule, required[0], required[1], after, " body", "required")
        self._contents(scope, before, after, direction, " body", "request-media-type")

    def _contents(self, scope: Scope, old: Node, new: Node, direction: str, place: str, rule: str = "") -> None:
        before, after = old.schema.get("content") or {}, new.schema.get("content") or {}
        for media in sorted(before.keys() | after.keys()):
            if media not in after:
                self._note(scope, f"{rule or 'request-media-type'}-removed", media, None, old, place, "content")
            elif media not in before:
                self._note(scope, f"{rule or 'request-media-type'}-added", None, media, new, place, "content")
            elif "schema" in before[media] and "schema" in after[media]:
                here = f"{scope.name}{place}" + ("" if media == "application/json" else f" {media}")
                self._schemas.compare(
                    old.at("content", media, "schema"), new.at("content", media, "schema"), direction, scope, here
                )

    def _responses(self, scope: Scope, old: Node, new: Node, direction: str) -> None:
        before, after = old.schema.get("responses") or {}, new.schema.get("responses") or {}
        for status in sorted(before.keys() | after.keys(), key=str):
            place, kind = f" {status}", "success" if str(status).startswith("2") else "error"
            if status not in after:
                self._note(scope, f"{kind}-response-removed", str(status), None, old.at("responses", status), place)
            elif status not in before:
                self._note(scope, f"{kind}-response-added", None, str(status), new.at("responses", status), place)
            else:
                was = self._old.follow(old.at("responses", status))
                now = self._new.follow(new.at("responses", status))
                self._response(scope, was, now, direction, place)

    def _response(self, scope: Scope, was: Node, now: Node, direction: str, place: str) -> None:
        had, has = bool(was.schema.get("content")), bool(now.schema.get("content"))
        if had != has:
            self._note(scope, "response-body-removed" if had else "response-body-added", None, None, now, place)
        else:
            self._contents(scope, was, now, direction, place, "response-media-type")
        before = {name.lower(): name for name in was.schema.get("headers") or {}}
        after = {name.lower(): name for name in now.schema.get("headers") or {}}
        for name in sorted(before.keys() | after.keys()):
            here = f"{place} header {name}"
            old = self._old.follow(was.at("headers", before[name])) if name in before else None
            new = self._new.follow(now.at("headers", after[name])) if name in after else None
            if old is not None and new is None:
                required = bool(old.schema.get("required"))
                rule = "required-response-header-removed" if required else "response-header-removed"
                self._note(scope, rule, name, None, was, here)
            elif old is None and new is not None:
                self._note(scope, "response-header-added", None, name, now, here)
            elif old is not None and new is not None:
                if old.schema.get("required") and not new.schema.get("required"):
                    self._note(scope, "response-header-became-optional", True, False, new, here)
                if "schema" in old.schema and "schema" in new.schema:
                    self._schemas.compare(old.at("schema"), new.at("schema"), direction, scope, f"{scope.name}{here}")

    def _security(self, scope: Scope, before: Mapping[str, Any], after: Mapping[str, Any], node: Node) -> None:
        old = _ways(before.get("security", self._old.root.get("security")))
        new = _ways(after.get("security", self._new.root.get("security")))
        if old == new:
            return
        public = ("",)
        if tuple(old) == public and public[0] not in new:
            self._note(scope, "security-introduced", None, sorted(new), node, "", "security")
            return
        if tuple(new) == public and public[0] not in old:
            self._note(scope, "security-dropped", sorted(old), None, node, "", "security")
            return
        for way in sorted(old.keys() & new.keys()):
            for scope_name in sorted(new[way] - old[way]):
                self._note(scope, "security-scope-added", None, scope_name, node, f" {way}", "security")
            for scope_name in sorted(old[way] - new[way]):
                self._note(scope, "security-scope-removed", scope_name, None, node, f" {way}", "security")
        for way in sorted(old.keys() - new.keys()):
            self._note(scope, "security-alternative-removed", way or "public", None, node, "", "security")
        for way in sorted(new.keys() - old.keys()):
            self._note(scope, "security-alternative-added", None, way or "public", node, "", "security")

    def _callbacks(self, scope: Scope, old: Node, new: Node) -> None:
        self._calls(scope, _called(self._old, old, "callbacks"), _called(self._new, new, "callbacks"))

    def _webhooks(self) -> None:
        before = _called(self._old, Node(self._old.root, "#"), "webhooks")
        after = _called(self._new, Node(self._new.root, "#"), "webhooks")
        if before or after:
            self._calls(self._scope("webhooks"), before, after)

    def _calls(self, scope: Scope, before: dict[str, tuple[Node, Node]], after: dict[str, tuple[Node, Node]]) -> None:
        """What the hub sends: its body is read by the other side."""
        for name in sorted(before.keys() | after.keys()):
            if name not in after:
                self._note(scope, "webhook-removed", name, None, before[name][1], f" {name}")
            elif name not in before:
                self._note(scope, "webhook-added", None, name, after[name][1], f" {name}")
            else:
                inner = self._scope(f"{scope.name} {name}")
                self._operation(inner, before[name], after[name], RESPONSE)

    def _servers(self) -> None:
        before = {str(server.get("url")) for server in self._old.root.get("servers") or ()}
        after = {str(server.get("url")) for server in self._new.root.get("servers") or ()}
        scope = self._scope("servers")
        for url in sorted(before - after):
            self._note(scope, "server-removed", url, None, Node(None, "#/servers"))
        for url in sorted(after - before):
            self._note(scope, "server-added", None, url, Node(None, "#/servers"))

    def _schemes(self) -> None:
        before = (self._old.root.get("components") or {}).get("securitySchemes") or {}
        after = (self._new.root.get("components") or {}).get("securitySchemes") or {}
        scope = self._scope("credentials")
        for name in sorted(before.keys() & after.keys()):
            old, new = _how(before[name]), _how(after[name])
            if old != new:
                pointer = Node(None, f"#/components/securitySchemes/{escape(name)}")
                self._note(scope, "security-scheme-changed", old, new, pointer, f" {name}")


def _called(document: Document, owner: Node, key: str) -> dict[str, tuple[Node, Node]]:
    """Name and method of what is called → (path item, operation)."""
    found = {}
    for name in owner.schema.get(key) or {}:
        item = document.follow(owner.at(key, name))
        items = [item] if key == "webhooks" else [document.follow(item.at(url)) for url in item.schema]
        for each in items:
            for method in METHODS:
                if isinstance(each.schema, Mapping) and isinstance(each.schema.get(method), Mapping):
                    found[f"{name} {method}"] = (each, each.at(method))
    return found


def _ways(requirements: Json) -> dict[str, set[str]]:
    """Each way to authenticate → its scopes; '' is public."""
    if not requirements:
        return {"": set()}
    return {"+".join(sorted(way)): {scope for scopes in way.values() for scope in scopes or ()} for way in requirements}


def _how(scheme: Mapping[str, Any]) -> str:
    return " ".join(str(scheme.get(name)) for name in ("type", "scheme", "in", "name", "openIdConnectUrl") if scheme.get(name))


def _style(parameter: Mapping[str, Any]) -> str:
    style = parameter.get("style") or {"query": "form", "cookie": "form"}.get(str(parameter.get("in")), "simple")
    explode = parameter.get("explode", style == "form")
    return f"{style}{', exploded' if explode else ''}"


def _day(value: Json) -> date | None:
    try:
        return value if isinstance(value, date) else date.fromisoformat(str(value)) if value else None
    except ValueError:
        return None
