"""Aliases: by what other keys an entity goes, at one connection or (connection '') anywhere; what ended is kept."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hub.store.bulk import Bulk
from hub.store.control import Configuring
from hub.store.ids import new_id
from hub.store.rows import Row
from hub.store.tables import alias, link, message

#: (entity, connection, key)
Key = tuple[str, str, str]
_KEY = ("tenant_id", "entity", "connection_id", "key")
_LINK = ("tenant_id", "connection_id", "kind", "canonical_id")
_NOW = sa.text("ended_at IS NULL")


def _current(given: Any, _insert: Any) -> Any:
    same = sa.and_(*(alias.c[name] == given.c[name] for name in _KEY))
    columns = (alias.c.entity, alias.c.connection_id, alias.c.key, alias.c.canonical)
    return sa.select(*columns).select_from(given.join(alias, same)).where(_NOW)


def _there(given: Any, _insert: Any) -> Any:
    same = sa.and_(*(alias.c[name] == given.c[name] for name in ("tenant_id", "entity", "connection_id", "canonical")))
    columns = (alias.c.entity, alias.c.connection_id, alias.c.key, alias.c.canonical)
    return sa.select(*columns).select_from(given.join(alias, same)).where(_NOW).order_by(alias.c.since, alias.c.id)


def _linked(given: Any, _insert: Any) -> Any:
    same = sa.and_(*(link.c[name] == given.c[name] for name in _LINK))
    return sa.select(link.c.canonical_id, link.c.external_id).select_from(given.join(link, same))


_LINKED = Bulk([link.c[name] for name in _LINK], _linked)
_THERE = Bulk([alias.c[name] for name in ("tenant_id", "entity", "connection_id", "canonical")], _there)
_CURRENT = Bulk([alias.c[name] for name in _KEY], _current)


class Aliases(Configuring):
    """Who is who. A process remembers which kinds of entities have aliases at all, so that others cost nothing."""

    def entities(self, tenant_id: str) -> frozenset[str]:
        """Kinds of entities that have any."""
        statement = sa.select(alias.c.entity).where(alias.c.tenant_id == tenant_id, _NOW).distinct()
        return frozenset(row["entity"] for row in self._all(statement))

    def current(self, tenant_id: str, keys: Iterable[Key]) -> dict[Key, str]:
        """The canonical key of each that has one."""
        names = _KEY[1:]
        asked = [{"tenant_id": tenant_id, **dict(zip(names, key, strict=True))} for key in keys]
        rows = _CURRENT.run(self._c, asked) if asked else []
        return {(row["entity"], row["connection_id"], row["key"]): row["canonical"] for row in rows}

    def there(self, tenant_id: str, keys: Iterable[Key]) -> dict[Key, str]:
        """Of each (entity, connection, canonical key), the key that it has there; of several the newest."""
        names = ("entity", "connection_id", "canonical")
        asked = [{"tenant_id": tenant_id, **dict(zip(names, key, strict=True))} for key in keys]
        rows = _THERE.run(self._c, asked) if asked else []
        return {(row["entity"], row["connection_id"], row["canonical"]): row["key"] for row in rows}

    def of(self, tenant_id: str, entity: str, connection_id: str) -> dict[str, str]:
        """Every key of a connection that has an alias, and its canonical key."""
        where = (alias.c.tenant_id == tenant_id, alias.c.entity == entity, alias.c.connection_id == connection_id, _NOW)
        return {row["key"]: row["canonical"] for row in self._all(sa.select(alias.c.key, alias.c.canonical).where(*where))}

    def leading_to(self, tenant_id: str, entity: str, canonical: str) -> list[tuple[str, str]]:
        """(connection or '', key) of whatever is this one."""
        where = (alias.c.tenant_id == tenant_id, alias.c.entity == entity, alias.c.canonical == canonical, _NOW)
        rows = self._all(sa.select(alias.c.connection_id, alias.c.key).where(*where))
        return [(row["connection_id"], row["key"]) for row in rows]

    def put(self, tenant_id: str, rows: Sequence[Mapping[str, Any]], now: datetime) -> int:
        """Let each key be another's: entity, connection_id, key, canonical, rule, actor, reason. Returns how many are new."""
        wanted = {(row["entity"], row["connection_id"], row["key"]): row for row in rows}
        known = self.current(tenant_id, wanted)
        new = [row for key, row in sorted(wanted.items()) if known.get(key) != row["canonical"]]
        before = self.entities(tenant_id) if new else frozenset()
        for row in new:
            self.end(tenant_id, row["entity"], row["connection_id"], row["key"], now)
        added = [{**row, "tenant_id": tenant_id, "id": new_id(), "since": now, "ended_at": None} for row in new]
        self._insert_or_ignore(alias, added, ["id"])
        if {row["entity"] for row in new} - before:
            self._changed(tenant_id)
        return len(new)

    def end(self, tenant_id: str, entity: str, connection_id: str, key: str, now: datetime) -> bool:
        """False if there is none."""
        where = (alias.c.tenant_id == tenant_id, alias.c.entity == entity, alias.c.connection_id == connection_id,
                 alias.c.key == key, _NOW)  # fmt: skip
        return self._update(alias, where, {"ended_at": now}) == 1

    def page(self, tenant_id: str, entity: str, after: str | None, limit: int, key: str | None) -> list[Row]:
        """Newest first, ended ones too; of one entity if ``key`` (any of its keys) is given."""
        where: list[Any] = [alias.c.entity == entity]
        where += [sa.or_(alias.c.key == key, alias.c.canonical == key)] if key is not None else []
        return self._page(alias, tenant_id, where, after, limit)

    def said(self, tenant_id: str, types: Sequence[str], connection_id: str) -> Iterable[Row]:
        """What a connection said of records of some types, newest first, piece by piece: type and body."""
        where = (message.c.tenant_id == tenant_id, message.c.type.in_(types), message.c.connection_id == connection_id)
        columns = (message.c.id, message.c.type, message.c.body)
        after: list[Any] = []
        while rows := self._all(sa.select(*columns).where(*where, *after).order_by(message.c.id.desc()).limit(1000)):
            yield from rows
            after = [message.c.id < rows[-1]["id"]]

    def linked(self, tenant_id: str, connection_id: str, kind: str, ids: Sequence[str]) -> dict[str, str]:
        """By canonical id, the system's own id."""
        asked = [dict(zip(_LINK, (tenant_id, connection_id, kind, identity), strict=True)) for identity in ids]
        return {row["canonical_id"]: row["external_id"] for row in _LINKED.run(self._c, asked)} if asked else {}
