"""`make bench-full`, its second half: what an event costs as the hub grows, what other work costs, and what goes beside it.

`--most` is how many stored events it goes up to (10^6 takes a quarter of an hour and 6 GB, 10^7 an hour and 50 GB). Each size is measured beside a hub that has
not grown, in turns, so that the ratio holds on a noisy machine. Writes `docs/reference/growth.md`.
"""

import argparse
import http.client
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import fill, machine, other, report
from benchmarks.pipeline import Turn, percentile, run
from benchmarks.world import INTEGRATION, MANIFEST, World, sale

PAGE = report.ROOT / "docs/reference/growth.md"
ROLES = ("serve", "work", "schedule")
_WARM = 300
_WITHOUT_THE_FAST_LANE = "from hub.gateway import fast_lane; fast_lane.PATHS = {}; from hub.cli import main; main(['serve'])"


class Numbered:
    """A hub and the numbers of the events that it was sent."""

    def __init__(self, world: World, roles: tuple[str, ...] = ROLES) -> None:
        self.world, self.next = world, 0
        world.start(*roles)
        self.turn(_WARM, connections=8)

    def turn(self, count: int, connections: int = 16, **more: Any) -> Turn:
        first, self.next = self.next, self.next + count
        turn = run(self.world, first, count, connections, **more)
        if turn.refused:
            raise SystemExit(f"{turn.refused} of {count} events were refused: their figure would be that of a refusal")
        return turn

    def away(self, work: Callable[[str, int, int], None], first: int, last: int) -> None:
        """Work on the database while the hub is down; it is warm again afterwards."""
        roles = [role for role in self.world.processes if role in ROLES]
        for role in reversed(roles):
            self.world.processes.pop(role).end()
        work(self.world.database_url, first, last)
        self.world.run(*roles)
        self.turn(_WARM, connections=8)

    def restart(self, role: str, command: list[str] | None = None, **environment: str) -> None:
        self.world.processes.pop(role).end()
        self.world.process(role, command or [str(Path(sys.executable).parent / "hub"), role], b"", **environment)
        self.world.ready(f"http://127.0.0.1:{self.world.port}/v1/connections")
        time.sleep(2)


class Embedded(World):
    """`hub up` on SQLite."""

    def settled(self) -> bool:
        with sqlite3.connect(Path(self.environment["HUB_DATA_DIR"]) / "hub.sqlite", timeout=30) as connection:
            return connection.execute("SELECT 1 FROM delivery WHERE settled_at IS NULL LIMIT 1").fetchone() is None


class Full:
    """The measurements; each adds a table to the page."""

    def __init__(self, stack: ExitStack, folder: Path, options: Any) -> None:
        self.stack, self.folder, self.options = stack, folder, options
        self.tables: list[tuple[str, list[str], list[list[str]]]] = []
        self._port = options.port
        self.small = self.hub("small")

    def hub(self, name: str, kind: type[World] = World, roles: tuple[str, ...] = ROLES, **settings: str) -> Numbered:
        self._port += 4
        made = kind(
            self.folder / name, self.options.database_url, self.options.broker_url, self._port, kind is Embedded, **settings
        )
        return Numbered(self.stack.enter_context(made), roles)

    def end(self, hub: Numbered) -> None:
        for process in reversed(hub.world.processes.values()):
            process.end()
        hub.world.processes.clear()

    def beside(self, hub: Numbered, events: int = 0, **more: Any) -> tuple[list[Turn], list[Turn]]:
        """Turns of the hub that has grown, and of the one that has not."""
        grown, small = [], []
        for _ in range(self.options.rounds):
            grown.append(hub.turn(events or self.options.count, **more))
            small.append(self.small.turn(self.options.count))
        return grown, small

    def grows(self, title: str, what: str, steps: list[int], grow: Callable[[int, int], None], hub: Numbered) -> None:
        """A table: µs of processor per event at each size, and against the hub that has not grown."""
        rows, before = [], 0
        for size in steps:
            grow(before, size)
            before = size
            grown, small = self.beside(hub)
            one, other = _middle(grown), _middle(small)
            rows.append([f"{size:,}", f"{one:.0f}", f"{other:.0f}", f"{one / other:.2f}"])
            self.said(title, rows[-1])
        self.tables.append((title, [what, "µs per event", "beside it, not grown", "ratio"], rows))

    def said(self, title: str, row: list[str]) -> None:
        print(f"{title:40} {'  '.join(f'{cell:>12}' for cell in row)}", flush=True)

    def table(self, title: str, head: list[str], rows: list[list[str]]) -> None:
        for row in rows:
            self.said(title, row)
        self.tables.append((title, head, rows))


def _middle(turns: list[Turn]) -> float:
    return statistics.median(turn.total for turn in turns)


def stored(full: Full) -> None:
    """Events that came before."""
    hub = full.hub("stored")
    steps = [10**power for power in range(4, len(str(full.options.most)))]
    full.grows("Stored events", "stored", steps, lambda a, b: hub.away(fill.events, a, b), hub)
    reads(full, hub, steps[-1])
    forgotten(full, hub, steps[-1])
    full.end(hub)


def reads(full: Full, hub: Numbered, size: int) -> None:
    """The read API on the history of that size."""
    found = hub.world.call("GET", "/v1/messages?limit=1")["items"][0]
    paths = {
        "50 newest messages": "/v1/messages?limit=50", "50 of a type": f"/v1/messages?limit=50&type={found['type']}",
        "one message": f"/v1/messages/{found['id']}", "deliveries of one": f"/v1/deliveries?message_id={found['id']}",
        "lineage, by the sale's number": f"/v1/lineage?of={found['source_id']}", "dead letters": "/v1/dead-letters?limit=50",
        "status": "/v1/status",
    }  # fmt: skip
    rows = []
    for what, path in paths.items():
        connection = http.client.HTTPConnection("127.0.0.1", hub.world.port)
        times = []
        for _ in range(30):
            at = time.monotonic()
            connection.request("GET", path, headers=hub.world.headers)
            answer = connection.getresponse()
            answer.read()
            times.append(1000 * (time.monotonic() - at))
        rows.append(
            [what, f"{answer.status}", f"{percentile(sorted(times), 0.5):.1f}", f"{percentile(sorted(times), 0.99):.1f}"]
        )
    full.table(f"Reading, {size:,} events stored", ["what", "status", "p50 ms", "p99 ms"], rows)


def forgotten(full: Full, hub: Numbered, size: int) -> None:
    """Retention beside the load."""
    before = hub.world.call("GET", "/v1/messages?limit=1")
    assert before["items"]
    hub.restart("schedule", HUB_RETENTION_DAYS="90")
    began, had = time.monotonic(), _count(hub.world, "message")
    grown, small = full.beside(hub)
    sent = full.options.rounds * full.options.count
    rate = (had + sent - _count(hub.world, "message")) / (time.monotonic() - began)
    one, other = _middle(grown), _middle(small)
    row = [f"{size:,}", f"{rate:.0f}", f"{one:.0f}", f"{other:.0f}", f"{one / other:.2f}"]
    full.table("Retention while events come", ["stored", "forgotten a second", "µs per event", "beside it", "ratio"], [row])


def _count(world: World, table: str) -> int:
    import psycopg

    with psycopg.connect(world.database_url, autocommit=True) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # type: ignore[index,arg-type]


def connections(full: Full) -> None:
    hub = full.hub("connections")
    full.grows("Connections", "connections", [10, 1000, 10_000],
               lambda a, b: fill.connections(hub.world.database_url, a, b), hub)  # fmt: skip
    full.table("10,000 connections, nothing to do", ["role", "processor %"], _idle(hub.world, 10.0))
    full.end(hub)


def integrations(full: Full) -> None:
    """Files of flows that want something else."""
    hub = full.hub("integrations")
    text = """
integration: i{n}
connections: {{c{n}: {{connector: bench, base_url: "{url}"}}}}
flows: [{{name: f, on: sale.completed.v1, where: "till.number == '{n}0'", to: [{{connection: c{n}}}]}}]
"""

    def grow(first: int, last: int) -> None:
        for n in range(first, last):
            hub.world.call("POST", "/v1/integrations", {"source": text.format(n=n, url=hub.world.target_url)})

    full.grows("Integrations", "integrations", [1, 100, 1000], grow, hub)
    full.end(hub)


def dead(full: Full) -> None:
    hub = full.hub("dead")
    most = max(10_000, full.options.most // 10)
    steps = [10**power for power in range(4, len(str(most)))]
    full.grows("Dead letters at the target's connection", "dead letters", steps,
               lambda a, b: fill.dead_letters(hub.world.database_url, a, b), hub)  # fmt: skip
    full.end(hub)


def targets(full: Full) -> None:
    """Connections that each event goes to."""
    rows = []
    for count in (1, 10, 50):
        hub = full.hub(f"targets{count}")
        names = [f"t{n}" for n in range(count)]
        text = INTEGRATION.format(url=hub.world.target_url).partition("connections:")[0] + "connections:\n"
        text += "".join(f'  {name}: {{connector: bench, base_url: "{hub.world.target_url}"}}\n' for name in names)
        text += (
            "flows:\n  - {name: sales, on: sale.completed.v1, to: [" + ", ".join(f"{{connection: {n}}}" for n in names) + "]}\n"
        )
        hub.world.call("POST", "/v1/integrations", {"source": text})
        hub.turn(20, copies=count)
        turns = [hub.turn(max(60, full.options.count // count), copies=count) for _ in range(full.options.rounds)]
        rows.append([f"{count}", f"{_middle(turns):.0f}", f"{_middle(turns) / count:.0f}"])
        full.end(hub)
    full.table("Targets per event", ["targets", "µs per event", "µs per delivery"], rows)


def sizes(full: Full) -> None:
    rows = []
    for lines, events in ((2, 1000), (10, 1000), (100, 300), (1000, 60)):
        size = len(json.dumps(_event(lines)))
        turns = [
            full.small.turn(min(events, full.options.count), lines=lines, connections=8) for _ in range(full.options.rounds)
        ]
        rows.append([f"{size / 1024:.1f}", f"{lines}", f"{_middle(turns):.0f}", f"{1024 * _middle(turns) / size:.0f}"])
    full.table("Size of a document", ["KiB", "lines", "µs per event", "µs per KiB"], rows)


def _event(lines: int) -> Any:
    from benchmarks.pipeline import event

    return event(lines)


def guarantees(full: Full) -> None:
    """What costs what: tracing, the contract's framework, the embedded engine."""
    rows = []
    sink = full.small.world.target_url
    traced = {ratio: full.hub(f"traced{ratio}", otlp_endpoint=sink, trace_sample_ratio=ratio) for ratio in ("1.0", "0.1")}
    for ratio, hub in traced.items():
        grown, small = full.beside(hub)
        rows.append(
            [
                f"every event traced, {float(ratio):.0%} sampled",
                f"{_middle(grown):.0f}",
                f"{_middle(grown) / _middle(small):.2f}",
            ]
        )
        full.end(hub)
    slow = full.hub("slow")
    slow.restart("serve", [sys.executable, "-c", _WITHOUT_THE_FAST_LANE])
    grown, small = full.beside(slow)
    a, b = (statistics.median(turn.processor["serve"] for turn in turns) for turns in (small, grown))
    rows.append(["`hub serve` alone", f"{a:.0f}", "1.00"])
    rows.append(["`hub serve` alone, every request through Connexion", f"{b:.0f}", f"{b / a:.2f}"])
    full.end(slow)
    embedded = full.hub("embedded", Embedded, ("up",))
    turns = [embedded.turn(full.options.count) for _ in range(full.options.rounds)]
    rate = statistics.median(turn.delivered for turn in turns)
    rows.append([f"embedded engine: {rate:.0f} a second end to end", f"{_middle(turns):.0f}", ""])
    full.end(embedded)
    full.table("What costs what", ["", "µs of processor per event", "ratio"], rows)


def started(full: Full) -> None:
    """Start-up, memory, and what nothing to do costs."""
    rows = []
    compiled = {**os.environ, "PYTHONPYCACHEPREFIX": str(full.folder / "compiled")}  # as it is from the second time on
    compiled.pop("PYTHONDONTWRITEBYTECODE", None)
    for what, command in (("`hub --help`", ["hub", "--help"]), ("`import hub.sdk`", ["python", "-c", "import hub.sdk"])):
        times = []
        for _ in range(8):
            at = time.monotonic()
            program = [str(Path(sys.executable).parent / command[0]), *command[1:]]
            subprocess.run(program, check=True, capture_output=True, env=compiled)
            times.append(time.monotonic() - at)
        rows.append([what, f"{min(times):.2f} s", ""])
    world = full.small.world
    total = 0.0
    for role, busy in _idle(world, 15.0):
        memory = machine.memory(world.processes[role].pid)
        total += memory
        rows.append([f"idle: `hub {role}`", f"{memory:.0f} MiB", f"{busy} % of a core"])
    rows.append(["all roles", f"{total:.0f} MiB", ""])
    full.table("Start and rest", ["", "", ""], rows)


def _idle(world: World, seconds: float) -> list[list[str]]:
    time.sleep(2)
    roles = [role for role in world.processes if role in ROLES]
    before = {role: machine.processor(machine.family(world.processes[role].pid)) for role in roles}
    time.sleep(seconds)
    used = {role: machine.processor(machine.family(world.processes[role].pid)) - before[role] for role in roles}
    return [[role, f"{100 * used[role] / seconds:.1f}"] for role in roles]


def others(full: Full) -> None:
    """What is done again, and what is polled."""
    replay = full.hub("replay")
    rows = [other.replayed(replay.world, full.options.replayed)]
    full.end(replay)
    full._port += 4
    rows += other.polled(
        full.folder / "polled", full.options.database_url, full.options.broker_url, full._port, full.options.polled
    )
    full.table("Other work", ["what", "how many", "a second", "µs of processor each"], rows)


def documents(full: Full) -> None:
    """A sale of ten lines, read, checked and mapped, in this process and one after the other: what it costs with all at hand."""
    import yaml

    from canonical.registry import type_named
    from hub.gateway import strict_json
    from hub.policies import schema_version
    from hub.sdk.mapping import render

    name = "sale.completed.v1"
    text = json.dumps(sale()).replace("@@N@@", "1").encode()
    document = json.loads(text)
    request = yaml.safe_load(MANIFEST)["writes"][name]["request"]["json"]
    context = {"document": document, "key": "XD1"}
    work = {
        "read strictly": lambda: strict_json.read(text, 32),
        "validated: shape and rules": lambda: schema_version.violations(name, document),
        "of that, what must add up": lambda: list(type_named(name).check(document)),
        "mapped to a request": lambda: render(request, context),
    }
    assert not schema_version.violations(name, document)
    assert len(render(request, context)["lines"]) == len(document["lines"]) == 10
    cost = {what: _thread_micros(one) for what, one in work.items()}
    cost["validated and mapped"] = cost["validated: shape and rules"] + cost["mapped to a request"]
    full.table("A sale of ten lines", ["", "µs"], [[what, f"{micros:.0f}"] for what, micros in cost.items()])


def _thread_micros(work: Callable[[], Any], times: int = 300) -> float:
    found = []
    for _ in range(11):
        began = time.thread_time()
        for _ in range(times):
            work()
        found.append(1e6 * (time.thread_time() - began) / times)
    return statistics.median(found)


PARTS = {"started": started, "documents": documents, "sizes": sizes, "guarantees": guarantees, "targets": targets, "integrations": integrations,
         "connections": connections, "dead": dead, "stored": stored, "others": others}  # fmt: skip


def main() -> int:
    """Measure and print; ``--write`` keeps the page."""
    parser = argparse.ArgumentParser(prog="growth")
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--replayed", type=int, default=100_000, help="Dead letters.")
    parser.add_argument("--polled", type=int, default=100_000, help="Records of the system that is polled.")
    parser.add_argument("--port", type=int, default=18900)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--write", action="store_true")
    parser.add_argument(
        "--database-url", default=os.environ.get("DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
    )
    parser.add_argument("--broker-url", default=os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crossdock-growth-") as name, ExitStack() as stack:
        full = Full(stack, Path(name), options)
        for part in (name for name in options.only.split(",") if name in PARTS):  # the others are `make bench`'s
            PARTS[part](full)
            if options.write:  # what was measured stays, whatever comes
                PAGE.write_text(_page(full, options))
    return 0


def _page(full: Full, options: Any) -> str:
    """The page; what this run did not measure stays as it was."""
    lines = [
        "# Growth", "",
        "Written by `make bench-full`. Processor time of every process per event of the main job (as in [performance](performance.md)),",
        "each size beside a hub that has not grown, in turns of one run; medians. **The ratios are what counts.**", "",
    ]  # fmt: skip
    before = PAGE.read_text().split("\n## ")[1:] if PAGE.exists() else []
    sections = {text.partition("\n")[0]: f"## {text.strip()}" for text in before if not text.startswith("Reading\n")}
    when = f"{datetime.now(UTC).date()}, {os.cpu_count()} cores, {options.rounds} turns of {options.count} events:"
    for title, head, rows in full.tables:
        table = [f"## {title}", "", when, "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        sections[title] = "\n".join([*table, *(f"| {' | '.join(row)} |" for row in rows)])
    reading = Path(__file__).with_name("growth-reading.md").read_text().strip()
    return "\n\n".join(["\n".join(lines).strip(), *sections.values(), reading, ""]).rstrip() + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
