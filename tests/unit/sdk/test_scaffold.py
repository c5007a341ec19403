"""`hub plugin new`: what it writes passes the kit and its own test as it is, and says what is wrong with a name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from canonical.examples import EXAMPLES
from hub.cli import main
from hub.cli.trials import masked
from hub.sdk.declaration import KINDS
from hub.sdk.manifest import parse_manifest

ROOT = Path(__file__).resolve().parents[3]


def _run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["plugin", *words])
    return done.exit_code, done.output + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_platinum_as_it_was_made(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"made_{kind}"
    folder = tmp_path / name
    monkeypatch.syspath_prepend(str(folder))

    code, said = _run("new", name, "--kind", kind, "--dir", str(folder))

    assert code == 0, said
    assert parse_manifest((folder / f"hub_{name}/connector.yaml").read_text(), "connector.yaml").data["kind"] == kind
    code, said = _run("check", str(folder), "--tier", "platinum")
    assert code == 0, said
    assert {path.name for path in folder.rglob("*") if path.is_file()} >= {
        "pyproject.toml", "README.md", "CHANGELOG.md", "check.yaml", "connector.yaml", "connector.py", "simulator.py", "kit.py",
        "test_conformance.py",
    }  # fmt: skip


def test_its_own_test_passes_and_its_code_is_clean(tmp_path: Path) -> None:
    for kind in ("shop", "stock"):
        folder = tmp_path / kind
        assert _run("new", f"own_{kind}", "--kind", kind, "--title", "Own & Co", "--dir", str(folder))[0] == 0
        environment = {**os.environ, "PYTHONPATH": str(folder), "MYPYPATH": str(ROOT)}
        for command in (
            ["pytest", "-q", "tests"],
            ["ruff", "check", "--isolated", "--line-length", "128", "."],
            ["mypy", f"hub_own_{kind}"],
        ):
            done = subprocess.run(
                [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    assert "lower-case letters" in _run("new", "Acme-POS", "--kind", "pos", "--dir", str(tmp_path / "a"))[1]
    assert _run("new", "acme", "--kind", "nothing")[0] == 2
    (tmp_path / "there").mkdir()
    assert "exists already" in _run("new", "acme", "--kind", "pos", "--dir", str(tmp_path / "there"))[1]
    assert "no pyproject.toml" in _run("check", str(tmp_path / "there"))[1]


def test_a_record_is_shown_beside_what_it_becomes_and_what_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mapped"
    monkeypatch.syspath_prepend(str(folder))
    assert _run("new", "mapped_shop", "--kind", "shop", "--dir", str(folder))[0] == 0
    article = {"id": "A1", "code": "C1", "title": "Coffee", "changed_at": "2026-11-21T10:00:00Z", "deleted": False,
               "weight": {"value": "250", "unit": "g"}, "tags": ["new"]}  # fmt: skip
    record = tmp_path / "record.json"
    record.write_text(json.dumps(article))

    code, said = _run("map", str(folder), "article", str(record), "--json")
    result = json.loads(said)
    assert code == 0
    assert result["documents"][0]["data"]["sku"] == "C1"
    assert result["unmapped"] == ["/deleted", "/weight/value", "/weight/unit", "/tags"], "absent and false are the same here"
    manifest = folder / "hub_mapped_shop/connector.yaml"
    manifest.write_text(manifest.read_text().replace('"= record.title"', '"= record.weight.value"'))
    code, said = _run("map", str(folder), "article", str(record), "--json")
    assert "/weight/value" not in json.loads(said)["unmapped"]
    manifest.write_text(manifest.read_text().replace('name: "= record.weight.value"', 'name: "= record.tags"'))
    code, said = _run("map", str(folder), "article", str(record))
    assert code == 1
    assert "wrong     /name" in said
    assert "there is article" in _run("map", str(folder), "nothing", str(record))[1]


def test_one_capability_is_run_and_each_request_is_shown_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shown"
    monkeypatch.syspath_prepend(str(folder))
    assert _run("new", "shown_erp", "--kind", "erp", "--dir", str(folder))[0] == 0

    code, said = _run("run", str(folder), "write", "sale.completed.v1")
    assert code == 0
    assert "1  POST /sales  [effect]" in said
    assert "= Written(external_id='S1'" in said
    assert _run("run", str(folder), "check")[1].splitlines()[-1] == "= 'answered 200'"
    document = tmp_path / "sale.json"
    sale = EXAMPLES["sale.completed.v1"]
    document.write_text(json.dumps(sale | {"lines": [line | {"sku": "SKU-9999"} for line in sale["lines"]]}))
    code, said = _run("run", str(folder), "write", "sale.completed.v1", str(document))
    assert code == 1
    assert "rejected_by_target: no article SKU-9999\nremedy: " in said
    assert "one of sale.completed.v1" in _run("run", str(folder), "write", "product.v1")[1]
    assert masked("token abc", ["abc"]) == "token ***"


SPECS = Path(__file__).resolve().parents[4] / "shared/specs"
SMALL = {
    "openapi": "3.0.3", "info": {"title": "Stockly"}, "servers": [{"url": "https://api.stockly.example/v1/"}],
    "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
                   "schemas": {"Part": {"type": "object", "properties": {
                       "pk": {"type": "integer"}, "IPN": {"type": "string"}, "name": {"type": "string"}, "active": {"type": "boolean"},
                       "updated_at": {"type": "string", "format": "date-time"}, "colour-code": {"type": "string"}}}}},
    "paths": {
        "/parts": {"get": {"parameters": [{"name": n, "in": "query"} for n in ("cursor", "limit", "updated_after")], "responses": {
            "200": {"content": {"application/json": {"schema": {"type": "object", "properties": {
                "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}}, "next_cursor": {"type": "string"}}}}}}}}},
        "/parts/{id}": {"get": {"responses": {}}},
        "/health": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"type": "object"}}}}}}},
    },
}  # fmt: skip


def test_a_manifest_is_proposed_from_a_vendors_document_and_the_rest_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = tmp_path / "stockly.json", tmp_path / "stockly"
    file.write_text(json.dumps(SMALL))
    monkeypatch.syspath_prepend(str(folder))

    code, said = _run("new", "stockly", "--kind", "stock", "--from-openapi", str(file), "--dir", str(folder))

    assert code == 0, said
    manifest = parse_manifest((folder / "hub_stockly/connector.yaml").read_text(), "connector.yaml")
    assert manifest.data["environments"] == {"production": {"base_url": "https://api.stockly.example/v1"}}
    assert manifest.data["auth"]["headers"] == {"X-Key": "{key}"}
    assert list(manifest.objects) == ["parts"]
    read = manifest.objects["parts"]["read"]
    assert read["request"]["params"] == {"cursor": "= page", "limit": "= limit", "updated_after": "= since"}
    assert (read["records"], read["ref"], read["paging"]["token"], read["incremental"]) == (
        "parts",
        "text(pk)",
        "next_cursor",
        "updated_at",
    )
    assert manifest.objects["parts"]["fetch"]["path"] == "/parts/{ref}"
    assert manifest.objects["parts"]["map"]["data"]["sku"] == "= record.IPN"
    undecided = (folder / "UNDECIDED.md").read_text()
    for what in ("limits:", "errors:", "writes:", "objects.parts.map: proposed by names only"):
        assert f"- [ ] {what}" in undecided
    record = tmp_path / "part.json"
    part = {"pk": 7, "IPN": "C1", "name": "Coffee", "active": True, "updated_at": "2026-11-21T10:00:00Z", "colour-code": "x"}
    record.write_text(json.dumps(part))
    code, said = _run("map", str(folder), "parts", str(record), "--json")
    assert (code, json.loads(said)["unmapped"]) == (0, ["/colour-code"])
    code, said = _run("check", str(folder))
    assert code == 1
    assert "System.changes has none of parts" in said, "the kit is the list of what is to be done"
    file.write_text(json.dumps({"swagger": "2.0"}))
    assert (
        "not an OpenAPI 3 document"
        in _run("new", "old", "--kind", "stock", "--from-openapi", str(file), "--dir", str(tmp_path / "o"))[1]
    )


def test_agreement_and_paging_are_proposed_from_what_the_document_says(tmp_path: Path) -> None:
    def listed(parameters: list[str], envelope: dict[str, object]) -> dict[str, object]:
        rows = {"items": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}}}
        schema = {"type": "object", "properties": {**rows, **envelope}}
        return {"get": {"parameters": [{"name": name, "in": "query"} for name in parameters],
                        "responses": {"200": {"content": {"application/json": {"schema": schema}}}}}}  # fmt: skip

    flow = {"authorizationUrl": "https://v.example/agree", "tokenUrl": "https://v.example/token", "scopes": {"a": "", "b": ""}}
    document = {
        **SMALL,
        "components": {
            **SMALL["components"],
            "securitySchemes": {"o": {"type": "oauth2", "flows": {"authorizationCode": flow}}},
        },  # type: ignore[dict-item]
        "paths": {
            "/odata": listed(["$filter"], {"@odata.nextLink": {"type": "string"}}),
            "/charges": listed(["starting_after", "limit"], {"has_more": {"type": "boolean"}}),
            "/pages": listed(["limit"], {"next": {"type": "string", "format": "uri"}}),
        },
    }
    file = tmp_path / "v.json"
    file.write_text(json.dumps(document))

    assert _run("new", "vend", "--kind", "erp", "--from-openapi", str(file), "--dir", str(tmp_path / "v"))[0] == 0

    manifest = parse_manifest((tmp_path / "v/hub_vend/connector.yaml").read_text(), "connector.yaml")
    oauth2 = manifest.data["auth"]["oauth2"]
    assert (oauth2["grant"], oauth2["authorize_url"], oauth2["scopes"]) == ("authorization_code", "https://v.example/agree", [])
    assert "which scopes does it need, as few as possible? o has a, b" in (tmp_path / "v/UNDECIDED.md").read_text()
    paging = {name: item["read"]["paging"] for name, item in manifest.objects.items()}
    assert (paging["odata"]["type"], paging["odata"]["token"]) == ("next_url", '"@odata.nextLink"')
    assert (paging["charges"]["type"], paging["charges"]["more"]) == ("last", "has_more")
    assert (paging["pages"]["type"], paging["pages"]["token"]) == ("next_url", "next")
    assert manifest.objects["charges"]["read"]["request"]["params"]["starting_after"] == "= page"


@pytest.mark.parametrize(
    ("file", "objects"), [("square/api.json", 20), ("xero/xero_accounting.yaml", 20), ("inventree/api-v534.yaml", 40)]
)
def test_real_vendors_documents_become_manifests_that_the_hub_takes(file: str, objects: int, tmp_path: Path) -> None:
    if not (SPECS / file).exists():
        pytest.skip(f"the vendor's own file {file} is not here")
    code, said = _run("new", "vendor", "--kind", "other", "--from-openapi", str(SPECS / file), "--dir", str(tmp_path / "v"))

    assert code == 0, said
    manifest = parse_manifest((tmp_path / "v/hub_vendor/connector.yaml").read_text(), "connector.yaml")
    assert len(manifest.objects) >= objects
    assert any(item["map"] for item in manifest.objects.values())
    assert (tmp_path / "v/UNDECIDED.md").read_text().count("- [ ]") > 10
