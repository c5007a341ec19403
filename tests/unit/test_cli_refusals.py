"""Commands end with one clear line, and none of them makes a schema by the way."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hub.cli import main


@pytest.mark.parametrize("arguments", [("key", "acme", "shop"), ("revoke", "acme", "xdk_12345678")])
def test_a_tenant_command_makes_no_schema_when_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HUB_DATA_DIR", str(tmp_path))

    result = CliRunner().invoke(main, ["tenant", *arguments])

    assert (result.exit_code, list(tmp_path.iterdir())) == (3, [])


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_connect_names_the_file_when_it_cannot_be_read(tmp_path: Path, name: str) -> None:
    result = CliRunner().invoke(main, ["connect", "t", f"token=@{tmp_path / name}"])

    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
