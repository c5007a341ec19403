"""Reading: how far each read has come, what systems were asked to send, and the runs."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hub.store.rows import Fixed, Repository, Row, given
from hub.store.tables import cursor, subscription, sync_run

_RAW_STATES = sa.text("SELECT state, count(*) FROM raw_input WHERE tenant_id = :tenant AND run_id = :run GROUP BY state")
#: Each raw input's messages, each message's deliveries, by index; PostgreSQL is told to, as it cannot know how few there are.
_DELIVERY_STATES = {
    "postgresql": sa.text(
        "WITH found AS MATERIALIZED (SELECT m.id FROM raw_input r, LATERAL (SELECT id FROM message WHERE tenant_id = :tenant"
        " AND raw_id = r.id OFFSET 0) m WHERE r.tenant_id = :tenant AND r.run_id = :run)"
        " SELECT d.state, count(*) FROM found, LATERAL (SELECT state FROM delivery WHERE tenant_id = :tenant"
        " AND message_id = found.id OFFSET 0) d GROUP BY d.state"
    ),
    "sqlite": sa.text(
        "SELECT d.state, count(*) FROM raw_input r JOIN message m ON m.tenant_id = r.tenant_id AND m.raw_id = r.id"
        " JOIN delivery d ON d.tenant_id = m.tenant_id AND d.message_id = m.id"
        " WHERE r.tenant_id = :tenant AND r.run_id = :run GROUP BY d.state"
    ),
}


_CURSORS_DUE = Fixed(
    sa.select(cursor.c.tenant_id, cursor.c.connection_id, cursor.c.object).where(
        cursor.c.next_run_at <= given(cursor.c.next_run_at, "now")
    )
)
_FULL_DUE = Fixed(
    sa.select(cursor.c.tenant_id, cursor.c.connection_id, cursor.c.object).where(
        cursor.c.full_at <= given(cursor.c.full_at, "now")
    )
)
_RUNNING = (sync_run.c.ended_at.is_(None), sync_run.c.state == "running")
_RUNS_DUE = Fixed(
    sa.select(sync_run)
    .where(*_RUNNING, sync_run.c.due_at <= given(sync_run.c.due_at, "now"))
    .order_by(sync_run.c.due_at)
    .limit(200)
)


class Cursors(Repository):
    """How far each read has come, saved in the transaction of the data it read."""

    def get(self, tenant_id: str, connection_id: str, name: str) -> Row | None:
        where = (cursor.c.tenant_id == tenant_id, cursor.c.connection_id == connection_id, cursor.c.object == name)
        return self._one(sa.select(cursor).where(*where))

    def put(self, row: Mapping[str, Any]) -> None:
        self._upsert(cursor, row, ("value", "updated_at", "next_run_at", "run"))

    def due(self, now: datetime) -> Callable[[], set[tuple[str, str, str]]]:
        """(tenant, connection, object) of the reads whose time has come; asked with whatever is asked next."""
        asked = _CURSORS_DUE.later(self._c, now=now)
        return lambda: {(row["tenant_id"], row["connection_id"], row["object"]) for row in asked.rows()}

    def hurry(self, tenant_id: str, connection_id: str, now: datetime) -> None:
        """Let everything of a connection that has been read before be read at once."""
        where = (cursor.c.tenant_id == tenant_id, cursor.c.connection_id == connection_id, cursor.c.next_run_at > now)
        self._update(cursor, where, {"next_run_at": now})

    def full_due(self, now: datetime) -> set[tuple[str, str, str]]:
        """(tenant, connection, object) of what is to be read in full now."""
        return {(row["tenant_id"], row["connection_id"], row["object"]) for row in _FULL_DUE.run(self._c, now=now)}

    def set_full(self, tenant_id: str, connection_id: str, name: str, at: datetime) -> None:
        """When a stream that has been read before is read in full next."""
        where = (cursor.c.tenant_id == tenant_id, cursor.c.connection_id == connection_id, cursor.c.object == name)
        self._update(cursor, where, {"full_at": at})

    def all(self, tenant_id: str) -> list[Row]:
        statement = sa.select(cursor).where(cursor.c.tenant_id == tenant_id)
        return self._all(statement.order_by(cursor.c.connection_id, cursor.c.object))


class Subscriptions(Repository):
    """What systems were asked to send, and whether they do."""

    def of(self, tenant_id: str, connection_id: str | None = None) -> list[Row]:
        """By connection and topic."""
        where = [subscription.c.tenant_id == tenant_id]
        where += [subscription.c.connection_id == connection_id] if connection_id is not None else []
        return self._all(sa.select(subscription).where(*where).order_by(subscription.c.connection_id, subscription.c.topic))

    def put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        changed = [column.name for column in subscription.c if not column.primary_key]
        for row in rows:
            self._upsert(subscription, row, changed)

    def forget(self, tenant_id: str, connection_id: str, topics: Sequence[str]) -> None:
        where = (subscription.c.tenant_id == tenant_id, subscription.c.connection_id == connection_id,
                 subscription.c.topic.in_(topics))  # fmt: skip
        self._c.execute(sa.delete(subscription).where(*where))


class Runs(Repository):
    """Reads as rows. What became of what they read is counted where it is: in raw inputs and deliveries."""

    def add(self, row: Mapping[str, Any]) -> None:
        self._c.execute(sa.insert(sync_run).values(dict(row)))

    def open(self, tenant_id: str, connection_id: str, name: str, kind: str) -> bool:
        """Whether a stream has a run of that kind that has not ended."""
        where = (sync_run.c.tenant_id == tenant_id, sync_run.c.ended_at.is_(None), sync_run.c.kind == kind,
                 sync_run.c.connection_id == connection_id, sync_run.c.object == name)  # fmt: skip
        return self._one(sa.select(sync_run.c.id).where(*where).limit(1)) is not None

    def get(self, tenant_id: str, run_id: str) -> Row | None:
        return self._one(sa.select(sync_run).where(sync_run.c.tenant_id == tenant_id, sync_run.c.id == run_id))

    def page(self, tenant_id: str, after: str | None, limit: int, **filters: Any) -> list[Row]:
        """Newest first."""
        where = [sync_run.c[name] == value for name, value in filters.items() if value is not None]
        return self._page(sync_run, tenant_id, where, after, limit)

    def due(self, now: datetime) -> list[Row]:
        """Runs that are to go on now, the longest waiting first."""
        return _RUNS_DUE.run(self._c, now=now)

    def save(self, tenant_id: str, run_id: str, states: Sequence[str], values: Mapping[str, Any]) -> bool:
        """False if it is in none of ``states`` any more: somebody has paused or ended it."""
        where = (sync_run.c.tenant_id == tenant_id, sync_run.c.id == run_id, sync_run.c.state.in_(states))
        return self._update(sync_run, where, values) == 1

    def abandon(self, tenant_id: str, connection_id: str, name: str, now: datetime) -> None:
        """End the polls of a stream that a process left behind; the next one has read on from their last page."""
        where = (sync_run.c.tenant_id == tenant_id, sync_run.c.ended_at.is_(None), sync_run.c.kind == "poll",
                 sync_run.c.connection_id == connection_id, sync_run.c.object == name)  # fmt: skip
        values = {"state": "read", "error": "the process ended; another poll went on", "updated_at": now, "ended_at": now}
        self._update(sync_run, where, values)

    def reckoning(self, tenant_id: str, run_id: str) -> dict[str, dict[str, int]]:
        """How many of a run's raw inputs (`raw`) and of their deliveries (`deliveries`) are in each state."""
        of = {"tenant": tenant_id, "run": run_id if self._c.dialect.name == "postgresql" else run_id.replace("-", "")}
        raws = self._c.execute(_RAW_STATES, of)
        states = self._c.execute(_DELIVERY_STATES[self._c.dialect.name], of)
        return {"raw": {row[0]: row[1] for row in raws}, "deliveries": {row[0]: row[1] for row in states}}
