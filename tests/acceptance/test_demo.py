"""The main job as its user runs it: the demo end to end, with a real kill -9, judged by its exit code and its table."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

#: The day has these besides plain sales of goods.
SPECIAL = (
    "bare amounts", "rounded cash sales", "taxed deliveries", "exchanges with a tip",
    "gift cards sold", "pending refunds", "refunds without goods", "returns not restocked", "tips given back",
)  # fmt: skip


@pytest.mark.acceptance
def test_the_demo_loses_and_doubles_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hub", "demo", "--exit", "--dir", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "lost 0 · doubled 0 · unexplained differences 0 · audit chain whole" in done.stdout
    assert "kill -9 of the hub" in done.stdout
    assert re.search(r"gift cards owed\s+│\s+[1-9]", done.stdout), "gift cards were sold, and are owed"
    said = " ".join(done.stdout.split())
    for kind in SPECIAL:
        assert re.search(rf"{kind} [1-9]", said), f"the day had no {kind}"
    assert "unknown_sku" in done.stdout
    assert "malformed_json" in done.stdout
    assert "suspected_duplicate" in done.stdout
    facts = re.search(r"Events at the till (\d+)", done.stdout)
    assert facts is not None
    assert int(facts[1]) > 100
