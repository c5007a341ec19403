"""The image and the development environment have every plugin of this tree."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGINS = {f"plugins/{path.parent.name}" for path in ROOT.glob("plugins/*/pyproject.toml")}


def test_image_installs_every_plugin_when_one_is_added() -> None:
    lines = (ROOT / "hub/Dockerfile").read_text("utf-8").splitlines()
    (install,) = [line for line in lines if "--no-deps" in line]
    named = [word for word in install.split() if word.startswith("./plugins/")]
    found = {f"plugins/{path.name}" for word in named for path in ROOT.glob(word[2:]) if path.is_dir()}
    assert found == PLUGINS != set()


def test_make_installs_every_plugin_when_one_is_added() -> None:
    text = subprocess.run(["make", "-pn", "help"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    (line,) = [line for line in text.splitlines() if line.startswith("PLUGINS :=")]
    assert set(line.split()[2:]) == PLUGINS
