"""Deliveries and their attempts: who has to get what, and every try.

States: pending → claimed → sending → applied | skipped | dead | discarded; back to pending (a retry is a row with a later
``available_at``) or to ambiguous (``probe``: look before anything is sent again). `OPEN` ones hold back later siblings.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hub.store.rows import Repository, Row
from hub.store.tables import attempt, connection, delivery, message

#: A dead letter is open too: what comes after it must not overtake the person who mends it.
OPEN = ("pending", "held", "claimed", "sending", "ambiguous", "dead")
WAITING = ("pending", "ambiguous")


class Deliveries(Repository):
    """One message for one connection (and flow)."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Ids of the inserted ones; a delivery exists once per (message, connection, flow)."""
        return [row["id"] for row in self._insert_or_ignore(delivery, rows, ["id"])]

    def _unblocked(self) -> sa.ColumnElement[bool]:
        earlier = delivery.alias("earlier")
        blocker = sa.select(sa.literal(1)).where(
            earlier.c.tenant_id == delivery.c.tenant_id,
            earlier.c.connection_id == delivery.c.connection_id,
            earlier.c.subject == delivery.c.subject,
            earlier.c.id < delivery.c.id,
            earlier.c.state.in_(OPEN),
        )
        paused = sa.select(sa.literal(1)).where(
            connection.c.tenant_id == delivery.c.tenant_id,
            connection.c.connection_id == delivery.c.connection_id,
            connection.c.state == "paused",
        )
        return sa.and_(~sa.exists(blocker), ~sa.exists(paused))

    def due(self, tenants: Sequence[str], now: datetime, stale: datetime, limit: int) -> list[Row]:
        """What the relay has to publish: waiting, due, not behind a sibling, and not published since ``stale``."""
        statement = (
            sa.select(delivery.c.tenant_id, delivery.c.id, delivery.c.connector, delivery.c.lane)
            .where(
                delivery.c.tenant_id.in_(tenants),
                delivery.c.state.in_(WAITING),
                delivery.c.available_at <= now,
                sa.or_(delivery.c.published_at.is_(None), delivery.c.published_at < stale),
                self._unblocked(),
            )
            .order_by(delivery.c.tenant_id, delivery.c.id)
            .limit(limit)
        )
        return self._all(statement)

    def mark_published(self, keys: Sequence[tuple[str, str]], now: datetime | None) -> None:
        """``now`` before publishing; None gives waiting ones back, so that the sweep finds them again."""
        for tenant_id in {key[0] for key in keys}:
            ids = [delivery_id for owner, delivery_id in keys if owner == tenant_id]
            where = (delivery.c.tenant_id == tenant_id, delivery.c.id.in_(ids), delivery.c.state.in_(WAITING))
            self._update(delivery, where, {"published_at": now})

    def claim(self, tenant_id: str, ids: Sequence[str], owner: str, now: datetime, lease_until: datetime) -> list[Row]:
        """Take deliveries that are waiting, due and unblocked; the fence rises with every claim."""
        locked = (
            sa.select(delivery.c.id)
            .where(
                delivery.c.tenant_id == tenant_id,
                delivery.c.id.in_(list(ids)),
                delivery.c.state.in_(WAITING),
                delivery.c.available_at <= now,
                self._unblocked(),
            )
            .with_for_update()  # waits: skipping a row that the relay is just marking would strand it
        )
        free = [row["id"] for row in self._all(locked)]
        if not free:
            return []
        statement = (
            sa.update(delivery)
            .where(delivery.c.tenant_id == tenant_id, delivery.c.id.in_(free))
            .values(state="claimed", lease_owner=owner, lease_until=lease_until, fence=delivery.c.fence + 1)
            .returning(delivery)
        )
        return self._all(statement)

    def _held_by(self, row: Row, now: datetime) -> tuple[Any, ...]:
        return (
            delivery.c.tenant_id == row["tenant_id"],
            delivery.c.id == row["id"],
            delivery.c.fence == row["fence"],
            delivery.c.lease_owner == row["lease_owner"],
            delivery.c.lease_until > now,
            delivery.c.state.in_(("claimed", "sending")),
        )

    def intend(self, row: Row, now: datetime, lease_until: datetime) -> bool:
        """Record the intent to send and renew the lease in one go; False if the claim is no longer ours."""
        return self._update(delivery, self._held_by(row, now), {"state": "sending", "lease_until": lease_until}) == 1

    def settle(self, row: Row, now: datetime, values: Mapping[str, Any]) -> bool:
        """End a claim; False if it is no longer ours (another worker decides then)."""
        where = (
            delivery.c.tenant_id == row["tenant_id"], delivery.c.id == row["id"], delivery.c.fence == row["fence"],
            delivery.c.state.in_(("claimed", "sending")),
        )  # fmt: skip
        released = {"lease_owner": None, "lease_until": None, "published_at": None}
        return self._update(delivery, where, {**released, **values}) == 1

    def expired(self, tenants: Sequence[str], now: datetime, owner_not: str | None = None) -> list[Row]:
        """Claims whose lease ran out, or whose owner is not ``owner_not`` (embedded start: every other owner is dead)."""
        gone: Any = delivery.c.lease_until < now
        if owner_not is not None:
            gone = sa.or_(gone, delivery.c.lease_owner != owner_not)
        where = (delivery.c.tenant_id.in_(tenants), delivery.c.state.in_(("claimed", "sending")), gone)
        return self._all(sa.select(delivery).where(*where).with_for_update(skip_locked=True))

    def forget_published(self, tenants: Sequence[str]) -> None:
        """The broker lost everything (memory://, at start): whatever waits is published again."""
        where = (delivery.c.tenant_id.in_(tenants), delivery.c.state.in_(WAITING))
        self._update(delivery, where, {"published_at": None})

    def get(self, tenant_id: str, delivery_id: str) -> Row | None:
        return self._one(sa.select(delivery).where(delivery.c.tenant_id == tenant_id, delivery.c.id == delivery_id))

    def of_message(self, tenant_id: str, message_id: str) -> list[Row]:
        where = (delivery.c.tenant_id == tenant_id, delivery.c.message_id == message_id)
        return self._all(sa.select(delivery).where(*where).order_by(delivery.c.id))

    def blocker(self, row: Row) -> Row | None:
        """The earlier open sibling that ``row`` waits behind, if any."""
        where = (
            delivery.c.tenant_id == row["tenant_id"], delivery.c.connection_id == row["connection_id"],
            delivery.c.subject == row["subject"], delivery.c.id < row["id"], delivery.c.state.in_(OPEN),
        )  # fmt: skip
        return self._one(sa.select(delivery).where(*where).order_by(delivery.c.id).limit(1))

    def change_state(self, tenant_id: str, delivery_id: str, states: Sequence[str], values: Mapping[str, Any]) -> bool:
        """A person's decision; False if the delivery is not in one of ``states``."""
        where = (delivery.c.tenant_id == tenant_id, delivery.c.id == delivery_id, delivery.c.state.in_(states))
        return self._update(delivery, where, values) == 1

    def release_held(self, tenant_id: str, message_id: str, state: str, now: datetime) -> int:
        """Let the held deliveries of a suspected duplicate go (``pending``) or end them (``discarded``)."""
        where = (delivery.c.tenant_id == tenant_id, delivery.c.message_id == message_id, delivery.c.state == "held")
        return self._update(delivery, where, {"state": state, "available_at": now})

    def page(self, tenant_id: str, after: str | None, limit: int, **filters: Any) -> list[Row]:
        where = []
        for name, value in filters.items():
            if value is not None:
                column = delivery.c[name]
                where.append(column.in_(value) if isinstance(value, list | tuple) else column == value)
        columns = [column for column in delivery.c if column.name != "corrected"]
        return self._page(delivery, tenant_id, where, after, limit, columns)

    def counts(self, tenant_id: str) -> list[Row]:
        """How many deliveries are in each state, by connection and cause."""
        columns = (delivery.c.connection_id, delivery.c.state, delivery.c.cause_code)
        statement = sa.select(*columns, sa.func.count().label("count")).where(delivery.c.tenant_id == tenant_id)
        return self._all(statement.group_by(*columns))

    def latencies(self, tenant_id: str, limit: int = 2000) -> list[float]:
        """Seconds from receipt to applied of the newest applied deliveries."""
        statement = (
            sa.select(message.c.received_at, delivery.c.settled_at)
            .join(message, sa.and_(message.c.tenant_id == delivery.c.tenant_id, message.c.id == delivery.c.message_id))
            .where(delivery.c.tenant_id == tenant_id, delivery.c.state == "applied")
            .order_by(delivery.c.id.desc())
            .limit(limit)
        )
        return [(row["settled_at"] - row["received_at"]).total_seconds() for row in self._all(statement)]

    def with_bodies(self, tenant_id: str, connection_id: str, states: Sequence[str]) -> list[Row]:
        """Deliveries of a connection in ``states`` with their messages' bodies, oldest first; for measuring."""
        statement = (
            sa.select(delivery, message.c.body)
            .join(message, sa.and_(message.c.tenant_id == delivery.c.tenant_id, message.c.id == delivery.c.message_id))
            .where(
                delivery.c.tenant_id == tenant_id,
                delivery.c.connection_id == connection_id,
                delivery.c.state.in_(list(states)),
            )
            .order_by(delivery.c.id)
        )
        return self._all(statement)


class Attempts(Repository):
    """Every try of a delivery, with each request it made."""

    def add(self, row: Mapping[str, Any]) -> None:
        self._c.execute(sa.insert(attempt).values(dict(row)))

    def update(self, tenant_id: str, attempt_id: str, values: Mapping[str, Any]) -> None:
        self._update(attempt, (attempt.c.tenant_id == tenant_id, attempt.c.id == attempt_id), values)

    def of_delivery(self, tenant_id: str, delivery_id: str) -> list[Row]:
        where = (attempt.c.tenant_id == tenant_id, attempt.c.delivery_id == delivery_id)
        return self._all(sa.select(attempt).where(*where).order_by(attempt.c.number, attempt.c.id))

    def unfinished(self, tenant_id: str, delivery_id: str) -> list[Row]:
        return [row for row in self.of_delivery(tenant_id, delivery_id) if row["ended_at"] is None]
