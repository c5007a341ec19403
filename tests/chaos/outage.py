"""`python -m chaos.outage --minutes 30 --rate 100`: D9 with real time. The broker is away, events keep arriving; it comes back.

Prints what the callers were answered, how long the backlog took to drain while events kept arriving, and the target's books.
With `--kind none --poison 100` nothing breaks but every hundredth event (D7): half break the connector, half are refused.
"""

import argparse
import contextlib
import http.client
import json
import os
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from chaos.rig import Rig, judged
from chaos.run import Role, configure, environment_of, wait_ready
from chaos.services import free_port

#: Processes of the hub in this run.
ROLES = {"serve-1": ["serve"], "work-1": ["work"], "work-2": ["work"], "schedule-1": ["schedule"]}


@dataclass
class Load:
    """Sends ``rate`` events a second, open loop: a slow answer delays no later event."""

    port: int
    key: str
    rate: float
    poison: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    sent: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    paused: threading.Event = field(default_factory=threading.Event)
    senders: int = 16

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._due: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.senders)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        threading.Thread(target=self._tick, daemon=True).start()

    def end(self) -> None:
        """What was due is sent, nothing more; afterwards the counts stand still."""
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _tick(self) -> None:
        following = time.monotonic()
        while not self.stop.is_set():
            if self.paused.is_set():
                following = time.monotonic() + 1 / self.rate
            while following < time.monotonic():
                self._due.put(self.sent)
                self.sent += 1
                following += 1 / self.rate
            time.sleep(0.005)

    def _work(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        while True:
            try:
                number = self._due.get(timeout=0.2)
            except queue.Empty:
                if self.stop.is_set():
                    return
                continue
            name, at = f"P{number}", datetime.now(UTC).isoformat()
            said = f"Product {number}"
            if self.poison and number % self.poison == 0:
                said = "poison: refused" if number // self.poison % 2 else "poison: breaks the connector"
            data = {"id": name, "sku": name, "name": said, "active": True, "updated_at": at}
            envelope = {"specversion": "1.0", "id": name, "source": "/outage", "type": "product.v1", "time": at, "data": data}
            started, status = time.monotonic(), 0
            for _ in range(2):  # the edge may have closed a connection that lay idle: a new one, and once only
                try:
                    connection.request("POST", "/v1/events", json.dumps(envelope), headers)
                    answer = connection.getresponse()
                    answer.read()
                    status = answer.status
                    break
                except (OSError, http.client.HTTPException):
                    connection.close()
            with self._lock:
                self.answers[status] += 1
                self.slowest = max(self.slowest, time.monotonic() - started)


class Outage(Rig):
    """One run; `run` returns the lines of its report and how many things were wrong."""

    def __init__(
        self, folder: Path, postgres: Any, rabbit: Any, rate: float, kind: str, poison: int, say: Any = print
    ) -> None:  # fmt: skip
        self._folder, self._postgres, self._rabbit, self._kind, self._say = folder, postgres, rabbit, kind, say
        super().__init__(postgres)
        self._rate = rate
        self._target_port, port = free_port(rabbit.port + 2000), free_port(rabbit.port + 2100)
        key = configure(self.store, f"http://127.0.0.1:{self._target_port}", "native", concurrency=64)
        settings = {"HUB_PORT": str(port), "HUB_TRACE_SAMPLE_RATIO": "0.05", "HUB_MAX_ATTEMPTS": "3",
                    "HUB_RETRY_BASE_SECONDS": "0.2"}  # fmt: skip
        environment = environment_of(folder, postgres.url, rabbit.url, **settings)
        self._target = self.target(self._target_port)
        self.roles = {name: Role(name, command, environment, folder) for name, command in ROLES.items()}
        self.load = Load(port, key, rate, poison)
        self.loads = [self.load]

    def books(self) -> dict[str, int]:
        """The target's."""
        connection = http.client.HTTPConnection("127.0.0.1", self._target_port, timeout=30)
        connection.request("GET", "/books")
        found: dict[str, int] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, by role and server."""
        pids = {name: [role.process.pid] for name, role in self.roles.items() if role.process is not None}
        pids |= {"target": [self._target], "rabbitmq": self._rabbit.pids(), "postgresql": self._postgres.pids()}
        return {name: sum(_cpu(pid) for pid in found) for name, found in pids.items()}

    @contextlib.contextmanager
    def broken(self) -> Iterator[None]:
        """The broker killed, stopped (half-open: it answers nothing), or refusing messages by its memory alarm."""
        if self._kind == "kill":
            self._rabbit.kill()
            yield
            self._rabbit.start()
        elif self._kind == "stop":
            self._rabbit.signal(signal.SIGSTOP)
            yield
            self._rabbit.signal(signal.SIGCONT)
        elif self._kind == "alarm":
            self._rabbit.control("set_vm_memory_high_watermark", "absolute", "1MB")
            yield
            self._rabbit.control("set_vm_memory_high_watermark", "absolute", "1GB")
        else:
            yield

    def backlog(self) -> int:
        """Deliveries that are not settled."""
        with self.store.read() as uow:
            text = "SELECT count(*) FROM delivery WHERE state IN ('pending', 'claimed', 'sending', 'ambiguous')"
            return int(uow._connection.execute(sa.text(text)).scalar_one())

    def wait(self, seconds: float, done: Any = lambda backlog: False, what: str = "") -> float:
        """Until ``done(backlog)`` or the time is over; says every 10 s how it stands. Returns the seconds."""
        started, said = time.monotonic(), time.monotonic()
        while time.monotonic() - started < seconds and not done(backlog := self.backlog()):
            if time.monotonic() - said > 10:
                said = time.monotonic()
                documents = self.books()["documents"]
                self._say(f"  {what} {said - started:.0f} s: sent {self.load.sent}, applied {documents}, backlog {backlog}")
            time.sleep(1.0 if backlog < 5000 else 5.0)  # counting a backlog is not free either
        return time.monotonic() - started

    def run(self, minutes: float, drain_seconds: float) -> tuple[list[str], int]:
        """Warm up, break, mend, drain; judge."""
        for role in self.roles.values():
            role.start()
        wait_ready(self.load.port)
        self.load.start()
        self.wait(10, what="warm up")
        with self.broken():
            self.wait(minutes * 60, what="broker away")
            backlog, sent = self.backlog(), self.load.sent
        before, applied, cpu = time.monotonic(), self.books()["documents"], self.cpu()
        # With events still arriving there is always one under way: a second's worth counts as drained.
        drained = self.wait(drain_seconds * 2, lambda left: left <= self._rate, "broker back")
        rate = (self.books()["documents"] - applied) / (time.monotonic() - before)
        spent = {name: value - cpu.get(name, 0.0) for name, value in self.cpu().items()}
        done = self.books()["documents"] - applied
        self.load.end()
        self.wait(60, lambda left: not left, "the rest")
        books = self.books()
        with self.store.read() as uow:
            run = uow._connection.execute
            states = dict(run(sa.text("SELECT state, count(*) FROM delivery GROUP BY state")).all())
            stored = run(sa.text("SELECT count(*) FROM message")).scalar_one()
            text = ("SELECT extract(epoch FROM d.settled_at - m.received_at) FROM delivery d JOIN message m "
                    "ON m.tenant_id = d.tenant_id AND m.id = d.message_id WHERE d.state = 'applied' ORDER BY 1")  # fmt: skip
            waits = [float(row[0]) for row in run(sa.text(text))]
        poison = len(range(0, self.load.sent, self.load.poison)) if self.load.poison else 0
        accepted = self.load.answers[202]
        errors = sum(n for status, n in self.load.answers.items() if status != 202)
        findings = [
            ("ingress: answers that are not 202", errors, f"{accepted} accepted, slowest answer {self.load.slowest:.2f} s"),
            ("answered 202 and not stored", max(0, accepted - stored), f"{stored} stored"),
            ("stored and neither applied nor poison", stored - poison - books["documents"],
             ", ".join(f"{n} {s}" for s, n in sorted(states.items()))),
            ("dead letters more or less than the poison", abs(states.get("dead", 0) - poison), f"{poison} poison events"),
            ("applied twice", books["doubled"], f"{books['requests']} requests"),
            (f"seconds of draining over {drain_seconds:.0f}", max(0, round(drained - drain_seconds)),
             f"backlog of {backlog} after {sent} events gone in {drained:.0f} s, {rate:.0f}/s, while {self._rate:.0f}/s arrived"),
        ]  # fmt: skip
        if self._kind == "none":
            late = sum(wait > 1.0 for wait in waits)
            median, worst = waits[len(waits) // 2], waits[-1]
            figure = f"median {median * 1000:.0f} ms, p99 {waits[len(waits) * 99 // 100] * 1000:.0f} ms, most {worst:.2f} s"
            findings.append(("healthy events applied more than a second after they arrived", late, figure))
        lines = [
            f"broker away by {self._kind} for {minutes:g} min, {self._rate:.0f} events a second throughout",
            "", "| looked for | found | figure |", "|---|---|---|",
            *(f"| {name} | {bad} | {figure} |" for name, bad, figure in findings),
            "", "CPU per delivery while draining: " + ", ".join(
                f"{name} {value / max(1, done) * 1000:.2f} ms" for name, value in sorted(spent.items())),
        ]  # fmt: skip
        return lines, sum(bad for _, bad, _ in findings)


def _cpu(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def main() -> int:
    """Parse, run, print; 1 if something was found, 3 if a service is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long the broker is away")
    parser.add_argument("--rate", type=float, default=100.0, help="events a second")
    parser.add_argument("--drain", type=float, default=600.0, help="seconds the backlog may take")
    parser.add_argument("--kind", choices=("kill", "stop", "alarm", "none"), default="kill", help="how the broker goes away")
    parser.add_argument("--poison", type=int, default=0, help="every so many events one is poison")
    parser.add_argument("--ports", type=int, default=24600, help="first port of its own services")
    parser.add_argument("--report", type=Path, help="write the report there (Markdown)")
    given = parser.parse_args()
    return judged(
        given.ports,
        lambda folder, postgres, rabbit: Outage(folder, postgres, rabbit, given.rate, given.kind, given.poison),
        lambda outage: outage.run(given.minutes, given.drain),
        given.report,
    )


if __name__ == "__main__":
    sys.exit(main())
