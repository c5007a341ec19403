"""Every command, from click's own tree, ends with a line when its surroundings are wrong, and none makes a schema by the way."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from hub.cli import main

#: Commands that may make or migrate a schema. The others open a database as it is.
MAKE_A_SCHEMA = {("db", "upgrade"), ("tenant", "create"), ("up",), ("serve",), ("work",), ("schedule",), ("demo",)}
#: Commands that run until a signal ends them, or build environments: they are tested as processes.
LONG = {("up",), ("serve",), ("work",), ("schedule",), ("demo",)}
NOBODY = "http://127.0.0.1:9"


def _commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(group, click.Group):
        yield path, group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield from _commands(found, (*path, name))


COMMANDS = {path: command for path, command in _commands(main) if path not in LONG}


def _is_path(parameter: click.Parameter) -> bool:
    return isinstance(parameter.type, click.Path) or parameter.name in ("file", "folder")


def _arguments(command: click.Command, file: str) -> list[str]:
    """Values for all that is required, and for every parameter that is a file; nobody answers at --url."""
    given: list[str] = []
    for parameter in command.params:
        needs = parameter.required or _is_path(parameter) or parameter.name == "url"
        if not needs:
            continue
        if isinstance(parameter.type, click.Choice):
            value = str(parameter.type.choices[0])
        elif _is_path(parameter):
            value = file
        elif parameter.name == "url":
            value = NOBODY
        elif parameter.type.name.startswith(("integer", "float")):
            value = "1"
        else:
            value = "token=x" if parameter.name == "credentials" else "acme"
        given += [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
    return given


def _run(path: tuple[str, ...], file: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, cwd: Path) -> Result:
    monkeypatch.setenv("HUB_DATA_DIR", str(data_dir))
    monkeypatch.setenv("CROSSDOCK_URL", NOBODY)
    monkeypatch.delenv("HUB_DATABASE_URL", raising=False)
    monkeypatch.chdir(cwd)
    return CliRunner().invoke(main, [*path, *_arguments(COMMANDS[path], str(file))], input="")


def _require_line(result: Result) -> None:
    error = result.exception
    assert error is None or isinstance(error, SystemExit), repr(error)
    assert "Traceback" not in result.output
    assert result.exit_code in (0, 1, 2, 3, 4), result.output  # 3: nobody answers at --url; 4: refused
    assert result.exit_code == 0 or result.output.strip(), "a failure has a line"


CASES = [
    (path, kind)
    for path in sorted(COMMANDS)
    for kind in ("missing", "folder", "binary", "text")
    if kind == "missing" or any(_is_path(parameter) for parameter in COMMANDS[path].params)
]


@pytest.mark.parametrize(("path", "kind"), CASES, ids=[f"{' '.join(path)} {kind}" for path, kind in CASES])
def test_a_command_ends_with_a_line_when_nothing_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...], kind: str
) -> None:
    data_dir, file = tmp_path / "data", tmp_path / "given"
    if kind == "folder":
        file.mkdir()
    elif kind != "missing":
        file.write_bytes(b"\xff\xfe\x00" if kind == "binary" else b"{: [no yaml, no json")

    result = _run(path, file, data_dir, monkeypatch, tmp_path)

    _require_line(result)
    if path not in MAKE_A_SCHEMA:
        assert not list(tmp_path.rglob("*.sqlite*")), "a command made a database by the way"


@pytest.mark.parametrize("path", sorted(COMMANDS), ids=" ".join)
def test_a_command_ends_with_a_line_when_the_database_is_not_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    data_dir, database = tmp_path / "data", tmp_path / "data" / "hub.sqlite"
    data_dir.mkdir()
    sqlite3.connect(database).close()
    database.touch()

    result = _run(path, tmp_path / "missing", data_dir, monkeypatch, tmp_path)

    _require_line(result)
    if path not in MAKE_A_SCHEMA:
        connection = sqlite3.connect(database)
        assert connection.execute("select count(*) from sqlite_master").fetchone() == (0,)
        connection.close()
