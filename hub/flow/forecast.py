"""The writes that other routes would make of messages that were: by the hub's own router and mapper, without sending.

What is compared is what connectors are given: (message, connection, flow) → document. A connector is a function of that and of
its target's state, which nobody knows without asking. Where fields have owners it is the document that was merged then.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import orjson

from hub.errors import HubError
from hub.flow.claim import digest_of, effective
from hub.flow.context import Context
from hub.flow.names import Said, names
from hub.flow.recipients import NewMessage, recipients
from hub.flow.translate import envelope_data
from hub.integrations.files import Flow, Target
from hub.integrations.plan import differences
from hub.integrations.routes import InForce
from hub.policies import ownership, schema_version
from hub.policies.ownership import Rules
from hub.sdk.errors import ConnectorError
from hub.store import UnitOfWork
from hub.store.rows import Row

#: Differences that are listed; all are counted.
MOST_LISTED = 200
_MOST_FIELDS = 50
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Intended:
    """What one recipient would be given: the document, or why there is none."""

    type: str
    document: Mapping[str, Any] | None
    problem: str = ""


_Place = tuple[str, str]  # connection, flow
_Writes = Mapping[_Place, Intended]


@dataclass(frozen=True)
class Window:
    """Which messages: the newest ``limit`` since ``since`` (and before ``until``)."""

    limit: int = 500
    since: datetime | None = None
    until: datetime | None = None


def forecast(
    ctx: Context, uow: UnitOfWork, tenant_id: str, now: Sequence[InForce], then: Sequence[InForce], window: Window,
    instead: Mapping[str, str] = _NONE,
) -> dict[str, Any]:  # fmt: skip
    """Compare what ``now`` and ``then`` make of the window's messages.

    ``instead``: connection of ``then`` → connection of ``now`` whose place it is to take; what it would be given is compared
    with what that one is given: by canonical keys, and of another connector without the fields that maps set for one of them.

    `examined`: messages; `counts`: writes that are `same`, `added`, `removed`, `changed` or `failing`; `writes`: those that are
    not the same, newest first, each with the fields that differ and the digest of the document it would be.
    """
    counts: Counter[str] = Counter()
    writes: list[dict[str, Any]] = []
    examined, plain = 0, _plain(ctx, uow, tenant_id, now, then, instead)
    for row in uow.messages.window(tenant_id, window.limit, window.since, window.until):
        examined += 1
        old, new = intended(ctx, uow, row, now, plain), intended(ctx, uow, row, then, plain)
        for key, before, mine in _pairs(old, new, instead):
            change, fields = _change(before, mine)
            counts[change] += 1
            if change == "same" or len(writes) >= MOST_LISTED:
                continue
            writes.append({
                "message_id": row["id"], "type": row["type"], "subject": row["subject"], "connection_id": key[0],
                "flow": key[1], "change": change, "fields": fields, "problem": mine.problem if mine else "",
                "digest": digest_of(mine.document) if mine and mine.document is not None else None,
            })  # fmt: skip
    named = ("same", "added", "removed", "changed", "failing")
    return {"examined": examined, "counts": {name: counts[name] for name in named}, "writes": writes}


def _plain(
    ctx: Context, uow: UnitOfWork, tenant_id: str, now: Sequence[InForce], then: Sequence[InForce], instead: Mapping[str, str]
) -> dict[str, bool]:
    """Connections that are compared with another one, and whether by another connector. HubError: nobody writes there."""
    found: dict[str, bool] = {}
    for new, old in instead.items():
        for name, routes in ((new, then), (old, now)):
            if name not in {connection for connection, _ in _places(routes)} or list(instead.values()).count(old) > 1:
                wrong = f"{new}:{old}: {name} is no target {'of this file' if routes is then else 'in force'}, or named twice"
                raise HubError("invalid_request", errors=[{"code": "invalid_field", "field": "/instead", "message": wrong}])
        other = _connector(ctx, uow, then, tenant_id, new) != _connector(ctx, uow, now, tenant_id, old)
        found |= {new: other, old: other}
    return found


def _pairs(old: _Writes, new: _Writes, instead: Mapping[str, str]) -> Iterator[tuple[_Place, Intended | None, Intended | None]]:
    """(place, what is given there now, what would be). A second target is compared with the one whose place it takes: by the
    same flow, else by the only one that leads there. What that one is given and it would not be is removed.
    """
    matched: set[_Place] = set()
    for key, mine in new.items():
        place = key
        if key[0] in instead:
            place, there = (instead[key[0]], key[1]), [other for other in old if other[0] == instead[key[0]]]
            place = there[0] if place not in old and len(there) == 1 else place
            matched.add(place)
        yield key, old.get(place), mine
    replaced = {name: other for other, name in instead.items()}
    for key, before in old.items():
        if key[0] in replaced and key not in matched:
            yield (replaced[key[0]], key[1]), before, None
        elif key[0] not in replaced and key not in new:
            yield key, before, None


def _change(old: Intended | None, new: Intended | None) -> tuple[str, list[dict[str, Any]]]:
    if new is not None and new.problem and not (old and old.problem == new.problem):
        return "failing", []
    if old is None or new is None:
        return ("added" if old is None else "removed"), []
    mine = old.document
    if old.type != new.type and mine is not None and (cast := schema_version.cast(old.type, mine, new.type)) is not None:
        old, mine = new, cast  # another major of the same is no difference; what it cannot say is
    fields = [*differences(old.type, new.type, "/type"), *differences(mine, new.document)][:_MOST_FIELDS]
    return ("changed" if fields else "same"), fields


def intended(
    ctx: Context, uow: UnitOfWork, row: Row, routes: Sequence[InForce], plain: Mapping[str, bool] = _NONE
) -> dict[tuple[str, str], Intended]:
    """(connection, flow) → what it would be given of a stored message. To connections in ``plain``: by canonical keys, and
    without maps where it says so.
    """
    seen = _Seen(ctx, uow, row, routes, envelope_data(row["body"]), plain)
    rules = next(filter(None, (entry.integration.ownership.get(row["type"].rpartition(".v")[0]) for entry in routes)), None)
    if not rules or "id" not in row:
        return seen.of_message(rules or {})
    made = uow.deliveries.of_message(row["tenant_id"], row["id"])
    merged = {(item["connection_id"], item["flow"]): item for item in made if item["merged"] is not None}
    if made and not merged:  # it came before anybody owned anything
        return seen.of_message(rules)
    return seen.of_entity(rules, merged) if merged else {}


@dataclass(frozen=True)
class _Seen:
    """A stored message by routes."""

    ctx: Context
    uow: UnitOfWork
    row: Row
    routes: Sequence[InForce]
    data: Mapping[str, Any]
    plain: Mapping[str, bool]

    def of_message(self, rules: Rules) -> dict[tuple[str, str], Intended]:
        """Its recipients are given what it says, but for what is theirs alone to say."""
        row, found = self.row, {}
        message = NewMessage(
            row["tenant_id"], row["type"], row["source"], row["source_id"], self.data, row["event_at"], "", "",
            row["connection_id"],
        )  # fmt: skip
        for flow, connection_id, target, problem in _each(self.ctx, self.routes, message):
            if problem:
                found[connection_id, flow] = Intended(self._spoken(connection_id), None, problem)
            else:
                spoken = self._spoken(connection_id)
                told = schema_version.cast(row["type"], self.data, spoken) if rules else None
                found[connection_id, flow] = self._given(connection_id, target, _without(rules, told, connection_id))
        return found

    def of_entity(self, rules: Rules, merged: Mapping[tuple[str, str], Row]) -> dict[tuple[str, str], Intended]:
        """Where fields have owners: who was told of it is told the same, as these routes map it; whom they add is told what the
        others were. What its recipient owns by these rules is left out.
        """
        found, in_force = {}, _places(self.ctx.routes.in_force(self.uow, self.row["tenant_id"]))
        entity = self.row["type"].rpartition(".v")[0]
        for key, (flow, target) in _places(self.routes).items():
            if entity not in {name.rpartition(".v")[0] for name in flow.types} or (key in in_force and key not in merged):
                continue  # not its business, or it had nothing to be told
            first, spoken = merged.get(key) or next(iter(merged.values())), self._spoken(key[0])
            told = schema_version.cast(first["type"], orjson.loads(first["corrected"] or first["merged"]), spoken)
            if told is None:
                found[key] = Intended(spoken, None, f"version_refused: {key[0]} is written {spoken}")
                continue
            found[key] = self._given(key[0], target, _without(rules, told, key[0]) or orjson.dumps(told))
        return found

    def _connector(self, connection_id: str) -> str:
        return _connector(self.ctx, self.uow, self.routes, self.row["tenant_id"], connection_id)

    def _spoken(self, connection_id: str) -> str:
        known = self.ctx.plugins.connectors.get(self._connector(connection_id))
        return (schema_version.spoken(known.manifest.writes, self.row["type"]) if known else None) or str(self.row["type"])

    def _given(self, connection_id: str, target: Target | None, merged: bytes | None = None) -> Intended:
        row, plain, spoken = self.row, connection_id in self.plain, self._spoken(connection_id)
        said = Said(row["tenant_id"], row["connection_id"] or "", row["type"], self.data, "" if plain else connection_id)
        (means,) = names(self.ctx, self.uow, [said])
        mapped, connector = None if self.plain.get(connection_id) else target, self._connector(connection_id)
        try:
            return Intended(spoken, effective(spoken, row, mapped, connector, merged, self.data, means))
        except ConnectorError as error:
            return Intended(spoken, None, f"{error.code}: {error.message}")


def _without(rules: Rules, document: Mapping[str, Any] | None, owner: str) -> bytes | None:
    """A document without what ``owner`` alone says; None if it says nothing of it."""
    left = set(ownership.owned(rules, document or {}, owner))
    if not document or not left:
        return None
    return orjson.dumps({name: value for name, value in document.items() if name not in left})


def _places(routes: Sequence[InForce]) -> dict[tuple[str, str], tuple[Flow, Target]]:
    """(connection, flow) of each target."""
    return {
        (target.connection_id, name): (flow, target)
        for entry in routes for name, flow in entry.flows() for target in flow.targets
    }  # fmt: skip


def _each(ctx: Context, routes: Sequence[InForce], message: NewMessage) -> list[tuple[str, str, Target | None, str]]:
    """(flow, connection, target, why it cannot be said) of each recipient; a condition that fails is a problem of its flow."""
    found: list[tuple[str, str, Target | None, str]] = []
    for entry in routes:
        targets = {(name, target.connection_id): target for name, flow in entry.flows() for target in flow.targets}
        try:
            found += [
                (to.flow, to.connection_id, targets.get((to.flow, to.connection_id)), "")
                for to in recipients([entry], message, ctx.clock())
            ]
        except ConnectorError as error:
            found += [
                (name, connection, target, f"{error.code}: {error.message}") for (name, connection), target in targets.items()
            ]
    return found


def _connector(ctx: Context, uow: UnitOfWork, routes: Sequence[InForce], tenant_id: str, connection_id: str) -> str:
    """A connection's connector by the routes, which may be its first, else as it is."""
    for entry in routes:
        if connection_id in entry.integration.connections:
            return str(entry.integration.connections[connection_id]["connector"])
    row = ctx.connection(uow, tenant_id, connection_id)
    return str(row["connector"]) if row else ""
