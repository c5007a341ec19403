"""A person's correction of a document or an input: kept, given to every open delivery of its message, and shown with its diff.

A delivery that was applied before stays as it is. Each attempt records the correction that it was given, if any.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from hub.flow.context import Context
from hub.flow.translate import envelope_data
from hub.policies import ownership, redaction, schema_version
from hub.store import UnitOfWork, new_id
from hub.store.rows import Row
from hub.store.states import OPEN

Document = Mapping[str, Any]
#: Stands for the reason where none was given.
NOT_GIVEN = "not given"
#: So many changes of one correction are audited, and values of so many characters of JSON.
_AUDITED_CHANGES, _AUDITED_CHARACTERS = 50, 200
_MISSING = object()


def reason_of(text: str) -> str:
    """The reason as it is kept and shown: never empty."""
    return text.strip() or NOT_GIVEN


def changes(type_name: str, before: Document, after: Document) -> list[dict[str, Any]]:
    """Where two documents of a type differ: `pointer` (RFC 6901), `before` and `after`; either is left out where nothing was.

    Personal data is masked.
    """
    shown = redaction.document(type_name, before), redaction.document(type_name, after)
    return [
        {"pointer": pointer, **{name: value for name, value in (("before", old), ("after", new)) if value is not _MISSING}}
        for pointer, old, new in _differ((before, after, *shown), "")
    ]  # fmt: skip


def _differ(values: tuple[Any, Any, Any, Any], at: str) -> Iterator[tuple[str, Any, Any]]:
    """Pointers at which the first two of ``values`` differ, with the other two (the same ones, masked) at those places."""
    old, new, shown_old, shown_new = values
    keys: Iterable[str | int] = ()
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
    elif isinstance(old, list) and isinstance(new, list):
        keys = range(max(len(old), len(new)))
    elif old is _MISSING or new is _MISSING or old != new or type(old) is not type(new):
        yield at, shown_old, shown_new
    for key in keys:
        inner = _item(old, key), _item(new, key), _item(shown_old, key), _item(shown_new, key)
        yield from _differ(inner, f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}")


def _item(value: Any, key: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(key, _MISSING)
    return value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else _MISSING


def raw_changes(before: bytes, after: bytes) -> list[dict[str, Any]]:
    """Where two inputs differ, if both are JSON; every value is masked, for nobody knows which of a vendor's are personal."""
    try:
        old, new = orjson.loads(before), orjson.loads(after)
    except orjson.JSONDecodeError:
        return []
    return [
        {"pointer": pointer, **({} if was is _MISSING else {"before": redaction.MASK}),
         **({} if now is _MISSING else {"after": redaction.MASK})}
        for pointer, was, now in _differ((old, new, old, new), "")
    ]  # fmt: skip


def audited(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The audit record's detail about a correction's changes: the first of them, each value cut to a length."""
    kept = [{name: value if name == "pointer" else _short(value) for name, value in change.items()} for change in found]
    return {"changed": len(found), "changes": kept[:_AUDITED_CHANGES]}


def _short(value: Any) -> Any:
    text = orjson.dumps(value).decode()
    return value if len(text) <= _AUDITED_CHARACTERS else f"{text[:_AUDITED_CHARACTERS]}…"


def document_to_write(row: Row, message: Row) -> Document:
    """The document that a delivery is to write, in its type where a caster leads there."""
    if kept := row["corrected"] or row["merged"]:
        found: Document = orjson.loads(kept)
        return found
    data = envelope_data(message["body"])
    return schema_version.cast(message["type"], data, row["type"]) or data


def correct_open(
    ctx: Context, uow: UnitOfWork, row: Row, message: Row, document: Document, actor: str, reason: str, now: datetime
) -> tuple[Row, list[str]]:  # fmt: skip
    """Keep the correction of a delivery's document, and give it to the message's other open deliveries.

    Returns (the correction, the ids of the other deliveries).
    """
    before = document_to_write(row, message)
    kept = {
        "tenant_id": row["tenant_id"], "id": new_id(), "subject": f"message/{message['id']}", "delivery_id": row["id"],
        "type": row["type"], "before": orjson.dumps(before), "after": orjson.dumps(document), "actor": actor,
        "reason": reason_of(reason), "at": now,
    }  # fmt: skip
    uow.corrections.add(kept)
    others = []
    for other in uow.deliveries.of_message(row["tenant_id"], message["id"]):
        if other["id"] == row["id"] or other["state"] not in OPEN:
            continue
        theirs = _of_other(ctx, uow, row, other, message, before, document)
        if theirs is not None:
            values = {"corrected": orjson.dumps(theirs), "correction": kept["id"]}
            others += [other["id"]] if uow.deliveries.correct(row["tenant_id"], other["id"], values) else []
    return kept, others


def _of_other(
    ctx: Context, uow: UnitOfWork, row: Row, other: Row, message: Row, before: Document, after: Document
) -> Document | None:  # fmt: skip
    """Document that another delivery of the message is to write; None: the correction does not concern it, or cannot be cast.

    Of a record whose fields have owners each recipient has a document of its own: there only those fields follow that said
    what the corrected document said before, and that their recipient does not own.
    """
    was, now = (schema_version.cast(row["type"], document, other["type"]) for document in (before, after))
    if was is None or now is None:
        return None
    if row["merged"] is None and other["merged"] is None:
        return now
    theirs = dict(document_to_write(other, message))
    rules = ctx.routes.ownership(uow, row["tenant_id"], other["type"].rpartition(".v")[0])
    own = set(ownership.owned(rules, [*was, *now], other["connection_id"])) if rules else set()
    changed = [
        name for name in dict.fromkeys([*was, *now])
        if name not in own and was.get(name) != now.get(name) and theirs.get(name) == was.get(name)
    ]  # fmt: skip
    for name in changed:
        if name in now:
            theirs[name] = now[name]
        else:
            theirs.pop(name)
    return theirs if changed else None


def keep_raw(uow: UnitOfWork, row: Row, body: bytes, actor: str, reason: str, now: datetime) -> Row:
    """Keep the correction of a raw input."""
    before = row["body"] if row["corrected"] is None else row["corrected"]
    kept = {
        "tenant_id": row["tenant_id"], "id": new_id(), "subject": f"raw/{row['id']}", "delivery_id": None, "type": "",
        "before": before, "after": body, "actor": actor, "reason": reason_of(reason), "at": now,
    }  # fmt: skip
    uow.corrections.add(kept)
    return kept


def of_message(uow: UnitOfWork, tenant_id: str, message_id: str) -> list[dict[str, Any]]:
    """The corrections of a message as the API shows them, oldest first, numbered from 1."""
    found = []
    for number, row in enumerate(uow.corrections.of(tenant_id, f"message/{message_id}"), 1):
        before, after = orjson.loads(row["before"]), orjson.loads(row["after"])
        found.append({**_public(row, number), "document": after, "changes": changes(row["type"], before, after)})
    return found


def of_raw(uow: UnitOfWork, tenant_id: str, raw_id: str) -> list[dict[str, Any]]:
    """The corrections of a raw input as the API shows them, oldest first, numbered from 1."""
    return [
        {**_public(row, number), "document": None, "body_base64": base64.b64encode(row["after"]).decode(),
         "changes": raw_changes(row["before"], row["after"])}
        for number, row in enumerate(uow.corrections.of(tenant_id, f"raw/{raw_id}"), 1)
    ]  # fmt: skip


def _public(row: Row, number: int) -> dict[str, Any]:
    return {"number": number, **{name: row[name] for name in ("id", "at", "actor", "reason", "type", "delivery_id")}}
