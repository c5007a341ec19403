"""What is old and over is forgotten, piece by piece in the order of ids, which is the order of time.

The audit chain stays whole, and so do links, aliases, records and the states of entities: they say what is, not what was.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hub.store.ids import first_id
from hub.store.rows import Repository, Row
from hub.store.states import OPEN
from hub.store.tables import (
    announcement,
    attempt,
    conflict,
    correction,
    delivery,
    idempotency,
    message,
    raw_input,
    record_document,
    recording,
    sync_run,
)

_RAW_OVER = ("translated", "ignored", "discarded")


class History(Repository):
    """Deletes what is over; every call looks at ``limit`` rows and goes on where the last one ended."""

    def messages(self, tenant_id: str, before: datetime, after: str, limit: int) -> tuple[int, str | None]:
        """Messages received before then of which nothing is open, with deliveries and attempts.

        Returns how many, and where to go on (None: at the end).
        """
        looked_at = self._after(message, tenant_id, before, after, limit)
        if not looked_at:
            return 0, None
        seen = [row["id"] for row in looked_at]
        kept = self._ids(
            sa.select(delivery.c.message_id.label("id")).where(
                delivery.c.tenant_id == tenant_id, delivery.c.message_id.in_(seen), delivery.c.state.in_(OPEN)
            )
        ) | self._ids(
            sa.select(announcement.c.message_id.label("id")).where(
                announcement.c.tenant_id == tenant_id, announcement.c.message_id.in_(seen)
            )
        ) | self._ids(  # what is withdrawn when its record is gone
            sa.select(record_document.c.message_id.label("id")).where(
                record_document.c.tenant_id == tenant_id, record_document.c.message_id.in_(seen)
            )
        ) | {row["id"] for row in looked_at if row["state"] == "held"}  # fmt: skip
        over = [identity for identity in seen if identity not in kept]
        deliveries = sa.select(delivery.c.id).where(delivery.c.tenant_id == tenant_id, delivery.c.message_id.in_(over))
        self._delete(attempt, tenant_id, attempt.c.delivery_id.in_(deliveries))
        # One that a person opens again in this moment stays, and its message with it: this transaction fails and is repeated.
        self._delete(delivery, tenant_id, sa.and_(delivery.c.message_id.in_(over), delivery.c.state.not_in(OPEN)))
        self._delete(message, tenant_id, message.c.id.in_(over))
        self._delete(correction, tenant_id, correction.c.subject.in_([f"message/{identity}" for identity in over]))
        return len(over), seen[-1] if len(seen) == limit else None

    def raws(self, tenant_id: str, before: datetime, after: str, limit: int) -> tuple[int, str | None]:
        """Raw input received before then that has become messages, or nothing. What is in quarantine stays."""
        looked_at = self._after(raw_input, tenant_id, before, after, limit)
        over = [row["id"] for row in looked_at if row["state"] in _RAW_OVER]
        self._delete(raw_input, tenant_id, raw_input.c.id.in_(over))
        self._delete(correction, tenant_id, correction.c.subject.in_([f"raw/{identity}" for identity in over]))
        return len(over), looked_at[-1]["id"] if len(looked_at) == limit else None

    def rest(self, tenant_id: str, before: datetime, keys_before: datetime) -> int:
        """Runs that have ended, conflicts that are settled, recordings, and idempotency keys that nobody may use again."""
        found = self._delete(sync_run, tenant_id, sync_run.c.ended_at < before)
        found += self._delete(recording, tenant_id, recording.c.at < before)
        found += self._delete(conflict, tenant_id, sa.and_(conflict.c.state != "open", conflict.c.id < first_id(before)))
        return found + self._delete(idempotency, tenant_id, idempotency.c.created_at < keys_before)

    def _after(self, table: sa.Table, tenant_id: str, before: datetime, after: str, limit: int) -> list[Row]:
        where = (table.c.tenant_id == tenant_id, table.c.id < first_id(before), *([table.c.id > after] if after else []))
        return self._all(sa.select(table.c.id, table.c.state).where(*where).order_by(table.c.id).limit(limit))

    def _ids(self, statement: Any) -> set[str]:
        return {row["id"] for row in self._all(statement)}

    def _delete(self, table: sa.Table, tenant_id: str, where: Any) -> int:
        return self._c.execute(sa.delete(table).where(table.c.tenant_id == tenant_id, where)).rowcount
