"""The walk of `docs/howto/review-a-contract.md`, with its own commands: a renamed field from the diff to the release."""

import importlib
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from hub.cli import main
from hub.contracts import document as documents
from hub.contracts import releases
from hub.settings import from_environment
from hub.store import Store

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/howto/review-a-contract.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE.partition("## In the running hub")[0], re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of `openapi/` that the commands take for the project's, and a hub's data folder."""
    copy = tmp_path / "openapi"
    shutil.copytree(ROOT / "openapi", copy)
    for module in (importlib.import_module("hub.cli.contracts"), documents, releases):
        monkeypatch.setattr(module, "contract_folder", lambda: copy)
    documents.document.cache_clear()
    monkeypatch.setenv("HUB_DATA_DIR", str(tmp_path / "data"))
    yield copy
    documents.document.cache_clear()


def _run(command: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, command.removeprefix("hub ").split())
    return done.exit_code, done.output


def _command(start: str) -> str:
    return next(command for command in COMMANDS if command.startswith(start))


def _edit(folder: Path, change: Any) -> None:
    file = folder / "hub.yaml"
    contract = yaml.safe_load(file.read_text())
    change(contract)
    file.write_text(yaml.safe_dump(contract, sort_keys=False))
    documents.document.cache_clear()


def _called(operation: str, days_ago: int) -> None:
    store = Store(from_environment().store_url)
    from_environment().data_dir.mkdir(exist_ok=True)
    store.upgrade()
    with store.begin() as uow:
        day = (datetime.now(UTC) - timedelta(days=days_ago)).date().isoformat()
        uow.usage.count("acme", "warehouse-sync", operation, day, 12)
    store.close()


def test_every_command_of_the_page_runs(folder: Path) -> None:
    assert len(COMMANDS) >= 7
    for command in COMMANDS:
        code, said = _run(command)
        assert code == 0, f"{command}: {said}"


def test_a_renamed_field_is_seen_agreed_to_and_released(folder: Path) -> None:
    def rename(contract: Any) -> None:
        delivery = contract["components"]["schemas"]["Delivery"]
        delivery["properties"]["why"] = delivery["properties"].pop("cause")
        delivery["required"] = ["why" if name == "cause" else name for name in delivery["required"]]

    _called("deliveries.list_deliveries", 3)
    _edit(folder, rename)

    code, said = _run(_command("hub contracts diff"))
    assert code == 1
    assert "response-required-property-removed" in said
    assert "#/components/schemas/Delivery/properties/cause" in said
    fingerprint = re.search(r"^ERR  ([0-9a-f]{12})", said, re.MULTILINE)
    assert fingerprint is not None
    code, said = _run(_command("hub contracts impact"))
    assert code == 1
    assert "acme / warehouse-sync: GET /v1/deliveries, 12 calls" in said
    code, said = _run(_command("hub contracts check"))
    assert code == 1
    assert fingerprint[1] in said
    assert _run(_command("hub contracts release"))[0] == 4

    agreed: Any = {"approvals": [{"fingerprint": fingerprint[1], "by": ["ada"], "reason": "renamed, consumers asked"}]}
    (folder / "approvals.yaml").write_text(yaml.safe_dump(agreed))
    assert _run(_command("hub contracts check"))[0] == 1, "one person is not two"
    agreed["approvals"][0]["by"].append("grace")
    (folder / "approvals.yaml").write_text(yaml.safe_dump(agreed))
    assert _run(_command("hub contracts check"))[0] == 0
    assert _run(_command("hub contracts release"))[0] == 0
    assert fingerprint[1] in (folder / "CHANGELOG.md").read_text()
    assert _run("hub contracts check")[1].startswith("ok: since 0.2.0: 0 changes")


def test_nothing_is_released_while_nobody_can_say_who_calls(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_DATABASE_URL", "postgresql+psycopg://hub:secret@127.0.0.1:1/nowhere")

    done = CliRunner().invoke(main, ["contracts", "release", "0.2.0"])

    assert done.exit_code == 3
    assert "does not answer" in done.stderr
    assert "secret" not in done.stderr
    assert not (folder / "releases/0.2.0").exists()


def test_a_removal_waits_until_nobody_calls_even_after_its_sunset(folder: Path) -> None:
    _edit(folder, lambda contract: contract["paths"]["/v1/links"]["get"].update(
        {"deprecated": True, "x-deprecated-at": "2020-01-01", "x-sunset": "2020-12-31"}))  # fmt: skip
    assert _run("hub contracts release 0.2.0")[0] == 0
    _called("links.list_links", 3)
    _edit(folder, lambda contract: contract["paths"].pop("/v1/links"))
    assert _run("hub contracts diff 0.2.0")[0] == 0, "after its sunset it is no error"

    code, said = _run("hub contracts release 0.3.0")
    assert code == 4
    assert "GET /v1/links is still called by acme / warehouse-sync" in said

    code, said = _run("hub contracts release 0.3.0 --days 2")
    assert code == 0, said
