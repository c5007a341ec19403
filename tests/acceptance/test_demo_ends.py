"""The demo leaves no process and no listener behind, whichever signal ends it and whenever."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

#: When the signal comes: while the hub starts, and during the day.
MOMENTS = {"start": "hub.log", "day": "ready"}
_SECONDS = 60.0


def _children(pid: int) -> set[int]:
    """The processes that ``pid`` and its children started."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in (task / "children").read_text().split():
            found |= {int(child)} | _children(int(child))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.acceptance
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda item: item.name)
def test_demo_leaves_nothing_behind_when_a_signal_ends_it(number: signal.Signals, moment: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hub", "demo", "--dir", str(tmp_path)]
    demo = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    started: set[int] = set()
    try:
        deadline = time.monotonic() + _SECONDS
        log, port = tmp_path / "run" / "hub.log", 0
        while time.monotonic() < deadline:
            started |= _children(demo.pid)
            found = re.search(r"127\.0\.0\.1:(\d+)", log.read_text("utf-8")) if log.exists() else None
            port = int(found[1]) if found else 0
            if started and (moment == "start" or (port and _listens(port))):
                break
            assert demo.poll() is None
            time.sleep(0.05)
        assert started
        assert moment == "start" or _listens(port)
        if moment == "day":
            time.sleep(3)
            started |= _children(demo.pid)
        os.kill(demo.pid, number)
        demo.wait(_SECONDS)
        assert demo.returncode != 0, "the demo ended before its closing table, so it compared nothing"
        deadline = time.monotonic() + 20
        while any(_alive(pid) for pid in started) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert [pid for pid in started if _alive(pid)] == []
        assert not port or not _listens(port)
    finally:
        for pid in {demo.pid, *started}:
            if _alive(pid):
                os.kill(pid, signal.SIGKILL)
