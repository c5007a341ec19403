"""Quarantine of single documents: the bad one of an input waits, and its siblings go on (ADR 32).

A document that waits is a raw input of kind `document`: the quarantine's list, its replay and its discard apply to it as to any
other. Its body says which input it was part of, its place there, and what is wrong; see `Origin`.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from canonical.fields import parse_timestamp
from hub.flow.causes import describe
from hub.flow.changed import ChangedFactError
from hub.flow.ingest import received
from hub.policies import audit
from hub.policies.dead_letter import remedy_for
from hub.policies.text import clean
from hub.sdk.errors import UntranslatableError
from hub.sdk.steps import Document, Refused
from hub.store import UnitOfWork, new_id
from hub.store.rows import Row

#: The kind of raw input that is one document of another one.
KIND = "document"
#: The cause code of an input of which a document waits.
PARTLY = "partly_quarantined"
#: The cause code of a document that waits for an earlier one of its input.
BEHIND = "behind_quarantined"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One document of an input that is not admitted: its place in the input, and why.

    ``changed``: it is a fact that is known already, told differently.
    """

    index: int
    item: Document | Refused
    code: str
    cause: str
    remedy: str = ""
    violations: tuple[dict[str, Any], ...] = ()
    changed: ChangedFactError | None = None

    @property
    def is_entry(self) -> bool:
        """Whether it has an entry of its own even if it is all of its input: later inputs may tell the same again."""
        return self.changed is not None or isinstance(self.item, Refused)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The input that a waiting document was part of, and as what the document is admitted when it is replayed.

    ``document`` is None where the connector could not make it: then the input is translated again.
    """

    input_id: str
    document: Document | None
    admit_as: str | None
    causation_id: str | None
    read_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A document in quarantine: its raw input's id there, the state of that, and whether it is new."""

    raw_id: str
    state: str
    created: bool


def refusal(index: int, item: Document | Refused, error: Exception | None = None) -> Refusal:
    """Why an item is not admitted: by the error that says so, or by the connector's own word."""
    if isinstance(item, Refused):
        return Refusal(index=index, item=item, code=clean(item.code, 64), cause=clean(item.message))
    assert error is not None
    code, cause, remedy = describe(error)
    found = tuple(entry.as_dict() for entry in getattr(error, "violations", ()))
    changed = error if isinstance(error, ChangedFactError) else None
    return Refusal(index=index, item=item, code=code, cause=cause, remedy=remedy, violations=found, changed=changed)


def set_aside(uow: UnitOfWork, row: Row, origin: Origin | None, refused: Refusal, now: datetime) -> Waiting:
    """Put one document of the input ``row`` in quarantine. The same one again is no new entry, and stays as a person left it.

    A refusal without a document is the same one if source id, code and message are. It is a new entry where the former one was
    replayed to its end: then the connector refuses again what it had accepted.
    """
    input_id = origin.input_id if origin else str(row["id"])
    found = _set_aside(uow, row, input_id, refused, _key(refused.item), now)
    is_ended = not found.created and found.raw_id != row["id"] and found.state not in ("quarantined", "discarded")
    if is_ended and isinstance(refused.item, Refused):
        return _set_aside(uow, row, input_id, refused, _key(refused.item, input_id), now)
    return found


def _set_aside(uow: UnitOfWork, row: Row, input_id: str, refused: Refusal, key: str, now: datetime) -> Waiting:
    item = refused.item
    type_name = clean(item.type, 128) if isinstance(item, Document) else ""
    raw_id, created = uow.raws.add({
        "tenant_id": row["tenant_id"], "id": new_id(), "connection_id": row["connection_id"], "kind": KIND,
        "object": clean((item.object if isinstance(item, Document) else "") or row["object"], 64),
        "source_event_id": key, "event_type": type_name,
        "headers": {}, "body": _body(row, input_id, refused), "traceparent": row["traceparent"], **received(now),
        "state": "quarantined", "cause_code": refused.code, "cause": refused.cause,
        "remedy": remedy_for(refused.code, refused.remedy), "settled_at": now, "lane": row["lane"], "run_id": row["run_id"],
    })  # fmt: skip
    if created:
        audit.record(
            uow, row["tenant_id"], now, "translate", "raw.quarantined", f"raw/{raw_id}", code=refused.code, cause=refused.cause,
            input=input_id, index=refused.index, source_id=clean(str(item.source_id)), type=type_name,
        )  # fmt: skip
        if (changed := refused.changed) is not None:
            audit.record(
                uow, row["tenant_id"], now, f"connection/{row['connection_id']}", "message.changed",
                f"message/{changed.known_id}", source_id=item.source_id, digest=changed.digests[1],
                known_digest=changed.digests[0], fields=changed.fields, quarantined=raw_id,
            )  # fmt: skip
        return Waiting(raw_id=raw_id, state="quarantined", created=True)
    known = uow.raws.get(row["tenant_id"], raw_id)
    return Waiting(raw_id=raw_id, state=known["state"] if known else "quarantined", created=False)


def origin_of(body: bytes) -> Origin:
    """Read the origin from a waiting document's body; raises UntranslatableError if a correction makes it unreadable."""
    try:
        told = json.loads(body)
        document = told.get("document")
        made = Document(
            document["type"], document["source_id"], document["data"], document.get("object") or "", document.get("ref") or ""
        ) if document else None  # fmt: skip
        read_at = told.get("read_at")
        if made is not None and not (isinstance(made.type, str) and isinstance(made.data, dict)):
            raise TypeError("document.type is a string, document.data an object")
        return Origin(
            input_id=str(told["input"]), document=made, admit_as=told.get("admit_as"), causation_id=told.get("causation_id"),
            read_at=parse_timestamp(read_at) if read_at else None,
        )  # fmt: skip
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"a correction keeps input and document (type, source_id, data): {type(error).__name__}: {error}"
        raise UntranslatableError(message, code="untranslatable") from error


def as_admitted(origin: Origin | None, document: Document) -> Document:
    """The document under the source id that it is admitted by."""
    return replace(document, source_id=origin.admit_as) if origin and origin.document and origin.admit_as else document


def _key(item: Document | Refused, input_id: str = "") -> str:
    """The same document or refusal is the same entry, whichever input tells it, unless ``input_id`` says otherwise."""
    if isinstance(item, Document):
        parts = ["document", item.type, item.source_id, _json(item.data)]
    else:
        parts = ["refused", input_id, item.source_id, item.code, item.message]
    return "document:" + hashlib.sha256(_json(parts).encode()).hexdigest()


def _body(row: Row, input_id: str, refused: Refusal) -> bytes:
    item = refused.item
    told: dict[str, Any] = {"input": input_id, "index": refused.index, "source_id": item.source_id}
    if isinstance(item, Document):
        told["document"] = {
            "type": item.type, "source_id": item.source_id, "data": item.data, "object": item.object, "ref": item.ref,
        }  # fmt: skip
    else:
        told |= {"document": None, "refused": {"code": item.code, "message": item.message}}
    if refused.violations:
        told["violations"] = list(refused.violations)
    if (changed := refused.changed) is not None:
        told |= {"admit_as": changed.admit_as, "causation_id": changed.known_id, "fields": changed.fields}
    if row["kind"] == "poll":
        told["read_at"] = row["received_at"].isoformat()
    return _json(told).encode()


def _json(value: Any) -> str:
    """ASCII, so that text that is not Unicode is kept as it was said."""
    return json.dumps(value, default=str, sort_keys=True)
