"""Every try of every delivery."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from hub.store.bulk import Bulk, inserted
from hub.store.rows import Repository, Row
from hub.store.tables import attempt

_ENDED = ("ended_at", "steps", "effects", "outcome", "code", "detail", "external_id", "revision", "document")


def _sending(given: Any, _: Any) -> Any:
    of = (attempt.c.tenant_id == given.c.tenant_id, attempt.c.id == given.c.id)
    return sa.update(attempt).where(*of).values(effects=1, outcome="sending").returning(attempt.c.id)


def _end(given: Any, _: Any) -> Any:
    of = (attempt.c.tenant_id == given.c.tenant_id, attempt.c.id == given.c.id, attempt.c.ended_at.is_(None))
    return sa.update(attempt).where(*of).values({name: given.c[name] for name in _ENDED}).returning(attempt.c.id)


def _begun(given: Any, insert: Any) -> Any:
    return inserted(attempt, [column.name for column in attempt.c], given, insert).returning(attempt.c.id)


_BEGUN = Bulk(list(attempt.c), _begun)
_SENDING = Bulk([attempt.c.tenant_id, attempt.c.id], _sending)
_END = Bulk([attempt.c[name] for name in ("tenant_id", "id", *_ENDED)], _end)


class Attempts(Repository):
    """Every try of a delivery, with each request it made."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        _BEGUN.run(self._c, rows)

    def intend(self, keys: Sequence[Mapping[str, Any]]) -> None:
        """An effect is about to leave in each of these (``tenant_id``, ``id``)."""
        _SENDING.run(self._c, keys)

    def end(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """End attempts, unless they have ended."""
        _END.run(self._c, rows)

    def of_delivery(self, tenant_id: str, delivery_id: str) -> list[Row]:
        where = (attempt.c.tenant_id == tenant_id, attempt.c.delivery_id == delivery_id)
        return self._all(sa.select(attempt).where(*where).order_by(attempt.c.number, attempt.c.id))

    def unfinished(self, tenant_id: str, delivery_id: str) -> list[Row]:
        return [row for row in self.of_delivery(tenant_id, delivery_id) if row["ended_at"] is None]
