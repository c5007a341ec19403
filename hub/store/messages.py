"""Raw inputs and messages: what arrived and what it became."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hub.store.bulk import Bulk
from hub.store.rows import Repository, Row, given
from hub.store.tables import message, raw_input, tenant

#: In the query's own words, so that the partial index applies.
_RECEIVED = raw_input.c.state == sa.literal_column("'received'")


def _many(of_them: Any, _: Any) -> Any:
    of = sa.and_(message.c.tenant_id == of_them.c.tenant_id, message.c.id == of_them.c.id)
    return sa.select(message).join_from(of_them, message, of)


def _announced(of_them: Any, _: Any) -> Any:
    statement = sa.update(message).where(message.c.tenant_id == of_them.c.tenant_id, message.c.id == of_them.c.id)
    now = sa.bindparam("now", type_=message.c.published_at.type)
    return statement.values(published_at=now).returning(message.c.id)


_BY_SOURCE = sa.select(message).where(
    *(message.c[name] == given(message.c[name]) for name in ("tenant_id", "source", "source_id"))
)
_MANY = Bulk([message.c.tenant_id, message.c.id], _many)
_ANNOUNCED = Bulk([message.c.tenant_id, message.c.id], _announced)


class RawInputs(Repository):
    """What arrived, byte for byte. States: received → translated | ignored | quarantined → discarded."""

    def add(self, row: Mapping[str, Any]) -> tuple[str, bool]:
        """(id, created). The same source event again is counted on the first row and returns its id."""
        inserted = self._insert_or_ignore(raw_input, [row], ["id"])
        if inserted:
            return inserted[0]["id"], True
        same = (
            raw_input.c.tenant_id == row["tenant_id"],
            raw_input.c.connection_id == row["connection_id"],
            raw_input.c.kind == row["kind"],
            raw_input.c.source_event_id == row["source_event_id"],
        )
        self._update(raw_input, same, {"repeats": raw_input.c.repeats + 1})
        found = self._one(sa.select(raw_input.c.id).where(*same))
        assert found is not None
        return found["id"], False

    def add_many(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Rows of new source events; how many were not known. Those that are known stay as they are."""
        return sum(len(self._insert_or_ignore(raw_input, rows[at : at + 200], ["id"])) for at in range(0, len(rows), 200))

    def claim_due(self, tenant_id: str, owner: str, now: datetime, lease_until: datetime, limit: int) -> list[Row]:
        """Raw inputs of a tenant to translate, live before bulk, oldest first, leased to ``owner``."""
        due = (
            sa.select(raw_input.c.tenant_id, raw_input.c.id)
            .where(
                raw_input.c.tenant_id == tenant_id,
                _RECEIVED,
                raw_input.c.available_at <= now,
                sa.or_(raw_input.c.lease_until.is_(None), raw_input.c.lease_until < now),
            )
            .order_by(raw_input.c.lane.desc(), raw_input.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = self._all(due)
        if not rows:
            return []
        statement = (
            sa.update(raw_input)
            .where(raw_input.c.tenant_id.in_({row["tenant_id"] for row in rows}))
            .where(raw_input.c.id.in_([row["id"] for row in rows]))
            .values(lease_owner=owner, lease_until=lease_until, attempts=raw_input.c.attempts + 1)
            .returning(raw_input)
        )
        return sorted(self._all(statement), key=lambda row: row["id"])

    def tenants_due(self, now: datetime) -> list[str]:
        """Tenants with raw input to translate."""
        free = sa.or_(raw_input.c.lease_until.is_(None), raw_input.c.lease_until < now)
        where = (raw_input.c.tenant_id == tenant.c.tenant_id, _RECEIVED, raw_input.c.available_at <= now, free)
        due = sa.exists(sa.select(sa.literal(1)).where(*where))
        return [row["tenant_id"] for row in self._all(sa.select(tenant.c.tenant_id).where(due).order_by(tenant.c.tenant_id))]

    def unfinished_before(self, tenant_id: str, connection_id: str, raw_id: str) -> bool:
        """Whether the connection sent something earlier that is still being translated."""
        of = (raw_input.c.tenant_id == tenant_id, raw_input.c.connection_id == connection_id)
        where = (*of, _RECEIVED, raw_input.c.id < raw_id)
        return self._one(sa.select(raw_input.c.id).where(*where).limit(1)) is not None

    def renew(self, tenant_id: str, raw_id: str, owner: str, lease_until: datetime) -> bool:
        """Keep a claim for longer; False if it is no longer ours."""
        where = (raw_input.c.tenant_id == tenant_id, raw_input.c.id == raw_id, raw_input.c.lease_owner == owner, _RECEIVED)
        return self._update(raw_input, where, {"lease_until": lease_until}) == 1

    def settle(self, tenant_id: str, raw_id: str, owner: str, values: Mapping[str, Any]) -> bool:
        """End (or postpone) a translation; False if the lease has passed to somebody else."""
        where = (raw_input.c.tenant_id == tenant_id, raw_input.c.id == raw_id, raw_input.c.lease_owner == owner)
        return self._update(raw_input, where, {"lease_owner": None, "lease_until": None, **values}) == 1

    def get(self, tenant_id: str, raw_id: str) -> Row | None:
        return self._one(sa.select(raw_input).where(raw_input.c.tenant_id == tenant_id, raw_input.c.id == raw_id))

    def change_state(self, tenant_id: str, raw_id: str, states: Sequence[str], values: Mapping[str, Any]) -> bool:
        """A person's decision about a quarantined input; False if it is not in one of ``states``."""
        where = (raw_input.c.tenant_id == tenant_id, raw_input.c.id == raw_id, raw_input.c.state.in_(states))
        return self._update(raw_input, where, values) == 1

    def page(self, tenant_id: str, after: str | None, limit: int, **filters: Any) -> list[Row]:
        where = [raw_input.c[name] == value for name, value in filters.items() if value is not None]
        columns = [column for column in raw_input.c if column.name not in ("body", "corrected")]
        return self._page(raw_input, tenant_id, where, after, limit, columns)

    def counts(self, tenant_id: str) -> dict[str, int]:
        """How many raw inputs are in each state."""
        statement = sa.select(raw_input.c.state, sa.func.count()).where(raw_input.c.tenant_id == tenant_id)
        return {row[0]: row[1] for row in self._c.execute(statement.group_by(raw_input.c.state))}

    def release(self) -> None:
        """Give back the leases of a process that is known to be dead (embedded engine, at start)."""
        where = (_RECEIVED, raw_input.c.lease_owner.is_not(None))
        self._update(raw_input, where, {"lease_owner": None, "lease_until": None})


class Messages(Repository):
    """Canonical documents in their envelopes. Immutable but for ``state`` (routed, held, unrouted) and publishing."""

    def add(self, row: Mapping[str, Any]) -> tuple[Row, bool]:
        """(id and digest of the stored one, created). One message per (tenant, source, source_id)."""
        inserted = self._insert_or_ignore(message, [row], ["id", "digest"])
        if inserted:
            return inserted[0], True
        found = self.by_source(row["tenant_id"], row["source"], row["source_id"])
        assert found is not None
        return found, False

    def by_source(self, tenant_id: str, source: str, source_id: str) -> Row | None:
        return self._one(_BY_SOURCE, of_tenant_id=tenant_id, of_source=source, of_source_id=source_id)

    def get(self, tenant_id: str, message_id: str) -> Row | None:
        return self._one(sa.select(message).where(message.c.tenant_id == tenant_id, message.c.id == message_id))

    def many(self, tenant_id: str, ids: Sequence[str]) -> dict[str, Row]:
        """Messages by id."""
        keys = [{"tenant_id": tenant_id, "id": message_id} for message_id in set(ids)]
        return {row["id"]: row for row in _MANY.run(self._c, keys)} if keys else {}

    def with_fingerprint(self, tenant_id: str, fingerprint: str, not_id: str) -> Row | None:
        """The first message that says the same thing under another id."""
        where = (message.c.tenant_id == tenant_id, message.c.fingerprint == fingerprint, message.c.id != not_id)
        return self._one(sa.select(message).where(*where).order_by(message.c.id).limit(1))

    def about(self, tenant_id: str, subject: str) -> list[Row]:
        """Every message about an entity, oldest first (at most 500)."""
        where = (message.c.tenant_id == tenant_id, message.c.subject == subject)
        return self._all(sa.select(message).where(*where).order_by(message.c.id).limit(500))

    def find(self, tenant_id: str, text: str) -> list[Row]:
        """Messages whose id, source id, subject or raw source event is ``text`` (at most 20)."""
        by_raw = sa.select(raw_input.c.id).where(raw_input.c.tenant_id == tenant_id, raw_input.c.source_event_id == text)
        options = [message.c.source_id == text, message.c.subject == text, message.c.subject == f"sale/{text}",
                   message.c.raw_id.in_(by_raw)]  # fmt: skip
        if len(text) == 36 and text.count("-") == 4:
            options.append(message.c.id == text)
        statement = sa.select(message).where(message.c.tenant_id == tenant_id, sa.or_(*options))
        return self._all(statement.order_by(message.c.id).limit(20))

    def set_state(self, tenant_id: str, message_id: str, old: str, new: str) -> bool:
        where = (message.c.tenant_id == tenant_id, message.c.id == message_id, message.c.state == old)
        return self._update(message, where, {"state": new}) == 1

    def page(self, tenant_id: str, after: str | None, limit: int, **filters: Any) -> list[Row]:
        where = [message.c[name] == value for name, value in filters.items() if value is not None]
        columns = [column for column in message.c if column.name != "body"]
        return self._page(message, tenant_id, where, after, limit, columns)

    def closed(self, tenant_id: str, subjects: str, business_date: str) -> bool:
        """Whether a till whose sessions' subjects begin with ``subjects`` was closed for a business date."""
        of = (message.c.tenant_id == tenant_id, message.c.subject >= subjects, message.c.subject < f"{subjects}\uffff")
        where = (*of, message.c.type.like("till.closed.%"), message.c.business_date == business_date)
        return self._one(sa.select(message.c.id).where(*where).limit(1)) is not None

    def newest_at(self, tenant_id: str, types: Sequence[str]) -> datetime | None:
        """When the newest message of these types was received."""
        of = (message.c.tenant_id == tenant_id, message.c.type.in_(types))
        found = self._one(sa.select(message.c.received_at).where(*of).order_by(message.c.id.desc()).limit(1))
        return found["received_at"] if found else None

    def window(self, tenant_id: str, limit: int, since: datetime | None, until: datetime | None) -> Iterator[Row]:
        """The newest messages received in a time, whole, newest first; read piece by piece."""
        after: str | None = None
        where = [message.c.received_at >= since] if since else []
        where += [message.c.received_at < until] if until else []
        while limit > 0:
            rows = self._page(message, tenant_id, where, after, min(limit, 200))[: min(limit, 200)]
            yield from rows
            limit -= len(rows)
            if len(rows) < 200 and limit > 0:
                return
            after = rows[-1]["id"] if rows else None

    def unpublished(self, limit: int) -> list[Row]:
        """Messages that were not yet announced on the event exchange."""
        statement = sa.select(message).where(message.c.published_at.is_(None))
        return self._all(statement.order_by(message.c.tenant_id, message.c.id).limit(limit))

    def mark_published(self, keys: Sequence[tuple[str, str]], now: datetime) -> None:
        _ANNOUNCED.run(self._c, [{"tenant_id": owner, "id": message_id} for owner, message_id in keys], now=now)

    def counts(self, tenant_id: str) -> dict[str, int]:
        """How many messages there are of each type."""
        statement = sa.select(message.c.type, sa.func.count()).where(message.c.tenant_id == tenant_id)
        return {row[0]: row[1] for row in self._c.execute(statement.group_by(message.c.type))}

    def each(self, tenant_id: str, types: Sequence[str]) -> list[Row]:
        """Every message of ``types`` with its body, oldest first; for measuring."""
        where = (message.c.tenant_id == tenant_id, message.c.type.in_(types))
        return self._all(sa.select(message).where(*where).order_by(message.c.id))
