"""The main job, timed: an event in → validated, stored, routed, mapped → written to a target over HTTP → its outcome stored.

`python -m benchmarks.pipeline` prints, for single events as fast as they are taken: events a second from the first that was sent
to the last that the target had, and processor time per message by process.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks import machine
from benchmarks.world import World, sale


def event() -> dict[str, object]:
    return {
        "specversion": "1.0", "id": "E@@N@@", "source": "/bench", "type": "sale.completed.v1",
        "time": "2026-11-20T17:00:00Z", "data": sale(),
    }  # fmt: skip


def load(world: World, name: str, **given: object) -> list[tuple[int, float, float, int]]:
    """Run the load generator; what it saw."""
    file = world.folder / f"{name}.json"
    task = {"url": f"{world.url}/v1/events", "headers": {"Authorization": f"Bearer {world.key}"}, **given}
    process = world.process(name, [sys.executable, "-m", "benchmarks.load", str(file)], json.dumps(task).encode())
    process.popen.wait()
    return [tuple(item) for item in json.loads(file.read_text())]


def used(world: World) -> dict[str, float]:
    """Processor seconds so far by process."""
    found = {
        name: machine.processor([process.pid]) for name, process in world.processes.items() if process.popen.poll() is None
    }
    found["postgres"] = machine.processor(machine.named("postgres"))
    found["rabbitmq"] = machine.processor(machine.named("beam"))
    return found


def database(world: World) -> list[float]:
    """Transactions, bytes of WAL (of the whole server), rows read by index and by scan, rows written, so far."""
    url = f"{world.admin.rpartition('/')[0]}/{world.database}"
    with psycopg.connect(url, autocommit=True) as connection:
        time.sleep(1.1)  # what backends count becomes visible once a second
        found = connection.execute(
            "SELECT xact_commit, pg_current_wal_lsn() - '0/0', (SELECT sum(idx_tup_fetch) FROM pg_stat_user_tables),"
            " (SELECT sum(seq_tup_read) FROM pg_stat_user_tables),"
            " (SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables)"
            " FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return [float(value or 0) for value in found or ()]


def settle(world: World, count: int, seconds: float = 120) -> None:
    """Wait until the target had so many, and until every outcome is stored."""
    deadline = time.monotonic() + seconds
    while world.arrived() < count:
        if time.monotonic() > deadline:
            print(f"only {world.arrived()} of {count} arrived within {seconds:.0f} s", file=sys.stderr)
            return
        time.sleep(0.05)
    url = f"{world.admin.rpartition('/')[0]}/{world.database}"
    with psycopg.connect(url, autocommit=True) as connection:
        while time.monotonic() < deadline:
            found = connection.execute("SELECT count(*) FROM delivery WHERE state NOT IN ('applied', 'skipped')").fetchone()
            if found == (0,):
                return
            time.sleep(0.1)


def saturation(world: World, count: int, connections: int, first: int) -> None:
    before, start_count = used(world), world.arrived()
    stat = database(world)
    started = time.monotonic()
    seen = load(world, "load", template=json.dumps(event()), first=first, count=count, connections=connections)
    acked = time.monotonic()
    settle(world, start_count + count)
    ended = time.monotonic()
    after = used(world)
    stat = [now - then for now, then in zip(database(world), stat, strict=True)]
    print(f"  of the database, per message: {stat[0] / count:.2f} transactions, {stat[1] / count:.0f} bytes of WAL, "
          f"{stat[2] / count:.0f} rows read by index, {stat[3] / count:.1f} by scan, {stat[4] / count:.1f} rows written")  # fmt: skip
    bad = sum(status != 202 for *_, status in seen)
    spent = {name: 1e6 * (after[name] - before.get(name, 0)) / count for name in after}
    total = sum(value for name, value in spent.items() if name != "target")
    acks = sorted(1000 * (answered - sent) for _, sent, answered, _ in seen)
    print(f"{count} events, {connections} connections, {bad} refused: accepted {count / (acked - started):.0f}/s, "
          f"end to end {count / (ended - started):.0f}/s; ack p50 {statistics.median(acks):.1f} ms "
          f"p99 {acks[int(len(acks) * 0.99)]:.1f} ms")  # fmt: skip
    print("  µs of processor per message: " + "  ".join(f"{name} {value:.0f}" for name, value in sorted(spent.items()))
          + f"  total without target {total:.0f}", flush=True)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="pipeline")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=18860)
    parser.add_argument("--roles", default="serve,work,schedule")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument(
        "--database-url", default=os.environ.get("DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
    )
    parser.add_argument("--broker-url", default=os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-") as name:
        with World(Path(name), options.database_url, options.broker_url, options.port) as world:
            world.start(*options.roles.split(","))
            first = 0
            saturation(world, 300, 8, first)
            first += 300
            time.sleep(3)
            for _ in range(options.rounds):
                saturation(world, options.count, options.connections, first)
                first += options.count
            for role in options.roles.split(","):
                log = (world.folder / f"{role}.log").read_text()
                if log:
                    print(role, log[-1500:])
            if options.hold:
                print({n: p.pid for n, p in world.processes.items()})
                input()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
