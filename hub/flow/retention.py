"""Retention: what is older than `HUB_RETENTION_DAYS` and over is forgotten, in small pieces beside the work.

Deleted by ids in the order of time, some hundred at a time: a piece holds its locks for moments, and autovacuum keeps up.
What is open stays however old it is: a dead letter, a suspect that is held, what is in quarantine.
"""

import logging
import time
from datetime import datetime, timedelta

from hub.flow.context import Context
from hub.policies import audit

log = logging.getLogger(__name__)
_PIECE = 500
#: Of the time; and how long nobody looks again after the end was reached.
_SHARE, _REST_SECONDS = 0.2, 600.0


class Retention:
    """Where it has come, tenant by tenant; who leads the schedule runs it."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._next = 0.0
        #: Who is not through yet, in this round.
        self._left: list[str] = []
        #: By tenant: the ids that were looked at last (messages, raw input), and what this round has forgotten.
        self._at: dict[str, dict[str, str | None]] = {}
        self._forgotten: dict[str, dict[str, int]] = {}

    @property
    def rest(self) -> float:
        """Seconds until it is worth asking again."""
        return min(max(self._next - time.monotonic(), 0.05), 10.0) if self._ctx.settings.retention_days else 10.0

    def run_due(self) -> int:
        """One piece of each tenant; returns how many rows were forgotten."""
        days, now = self._ctx.settings.retention_days, self._ctx.clock()
        if not days or time.monotonic() < self._next:
            return 0
        began, found = time.monotonic(), 0
        if not self._left:
            with self._ctx.store.read() as uow:
                self._left = uow.tenants.ids()
        for tenant_id in list(self._left):
            count, more = self._piece(tenant_id, now - timedelta(days=days), now)
            found += count
            if not more:
                self._left.remove(tenant_id)
        ended = time.monotonic()
        self._next = ended + ((ended - began) * (1 / _SHARE - 1) if self._left else _REST_SECONDS)
        return found

    def _piece(self, tenant_id: str, before: datetime, now: datetime) -> tuple[int, bool]:
        """(rows forgotten, whether there is more)."""
        at = dict(self._at.get(tenant_id) or {"messages": "", "raws": ""})
        forgotten = dict(self._forgotten.get(tenant_id) or {"messages": 0, "raws": 0})
        keys_before = now - timedelta(days=self._ctx.settings.dedupe_days)
        found = 0
        with self._ctx.store.begin() as uow:
            for kind, forget in (("messages", uow.history.messages), ("raws", uow.history.raws)):
                if (after := at[kind]) is not None:
                    count, at[kind] = forget(tenant_id, before, after, _PIECE)
                    forgotten[kind] += count
                    found += count
            more = any(after is not None for after in at.values())
            if not more:
                forgotten["others"] = uow.history.rest(tenant_id, before, keys_before)
                if any(forgotten.values()):
                    audit.record(uow, tenant_id, now, "retention", "history.forgotten", f"tenant/{tenant_id}",
                                 before=before.isoformat(), **forgotten)  # fmt: skip
        self._at[tenant_id], self._forgotten[tenant_id] = at, forgotten
        if not more:
            del self._at[tenant_id], self._forgotten[tenant_id]
            log.info("%s: %s from before %s is forgotten", tenant_id, forgotten, before.isoformat())
        return found, more
