"""Entities whose fields have owners, and the conflicts about them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hub.store.rows import Fixed, Repository, Row, given
from hub.store.tables import conflict, entity

_ENTITIES_DUE = Fixed(
    sa.select(entity.c.tenant_id, entity.c.subject, entity.c.type)
    .where(entity.c.due_at.is_not(None), entity.c.due_at <= given(entity.c.due_at, "now"))
    .order_by(entity.c.due_at)
    .limit(sa.bindparam("most", type_=sa.Integer))
)


class Entities(Repository):
    """One state per entity, locked for every decision about it."""

    def lock(self, tenant_id: str, subject: str, type_name: str, state: Mapping[str, Any], now: datetime) -> Row:
        """The row, locked until the transaction ends; made with ``state`` if there is none."""
        row = {"tenant_id": tenant_id, "subject": subject, "type": type_name, "state": dict(state), "version": 0, "tripped": "",
               "updated_at": now, "due_at": None}  # fmt: skip
        self._insert_or_ignore(entity, [row], ["subject"])
        found = self._one(self._of(tenant_id, subject).with_for_update())
        assert found is not None
        return found

    def get(self, tenant_id: str, subject: str) -> Row | None:
        return self._one(self._of(tenant_id, subject))

    def locked(self, tenant_id: str, subject: str) -> Row | None:
        return self._one(self._of(tenant_id, subject).with_for_update())

    def save(self, row: Mapping[str, Any]) -> None:
        values = {name: row[name] for name in ("state", "version", "tripped", "updated_at", "due_at")}
        self._update(entity, (entity.c.tenant_id == row["tenant_id"], entity.c.subject == row["subject"]), values)

    def mark_due(self, tenant_id: str, subject: str, now: datetime) -> None:
        """Some system may not have what counts."""
        self._update(entity, (entity.c.tenant_id == tenant_id, entity.c.subject == subject), {"due_at": now})

    def due(self, now: datetime, limit: int) -> list[Row]:
        """Entities of which some system may not have what counts, of every tenant."""
        return _ENTITIES_DUE.run(self._c, now=now, most=limit)

    @staticmethod
    def _of(tenant_id: str, subject: str) -> Any:
        return sa.select(entity).where(entity.c.tenant_id == tenant_id, entity.c.subject == subject)


class Conflicts(Repository):
    """What was said in vain, and what a person has to decide."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._c.execute(sa.insert(conflict).values([dict(row) for row in rows]))

    def get(self, tenant_id: str, conflict_id: str) -> Row | None:
        return self._one(sa.select(conflict).where(conflict.c.tenant_id == tenant_id, conflict.c.id == conflict_id))

    def page(self, tenant_id: str, after: str | None, limit: int, **filters: Any) -> list[Row]:
        """Newest first."""
        where = [conflict.c[name] == value for name, value in filters.items() if value is not None]
        return self._page(conflict, tenant_id, where, after, limit)

    def resolve(self, tenant_id: str, conflict_id: str, values: Mapping[str, Any]) -> bool:
        """False if it is not open (any more)."""
        where = (conflict.c.tenant_id == tenant_id, conflict.c.id == conflict_id, conflict.c.state == "open")
        return self._update(conflict, where, values) == 1
