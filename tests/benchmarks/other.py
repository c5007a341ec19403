"""Other work than the main job: dead letters that are tried again, a system that is polled."""

import time
from pathlib import Path
from typing import Any

from benchmarks import fill, pipeline
from benchmarks.backfill import HISTORY
from benchmarks.world import World

POLLED = """
integration: bench
connections: {{old: {{connector: bench, base_url: "{url}"}}, new: {{connector: bench, base_url: "{url}"}}}}
flows:
  - {{name: products, on: product.v2, from: old, cadence: every 1s, read: [row], to: [{{connection: new}}]}}
"""


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
    """A system with so many records: each read, translated and written to another one; then read again, unchanged."""
    settings = {"backfill_share": "0.95"}  # nothing else goes on here
    with World(folder, database_url, broker_url, port, manifest=HISTORY, **settings) as world:
        world.start_target(str(count))
        world.run("serve", "work", "schedule")
        meter = _Meter(world)
        world.call("POST", "/v1/integrations", {"source": POLLED.format(url=world.target_url)})
        _until(lambda: world.arrived() >= count)
        _until(world.settled)
        rows = [meter.row("records polled, translated, written", count)]
        meter = _Meter(world)
        given = {"connection_id": "old", "object": "row", "since": "2025-01-01T00:00:00Z", "until": "2026-05-16T00:00:00Z"}
        run: dict[str, Any] = world.call("POST", "/v1/backfills", given)
        _until(lambda: world.call("GET", f"/v1/runs/{run['id']}")["complete"])
        known = world.call("GET", f"/v1/runs/{run['id']}")["reckoning"]["known"]
        if known != count:
            raise SystemExit(f"{known} of {count} records were known when they were read again")
        return [*rows, meter.row("records read again, unchanged", count)]


def _until(condition: Any, seconds: float = 1800) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("the hub did not finish in time")
        time.sleep(0.2)
