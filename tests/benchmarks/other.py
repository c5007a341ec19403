"""Other work than the main job: dead letters that are tried again, a system that is polled."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import fill, pipeline, target
from benchmarks.backfill import HISTORY
from benchmarks.target import BEGAN, DAYS
from benchmarks.world import World

POLLED = """
integration: bench
connections: {{old: {{connector: bench, base_url: "{url}"}}, new: {{connector: bench, base_url: "{url}"}}}}
flows:
  - {{name: products, on: product.v2, from: old, cadence: on_demand, read: [row], to: [{{connection: new}}]}}
"""
#: Of so many at most each is written to the other system, too; of more it is known already what they looked like.
_WRITTEN = 10_000


class _Meter:
    """Time and processor time of a hub from its making on."""

    def __init__(self, world: World) -> None:
        self._world, self._began, self._before = world, time.monotonic(), pipeline.used(world)

    def row(self, what: str, pieces: int) -> list[str]:
        took, after = time.monotonic() - self._began, pipeline.used(self._world)
        spent = sum(after[name] - self._before.get(name, 0.0) for name in after if name != "target")
        return [what, f"{pieces:,}", f"{pieces / took:.0f}", f"{1e6 * spent / pieces:.0f}"]


def replayed(world: World, count: int) -> list[str]:
    """Dead letters of a hub that has applied something, all tried again: until each is applied."""
    fill.dead_letters(world.database_url, 0, count)
    meter, asked = _Meter(world), {"reason": "bench"}
    while True:
        answer = world.call("POST", "/v1/dead-letters/replay", asked)
        if not answer["more"]:
            break
        asked = {"reason": "bench", "before": answer["before"]}
    _until(world.settled)
    return meter.row("dead letters tried again, and applied", count)


def polled(folder: Path, database_url: str, broker_url: str, port: int, count: int) -> list[list[str]]:
    """A system with so many records: the first of them read, translated and written to another one; then all of them read
    again, unchanged.
    """
    settings = {"backfill_share": "0.95"}  # nothing else goes on here
    with World(folder, database_url, broker_url, port, manifest=HISTORY, **settings) as world:
        world.start_target(str(count))
        world.run("serve", "work", "schedule")
        world.call("POST", "/v1/integrations", {"source": POLLED.format(url=world.target_url)})
        meter = _Meter(world)
        written = _read(world, BEGAN + timedelta(days=DAYS) * min(_WRITTEN, count) / count)["read"]
        _until(world.settled)
        rows = [meter.row("records polled, translated, written", written)]
        fill.records(world.database_url, target.rows(count, BEGAN.isoformat(), 0, count))
        meter = _Meter(world)
        run = _read(world, BEGAN + timedelta(days=DAYS + 1))
        if run["reckoning"]["known"] != count:
            raise SystemExit(f"{run['reckoning']['known']} of {count} records were known when they were read again")
        return [*rows, meter.row("records read again, unchanged", count)]


def _read(world: World, until: datetime) -> Any:
    """A read of the history to its end."""
    given = {
        "connection_id": "old",
        "object": "row",
        "since": f"{BEGAN:%Y-%m-%dT%H:%M:%SZ}",
        "until": f"{until:%Y-%m-%dT%H:%M:%SZ}",
    }
    run = world.call("POST", "/v1/backfills", given)
    _until(lambda: world.call("GET", f"/v1/runs/{run['id']}")["complete"], 4 * 3600)
    return world.call("GET", f"/v1/runs/{run['id']}")


def _until(condition: Any, seconds: float = 1800) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("the hub did not finish in time")
        time.sleep(0.5)
