"""The states of a delivery, and the sweeps that go by them.

pending → claimed → sending → applied | skipped | dead | discarded; back to pending (a retry is a row with a later
``available_at``) or to ambiguous (``probe``: look before anything is sent again). `OPEN` ones hold back later siblings.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from hub.store.bulk import Bulk
from hub.store.rows import Fixed, given
from hub.store.tables import connection, delivery, tenant

#: A dead letter is open too: what comes after it must not overtake the person who mends it.
OPEN = ("pending", "held", "claimed", "sending", "ambiguous", "dead")
WAITING = ("pending", "ambiguous")
IN_HAND = ("claimed", "sending")
#: Open, and in nobody's hands.
NOT_BEGUN = tuple(state for state in OPEN if state not in IN_HAND)
STATES = frozenset({*OPEN, "applied", "skipped", "discarded"})
#: Raw inputs that became no message.
ASIDE = ("quarantined", "ignored", "discarded")


def in_states(table: Any, states: Sequence[str]) -> sa.ColumnElement[bool]:
    """``states`` in the query's text, so that the partial indexes of `tables` apply to a prepared statement too."""
    found: sa.ColumnElement[bool] = table.c.state.in_([sa.literal_column(f"'{state}'") for state in states])
    return found


def same_entity(one: Any, other: Any) -> tuple[sa.ColumnElement[bool], ...]:
    """Two FROM clauses' rows are about the same entity at the same connection."""
    return tuple(one.c[name] == other.c[name] for name in ("tenant_id", "connection_id", "subject"))


def unblocked() -> sa.ColumnElement[bool]:
    """Nothing of the same entity and connection is open before it, or under way after it (a late commit may sort first)."""
    other = delivery.alias("other")
    begun = in_states(other, IN_HAND)
    # What has begun (ambiguous) ends before anything else begins, even if something older was committed meanwhile.
    before = sa.and_(other.c.id < delivery.c.id, sa.or_(delivery.c.state != "ambiguous", begun))
    after = sa.and_(other.c.id > delivery.c.id, sa.or_(begun, in_states(other, ("ambiguous",))))
    # By the index of what is open, and the first that is found ends it: an anti-join would read a whole backlog.
    found = (
        sa.select(sa.literal(1)).where(*same_entity(other, delivery), in_states(other, OPEN), sa.or_(before, after)).limit(1)
    )
    return found.correlate(delivery).scalar_subquery().is_(None)


def paused() -> sa.ColumnElement[bool]:
    """The connection was paused or retired meanwhile."""
    found = sa.select(sa.literal(1)).where(
        connection.c.tenant_id == delivery.c.tenant_id,
        connection.c.connection_id == delivery.c.connection_id,
        connection.c.state != "active",
    )
    return sa.exists(found)


def due(now: Any) -> tuple[sa.ColumnElement[bool], ...]:
    """A delivery that may be published."""
    waits = (in_states(delivery, WAITING), delivery.c.published_at.is_(None), ~delivery.c.behind)
    return (*waits, delivery.c.available_at <= now)


def _due_connections() -> Any:
    of = (delivery.c.tenant_id == connection.c.tenant_id, delivery.c.connection_id == connection.c.connection_id)
    now = given(delivery.c.available_at, "now")
    # One look each: a semi-join would read a whole backlog.
    first = sa.select(sa.literal(1)).where(*of, *due(now)).limit(1).correlate(connection).scalar_subquery()
    columns = (connection.c.tenant_id, connection.c.connection_id, connection.c.connector, connection.c.settings)
    return sa.select(*columns).where(connection.c.state == "active", first.is_not(None))


def _promote_all() -> Any:
    other = delivery.alias("other")
    before = sa.select(sa.literal(1)).where(*same_entity(other, delivery), in_states(other, OPEN), other.c.id < delivery.c.id)
    where = (in_states(delivery, WAITING), delivery.c.behind, ~sa.exists(before))
    return sa.update(delivery).where(*where).values(behind=False).returning(delivery.c.id)


def _forget_published() -> Any:
    old = delivery.c.published_at < given(delivery.c.published_at, "before")
    return sa.update(delivery).where(in_states(delivery, WAITING), old).values(published_at=None).returning(delivery.c.id)


def _expired() -> Any:
    # NULL where every owner may live: then only the lease counts.
    others = delivery.c.lease_owner != given(delivery.c.lease_owner, "owner_not")
    gone = sa.or_(delivery.c.lease_until < given(delivery.c.lease_until, "now"), others)
    where = (in_states(delivery, IN_HAND), delivery.c.published_at.is_not(None), gone)
    most = sa.bindparam("most", type_=sa.Integer)
    return sa.select(delivery).where(*where).limit(most).with_for_update(skip_locked=True)


DUE_CONNECTIONS, PROMOTE_ALL = Fixed(_due_connections()), Fixed(_promote_all())
FORGET_PUBLISHED, EXPIRED = Fixed(_forget_published()), Fixed(_expired())


def _with_due(lanes: Sequence[str], asked: Any, _: Any) -> Any:
    """Which of the given connections have something to publish; one look each."""
    of = [delivery.c[name] == asked.c[name] for name in ("tenant_id", "connection_id")]
    of.append(delivery.c.lane.in_([sa.literal_column(f"'{lane}'") for lane in lanes]))
    now = given(delivery.c.available_at, "now")
    first = sa.select(sa.literal(1)).where(*of, *due(now)).limit(1).correlate(asked).scalar_subquery()
    return sa.select(asked.c.tenant_id, asked.c.connection_id).where(first.is_not(None))


def _any_live() -> Any:
    """The newest of each tenant, from the end of the primary key: asked whether there is one, a planner reads the table."""
    of = (delivery.c.tenant_id == tenant.c.tenant_id, delivery.c.lane == sa.literal_column("'live'"))
    newest = sa.select(delivery.c.id).where(*of, delivery.c.id >= given(delivery.c.id)).correlate(tenant)
    newest = newest.order_by(delivery.c.tenant_id.desc(), delivery.c.id.desc()).limit(1)
    return sa.select(tenant.c.tenant_id).where(newest.scalar_subquery().is_not(None)).limit(1)


def _follow(moved: Any, _: Any) -> Any:
    mine = (delivery.c[name] == moved.c[name] for name in ("tenant_id", "id"))
    statement = sa.update(delivery).where(*mine, in_states(delivery, NOT_BEGUN))
    # What has begun (ambiguous) ends before anything else: marked as behind, it and what is before it would wait for ever.
    values = {"subject": moved.c.subject, "behind": in_states(delivery, ("pending",)), "published_at": None}
    return statement.values(values).returning(delivery.c.tenant_id, delivery.c.connection_id, delivery.c.subject)


def _waiting_for() -> Any:
    """By the index of what waits, tenant by tenant."""
    name = delivery.c.waits_for
    begins = (name.is_not(None), name >= given(name, "beginning"), name < given(name, "end"))
    waits = sa.and_(delivery.c.tenant_id == tenant.c.tenant_id, *begins, delivery.c.state == sa.literal_column("'pending'"))
    return sa.select(tenant.c.tenant_id, name).join_from(tenant, delivery, waits).distinct()


WAITING_FOR = Fixed(_waiting_for())
ANY_LIVE = Fixed(_any_live())
FOLLOW = Bulk([delivery.c.tenant_id, delivery.c.id, delivery.c.subject], _follow)
_CONNECTION = (delivery.c.tenant_id, delivery.c.connection_id)
_LANES: tuple[tuple[str, ...], ...] = (("live", "bulk"), ("live",), ("bulk",))
#: By lanes.
WITH_DUE = {lanes: Bulk(_CONNECTION, partial(_with_due, lanes)) for lanes in _LANES}
