"""Rate limit policy: one budget per connection, kept in the store so that every process shares it.

Four limits, because real systems have four: rate, concurrency, requests per day, errors per hour. Short windows are paced
by GCRA, so that no sliding window of theirs is ever exceeded; long ones are counted in slices. What the target says (429,
Retry-After) closes the budget until then and slows the pace; a target that is down opens the breaker: one trial per
``breaker_seconds``. Every request counts: reads, probes, writes. All functions work on a budget row of the store
(`Budgets`), with ``now`` in epoch seconds; the caller holds the row's lock and saves it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub.errors import ThrottledError

Row = dict[str, Any]
Limits = Mapping[str, Any]
#: Windows up to here are paced, longer ones counted: a day's requests may be used in the day's busy hours.
PACED_SECONDS = 600.0
_SLICES = 24
#: In windows shorter than this the margin of the pacing is smaller than what a busy machine delays: departures are logged.
_SHORT_SECONDS = 8.0
_SHORT_MARGIN = 1.01
#: A request without an answer may have arrived at any moment until so long after it left.
_UNDER_WAY_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 0.05
#: Without a declared rate, what a throttled connection starts again with (requests a second, times its pace).
UNDECLARED_RATE = 50.0
_CUT_SECONDS = 2.0
_RECOVERY_SECONDS = 60.0
_LEARNED_DOUBLES_SECONDS = 120.0


@dataclass(frozen=True)
class Pacing:
    """GCRA: a request every ``interval`` seconds, ``burst`` at once after a pause."""

    interval: float
    burst: int


def pacing(limits: Limits) -> Pacing | None:
    """The pacing that keeps every short window; None if the connector declares no rate.

    A window of N requests in T seconds holds, for any sliding window, with a burst b and an interval of at least
    T / (N - b + 1): b - 1 + ceil(T / interval) <= N. Three or four per cent on top absorb what the network adds.
    """
    found = []
    if limits.get("requests_per_second"):
        found.append(Pacing(1.0 / limits["requests_per_second"], int(limits["burst"])))
    for rate in limits.get("rates") or ():
        if rate["seconds"] <= PACED_SECONDS:
            burst = 1 + rate["requests"] // 50
            margin = 1.04 if burst == 1 else 1.03
            found.append(Pacing(rate["seconds"] / (rate["requests"] - burst + 1) * margin, burst))
    return Pacing(max(item.interval for item in found), min(item.burst for item in found)) if found else None


def counted(limits: Limits) -> bool:
    """Whether requests have to be counted: the row must be locked for each."""
    return pacing(limits) is not None or bool(limits.get("rates")) or bool(limits.get("error_budget"))


def troubled(row: Row, limits: Limits, now: float) -> bool:
    """Whether the row says anything but "go ahead"."""
    return bool(row["failures"] or row["open_until"] or row["blocked_until"] > now or pace(row, limits, now) < 1.0)


def pace(row: Row, limits: Limits, now: float) -> float:
    """Share of the rate in use: cut at a 429. A declared rate is whole again after a minute; one that had to be learned
    doubles every two minutes, so that it runs into the limit about once a minute.
    """
    if row["pace"] >= 1.0:
        return 1.0
    since = max(0.0, now - row["paced_at"])
    if pacing(limits) is None:
        return float(min(1.0, row["pace"] * 2.0 ** min(since / _LEARNED_DOUBLES_SECONDS, 60.0)))
    return float(min(1.0, row["pace"] + since / _RECOVERY_SECONDS))


def reserve(row: Row, limits: Limits, now: float, in_hand: int, max_wait: float, trial: bool = False) -> float:
    """Reserve the next slot in ``row``; the seconds to wait for it. ``in_hand`` other requests may be under way.

    Raises ThrottledError (nothing is reserved) if the wait is longer than ``max_wait``.
    """
    wait: float = max(0.0, row["blocked_until"] - now)
    if row["open_until"] and not trial:
        if now < row["open_until"]:
            raise ThrottledError(row["open_until"] - now)
        row["open_until"] = now + _breaker(limits)  # this one is the trial
    for index, rate in enumerate(limits.get("rates") or ()):
        if rate["seconds"] > PACED_SECONDS:
            wait = max(wait, _until_free(row, f"rate{index}", rate["seconds"], rate["requests"] - 1, now))
    if errors := limits.get("error_budget"):
        wait = max(wait, _until_free(row, "errors", errors["seconds"], errors["errors"] - 2 - in_hand, now))
    paced, share = pacing(limits), pace(row, limits, now)
    if paced is None and share < 1.0:
        paced = Pacing(1.0 / UNDECLARED_RATE, 1)
    interval = paced.interval / share if paced else 0.0
    arrival = max(row["tat"], now)
    if paced is not None:
        wait = max(wait, arrival - (paced.burst - 1) * interval - now)
    if wait > max_wait:
        raise ThrottledError(wait)
    if paced is not None:
        row["tat"] = max(arrival, now + wait) + interval
    for index, rate in enumerate(limits.get("rates") or ()):
        if rate["seconds"] > PACED_SECONDS:
            _count(row, f"rate{index}", rate["seconds"], now, now + wait)
    return wait


def logged(limits: Limits) -> list[Mapping[str, Any]]:
    """The rates whose windows are so short that each departure is logged."""
    return [rate for rate in limits.get("rates") or () if rate["seconds"] < _SHORT_SECONDS]


def depart(row: Row, limits: Limits, now: float, request: str) -> float:
    """Log that ``request`` leaves at once, 0.0; or log nothing: the seconds until it may be asked again.

    A request counts in every window that it may have arrived in: until `arrived` says when at the latest, it may have arrived
    right now. So no window of the target holds too many, however late one of them is, or however busy this machine.
    """
    short = [(rate["requests"], rate["seconds"] * _SHORT_MARGIN) for rate in logged(limits)]
    latest = {
        name: (at if at is not None else min(now, left + _UNDER_WAY_SECONDS), at is None)
        for name, (left, at) in row["counts"].get("departures", {}).items()
    }
    wait = 0.0
    for allowed, seconds in short:
        within = sorted((at, under_way) for at, under_way in latest.values() if at > now - seconds)
        if len(within) >= allowed:
            at, under_way = within[len(within) - allowed]
            wait = max(wait, _LOOK_AGAIN_SECONDS if under_way else at + seconds - now + 1e-6)
    if wait == 0.0:
        longest = max(seconds for _, seconds in short)
        kept = {name: row["counts"]["departures"][name] for name, (at, _) in latest.items() if at > now - longest}
        row["counts"] = {**row["counts"], "departures": {**kept, request: (now, None)}}
    return wait


def arrived(row: Row, request: str, at: float) -> None:
    """An answer shows that ``request`` arrived, at ``at`` at the latest."""
    departures = row["counts"].get("departures", {})
    if request in departures:
        row["counts"] = {**row["counts"], "departures": {**departures, request: (departures[request][0], at)}}


def throttled(row: Row, limits: Limits, now: float, seconds: float) -> None:
    """The target said to stay away for ``seconds``."""
    row["blocked_until"] = max(row["blocked_until"], now + seconds)
    if row["pace"] >= 1.0 or now - row["paced_at"] > _CUT_SECONDS:  # those under way at once are told at once
        row["pace"], row["paced_at"] = max(0.05, pace(row, limits, now) * 0.7), now


def failed(row: Row, limits: Limits, now: float) -> None:
    """The target did not answer, or answered that it is down; ``breaker_failures`` of these in a row open the breaker."""
    row["failures"] += 1
    if row["failures"] >= limits["breaker_failures"]:
        row["open_until"] = now + _breaker(limits)


def alive(row: Row) -> None:
    """The target answered: the breaker closes."""
    row["failures"], row["open_until"] = 0, 0.0


def erred(row: Row, limits: Limits, now: float) -> None:
    """An answer that the target counts as an error."""
    if errors := limits.get("error_budget"):
        _count(row, "errors", errors["seconds"], now, now)


def window(row: Row, limits: Limits, now: float, horizon: float, batch: int = 1) -> int:
    """How many deliveries may be under way: what can begin within ``horizon`` seconds, none if closed, one if it is a trial.

    Twice the concurrency at most, so that a worker finds the next one at hand; everything else waits in the store, where it
    costs nothing and keeps nobody else waiting.
    """
    if row["blocked_until"] > now or row["open_until"] > now:
        return 0
    if row["open_until"]:
        return 1
    size = 2 * int(limits["concurrency"]) * batch
    if (paced := pacing(limits)) is not None:
        behind = max(0.0, row["tat"] - now) / paced.interval
        size = min(size, max(0, int(horizon / paced.interval + paced.burst - behind)) * batch)
    for index, rate in enumerate(limits.get("rates") or ()):
        if rate["seconds"] > PACED_SECONDS:
            size = min(size, rate["requests"] - _used(row, f"rate{index}", rate["seconds"], now))
    if errors := limits.get("error_budget"):
        size = min(size, errors["errors"] - 1 - _used(row, "errors", errors["seconds"], now))
    return max(0, size)


def hold(row: Row, limits: Limits, holder: str, now: float, in_hand: int) -> None:
    """Take a place among the connection's concurrent requests for a read. Raises ThrottledError if all are taken."""
    row["held"] = {name: until for name, until in row["held"].items() if until > now and name != holder}
    if in_hand + len(row["held"]) >= limits["concurrency"]:
        raise ThrottledError(0.25)
    row["held"] = {**row["held"], holder: now + float(limits["timeout_seconds"]) + 5.0}


def held(row: Row, now: float) -> int:
    """Reads in hand."""
    return sum(1 for until in row["held"].values() if until > now)


def release(row: Row, holder: str) -> None:
    """Give the place back."""
    row["held"] = {name: until for name, until in row["held"].items() if name != holder}


def _breaker(limits: Limits) -> float:
    return float(limits["breaker_seconds"])


def _slice(seconds: float, now: float) -> int:
    return int(now / (seconds / _SLICES))


def _used(row: Row, name: str, seconds: float, now: float) -> int:
    """Requests in the window, plus the slice that is leaving it: never less than any sliding window holds."""
    current = _slice(seconds, now)
    return sum(n for index, n in row["counts"].get(name, {}).items() if int(index) >= current - _SLICES)


def _count(row: Row, name: str, seconds: float, now: float, at: float) -> None:
    """Count one at ``at``; what has left the window by ``now`` is forgotten."""
    oldest = _slice(seconds, now) - _SLICES
    kept = {index: n for index, n in row["counts"].get(name, {}).items() if int(index) >= oldest}
    current = str(_slice(seconds, at + min(2.0, seconds / _SLICES / 20)))  # it arrives a little later than it is sent
    kept[current] = kept.get(current, 0) + 1
    row["counts"] = {**row["counts"], name: kept}


def _until_free(row: Row, name: str, seconds: float, allowed: int, now: float) -> float:
    """Seconds until at most ``allowed`` are left in the window; 0 if that is so now."""
    slices = {int(index): n for index, n in row["counts"].get(name, {}).items()}
    current, width = _slice(seconds, now), seconds / _SLICES
    used = sum(n for index, n in slices.items() if index >= current - _SLICES)
    for index in sorted(slices):
        if used <= allowed:
            break
        if index >= current - _SLICES:
            used -= slices[index]
            if used <= allowed:
                return max(0.0, (index + _SLICES + 1) * width - now)
    return 0.0 if used <= allowed else seconds
