"""Tombstones: what a source has no more is told once again as it was told last, withdrawn (`active` false).

A source that deletes a record says no more than its id, or nothing: a full read finds that it is not listed. So each record's
last documents are known. A record that is listed again afterwards is told anew, even if it looks as it did before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeGuard

import orjson

from canonical.fields import parse_timestamp
from canonical.registry import type_named
from hub.sdk.steps import Document, Gone, Ignored
from hub.store import UnitOfWork
from hub.store.ids import bounded
from hub.store.records import known_as
from hub.store.rows import Row

Item = Document | Gone | Ignored
_LATER = timedelta(milliseconds=1)
#: What a raw input says instead of a record: the hub did not find it any more.
GONE = "gone"


def gone_before(uow: UnitOfWork, read: Iterable[tuple[Row, Sequence[Item]]]) -> list[Row]:
    """Of records that were read, the last documents of those that were gone by the hub's word."""
    keys = [_key(row, item) for row, items in read if row["kind"] == "poll" for item in items if _lasts(item)]
    return [last for last in uow.records.documents(keys) if last["state"] == "gone"]


def told(uow: UnitOfWork, row: Row, items: Sequence[Item], gone: Sequence[Row]) -> list[Document | Ignored]:
    """Documents of a raw input, with tombstones for what is gone, and new ones of what was (``gone``) and is there again."""
    result: list[Document | Ignored] = []
    for item in items:
        if isinstance(item, Gone):
            result += _tombstones(uow, row, item)
        elif gone and row["kind"] == "poll" and _lasts(item):
            result.append(_again(row, item, gone))
        else:
            result.append(item)
    return result


def note(uow: UnitOfWork, written: Sequence[tuple[Row, Document, str]]) -> None:
    """(raw input, its document, the message it became): what the records' last documents are from now on."""
    rows = {}
    for row, item, message_id in written:
        if _lasts(item):
            key = {**_key(row, item), "type": item.type, "subject": type_named(item.type).subject(item.data)}
            state = "gone" if item.source_id.startswith(f"{GONE}:") else "there"
            if state == "there" and type_named(item.type).withdrawn(item.data) is item.data:
                state = "withdrawn"
            rows[tuple(key.values())] = {**key, "message_id": message_id, "state": state}
    uow.records.told(list(rows.values()))


def _lasts(item: Item) -> TypeGuard[Document]:
    return isinstance(item, Document) and bool(item.ref) and type_named(item.type).withdrawn(item.data) is not None


def _key(row: Row, item: Document | Gone) -> Row:
    return {"tenant_id": row["tenant_id"], "connection_id": row["connection_id"], "object": item.object,
            "ref": known_as(item.ref)}  # fmt: skip


def _tombstones(uow: UnitOfWork, row: Row, item: Gone) -> list[Document | Ignored]:
    key = _key(row, item)
    if row["event_type"] == GONE:  # the hub missed it when it read; it may have been seen since
        seen = uow.records.known(key["tenant_id"], key["connection_id"], key["object"], [key["ref"]])
        if any(record["digest"] for record in seen.values()):
            return [Ignored("the record is listed again")]
    known = uow.records.documents([key], locked=True)
    if not known:
        return [Ignored("the record is gone; nothing that it was told by can be withdrawn")]
    found: list[Document | Ignored] = []
    for last in known:
        if last["state"] != "there":
            found.append(Ignored(f"{last['subject']} is withdrawn already"))
        elif other := uow.records.others(last):
            found.append(Ignored(f"{last['subject']} is told by {other[0]['object']} {other[0]['ref']} as well"))
        else:
            data = type_named(last["type"]).withdrawn(orjson.loads(last["body"])["data"])
            assert data is not None
            at = max(row["received_at"], parse_timestamp(data["updated_at"])) if "updated_at" in data else None
            stamped = {**data, "updated_at": at.isoformat()} if at else data
            found.append(Document(last["type"], f"{GONE}:{last['message_id']}", stamped, last["object"], last["ref"]))
    return found


def _again(row: Row, item: Document, gone: Sequence[Row]) -> Document:
    """A record that was gone and is listed: it is so now, whenever it was last changed."""
    key = {**_key(row, item), "type": item.type}
    for last in gone:
        if all(last[name] == key[name] for name in key):
            data = dict(item.data)
            if "updated_at" in data:
                before = parse_timestamp(orjson.loads(last["body"])["data"]["updated_at"]) + _LATER
                data["updated_at"] = max(row["received_at"], before, parse_timestamp(data["updated_at"])).isoformat()
            return replace(item, source_id=bounded(f"{item.source_id}+{last['message_id']}"), data=data)
    return item
