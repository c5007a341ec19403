"""The live view: progress, counts per step, latency, what waits and why. Plain lines where there is no terminal."""

import threading
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hub.demo.stage import Stage

_STATES = ("applied", "skipped", "pending", "claimed", "sending", "ambiguous", "held", "dead")


def wide_console() -> Console:
    """The terminal; where there is none, lines of 120 characters."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


class View:
    """Shows the hub's own status, asked through its API, while the day goes on."""

    def __init__(self, stage: Stage, length: float, log: list[tuple[float, str]]) -> None:
        self.console = wide_console()
        self._stage, self._length, self._log = stage, length, log
        self._status: dict[str, Any] = {}
        self._gone, self._phase, self._printed, self._said = 0.0, "opening", -10.0, 0
        self._down, self._stop = False, threading.Event()
        self._live = Live(self._render(), console=self.console, refresh_per_second=5) if self.console.is_terminal else None
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "View":
        if self._live is not None:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)
        if self._live is not None:
            self._live.update(self._render())
            self._live.stop()

    def tick(self, gone: float, phase: str = "trading") -> None:
        """Called by the day; cheap."""
        self._gone, self._phase = gone, phase
        if self._live is not None:
            self._live.update(self._render())
            return
        for second, trouble in self._log[self._said :]:
            self.console.print(f"[{second:4.0f} s] {trouble}", highlight=False)
        self._said = len(self._log)
        if gone - self._printed >= 5:
            self._printed = gone
            self.console.print(f"[{gone:4.0f} s] {self._line()}", highlight=False, soft_wrap=True)

    def _watch(self) -> None:
        while not self._stop.is_set():
            code, content = self._stage.api.request("GET", "/v1/status")
            self._down = code != 200
            if code == 200:
                self._status = content
            time.sleep(0.5)

    def _counts(self) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for row in self._status.get("deliveries", []):
            key = (row["connection_id"], row["state"])
            found[key] = found.get(key, 0) + row["count"]
        return found

    def _line(self) -> str:
        if self._down:
            return "hub is down"
        counts: dict[str, int] = {}
        for (_, state), number in self._counts().items():
            counts[state] = counts.get(state, 0) + number
        raw, latency = self._status.get("raw", {}), self._status.get("latency_seconds", {})
        parts = [f"in {sum(raw.values())}", f"messages {sum(self._status.get('messages', {}).values())}"]
        parts += [f"{state} {counts[state]}" for state in _STATES if counts.get(state)]
        return ", ".join(parts) + f", p50 {latency.get('p50', 0):.2f} s, p99 {latency.get('p99', 0):.2f} s"

    def _render(self) -> Group:
        raw = self._status.get("raw", {})
        counts = self._counts()
        table = Table(title=None, expand=True)
        table.add_column("to")
        for state in _STATES:
            table.add_column(state, justify="right")
        for connection in ("erp", "stock"):
            table.add_row(connection, *(str(counts.get((connection, state), 0) or "·") for state in _STATES))
        latency = self._status.get("latency_seconds", {})
        waiting: dict[str, int] = {}
        for row in self._status.get("deliveries", []):
            if row["state"] in ("pending", "ambiguous", "held", "dead") and row["cause_code"]:
                waiting[row["cause_code"]] = waiting.get(row["cause_code"], 0) + row["count"]
        why = ", ".join(f"{code} {count}" for code, count in sorted(waiting.items())) or "nothing waits"
        bar = Table.grid()
        bar.add_row(ProgressBar(total=self._length, completed=min(self._gone, self._length), width=72))
        last = self._log[-1] if self._log else (0.0, "the shop opens")
        return Group(
            Text(f"Crossdock demo · {self._phase} · {self._gone:.0f} s", style="bold"),
            bar,
            Text("the hub is DOWN" if self._down else "hub up", style="red" if self._down else "green"),
            Text(f"received {sum(raw.values())} raw → translated {raw.get('translated', 0)}, ignored {raw.get('ignored', 0)}, "
                 f"quarantined {raw.get('quarantined', 0)} → messages {sum(self._status.get('messages', {}).values())}"),
            table,
            Text(f"latency p50 {latency.get('p50', 0):.2f} s, p99 {latency.get('p99', 0):.2f} s · waiting: {why}"),
            Text(f"{last[0]:.0f} s: {last[1]}", style="yellow"),
        )  # fmt: skip
