"""Message History: everything that happened to one sale, in order, from the webhook's raw bytes to the ERP's document id."""

import base64
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson

from hub.errors import NotFoundError
from hub.flow import corrections
from hub.flow.context import Context
from hub.flow.names import canonical_id, spoken_of
from hub.store import UnitOfWork
from hub.store.rows import Row
from hub.telemetry import trace_id_of

#: So many changes of a correction are told in its step.
_SHOWN = 3


def lineage(ctx: Context, tenant_id: str, text: str) -> dict[str, Any]:
    """The history of whatever ``text`` names: a message id, a source's id, a subject or a webhook's event id.

    Returns ``subject``, ``messages`` (with documents, raw input and deliveries with every attempt and request) and
    ``steps``: one flat list in time order. Raises HubError `not_found`.
    """
    with ctx.store.read() as uow:
        found = uow.messages.find(tenant_id, text)
        if not found:
            raise NotFoundError("message, sale or event", text)
        subject, before = spoken_of(uow, tenant_id, found[0]["subject"], found[0]["connection_id"] or "")
        of = {row["id"]: row for named in [(subject, ""), *before] for row in uow.messages.about(tenant_id, *named)}
        rows = [of[identity] for identity in sorted(of)]
        messages = [_message(uow, tenant_id, row) for row in rows]
        audit = _audit(uow, tenant_id, messages)
    told = [step for record in audit for step in _skipped(record)]
    steps = sorted((*told, *(step for message in messages for step in _steps(message))), key=lambda step: step["at"])
    traces = sorted({message["trace_id"] for message in messages if message["trace_id"]})
    return {"subject": subject, "trace_ids": traces, "messages": messages, "steps": steps, "audit": audit}


def _message(uow: UnitOfWork, tenant_id: str, row: Row) -> dict[str, Any]:
    raw = uow.raws.get(tenant_id, row["raw_id"]) if row["raw_id"] else None
    envelope = orjson.loads(row["body"])
    corrected = corrections.of_message(uow, tenant_id, row["id"])
    deliveries = []
    for delivery in uow.deliveries.of_message(tenant_id, row["id"]):
        blocker = uow.deliveries.blocker(delivery) if delivery["state"] in ("pending", "ambiguous") else None
        attempts = [public_attempt(item) for item in uow.attempts.of_delivery(tenant_id, delivery["id"])]
        deliveries.append({
            **public_delivery(delivery),
            "waits_behind": blocker["id"] if blocker else None,
            "attempts": attempts,
            **({"sent": _sent(delivery, attempts)} if corrected else {}),
        })  # fmt: skip
    called = canonical_id(row["type"], envelope["data"], row["subject"])
    return {
        **public_message(row), "document": envelope["data"], **({"corrections": corrected} if corrected else {}),
        "raw": whole_raw(uow, raw) if raw else None,
        "deliveries": deliveries, "links": [_link(item) for item in uow.links.of(tenant_id, called)],
    }  # fmt: skip


def _sent(delivery: Mapping[str, Any], attempts: Iterable[Mapping[str, Any]]) -> list[str]:
    """The documents that left for the target, in their order."""
    return list(dict.fromkeys(_document_of(delivery, item) for item in attempts if item["effects"]))


def _document_of(delivery: Mapping[str, Any], attempt: Mapping[str, Any]) -> str:
    """The document that an attempt was given: a correction's id, `original`, or `unknown`.

    It is unknown where the worker died unrecorded and the document has been corrected since.
    """
    if attempt.get("correction"):
        return str(attempt["correction"])
    is_unrecorded = attempt["code"] == "worker_lost" and not attempt["document"]
    return "unknown" if is_unrecorded and delivery.get("correction") else "original"


def _link(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in ("connection_id", "kind", "canonical_id", "external_id")}


def _audit(uow: UnitOfWork, tenant_id: str, messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    subjects = []
    for message in messages:
        subjects.append(f"message/{message['id']}")
        subjects += [f"delivery/{delivery['id']}" for delivery in message["deliveries"]]
        if message["raw"]:
            subjects.append(f"raw/{message['raw']['id']}")
    records = [row for subject in subjects for row in uow.audit.page(tenant_id, None, 50, subject)]
    return [
        {key: row[key] for key in ("sequence", "at", "actor", "action", "subject", "detail", "digest")}
        for row in sorted(records, key=lambda row: row["sequence"])
    ]


def _skipped(record: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield the flows that made no delivery of a message, because another one leads it to the same connection."""
    for item in record["detail"].get("skipped", ()) if record["action"].startswith("message.") else ():
        text = f"not to {item['connection']} by {item['flow']}: {item['why']}"
        yield _step(record["at"], "skip", text, record["subject"].removeprefix("message/"))


def _steps(message: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    raw = message["raw"]
    if raw:
        yield _step(raw["received_at"], "ingest", f"{raw['kind']} {raw['event_type'] or raw['object']} stored raw", raw["id"])
    yield _step(message["received_at"], "translate" if raw else "ingest", f"{message['type']} {message['source_id']}",
                message["id"])  # fmt: skip
    if message["state"] in ("held", "dropped"):
        yield _step(message["received_at"], "hold", f"suspected duplicate of {message['suspect_of']}", message["id"])
    numbers = {item["id"]: f" with correction {item['number']}" for item in message.get("corrections", ())}
    others = {"original": " with the original document", "unknown": " with a document that was not recorded"}
    for item in [*(raw.get("corrections", ()) if raw else ()), *message.get("corrections", ())]:
        yield _step(item["at"], "correct", _corrected(item), item["delivery_id"] or (raw["id"] if raw else message["id"]))
    for delivery in message["deliveries"]:
        yield _step(delivery["created_at"], "route", f"to {delivery['connection_id']} by {delivery['flow']} "
                    f"revision {delivery['revision']}", delivery["id"])  # fmt: skip
        for attempt in delivery["attempts"]:
            what = f"{delivery['connection_id']} try {attempt['number']} ({attempt['kind']})"
            if numbers:
                what += {**others, **numbers}.get(_document_of(delivery, attempt), "")
            yield _step(attempt["started_at"], "deliver", what, delivery["id"])
            for request in attempt["steps"]:
                answer = request.get("status", request.get("error", "no answer"))
                effect = " [effect]" if request["effect"] else ""
                label = f" {request['label']}" if request.get("label") else ""
                text = f"{request['method']} {request['path']}{label} → {answer} in {request.get('ms', '?')} ms{effect}"
                yield _step(datetime.fromisoformat(request["at"]), "step", text, delivery["id"])
            if attempt["ended_at"]:
                result = attempt["external_id"] or attempt["detail"] or attempt["code"]
                text = f"{attempt['outcome']}: {str(result).splitlines()[0][:200]}" if result else attempt["outcome"]
                yield _step(attempt["ended_at"], "outcome", f"{delivery['connection_id']} {text}", delivery["id"])


def _corrected(item: Mapping[str, Any]) -> str:
    """A correction in one line: its number, who made it and why, and the first of its changes."""
    of = item["type"] or "raw input"
    changed = [f"{one['pointer'] or '/'} {_short(one, 'before')} → {_short(one, 'after')}" for one in item["changes"]]
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    told = ("; " + ", ".join(changed[:_SHOWN]) + more) if changed else ""
    return f"correction {item['number']} of {of} by {item['actor']}, reason: {item['reason']}{told}"


def _short(change: Mapping[str, Any], name: str) -> str:
    return orjson.dumps(change[name]).decode()[:80] if name in change else "(nothing)"


def _step(at: datetime, step: str, text: str, identity: str) -> dict[str, Any]:
    return {"at": at, "step": step, "text": text, "id": identity}


def public_message(row: Mapping[str, Any]) -> dict[str, Any]:
    """A message as the API shows it, without its body."""
    keys = ("id", "type", "source", "source_id", "subject", "state", "suspect_of", "event_at", "business_date",
            "received_at", "correlation_id", "causation_id", "connection_id", "raw_id")  # fmt: skip
    return {**{key: row[key] for key in keys}, "trace_id": trace_id_of(row["traceparent"])}


def public_delivery(row: Mapping[str, Any]) -> dict[str, Any]:
    """A delivery as the API shows it."""
    keys = ("id", "message_id", "connection_id", "connector", "flow", "revision", "type", "lane", "subject", "key",
            "state", "attempts", "available_at", "external_id", "created_at", "settled_at")  # fmt: skip
    failure = {"code": row["cause_code"], "cause": row["cause"], "remedy": row["remedy"]}
    return {key: row[key] for key in keys} | _corrected_by(row) | {"failure": failure if any(failure.values()) else None}


def public_attempt(row: Mapping[str, Any]) -> dict[str, Any]:
    """An attempt as the API shows it."""
    keys = ("id", "number", "kind", "worker", "started_at", "ended_at", "outcome", "code", "detail", "steps", "effects",
            "external_id", "revision", "document")  # fmt: skip
    return {**{key: row[key] for key in keys}, **_corrected_by(row), "trace_id": trace_id_of(row["traceparent"])}


def _corrected_by(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"correction": row["correction"]} if row["correction"] else {}


def whole_raw(uow: UnitOfWork, row: Row) -> dict[str, Any]:
    """A raw input with its bytes and what people corrected of it."""
    corrected = {} if row["corrected"] is None else {"corrected_base64": base64.b64encode(row["corrected"]).decode()}
    found = corrections.of_raw(uow, row["tenant_id"], row["id"])
    return public_raw(row) | corrected | ({"corrections": found} if found else {})


def whole_delivery(uow: UnitOfWork, row: Row) -> dict[str, Any]:
    """A delivery with what people corrected of its message's document, if anything."""
    found = corrections.of_message(uow, row["tenant_id"], row["message_id"])
    return public_delivery(row) | ({"corrections": found} if found else {})


def public_raw(row: Mapping[str, Any], with_body: bool = True) -> dict[str, Any]:
    """A raw input as the API shows it; the bytes in base64, since they may be anything."""
    keys = ("id", "connection_id", "kind", "object", "source_event_id", "event_type", "headers", "state", "cause_code",
            "cause", "remedy", "ignored", "attempts", "received_at", "settled_at", "repeats")  # fmt: skip
    shown = {key: row[key] for key in keys}
    if with_body:
        shown["body_base64"] = base64.b64encode(row["body"]).decode()
    return shown
