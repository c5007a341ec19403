"""Manifests and the YAML they are written in: every problem at once, with file and line."""

from pathlib import Path

import jsonschema_rs
import pytest
from support import MANIFEST as GOOD

from hub.sdk import Connector, Response
from hub.sdk.editor import manifest_schema
from hub.sdk.errors import ManifestError
from hub.sdk.manifest import parse_manifest
from hub.sdk.mapping import check_template, render
from hub.sdk.source import read_yaml
from hub.sdk.testing import SimRequest, answer, drive


def test_a_good_manifest_is_read_with_its_guarantee() -> None:
    manifest = parse_manifest(GOOD, "connector.yaml")

    assert manifest.guarantee("sale.completed.v1") == "effect-once"
    assert manifest.limits["concurrency"] == 4


def test_every_problem_is_named_with_its_line() -> None:
    text = GOOD.replace("kind: pos", "kind: spaceship").replace("= key", "= key[").replace("version: 1.0.0", "version: one")

    with pytest.raises(ManifestError) as caught:
        parse_manifest(text, "connector.yaml")

    message = str(caught.value)
    assert "connector.yaml:3: version" in message
    assert "connector.yaml:4: kind" in message


def test_a_broken_expression_is_named_with_its_line() -> None:
    with pytest.raises(ManifestError, match=r"connector.yaml:14: writes.sale.completed.v1.request.json.ref.*not JMESPath"):
        parse_manifest(GOOD.replace('"= key"', '"= key["'), "connector.yaml")


def test_aliases_and_duplicate_keys_are_refused() -> None:
    with pytest.raises(ManifestError, match="x:1: not valid YAML"):
        read_yaml("a: \x02", "x")
    with pytest.raises(ManifestError, match="x:2: YAML aliases"):
        read_yaml("a: &x [1]\nb: *x\n", "x")
    with pytest.raises(ManifestError, match="x:2: 'a' is given twice"):
        read_yaml("a: 1\na: 2\n", "x")


def test_the_key_on_is_a_word_and_not_a_boolean() -> None:
    assert read_yaml("on: sale.completed.v1", "x").data == {"on": "sale.completed.v1"}


def test_templates_leave_out_what_is_null_and_keep_literals() -> None:
    rendered = render({"a": "= x", "b": "= missing", "c": "plain", "d": [{"e": "= money(m, 'USD')"}]}, {"x": 1, "m": 250})

    assert rendered == {"a": 1, "c": "plain", "d": [{"e": {"amount": "2.50", "currency": "USD"}}]}
    assert check_template({"a": ["= bad["]}) == [("/a/0", check_template({"a": ["= bad["]})[0][1])]


CONNECTORS = sorted(Path(__file__).resolve().parents[3].glob("plugins/*/*/connector.yaml"))


@pytest.mark.parametrize("file", CONNECTORS, ids=lambda file: file.parent.name)
def test_an_editors_schema_takes_what_the_hub_takes(file: Path) -> None:
    data = read_yaml(file.read_text(), file.name).data
    schema = jsonschema_rs.validator_for(manifest_schema())

    assert [f"{list(error.instance_path)}: {error.message}" for error in schema.iter_errors(data)] == []
    for spoil in ({"kind": "till"}, {"surprise": 1}, {"canonical": "one"}, {"writes": {"sale.imagined.v1": {}}}):
        assert not schema.is_valid({**data, **spoil}), spoil
    assert not schema.is_valid({key: value for key, value in data.items() if key != "summary"})


def test_pages_by_number_are_read_until_one_is_not_full() -> None:
    declared = parse_manifest(GOOD + """\
objects:
  thing:
    read:
      request: {path: /things, params: {page: "= page || `1`", size: "= limit"}}
      records: items
      ref: id
      paging: {type: page, limit: 2}
""", "connector.yaml")  # fmt: skip
    things = [{"id": f"T{number}"} for number in range(5)]

    class Things(Connector):
        manifest = declared

    def handle(request: SimRequest) -> Response:
        start, size = (int(request.params["page"]) - 1) * 2, int(request.params["size"])
        return answer(200, {"items": things[start : start + size]})

    connector, cursor, seen, more = Things({}), {}, [], True
    while more:
        page = drive(connector, connector.read("thing", cursor), handle)
        seen += [record["id"] for record in page.records]
        cursor, more = page.cursor, page.more
    assert seen == ["T0", "T1", "T2", "T3", "T4"]
