"""`hub plugin run` and `console`: recorded, replayed, against a sandbox; what is written down holds no secret."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from hub.cli import main
from hub.cli.plugins import _Served, _subject
from hub.sdk.testing import Cassette, CassetteError, SimRequest, SimulatorServer, answer


def _run(*words: str, entered: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(main, ["plugin", *words], input=entered)
    return done.exit_code, done.output + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("plugins") / "taped"
        assert _run("new", "taped", "--kind", "stock", "--dir", str(folder))[0] == 0
        patch.syspath_prepend(str(folder))
        yield folder


def test_recorded_and_replayed(folder: Path, tmp_path: Path) -> None:
    tape = tmp_path / "tapes/sale.json"

    code, said = _run("run", str(folder), "write", "stock.counted.v1", "--record", str(tape))

    assert code == 0, said
    assert "1 exchanges in" in said
    (exchange,) = json.loads(tape.read_text())["exchanges"]
    assert exchange["request"]["path"] == "/counts"
    assert exchange["response"]["status"] == 200
    assert _run("run", str(folder), "write", "stock.counted.v1", "--replay", str(tape))[0] == 0
    code, said = _run("run", str(folder), "write", "stock.counted.v1", "--replay", str(tape), "--key", "XDanother")
    assert code == 1
    assert "sale.json, exchange 1: body was" in said
    code, said = _run("run", str(folder), "find", "sale.completed.v1", "--replay", str(tape))
    assert code == 1
    assert "method was 'POST', the connector asks with 'GET'" in said
    (tmp_path / "none.json").write_text("{}")
    assert "is no cassette" in _run("run", str(folder), "check", "--replay", str(tmp_path / "none.json"))[1]


def test_a_cassette_holds_no_secret(tmp_path: Path) -> None:
    tape = Cassette(["s3cret-token"])
    tape.record(SimRequest("GET", "/echo", {"t": "s3cret-token"}, {"authorization": "Bearer s3cret-token"}, b"s3cret-token"),
                answer(200, {"you": "s3cret-token"}, {"x-echo": "s3cret-token"}))  # fmt: skip
    tape.save(tmp_path / "tape.json")

    assert "s3cret" not in (tmp_path / "tape.json").read_text()
    again = Cassette.load(tmp_path / "tape.json", ["s3cret-token"])
    assert again.handle(SimRequest("GET", "/echo", {"t": "s3cret-token"}, {}, b"s3cret-token")).json() == {"you": "***"}
    with pytest.raises(CassetteError, match="nothing more was recorded"):
        again.handle(SimRequest("GET", "/echo"))


def test_a_sandbox_is_asked_by_the_hubs_own_runtime(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = _subject(str(folder)).system()
    token = system.headers["authorization"].removeprefix("Bearer ")
    (tmp_path / "token").write_text(token)
    monkeypatch.setenv("HUB_EGRESS_PRIVATE_HOSTS", "127.0.0.1")
    tape = tmp_path / "tape.json"
    with SimulatorServer(_Served(system)) as server:
        code, said = _run("run", str(folder), "write", "stock.counted.v1", "--sandbox", server.url, "--credential",
                          f"token=@{tmp_path / 'token'}", "--record", str(tape))  # fmt: skip
        assert code == 0, said
        assert system.applied() == 1
        assert token not in said + tape.read_text()
        code, said = _run("run", str(folder), "check", "--sandbox", server.url, "--credential", "token=wrong-one")
        assert code == 1
        assert "AuthenticationError" in said
        assert "unknown credential" in _run("run", str(folder), "check", "--sandbox", server.url, "--credential", "key=x")[1]


def test_a_console_keeps_its_system_between_commands(folder: Path) -> None:
    entered = "check\nfind sale.completed.v1\nwrite sale.completed.v1\nfind sale.completed.v1\nwrite nothing\ndance\nquit\n"

    code, said = _run("console", str(folder), entered=entered)

    assert code == 0, said
    assert "= None" in said
    assert said.index("= Written(external_id='S1'") < said.index("= 'S1'")
    assert "write what? one of" in said
    assert "dance?" in said
