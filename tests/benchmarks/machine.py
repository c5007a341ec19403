"""What the processes of a benchmark use: processor seconds and memory, from /proc."""

import os
from collections.abc import Iterator
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def processor(pids: list[int]) -> float:
    """Processor seconds so far of these processes, and of their children that have ended."""
    return sum(_stat(pid)[1] for pid in pids)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found, queue = [], [pid]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found


def named(name: str) -> list[int]:
    """Processes whose program begins so: `postgres`, `beam`."""
    return [pid for pid in _pids() if _comm(pid).startswith(name)]


def memory(pid: int) -> float:
    """Resident MiB of a process, what it shares counted in parts (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _pids() -> Iterator[int]:
    yield from (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _stat(pid: int) -> tuple[int, float]:
    """(parent, processor seconds); of a process that has ended: nothing."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0.0
    return int(fields[1]), sum(map(int, fields[11:15])) / _TICK


def _parents() -> Iterator[tuple[int, int]]:
    yield from ((pid, _stat(pid)[0]) for pid in _pids())
