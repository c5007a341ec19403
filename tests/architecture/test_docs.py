"""What the pages show is what works: YAML parses, Python runs, JSON fits."""

import json
import re
from pathlib import Path
from typing import Any

import canonical
from canonical.examples import EXAMPLES
from hub.integrations.files import parse_integration
from hub.runtime.plugins import load_plugins
from hub.sdk import Written
from hub.sdk.manifest import parse_manifest
from hub.sdk.testing import SimRequest, Simulator, answer, drive, route

DOCS = Path(__file__).resolve().parents[2] / "docs"


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


class Sales(Simulator):
    """The how-to's imagined system."""

    rows: list[dict[str, Any]]

    def __init__(self) -> None:
        super().__init__()
        self.rows = []

    @route("GET", "/sales")
    def list_sales(self, request: SimRequest) -> Any:
        return answer(200, {"items": [row for row in self.rows if row["reference"] == request.params["reference"]]})

    @route("POST", "/sales")
    def create(self, request: SimRequest) -> Any:
        self.rows.append({"id": len(self.rows) + 1, "state": "draft", **request.json()})
        return answer(201, self.rows[-1])

    @route("POST", "/sales/(?P<key>[0-9]+)/book")
    def book(self, request: SimRequest, key: str) -> Any:
        self.rows[int(key) - 1]["state"] = "booked"
        return answer(200, {})


def test_the_how_tos_manifest_and_connector_work() -> None:
    (manifest_text,), code = _blocks("howto/write-a-connector.md", "yaml"), _blocks("howto/write-a-connector.md", "python")[0]
    manifest = parse_manifest(manifest_text, "write-a-connector.md")
    assert manifest.guarantee("stock.counted.v1") == "effect-once"
    space: dict[str, Any] = {"MANIFEST": manifest}
    exec(code.replace('load_manifest("hub_acme")', "MANIFEST"), space)
    acme, sales = space["Acme"]({}), Sales()
    sale = EXAMPLES["sale.completed.v1"]

    for _ in range(2):
        assert drive(acme, acme.write("sale.completed.v1", sale, "XD1"), sales.handle) == Written("1")
    assert drive(acme, acme.find("sale.completed.v1", sale, "XD1"), sales.handle) == "1"
    assert [row["total"] for row in sales.rows] == ["34.70"]

    product = {"id": 7, "code": "SKU-7", "title": "Cup", "deleted": False, "updated_at": "2026-11-21T00:00:00Z"}
    (document,) = acme.to_canonical("product", product)
    assert document.source_id == "product:7:2026-11-21T00:00:00Z"
    assert canonical.violations(document.type, document.data) == []


def test_the_tutorials_integration_is_accepted() -> None:
    (text,) = _blocks("tutorial/first-integration.md", "yaml")

    integration = parse_integration(text, "stores.yaml", load_plugins())

    assert [flow.name for flow in integration.flows] == ["counts"]


def test_the_how_tos_pieces_of_an_integration_are_one() -> None:
    pieces = _blocks("howto/keep-systems-in-step.md", "yaml")

    integration = parse_integration("".join(pieces), "stores.yaml", None, "north", "sandbox")

    assert [flow.cadence.text for flow in integration.flows] == ["realtime", "every 900 s", "on_demand"]
    assert integration.ownership["product"]["brand"].write == "if_empty"
    assert integration.connections["erp"]["base_url"] == "https://erp-test.example.com"


def test_the_references_examples_are_valid() -> None:
    examples = [json.loads(block) for block in _blocks("reference/canonical.md", "json")]

    assert len(examples) == len(canonical.TYPES)
    for name, example in zip(canonical.TYPES, examples, strict=True):
        assert canonical.violations(name, example) == []
