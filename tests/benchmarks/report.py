"""What a run of the benchmark found, as `docs/reference/performance.md`, and beside the run before it."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import GUARANTEES
from benchmarks.pipeline import Turn, percentile

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/performance.md"
HISTORY = ROOT / "tests/benchmarks/history.json"
#: What must hold, as ratios of one run: (what, goal).
GOALS = {
    "hub single : celery": 3.0,
    "hub single : node-red": 1.5,
    "hub single : n8n": 20.0,
    "parts' best : hub single, by processor": 0.40,
    "parts' best : hub batch, by processor": 0.65,
}


def summed(turns: Sequence[Turn]) -> dict[str, Any]:
    """The medians of a contender's turns, with the least and the most."""

    def spread(values: Sequence[float]) -> list[float]:
        return [round(statistics.median(values), 2), round(min(values), 2), round(max(values), 2)]

    names = sorted({name for turn in turns for name in turn.processor})
    return {
        "delivered": spread([turn.delivered for turn in turns]),
        "accepted": spread([turn.accepted for turn in turns]),
        "processor": spread([turn.total for turn in turns]),
        "by_process": {name: round(statistics.median(turn.processor.get(name, 0.0) for turn in turns)) for name in names},
        "answered": [round(statistics.median(percentile(turn.answered, share) for turn in turns), 1) for share in (0.5, 0.99)],
        "arrived": [_middle([percentile(turn.arrived, share) for turn in turns]) for share in (0.5, 0.99)],
    }


def ratios(found: Mapping[str, Any], limits: Sequence[tuple[str, float, float]]) -> dict[str, float]:
    """The figures that mean the same on another machine."""
    parts = sum(used for _, _, used in limits)
    single = found["hub, single events"]
    result = {}
    for peer in ("celery", "node-red", "n8n"):
        if peer in found:
            result[f"hub single : {peer}"] = single["delivered"][0] / found[peer]["delivered"][0]
    result["parts' best : hub single, by processor"] = parts / single["processor"][0]
    if "hub, batches of 100" in found:
        result["parts' best : hub batch, by processor"] = parts / found["hub, batches of 100"]["processor"][0]
    return {name: round(value, 2) for name, value in result.items()}


def written(run: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    """The page."""
    lines = [
        "# Performance",
        "",
        "Written by `make bench`. One run, one machine; contenders take turns, each figure is the median of its turns (least to",
        "most). Machines are noisy and differ: **ratios within a run are what counts**. An event is a sale of ten lines (4.4 KB).",
        "The hub runs as users run it, with every guarantee on: a process per role, PostgreSQL with fsync, quorum queues with",
        "confirms, validation, routing, a map, the intent before the bytes, leases, audit and lineage. Target and load generator",
        "run on the same cores; the target's processor time is not counted.",
        "",
        f"{run['at'][:10]}, {run['cores']} cores, Python {run['python']}, {run['rounds']} turns each.",
        "",
        "## The main job: an event in → validated, stored, routed, mapped → written to a target over HTTP → outcome stored",
        "",
        "| | end to end, per second | processor µs per event | answered p50 / p99 ms | at the target p50 / p99 ms |",
        "|---|---|---|---|---|",
    ]
    for name, row in run["found"].items():
        rate, used = row["delivered"], row["processor"]
        lines.append(
            f"| {name} | {rate[0]:.0f} ({rate[1]:.0f}-{rate[2]:.0f}) | {used[0]:.0f} ({used[1]:.0f}-{used[2]:.0f}) "
            f"| {row['answered'][0]} / {row['answered'][1]} | {_shown(row['arrived'])} |"
        )
    lines += ["", "Processor µs per event, by process:", ""]
    for name, row in run["found"].items():
        lines.append(f"- {name}: " + ", ".join(f"{process} {used}" for process, used in row["by_process"].items()))
    lines += ["", "What each of them keeps:", ""]
    lines += [f"- **{name}**: {text}." for name, text in GUARANTEES.items()]
    lines += [
        "",
        "## What the parts can do, each alone, in the same run",
        "",
        "| | per second | processor µs each |",
        "|---|---|---|",
    ]
    lines += [f"| {what} | {rate:.0f} | {used:.0f} |" for what, rate, used in run["limits"]]
    lines += ["", "## Ratios", "", "| | this run | goal | before |", "|---|---|---|---|"]
    earlier = (before or {}).get("ratios", {})
    for name, value in run["ratios"].items():
        goal = GOALS.get(name)
        reached = "" if goal is None else f"{goal:g}{'' if value >= goal else ' (**not reached**)'}"
        lines.append(f"| {name} | {value:.2f} | {reached} | {earlier.get(name, '')} |")
    reading = Path(__file__).with_name("reading.md")  # written by hand, from the profiles
    return "\n".join([*lines, "", reading.read_text().strip(), ""])


def _middle(values: Sequence[float]) -> float | None:
    """None where it was not measured: a batch's events have no time of their own."""
    return None if any(math.isnan(value) for value in values) else round(statistics.median(values), 1)


def _shown(pair: Sequence[float | None]) -> str:
    return "" if pair[0] is None else f"{pair[0]} / {pair[1]}"


def worse(run: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
    """Ratios that fell by more than the spread of this run's turns."""
    if before is None:
        return []
    single = run["found"]["hub, single events"]["processor"]
    noise = max(0.1, (single[2] - single[1]) / single[0])
    return [
        f"{name}: {before['ratios'][name]} before, {value} now"
        for name, value in run["ratios"].items()
        if name in before["ratios"] and value < before["ratios"][name] * (1 - noise)
    ]


def history() -> list[dict[str, Any]]:
    """Runs so far, oldest first."""
    found: list[dict[str, Any]] = json.loads(HISTORY.read_text()) if HISTORY.exists() else []
    return found
