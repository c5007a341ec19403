"""Every piece of a manifest in the pages is one: it is read by the hub's own reader."""

import re
from pathlib import Path

import pytest
import yaml

from hub.sdk.manifest import parse_manifest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/howto/declare-what-vendors-do.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
REST = {
    "connector": "acme",
    "name": "Acme",
    "version": "1.0.0",
    "kind": "erp",
    "summary": "A page.",
    "canonical": 2,
    "self_hosted": True,
}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][:40])
def test_a_piece_of_a_manifest_is_one(block: str) -> None:
    manifest = parse_manifest(yaml.safe_dump({**REST, **yaml.safe_load(block)}), PAGE.name)

    assert manifest.connector == "acme"


def test_there_are_pieces() -> None:
    assert len(BLOCKS) > 10
