"""Entities whose fields have owners: what a message changes, who has to be told what, and what was said in vain.

The state is locked, changed and saved in the transaction that admits the message, so every delivery holds a document that was
merged from one state. A delivery goes to whoever is not known to have what counts, wherever the message came from: the one who
said something in vain gets the owner's word back, and an echo is nobody's news.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson

from canonical import versions
from canonical.errors import InvalidDocumentError
from canonical.registry import CanonicalType, type_named
from hub.errors import HubError, NotFoundError
from hub.flow.context import Context
from hub.flow.pace import when
from hub.flow.recipients import NewMessage, Recipient, once
from hub.integrations.files import Flow
from hub.integrations.routes import InForce
from hub.policies import audit, ownership, schema_version
from hub.policies.ownership import Rules
from hub.sdk.mapping import evaluate
from hub.store import UnitOfWork, new_id
from hub.store.rows import Row

log = logging.getLogger(__name__)
#: What the hub says by itself: no system has changed anything, somebody lacks what counts.
HUB_SOURCE = "/hub/state"
#: So many changes by turns of different systems in so short a time are a loop, and no work of people.
_LOOP_CHANGES, _LOOP_SECONDS = 12, 60.0
STEP = timedelta(milliseconds=1)


def newest(type_name: str) -> str:
    """The type in its newest major: states are kept in it."""
    entity = type_name.rpartition(".v")[0]
    return f"{entity}.v{max(versions.majors(entity))}"


def tell(
    ctx: Context, uow: UnitOfWork, rules: Rules, message: NewMessage, message_id: str, subject: str, now: datetime
) -> list[tuple[Recipient, Mapping[str, Any]]]:  # fmt: skip
    """Take a message into its entity's state; who gets what of it. The document is of the major that the recipient writes."""
    kept_as = newest(message.type)
    data = schema_version.cast(message.type, message.data, kept_as)
    if data is None:
        raise HubError("invalid_document", f"{message.type} has no caster to {kept_as}, in which its state is kept")
    row = uow.entities.lock(message.tenant_id, subject, kept_as, ownership.empty(), now)
    state, changed = row["state"], []
    if message.source != HUB_SOURCE:
        heard = ownership.hear(state, rules, message.connection_id or ownership.API, data, message.event_at, message.read_at)
        state, changed = heard.state, heard.changed
        _record(uow, message, message_id, subject, heard.conflicts, now)
    tripped = row["tripped"] or _loop(uow, message, message_id, subject, state, changed, now)
    at = max(now, row["updated_at"] + STEP)
    saved = {
        **row,
        "state": state,
        "version": row["version"] + bool(changed),
        "tripped": tripped,
        "updated_at": at,
        "due_at": None,
    }
    uow.entities.save(saved)
    return [] if tripped else needs(ctx, uow, rules, saved, message.lane)


def confirm(uow: UnitOfWork, rules: Rules, message: NewMessage, message_id: str, subject: str, now: datetime) -> None:
    """What a webhook told is read, too: it counts now, if the webhook's word was taken for overtaken."""
    row = uow.entities.locked(message.tenant_id, subject)
    data = schema_version.cast(message.type, message.data, newest(message.type))
    if row is None or data is None:
        return
    heard = ownership.hear(row["state"], rules, message.connection_id or ownership.API, data, message.event_at, message.read_at)
    _record(uow, message, message_id, subject, heard.conflicts, now)
    due = now if heard.changed or heard.conflicts else row["due_at"]
    uow.entities.save({**row, "state": heard.state, "version": row["version"] + bool(heard.changed), "due_at": due})


def needs(
    ctx: Context, uow: UnitOfWork, rules: Rules, row: Row, lane: str = "live"
) -> list[tuple[Recipient, Mapping[str, Any]]]:
    """Every recipient that is not known to have what counts, with its document."""
    found = []
    for entry in ctx.routes.in_force(uow, row["tenant_id"]):
        for name, flow in entry.about(row["type"].rpartition(".v")[0]):
            for target in flow.targets:
                if not ownership.wanted(row["state"], rules, target.connection_id):
                    continue
                document = _document(ctx, uow, rules, row, target.connection_id)
                if document is None or not _meant(flow, target.where, row["type"], document):
                    continue
                found.append((_recipient(entry, name, flow, target.connection_id, row, document, lane), document))
    documents = {to.connection_id: document for to, document in found}  # the same whichever flow leads to a connection
    return [(to, documents[to.connection_id]) for to in once([to for to, _ in found])]


def _meant(flow: Flow, where: str, type_name: str, document: Mapping[str, Any]) -> bool:
    return not (flow.where and not evaluate(flow.where, document)) and not (where and not evaluate(where, document))


def _recipient(
    entry: InForce, name: str, flow: Flow, connection_id: str, row: Row, document: Mapping[str, Any], lane: str
) -> Recipient:  # fmt: skip
    available, waits = when(flow, name, row["tenant_id"], document, row["updated_at"])
    return Recipient(
        name, entry.revision, connection_id, False, "bulk" if "bulk" in (flow.lane, lane) else "live", available, waits
    )


def _document(ctx: Context, uow: UnitOfWork, rules: Rules, row: Row, connection_id: str) -> Mapping[str, Any] | None:
    """What a recipient is given, in the major that it writes; None if too little is known to make the entity there."""
    connection = ctx.connection(uow, row["tenant_id"], connection_id)
    connector = ctx.plugins.connectors.get(connection["connector"]) if connection else None
    spoken = schema_version.spoken(connector.manifest.writes, row["type"]) if connector else None
    if connector is None or spoken is None:
        return None
    in_part = bool(connector.manifest.writes[spoken]["in_part"])
    owns = any(rule.owner == connection_id for rule in rules.values())
    if owns and not in_part:  # another integration's flow leads here: its file could not be refused for it
        log.warning("%s: %s owns fields of it and is written whole; nothing is sent", row["subject"], connection_id)
        return None
    document = ownership.document(row["state"], rules, connection_id, row["updated_at"], in_part)
    whole = {**{field: held["value"] for field, held in row["state"]["fields"].items()}, **document}
    if not _complete(type_named(row["type"]), whole):
        return None
    owned = {field for field in whole if field not in document}
    cast = schema_version.cast(row["type"], whole, spoken)
    if cast is None:
        return None
    left = {field: value for field, value in cast.items() if field not in owned}
    if not in_part and not _complete(type_named(spoken), left):
        return None
    return left


def _complete(definition: CanonicalType, document: Mapping[str, Any]) -> bool:
    return all(name in document for name, field in definition.schema.fields.items() if field.required)


def _record(
    uow: UnitOfWork, message: NewMessage, message_id: str, subject: str, conflicts: Sequence[ownership.Conflict], now: datetime
) -> None:  # fmt: skip
    for item in conflicts:
        audit.record(
            uow, message.tenant_id, now, message.actor, "entity.conflict", subject, field=item.field, why=item.why,
            message_id=message_id, open=item.open,
        )  # fmt: skip
    uow.conflicts.add([_conflict(message.tenant_id, message_id, subject, item, now) for item in conflicts])


def _conflict(tenant_id: str, message_id: str, subject: str, item: ownership.Conflict, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id, "id": new_id(), "subject": subject, "field": item.field[:128], "origin": item.origin,
        "wanted": item.wanted, "kept": item.kept, "why": item.why[:1000], "state": "open" if item.open else "settled",
        "message_id": message_id, "at": now, "resolution": "", "actor": "", "reason": "", "resolved_at": None,
    }  # fmt: skip


def _loop(
    uow: UnitOfWork, message: NewMessage, message_id: str, subject: str, state: dict[str, Any], changed: Sequence[str],
    now: datetime,
) -> str:  # fmt: skip
    """Why nothing more is sent about an entity that systems change by turns faster than people do; '' if they do not."""
    recent = [
        item for item in state.get("changes", []) if (now - datetime.fromisoformat(item[0])).total_seconds() < _LOOP_SECONDS
    ]
    if changed:
        recent = [*recent, [now.isoformat(), message.connection_id or ownership.API, list(changed)[:5]]][-_LOOP_CHANGES:]
    state["changes"] = recent
    turns = sum(1 for one, other in pairwise(recent) if one[1] != other[1])
    if len(recent) < _LOOP_CHANGES or turns < _LOOP_CHANGES - 2:
        return ""
    origins = " and ".join(sorted({item[1] for item in recent}))
    fields = ", ".join(sorted({field for item in recent for field in item[2]}))
    why = f"loop: {origins} changed {fields} by turns, {len(recent)} times in {_LOOP_SECONDS:.0f} s; give the field an owner"
    state["changes"] = []
    stopped = ownership.Conflict("*", message.connection_id or ownership.API, None, None, why, open=True)
    uow.conflicts.add([_conflict(message.tenant_id, message_id, subject, stopped, now)])
    audit.record(uow, message.tenant_id, now, message.actor, "entity.tripped", subject, why=why, message_id=message_id)
    return why


def wrote(uow: UnitOfWork, row: Row, now: datetime) -> None:
    """A delivery of merged fields was applied: its system has them. If what counts is otherwise by now, the entity is due."""
    entity = uow.entities.locked(row["tenant_id"], row["subject"])
    if entity is None:
        return
    given = orjson.loads(row["corrected"] or row["merged"])
    if row["type"] != entity["type"]:
        given = _upward(row, entity, given)
    state = ownership.wrote(entity["state"], row["connection_id"], given)
    said = state["said"][row["connection_id"]]["fields"]
    behind = any(said.get(field) != held["value"] for field, held in state["fields"].items())
    uow.entities.save({**entity, "state": state, "due_at": now if behind else entity["due_at"]})


def taken_over(ctx: Context, uow: UnitOfWork, row: Row) -> list[str]:
    """The fields of a waiting delivery that its recipient owns by now: it was merged before the file said so."""
    if row["merged"] is None or row["corrected"] is not None:
        return []
    rules = ctx.routes.ownership(uow, row["tenant_id"], row["type"].rpartition(".v")[0])
    return ownership.owned(rules, orjson.loads(row["merged"]), row["connection_id"]) if rules else []


def _upward(row: Row, entity: Row, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of the state that a document of another major stood for: those whose cast is what was given."""
    fields = {"id": given["id"], "updated_at": given["updated_at"],
              **{name: held["value"] for name, held in entity["state"]["fields"].items()}}  # fmt: skip
    now = schema_version.cast(entity["type"], fields, row["type"]) or {}
    same = {name for name, value in given.items() if now.get(name) == value}
    return {name: value for name, value in fields.items() if name in same or name not in now}


def resolve(ctx: Context, tenant_id: str, conflict_id: str, keep: str, actor: str, reason: str) -> Row:
    """Settle an open conflict: `kept` leaves what counts, `wanted` lets the other value count; a loop goes on either way.

    Raises NotFoundError, or HubError (`wrong_state`) if it is not open.
    """
    now = ctx.clock()
    with ctx.store.begin() as uow:
        found = uow.conflicts.get(tenant_id, conflict_id)
        if found is None:
            raise NotFoundError("conflict", conflict_id)
        ended = {"state": "resolved", "resolution": keep, "actor": actor, "reason": reason, "resolved_at": now}
        entity = uow.entities.locked(tenant_id, found["subject"])
        if entity is None or not uow.conflicts.resolve(tenant_id, conflict_id, ended):
            raise HubError("wrong_state", f"conflict {conflict_id} is {found['state']}; only an open one is decided")
        state = entity["state"]
        if keep == "wanted" and found["field"] != "*":
            state = ownership.decide(state, found["field"], found["wanted"], now)
            _require_valid(entity, state)
        tripped = "" if found["field"] == "*" else entity["tripped"]
        uow.entities.save({**entity, "state": state, "version": entity["version"] + 1, "tripped": tripped, "due_at": now})
        audit.record(
            uow, tenant_id, now, actor, "entity.resolved", found["subject"], field=found["field"], keep=keep, reason=reason
        )
        after = uow.conflicts.get(tenant_id, conflict_id)
        assert after is not None
    return after


def _require_valid(entity: Row, state: Mapping[str, Any]) -> None:
    data = {"id": state["id"], **{name: held["value"] for name, held in state["fields"].items()}}
    if found := schema_version.violations(entity["type"], {**data, "updated_at": "2026-11-21T12:00:00Z"}):
        raise InvalidDocumentError(entity["type"], found)
