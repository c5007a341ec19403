"""Guaranteed Delivery begins here: what arrived is committed before it is answered. Idempotent Receiver.

A webhook is verified over its raw bytes by the scheme its manifest declares (no plugin code runs), stored raw, answered.
A canonical event from the API is validated on the spot and becomes a message at once.
"""

import codecs
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import orjson

from canonical.envelope import EnvelopeSchema
from canonical.errors import InvalidDocumentError, Violation
from canonical.fields import parse_timestamp
from canonical.registry import shape_violations, type_named
from hub.errors import HubError, NotFoundError
from hub.flow.context import Context
from hub.flow.recipients import NewMessage
from hub.flow.route import Admitted, admit_many, tell_relay
from hub.identity.api_keys import Client
from hub.identity.vault import former_secret, load_credentials
from hub.policies import audit, redaction, schema_version, tracing
from hub.policies.text import clean
from hub.sdk.errors import UntranslatableError
from hub.sdk.manifest import Manifest
from hub.sdk.mapping import evaluate
from hub.sdk.webhook import MISMATCH, body_digest, verify
from hub.store import UnitOfWork, new_id
from hub.store.ids import bounded
from hub.telemetry import SpanKind, fail, incoming, traceparent_of

_ENVELOPE = EnvelopeSchema()
_compiled_envelope = cache(lambda: schema_version.compiled(EnvelopeSchema))
#: Longest challenge of a vendor that is answered.
_CHALLENGE = 1000


@dataclass(frozen=True)
class ReceivedWebhook:
    """The raw input's id, and whether the source had sent the same event before.

    ``challenge``: a vendor asks whether we are there; this is the answer. Without a signature nothing is stored (no id).
    """

    raw_id: str
    duplicate: bool
    challenge: str | None = None


def webhook_url(ctx: Context, tenant_id: str, connection_id: str) -> str:
    """Where a vendor sends a connection's webhooks; signatures that cover the URL cover this one."""
    return f"{ctx.settings.base_url}/webhooks/{tenant_id}/{connection_id}"


def receive_webhook(
    ctx: Context, tenant_id: str, connection_id: str, headers: Mapping[str, str], body: bytes
) -> ReceivedWebhook:
    """Verify, store, and only then return. Raises HubError `not_found` or `invalid_signature` (with an audit line)."""
    work = webhook_work(ctx, tenant_id, connection_id, headers, body)
    return stored(ctx, ctx.group.submit(work).result())


def webhook_work(
    ctx: Context, tenant_id: str, connection_id: str, headers: Mapping[str, str], body: bytes, query: str = "", slash: str = ""
) -> Callable[[UnitOfWork], ReceivedWebhook | HubError]:
    """Receive webhooks as one piece of work of a group commit; a refusal is returned, so the commit of the others goes on.

    ``slash``: `/` if the URL was called with one at its end; a signature over the URL may cover it.
    """

    def work(uow: UnitOfWork) -> ReceivedWebhook | HubError:
        now = ctx.clock()
        manifest = _endpoint(ctx, uow, tenant_id, connection_id)
        if manifest is None:
            return NotFoundError("webhook endpoint", f"{tenant_id}/{connection_id}")
        declared = manifest.data["webhooks"]
        challenge = _challenge(declared["handshake"], query, body) if declared["handshake"] is not None else None
        refused = _refused(ctx, uow, manifest, tenant_id, connection_id, headers, body, slash)
        if refused is not None and challenge is not None:
            subject = f"connection/{connection_id}"
            audit.record(uow, tenant_id, now, "webhook", "webhook.challenged", subject, challenge=challenge)
            return ReceivedWebhook("", False, challenge)
        if refused is not None:
            audit.record(
                uow, tenant_id, now, "webhook", "webhook.refused", f"connection/{connection_id}", reason=refused,
                body_sha256=body_digest(body), bytes=len(body),
            )  # fmt: skip
            return HubError("invalid_signature", "the signature does not match the body; nothing was stored")
        event_id, event_type = _identify(declared, headers, body)
        caller = incoming(headers) if "traceparent" in headers else ""
        with ctx.telemetry.span(
            tracing.INGEST, caller, SpanKind.SERVER, hub_tenant=tenant_id, hub_connection=connection_id
        ) as span:
            raw_id, created = uow.raws.add({
                "tenant_id": tenant_id, "id": new_id(), "connection_id": connection_id, "kind": "webhook", "object": "",
                "source_event_id": event_id, "event_type": event_type, "headers": redaction.headers(dict(headers)),
                "body": body, "traceparent": traceparent_of(span), **received(now),
            })  # fmt: skip
            if not created:
                audit.record(uow, tenant_id, now, "webhook", "raw.repeated", f"raw/{raw_id}", event_id=event_id)
            span.set_attribute("hub.raw", raw_id)
        # What is signed is stored, whatever it looks like: an event that resembles a challenge must not be lost.
        return ReceivedWebhook(raw_id, not created, challenge)

    return work


def challenge_work(
    ctx: Context, tenant_id: str, connection_id: str, query: str
) -> Callable[[UnitOfWork], ReceivedWebhook | HubError]:
    """Answer a challenge that a vendor sends by GET, as work for a group commit; a refusal is returned."""

    def work(uow: UnitOfWork) -> ReceivedWebhook | HubError:
        manifest = _endpoint(ctx, uow, tenant_id, connection_id)
        if manifest is None:
            return NotFoundError("webhook endpoint", f"{tenant_id}/{connection_id}")
        declared = manifest.data["webhooks"]["handshake"]
        challenge = _challenge(declared, query, b"") if declared is not None and declared["query"] else None
        if challenge is None:
            return HubError(
                "method_not_allowed", "webhooks are sent by POST; GET is for the challenge that a manifest declares"
            )
        subject = f"connection/{connection_id}"
        audit.record(uow, tenant_id, ctx.clock(), "webhook", "webhook.challenged", subject, challenge=challenge)
        return ReceivedWebhook("", False, challenge)

    return work


def _endpoint(ctx: Context, uow: UnitOfWork, tenant_id: str, connection_id: str) -> Manifest | None:
    """Return the manifest that says how a connection's webhooks are verified; None if it takes none."""
    connection = ctx.connection(uow, tenant_id, connection_id)
    if connection is None or connection["state"] == "retired" or connection["connector"] not in ctx.plugins.connectors:
        return None
    manifest = ctx.plugins.connectors[connection["connector"]].manifest
    return manifest if manifest.signature is not None else None


def _refused(
    ctx: Context, uow: UnitOfWork, manifest: Manifest, tenant_id: str, connection_id: str, headers: Mapping[str, str],
    body: bytes, slash: str,
) -> str | None:  # fmt: skip
    """Return why a webhook is not authentic, or None; that a secret before the last rotation signed it is audited."""
    now, name, scheme = ctx.clock(), manifest.data["webhooks"]["secret"], manifest.signature
    assert scheme is not None
    url = webhook_url(ctx, tenant_id, connection_id)
    urls = [url, f"{url}{slash}"] if slash and "url" in scheme.over else [url]

    def judge(secret: str | None) -> str | None:
        known = [secret] if secret else []
        found = [verify(scheme, known, body, headers, called, now.timestamp()) for called in urls]
        return None if None in found else found[0]

    # Straight from the vault: making a session would run plugin code at the edge.
    refused = judge(load_credentials(uow, ctx.vault, tenant_id, connection_id).get(name))
    former = former_secret(uow, ctx.vault, tenant_id, connection_id, name) if refused == MISMATCH else None
    if former is None or judge(former.value) is not None:
        return refused
    if former.until <= now:
        return f"signed with a former secret (version {former.version}), which ended {former.until.isoformat()}"
    audit.record(
        uow, tenant_id, now, "webhook", "webhook.former_secret", f"connection/{connection_id}", version=former.version,
        until=former.until.isoformat(), body_sha256=body_digest(body),
    )  # fmt: skip
    return None


def stored(ctx: Context, result: ReceivedWebhook | HubError) -> ReceivedWebhook:
    """After the commit: raise a refusal, or wake whoever translates."""
    if isinstance(result, HubError):
        raise result
    if not result.raw_id:
        return result
    ctx.raw_arrived.set()
    ctx.due.add_input()
    return result


def received(now: Any) -> dict[str, Any]:
    """The columns of a raw input that has just arrived."""
    return {
        "state": "received", "cause_code": "", "cause": "", "remedy": "", "ignored": [], "attempts": 0,
        "available_at": now, "lease_until": None, "lease_owner": None, "received_at": now, "settled_at": None,
        "repeats": 0, "lane": "live", "run_id": None,
    }  # fmt: skip


def _identify(declared: Mapping[str, Any], headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
    """(event id, event type) by the manifest's headers or expressions; a body that cannot be read is known by its digest."""
    event_id, event_type = (headers.get(declared[name], "") for name in ("event_id_header", "event_type_header"))
    try:
        parsed = _json(body) if declared["event_id"] or declared["event_type"] else None
        event_id = evaluate(declared["event_id"], parsed) if declared["event_id"] else event_id
        event_type = evaluate(declared["event_type"], parsed) if declared["event_type"] else event_type
    except (ValueError, RecursionError, UntranslatableError):
        return body_digest(body), ""
    return bounded(str(event_id or body_digest(body))), clean(str(event_type or ""), 128)


def _json(body: bytes) -> Any:
    """Parse JSON as a connector reads it: a byte order mark is skipped, lone surrogates are read. Raises ValueError."""
    text = body.removeprefix(codecs.BOM_UTF8)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def _challenge(declared: Mapping[str, Any], query: str, body: bytes) -> str | None:
    """What a vendor wants to hear before it sends events, by the manifest's handshake; short text, or nothing."""
    found: Any = None
    if declared["query"]:
        found = next(iter(parse_qs(query).get(declared["query"], [])), None)
    else:
        try:
            found = evaluate(declared["body"], _json(body))
        except (ValueError, UntranslatableError):
            return None
    return found if isinstance(found, str) and 0 < len(found) <= _CHALLENGE and found.isprintable() else None


@dataclass(frozen=True)
class Event:
    """A canonical event that has passed `check_envelope`, and who sent it."""

    ctx: Context
    client: Client
    envelope: Any
    traceparent: str = ""


def accept_event(ctx: Context, client: Client, envelope: Any, traceparent: str = "") -> Admitted:
    """A canonical event from an internal system: validated, routed and committed before it returns.

    Raises HubError `unknown_type`, `invalid_document` (one entry per bad field) or `idempotency_mismatch`.
    """
    return accepted(ctx, client, submit_event(ctx, client, envelope, traceparent).result())


def submit_event(ctx: Context, client: Client, envelope: Any, traceparent: str = "") -> "Future[Admitted | HubError]":
    """As `accept_event`, to be waited for and given to `accepted`. Raises HubError for what the store is not needed for."""
    check_envelope(envelope)
    return ctx.group.submit_each(take_events, Event(ctx, client, envelope, traceparent))


def take_events(uow: UnitOfWork, events: Sequence[Event]) -> list[Admitted | HubError]:
    """Admit events of one hub, together; a refusal is returned, so that it spoils nobody's commit."""
    ctx = events[0].ctx
    spans, routing, messages = [], [], []
    for event in events:
        envelope, tenant_id = event.envelope, event.client.tenant_id
        parent = event.traceparent or envelope.get("traceparent", "")
        span = ctx.telemetry.start(tracing.INGEST, parent, SpanKind.SERVER, hub_tenant=tenant_id)
        traceparent = traceparent_of(span)
        spans.append(span)
        routing.append(ctx.telemetry.start(tracing.ROUTE, traceparent))
        messages.append(NewMessage(
            tenant_id, envelope["type"], envelope["source"], envelope["id"], envelope["data"],
            parse_timestamp(envelope["time"]), traceparent, f"key/{event.client.name}",
            correlation_id=envelope.get("correlationid"), causation_id=envelope.get("causationid"),
        ))  # fmt: skip
    try:
        results = [_answer(result) for result in admit_many(ctx, uow, messages, at_once=True)]
        for event, span, result in zip(events, spans, results, strict=True):
            if isinstance(result, HubError):
                fail(span, result.code)
            else:
                span.set_attribute("hub.message", result.message_id)
                ctx.used(uow, event.client, event.envelope["type"], event.envelope["data"])
    except UntranslatableError as error:  # in the midst of writing: roll it back
        refused = _answer(error)
        assert isinstance(refused, HubError)
        raise refused from None
    finally:
        for span in (*routing, *spans):
            span.end()
    return results


def _answer(result: Admitted | Exception) -> Admitted | HubError:
    """What a caller is told: of a bad document, its fields."""
    if isinstance(result, InvalidDocumentError):
        errors = [Violation(item.code, f"/data{item.field}", item.message).as_dict() for item in result.violations]
        return HubError("invalid_document", str(result), errors)
    if isinstance(result, UntranslatableError):
        entry = {"code": result.code, "field": "/data", "message": result.message}
        return HubError("invalid_document", result.message, [entry])
    if isinstance(result, Admitted | HubError):
        return result
    raise result


def accepted(ctx: Context, client: Client, result: Admitted | HubError) -> Admitted:
    """After the commit: raise a refusal, or wake the relay."""
    if isinstance(result, HubError):
        raise result
    tell_relay(ctx, client.tenant_id, result)
    return result


def check_envelope(envelope: Any) -> None:
    """Raise HubError unless the envelope and its document are valid and agree with each other."""
    if not isinstance(envelope, dict):
        message = "must be an object: a CloudEvents envelope"
        raise HubError("invalid_document", message, [Violation("invalid_field", "", message).as_dict()])
    told = {name: value for name, value in envelope.items() if name != "data"}
    if found := schema_version.text_violations(told):
        raise HubError("invalid_document", "the envelope is not valid", [item.as_dict() for item in found])
    if not _compiled_envelope().is_valid(envelope) and (found := shape_violations(_ENVELOPE, envelope)):
        raise HubError("invalid_document", "the envelope is not valid", [item.as_dict() for item in found])
    schema_version.require_valid(envelope["type"], envelope["data"], "/data")
    subject = type_named(envelope["type"]).subject(envelope["data"])
    wrong = []
    if envelope.get("subject", subject) != subject:
        wrong.append(Violation("subject_mismatch", "/subject", f"the document yields {subject!r}; leave it out"))
    day = envelope["data"].get("business_date")
    if envelope.get("businessdate", day) != day:
        wrong.append(Violation("business_date_mismatch", "/businessdate", f"the document says {day}"))
    if wrong:
        raise HubError("invalid_document", "envelope and document disagree", [item.as_dict() for item in wrong])
