"""`python -m chaos.fairness`: R3. Quiet tenants, and one that sends a hundred times as much as each of them and half as much
again as its slow target takes. What the quiet ones wait is measured alone and beside it, in turns of one run.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from chaos.outage import ROLES, Load
from chaos.rig import Rig, judged
from chaos.run import Role, configure, environment_of, wait_ready
from chaos.services import free_port


class Fairness(Rig):
    """One run."""

    def __init__(self, folder: Path, postgres: Any, rabbit: Any, rate: float, quiet: int) -> None:
        super().__init__(postgres)
        ports = [free_port(rabbit.port + 2000 + 100 * n) for n in range(3)]
        self._port = ports[2]
        latencies = (0.005, 1.5 * 8 / (100 * rate))  # the noisy tenant's target takes 8 at once
        for port, latency in zip(ports, latencies, strict=False):
            self.target(port, latency)
        keys = [configure(self.store, f"http://127.0.0.1:{ports[0]}", "native", tenant=f"quiet-{n}") for n in range(quiet)]
        noisy = configure(self.store, f"http://127.0.0.1:{ports[1]}", "native", tenant="noisy", patience=60)
        environment = environment_of(folder, postgres.url, rabbit.url, HUB_PORT=str(self._port), HUB_TRACE_SAMPLE_RATIO="0.05")
        self.roles = {name: Role(name, command, environment, folder) for name, command in ROLES.items()}
        self._quiet = [Load(self._port, key, rate, senders=1) for key in keys]
        self._noisy = Load(self._port, noisy, rate * 100, senders=8)
        self.loads = [*self._quiet, self._noisy]

    def run(self, turns: int, seconds: float, most: float) -> tuple[list[str], int]:
        """The report's lines, and whether the quiet tenants' p99 grew by more than ``most``."""
        for role in self.roles.values():
            role.start()
        wait_ready(self._port)
        self._noisy.paused.set()
        for load in self.loads:  # spread over time: together they would wait for each other
            load.start()
            time.sleep(1 / (len(self._quiet) * self._quiet[0].rate))
        time.sleep(5.0)
        spans: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for turn in range(2 * turns):
            beside = bool(turn % 2)
            (self._noisy.paused.clear if beside else self._noisy.paused.set)()
            time.sleep(2.0 if beside else self._settled())
            begun = self._now()
            time.sleep(seconds)
            spans[beside].append((begun, self._now()))
            self._most = max(self._most, self._waiting())
        self._noisy.paused.set()
        time.sleep(3.0)
        waits = {beside: sorted(wait for span in found for wait in self._waits(*span)) for beside, found in spans.items()}
        lines = ["| quiet tenants | events | median | p99 | most |", "|---|---|---|---|---|"]
        for beside, found in waits.items():
            median, high = found[len(found) // 2] * 1000, found[len(found) * 99 // 100] * 1000
            name = "beside the noisy one" if beside else "alone"
            lines.append(f"| {name} | {len(found)} | {median:.0f} ms | {high:.0f} ms | {found[-1] * 1000:.0f} ms |")
        ratio = waits[True][len(waits[True]) * 99 // 100] / waits[False][len(waits[False]) * 99 // 100]
        lines += [
            "",
            f"p99 beside / alone: {ratio:.2f}; the noisy tenant sent {self._noisy.sent}, {self._most} of it waited at most",
        ]
        return lines, int(ratio > most)

    _most = 0

    def _settled(self) -> float:
        """Wait until the noisy tenant's backlog is gone; the seconds still to wait."""
        while self._waiting() > 0:
            time.sleep(0.5)
        return 2.0

    def _waiting(self) -> int:
        return int(self._scalar("SELECT count(*) FROM delivery WHERE tenant_id = 'noisy' AND settled_at IS NULL"))

    def _now(self) -> float:
        return float(self._scalar("SELECT extract(epoch FROM clock_timestamp())"))

    def _scalar(self, text: str) -> Any:
        with self.store.read() as uow:
            return uow._connection.execute(sa.text(text)).scalar_one()

    def _waits(self, begun: float, ended: float) -> list[float]:
        """Seconds from arrival to applied of what the quiet tenants sent in a span."""
        text = ("SELECT extract(epoch FROM d.settled_at - m.received_at) FROM message m JOIN delivery d ON "
                "d.tenant_id = m.tenant_id AND d.message_id = m.id WHERE m.tenant_id LIKE 'quiet%' AND d.state = 'applied' "
                "AND m.received_at BETWEEN to_timestamp(:begun) AND to_timestamp(:ended)")  # fmt: skip
        with self.store.read() as uow:
            return [float(row[0]) for row in uow._connection.execute(sa.text(text), {"begun": begun, "ended": ended})]


def main() -> int:
    """Parse, run, print; 1 if the quiet tenants wait too long, 3 if a service is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="turns alone and beside")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a turn")
    parser.add_argument("--quiet", type=int, default=10, help="how many quiet tenants")
    parser.add_argument("--rate", type=float, default=0.5, help="events a second of a quiet tenant")
    parser.add_argument("--ratio", type=float, default=1.5, help="most that p99 may grow")
    parser.add_argument("--ports", type=int, default=25400, help="first port of its own services")
    given = parser.parse_args()
    return judged(
        given.ports,
        lambda folder, postgres, rabbit: Fairness(folder, postgres, rabbit, given.rate, given.quiet),
        lambda fairness: fairness.run(given.turns, given.seconds, given.ratio),
    )


if __name__ == "__main__":
    sys.exit(main())
