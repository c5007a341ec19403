"""The clock that leases are compared by: the store's, carried on by the monotonic one."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from hub.store import StoreClock, StoreUnavailableError

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class _Store:
    """A server an hour ahead of this machine, that can be away."""

    def __init__(self) -> None:
        self.begun, self.away = time.monotonic(), False
        self.delays: list[float] = []  # how long each of the next looks is on its way there

    def now(self) -> datetime:
        if self.away:
            raise StoreUnavailableError(sa.exc.OperationalError("SELECT", {}, OSError("gone")))
        if self.delays:
            time.sleep(self.delays.pop(0))
        return NOON + timedelta(seconds=time.monotonic() - self.begun)


@pytest.mark.parametrize("step", [3600.0, -3600.0, 40 * 365 * 86400.0])
def test_setting_the_machines_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    store: Any = _Store()
    clock = StoreClock(store)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + step)

    for away in (False, True):  # looked at again, and when the store cannot be asked
        store.away = away
        clock.anchor()
        assert abs(clock() - NOON) < timedelta(seconds=5)


def test_time_goes_on_between_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = _Store()
    clock = StoreClock(store)
    monotonic = time.monotonic
    before = clock()
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 90.0)  # a process that was stopped sees it afterwards

    assert timedelta(seconds=89) < clock() - before < timedelta(seconds=95)


def test_a_slow_look_moves_the_clock_no_further_than_it_proves() -> None:
    """Opening the first connection takes most of that look's time; half of it as an error let four workers exceed a limit."""
    store: Any = _Store()
    store.delays = [0.5]
    clock = StoreClock(store)
    for _ in range(2):
        assert abs(clock() - store.now()) < timedelta(seconds=0.05)
        store.delays = [0.5] * 4
        clock.anchor()
