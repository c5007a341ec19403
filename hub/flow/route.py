"""Admission: a document becomes a message with its deliveries, in the one transaction that says so.

Message, deliveries and audit are committed together. Unique keys make repeating it safe: the message by (tenant, source,
source id), the delivery by (message, connection, flow).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from canonical.errors import InvalidDocumentError
from canonical.fields import parse_timestamp
from canonical.registry import type_named
from canonical.versions import cast
from hub.errors import HubError
from hub.flow import entities
from hub.flow.changed import ChangedFactError, digest_of, is_other_document, source_id_of_change
from hub.flow.context import Context
from hub.flow.names import Names, Said, canonical, names
from hub.flow.recipients import NewMessage, Recipient, recipients
from hub.policies import audit, schema_version
from hub.policies.ownership import Rules
from hub.sdk.errors import UntranslatableError
from hub.store import UnitOfWork, new_id


@dataclass(frozen=True)
class Admitted:
    """What became of it: the message's id, whether it was known already, whom it looks like, its deliveries.

    ``connections``: those of deliveries that the relay has to look for; ``going``: deliveries that count as published.
    """

    message_id: str
    duplicate: bool
    suspect_of: str | None
    deliveries: tuple[str, ...]
    connections: tuple[str, ...] = ()
    going: tuple[Mapping[str, Any], ...] = ()


#: Messages in one statement.
_MOST = 200


class _Look:
    """What is there already of some messages; asked with whatever is asked next."""

    def __init__(self, uow: UnitOfWork, items: Sequence["_Arriving"]) -> None:
        self.known = uow.messages.asking_sources([item.source for item in items])
        said = [(item.message.tenant_id, item.fingerprint) for item in items if item.fingerprint]
        self.alike = uow.messages.asking_fingerprints(said)


class _Arriving:
    """A message on its way in, and what is asked about it."""

    meant: NewMessage
    subject: str

    def __init__(self, message: NewMessage) -> None:
        self.message, self.definition = message, type_named(message.type)
        self.id = new_id()
        self.digest = digest_of(message.type, message.data)
        self.source = (message.tenant_id, message.source, message.source_id)
        said = self.definition.fingerprint
        self.fingerprint = digest_of(message.type, said(message.data)) if said is not None else None

    def become(self, source_id: str) -> None:
        """Be a message of its own: another state of the record that is known by its source id."""
        self.message = replace(self.message, source_id=source_id)
        self.meant = replace(self.meant, source_id=source_id)
        self.source = (self.message.tenant_id, self.message.source, source_id)

    def means(self, known: Names) -> None:
        """What it says, by canonical keys."""
        message = self.message
        self.meant = replace(message, data=canonical(message.type, message.data, known)) if known else message
        self.subject = self.definition.subject(self.meant.data)

    def keys(self) -> set[tuple[str, ...]]:
        """Two that share one of these are admitted one after the other: the first decides about the second."""
        return {self.source, *([(self.message.tenant_id, self.fingerprint)] if self.fingerprint else [])}


def admit(ctx: Context, uow: UnitOfWork, message: NewMessage) -> Admitted:
    """Store a document as a message with its deliveries, in the caller's transaction.

    The same source id again returns the first message. With another document, an API caller's raises HubError
    (`idempotency_mismatch`); a connector's newer state of a record is a message of its own, and its changed fact raises
    ChangedFactError. A return that exceeds its sale raises InvalidDocumentError.
    """
    (result,) = admit_many(ctx, uow, [message])
    if isinstance(result, Exception):
        raise result
    return result


def admit_many(
    ctx: Context, uow: UnitOfWork, messages: Sequence[NewMessage], at_once: bool = False
) -> list[Admitted | Exception]:
    """Each as `admit` would, in their order; those that do not depend on each other by the same few statements.

    What `admit` would raise is returned, and nothing of that message is written; what is raised spoils the transaction.
    ``at_once``: the caller gives each to `tell_relay` after the commit, so deliveries may go without being looked for.
    """
    results: list[Admitted | Exception] = []
    together: list[_Arriving] = []
    taken: set[tuple[str, ...]] = set()

    def admit_those(look: _Look | None) -> _Look | None:
        """What has come together; returns what is still known of others."""
        if not together:
            return look
        results.extend(_admit(ctx, uow, together, at_once, look or _Look(uow, together)))
        together.clear()
        taken.clear()
        return None

    arriving = [_Arriving(message) for message in messages]
    for tenant_id in dict.fromkeys(message.tenant_id for message in messages):
        uow.ask_version(tenant_id)
    look = _Look(uow, arriving) if len(messages) <= _MOST else None  # good until something is written
    said = [Said(message.tenant_id, message.connection_id or "", message.type, message.data) for message in messages]
    for item, known in zip(arriving, names(ctx, uow, said), strict=True):
        item.means(known)
        alone = item.definition.history is not None or _rules(ctx, uow, item) is not None
        keys = item.keys()
        if alone or len(together) >= _MOST or not keys.isdisjoint(taken):
            look = admit_those(look)
        together.append(item)
        taken |= keys
        if alone:
            look = admit_those(look)
    admit_those(look)
    return results


def tell_relay(ctx: Context, tenant_id: str, admitted: Admitted) -> None:
    """After the commit: the relay hears what there is to publish."""
    if admitted.going:
        ctx.due.go([dict(row) for row in admitted.going])
    for connection_id in admitted.connections:
        ctx.due.add(tenant_id, connection_id)
    ctx.due.bell.set()


def _rules(ctx: Context, uow: UnitOfWork, item: _Arriving) -> Rules | None:
    message = item.message
    return (
        ctx.routes.ownership(uow, message.tenant_id, message.type.rpartition(".v")[0]) if item.definition.supersedes else None
    )


def _admit(
    ctx: Context, uow: UnitOfWork, items: Sequence[_Arriving], at_once: bool, look: _Look
) -> list[Admitted | Exception]:  # fmt: skip
    """Items that do not depend on each other."""
    now = ctx.clock()
    known, alike = look.known(), look.alike()
    results: dict[str, Admitted | Exception] = {}
    new = []
    known = {**known, **_known_changes(uow, items, known)}
    for item in items:
        found = known.get(item.source)
        if found is not None and _is_newer_state(found, item):
            item.become(_changed_source(item)[2])
            found = known.get(item.source)
        if found is None:
            new.append(item)
            continue
        rules = _rules(ctx, uow, item)
        if rules is not None and item.message.read_at is not None and found["digest"] == item.digest:
            entities.confirm(uow, rules, item.meant, found["id"], item.subject, now)
        results[item.id] = _known(uow, found, item, known.get(_changed_source(item)))
    writing: list[tuple[_Arriving, dict[str, Any], list[Recipient]]] = []
    deliveries = []
    for item in new:
        suspect_of = alike.get((item.message.tenant_id, item.fingerprint or ""))
        try:
            _check_history(uow, item)
            to = _recipients(ctx, uow, item, now)
            mine = [_delivery(ctx, uow, item, recipient, suspect_of, now, merged) for recipient, merged in to]
        except (HubError, InvalidDocumentError, UntranslatableError) as error:
            if _rules(ctx, uow, item) is not None:  # in the midst of writing
                raise
            results[item.id] = error
            continue
        held = any(row["state"] == "held" for row in mine)
        row = _message(item, "held" if held else "routed" if to else "unrouted", suspect_of, now)
        writing.append((item, row, [recipient for recipient, _ in to]))
        deliveries += mine
    created = uow.messages.add([row for _, row, _ in writing])
    adding = [row for row in deliveries if row["message_id"] in created]
    if at_once:
        _let_go(ctx, adding, now)
    behind = uow.deliveries.add(adding)
    of: dict[str, list[dict[str, Any]]] = {}
    for row in adding:
        if row["id"] in behind:
            of.setdefault(row["message_id"], []).append(row)
    for item, row, told in writing:
        if item.id not in created:  # another process admitted the same fact between our look and our insert
            results[item.id] = _overtaken(ctx, uow, item, at_once)
            continue
        suspect_of, rows = row["suspect_of"], of.get(item.id, [])
        went = {entry["id"] for entry in rows if entry["published_at"] is not None and not behind[entry["id"]]}
        waiting = {entry["connection_id"] for entry in rows if entry["id"] not in went}
        going = tuple(_named(entry) for entry in rows if entry["id"] in went)
        audit.record(
            uow, item.message.tenant_id, now, item.message.actor, "message.suspected" if suspect_of else "message.accepted",
            f"message/{item.id}", type=item.message.type, source_id=item.message.source_id, deliveries=len(rows),
            **({"suspect_of": suspect_of} if suspect_of else {}), **_skipped(told),
        )  # fmt: skip
        ids, left = tuple(entry["id"] for entry in rows), tuple(to.connection_id for to in told if to.connection_id in waiting)
        results[item.id] = Admitted(item.id, False, suspect_of, ids, left, going)
    return [results[item.id] for item in items]


def _skipped(told: Sequence[Recipient]) -> dict[str, Any]:
    """Say for the audit which flows make no delivery, because another one leads the message to the same connection."""
    found = [
        {"flow": flow, "connection": to.connection_id, "why": f"{to.flow} leads the same message there"}
        for to in told for flow in to.instead_of
    ]  # fmt: skip
    return {"skipped": found} if found else {}


def _let_go(ctx: Context, rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Those for which the relay has a place left count as published from the start."""
    for row in rows:
        may = row["state"] == "pending" and row["lane"] == "live" and row["available_at"] <= now and row["waits_for"] is None
        if may and ctx.due.place(row["tenant_id"], row["connection_id"], now):
            row["published_at"] = now


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the relay has to know of a delivery."""
    return {**{name: row[name] for name in ("tenant_id", "connection_id", "connector", "id", "lane")}, "trial": False}


def _recipients(
    ctx: Context, uow: UnitOfWork, item: _Arriving, now: datetime
) -> list[tuple[Recipient, Mapping[str, Any] | None]]:
    """Who gets it; where its fields have owners, what owners merged of it."""
    rules = _rules(ctx, uow, item)
    if rules is None:
        return [(to, None) for to in recipients(ctx.routes.in_force(uow, item.message.tenant_id), item.message, now)]
    return list(entities.tell(ctx, uow, rules, item.meant, item.id, item.subject, now))


def _message(item: _Arriving, state: str, suspect_of: str | None, now: datetime) -> dict[str, Any]:
    message, correlation_id = item.message, item.message.correlation_id or item.id
    return {
        "tenant_id": message.tenant_id, "id": item.id, "type": message.type, "source": message.source,
        "source_id": message.source_id, "subject": item.subject, "digest": item.digest, "fingerprint": item.fingerprint,
        "event_at": message.event_at, "business_date": message.data.get("business_date"),
        "correlation_id": correlation_id, "causation_id": message.causation_id, "traceparent": message.traceparent,
        "raw_id": message.raw_id, "connection_id": message.connection_id,
        "body": orjson.dumps(_envelope(message, item.id, item.subject, correlation_id)), "state": state,
        "suspect_of": suspect_of, "received_at": now,
    }  # fmt: skip


def _known_changes(uow: UnitOfWork, items: Sequence[_Arriving], known: Mapping[Any, Any]) -> dict[Any, Any]:
    """Messages that other documents under a known source id became before."""
    changed = [item for item in items if item.source in known and known[item.source]["digest"] != item.digest]
    return uow.messages.by_source([_changed_source(item) for item in changed]) if changed else {}


def _changed_source(item: _Arriving) -> tuple[str, str, str]:
    message = item.message
    return (message.tenant_id, message.source, source_id_of_change(message.source_id, item.digest))


def _is_other(known: Mapping[str, Any], item: _Arriving) -> bool:
    """Whether a connector tells another document under a known source id."""
    message = item.message
    return message.connection_id is not None and is_other_document(known, message.type, message.data, item.digest)


def _is_newer_state(known: Mapping[str, Any], item: _Arriving) -> bool:
    return item.definition.supersedes and _is_other(known, item)


def _overtaken(ctx: Context, uow: UnitOfWork, item: _Arriving, at_once: bool) -> Admitted | Exception:
    """Another process admitted the same source id between our look and our insert: look again."""
    (result,) = _admit(ctx, uow, [item], at_once, _Look(uow, [item]))
    return result


def _known(
    uow: UnitOfWork, known: Mapping[str, Any], item: _Arriving, corrected: Mapping[str, Any] | None = None
) -> Admitted | HubError | ChangedFactError:
    """The known message, if it is the same fact. ``corrected``: the message that a person admitted this document as."""
    message = item.message
    if known["digest"] != item.digest and message.connection_id is None:
        return HubError(
            "idempotency_mismatch", f"{message.source} {message.source_id} was sent before with another document",
            [{"code": "idempotency_mismatch", "field": "/id", "message": "use a new id for a new document"}],
        )  # fmt: skip
    if not item.definition.supersedes and _is_other(known, item):
        if corrected is None:
            return ChangedFactError(item.definition, known, message.source_id, message.data, item.digest)
        known = corrected
    deliveries = tuple(row["id"] for row in uow.deliveries.of_message(message.tenant_id, known["id"]))
    return Admitted(known["id"], True, known["suspect_of"], deliveries)


def _check_history(uow: UnitOfWork, item: _Arriving) -> None:
    """What must hold between a document and what is known about its subject: a return never exceeds what was sold."""
    if item.definition.history is None:
        return
    known = []
    for row in uow.messages.about(item.message.tenant_id, item.subject):
        data = orjson.loads(row["body"])["data"]
        known.append(cast(row["type"], data, 1) or (row["type"], data))
    if found := list(item.definition.history(item.message.data, known)):
        raise InvalidDocumentError(item.message.type, found)


def _delivery(
    ctx: Context, uow: UnitOfWork, item: _Arriving, to: Recipient, suspect_of: str | None, now: datetime,
    merged: Mapping[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    message = item.message
    connection = ctx.connection(uow, message.tenant_id, to.connection_id)
    if connection is None:
        raise UntranslatableError(f"flow {to.flow} names connection {to.connection_id!r}, which does not exist")
    connector = ctx.plugins.connectors.get(connection["connector"])
    spoken = schema_version.spoken(connector.manifest.writes, message.type) if connector else None
    return {
        "tenant_id": message.tenant_id, "id": new_id(), "message_id": item.id, "connection_id": to.connection_id,
        "flow": to.flow, "revision": to.revision, "connector": connection["connector"], "type": spoken or message.type,
        "lane": to.lane, "subject": item.subject, "key": delivery_key(message, to), "available_at": to.available_at or now,
        "waits_for": to.waits_for,
        "state": "held" if suspect_of and to.hold_suspects else "pending", "published_at": None, "lease_until": None,
        "lease_owner": None, "fence": 0, "attempts": 0, "failures": 0, "probe": False,
        # What owners merged is the state of this moment, whatever the clock of the system that spoke.
        "event_at": message.event_at if merged is None else parse_timestamp(merged["updated_at"]),
        "merged": None if merged is None else orjson.dumps(merged).decode(),
        "cause": "", "remedy": "", "external_id": None,
        "cause_code": "suspected_duplicate" if suspect_of and to.hold_suspects else "", "created_at": now,
        "settled_at": None, "corrected": None,
    }  # fmt: skip


def delivery_key(message: NewMessage, to: Recipient) -> str:
    """Our reference at the target: the same for the same fact for ever, even after a loss of the hub's state.

    26 characters: vendors' idempotency keys start at 40 (Square reference_id), 45 (Square payments).
    """
    parts = "\x1f".join((message.tenant_id, message.source, message.source_id, to.connection_id, to.flow))
    return "XD" + hashlib.sha256(parts.encode()).hexdigest()[:24].upper()


def _envelope(message: NewMessage, message_id: str, subject: str, correlation_id: str) -> dict[str, Any]:
    envelope = {
        "specversion": "1.0", "id": message.source_id, "source": message.source, "type": message.type,
        "subject": subject, "time": message.event_at.isoformat(), "datacontenttype": "application/json",
        "dataschema": f"urn:crossdock:canonical:{message.type}", "tenantid": message.tenant_id,
        "correlationid": correlation_id, "causationid": message.causation_id, "messageid": message_id,
        "businessdate": message.data.get("business_date"), "traceparent": message.traceparent or None,
        "data": message.data,
    }  # fmt: skip
    return {key: value for key, value in envelope.items() if value is not None}
