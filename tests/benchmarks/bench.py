"""`make bench`: what the hub does, beside what its parts can do and what others make of the same work, in turns of one run."""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.pipeline import median, percentile, run
from benchmarks.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--port", type=int, default=18860)
    parser.add_argument("--roles", default="serve,work,schedule")
    parser.add_argument("--database-url", default=os.environ.get("DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres"))
    parser.add_argument("--broker-url", default=os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//"))
    o = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-") as name, World(
        Path(name), o.database_url, o.broker_url, o.port, embedded=o.roles == "up"
    ) as world:
        world.start(*o.roles.split(","))
        world.name = "hub"
        first = 0
        for n in range(o.rounds + 1):
            requests = 300 if n == 0 else o.count // o.batch
            turn = run(world, first, requests, o.connections, 1 if n == 0 else o.batch, o.rate if n else 0)
            first += requests
            print(f"accepted {turn.accepted:.0f}/s delivered {turn.delivered:.0f}/s total {turn.total:.0f} µs; "
                  + " ".join(f"{k} {v:.0f}" for k, v in turn.processor.items())
                  + f"; ack p50 {percentile(turn.answered, .5):.1f} p99 {percentile(turn.answered, .99):.1f}"
                  + f"; e2e p50 {percentile(turn.arrived, .5):.1f} p99 {percentile(turn.arrived, .99):.1f}", flush=True)
            if n == 0:
                import time; time.sleep(3)
        for role in o.roles.split(","):
            log = [x for x in (world.folder / f"{role}.log").read_text().splitlines() if "INFO" not in x and "crossdock" not in x]
            print("\n".join(log[-10:]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
