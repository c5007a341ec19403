"""A seller's history comes in while sales go on: what it costs the sales, what a kill loses, and whether the estimate holds.

`make backfill RECORDS=20000 KILLS=5 SECONDS=30` on PostgreSQL and RabbitMQ of the machine: a hub as users run it, with a worker
of its own for bulk work (`TOGETHER=1`: one worker for both lanes). Sales are published by the API and timed until the target has
them, in turns: beside the backfill, and while it is paused. Sales then go on, from a till that says each one again until it is
taken, and the whole hub is killed again and again, until the backfill is complete. Figures of one run on one machine; the ratio
is what counts.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.pipeline import event, percentile
from benchmarks.world import MANIFEST, World

HISTORY = (
    MANIFEST.replace("canonical: 1", "canonical: 2")
    + """
  product.v2:
    object: row
    idempotency: upsert
    max_in_flight_seconds: 5
    request: {method: POST, path: /products, json: {key: "= document.sku", reference: "= key"}}
    external_id: id
objects:
  row:
    read:
      request: {path: /rows, params: {since: "= since", page: "= page", limit: "= limit"}}
      records: items
      ref: id
      paging: {type: offset, limit: 200}
      incremental: changed
    map:
      type: product.v2
      source_id: "= record.id"
      data: {id: "= record.id", sku: "= record.id", name: "= record.name", status: active, updated_at: "= record.changed"}
"""
)
INTEGRATION = """
integration: bench
duplicates: pass
connections: {{old: {{connector: bench, base_url: "{url}"}}, new: {{connector: bench, base_url: "{url}", limits: {{concurrency: 8}}}}}}
flows:
  - {{name: history, on: product.v2, from: old, cadence: on_demand, read: [row], to: [{{connection: new}}]}}
  - {{name: live, on: sale.completed.v1, to: [{{connection: new}}]}}
"""
APART = ("serve", "work --lane live", "work --lane bulk", "schedule")
TOGETHER = ("serve", "work", "schedule")


class Till(threading.Thread):
    """Sales at a rate, each said again until it is taken."""

    def __init__(self, world: World, first: int, rate: float) -> None:
        super().__init__(daemon=True)
        self._world, self._rate, self.first, self.next = world, rate, first, first
        self._ended = threading.Event()

    def run(self) -> None:
        template, began = json.dumps(event()), time.monotonic()
        while not self._ended.wait(max(0.0, began + (self.next - self.first) / self._rate - time.monotonic())):
            body = template.replace("@@N@@", f"{self.next:08d}").encode()
            while not self._taken(body):
                time.sleep(0.2)
            self.next += 1

    def _taken(self, body: bytes) -> bool:
        headers = {**self._world.headers, "Content-Type": "application/json"}
        try:
            with urllib.request.urlopen(urllib.request.Request(self._world.url, body, headers), timeout=10) as answer:
                return bool(answer.status == 202)
        except OSError:  # killed before or while it answered
            return False

    def end(self) -> list[str]:
        """The keys of what was taken."""
        self._ended.set()
        self.join()
        return [f"S{number:08d}" for number in range(self.first, self.next)]


class Bench:
    """The hub, its target, and what arrived there."""

    def __init__(self, world: World, roles: tuple[str, ...], rate: float) -> None:
        self.world, self.roles, self.rate, self.sold = world, roles, rate, 0
        #: By key: every reference it came under, and when it came first.
        self.references: defaultdict[str, set[str]] = defaultdict(set)
        self.at: dict[str, float] = {}

    def note(self) -> None:
        for key, reference, at in self.world.all_arrivals():
            self.references[key].add(reference)
            self.at.setdefault(key, at)

    def sell(self, seconds: float) -> list[float]:
        """Publish sales at the rate for so long; milliseconds until the target had each."""
        count = int(seconds * self.rate)
        task = {"url": self.world.url, "headers": self.world.headers, "template": json.dumps(event()), "first": self.sold,
                "count": count, "connections": 8, "rate": self.rate}  # fmt: skip
        sent = {f"S{number:08d}": at for number, at, _, _ in self.world.load(task)}
        self.sold += count
        deadline = time.monotonic() + 60
        while True:
            self.note()
            if sent.keys() <= self.at.keys() or time.monotonic() > deadline:
                return [1000 * (self.at.get(key, deadline) - at) for key, at in sent.items()]
            time.sleep(0.1)

    def kill(self) -> None:
        """Every process of the hub at once, and start them again."""
        for role in self.roles:
            self.world.processes[role].popen.send_signal(signal.SIGKILL)
        for role in self.roles:
            self.world.processes.pop(role).popen.wait()
        self.world.run(*self.roles)


def main() -> int:
    """Run and print; exit code 1 if a record was lost or came twice."""
    parser = argparse.ArgumentParser(prog="backfill")
    parser.add_argument("--records", type=int, default=20000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0, help="Of sales in each turn.")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--rate", type=float, default=20.0, help="Sales a second.")
    parser.add_argument("--share", default="0.2", help="HUB_BACKFILL_SHARE.")
    parser.add_argument("--together", type=int, default=0)
    parser.add_argument("--port", type=int, default=18760)
    parser.add_argument(
        "--database-url", default=os.environ.get("DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
    )
    parser.add_argument("--broker-url", default=os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//"))
    options = parser.parse_args()
    settings = {"lease_seconds": "5", "backfill_share": options.share}
    with tempfile.TemporaryDirectory(prefix="crossdock-backfill-") as name:
        folder = Path(name)
        with World(folder, options.database_url, options.broker_url, options.port, manifest=HISTORY, **settings) as world:
            return _run(Bench(world, TOGETHER if options.together else APART, options.rate), options)


def _run(bench: Bench, options: Any) -> int:
    world = bench.world
    world.start_target(str(options.records))
    world.run(*bench.roles)
    world.call("POST", "/v1/integrations", {"source": INTEGRATION.format(url=world.target_url)})
    bench.sell(10)
    alone, beside = [], []
    started, paused = time.monotonic(), 0.0
    given = {"connection_id": "old", "object": "row", "since": "2025-01-01T00:00:00Z", "until": "2026-05-16T00:00:00Z"}
    run = world.call("POST", "/v1/backfills", given)["id"]
    for _ in range(options.turns):
        bench.sell(5)
        beside.append(bench.sell(options.seconds))
        told = world.call("GET", f"/v1/runs/{run}")
        _tell("live beside it", beside[-1], told["summary"])
        if told["state"] != "running":
            print("the history ended sooner than the sales: give it more RECORDS, or fewer SECONDS", file=sys.stderr)
            return 1
        before = time.monotonic()
        world.call("POST", f"/v1/runs/{run}/pause", {"reason": "to time the sales alone"})
        while any(world.call("GET", f"/v1/runs/{run}")["reckoning"][name] for name in ("waiting", "open")):
            bench.sell(2)
        bench.sell(5)
        alone.append(bench.sell(options.seconds))
        _tell("live alone", alone[-1])
        world.call("POST", f"/v1/runs/{run}/resume", {"reason": "the next turn"})
        paused += time.monotonic() - before
    code = _to_the_end(bench, run, started + paused, options)
    ratio = _p99(beside) / _p99(alone)
    print(f"p99 beside it : p99 alone = {ratio:.2f} (goal 1.25), means of {len(beside)} turns each")
    return code


def _to_the_end(bench: Bench, run: str, started: float, options: Any) -> int:
    world = bench.world
    estimates: list[tuple[float, float, float]] = []  # when, how far, how long still
    till = Till(world, bench.sold, bench.rate)
    till.start()
    kills, far = 0, 0.0
    going = time.monotonic()
    while True:
        asked = time.monotonic()
        told = world.call("GET", f"/v1/runs/{run}")
        look = time.monotonic() - asked
        far = max(far, told["progress"] or 0.0)
        if told["progress"] and told["remaining_seconds"] is not None:
            estimates.append((time.monotonic(), told["progress"], told["remaining_seconds"]))
        if told["complete"] and kills >= options.kills:
            break
        if kills < options.kills and far > (kills + 1) / (options.kills + 2):  # all along it
            kills += 1
            bench.kill()
        print(f"\r{told['summary'][:110]}  kills {kills}", end="", file=sys.stderr, flush=True)
        time.sleep(max(1.0, 20 * look))  # a look counts all that a run brought: it is not to be what costs
    ended = time.monotonic()
    sold = till.end()
    while not (world.settled() or time.monotonic() > ended + 90):
        time.sleep(0.5)
    bench.note()
    took = ended - started
    history = {key: references for key, references in bench.references.items() if key.startswith("H")}
    lost, doubled = options.records - len(history), sum(len(references) - 1 for references in history.values())
    missing = sum(key not in bench.references for key in sold)
    twice = sum(len(references) - 1 for key, references in bench.references.items() if key.startswith("S"))
    errors = [abs(left / (ended - at) - 1) for at, far, left in estimates if 0.1 <= far <= 0.9]
    print(f"\n{options.records} records in {took:.0f} s ({options.records / took:.0f} a second), the whole hub killed {kills} times "
          f"in the last {ended - going:.0f} s: lost {lost}, doubled {doubled}")  # fmt: skip
    print(f"{len(sold)} sales beside it meanwhile: lost {missing}, doubled {twice}")
    off = f"off by {100 * statistics.median(errors):.0f} % (median of {len(errors)})" if errors else "not told: too short"
    print(f"remaining time between the first and the last tenth {off}")
    print(told["summary"])
    return 1 if lost or doubled or missing or twice else 0


def _p99(turns: list[list[float]]) -> float:
    return statistics.mean(percentile(sorted(turn), 0.99) for turn in turns)


def _tell(what: str, found: list[float], more: str = "") -> None:
    values = sorted(found)
    print(f"{what:16} p50 {percentile(values, 0.5):6.1f} ms  p99 {percentile(values, 0.99):6.1f} ms  {more}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
