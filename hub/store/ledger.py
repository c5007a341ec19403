"""Records that prove and limit: audit chain, idempotency keys, usage, links, budgets."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from hub.store.bulk import Bulk, inserted
from hub.store.rows import Fixed, Repository, Row, given
from hub.store.tables import audit, audit_head, budget, idempotency, link, usage, usage_field

GENESIS = "0" * 64
FRESH_BUDGET: dict[str, Any] = {
    "tat": 0.0, "blocked_until": 0.0, "open_until": 0.0, "failures": 0, "pace": 1.0, "paced_at": 0.0, "counts": {}, "held": {},
}  # fmt: skip
#: No request runs longer; an unanswered idempotency key older than this was left by a crash.
ABANDONED_AFTER = timedelta(seconds=120)
_LINK_KEY = ("tenant_id", "connection_id", "kind", "canonical_id")

_THIS_HEAD = audit_head.c.tenant_id == given(audit_head.c.tenant_id)
_HEAD = Fixed(sa.select(audit_head).where(_THIS_HEAD).with_for_update())
_MOVED = (
    sa.update(audit_head)
    .where(_THIS_HEAD)
    .values(sequence=given(audit_head.c.sequence, "to_sequence"), digest=given(audit_head.c.digest, "to_digest"))
)
_MOVE_HEAD = Fixed(_MOVED)
_USAGE_KEY = ("tenant_id", "client", "operation", "day")
_FIELD_KEY = ("tenant_id", "client", "operation", "field")
_THIS_BUDGET = sa.select(budget).where(*(column == given(column) for column in budget.primary_key.columns))
_BUDGET, _LOCKED_BUDGET = Fixed(_THIS_BUDGET), Fixed(_THIS_BUDGET.with_for_update())


def _append(given: Any, insert: Any) -> Any:
    """The records; on PostgreSQL the head moves by the same statement: everybody else waits for it."""
    statement = inserted(audit, [column.name for column in audit.c], given, insert)
    return statement.add_cte(_MOVED.cte("moved")) if insert is postgresql.insert else statement


def _put_links(given: Any, insert: Any) -> Any:
    statement = inserted(link, [column.name for column in link.c], given, insert)
    changed = {"external_id": statement.excluded.external_id}
    return statement.on_conflict_do_update(index_elements=_LINK_KEY, set_=changed)


def _count(given: Any, insert: Any) -> Any:
    statement = inserted(usage, [column.name for column in usage.c], given, insert)
    more = {"calls": usage.c.calls + statement.excluded.calls}
    return statement.on_conflict_do_update(index_elements=_USAGE_KEY, set_=more)


def _sample(given: Any, insert: Any) -> Any:
    statement = inserted(usage_field, [column.name for column in usage_field.c], given, insert)
    more = {"last_day": statement.excluded.last_day, "samples": usage_field.c.samples + statement.excluded.samples}
    return statement.on_conflict_do_update(index_elements=_FIELD_KEY, set_=more)


def _same_keys(given: Any, _: Any) -> Any:
    of = (idempotency.c[name] == given.c[name] for name in _IDEMPOTENCY_KEY)
    return sa.select(*(idempotency.c[name] for name in _IDEMPOTENCY_KEY)).join_from(given, idempotency, sa.and_(*of))


def _answered(given: Any, insert: Any) -> Any:
    statement = inserted(idempotency, [column.name for column in idempotency.c], given, insert)
    return statement.on_conflict_do_nothing().returning(idempotency.c.tenant_id, idempotency.c.key)


_COUNT = Bulk(list(usage.c), _count)
_SAMPLE = Bulk(list(usage_field.c), _sample)
_IDEMPOTENCY_KEY = ("tenant_id", "operation", "key")
_SAME_KEYS = Bulk([idempotency.c[name] for name in _IDEMPOTENCY_KEY], _same_keys)
_ANSWERED = Bulk(list(idempotency.c), _answered)
_APPEND = Bulk(list(audit.c), _append)
_PUT_LINKS = Bulk(list(link.c), _put_links)


class Audit(Repository):
    """Append-only and hash-chained per tenant, written in the transaction of the change it records."""

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__(connection)
        self._pending: dict[str, list[dict[str, Any]]] = {}

    def append(self, tenant_id: str, at: datetime, actor: str, action: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Collect a record; `flush` writes all of a transaction's records as its last act."""
        self._pending.setdefault(tenant_id, []).append({
            "tenant_id": tenant_id, "at": at, "actor": actor, "action": action, "subject": subject[:255],
            "detail": dict(detail),
        })  # fmt: skip

    def flush(self) -> None:
        """Chain and insert what was collected. Heads are locked in the order of tenants until the transaction ends."""
        for tenant_id in sorted(self._pending):
            head = self._one(_HEAD, of_tenant_id=tenant_id)
            if head is None:
                start = {"tenant_id": tenant_id, "sequence": 0, "digest": GENESIS}
                self._insert_or_ignore(audit_head, [start], ["sequence"])
                head = self._one(_HEAD, of_tenant_id=tenant_id)
                assert head is not None
            records = self._pending[tenant_id]
            for record in records:
                record |= {"sequence": head["sequence"] + 1, "previous": head["digest"]}
                record["digest"] = digest_of(record)
                head = record
            to = {"of_tenant_id": tenant_id, "to_sequence": head["sequence"], "to_digest": head["digest"]}
            if self._postgres:
                _APPEND.later(self._c, records, **to)
            else:
                _APPEND.later(self._c, records)
                _MOVE_HEAD.later(self._c, **to)
        self._pending.clear()

    def page(self, tenant_id: str, after: int | None, limit: int, subject: str | None = None) -> list[Row]:
        """Newest first."""
        statement = sa.select(audit).where(audit.c.tenant_id == tenant_id)
        if after is not None:
            statement = statement.where(audit.c.sequence < after)
        if subject is not None:
            statement = statement.where(audit.c.subject == subject)
        return self._all(statement.order_by(audit.c.sequence.desc()).limit(limit + 1))

    def last(self, tenant_id: str, subject: str, action: str) -> datetime | None:
        """The time of the newest record of ``action`` on ``subject``; None if there is none."""
        where = (audit.c.tenant_id == tenant_id, audit.c.subject == subject, audit.c.action == action)
        row = self._one(sa.select(sa.func.max(audit.c.at).label("at")).where(*where))
        found: datetime | None = row["at"] if row else None
        return found

    def verify(self, tenant_id: str) -> int | None:
        """The first sequence number where the chain is broken, or None if it is whole."""
        previous, expected = GENESIS, 1
        for row in self._c.execute(
            sa.select(audit).where(audit.c.tenant_id == tenant_id).order_by(audit.c.sequence)
        ).mappings():
            if row["sequence"] != expected or row["previous"] != previous or digest_of(dict(row)) != row["digest"]:
                return expected
            previous, expected = row["digest"], expected + 1
        head = self._one(sa.select(audit_head).where(audit_head.c.tenant_id == tenant_id))
        if head is not None and (head["sequence"], head["digest"]) != (expected - 1, previous):
            return expected
        return None


def digest_of(record: Mapping[str, Any]) -> str:
    """SHA-256 over the record's canonical JSON, its sequence and its predecessor's digest included."""
    fields = ("tenant_id", "sequence", "at", "actor", "action", "subject", "detail", "previous")
    content = {name: record[name] for name in fields}
    content["at"] = record["at"].isoformat()
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Idempotency(Repository):
    """Answers remembered by (tenant, operation, key)."""

    def open(self, tenant_id: str, operation: str, key: str, fingerprint: str, now: datetime) -> Row | None:
        """None if the key is new (it is now taken), else what is known: ``fingerprint``, ``status`` and ``answer``."""
        row = {
            "tenant_id": tenant_id, "operation": operation, "key": key, "fingerprint": fingerprint, "status": None,
            "answer": None, "created_at": now,
        }  # fmt: skip
        if self._insert_or_ignore(idempotency, [row], ["key"]):
            return None
        # The process that took it died before it answered: what it did is deduped below, so the request may run again.
        abandoned = (*self._same(tenant_id, operation, key), idempotency.c.status.is_(None),
                     idempotency.c.created_at < now - ABANDONED_AFTER, idempotency.c.fingerprint == fingerprint)  # fmt: skip
        if self._update(idempotency, abandoned, {"created_at": now}):
            return None
        return self._one(sa.select(idempotency).where(*self._same(tenant_id, operation, key)))

    def known(self, keys: Sequence[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
        """Those (tenant, operation, key) that were taken before."""
        rows = _SAME_KEYS.run(self._c, [dict(zip(_IDEMPOTENCY_KEY, key, strict=True)) for key in keys]) if keys else []
        return {(row["tenant_id"], row["operation"], row["key"]) for row in rows}

    def answered(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Take keys with the answers to their requests; False if one was taken meanwhile."""
        return not rows or len(_ANSWERED.run(self._c, rows)) == len(rows)

    def close(self, tenant_id: str, operation: str, key: str, status: int, answer: bytes) -> None:
        self._update(idempotency, self._same(tenant_id, operation, key), {"status": status, "answer": answer})

    def forget(self, tenant_id: str, operation: str, key: str) -> None:
        """The request failed in a way that must not be remembered."""
        self._c.execute(sa.delete(idempotency).where(*self._same(tenant_id, operation, key)))

    @staticmethod
    def _same(tenant_id: str, operation: str, key: str) -> tuple[Any, ...]:
        columns = idempotency.c
        return (columns.tenant_id == tenant_id, columns.operation == operation, columns.key == key)


class Usage(Repository):
    """Who called which operation on which day: what a contract change will break, known from the first request."""

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__(connection)
        self._pending: dict[tuple[str, str, str, str], int] = {}
        self._fields: dict[tuple[str, str, str, str], list[Any]] = {}

    def count(self, tenant_id: str, client: str, operation: str, day: str, calls: int) -> None:
        """Collect; `flush` writes one row per (tenant, client, operation, day) of a transaction."""
        key = (tenant_id, client, operation, day)
        self._pending[key] = self._pending.get(key, 0) + calls

    def sample(self, tenant_id: str, client: str, operation: str, day: str, fields: Iterable[str]) -> None:
        """Collect the fields of one body; `flush` writes them."""
        for name in fields:
            entry = self._fields.setdefault((tenant_id, client, operation, name), [day, 0])
            entry[1] += 1

    def flush(self) -> None:
        """Write what was collected, in one order for every process."""
        if self._fields:
            noted = ((named, self._fields[named]) for named in sorted(self._fields))
            _SAMPLE.later(self._c, [
                {**dict(zip(_FIELD_KEY, named, strict=True)), "last_day": day, "samples": more}
                for named, (day, more) in noted
            ])  # fmt: skip
        self._fields.clear()
        if self._pending:
            called = ((named, self._pending[named]) for named in sorted(self._pending))
            _COUNT.later(self._c, [{**dict(zip(_USAGE_KEY, named, strict=True)), "calls": calls} for named, calls in called])
        self._pending.clear()

    def page(self, tenant_id: str, after: tuple[str, ...] | None, limit: int) -> list[Row]:
        """By operation, client, day."""
        keys = (usage.c.operation, usage.c.client, usage.c.day)
        where: list[Any] = [usage.c.tenant_id == tenant_id]
        if after is not None:
            where.append(sa.tuple_(*keys) > sa.tuple_(*(sa.literal(part) for part in after)))
        return self._all(sa.select(usage).where(*where).order_by(*keys).limit(limit + 1))

    def callers(self, since_day: str) -> list[Row]:
        """Over all tenants, who called what since a day: tenant_id, client, operation, calls, last_day."""
        by = (usage.c.tenant_id, usage.c.client, usage.c.operation)
        counted = (sa.func.sum(usage.c.calls).label("calls"), sa.func.max(usage.c.day).label("last_day"))
        return self._all(sa.select(*by, *counted).where(usage.c.day >= since_day).group_by(*by).order_by(*by))

    def fields(self, since_day: str) -> list[Row]:
        """Over all tenants, which fields were seen since a day: tenant_id, client, operation (or event type), field."""
        columns = [usage_field.c[name] for name in _FIELD_KEY]
        return self._all(sa.select(*columns).where(usage_field.c.last_day >= since_day).order_by(*columns))


class Links(Repository):
    """Canonical id ↔ a system's own id."""

    def put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The newest external id counts. In one order for every process, and each link once (two would be one too many)."""
        newest = {tuple(row[name] for name in _LINK_KEY): row for row in rows}
        if newest:
            _PUT_LINKS.later(self._c, [newest[key] for key in sorted(newest)])

    def forget(self, tenant_id: str, connection_id: str, kind: str, canonical_id: str, external_id: str) -> None:
        where = (link.c.tenant_id == tenant_id, link.c.connection_id == connection_id, link.c.kind == kind,
                 link.c.canonical_id == canonical_id, link.c.external_id == external_id)  # fmt: skip
        self._c.execute(sa.delete(link).where(*where))

    def of(self, tenant_id: str, canonical_id: str) -> list[Row]:
        where = (link.c.tenant_id == tenant_id, link.c.canonical_id == canonical_id)
        return self._all(sa.select(link).where(*where).order_by(link.c.connection_id))

    def page(self, tenant_id: str, after: tuple[str, ...] | None, limit: int, **filters: str | None) -> list[Row]:
        """By connection, kind, canonical id."""
        keys = (link.c.connection_id, link.c.kind, link.c.canonical_id)
        where: list[Any] = [link.c[name] == value for name, value in filters.items() if value is not None]
        if after is not None:
            where.append(sa.tuple_(*keys) > sa.tuple_(*(sa.literal(part) for part in after)))
        statement = sa.select(link).where(link.c.tenant_id == tenant_id, *where)
        return self._all(statement.order_by(*keys).limit(limit + 1))


class Budgets(Repository):
    """What may go to a connection's system now: one row per connection, locked for every decision about it.

    Columns: `tat` (GCRA: theoretical arrival of the next request), `blocked_until` (the system said so), `open_until`
    (breaker), all in epoch seconds; `failures` in a row; `pace` (share of the rate that is used) and `paced_at`; `counts`
    (requests and errors per slice of a long window) and `held` (reads in hand).
    """

    def lock(self, tenant_id: str, connection_id: str) -> Row:
        """The row, locked until the transaction ends; made if there is none."""
        found = self.locking(tenant_id, connection_id)()
        if found is None:
            start = {"tenant_id": tenant_id, "connection_id": connection_id, **FRESH_BUDGET}
            self._insert_or_ignore(budget, [start], ["tat"])
            found = self._one(_LOCKED_BUDGET, of_tenant_id=tenant_id, of_connection_id=connection_id)
            assert found is not None
        return found

    def locking(self, tenant_id: str, connection_id: str) -> Callable[[], Row | None]:
        """As `lock`, where there is one; it is locked before whatever is asked after it is done."""
        asked = _LOCKED_BUDGET.later(self._c, of_tenant_id=tenant_id, of_connection_id=connection_id)
        return lambda: next(iter(asked.rows()), None)

    def get(self, tenant_id: str, connection_id: str) -> Row:
        """The row as it is; takes no lock."""
        found = self._one(_BUDGET, of_tenant_id=tenant_id, of_connection_id=connection_id)
        return found or {"tenant_id": tenant_id, "connection_id": connection_id, **FRESH_BUDGET}

    def save(self, row: Row) -> None:
        """Write a row that was locked."""
        where = (budget.c.tenant_id == row["tenant_id"], budget.c.connection_id == row["connection_id"])
        self._update(budget, where, {name: row[name] for name in FRESH_BUDGET})
