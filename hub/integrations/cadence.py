"""When a flow runs: at once, every so often, by a calendar, when a till is closed, or when somebody asks.

What repeats is spread over its period by a stable share of each stream's name (`phase`): polls and batches of a thousand
tenants do not fall on the same second, and nothing shifts when a process restarts.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_EVERY = re.compile(r"every (\d+)\s*(s|m|h|d)")
_CRON = re.compile(r"cron \"?([^\"]+?)\"?(?: +([A-Za-z]+(?:/[A-Za-z_+-]+)+|UTC))?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: Nothing is due before it: what waits for a closure or a person.
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
#: A calendar's time is spread over this at most, so that 02:00 stays about 02:00.
_SPREAD_SECONDS = 60.0
WORDS = 'realtime, on_demand, on_closure, `every N s|m|h|d` or `cron "0 2 * * *" Europe/Berlin`'


@dataclass(frozen=True)
class Cadence:
    """A parsed cadence. ``kind``: realtime, every, cron, on_closure or on_demand."""

    kind: str = "realtime"
    seconds: float = 0.0
    cron: str = ""
    zone: str = "UTC"

    @property
    def text(self) -> str:
        """As it is written in a file."""
        if self.kind == "every":
            return f"every {self.seconds:g} s"
        return f'cron "{self.cron}" {self.zone}' if self.kind == "cron" else self.kind

    def after(self, at: datetime, name: str) -> datetime:
        """The first time after ``at`` when what is called ``name`` runs; `NEVER` if no clock says so."""
        share = phase(name)
        if self.kind == "every":
            offset = round(share * self.seconds * 1000) / 1000
            turn = int((at.timestamp() - offset) // self.seconds) + 1
            found = datetime.fromtimestamp(offset + turn * self.seconds, UTC)
            return found if found > at else found + timedelta(seconds=self.seconds)
        if self.kind == "cron":
            spread = timedelta(seconds=share * min(_SPREAD_SECONDS, self.period(at) / 10))
            # Begun a spread earlier: the time that was meant may lie before ``at``, and its spread after it.
            for found in CronSim(self.cron, (at - spread).astimezone(ZoneInfo(self.zone))):
                if found.astimezone(UTC) + spread > at:
                    return found.astimezone(UTC) + spread
        return at if self.kind == "realtime" else NEVER

    def period(self, at: datetime) -> float:
        """Seconds between the next two times of a calendar."""
        times = CronSim(self.cron, at.astimezone(ZoneInfo(self.zone)))
        first, second = next(times), next(times)
        return (second.astimezone(UTC) - first.astimezone(UTC)).total_seconds()


def phase(name: str) -> float:
    """A share of a period, 0 to 1, the same for a name for ever."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def parse_cadence(text: str) -> Cadence:
    """Raises ValueError that says what can be written."""
    if text in ("realtime", "on_closure", "on_demand"):
        return Cadence(text)
    if (match := _EVERY.fullmatch(text)) and int(match[1]):
        return Cadence("every", float(match[1]) * _SECONDS[match[2]])
    if match := _CRON.fullmatch(text):
        found = Cadence("cron", cron=match[1].strip(), zone=match[2] or "UTC")
        try:
            ZoneInfo(found.zone)
            found.period(datetime(2026, 1, 1, tzinfo=UTC))
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{found.zone!r} is no IANA time zone") from None
        except (CronSimError, StopIteration) as error:
            raise ValueError(f"{found.cron!r} is no cron expression that comes again: {error}") from None
        return found
    raise ValueError(f"{text!r} is not {WORDS}")
