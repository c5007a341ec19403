"""The integration file: its shape, and every problem in it at once, with file and line."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import ValidationError

from canonical.registry import TYPES
from hub.integrations.cadence import Cadence, parse_cadence
from hub.integrations.shape import MATCHED, FileSchema
from hub.policies import schema_version
from hub.policies.ownership import API, Rule, Rules
from hub.runtime.plugins import Plugins
from hub.sdk.errors import ManifestError
from hub.sdk.manifest import flatten
from hub.sdk.mapping import compiled, evaluate
from hub.sdk.source import read_yaml

#: How a map names a value map.
_NAMED = re.compile(r"\bvalues\.([A-Za-z_]\w*)")


@dataclass(frozen=True)
class Target:
    """Where a flow's messages go, with the target's own condition and field map."""

    connection_id: str
    where: str
    map: Mapping[str, str]
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def fields(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """What the map makes of a document; what it yields null for is left out. Raises UntranslatableError."""
        seen = {**data, "values": self.values} if self.values else data
        found = {name: evaluate(expression, seen) for name, expression in self.map.items()}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class MatchRule:
    """Compare ``field``; from ``at_least`` on a fuzzy likeness is certain, from ``review`` on a person is asked."""

    field: str
    how: str
    at_least: float
    review: float

    @property
    def text(self) -> str:
        return self.how if self.field == self.how else f"{self.how} {self.field}"


@dataclass(frozen=True)
class Identity:
    """Whose records of an entity are compared, and how; the first system's keys are everybody's."""

    systems: tuple[str, ...]
    match: tuple[MatchRule, ...]


@dataclass(frozen=True)
class Sequence:
    """What a connection numbers without a hole: documents of ``types``, per ``series``; one may be late by ``within`` s."""

    types: tuple[str, ...]
    source: str
    series: tuple[str, ...]
    number: str
    within: float


@dataclass(frozen=True)
class Flow:
    """One route: messages of ``types`` from ``source`` ('' any) that satisfy ``where`` go to ``targets``."""

    name: str
    types: tuple[str, ...]
    source: str
    cadence: Cadence
    read: tuple[str, ...]
    where: str
    targets: tuple[Target, ...]
    lane: str = "live"
    full_read: Cadence | None = None


@dataclass(frozen=True)
class Integration:
    """A checked integration file."""

    name: str
    connections: Mapping[str, Mapping[str, Any]]
    flows: tuple[Flow, ...]
    duplicates: str
    text: str
    ownership: Mapping[str, Rules] = field(default_factory=dict)
    identity: Mapping[str, Identity] = field(default_factory=dict)
    sequences: Mapping[str, Sequence] = field(default_factory=dict)


def parse_integration(
    text: str, name: str, plugins: Plugins | None = None, tenant_id: str = "", environment: str = ""
) -> Integration:
    """A checked integration, as it is for a tenant in an environment; raises ManifestError with every problem as
    `file:line: field: problem`.

    With ``plugins`` it is also checked against the connectors that are installed (and enabled for ``tenant_id``).
    """
    source = read_yaml(text, name)
    try:
        data = FileSchema().load(source.data)
    except ValidationError as error:
        raise ManifestError("\n".join(source.error(p, m) for p, m in flatten(error.messages))) from None
    problems = [
        *_expressions(data),
        *_references(data),
        *_ownership(data),
        *_identity(data),
        *_sequences(data),
        *_overrides(data),
    ]
    if environment and environment not in data["environments"]:
        problems.append(
            ("/environments", f"{environment!r} is not declared; known: {', '.join(data['environments']) or 'none'}")
        )
    if not problems:
        for override in (data["environments"].get(environment), data["tenants"].get(tenant_id)):
            if override is not None:
                data = _overridden(data, override)
        problems += _against(data, plugins, tenant_id) if plugins else ()
    if problems:
        raise ManifestError("\n".join(source.error(pointer, problem) for pointer, problem in problems))
    rules = {entity: {name: Rule(**rule) for name, rule in of.items()} for entity, of in data["ownership"].items()}
    known = {entity: Identity(tuple(of["systems"]), tuple(MatchRule(**rule) for rule in of["match"]))
             for entity, of in data["identity"].items()}  # fmt: skip
    sequences = {
        key: Sequence(tuple(_types(of)), of["source"], tuple(of["series"]), of["number"], of["within"])
        for key, of in data["sequences"].items()
    }
    return Integration(
        data["integration"], data["connections"], _flows(data), data["duplicates"], text, rules, known, sequences
    )  # fmt: skip


def _overridden(data: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """The file's data with an override over it."""
    connections = dict(data["connections"])
    for alias, given in override["connections"].items():
        base = connections[alias]
        merged = {name: {**base[name], **given[name]} for name in ("settings", "limits") if name in given}
        connections[alias] = {**base, **given, **merged}
    flows = []
    for flow in data["flows"]:
        given = override["flows"].get(flow["name"], {})
        targets = []
        for target in flow["to"]:
            mine = given.get("to", {}).get(target["connection"], {})
            fields_ = {**target["map"], **mine.get("map", {})}
            targets.append({**target, **mine, "map": {key: value for key, value in fields_.items() if value is not None}})
        flows.append({**flow, **given, "to": targets})
    values = dict(data["values"])
    for name, given in override["values"].items():
        values[name] = {**values[name], **given, "map": {**values[name]["map"], **given.get("map", {})}}
    return {**data, "connections": connections, "flows": flows, "values": values}


def _overrides(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Overrides of what is not there, and expressions in them that do not compile."""
    problems = []
    targets = {flow["name"]: {target["connection"] for target in flow["to"]} for flow in data["flows"]}
    overrides = [(f"/{kind}/{name}", item) for kind in ("environments", "tenants") for name, item in data[kind].items()]
    for here, override in overrides:
        problems += [(f"{here}/connections/{alias}", "is not a connection here") for alias in override["connections"]
                     if alias not in data["connections"]]  # fmt: skip
        problems += [(f"{here}/values/{name}", f"is no value map here; known: {', '.join(data['values']) or 'none'}")
                     for name in override["values"] if name not in data["values"]]  # fmt: skip
        for flow, given in override["flows"].items():
            if flow not in targets:
                problems.append((f"{here}/flows/{flow}", f"is not a flow here; known: {', '.join(targets)}"))
                continue
            problems += _cadence(given.get("cadence", "realtime"), f"{here}/flows/{flow}/cadence")
            places = {f"{here}/flows/{flow}/where": given.get("where", "")}
            for connection, mine in given.get("to", {}).items():
                there = f"{here}/flows/{flow}/to/{connection}"
                if connection not in targets[flow]:
                    problems.append((there, f"is no target of this flow; known: {', '.join(sorted(targets[flow]))}"))
                places[f"{there}/where"] = mine.get("where", "")
                places |= {f"{there}/map/{key}": value for key, value in mine.get("map", {}).items()}
            problems += _compiled(places, data["values"])
    return problems


def _full_read(flow: Mapping[str, Any], pointer: str) -> list[tuple[str, str]]:
    if not flow["read"]:
        return [(pointer, "needs `read`: what is to be read")]
    problems = _cadence(flow["full_read"], pointer)
    if not problems and parse_cadence(flow["full_read"]).kind not in ("every", "cron"):
        problems.append((pointer, 'is by time: `every 1d`, or `cron "0 3 * * *" Europe/Berlin`'))
    return problems


def _cadence(text: str, pointer: str) -> list[tuple[str, str]]:
    try:
        parse_cadence(text)
    except ValueError as error:
        return [(pointer, str(error))]
    return []


def _compiled(places: Mapping[str, str | None], values: Collection[str]) -> list[tuple[str, str]]:
    problems = []
    for pointer, expression in places.items():
        if expression:
            problems += [(pointer, f"values.{name} is not declared; known: {', '.join(values) or 'none'}")
                         for name in _NAMED.findall(expression) if "/map/" in pointer and name not in values]  # fmt: skip
            try:
                compiled(expression)
            except ValueError as error:
                problems.append((pointer, str(error)))
    return problems


def _flows(data: Mapping[str, Any]) -> tuple[Flow, ...]:
    values = {name: {"name": name, **item} for name, item in data["values"].items()}
    return tuple(
        Flow(
            flow["name"],
            tuple(_types(flow)),
            flow["source"],
            parse_cadence(flow["cadence"]),
            tuple(flow["read"]),
            flow["where"],
            tuple(Target(target["connection"], target["where"], target["map"], values) for target in flow["to"]),
            flow["lane"],
            parse_cadence(flow["full_read"]) if flow["full_read"] else None,
        )
        for flow in data["flows"]
    )


def _types(flow: Mapping[str, Any]) -> list[str]:
    return [flow["on"]] if isinstance(flow["on"], str) else list(flow["on"])


def _expressions(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    problems = []
    for i, flow in enumerate(data["flows"]):
        places = {f"/flows/{i}/where": flow["where"]}
        for j, target in enumerate(flow["to"]):
            places[f"/flows/{i}/to/{j}/where"] = target["where"]
            places |= {f"/flows/{i}/to/{j}/map/{key}": value for key, value in target["map"].items()}
        problems += _compiled(places, data["values"])
        problems += _cadence(flow["cadence"], f"/flows/{i}/cadence")
        if flow["full_read"]:
            problems += _full_read(flow, f"/flows/{i}/full_read")
        if flow["read"] and not flow["source"]:
            problems.append((f"/flows/{i}/from", "reading needs a connection to read from"))
    return problems


def _references(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    problems, seen = [], set()
    known = ", ".join(sorted(data["connections"]))
    for i, flow in enumerate(data["flows"]):
        if flow["name"] in seen:
            problems.append((f"/flows/{i}/name", f"{flow['name']!r} is used twice"))
        seen.add(flow["name"])
        names = _types(flow)
        if not all(isinstance(name, str) for name in names):
            problems.append((f"/flows/{i}/on", "a type name or a list of them"))
            continue
        for name in names:
            if name not in TYPES:
                problems.append((f"/flows/{i}/on", f"unknown type {name!r}; one of {', '.join(sorted(TYPES))}"))
        if flow["source"] and flow["source"] not in data["connections"]:
            problems.append((f"/flows/{i}/from", f"{flow['source']!r} is not a connection here; known: {known}"))
        for j, target in enumerate(flow["to"]):
            if target["connection"] not in data["connections"]:
                where = f"/flows/{i}/to/{j}/connection"
                problems.append((where, f"{target['connection']!r} is not a connection here; known: {known}"))
    return problems


def _ownership(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Entities, fields and owners that are not there."""
    problems = []
    states = {name.rpartition(".v")[0] for name, definition in TYPES.items() if definition.supersedes}
    for entity, rules in data["ownership"].items():
        here = f"/ownership/{entity}"
        if entity not in states:
            problems.append((here, f"no entity with a state; one of {', '.join(sorted(states))}"))
            continue
        known = {
            name for type_name in TYPES if type_name.rpartition(".v")[0] == entity for name in TYPES[type_name].schema.fields
        }
        for name, rule in rules.items():
            if name != "*" and name not in known:
                problems.append((f"{here}/{name}", f"no field of {entity}; known: {', '.join(sorted(known))}"))
            if rule["owner"] not in ("", API, *data["connections"]):
                problems.append((f"{here}/{name}", f"{rule['owner']!r} is not a connection here"))
            if rule["owner"] and rule["merge"] != "newest":
                problems.append((f"{here}/{name}/merge", "a field with an owner is not merged"))
    return problems


def _identity(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Entities, systems and fields that are not there."""
    problems = []
    for entity, found in data["identity"].items():
        here = f"/identity/{entity}"
        if entity not in MATCHED:
            problems.append((here, f"no entity that is matched; one of {', '.join(MATCHED)}"))
            continue
        problems += [(f"{here}/systems/{place}", f"{name!r} is not a connection here")
                     for place, name in enumerate(found["systems"]) if name not in data["connections"]]  # fmt: skip
        known = {
            name for type_name in TYPES if type_name.rpartition(".v")[0] == entity for name in TYPES[type_name].schema.fields
        }
        problems += [(f"{here}/match/{place}/field", f"no field of {entity}; known: {', '.join(sorted(known))}")
                     for place, rule in enumerate(found["match"]) if rule["field"] not in known]  # fmt: skip
    return problems


def _sequences(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Types, connections and expressions that are not there."""
    problems: list[tuple[str, str]] = []
    for name, found in data["sequences"].items():
        here = f"/sequences/{name}"
        problems += [(f"{here}/on", f"unknown type {kind!r}; one of {', '.join(sorted(TYPES))}")
                     for kind in _types(found) if kind not in TYPES]  # fmt: skip
        if found["source"] not in data["connections"]:
            problems.append((f"{here}/from", f"{found['source']!r} is not a connection here"))
        places = {f"{here}/series/{place}": text for place, text in enumerate(found["series"])}
        problems += _compiled({**places, f"{here}/number": found["number"]}, ())
    return problems


def _against(data: Mapping[str, Any], plugins: Plugins, tenant_id: str) -> list[tuple[str, str]]:
    """What the installed connectors say: they exist, can write these types, have these objects, need these settings."""
    problems: list[tuple[str, str]] = []
    for alias, wanted in data["connections"].items():
        here = f"/connections/{alias}"
        try:
            manifest = plugins.get(wanted["connector"], tenant_id).manifest
        except KeyError as error:
            problems.append((f"{here}/connector", str(error.args[0])))
            continue
        declared = manifest.data["settings"]
        for name, setting in declared.items():
            if setting["required"] and setting["default"] is None and name not in wanted["settings"]:
                problems.append((f"{here}/settings", f"{name} is required: {setting['description']}"))
        problems += [
            (f"{here}/settings/{name}", f"unknown setting; known: {', '.join(sorted(declared)) or 'none'}")
            for name in wanted["settings"]
            if name not in declared
        ]
        environments = manifest.data["environments"]
        if not wanted["base_url"] and wanted["environment"] not in environments:
            known = ", ".join(sorted(environments)) or "none; give base_url"
            problems.append((f"{here}/environment", f"{wanted['environment']!r} is not declared; known: {known}"))
    for i, flow in enumerate(data["flows"]):
        for j, target in enumerate(flow["to"]):
            connector = _connector(data, plugins, target["connection"])
            for name in _types(flow):
                if connector is None or name not in TYPES:
                    continue
                if not schema_version.spoken(connector.manifest.writes, name):
                    able = ", ".join(sorted(connector.manifest.writes)) or "nothing"
                    where = f"/flows/{i}/to/{j}/connection"
                    problems.append((where, f"{connector.manifest.connector} cannot write {name}; it writes {able}"))
                    continue
                owned = [key for key, rule in data["ownership"].get(name.rpartition(".v")[0], {}).items()
                         if rule["owner"] == target["connection"]]  # fmt: skip
                spoken = schema_version.spoken(connector.manifest.writes, name)
                if owned and not connector.manifest.writes[spoken]["in_part"]:
                    problems.append((
                        f"/flows/{i}/to/{j}/connection",
                        f"{target['connection']} owns {', '.join(owned)} of {name}; {connector.manifest.connector} writes it "
                        "whole: what it changed itself would be overwritten; its manifest has to declare `partial: true`",
                    ))  # fmt: skip
        source = _connector(data, plugins, flow["source"])
        if source is not None:
            readable = sorted(name for name, item in source.manifest.objects.items() if item["read"])
            problems += [
                (f"/flows/{i}/read/{j}", f"{name!r} cannot be read; {', '.join(readable) or 'nothing'} can")
                for j, name in enumerate(flow["read"])
                if name not in readable
            ]
    return problems


def _connector(data: Mapping[str, Any], plugins: Plugins, alias: str) -> Any:
    wanted = data["connections"].get(alias)
    return plugins.connectors.get(wanted["connector"]) if wanted else None
