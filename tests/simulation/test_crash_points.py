"""L2: a crash at each boundary of each flow, and at all pairs of boundaries; after each recovery every invariant holds."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from simulation.flows import FLOWS, Flow
from simulation.invariants import check, effects_are_guarded
from simulation.world import World, crashing


def boundaries(world: World, flow: Flow) -> int:
    """How many boundaries ``flow`` has from here, uninterrupted."""
    hub = crashing(world, 0, flow.act)
    effects_are_guarded(hub.ports.log)
    return hub.ports.count


def sweep(flow: Flow, pairs: bool, part: int = 0, parts: int = 1) -> int:
    """Crash at every boundary (and, after each, at every boundary of the recovery); returns how many runs.

    ``part`` of ``parts``: every so many first boundaries, for several processes.
    """
    runs = 0
    total = boundaries(flow.world(), flow)
    for first in range(1 + part, total + 1, parts):
        second, more = (1, True) if pairs else (0, False)
        while True:
            world = flow.world()
            crashing(world, first, flow.act)
            if second:
                more = crashing(world, second, flow.act).ports.count >= second
            hub = crashing(world, 0, flow.act)
            effects_are_guarded(hub.ports.log)
            try:
                check(world)
            except AssertionError as error:
                raise AssertionError(f"crash at {first}, then {second}: {error}\n{hub.ports.log}") from error
            runs += 1
            if not more:
                break
            second += 1
    return runs


@pytest.mark.parametrize("name", FLOWS)
def test_a_crash_at_any_boundary_loses_and_doubles_nothing(name: str) -> None:
    assert sweep(FLOWS[name], pairs=False) >= 9


def _part(name: str, part: int, parts: int) -> int:
    return sweep(FLOWS[name], True, part, parts)


def test_crashes_at_any_two_boundaries_lose_and_double_nothing() -> None:
    """All pairs, on every core."""
    cores = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=context) as pool:
        jobs = {(name, part): pool.submit(_part, name, part, 4) for name in FLOWS for part in range(4)}
        runs = {name: sum(jobs[name, part].result() for part in range(4)) for name in FLOWS}
    assert all(count >= 60 for count in runs.values()), runs
