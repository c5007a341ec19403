"""Releases are for ever, breaking changes need two people, the gate says which; from files, as CI runs it."""

import copy
import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from hub.cli import main
from hub.contracts.changes import ERR
from hub.contracts.document import contract_folder
from hub.contracts.releases import Contract, approvals, load, release, since, tampered, unapproved, versions, working
from hub.errors import HubError
from hub.runtime.plugins import load_plugins

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def now() -> Contract:
    return working(load_plugins().connectors)


def _changed(contract: Contract, change: Any) -> Contract:
    parts = [orjson.loads(orjson.dumps(part)) for part in (contract.openapi, contract.events, contract.connectors)]
    change(*parts)
    return Contract(*parts)


def _rules(contract: Contract, change: Any) -> set[tuple[str, str]]:
    return {(item.rule, item.severity) for item in since(contract, _changed(contract, change))}


@pytest.mark.parametrize(
    ("change", "rule", "severity"),
    [
        (lambda api, events, plugins: events.pop("product.v1"), "event-type-removed", "ERR"),
        (lambda api, events, plugins: events["product.v1"]["properties"].pop("name"), "response-required-property-removed", "ERR"),
        (lambda api, events, plugins: events["product.v1"]["required"].append("brand"), "request-property-became-required", "ERR"),
        (lambda api, events, plugins: events["product.v1"]["properties"].update(colour={"type": "string"}),
         "response-property-added", "INFO"),
        (lambda api, events, plugins: plugins.pop("square"), "connector-removed", "ERR"),
        (lambda api, events, plugins: plugins["tryton"]["writes"].update({"sale.completed.v1": "at-least-once"}),
         "connector-guarantee-lowered", "ERR"),
        (lambda api, events, plugins: plugins["tryton"]["writes"].pop("sale.completed.v1"), "connector-write-removed", "ERR"),
        (lambda api, events, plugins: plugins["square"]["hosts"].append("https://elsewhere.example"), "connector-host-added", "WARN"),
        (lambda api, events, plugins: plugins["square"]["credentials"].append("pin"), "connector-credential-added", "ERR"),
        (lambda api, events, plugins: plugins["square"]["settings"].update(region=True), "connector-setting-required", "ERR"),
        (lambda api, events, plugins: plugins["square"]["reads"].remove("product") if "product" in plugins["square"]["reads"]
         else plugins["square"]["types"].pop(), "connector-read-removed", "ERR"),
        (lambda api, events, plugins: api["paths"].pop("/v1/messages"), "operation-removed", "ERR"),
    ],
)  # fmt: skip
def test_what_changes_in_any_of_the_three_is_classified(now: Contract, change: Any, rule: str, severity: str) -> None:
    assert (rule, severity) in _rules(now, change)


def test_nothing_differs_from_itself(now: Contract) -> None:
    assert since(now, _changed(now, lambda *parts: None)) == []


def test_the_newest_release_is_untouched_and_nothing_that_breaks_it_is_unapproved(now: Contract) -> None:
    assert tampered() == []
    assert unapproved(since(load(versions()[-1]), now), approvals()) == []


def test_a_breaking_change_needs_two_people_and_its_own_fingerprint(now: Contract, tmp_path: Path) -> None:
    release("1.0.0", now, tmp_path)
    broken = _changed(now, lambda api, events, plugins: events["product.v1"]["properties"].pop("name"))
    errors = [change for change in since(load("1.0.0", tmp_path), broken) if change.severity == ERR]
    assert errors
    with pytest.raises(HubError, match="not agreed to by 2 people"):
        release("1.1.0", broken, tmp_path)

    def agree(people: list[str]) -> None:
        entries = [{"fingerprint": change.fingerprint, "by": people, "reason": "nobody reads it"} for change in errors]
        (tmp_path / "approvals.yaml").write_text(json.dumps({"approvals": entries}))

    agree(["ada", "ada"])
    assert len(unapproved(errors, approvals(tmp_path))) == len(errors), "the same person twice is one person"
    agree(["ada", "grace"])
    assert unapproved(errors, approvals(tmp_path)) == []
    also = _changed(broken, lambda api, events, plugins: events["product.v1"]["properties"].pop("sku"))
    assert unapproved(since(load("1.0.0", tmp_path), also), approvals(tmp_path)), "an agreement covers nothing else"

    release("1.1.0", broken, tmp_path)
    assert versions(tmp_path) == ["1.0.0", "1.1.0"]
    assert since(load("1.1.0", tmp_path), broken) == []
    changelog = (tmp_path / "CHANGELOG.md").read_text()
    assert changelog.index("## 1.1.0") < changelog.index("## 1.0.0")
    assert errors[0].fingerprint in changelog


def test_a_release_is_for_ever(now: Contract, tmp_path: Path) -> None:
    release("1.2.0", now, tmp_path)
    for version in ("1.2.0", "1.1.9", "two"):
        with pytest.raises(HubError, match="does not come after"):
            release(version, now, tmp_path)
    assert tampered(tmp_path) == []
    file = tmp_path / "releases/1.2.0/events.json"
    file.write_bytes(file.read_bytes().replace(b"product", b"produce", 1))
    (tmp_path / "releases/1.2.0/extra.json").write_text("{}")
    assert tampered(tmp_path) == ["1.2.0/events.json", "1.2.0/extra.json"]


def test_an_approval_without_people_is_told_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "approvals.yaml").write_text("approvals: [{fingerprint: abc}]")

    with pytest.raises(HubError, match="/approvals/0: needs fingerprint, by"):
        approvals(tmp_path)


def test_the_gate_passes_on_this_project_and_refuses_with_the_fingerprint(tmp_path: Path, now: Contract) -> None:
    done = CliRunner().invoke(main, ["contracts", "check"])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1].startswith("ok: since ")

    older = _changed(now, lambda api, events, plugins: events["product.v1"]["properties"].update(gone={"type": "string"}))
    older = replace(older, events=older.events | {"never.v1": copy.deepcopy(older.events["product.v1"])})
    release("0.9.0", older, tmp_path)
    (tmp_path / "hub.yaml").write_text((contract_folder() / "hub.yaml").read_text())
    done = CliRunner().invoke(main, ["contracts", "check", "--folder", str(tmp_path)])
    assert done.exit_code == 1
    (fingerprint,) = [change.fingerprint for change in since(older, now) if change.rule == "event-type-removed"]
    assert fingerprint in done.output
    assert "never.v1" in done.output


def test_two_files_or_a_release_are_compared_on_the_command_line(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    new = tmp_path / "new.yaml"
    document: Any = {"openapi": "3.0.3", "paths": {"/a": {"get": {"responses": {"200": {"description": "x"}}}}}}
    old.write_text(json.dumps(document))
    new.write_text("openapi: 3.0.3\npaths: {}\n")

    done = CliRunner().invoke(main, ["contracts", "diff", str(old), str(new)])
    assert done.exit_code == 1
    assert "ERR " in done.output
    assert "GET /a" in done.output
    done = CliRunner().invoke(main, ["contracts", "diff", "--json", str(old), str(old)])
    assert (done.exit_code, json.loads(done.output)) == (0, [])
    assert CliRunner().invoke(main, ["contracts", "diff", "9.9.9"]).exit_code == 4
    assert CliRunner().invoke(main, ["contracts", "rules"]).exit_code == 0


def test_every_release_is_part_of_an_installation() -> None:
    """A running hub compares with what it came with; a version without its line here would be missing there."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]

    documents = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "openapi").glob("hub*.yaml"))
    assert sorted(data["share/crossdock/openapi"]) == documents, "a hub that is installed reads every version's document"
    for version in versions():
        assert data[f"share/crossdock/openapi/releases/{version}"] == [f"openapi/releases/{version}/*.json"]
