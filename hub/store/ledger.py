"""Records that prove and limit: audit chain, idempotency keys, usage, links, cursors, budgets."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from hub.store.rows import Repository, Row
from hub.store.tables import audit, audit_head, budget, cursor, idempotency, link, usage

GENESIS = "0" * 64
#: No request runs longer; an unanswered idempotency key older than this was left by a crash.
ABANDONED_AFTER = timedelta(seconds=120)


class Audit(Repository):
    """Append-only and hash-chained per tenant, written in the transaction of the change it records."""

    def append(self, tenant_id: str, at: datetime, actor: str, action: str, subject: str, detail: Mapping[str, Any]) -> int:
        """Returns the record's sequence number. The head row is locked until the transaction ends."""
        start = {"tenant_id": tenant_id, "sequence": 0, "digest": GENESIS}
        self._insert_or_ignore(audit_head, [start], ["sequence"])
        head = self._one(sa.select(audit_head).where(audit_head.c.tenant_id == tenant_id).with_for_update())
        assert head is not None
        record = {
            "tenant_id": tenant_id, "sequence": head["sequence"] + 1, "at": at, "actor": actor, "action": action,
            "subject": subject[:255], "detail": dict(detail), "previous": head["digest"],
        }  # fmt: skip
        record["digest"] = digest_of(record)
        self._c.execute(sa.insert(audit).values(record))
        moved = {"sequence": record["sequence"], "digest": record["digest"]}
        self._update(audit_head, (audit_head.c.tenant_id == tenant_id,), moved)
        return int(record["sequence"])

    def page(self, tenant_id: str, after: int | None, limit: int, subject: str | None = None) -> list[Row]:
        """Newest first."""
        statement = sa.select(audit).where(audit.c.tenant_id == tenant_id)
        if after is not None:
            statement = statement.where(audit.c.sequence < after)
        if subject is not None:
            statement = statement.where(audit.c.subject == subject)
        return self._all(statement.order_by(audit.c.sequence.desc()).limit(limit + 1))

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

    def count(self, tenant_id: str, client: str, operation: str, day: str, calls: int) -> None:
        key = {"tenant_id": tenant_id, "client": client, "operation": operation, "day": day}
        self._insert_or_ignore(usage, [{**key, "calls": 0}], ["calls"])
        where = tuple(usage.c[name] == value for name, value in key.items())
        self._update(usage, where, {"calls": usage.c.calls + calls})

    def of(self, tenant_id: str) -> list[Row]:
        statement = sa.select(usage).where(usage.c.tenant_id == tenant_id)
        return self._all(statement.order_by(usage.c.operation, usage.c.client, usage.c.day))


class Links(Repository):
    """Canonical id ↔ a system's own id."""

    def put(self, tenant_id: str, connection_id: str, kind: str, canonical_id: str, external_id: str, now: datetime) -> None:
        row = {
            "tenant_id": tenant_id, "connection_id": connection_id, "kind": kind, "canonical_id": canonical_id,
            "external_id": external_id, "created_at": now,
        }  # fmt: skip
        self._upsert(link, row, ("external_id",))

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


class Cursors(Repository):
    """How far each read has come, saved in the transaction of the data it read."""

    def get(self, tenant_id: str, connection_id: str, name: str) -> Row | None:
        where = (cursor.c.tenant_id == tenant_id, cursor.c.connection_id == connection_id, cursor.c.object == name)
        return self._one(sa.select(cursor).where(*where))

    def put(self, row: Mapping[str, Any]) -> None:
        self._upsert(cursor, row, ("value", "updated_at", "next_run_at", "run"))

    def all(self, tenant_id: str) -> list[Row]:
        statement = sa.select(cursor).where(cursor.c.tenant_id == tenant_id)
        return self._all(statement.order_by(cursor.c.connection_id, cursor.c.object))


class Budgets(Repository):
    """GCRA state per connection: the theoretical arrival time of the next request, in epoch seconds."""

    def lock(self, tenant_id: str, connection_id: str) -> Row:
        start = {"tenant_id": tenant_id, "connection_id": connection_id, "tat": 0.0, "blocked_until": 0.0}
        self._insert_or_ignore(budget, [start], ["tat"])
        where = (budget.c.tenant_id == tenant_id, budget.c.connection_id == connection_id)
        found = self._one(sa.select(budget).where(*where).with_for_update())
        assert found is not None
        return found

    def blocked_until(self, tenant_id: str, connection_id: str) -> float:
        """Epoch seconds; 0 if never blocked. Takes no lock."""
        where = (budget.c.tenant_id == tenant_id, budget.c.connection_id == connection_id)
        found = self._one(sa.select(budget.c.blocked_until).where(*where))
        return float(found["blocked_until"]) if found else 0.0

    def save(self, tenant_id: str, connection_id: str, **values: float) -> None:
        self._update(budget, (budget.c.tenant_id == tenant_id, budget.c.connection_id == connection_id), values)
