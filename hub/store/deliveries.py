"""Deliveries: who has to get what, and how far it is (`states`)."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from hub.store import states
from hub.store.bulk import Bulk, inserted
from hub.store.rows import Fixed, Repository, Row
from hub.store.rows import given as given_value
from hub.store.states import IN_HAND, NOT_BEGUN, OPEN, STATES, WAITING, in_states, paused, same_entity, unblocked
from hub.store.states import due as is_due
from hub.store.tables import delivery, message


def _given_one(given: Any) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(delivery.c[name] == given.c[name] for name in ("tenant_id", "id"))


def _columns(table: sa.Table, *names: str) -> list[Any]:
    return [table.c[name] for name in names]


#: What the end of a claim says about its delivery.
_SETTLED = (
    "state",
    "cause_code",
    "cause",
    "remedy",
    "available_at",
    "probe",
    "attempts",
    "failures",
    "external_id",
    "settled_at",
)


def _held(given: Any) -> tuple[Any, ...]:
    """The claim is still ours, as given: nobody else has it, and its lease has not run out."""
    mine = tuple(delivery.c[name] == given.c[name] for name in ("tenant_id", "id", "fence", "lease_owner"))
    return (
        *mine,
        delivery.c.lease_until > sa.bindparam("now", type_=delivery.c.lease_until.type),
        in_states(delivery, IN_HAND),
    )


def _keep(given: Any, _: Any = None, **values: Any) -> Any:
    until = sa.bindparam("until", type_=delivery.c.lease_until.type)
    statement = sa.update(delivery).where(*_held(given)).values(lease_until=until, **values)
    return statement.returning(delivery.c.tenant_id, delivery.c.id)


def _take(given: Any, _: Any) -> Any:
    due = delivery.c.available_at <= sa.bindparam("now", type_=delivery.c.available_at.type)
    locked = (
        sa.select(delivery.c.tenant_id, delivery.c.id)
        .join(given, sa.and_(*_given_one(given)))
        .where(in_states(delivery, WAITING), due, unblocked(), ~paused())
        .order_by(delivery.c.id)
        .with_for_update(of=delivery)  # waits: skipping a row that the relay is just marking would strand it
        .cte("locked")
    )
    until = sa.bindparam("until", type_=delivery.c.lease_until.type)
    now = sa.bindparam("now", type_=delivery.c.available_at.type)
    claimed = {"state": sa.bindparam("state_now"), "lease_owner": sa.bindparam("owner"), "lease_until": until,
               "fence": delivery.c.fence + 1, "published_at": sa.func.coalesce(delivery.c.published_at, now)}  # fmt: skip
    statement = sa.update(delivery).where(*_given_one(locked), in_states(delivery, WAITING))
    return statement.values(claimed).returning(delivery)


def _give_back(given: Any, _: Any) -> Any:
    statement = sa.update(delivery).where(*_given_one(given), in_states(delivery, WAITING))
    return statement.values(published_at=None)


def _settle(given: Any, _: Any) -> Any:
    # The owner too: a claim that a crash of the database has undone gave its number to somebody else's.
    fenced = (delivery.c[name] == given.c[name] for name in ("tenant_id", "id", "fence", "lease_owner"))
    released = {"lease_owner": None, "lease_until": None, "published_at": None}
    statement = sa.update(delivery).where(*fenced, in_states(delivery, IN_HAND))
    return statement.values({**released, **{name: given.c[name] for name in _SETTLED}}).returning(
        delivery.c.tenant_id, delivery.c.id
    )


def _promote(given: Any, _: Any) -> Any:
    """The first open delivery of each given entity goes, if it was behind another."""
    first = delivery.alias("first")
    following = sa.select(first.c.id).where(*same_entity(first, given), in_states(first, OPEN)).order_by(first.c.id).limit(1)
    of = (delivery.c.tenant_id == given.c.tenant_id, delivery.c.id == following.correlate(given).scalar_subquery())
    return sa.update(delivery).where(*of, delivery.c.behind).values(behind=False)


def _newest(given: Any, _: Any) -> Any:
    newer = (*same_entity(delivery, given), delivery.c.type == given.c.type, delivery.c.event_at > given.c.event_at)
    applied = sa.and_(*newer, delivery.c.state == sa.literal_column("'applied'"))
    newest = sa.select(given.c.id, sa.func.max(delivery.c.event_at).label("event_at"))
    return newest.join_from(given, delivery, applied).group_by(given.c.id)


#: What a new delivery says; the rest is empty.
_NEW = tuple(column.name for column in delivery.c if column.name not in ("behind", "corrected", "correction"))


def _add(given: Any, insert: Any) -> Any:
    """The insert that marks what comes behind an open sibling; nothing sees the rows of its own statement (``behind``)."""
    other = delivery.alias("other")
    with_open = sa.exists(sa.select(sa.literal(1)).where(*same_entity(other, given), in_states(other, OPEN)).correlate(given))
    behind = sa.or_(given.c.behind, with_open)
    names = [name for name in _NEW if name != "published_at"]
    published = sa.case((~behind, given.c.published_at))
    statement = inserted(delivery, names, given, insert, behind=behind, published_at=published)
    return statement.on_conflict_do_nothing().returning(delivery.c.id, delivery.c.behind)


_KEY = _columns(delivery, "tenant_id", "id")
_TAKE = Bulk(_KEY, _take)
_GIVE_BACK = Bulk(_KEY, _give_back)
_CLAIM = _columns(delivery, "tenant_id", "id", "fence", "lease_owner")
_ENTITY = ("tenant_id", "connection_id", "subject")
_INTEND = Bulk(_CLAIM, lambda given, _: _keep(given, state="sending"))
_RENEW = Bulk(_CLAIM, _keep)
_SETTLE = Bulk([*_CLAIM, *_columns(delivery, *_SETTLED)], _settle)
_PROMOTE = Bulk(_columns(delivery, *_ENTITY), _promote)
_NEWEST = Bulk(_columns(delivery, *_ENTITY, "id", "type", "event_at"), _newest)
_ADD = Bulk(_columns(delivery, *_NEW, "behind"), _add)

_OF_CONNECTION = tuple(delivery.c[name] == given_value(delivery.c[name]) for name in ("tenant_id", "connection_id"))


_BULK_DUE = sa.select(sa.literal("due"), sa.func.count().label("count")).select_from(
    sa.select(delivery.c.id)
    .where(
        *_OF_CONNECTION, delivery.c.lane == sa.literal_column("'bulk'"), *is_due(given_value(delivery.c.available_at, "now"))
    )
    .limit(1)
    .subquery()
)
_UNDER_WAY = Fixed(sa.union_all(
    sa.select(delivery.c.lane, sa.func.count().label("count"))
    .where(*_OF_CONNECTION, in_states(delivery, (*WAITING, *IN_HAND)), delivery.c.published_at.is_not(None))
    .group_by(delivery.c.lane),
    _BULK_DUE,
))  # fmt: skip
_IN_HAND_NOW = Fixed(sa.select(delivery.c.lane, sa.func.count().label("count")).where(
    *_OF_CONNECTION, in_states(delivery, IN_HAND), in_states(delivery, OPEN),
    delivery.c.lease_until > given_value(delivery.c.lease_until, "now"),
).group_by(delivery.c.lane))  # fmt: skip


def _take_due(arrays: bool = False) -> Any:
    """Looks at the next that are due, in their order: what may go is published, what may not is marked as behind a sibling.

    In two steps: asked for the first that are due *and* unblocked, a planner expects none and reads the whole backlog. The
    second goes by their ids and by nothing else: asked in words that fit a partial index (or for ids that are a query's
    rows, not an array's) it would read the backlog once more for each of its rows.
    """
    now, room = given_value(delivery.c.available_at, "now"), sa.bindparam("room", type_=sa.Integer)
    due = (
        sa.select(delivery.c.id)
        .where(*_OF_CONNECTION, delivery.c.lane == given_value(delivery.c.lane), *is_due(now))
        .order_by(delivery.c.available_at, delivery.c.id)
        .limit(room * 2 + 20)  # another process may be taking the first of them
    )
    if arrays:
        ids = sa.func.array(due.scalar_subquery(), type_=postgresql.ARRAY(delivery.c.id.type))
        chosen = delivery.c.id == sa.any_(ids)
    else:
        chosen = delivery.c.id.in_(sa.select(due.cte("due").c.id))
    this_tenant = delivery.c.tenant_id == given_value(delivery.c.tenant_id)
    free = unblocked()
    goes_or_waits = sa.or_(delivery.c.state == "pending", free)  # an ambiguous one waits for what is in hand, and for no mark
    still = sa.and_(in_states(delivery, WAITING), delivery.c.published_at.is_(None), ~delivery.c.behind)
    unchanged = sa.case((still, sa.true()), else_=sa.false())
    looked_at = (
        sa.select(delivery.c.id, free.label("free"))
        .where(this_tenant, chosen, unchanged, goes_or_waits, ~paused())
        .order_by(delivery.c.available_at, delivery.c.id)
        .limit(room)
        .with_for_update(skip_locked=True, of=delivery)
        .cte("looked_at")
    )
    mark = sa.update(delivery).where(this_tenant, delivery.c.id == looked_at.c.id)
    marked = mark.values(published_at=sa.case((looked_at.c.free, now)), behind=~looked_at.c.free)
    return marked.returning(
        delivery.c.tenant_id, delivery.c.connection_id, delivery.c.id, delivery.c.lane, delivery.c.available_at,
        delivery.c.behind,
    )  # fmt: skip


_TAKE_DUE, _TAKE_DUE_BY_ARRAY = Fixed(_take_due()), Fixed(_take_due(arrays=True))


class Deliveries(Repository):
    """One message for one connection (and flow)."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
        """Of the inserted ones, by id, whether it waits behind a sibling. One exists once per (message, connection, flow).

        One that comes behind an open sibling is marked so: looking for what is due never reads it, however many there are. It
        does not count as published, whatever its row says.
        """
        if not rows:
            return {}
        entities: set[Any] = set()
        marked = []
        for row in rows:
            entity = tuple(row[name] for name in _ENTITY)
            marked.append({**row, "behind": entity in entities})
            entities.add(entity)
        return {row["id"]: row["behind"] for row in _ADD.run(self._c, marked)}

    def promote(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Deliveries of these entities have ended: the next open one of each may go."""
        _PROMOTE.later(self._c, rows)

    def not_begun(self, tenant_id: str) -> list[Row]:
        """What waits, for whatever: id, message_id, subject."""
        where = (delivery.c.tenant_id == tenant_id, in_states(delivery, OPEN), in_states(delivery, NOT_BEGUN))
        return self._all(sa.select(*_columns(delivery, "id", "message_id", "subject")).where(*where))

    def follow(self, tenant_id: str, subjects: Mapping[str, str]) -> None:
        """Let what waits go by another subject (by delivery id), behind what is open there before it."""
        rows = [{"tenant_id": tenant_id, "id": identity, "subject": subject} for identity, subject in subjects.items()]
        self.promote(states.FOLLOW.run(self._c, rows))

    def promote_all(self) -> int:
        """Let go what is marked as behind and is not: its sibling ended while it was being committed. Returns how many."""
        return len(states.PROMOTE_ALL.run(self._c))

    def due_connections(self, now: datetime) -> list[Row]:
        """Active connections with something to publish: tenant_id, connection_id, connector, settings."""
        return states.DUE_CONNECTIONS.run(self._c, now=now)

    def with_due(
        self, connections: Sequence[tuple[str, str]], now: datetime, lanes: tuple[str, ...] = ("live", "bulk")
    ) -> list[tuple[str, str]]:  # fmt: skip
        """Those of these connections that have something to publish in these lanes."""
        rows = [{"tenant_id": tenant_id, "connection_id": connection_id} for tenant_id, connection_id in connections]
        found = states.WITH_DUE[lanes].run(self._c, rows, now=now) if rows else []
        return [(row["tenant_id"], row["connection_id"]) for row in found]

    def any_live(self, since_id: str) -> bool:
        """Whether any live delivery of any tenant was made since then (`hub.store.ids.first_id`)."""
        return bool(states.ANY_LIVE.run(self._c, of_id=since_id))

    def under_way(self, tenant_id: str, connection_id: str, now: datetime) -> dict[str, int]:
        """By lane, how many deliveries of a connection are published and not settled; ``due``: 1 if bulk work waits."""
        found = self._all(_UNDER_WAY, of_tenant_id=tenant_id, of_connection_id=connection_id, now=now)
        return {row["lane"]: row["count"] for row in found}

    def take_due(self, tenant_id: str, connection_id: str, lane: str, now: datetime, limit: int) -> list[Row]:
        """Mark up to ``limit`` deliveries of a lane as published, oldest first, and return them; a row is taken once."""
        of = {"of_tenant_id": tenant_id, "of_connection_id": connection_id, "of_lane": lane}
        taken: list[Row] = []
        statement = _TAKE_DUE_BY_ARRAY if self._postgres else _TAKE_DUE
        while len(taken) < limit:
            found = self._all(statement, **of, now=now, room=limit - len(taken))
            taken += [row for row in found if not row["behind"]]
            if not any(row["behind"] for row in found):
                break
        return sorted(taken, key=lambda row: (row["available_at"], row["id"]))

    def give_back(self, keys: Sequence[tuple[str, str]]) -> None:
        """(tenant, id) of published ones that nobody works on after all: the sweep finds them again."""
        _GIVE_BACK.later(self._c, [{"tenant_id": tenant_id, "id": delivery_id} for tenant_id, delivery_id in keys])

    def forget_published(self, before: datetime) -> int:
        """Give back what was published before then and not claimed: the broker lost it, or a worker died with it in memory."""
        return len(states.FORGET_PUBLISHED.run(self._c, before=before))

    def claim(
        self, tenant_id: str, ids: Sequence[str], owner: str, now: datetime, lease_until: datetime, intended: bool = False
    ) -> list[Row]:  # fmt: skip
        """Take deliveries that are waiting, due and unblocked; the fence rises with every claim.

        ``intended``: they are sent at once, so that this is the intent to send, too.
        """
        return self.claiming(tenant_id, ids, owner, now, lease_until, intended)()

    def claiming(
        self, tenant_id: str, ids: Sequence[str], owner: str, now: datetime, lease_until: datetime, intended: bool = False
    ) -> Callable[[], list[Row]]:  # fmt: skip
        """As `claim`; which they are may be asked after the commit, which then costs no round trip of its own."""
        keys = [{"tenant_id": tenant_id, "id": delivery_id} for delivery_id in ids]
        state = "sending" if intended else "claimed"
        found = _TAKE.later(self._c, keys, now=now, until=lease_until, owner=owner, state_now=state)
        return lambda: sorted(found.rows(), key=lambda row: str(row["id"]))

    def in_hand(self, tenant_id: str, connection_id: str, now: datetime) -> Counter[str]:
        """By lane, how many deliveries of a connection some worker has claimed and still holds."""
        return self.counting(tenant_id, connection_id, now)()

    def counting(self, tenant_id: str, connection_id: str, now: datetime) -> Callable[[], Counter[str]]:
        """As `in_hand`; counted when whatever was asked before has been done."""
        found = _IN_HAND_NOW.later(self._c, of_tenant_id=tenant_id, of_connection_id=connection_id, now=now)
        return lambda: Counter({row["lane"]: row["count"] for row in found.rows()})

    def newest_applied(self, rows: Sequence[Row]) -> dict[str, datetime]:
        """By delivery id: the event time of a newer state of its entity that the connection has. Absent: there is none."""
        return {row["id"]: row["event_at"] for row in _NEWEST.run(self._c, rows)} if rows else {}

    def intend(self, rows: Sequence[Row], now: datetime, lease_until: datetime) -> set[tuple[str, str]]:
        """Record the intent to send and renew the leases in one go; (tenant, id) of the claims that are still ours."""
        return _keys(_INTEND.run(self._c, rows, now=now, until=lease_until))

    def renew(self, rows: Sequence[Row], now: datetime, lease_until: datetime) -> set[tuple[str, str]]:
        """Keep claims for longer; (tenant, id) of those that are still ours."""
        return _keys(_RENEW.run(self._c, rows, now=now, until=lease_until))

    def settle(self, ends: Sequence[tuple[Row, Mapping[str, Any]]]) -> set[tuple[str, str]]:
        """End claims, each with what changes in its row; (tenant, id) of those that were still ours (else another decides)."""
        rows = [{**row, **values} for row, values in ends]
        settled = _keys(_SETTLE.run(self._c, rows))
        ended = [row for row in rows if row["state"] not in OPEN and (row["tenant_id"], row["id"]) in settled]
        if ended:
            self.promote(ended)
        return settled

    def expired(self, now: datetime, owner_not: str | None = None, limit: int = 500) -> list[Row]:
        """Claims whose lease ran out, or whose owner is not ``owner_not`` (embedded start: every other owner is dead)."""
        return states.EXPIRED.run(self._c, now=now, owner_not=owner_not, most=limit)

    def get(self, tenant_id: str, delivery_id: str) -> Row | None:
        return self._one(sa.select(delivery).where(delivery.c.tenant_id == tenant_id, delivery.c.id == delivery_id))

    def of_message(self, tenant_id: str, message_id: str) -> list[Row]:
        where = (delivery.c.tenant_id == tenant_id, delivery.c.message_id == message_id)
        return self._all(sa.select(delivery).where(*where).order_by(delivery.c.id))

    def blocker(self, row: Row) -> Row | None:
        """The earlier open sibling that ``row`` waits behind, if any."""
        where = (
            delivery.c.tenant_id == row["tenant_id"], delivery.c.connection_id == row["connection_id"],
            delivery.c.subject == row["subject"], delivery.c.id < row["id"], in_states(delivery, OPEN),
        )  # fmt: skip
        return self._one(sa.select(delivery).where(*where).order_by(delivery.c.id).limit(1))

    def change_state(self, tenant_id: str, delivery_id: str, states: Sequence[str], values: Mapping[str, Any]) -> bool:
        """A person's decision; False if the delivery is not in one of ``states``."""
        where = (delivery.c.tenant_id == tenant_id, delivery.c.id == delivery_id, delivery.c.state.in_(states))
        if not self._update(delivery, where, values):
            return False
        if values["state"] not in OPEN and (row := self.get(tenant_id, delivery_id)):
            self.promote([row])
        return True

    def strand(self, tenant_id: str, connection_id: str, connector: str, values: Mapping[str, Any]) -> dict[str, int]:
        """End what waits for a connection's former system as dead letters (the fence rises); returns row counts by state."""
        mine = (delivery.c.tenant_id == tenant_id, delivery.c.connection_id == connection_id)
        tally = sa.select(delivery.c.state, sa.func.count().label("number")).where(*mine, in_states(delivery, OPEN))
        counts = {row["state"]: row["number"] for row in self._all(tally.group_by(delivery.c.state))}
        free = dict.fromkeys(("published_at", "lease_until", "lease_owner", "waits_for"))
        ended = {**values, **free, "state": "dead", "fence": delivery.c.fence + 1}
        self._update(delivery, (*mine, in_states(delivery, ("pending", "claimed", "sending", "ambiguous"))), ended)
        self._update(delivery, (*mine, in_states(delivery, OPEN)), {"connector": connector, "probe": False})
        return counts

    def correct(self, tenant_id: str, delivery_id: str, values: Mapping[str, Any]) -> bool:
        """A person corrected the message's document; False if the delivery is over by now."""
        where = (delivery.c.tenant_id == tenant_id, delivery.c.id == delivery_id, in_states(delivery, OPEN))
        return bool(self._update(delivery, where, values))

    def dead(self, tenant_id: str, filters: Mapping[str, str | None], before: datetime, limit: int) -> list[Row]:
        """Dead letters of before then, oldest first, locked: id, connection_id, cause_code."""
        where = [delivery.c.tenant_id == tenant_id, delivery.c.state == "dead", delivery.c.settled_at < before]
        where += [delivery.c[name] == value for name, value in filters.items() if value is not None]
        found = sa.select(*_columns(delivery, "id", "connection_id", "cause_code")).where(*where).order_by(delivery.c.id)
        return self._all(found.limit(limit).with_for_update(skip_locked=True))

    def revive(self, tenant_id: str, ids: Sequence[str], values: Mapping[str, Any]) -> None:
        """Dead letters that try again."""
        self._update(delivery, (delivery.c.tenant_id == tenant_id, delivery.c.id.in_(ids), delivery.c.state == "dead"), values)

    def release_held(self, tenant_id: str, message_id: str, state: str, now: datetime) -> int:
        """Let the held deliveries of a suspected duplicate go (``pending``) or end them (``discarded``)."""
        where = (delivery.c.tenant_id == tenant_id, delivery.c.message_id == message_id, delivery.c.state == "held")
        count = self._update(delivery, where, {"state": state, "available_at": now})
        if state not in OPEN:
            self.promote(self.of_message(tenant_id, message_id))
        return count

    def waiting_for(self, beginning: str) -> list[tuple[str, str]]:
        """(tenant, what its pending deliveries wait for), of what begins so (no clock makes them due)."""
        found = states.WAITING_FOR.run(self._c, beginning=beginning, end=f"{beginning}\uffff")
        return [(row["tenant_id"], row["waits_for"]) for row in found]

    def release(self, tenant_id: str, waits_for: str, now: datetime) -> list[str]:
        """Make due what waits for it; the connection of each."""
        return self._make_due((delivery.c.tenant_id == tenant_id, delivery.c.waits_for == waits_for), now)

    def hasten_flow(self, tenant_id: str, flow: str, now: datetime) -> list[str]:
        """Make due what waits in a flow for its time; the connection of each."""
        return self._make_due((delivery.c.tenant_id == tenant_id, delivery.c.flow == flow, delivery.c.attempts == 0), now)

    def _make_due(self, where: Sequence[Any], now: datetime) -> list[str]:
        later = (delivery.c.state == "pending", delivery.c.available_at > now)
        statement = sa.update(delivery).where(*where, *later).values(available_at=now, waits_for=None)
        return [str(row[0]) for row in self._c.execute(statement.returning(delivery.c.connection_id))]

    def page(self, tenant_id: str, after: str | None, limit: int, **filters: Any) -> list[Row]:
        where = []
        for name, value in filters.items():
            if value is not None:
                column, values = delivery.c[name], value if isinstance(value, list | tuple) else [value]
                where.append(in_states(delivery, values) if name == "state" and set(values) <= STATES else column.in_(values))
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


def _keys(rows: Sequence[Row]) -> set[tuple[str, str]]:
    return {(row["tenant_id"], row["id"]) for row in rows}
