"""The tutorial is true: its files and commands, as they stand in the page, lead from an OpenAPI file to a delivered customer."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SHARED

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/tutorial/publish-a-connector.md"
SPEC = SHARED / "specs/holded/invoice-api.json"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _waits_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens on {port}")


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.terminate()
        process.wait(30)


@pytest.mark.acceptance
def test_every_step_of_the_tutorial(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    if not SPEC.exists():
        pytest.skip(f"no {SPEC.name}: the vendor's file is not part of a clone")
    (tmp_path / "invoice-api.json").write_bytes(SPEC.read_bytes())
    kept = tmp_path / ".environment"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    said = ""
    for kind, place, text in BLOCK.findall(PAGE.read_text()):
        if kind in ("yaml", "python"):
            (tmp_path / place).write_text(text)
            continue
        assert kind == "sh"
        if place == "background":
            port = re.search(r"--port (\d+)", text)
            assert port is not None
            started.append(subprocess.Popen(["bash", "-c", f"exec {text}"], cwd=tmp_path, env=environment))
            _waits_for(int(port[1]))
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", f"{text}\nenv -0 > {kept}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        said += done.stdout
        environment = dict(item.split("=", 1) for item in kept.read_text().split("\0") if "=" in item)

    assert re.search(r"^tier +(gold|platinum)", said, re.MULTILINE), said
    assert "holded 0.1.0 is listed" in said
    assert re.search(r"contact.*5ac4f2cec839ea004e180000|5ac4f2cec839ea004e180000", said), said
    assert re.search(r"^holded +0\.1\.0 +installed", said, re.MULTILINE), said
