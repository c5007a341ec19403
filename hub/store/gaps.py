"""Numbers of a sequence that were never told, until they are."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hub.store.ids import first_id
from hub.store.rows import Repository, Row
from hub.store.tables import gap, message

_STILL = sa.text("ended_at IS NULL")


class Gaps(Repository):
    """`waiting`: it may still come; `open`: it was looked for; `filled`, `accepted`: it has ended."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Those that are known already stay as they are."""
        self._insert_or_ignore(gap, rows, ["id"])

    def fill(self, tenant_id: str, sequence: str, series: str, numbers: Sequence[str], now: datetime) -> int:
        """These have come after all."""
        where = (gap.c.tenant_id == tenant_id, gap.c.sequence == sequence, gap.c.series == series, gap.c.number.in_(numbers),
                 _STILL)  # fmt: skip
        return self._update(gap, where, {"state": "filled", "ended_at": now}) if numbers else 0

    def due(self, tenant_id: str, now: datetime) -> list[Row]:
        """Those that should have come by now."""
        where = (gap.c.tenant_id == tenant_id, _STILL, gap.c.state == "waiting", gap.c.due_at <= now)
        return self._all(sa.select(gap).where(*where).order_by(gap.c.id).limit(1000))

    def open(self, tenant_id: str, ids: Sequence[str]) -> None:
        self._update(gap, (gap.c.tenant_id == tenant_id, gap.c.id.in_(ids), _STILL), {"state": "open"})

    def get(self, tenant_id: str, gap_id: str) -> Row | None:
        return self._one(sa.select(gap).where(gap.c.tenant_id == tenant_id, gap.c.id == gap_id))

    def accept(self, tenant_id: str, gap_id: str, actor: str, reason: str, now: datetime) -> bool:
        """False if it has ended already."""
        values = {"state": "accepted", "ended_at": now, "actor": actor, "reason": reason}
        return self._update(gap, (gap.c.tenant_id == tenant_id, gap.c.id == gap_id, _STILL), values) == 1

    def page(self, tenant_id: str, after: str | None, limit: int, **filters: Any) -> list[Row]:
        """Newest first."""
        where = [gap.c[name] == value for name, value in filters.items() if value is not None]
        return self._page(gap, tenant_id, where, after, limit)

    def told(self, tenant_id: str, types: Sequence[str], connection_id: str, since: datetime) -> Iterator[Row]:
        """Documents of a connection that have arrived since then, in the order of arrival, piece by piece."""
        columns = (message.c.id, message.c.event_at, message.c.body)
        where = (message.c.tenant_id == tenant_id, message.c.type.in_(types), message.c.connection_id == connection_id,
                 message.c.id >= first_id(since))  # fmt: skip
        after: list[Any] = []
        while rows := self._all(sa.select(*columns).where(*where, *after).order_by(message.c.id).limit(500)):
            yield from rows
            after = [message.c.id > rows[-1]["id"]]
