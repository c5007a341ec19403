"""Raw inputs and messages: what arrived and what it became."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any

import sqlalchemy as sa

from hub.store.bulk import Bulk, inserted
from hub.store.rows import Fixed, Repository, Row, given
from hub.store.states import ASIDE, in_states
from hub.store.tables import announcement, connection, message, raw_input, tenant

_MOST_SOURCES = 500

#: In the query's own words, so that the partial index applies.
_RECEIVED = raw_input.c.state == sa.literal_column("'received'")


def _many(wanted: Sequence[Any], of_them: Any, _: Any) -> Any:
    of = sa.and_(message.c.tenant_id == of_them.c.tenant_id, message.c.id == of_them.c.id)
    return sa.select(*wanted).join_from(of_them, message, of)


def _to_announce(of_them: Any, insert: Any) -> Any:
    return inserted(announcement, _ANNOUNCEMENT, of_them, insert)


def _announced(of_them: Any, _: Any) -> Any:
    these = sa.tuple_(*announcement.c).in_(sa.select(of_them.c.tenant_id, of_them.c.message_id))  # SQLite has no DELETE … USING
    return sa.delete(announcement).where(these)


_SOURCE = ("tenant_id", "source", "source_id")
#: One of these: who said it, and by which id.
Source = tuple[str, str, str]


def _add(of_them: Any, insert: Any) -> Any:
    statement = inserted(message, [column.name for column in message.c], of_them, insert)
    return statement.on_conflict_do_nothing().returning(message.c.id)


def _known(of_them: Any, _: Any) -> Any:
    return sa.select(message).join_from(of_them, message, sa.and_(*(message.c[name] == of_them.c[name] for name in _SOURCE)))


def _alike(of_them: Any, _: Any) -> Any:
    """The first with the same fingerprint, of each."""
    same = (message.c[name] == of_them.c[name] for name in ("tenant_id", "fingerprint"))
    first = sa.select(message.c.id).where(*same).order_by(message.c.id).limit(1).correlate(of_them).scalar_subquery()
    return sa.select(of_them.c.tenant_id, of_them.c.fingerprint, first.label("id"))


_ADD = Bulk(list(message.c), _add)
_KNOWN = Bulk([message.c[name] for name in _SOURCE], _known)
_ALIKE = Bulk([message.c.tenant_id, message.c.fingerprint], _alike)
_MANY = Bulk([message.c.tenant_id, message.c.id], partial(_many, [message]))
_BODIES = Bulk([message.c.tenant_id, message.c.id], partial(_many, [message.c.id, message.c.body]))
_ANNOUNCEMENT = ("tenant_id", "message_id")
_TO_ANNOUNCE = Bulk(list(announcement.c), _to_announce)
_ANNOUNCED = Bulk(list(announcement.c), _announced)


_ENDED = ("state", "ignored", "settled_at")


def _end(of_them: Any, _: Any) -> Any:
    mine = (raw_input.c[name] == of_them.c[name] for name in ("tenant_id", "id", "lease_owner"))
    released = {"lease_owner": None, "lease_until": None}
    statement = sa.update(raw_input).where(*mine).values({**released, **{name: of_them.c[name] for name in _ENDED}})
    return statement.returning(raw_input.c.id)


def _add_raw(of_them: Any, insert: Any) -> Any:
    statement = inserted(raw_input, _ARRIVED, of_them, insert)
    return statement.on_conflict_do_nothing().returning(raw_input.c.id)


_ARRIVED = [column.name for column in raw_input.c if column.name != "corrected"]
_ADD_RAW = Bulk([raw_input.c[name] for name in _ARRIVED], _add_raw)
_END = Bulk([raw_input.c[name] for name in ("tenant_id", "id", "lease_owner", *_ENDED)], _end)


_NOW = given(raw_input.c.available_at, "now")
_FREE_AND_DUE = (
    _RECEIVED, raw_input.c.available_at <= _NOW, sa.or_(raw_input.c.lease_until.is_(None), raw_input.c.lease_until < _NOW)
)  # fmt: skip


@cache
def _tenants_due(lanes: tuple[str, ...]) -> Fixed:
    of_lanes = raw_input.c.lane.in_([sa.literal_column(f"'{lane}'") for lane in lanes])
    due = sa.exists(
        sa.select(sa.literal(1)).where(raw_input.c.tenant_id == tenant.c.tenant_id, of_lanes, *_FREE_AND_DUE)
    )  # fmt: skip
    return Fixed(sa.select(tenant.c.tenant_id).where(due).order_by(tenant.c.tenant_id))


_CLAIM_DUE = Fixed(
    sa.select(raw_input.c.tenant_id, raw_input.c.id)
    .where(raw_input.c.tenant_id == given(raw_input.c.tenant_id), raw_input.c.lane == given(raw_input.c.lane), *_FREE_AND_DUE)
    .order_by(raw_input.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)


def _lease(of_them: Any, _: Any) -> Any:
    mine = (raw_input.c[name] == of_them.c[name] for name in ("tenant_id", "id"))
    until = sa.bindparam("until", type_=raw_input.c.lease_until.type)
    taken = {"lease_owner": sa.bindparam("owner"), "lease_until": until, "attempts": raw_input.c.attempts + 1}
    return sa.update(raw_input).where(*mine).values(taken).returning(raw_input)


_LEASE = Bulk([raw_input.c.tenant_id, raw_input.c.id], _lease)
_UNPUBLISHED = Fixed(
    sa.select(message.c.tenant_id, message.c.id, message.c.type)
    .join_from(
        announcement,
        message,
        sa.and_(message.c.tenant_id == announcement.c.tenant_id, message.c.id == announcement.c.message_id),
    )
    .order_by(announcement.c.tenant_id, announcement.c.message_id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)


class RawInputs(Repository):
    """What arrived, byte for byte. States: received → translated | ignored | quarantined → discarded."""

    def add(self, row: Mapping[str, Any]) -> tuple[str, bool]:
        """(id, created). The same source event again is counted on the first row and returns its id."""
        created = self._insert_or_ignore(raw_input, [row], ["id"])
        if created:
            return created[0]["id"], True
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
        """Rows of new source events, their bodies UTF-8; how many were not known. Those that are known stay as they are."""
        return len(_ADD_RAW.run(self._c, rows)) if rows else 0

    def claim_due(
        self, tenant_id: str, owner: str, now: datetime, lease_until: datetime, limit: int, bulk_limit: int,
        lanes: Sequence[str],
    ) -> list[Row]:  # fmt: skip
        """Raw inputs of a tenant to translate, oldest first, leased to ``owner``: live ones, and ``bulk_limit`` others."""
        keys: list[Row] = []
        for lane in lanes:
            most = limit if lane == "live" else min(limit, bulk_limit)
            keys += _CLAIM_DUE.run(self._c, of_tenant_id=tenant_id, of_lane=lane, now=now, most=most)
        if not keys:
            return []
        return sorted(_LEASE.run(self._c, keys, owner=owner, until=lease_until), key=lambda row: str(row["id"]))

    def tenants_due(self, now: datetime, lanes: Sequence[str]) -> list[str]:
        """Tenants with raw input of these lanes to translate."""
        return [row["tenant_id"] for row in _tenants_due(tuple(lanes)).run(self._c, now=now)]

    def waiting(self, tenant_id: str, connection_id: str, lane: str, most: int) -> int:
        """How much of a connection waits in a lane to be translated, counted up to ``most``."""
        where = (raw_input.c.tenant_id == tenant_id, raw_input.c.lane == lane, _RECEIVED)
        some = sa.select(sa.literal(1)).where(*where, raw_input.c.connection_id == connection_id).limit(most).subquery()
        found = self._one(sa.select(sa.func.count().label("n")).select_from(some)) or {"n": 0}
        return int(found["n"])

    def unfinished_before(self, tenant_id: str, connection_id: str, raw_id: str, but: Collection[str] = ()) -> bool:
        """Whether the connection sent something earlier (``but`` these) that is still being translated."""
        of = (raw_input.c.tenant_id == tenant_id, raw_input.c.connection_id == connection_id)
        where = (*of, _RECEIVED, raw_input.c.id < raw_id, raw_input.c.id.not_in(but))
        return self._one(sa.select(raw_input.c.id).where(*where).limit(1)) is not None

    def end(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        """End translations, each as it says; those that were still ours."""
        return _END.run(self._c, rows)

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
        where = [raw_input.c[name] == value for name, value in filters.items() if value is not None and name != "state"]
        if (state := filters.get("state")) in ASIDE:  # by their own index, which is told by the same words
            where += [in_states(raw_input, [state]), in_states(raw_input, ASIDE)]
        elif state is not None:
            where.append(_RECEIVED if state == "received" else raw_input.c.state == state)
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
    """Canonical documents in their envelopes. Immutable but for ``state`` (routed, held, unrouted)."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> set[str]:
        """Ids of the inserted ones: there is one message per (tenant, source, source_id), and who comes first stays."""
        created = {row["id"] for row in _ADD.run(self._c, rows)} if rows else set()
        if created:
            _TO_ANNOUNCE.later(
                self._c, [{"tenant_id": row["tenant_id"], "message_id": row["id"]} for row in rows if row["id"] in created]
            )
        return created

    def by_source(self, keys: Sequence[Source]) -> dict[Source, Row]:
        """Those there are, by (tenant, source, source id)."""
        return self.asking_sources(keys)()

    def get(self, tenant_id: str, message_id: str) -> Row | None:
        return self._one(sa.select(message).where(message.c.tenant_id == tenant_id, message.c.id == message_id))

    def many(self, tenant_id: str, ids: Sequence[str]) -> dict[str, Row]:
        """Messages by id."""
        keys = [{"tenant_id": tenant_id, "id": message_id} for message_id in set(ids)]
        return {row["id"]: row for row in _MANY.run(self._c, keys)} if keys else {}

    def asking_sources(self, keys: Sequence[Source]) -> Callable[[], dict[Source, Row]]:
        """As `by_source`; asked with whatever is asked next."""
        asked = _KNOWN.later(self._c, [dict(zip(_SOURCE, key, strict=True)) for key in keys]) if keys else None
        return lambda: {
            (row["tenant_id"], row["source"], row["source_id"]): row for row in (asked.rows() if asked else ())
        }  # fmt: skip

    def asking_fingerprints(self, keys: Sequence[tuple[str, str]]) -> Callable[[], dict[tuple[str, str], str]]:
        """By (tenant, fingerprint), the id of the first message that says the same thing; asked with whatever is asked next."""
        given_ones = [{"tenant_id": tenant_id, "fingerprint": fingerprint} for tenant_id, fingerprint in keys]
        asked = _ALIKE.later(self._c, given_ones) if keys else None
        return lambda: {
            (row["tenant_id"], row["fingerprint"]): row["id"]
            for row in (asked.rows() if asked else ()) if row["id"] is not None
        }  # fmt: skip

    def about(self, tenant_id: str, subject: str, source: str = "") -> list[Row]:
        """Every message about an entity, oldest first (at most 500); ``source``: of this connection."""
        where = [message.c.tenant_id == tenant_id, message.c.subject == subject]
        where += [message.c.connection_id == source] if source else []
        return self._all(sa.select(message).where(*where).order_by(message.c.id).limit(500))

    def find(self, tenant_id: str, text: str) -> list[Row]:
        """Messages whose id, source id, subject or raw source event is ``text`` (at most 20)."""
        of = message.c.tenant_id == tenant_id
        # Each by an index of its own: all in one condition would read every message.
        sources = self._sources(tenant_id)
        told = message.c.source.in_(sources) if len(sources) < _MOST_SOURCES else sa.true()
        wanted = [
            sa.and_(told, message.c.source_id == text),
            message.c.subject.in_([text, f"sale/{text}"]),
            message.c.raw_id.in_(self._raws_of(tenant_id, text)),
        ]
        if len(text) == 36 and text.count("-") == 4:
            wanted.append(message.c.id == text)
        found = {row["id"]: row for where in wanted for row in self._all(sa.select(message).where(of, where).limit(20))}
        return [found[identity] for identity in sorted(found)][:20]

    def _sources(self, tenant_id: str) -> list[str]:
        """Who has spoken (the first so many), one look each: they are few, and what they said is much."""
        found: list[str] = []
        while len(found) < _MOST_SOURCES:
            after = [message.c.source > found[-1]] if found else []
            first = sa.select(message.c.source).where(message.c.tenant_id == tenant_id, *after).order_by(message.c.source)
            if (row := self._one(first.limit(1))) is None:
                break
            found.append(row["source"])
        return found

    def _raws_of(self, tenant_id: str, text: str) -> list[str]:
        """Raw input that was this source event."""
        connections = sa.select(connection.c.connection_id).where(connection.c.tenant_id == tenant_id)
        where = (raw_input.c.tenant_id == tenant_id, raw_input.c.connection_id.in_(connections),
                 raw_input.c.kind.in_(["webhook", "poll"]), raw_input.c.source_event_id == text)  # fmt: skip
        return [row["id"] for row in self._all(sa.select(raw_input.c.id).where(*where).limit(20))]

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
        """Messages that were not yet announced on the event exchange: tenant_id, id, type; in their order."""
        return _UNPUBLISHED.run(self._c, most=limit)

    def bodies(self, rows: Sequence[Row]) -> dict[str, bytes]:
        """The bodies of messages, by id."""
        return {row["id"]: row["body"] for row in _BODIES.run(self._c, rows)} if rows else {}

    def announced(self, keys: Sequence[tuple[str, str]]) -> None:
        """(tenant, message id) of those that were."""
        _ANNOUNCED.later(self._c, [dict(zip(_ANNOUNCEMENT, key, strict=True)) for key in keys])

    def counts(self, tenant_id: str) -> dict[str, int]:
        """How many messages there are of each type."""
        statement = sa.select(message.c.type, sa.func.count()).where(message.c.tenant_id == tenant_id)
        return {row[0]: row[1] for row in self._c.execute(statement.group_by(message.c.type))}

    def each(self, tenant_id: str, types: Sequence[str]) -> list[Row]:
        """Every message of ``types`` with its body, oldest first; for measuring."""
        where = (message.c.tenant_id == tenant_id, message.c.type.in_(types))
        return self._all(sa.select(message).where(*where).order_by(message.c.id))
