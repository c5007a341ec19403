"""Every try of every delivery."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hub.store.bulk import Bulk, inserted
from hub.store.rows import Repository, Row
from hub.store.tables import attempt

_ENDED = ("ended_at", "steps", "effects", "outcome", "code", "detail", "external_id", "revision", "document")


def _sending(given: Any, insert: Any) -> Any:
    statement = inserted(attempt, [column.name for column in attempt.c], given, insert)
    return statement.on_conflict_do_nothing()


def _end(given: Any, insert: Any) -> Any:
    statement = inserted(attempt, [column.name for column in attempt.c], given, insert)
    ended = {name: statement.excluded[name] for name in _ENDED}
    of = [column.name for column in attempt.primary_key.columns]
    return statement.on_conflict_do_update(index_elements=of, set_=ended, where=attempt.c.ended_at.is_(None))


_SENDING = Bulk(list(attempt.c), _sending)
_END = Bulk(list(attempt.c), _end)


class Attempts(Repository):
    """Every try of a delivery, with each request it made. A row is written before the first effect leaves, or at the end."""

    def intend(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """An effect is about to leave in each of these."""
        _SENDING.later(self._c, rows)

    def end(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """End attempts, unless they have ended."""
        _END.later(self._c, rows)

    def of_delivery(self, tenant_id: str, delivery_id: str) -> list[Row]:
        where = (attempt.c.tenant_id == tenant_id, attempt.c.delivery_id == delivery_id)
        return self._all(sa.select(attempt).where(*where).order_by(attempt.c.number, attempt.c.id))

    def with_effects(self, tenant_id: str, delivery_ids: Sequence[str], since: datetime | None = None) -> set[str]:
        """Those deliveries of which something may have reached their target (``since``: by attempts that began after it)."""
        where = [attempt.c.tenant_id == tenant_id, attempt.c.delivery_id.in_(delivery_ids), attempt.c.effects > 0]
        if since is not None:
            where.append(attempt.c.started_at > since)
        return {row["delivery_id"] for row in self._all(sa.select(attempt.c.delivery_id).where(*where).distinct())}

    def unfinished(self, tenant_id: str, delivery_id: str) -> list[Row]:
        return [row for row in self.of_delivery(tenant_id, delivery_id) if row["ended_at"] is None]
