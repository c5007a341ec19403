"""Admission: a document becomes a message with its deliveries, in the one transaction that says so.

Message, deliveries and audit are committed together. Unique keys make repeating it safe: the message by (tenant, source,
source id), the delivery by (message, connection, flow).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from canonical.errors import InvalidDocumentError
from canonical.fields import parse_timestamp
from canonical.registry import CanonicalType, type_named
from canonical.versions import cast
from hub.errors import HubError
from hub.flow import entities
from hub.flow.context import Context
from hub.flow.recipients import NewMessage, Recipient, recipients
from hub.policies import audit, schema_version
from hub.sdk.errors import UntranslatableError
from hub.store import UnitOfWork, new_id


@dataclass(frozen=True)
class Admitted:
    """What became of it: the message's id, whether it was known already, whom it looks like, its deliveries."""

    message_id: str
    duplicate: bool
    suspect_of: str | None
    deliveries: tuple[str, ...]
    connections: tuple[str, ...] = ()


def admit(ctx: Context, uow: UnitOfWork, message: NewMessage) -> Admitted:
    """Store a document as a message with its deliveries, in the caller's transaction.

    The same source id again returns the first message; with another payload it raises HubError (`idempotency_mismatch`).
    A return that exceeds its sale raises InvalidDocumentError.
    """
    definition = type_named(message.type)
    now = ctx.clock()
    digest = _digest([message.type, message.data])
    known = uow.messages.by_source(message.tenant_id, message.source, message.source_id)
    subject = definition.subject(message.data)
    rules = ctx.routes.ownership(uow, message.tenant_id, message.type.rpartition(".v")[0]) if definition.supersedes else None
    if known is not None:
        if rules is not None and message.read_at is not None and known["digest"] == digest:
            entities.confirm(uow, rules, message, known["id"], subject, now)
        return _known(uow, known, message, digest)
    _check_history(uow, definition, message, subject)
    message_id = new_id()
    fingerprint = suspect_of = None
    if definition.fingerprint is not None:
        fingerprint = _digest([message.type, definition.fingerprint(message.data)])
        same = uow.messages.with_fingerprint(message.tenant_id, fingerprint, message_id)
        suspect_of = same["id"] if same else None
    told: list[tuple[Recipient, Mapping[str, Any] | None]]
    if rules is None:
        told = [(item, None) for item in recipients(ctx.routes.in_force(uow, message.tenant_id), message, now)]
    else:
        told = list(entities.tell(ctx, uow, rules, message, message_id, subject, now))
    to = [item for item, _ in told]
    held = suspect_of is not None and any(recipient.hold_suspects for recipient in to)
    envelope = _envelope(message, message_id, subject, message.correlation_id or message_id)
    stored, created = uow.messages.add({
        "tenant_id": message.tenant_id, "id": message_id, "type": message.type, "source": message.source,
        "source_id": message.source_id, "subject": subject, "digest": digest, "fingerprint": fingerprint,
        "event_at": message.event_at, "business_date": message.data.get("business_date"),
        "correlation_id": message.correlation_id or message_id, "causation_id": message.causation_id,
        "traceparent": message.traceparent, "raw_id": message.raw_id, "connection_id": message.connection_id,
        "body": orjson.dumps(envelope), "state": "held" if held else "routed" if to else "unrouted",
        "suspect_of": suspect_of, "received_at": now, "published_at": None,
    })  # fmt: skip
    if not created:  # another process admitted the same fact between our look and our insert
        return _known(uow, stored, message, digest)
    rows = [_delivery(ctx, uow, message, message_id, subject, item, suspect_of, now, merged) for item, merged in told]
    deliveries = uow.deliveries.add(rows)
    audit.record(
        uow, message.tenant_id, now, message.actor, "message.suspected" if suspect_of else "message.accepted",
        f"message/{message_id}", type=message.type, source_id=message.source_id, deliveries=len(deliveries),
        **({"suspect_of": suspect_of} if suspect_of else {}),
    )  # fmt: skip
    return Admitted(message_id, False, suspect_of, tuple(deliveries), tuple(item.connection_id for item in to))


def _known(uow: UnitOfWork, known: Mapping[str, Any], message: NewMessage, digest: str) -> Admitted:
    # A poll may read what a webhook told, rendered a little differently; only an API caller's mismatch is its error.
    if known["digest"] != digest and message.connection_id is None:
        raise HubError(
            "idempotency_mismatch", f"{message.source} {message.source_id} was sent before with another document",
            [{"code": "idempotency_mismatch", "field": "/id", "message": "use a new id for a new document"}],
        )  # fmt: skip
    deliveries = tuple(row["id"] for row in uow.deliveries.of_message(message.tenant_id, known["id"]))
    return Admitted(known["id"], True, known["suspect_of"], deliveries)


def _check_history(uow: UnitOfWork, definition: CanonicalType, message: NewMessage, subject: str) -> None:
    """What must hold between a document and what is known about its subject: a return never exceeds what was sold."""
    if definition.history is None:
        return
    known = []
    for row in uow.messages.about(message.tenant_id, subject):
        data = orjson.loads(row["body"])["data"]
        known.append(cast(row["type"], data, 1) or (row["type"], data))
    if found := list(definition.history(message.data, known)):
        raise InvalidDocumentError(message.type, found)


def _delivery(
    ctx: Context, uow: UnitOfWork, message: NewMessage, message_id: str, subject: str, to: Recipient,
    suspect_of: str | None, now: datetime, merged: Mapping[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    connection = ctx.connection(uow, message.tenant_id, to.connection_id)
    if connection is None:
        raise UntranslatableError(f"flow {to.flow} names connection {to.connection_id!r}, which does not exist")
    connector = ctx.plugins.connectors.get(connection["connector"])
    spoken = schema_version.spoken(connector.manifest.writes, message.type) if connector else None
    return {
        "tenant_id": message.tenant_id, "id": new_id(), "message_id": message_id, "connection_id": to.connection_id,
        "flow": to.flow, "revision": to.revision, "connector": connection["connector"], "type": spoken or message.type,
        "lane": to.lane, "subject": subject, "key": delivery_key(message, to), "available_at": to.available_at or now,
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


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
