"""Who breaks: the changes of a contract beside who called what, from the usage that is counted from the first request on."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hub.contracts.changes import Change
from hub.contracts.diff import template
from hub.contracts.document import METHODS, short_name
from hub.contracts.fields import place_of
from hub.contracts.schema_view import Document, Node


@dataclass(frozen=True)
class Caller:
    """One API client of one tenant that called an operation (or published an event type): how often in the time asked for, on
    which day last, and which of its sampled fields the change is about.
    """

    tenant_id: str
    client: str
    operation: str
    calls: int
    last_day: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Impact:
    """A change and whom it meets. ``operations`` are those among the change's that somebody calls."""

    change: Change
    callers: tuple[Caller, ...]


def names(openapi: Mapping[str, Any]) -> dict[str, str]:
    """The name under which usage is counted → the operation as changes write it (``GET /v1/messages/{}``)."""
    found = {}
    for path, item in openapi["paths"].items():
        for method in METHODS:
            if method in item and "operationId" in item[method]:
                found[short_name(item[method]["operationId"])] = f"{method.upper()} {template(path)}"
    return found


def impact(
    changes: Iterable[Change],
    openapi: Mapping[str, Any],
    usage: Iterable[Mapping[str, Any]],
    events: Mapping[str, Any] | None = None,
    sampled: Iterable[Mapping[str, Any]] = (),
) -> list[Impact]:
    """Each change with the callers of the operations it concerns; ``usage``: rows of `Usage.callers`, ``sampled``: of
    `Usage.fields`.

    ``openapi`` and ``events`` are the older contract: it is the one that they call.
    """
    called: defaultdict[str, list[Caller]] = defaultdict(list)
    known = names(openapi) | {name: name for name in events or {}}
    for row in usage:
        operation = known.get(row["operation"])
        if operation is not None:
            called[operation].append(Caller(row["tenant_id"], row["client"], operation, int(row["calls"]), row["last_day"]))
    sent = _sent(openapi, events or {}, known, sampled)

    def meets(change: Change, caller: Caller) -> Caller:
        places = sent.get((caller.tenant_id, caller.client, caller.operation), {})
        return replace(caller, fields=tuple(places.get(change.place, ())))

    return [
        Impact(change, tuple(meets(change, who) for operation in _concerned(change) for who in called.get(operation, ())))
        for change in changes
    ]


def _sent(
    openapi: Mapping[str, Any], events: Mapping[str, Any], known: Mapping[str, str], sampled: Iterable[Mapping[str, Any]]
) -> dict[tuple[str, str, str], dict[str, list[str]]]:
    """(tenant, client, operation) → place of a change → the fields they send there."""
    roots: dict[str, tuple[Document, Node]] = {name: (Document(schema), Node(schema, "")) for name, schema in events.items()}
    whole = Document(openapi)
    for path, item in openapi["paths"].items():
        for method in METHODS:
            content = (item.get(method) or {}).get("requestBody", {}).get("content", {}) if method in item else {}
            if "schema" in content.get("application/json", {}):
                roots[f"{method.upper()} {template(path)}"] = whole, Node(content["application/json"]["schema"], "")
    places: dict[tuple[str, str], str] = {}
    found: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for row in sampled:
        operation = known.get(row["operation"])
        if operation is None or operation not in roots:
            continue
        key = operation, row["field"]
        if key not in places:
            document, schema = roots[operation]
            places[key] = place_of(document, schema, operation if operation in events else f"{operation} body", row["field"])
        if places[key]:
            client = found.setdefault((row["tenant_id"], row["client"], operation), {})
            client.setdefault(places[key], []).append(row["field"])
    return found


def _concerned(change: Change) -> Sequence[str]:
    return change.operations


@dataclass(frozen=True)
class Touched:
    """What a change of an event type or a connector meets besides clients. ``mentions``: the flow's own expressions (`where`,
    `map`) name the field that changed.
    """

    fingerprint: str
    kind: str
    tenant_id: str
    name: str
    mentions: bool
    dead_letters: int


def touched(
    changes: Iterable[Change],
    flows: Sequence[tuple[str, str, Sequence[str], str, str]],
    connections: Sequence[tuple[str, str, str]],
    connectors: Mapping[str, frozenset[str]],
    dead_letters: Iterable[Mapping[str, Any]],
) -> list[Touched]:
    """Flows (tenant, name, types, connection, its expressions), connections (tenant, id, connector), connectors (name → types
    it writes) that each change concerns, with the open dead letters (rows of tenant_id, connection_id, type, dead_letters).
    """
    waiting = {(row["tenant_id"], row["connection_id"], row["type"]): int(row["dead_letters"]) for row in dead_letters}
    found = []
    for change in changes:
        part, _, rest = change.pointer.partition("#")
        if part == "connectors":
            name = rest.removeprefix("/")
            found += [
                Touched(change.fingerprint, "connection", tenant, connection, False,
                        sum(n for key, n in waiting.items() if key[:2] == (tenant, connection)))
                for tenant, connection, connector in connections if connector == name
            ]  # fmt: skip
            continue
        field = change.place.rpartition(".")[2].replace("[]", "")
        for type_name in change.operations if part != "events" else (change.place,):
            found += [
                Touched(change.fingerprint, "flow", tenant, name, bool(re.search(rf"\b{re.escape(field)}\b", expressions)),
                        waiting.get((tenant, connection, type_name), 0))
                for tenant, name, types, connection, expressions in flows if type_name in types
            ]  # fmt: skip
            found += [
                Touched(change.fingerprint, "connector", "", name, False, 0)
                for name, writes in sorted(connectors.items()) if type_name in writes
            ]  # fmt: skip
    return found
