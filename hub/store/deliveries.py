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
IN_HAND = ("claimed", "sending")


def _state(table: Any, states: Sequence[str]) -> sa.ColumnElement[bool]:
    """``states`` in the query's text, so that the partial indexes of `tables` apply to a prepared statement too."""
    found: sa.ColumnElement[bool] = table.c.state.in_([sa.literal_column(f"'{state}'") for state in states])
    return found


def _of_entity(row: Mapping[str, Any]) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        delivery.c.tenant_id == row["tenant_id"], delivery.c.connection_id == row["connection_id"],
        delivery.c.subject == row["subject"],
    )  # fmt: skip


def _unblocked() -> sa.ColumnElement[bool]:
    """Nothing of the same entity and connection is open before it, or under way after it (a late commit may sort first)."""
    other = delivery.alias("other")
    same = (
        other.c.tenant_id == delivery.c.tenant_id,
        other.c.connection_id == delivery.c.connection_id,
        other.c.subject == delivery.c.subject,
        _state(other, OPEN),
    )
    # What has begun (ambiguous) ends before anything else begins, even if something older was committed meanwhile.
    waits = sa.or_(delivery.c.state != "ambiguous", _state(other, IN_HAND))
    before = sa.select(sa.literal(1)).where(*same, other.c.id < delivery.c.id, waits)
    after = sa.select(sa.literal(1)).where(*same, other.c.id > delivery.c.id, _state(other, (*IN_HAND, "ambiguous")))
    paused = sa.select(sa.literal(1)).where(
        connection.c.tenant_id == delivery.c.tenant_id,
        connection.c.connection_id == delivery.c.connection_id,
        connection.c.state == "paused",
    )
    return sa.and_(~sa.exists(before), ~sa.exists(after), ~sa.exists(paused))


#: Built once: an expression never changes, and building it costs more than running it.
_UNBLOCKED = _unblocked()


class Deliveries(Repository):
    """One message for one connection (and flow)."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Ids of the inserted ones; a delivery exists once per (message, connection, flow).

        One that comes behind an open sibling is marked so: looking for what is due never reads it, however many there are.
        """
        marked = [{**row, "behind": self._has_open(row)} for row in rows]
        return [row["id"] for row in self._insert_or_ignore(delivery, marked, ["id"])]

    def _has_open(self, row: Mapping[str, Any]) -> bool:
        return self._one(sa.select(delivery.c.id).where(*_of_entity(row), _state(delivery, OPEN)).limit(1)) is not None

    def promote(self, row: Mapping[str, Any]) -> None:
        """An entity's delivery has ended: the next open one may go."""
        following = sa.select(delivery.c.id).where(*_of_entity(row), _state(delivery, OPEN)).order_by(delivery.c.id).limit(1)
        where = (delivery.c.tenant_id == row["tenant_id"], delivery.c.id == following.scalar_subquery(), delivery.c.behind)
        self._update(delivery, where, {"behind": False})

    def promote_all(self) -> int:
        """Let go what is marked as behind and is not: its sibling ended while it was being committed. Returns how many."""
        other = delivery.alias("other")
        before = sa.select(sa.literal(1)).where(
            other.c.tenant_id == delivery.c.tenant_id, other.c.connection_id == delivery.c.connection_id,
            other.c.subject == delivery.c.subject, _state(other, OPEN), other.c.id < delivery.c.id,
        )  # fmt: skip
        where = (_state(delivery, WAITING), delivery.c.behind, ~sa.exists(before))
        return self._update(delivery, where, {"behind": False})

    def due_connections(self, now: datetime) -> list[Row]:
        """Active connections with something to publish: tenant_id, connection_id, connector, settings."""
        due = sa.select(sa.literal(1)).where(
            delivery.c.tenant_id == connection.c.tenant_id,
            delivery.c.connection_id == connection.c.connection_id,
            _state(delivery, WAITING),
            delivery.c.published_at.is_(None),
            ~delivery.c.behind,
            delivery.c.available_at <= now,
        )
        columns = (connection.c.tenant_id, connection.c.connection_id, connection.c.connector, connection.c.settings)
        return self._all(sa.select(*columns).where(connection.c.state == "active", sa.exists(due)))

    def under_way(self, tenant_id: str, connection_id: str, lane: str | None = None) -> int:
        """How many deliveries of a connection are published and not settled."""
        where = [
            delivery.c.tenant_id == tenant_id, delivery.c.connection_id == connection_id,
            _state(delivery, (*WAITING, *IN_HAND)), delivery.c.published_at.is_not(None),
        ]  # fmt: skip
        if lane is not None:
            where.append(delivery.c.lane == lane)
        return int(self._c.execute(sa.select(sa.func.count()).where(*where)).scalar_one())

    def take_due(self, tenant_id: str, connection_id: str, lane: str, now: datetime, limit: int) -> list[Row]:
        """Mark up to ``limit`` deliveries of a lane as published, oldest first, and return them; a row is taken once."""
        chosen = (
            sa.select(delivery.c.id)
            .where(
                delivery.c.tenant_id == tenant_id, delivery.c.connection_id == connection_id, delivery.c.lane == lane,
                _state(delivery, WAITING), delivery.c.published_at.is_(None), ~delivery.c.behind,
                delivery.c.available_at <= now, _UNBLOCKED,
            )
            .order_by(delivery.c.available_at, delivery.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True, of=delivery)
        )  # fmt: skip
        ids = [row["id"] for row in self._all(chosen)]
        if ids:
            self._update(delivery, (delivery.c.tenant_id == tenant_id, delivery.c.id.in_(ids)), {"published_at": now})
        return [{"tenant_id": tenant_id, "connection_id": connection_id, "id": found, "lane": lane} for found in ids]

    def give_back(self, keys: Sequence[tuple[str, str]]) -> None:
        """(tenant, id) of published ones that nobody works on after all: the sweep finds them again."""
        for tenant_id in {key[0] for key in keys}:
            ids = [delivery_id for owner, delivery_id in keys if owner == tenant_id]
            where = (delivery.c.tenant_id == tenant_id, delivery.c.id.in_(ids), _state(delivery, WAITING))
            self._update(delivery, where, {"published_at": None})

    def forget_published(self, before: datetime) -> int:
        """Give back what was published before then and not claimed: the broker lost it, or a worker died with it in memory."""
        where = (_state(delivery, WAITING), delivery.c.published_at < before)
        return self._update(delivery, where, {"published_at": None})

    def claim(self, tenant_id: str, ids: Sequence[str], owner: str, now: datetime, lease_until: datetime) -> list[Row]:
        """Take deliveries that are waiting, due and unblocked; the fence rises with every claim."""
        locked = (
            sa.select(delivery.c.id)
            .where(
                delivery.c.tenant_id == tenant_id,
                delivery.c.id.in_(list(ids)),
                _state(delivery, WAITING),
                delivery.c.available_at <= now,
                _UNBLOCKED,
            )
            .order_by(delivery.c.id)
            .with_for_update(of=delivery)  # waits: skipping a row that the relay is just marking would strand it
        )
        free = [row["id"] for row in self._all(locked)]
        if not free:
            return []
        statement = (
            sa.update(delivery)
            .where(delivery.c.tenant_id == tenant_id, delivery.c.id.in_(free), _state(delivery, WAITING))
            .values(state="claimed", lease_owner=owner, lease_until=lease_until, fence=delivery.c.fence + 1)
            .returning(delivery)
        )
        return sorted(self._all(statement), key=lambda row: str(row["id"]))

    def in_hand(self, tenant_id: str, connection_id: str, now: datetime) -> int:
        """How many deliveries of a connection some worker has claimed and still holds."""
        where = (
            delivery.c.tenant_id == tenant_id, delivery.c.connection_id == connection_id, _state(delivery, IN_HAND),
            _state(delivery, OPEN), delivery.c.lease_until > now,
        )  # fmt: skip
        return int(self._c.execute(sa.select(sa.func.count()).where(*where)).scalar_one())

    def newest_applied(self, row: Row) -> datetime | None:
        """The event time of the newest state of an entity that the connection has, None if none was applied."""
        where = (
            delivery.c.tenant_id == row["tenant_id"], delivery.c.connection_id == row["connection_id"],
            delivery.c.subject == row["subject"], delivery.c.type == row["type"], delivery.c.state == "applied",
            delivery.c.event_at > row["event_at"],
        )  # fmt: skip
        statement = sa.select(delivery.c.event_at).where(*where).order_by(delivery.c.event_at.desc()).limit(1)
        found = self._one(statement)
        return found["event_at"] if found else None

    def _held_by(self, row: Row, now: datetime) -> tuple[Any, ...]:
        return (
            delivery.c.tenant_id == row["tenant_id"],
            delivery.c.id == row["id"],
            delivery.c.fence == row["fence"],
            delivery.c.lease_owner == row["lease_owner"],
            delivery.c.lease_until > now,
            _state(delivery, IN_HAND),
        )

    def intend(self, row: Row, now: datetime, lease_until: datetime) -> bool:
        """Record the intent to send and renew the lease in one go; False if the claim is no longer ours."""
        return self._update(delivery, self._held_by(row, now), {"state": "sending", "lease_until": lease_until}) == 1

    def renew(self, row: Row, now: datetime, lease_until: datetime) -> bool:
        """Keep a claim for longer; False if it is no longer ours."""
        return self._update(delivery, self._held_by(row, now), {"lease_until": lease_until}) == 1

    def settle(self, row: Row, now: datetime, values: Mapping[str, Any]) -> bool:
        """End a claim; False if it is no longer ours (another worker decides then)."""
        where = (
            delivery.c.tenant_id == row["tenant_id"], delivery.c.id == row["id"], delivery.c.fence == row["fence"],
            _state(delivery, IN_HAND),
        )  # fmt: skip
        released = {"lease_owner": None, "lease_until": None, "published_at": None}
        if not self._update(delivery, where, {**released, **values}):
            return False
        if values["state"] not in OPEN:
            self.promote(row)
        return True

    def expired(self, now: datetime, owner_not: str | None = None, limit: int = 500) -> list[Row]:
        """Claims whose lease ran out, or whose owner is not ``owner_not`` (embedded start: every other owner is dead)."""
        gone: Any = delivery.c.lease_until < now
        if owner_not is not None:
            gone = sa.or_(gone, delivery.c.lease_owner != owner_not)
        where = (_state(delivery, IN_HAND), gone)
        return self._all(sa.select(delivery).where(*where).limit(limit).with_for_update(skip_locked=True))

    def get(self, tenant_id: str, delivery_id: str) -> Row | None:
        return self._one(sa.select(delivery).where(delivery.c.tenant_id == tenant_id, delivery.c.id == delivery_id))

    def of_message(self, tenant_id: str, message_id: str) -> list[Row]:
        where = (delivery.c.tenant_id == tenant_id, delivery.c.message_id == message_id)
        return self._all(sa.select(delivery).where(*where).order_by(delivery.c.id))

    def blocker(self, row: Row) -> Row | None:
        """The earlier open sibling that ``row`` waits behind, if any."""
        where = (
            delivery.c.tenant_id == row["tenant_id"], delivery.c.connection_id == row["connection_id"],
            delivery.c.subject == row["subject"], delivery.c.id < row["id"], _state(delivery, OPEN),
        )  # fmt: skip
        return self._one(sa.select(delivery).where(*where).order_by(delivery.c.id).limit(1))

    def change_state(self, tenant_id: str, delivery_id: str, states: Sequence[str], values: Mapping[str, Any]) -> bool:
        """A person's decision; False if the delivery is not in one of ``states``."""
        where = (delivery.c.tenant_id == tenant_id, delivery.c.id == delivery_id, delivery.c.state.in_(states))
        if not self._update(delivery, where, values):
            return False
        if values["state"] not in OPEN and (row := self.get(tenant_id, delivery_id)):
            self.promote(row)
        return True

    def release_held(self, tenant_id: str, message_id: str, state: str, now: datetime) -> int:
        """Let the held deliveries of a suspected duplicate go (``pending``) or end them (``discarded``)."""
        where = (delivery.c.tenant_id == tenant_id, delivery.c.message_id == message_id, delivery.c.state == "held")
        count = self._update(delivery, where, {"state": state, "available_at": now})
        if state not in OPEN:
            for row in self.of_message(tenant_id, message_id):
                self.promote(row)
        return count

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

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._c.execute(sa.insert(attempt), [dict(row) for row in rows])

    def update(self, tenant_id: str, attempt_id: str, values: Mapping[str, Any]) -> None:
        self._update(attempt, (attempt.c.tenant_id == tenant_id, attempt.c.id == attempt_id), values)

    def end(self, tenant_id: str, attempt_id: str, values: Mapping[str, Any]) -> None:
        """End an attempt unless it has ended."""
        where = (attempt.c.tenant_id == tenant_id, attempt.c.id == attempt_id, attempt.c.ended_at.is_(None))
        self._update(attempt, where, values)

    def of_delivery(self, tenant_id: str, delivery_id: str) -> list[Row]:
        where = (attempt.c.tenant_id == tenant_id, attempt.c.delivery_id == delivery_id)
        return self._all(sa.select(attempt).where(*where).order_by(attempt.c.number, attempt.c.id))

    def unfinished(self, tenant_id: str, delivery_id: str) -> list[Row]:
        return [row for row in self.of_delivery(tenant_id, delivery_id) if row["ended_at"] is None]
