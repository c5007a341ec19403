"""Gap detection: a till that has told receipts 17 and 19 owes receipt 18, whatever its webhooks and polls say.

    sequences:
      receipts: {on: [sale.completed.v1, return.completed.v1], from: pos, series: [location.code, till.number], number: number}

A number between two that came is waited for (`within`). Then the connection's streams are read at once, and those that are
read by time once more from when the number before it was told: a poll that has passed it by does not look there again. What
does not come then is listed until it does, or until a person accepts that it never was (a receipt that was given up).
"""

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

from hub.errors import HubError, NotFoundError
from hub.flow.context import Context
from hub.integrations.files import Sequence
from hub.policies import audit
from hub.runtime.plugins import NotInstalledError
from hub.sdk.errors import UntranslatableError
from hub.sdk.mapping import evaluate
from hub.store import UnitOfWork, new_id
from hub.store.ids import bounded
from hub.store.rows import Row
from hub.sync.runs import add_backfill

log = logging.getLogger(__name__)
_NUMBER = re.compile(r"(.*?)(\d{1,18})(\D*)", re.DOTALL)
#: A sequence that leaps farther has begun anew.
_LEAP = 1000
#: Transactions commit out of order: what arrived shortly before the last look is looked at again.
_OVERLAP = timedelta(seconds=60)
#: The cursor of such a read is the system's own, not a time.
_NOT_BY_TIME = ("version",)


class GapFinder:
    """Looks for numbers that are missing, by the sequences of the integrations in force."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def run_due(self) -> int:
        """Look at what has arrived since the last time; returns how many numbers are newly missing."""
        found = 0
        with self._ctx.store.read() as uow:
            work = [(tenant_id, f"{entry.integration.name}/{name}", sequence) for tenant_id in uow.tenants.ids()
                    for entry in self._ctx.routes.in_force(uow, tenant_id)
                    for name, sequence in entry.integration.sequences.items()]  # fmt: skip
        for tenant_id, name, sequence in work:
            found += self._look(tenant_id, name, sequence)
        told: dict[str, dict[str, Sequence]] = defaultdict(dict)
        for tenant_id, name, sequence in work:
            told[tenant_id][name] = sequence
        for tenant_id, sequences in told.items():
            self._miss(tenant_id, sequences)
        return found

    def _look(self, tenant_id: str, name: str, sequence: Sequence) -> int:
        """Note what is missing between what came, and what came that was missing."""
        now = self._ctx.clock()
        with self._ctx.store.begin() as uow:
            row = uow.cursors.get(tenant_id, sequence.source, f"#{name}")
            known: dict[str, Any] = row["value"] if row else {"high": {}}
            since = datetime.fromisoformat(known["at"]) - _OVERLAP if "at" in known else now - timedelta(days=1)
            came: dict[str, dict[int, datetime]] = defaultdict(dict)
            shapes: dict[str, tuple[str, int, str]] = {}
            for item in uow.gaps.told(tenant_id, sequence.types, sequence.source, since):
                told = _told(orjson.loads(item["body"])["data"], sequence)
                if told is not None:
                    series, shape, number = told
                    came[series][number] = item["event_at"]
                    shapes[series] = shape
            high, at, missing = dict(known["high"]), dict(known.get("when", {})), list[Row]()
            for series, numbers in came.items():
                uow.gaps.fill(tenant_id, name, series, [_text(shapes[series], number) for number in sorted(numbers)], now)
                for number in sorted(numbers):
                    last = high.get(series)
                    if last is not None and last < number <= last + _LEAP:
                        when = datetime.fromisoformat(at[series]) if series in at else None
                        missing += [self._gap(tenant_id, name, sequence, series, _text(shapes[series], lost), when, now)
                                    for lost in range(last + 1, number)]  # fmt: skip
                    if last is None or number >= last:
                        high[series], at[series] = number, numbers[number].isoformat()
            uow.gaps.add(missing)
            uow.cursors.put({
                "tenant_id": tenant_id, "connection_id": sequence.source, "object": f"#{name}",
                "value": {"at": now.isoformat(), "high": high, "when": at}, "updated_at": now, "next_run_at": now,
                "run": {"state": "complete"},
            })  # fmt: skip
        return len(missing)

    @staticmethod
    def _gap(
        tenant_id: str, name: str, sequence: Sequence, series: str, number: str, since: datetime | None, now: datetime
    ) -> Row:  # fmt: skip
        return {
            "tenant_id": tenant_id, "id": new_id(), "sequence": name, "connection_id": sequence.source, "series": series,
            "number": number, "state": "waiting", "noticed_at": now, "due_at": now + timedelta(seconds=sequence.within),
            "ended_at": None, "actor": "", "reason": "", "since": since,
        }  # fmt: skip

    def _miss(self, tenant_id: str, sequences: Mapping[str, Sequence]) -> None:
        """What should have come by now: say so, and read the connection's streams at once."""
        now = self._ctx.clock()
        with self._ctx.store.begin() as uow:
            by: dict[tuple[str, str], list[Row]] = defaultdict(list)
            for row in uow.gaps.due(tenant_id, now):
                by[row["connection_id"], row["sequence"]].append(row)
            for (connection_id, name), rows in by.items():
                uow.gaps.open(tenant_id, [row["id"] for row in rows])
                uow.cursors.hurry(tenant_id, connection_id, now)
                told = [f"{row['series']} {row['number']}" for row in rows[:50]]
                audit.record(uow, tenant_id, now, "gaps", "gap.found", f"connection/{connection_id}", sequence=name,
                             count=len(rows), missing=told)  # fmt: skip
                log.warning("%s/%s owes %d numbers of %s: %s", tenant_id, connection_id, len(rows), name, "; ".join(told[:5]))
                if times := [row["since"] for row in rows if row["since"] is not None]:
                    reason = f"{name}: {len(rows)} numbers are missing"
                    try:
                        self._fetch(uow, tenant_id, connection_id, sequences.get(name), min(times) - _OVERLAP, reason)
                    except NotInstalledError as error:  # listed all the same, and no other tenant's look waits for it
                        log.warning("%s/%s: %s; not read again: %s", tenant_id, connection_id, reason, error)

    def _fetch(
        self, uow: UnitOfWork, tenant_id: str, connection_id: str, sequence: Sequence | None, since: datetime, reason: str
    ) -> None:
        """Read again from then on, by time, what flows read of the sequence's types."""
        ctx = self._ctx
        connection = ctx.connection(uow, tenant_id, connection_id)
        if connection is None or sequence is None:  # its file is not in force any more
            return
        flows = [flow for entry in ctx.routes.in_force(uow, tenant_id) for _, flow in entry.flows()]
        mine = [flow for flow in flows if flow.source == connection_id and set(flow.types) & set(sequence.types)]
        objects = ctx.plugins.get(connection["connector"], tenant_id).manifest.objects
        asked = since.isoformat(timespec="seconds").replace("+00:00", "Z")
        for name in sorted({name for flow in mine for name in flow.read}):
            declared = objects.get(name, {}).get("read")
            if declared and declared["incremental"] and declared["paging"]["type"] not in _NOT_BY_TIME:
                add_backfill(ctx, uow, tenant_id, connection_id, name, asked, "", "gaps", reason)


def accept(ctx: Context, tenant_id: str, gap_id: str, actor: str, reason: str) -> Row:
    """It never was: nobody waits for it any more. Raises NotFoundError, or HubError (`wrong_state`) if it has ended."""
    now = ctx.clock()
    with ctx.store.begin() as uow:
        found = _found(uow, tenant_id, gap_id)
        if not uow.gaps.accept(tenant_id, gap_id, actor, reason, now):
            raise HubError("wrong_state", f"gap {gap_id} is {found['state']}; only one that is open is accepted")
        audit.record(uow, tenant_id, now, actor, "gap.accepted", f"connection/{found['connection_id']}",
                     sequence=found["sequence"], series=found["series"], number=found["number"], reason=reason)  # fmt: skip
        return _found(uow, tenant_id, gap_id)


def _found(uow: UnitOfWork, tenant_id: str, gap_id: str) -> Row:
    row = uow.gaps.get(tenant_id, gap_id)
    if row is None:
        raise NotFoundError("gap", gap_id)
    return row


def _told(data: Mapping[str, Any], sequence: Sequence) -> tuple[str, tuple[str, int, str], int] | None:
    """(series, how its numbers are written, number) of a document; None if it has none."""
    try:
        parts = [evaluate(expression, data) for expression in sequence.series]
        match = _NUMBER.fullmatch(str(evaluate(sequence.number, data) or ""))
    except UntranslatableError:
        return None
    if match is None:
        return None
    before, digits, after = match.groups()
    width = len(digits) if digits.startswith("0") else 0
    written = f"{before}…{after}" if before or after else ""
    series = " ".join(str(part) for part in [*parts, written] if part not in (None, ""))
    return bounded(series), (before, width, after), int(digits)


def _text(shape: tuple[str, int, str], number: int) -> str:
    before, width, after = shape
    return f"{before}{number:0{width}d}{after}"[:64]
