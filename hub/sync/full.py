"""Full reads: everything that a stream lists, from its beginning. What was there before and is not listed is gone.

A read by time sees what was changed and never what was deleted; of some systems it does not see every change either. So a
full read compares: what looks different than it did last becomes input, like in a poll, and what it has not seen is withdrawn,
but not at once. Records shift between pages while others are deleted, so it reads a second time and counts what neither has
seen. If that is much, it asks a person first: a key that may not see everything any more looks the same.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from hub.flow.context import Context
from hub.flow.ingest import received
from hub.flow.withdraw import GONE
from hub.store import UnitOfWork, new_id
from hub.store.rows import Row
from hub.sync.runs import FULL, add_run, second_look

KIND = "full"
#: So many records may go unasked whatever their share of all is, unless they are more than half of all.
_FEW = 10
#: Withdrawn in one transaction.
_PIECE = 200
#: What was missed before a longer interruption than this is looked for again; reading may take days, by a system's quotas.
_STALE = timedelta(hours=1)


class Turn:
    """One turn of such a run: a page, or a piece of what is withdrawn.

    The run's cursor: ``pass`` 1 or 2 while it reads (``read``: the stream's own cursor), 3 while it withdraws; ``agreed``: how
    many a person was asked about.
    """

    def __init__(self, row: Row, now: datetime, share: float) -> None:
        self._share = share
        stale = row["cursor"]["pass"] == 3 and now - row["updated_at"] > _STALE
        self._row, self._cursor = row, second_look(row["cursor"]) if stale else row["cursor"]
        self._following: dict[str, Any] | None = None
        #: What was not seen since then was not seen.
        self.since: datetime = row["started_at"]
        self.reads = self._cursor["pass"] < 3
        #: The stream's own cursor.
        self.cursor: dict[str, Any] = dict(self._cursor["read"])

    def after(self, uow: UnitOfWork, report: dict[str, Any], value: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """The run's cursor after what was just read, and in ``report`` what a last page leads to."""
        if self._following is None:
            if report["state"] != "complete":
                return {**self._cursor, "read": dict(value)}
            self._following = self._end_of_pass(uow, report, now)
        return self._following

    def _end_of_pass(self, uow: UnitOfWork, report: dict[str, Any], now: datetime) -> dict[str, Any]:
        key = (self._row["tenant_id"], self._row["connection_id"], self._row["object"])
        if not self.reads:
            gone = uow.records.unseen(*key, self.since, _PIECE)
            uow.raws.add_many([_raw(self._row, record, now) for record in gone])
            uow.records.gone(gone, now)
            report["read"] += len(gone)  # what was looked for and not found
            report["new"] += len(gone)
            report["state"] = "more" if len(gone) == _PIECE else "complete"
            return dict(self._cursor)
        known, unseen = uow.records.counted(*key, self.since)
        if not unseen:
            return dict(self._cursor)
        report["state"] = "more"
        if self._cursor["pass"] == 1:
            return {"pass": 2, "read": {}}
        agreed = int(self._cursor.get("agreed", 0))  # to so many; a run of a former version that has True asks again
        if must_ask(known, unseen, self._share) and unseen > agreed:
            report["state"] = "asks"
            report["error"] = (
                f"{unseen} of {known} records are not listed any more ({known - unseen} are; asked from a share of"
                f" {self._share:g} on, HUB_FULL_READ_ASK_SHARE). If that is right, resume this run: it looks once more and"
                " withdraws as many at most. If not, cancel it"
            )
            return {"pass": 2, "read": {}, "agreed": unseen}
        return {**self._cursor, "pass": 3}


def must_ask(known: int, unseen: int, share: float) -> bool:
    """Whether a person is asked before ``unseen`` of ``known`` records are withdrawn: where nothing was found, and where far
    less was found than was known.
    """
    return unseen > 0 and (unseen == known or 2 * unseen > known or unseen > max(_FEW, known * share))


def start_due(ctx: Context, streams: Sequence[Any], known: set[Any]) -> None:
    """Begin the full reads that flows ask for (`full_read`) and whose time has come; ``known``: whose next time is known."""
    asked = {stream.name: stream for stream in streams if stream.full}
    if not asked:
        return
    now = ctx.clock()
    with ctx.store.read() as uow:
        come: Collection[tuple[str, str, str]] = uow.cursors.full_due(now)
    for name, stream in asked.items():
        key = (stream.tenant_id, stream.connection_id, stream.object)
        if stream in known and key not in come:
            continue
        with ctx.store.begin() as uow:
            row = uow.cursors.get(*key)
            if row is None:
                continue  # its first read is a full one
            following = min(cadence.after(now, f"{name}/full") for cadence in stream.full)
            due = row["full_at"] is not None and row["full_at"] <= now
            if row["full_at"] is None or due or row["full_at"] > following:  # it is asked for more often than before
                uow.cursors.set_full(*key, following)
            if due and not uow.runs.open(*key, KIND):
                add_run(uow, *key, KIND, now, actor="schedule", cursor=FULL, due_at=now)
        known.add(stream)


def _raw(row: Row, record: Row, now: datetime) -> dict[str, Any]:
    """That a record is gone, as raw input. The same end of the same record is the same event, whoever notices it."""
    event = hashlib.sha256(f"{record['ref']}\x1f{record['changes']}\x1f{GONE}".encode()).hexdigest()
    return {
        "tenant_id": row["tenant_id"], "id": new_id(), "connection_id": row["connection_id"], "kind": "poll",
        "object": row["object"], "source_event_id": f"{row['object']}:{event}", "event_type": GONE, "headers": {},
        "body": orjson.dumps({"gone": record["ref"]}), "traceparent": "", **received(now), "lane": "bulk", "run_id": row["id"],
    }  # fmt: skip
