"""A short chaos run: real roles, own PostgreSQL and RabbitMQ, every kind of fault once or more. `make chaos` runs longer ones."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance
TESTS = Path(__file__).resolve().parents[1]


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run as a process of its own; skips at home where a server's program is missing."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=TESTS, capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode == 3 and os.environ.get("CI") != "true":
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done


ALONE = {"events": 120, "kills": 5, "broker-kills": 1, "database-kills": 1, "pauses": 1, "toxics": 8, "storms": 1,
         "disk-fulls": 1, "clock-steps": 2, "entities": 30, "seed": 11}  # fmt: skip
#: A broker of three nodes that are killed in turn, a database whose standby takes over.
CLUSTERS = {"events": 80, "kills": 2, "broker-kills": 3, "database-kills": 1, "pauses": 0, "toxics": 0, "storms": 0,
            "fail-overs": 1, "brokers": 3, "entities": 20, "seed": 3}  # fmt: skip


@pytest.mark.parametrize("plan", [ALONE, CLUSTERS], ids=["one server each", "clusters"])
def test_nothing_is_lost_doubled_or_out_of_order_whatever_is_killed(plan: dict[str, int]) -> None:
    arguments = [item for name, value in plan.items() for item in (f"--{name}", str(value))]
    done = _run("chaos", *arguments)
    for name in ("kills", "pauses", "broker-kills", "database-kills", "fail-overs"):
        if times := plan.get(name, 0):
            fault = "database fail-over" if name == "fail-overs" else name[:-1].replace("-", " ")
            assert f"| {fault} | {times} |" in done.stdout
    violations = re.findall(r"^\| [^|]+ \| [^|]+ \| (\d+) \|", done.stdout, re.MULTILINE)
    assert len(violations) >= 9
    assert set(violations) == {"0"}


def test_a_brokers_memory_alarm_costs_no_answer_and_its_backlog_drains() -> None:
    """`connection.blocked`, by a real alarm; poison among the events ends as a dead letter each and delays nobody."""
    done = _run("chaos.outage", "--minutes", "0.1", "--rate", "20", "--kind", "alarm", "--poison", "50", "--drain", "60")

    found = dict(re.findall(r"^\| ([^|]+) \| (\d+) \|", done.stdout, re.MULTILINE))
    assert len(found) >= 6
    assert set(found.values()) == {"0"}


def test_four_workers_that_are_killed_never_exceed_what_a_system_permits() -> None:
    """R1 with real processes; the share is that of a short run on a busy machine, `make limits` measures it."""
    done = _run("chaos.limits", "--seconds", "15", "--kills", "1", "--share", "0.5")

    assert len(re.findall(r"^\| \w+ \| \d+ \| 0 \| \d+ of \d+ \|", done.stdout, re.MULTILINE)) == 5
