"""`make bench`: what the hub does, beside what its parts can do and what others make of the same work, in turns of one run.

It builds its own databases, queues, target and load on loopback and removes them again. `--write` keeps the result: the page
`docs/reference/performance.md` and a line in `history.json`. Exit code 1: a ratio fell by more than the noise since then.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import limits, peers, report
from benchmarks.pipeline import Contender, Turn, run
from benchmarks.world import World

_WARM = 1000


class _Bench:
    """Contenders that take turns; while one works, the others are started and idle."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._work: dict[str, tuple[Contender, Callable[[int], Turn], int]] = {}
        self.turns: dict[str, list[Turn]] = {}
        self._first: dict[int, int] = {}

    def add(self, name: str, contender: Contender, requests: int, connections: int, batch: int = 1, rate: float = 0.0) -> None:
        def turn(first: int) -> Turn:
            return run(contender, first, requests, connections, batch, rate)

        self._work[name] = (contender, turn, requests)

    def warm(self) -> None:
        for contender in {id(item[0]): item[0] for item in self._work.values()}.values():
            run(contender, 0, _WARM, 32)
            self._first[id(contender)] = _WARM
        time.sleep(3)

    def all(self) -> None:
        for number in range(self._rounds):
            for name, (contender, turn, requests) in self._work.items():
                first = self._first[id(contender)]
                found = turn(first)
                self._first[id(contender)] = first + requests
                self.turns.setdefault(name, []).append(found)
                print(f"{number + 1}/{self._rounds} {name:28} {found.delivered:7.0f}/s  {found.total:7.0f} µs", flush=True)


def main() -> int:
    """Run the contenders in turns and print; see the module."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", default="200,400", help="Events a second, one or several.")
    parser.add_argument("--port", type=int, default=18860)
    parser.add_argument("--only", default="hub,celery,node-red,n8n")
    parser.add_argument("--cache", type=Path, default=report.ROOT / ".bench")
    parser.add_argument("--write", action="store_true")
    parser.add_argument(
        "--database-url", default=os.environ.get("DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
    )
    parser.add_argument("--broker-url", default=os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//"))
    options = parser.parse_args()
    wanted = options.only.split(",")
    if "hub" not in wanted:  # `make bench-full ONLY=…` names parts of its own
        print("the hub is not named: nothing to compare")
        return 0
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-") as name, ExitStack() as stack:
        folder, bench = Path(name), _Bench(options.rounds)
        parts = limits.all_of_them(folder / "limits", options.database_url, options.broker_url, options.port + 40)
        for what, rate, used in parts:
            print(f"{what:44} {rate:7.0f}/s  {used:5.0f} µs", flush=True)
        if "hub" in wanted:
            world = stack.enter_context(World(folder / "hub", options.database_url, options.broker_url, options.port))
            world.start("serve", "work", "schedule")
            bench.add("hub, single events", world, options.count, options.connections)
            bench.add("hub, batches of 100", world, options.count // 50, 4, batch=100)
            for rate in options.rate.split(","):
                name = f"hub, {rate} events a second"
                bench.add(name, world, options.count // 2, options.connections, rate=float(rate))
        if "celery" in wanted:
            celery = peers.Celery(folder / "celery", options.cache, options.broker_url, options.port + 10)
            bench.add("celery", stack.enter_context(celery), options.count // 2, options.connections)
        if "node-red" in wanted:
            red = peers.NodeRed(folder / "red", options.cache, options.port + 20)
            bench.add("node-red", stack.enter_context(red), options.count, options.connections)
        if "n8n" in wanted:
            try:
                n8n = peers.N8n(folder / "n8n", options.cache, options.database_url, options.port + 30)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"n8n cannot be installed here and is left out: {error}", file=sys.stderr)
            else:
                bench.add("n8n", stack.enter_context(n8n), options.count // 10, 16)
        bench.warm()
        bench.all()
    return _told(bench.turns, parts, options)


def _told(turns: dict[str, list[Turn]], parts: list[limits.Limit], options: Any) -> int:
    found = {name: report.summed(items) for name, items in turns.items()}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=report.ROOT)
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit.stdout.strip(), "cores": os.cpu_count(),
        "python": platform.python_version(), "rounds": options.rounds, "found": found, "limits": parts,
        "ratios": report.ratios(found, parts),
    }  # fmt: skip
    past = report.history()
    before = past[-1] if past else None
    for name, value in result["ratios"].items():
        print(f"{name:44} {value:.2f}  goal {report.GOALS.get(name, '')}")
    fallen = report.worse(result, before)
    for line in fallen:
        print(f"worse: {line}", file=sys.stderr)
    if options.write:
        report.HISTORY.write_text(json.dumps([*past, result][-50:], indent=1) + "\n")
        report.PAGE.write_text(report.written(result, before))
        print(f"written: {report.PAGE.relative_to(report.ROOT)}")
    return 1 if fallen else 0


if __name__ == "__main__":
    raise SystemExit(main())
