"""What was read: how each record looked last, when it was seen, and which messages say what it is."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hub.store.bulk import Bulk, inserted
from hub.store.ids import bounded
from hub.store.rows import Repository, Row
from hub.store.tables import message, record, record_document

_KEY = ("tenant_id", "connection_id", "object", "ref")
_DOCUMENT_KEY = (*_KEY, "type", "subject")
#: The digest of a record that is gone: whatever comes after it is news.
_GONE = ""


def known_as(ref: str) -> str:
    """A record's id as it is kept."""
    return bounded(ref)


def _known(given: Any, _insert: Any) -> Any:
    same = sa.and_(*(record.c[name] == given.c[name] for name in _KEY))
    return sa.select(record).select_from(given.join(record, same))


def _put(given: Any, insert: Any) -> Any:
    statement = inserted(record, [column.name for column in record.c], given, insert)
    changed = {name: statement.excluded[name] for name in ("digest", "changes", "changed_at", "seen_at")}
    return statement.on_conflict_do_update(index_elements=_KEY, set_=changed).returning(record.c.ref)


def _documents(given: Any, _insert: Any) -> Any:
    of = sa.and_(*(record_document.c[name] == given.c[name] for name in _KEY))
    same = sa.and_(message.c.tenant_id == record_document.c.tenant_id, message.c.id == record_document.c.message_id)
    found = given.join(record_document, of).join(message, same)
    return sa.select(record_document, message.c.body).select_from(found)


def _locked(given: Any, insert: Any) -> Any:
    order = [record_document.c[name] for name in _DOCUMENT_KEY]
    return _documents(given, insert).order_by(*order).with_for_update(of=record_document)


def _told(given: Any, insert: Any) -> Any:
    statement = inserted(record_document, [column.name for column in record_document.c], given, insert)
    changed = {name: statement.excluded[name] for name in ("message_id", "state")}
    newer = statement.excluded.message_id > record_document.c.message_id
    return statement.on_conflict_do_update(index_elements=_DOCUMENT_KEY, set_=changed, where=newer)


_KNOWN = Bulk([record.c[name] for name in _KEY], _known)
_PUT = Bulk(list(record.c), _put)
_DOCUMENTS = Bulk([record_document.c[name] for name in _KEY], _documents)
_LOCKED = Bulk([record_document.c[name] for name in _KEY], _locked)
_TOLD = Bulk(list(record_document.c), _told)


class Records(Repository):
    """The last known state of what was read, by its digest."""

    def known(self, tenant_id: str, connection_id: str, name: str, refs: Sequence[str]) -> dict[str, Row]:
        """By ref."""
        keys = [{"tenant_id": tenant_id, "connection_id": connection_id, "object": name, "ref": ref} for ref in refs]
        return {row["ref"]: row for row in _KNOWN.run(self._c, keys)} if keys else {}

    def put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """In one order for every process."""
        if rows:
            _PUT.run(self._c, sorted(rows, key=lambda row: str(row["ref"])))

    def seen(self, tenant_id: str, connection_id: str, name: str, refs: Sequence[str], at: datetime) -> None:
        """They are there, and look as they did."""
        if refs:
            self._update(record, (*_of(tenant_id, connection_id, name), record.c.ref.in_(sorted(refs))), {"seen_at": at})

    def counted(self, tenant_id: str, connection_id: str, name: str, since: datetime) -> tuple[int, int]:
        """(records that are there as far as is known, those of them that were not seen since then)."""
        where = (*_of(tenant_id, connection_id, name), *_THERE)
        unseen: Any = sa.func.sum(sa.case((_unseen(since), 1), else_=0))
        counts: tuple[Any, ...] = (sa.func.count().label("known"), unseen.label("unseen"))
        row = self._one(sa.select(*counts).where(*where)) or {}
        return int(row["known"]), int(row["unseen"] or 0)

    def unseen(self, tenant_id: str, connection_id: str, name: str, since: datetime, limit: int) -> list[Row]:
        """Records that are there as far as is known, and were not seen since then."""
        where = (*_of(tenant_id, connection_id, name), *_THERE, _unseen(since))
        return self._all(sa.select(record).where(*where).order_by(record.c.ref).limit(limit))

    def gone(self, rows: Sequence[Row], at: datetime) -> None:
        """They are not there any more: whatever comes of them is news."""
        self.put([{**row, "digest": _GONE, "changes": row["changes"] + 1, "changed_at": at, "seen_at": at} for row in rows])

    def documents(self, keys: Sequence[Mapping[str, Any]], locked: bool = False) -> list[Row]:
        """What each record (tenant_id, connection_id, object, ref) is told by, with the messages' bodies.

        ``locked``: two processes that hear that a record is gone withdraw it one after the other.
        """
        return (_LOCKED if locked else _DOCUMENTS).run(self._c, keys) if keys else []

    def told(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Messages that say what records are; an older one than is known changes nothing."""
        if rows:
            _TOLD.run(self._c, sorted(rows, key=lambda row: [str(row[name]) for name in _DOCUMENT_KEY]))

    def others(self, row: Row) -> list[Row]:
        """Records of the same connection that are there and are told by a document about the same subject."""
        table = record_document
        where = (table.c.tenant_id == row["tenant_id"], table.c.connection_id == row["connection_id"],
                 table.c.subject == row["subject"], table.c.state == "there",
                 sa.or_(table.c.object != row["object"], table.c.ref != row["ref"]))  # fmt: skip
        return self._all(sa.select(table).where(*where).limit(1))


def _of(tenant_id: str, connection_id: str, name: str) -> tuple[Any, ...]:
    return (record.c.tenant_id == tenant_id, record.c.connection_id == connection_id, record.c.object == name)


#: A record without an id is told apart by its content: that it is not seen any more says nothing.
_THERE = (record.c.digest != _GONE, record.c.ref.not_like("?%"))


def _unseen(since: datetime) -> Any:
    return sa.func.coalesce(record.c.seen_at, record.c.changed_at) < sa.literal(since, record.c.seen_at.type)
