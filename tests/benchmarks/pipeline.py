"""One contender under load: as fast as it takes events, and at a rate that it can keep up with.

A contender has a `url` that takes events, `processes` that work for it, and a target that counts what arrives. What comes out is
the same for all of them: events a second from the first that was sent to the last that the target had, processor time per event
by process, and how long an event took until it was answered and until it was at the target.
"""

import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks import machine
from benchmarks.world import Process, sale


class Contender(Protocol):
    """What is measured."""

    name: str
    url: str
    headers: dict[str, str]
    processes: dict[str, Process]

    def arrived(self) -> int:
        """How many requests the target had, a tenth of a second ago."""

    def settled(self) -> bool:
        """Whether nothing is under way any more."""

    def load(self, task: dict[str, Any]) -> list[tuple[int, float, float, int]]:
        """Run the load generator: (number, sent, answered, status) of each request."""

    def arrivals(self) -> dict[str, float]:
        """When the target had each event, by its id."""


@dataclass
class Turn:
    """One measurement: events a second, processor µs per event by process, milliseconds."""

    events: int
    accepted: float = 0.0
    delivered: float = 0.0
    processor: dict[str, float] = field(default_factory=dict)
    answered: list[float] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    refused: int = 0

    @property
    def total(self) -> float:
        """Of all processes but the target's and the load's."""
        return sum(value for name, value in self.processor.items() if name != "target")


def event(lines: int = 10) -> dict[str, Any]:
    """A sale in its envelope; `@@N@@` stands where its number comes."""
    return {
        "specversion": "1.0", "id": "E@@N@@", "source": "/bench", "type": "sale.completed.v1",
        "time": "2026-11-20T17:00:00Z", "data": sale(lines),
    }  # fmt: skip


def run(
    contender: Contender, first: int, requests: int, connections: int, batch: int = 1, rate: float = 0.0, lines: int = 10,
    copies: int = 1,
) -> Turn:  # fmt: skip
    """``requests`` of ``batch`` events each. ``rate``: requests a second, 0: as fast as they are answered. ``lines``: of a sale;
    ``copies``: how often each event comes to the target.
    """
    template = json.dumps(event(lines)) if batch == 1 else json.dumps({"events": [_numbered(item) for item in range(batch)]})
    url = contender.url if batch == 1 else f"{contender.url}/batch"
    before, had = used(contender), contender.arrived()
    seen = contender.load({
        "url": url, "headers": contender.headers, "template": template, "first": first, "count": requests,
        "connections": connections, "rate": rate,
    })  # fmt: skip
    answered = time.monotonic()
    _wait(contender, had + requests * batch * copies)
    ended = max(time.monotonic(), answered)
    arrivals = contender.arrivals()
    last = max(arrivals.values(), default=ended)
    _until(contender.settled, 60)
    after = used(contender)
    events = requests * batch
    began = min(sent for _, sent, _, _ in seen)
    turn = Turn(events, events / (max(at for _, _, at, _ in seen) - began), events / (max(last, began + 1e-6) - began))
    turn.processor = {name: 1e6 * (after[name] - before.get(name, 0.0)) / events for name in after}
    turn.answered = sorted(1000 * (at - sent) for _, sent, at, _ in seen)
    sent_at = {f"S{number:08d}": sent for number, sent, _, _ in seen}
    turn.arrived = sorted(1000 * (at - sent_at[key]) for key, at in arrivals.items() if key in sent_at)
    turn.refused = sum(status not in (200, 202) for *_, status in seen)
    if turn.refused or contender.arrived() < had + events * copies:
        arrived = contender.arrived() - had
        print(f"{contender.name}: {turn.refused} refused, {arrived} of {events * copies} arrived", file=sys.stderr)
    return turn


def percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def median(values: list[float]) -> float:
    return statistics.median(values)


def _numbered(item: int) -> dict[str, Any]:
    text: dict[str, Any] = json.loads(json.dumps(event()).replace("@@N@@", f"@@N@@-{item:03d}"))
    return text


def used(contender: Contender) -> dict[str, float]:
    """Processor seconds so far, by process; what all contenders share is counted whole."""
    found = {
        name: machine.processor(machine.family(process.pid))
        for name, process in contender.processes.items() if process.popen.poll() is None
    }  # fmt: skip
    return {
        **found,
        "postgres": machine.processor(machine.named("postgres")),
        "rabbitmq": machine.processor(machine.named("beam")),
    }


def _wait(contender: Contender, count: int) -> None:
    progress, since = contender.arrived(), time.monotonic()
    while (now := contender.arrived()) < count and time.monotonic() - since < 30:
        if now != progress:
            progress, since = now, time.monotonic()
        time.sleep(0.02)


def _until(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
