"""Canonical → InvenTree: movements are deltas, counts are dated; every request fits InvenTree's own schema."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hub_inventree.connector import InvenTree
from hub_inventree.simulator import InvenTreeSimulator

from canonical.examples import EXAMPLES
from hub.sdk import RejectedByTargetError, Request, Skipped, Written
from hub.sdk.testing import drive

SPEC = Path(__file__).resolve().parents[4] / "shared/specs/inventree/api-v534.yaml"
KEYS = {name: f"XD{index:024d}" for index, name in enumerate(sorted(EXAMPLES))}


@pytest.fixture
def simulator() -> InvenTreeSimulator:
    simulator = InvenTreeSimulator()
    simulator.add_part("SKU-0001", "Coffee", 1, 100)
    simulator.add_part("SKU-0002", "Mug", 1, 50)
    return simulator


@pytest.fixture
def inventree() -> InvenTree:
    return InvenTree({"locations": {"HARBOUR-ST": 1, "WH-1": 1}})


def _write(
    inventree: InvenTree, simulator: InvenTreeSimulator, name: str, trace: list[Request] | None = None, **change: Any
) -> Any:
    document = EXAMPLES[name] | change
    key = change.get("key", KEYS[name])
    document.pop("key", None)
    return drive(
        inventree, inventree.write(name, document, key), simulator.handle, {"Authorization": f"Token {simulator.token}"}, trace
    )


def test_sale_return_exchange_count_and_adjustment_move_the_stock(inventree: InvenTree, simulator: InvenTreeSimulator) -> None:
    for name, expected in [
        ("stock.counted.v1", {"SKU-0001": 53, "SKU-0002": 50}),
        ("stock.adjusted.v1", {"SKU-0001": 53, "SKU-0002": 49}),
        ("sale.completed.v1", {"SKU-0001": 51, "SKU-0002": 48}),
        ("return.completed.v1", {"SKU-0001": 51, "SKU-0002": 49}),
        ("exchange.completed.v1", {"SKU-0001": 49, "SKU-0002": 50}),
    ]:
        assert isinstance(_write(inventree, simulator, name), Written)
        assert simulator.stock() == {sku: Decimal(level) for sku, level in expected.items()}, name


def test_writing_again_from_the_start_changes_nothing(inventree: InvenTree, simulator: InvenTreeSimulator) -> None:
    for name in inventree.manifest.writes:
        if name == "product.v1":  # its repetition is below
            continue
        first = _write(inventree, simulator, name)
        level = simulator.stock()
        found = drive(inventree, inventree.find(name, EXAMPLES[name], KEYS[name]), simulator.handle,
                      {"Authorization": f"Token {simulator.token}"})  # fmt: skip
        assert _write(inventree, simulator, name) == first == Written(found or "")
        assert simulator.stock() == level


def test_a_product_is_a_part_and_only_what_differs_is_written(inventree: InvenTree, simulator: InvenTreeSimulator) -> None:
    product = {"id": "1", "sku": "SKU-NEW", "name": "Mug", "active": True, "updated_at": "2026-11-01T10:00:00Z"}
    mapped = {**product, "extensions": {"target": {"keywords": "wash cold"}, "link": {"id": "404"}}}
    requests: list[Request] = []

    def write(document: dict[str, Any]) -> Any:
        steps = inventree.write("product.v1", document, "XD1")
        return drive(inventree, steps, simulator.handle, {"Authorization": f"Token {simulator.token}"}, requests)

    made, again, changed = write(product), write(product), write(mapped)
    renamed = write({**mapped, "sku": "SKU-RENAMED", "extensions": {"link": {"id": made.external_id}}})

    assert made == again == changed == renamed
    assert [(request.method, request.json) for request in requests if request.mutates] == [
        ("POST", {"IPN": "SKU-NEW", "name": "Mug", "active": True}), ("PATCH", {"keywords": "wash cold"}),
        ("PATCH", {"IPN": "SKU-RENAMED"}),
    ]  # fmt: skip


def test_what_was_never_written_is_not_found(inventree: InvenTree, simulator: InvenTreeSimulator) -> None:
    steps = inventree.find("sale.completed.v1", EXAMPLES["sale.completed.v1"], "XDNEVER")

    assert drive(inventree, steps, simulator.handle, {"Authorization": f"Token {simulator.token}"}) is None


def test_a_count_arriving_late_keeps_the_movements_since(inventree: InvenTree, simulator: InvenTreeSimulator) -> None:
    _write(inventree, simulator, "sale.completed.v1")  # at 23:40, two of SKU-0001
    _write(inventree, simulator, "stock.counted.v1")  # taken at 08:00 the same day: 53

    assert simulator.stock()["SKU-0001"] == 51


def test_a_movement_older_than_the_count_is_skipped_with_the_reason(
    inventree: InvenTree, simulator: InvenTreeSimulator
) -> None:
    _write(inventree, simulator, "stock.counted.v1", occurred_at="2026-11-22T08:00:00Z")
    result = _write(inventree, simulator, "stock.adjusted.v1", sku="SKU-0001")

    assert isinstance(result, Skipped)
    assert simulator.stock()["SKU-0001"] == 53


def test_an_unknown_sku_is_named_with_its_field_and_remedy_and_nothing_moves(
    inventree: InvenTree, simulator: InvenTreeSimulator
) -> None:
    lines = [EXAMPLES["sale.completed.v1"]["lines"][0], EXAMPLES["sale.completed.v1"]["lines"][1] | {"sku": "GHOST"}]

    with pytest.raises(RejectedByTargetError) as caught:
        _write(inventree, simulator, "sale.completed.v1", lines=lines)

    assert (caught.value.code, caught.value.field, caught.value.value) == ("unknown_sku", "/lines/1/sku", "GHOST")
    assert "GHOST" in caught.value.remedy
    assert simulator.stock()["SKU-0001"] == 100


def test_stock_arriving_at_a_place_for_the_first_time_makes_the_item_there(simulator: InvenTreeSimulator) -> None:
    inventree = InvenTree({"locations": {"HARBOUR-ST": 2}})

    _write(inventree, simulator, "stock.counted.v1")

    assert {item["location"]: item["quantity"] for item in simulator.items.values() if item["part"] == 1} == {1: 100, 2: 53}


def test_every_request_fits_inventrees_own_schema(inventree: InvenTree, simulator: InvenTreeSimulator) -> None:
    if not SPEC.exists():
        pytest.skip("InvenTree's schema file is not beside this checkout")
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    yaml = pytest.importorskip("yaml")
    spec = yaml.load(SPEC.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    requests: list[Request] = []
    for name in inventree.manifest.writes:
        _write(inventree, simulator, name, requests)
    _write(inventree, simulator, "product.v1", requests, sku="SKU-NEW")
    _write(inventree, simulator, "stock.adjusted.v1", requests, sku="SKU-NEW", quantity="2", key="XDMISSING")
    _write(inventree, simulator, "stock.counted.v1", requests, lot="L-1", key="XDLOT")
    drive(inventree, inventree.check(), simulator.handle, {"Authorization": f"Token {simulator.token}"}, requests)

    for request in requests:
        operation = spec["paths"][re.sub(r"/\d+/", "/{id}/", request.path)][request.method.lower()]
        known = {item["name"] for item in operation.get("parameters", []) if item["in"] == "query"}
        assert set(request.params) <= known, f"{request.path}: {set(request.params) - known}"
        if request.json is not None:
            name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            schema = {**spec["components"]["schemas"][name], "components": spec["components"]}
            told = {key for key, item in schema.get("properties", {}).items() if item.get("readOnly")}
            schema["required"] = [key for key in schema.get("required", []) if key not in told]
            jsonschema.Draft202012Validator(schema).validate(json.loads(request.body() or b""))
    assert {request.path for request in requests if request.mutates} >= {
        "/api/stock/add/",
        "/api/stock/remove/",
        "/api/stock/count/",
    }
