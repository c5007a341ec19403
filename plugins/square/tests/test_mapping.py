"""Square → canonical, from Square's own examples and from the simulator; requests fit Square's own OpenAPI description."""

import json
from pathlib import Path
from typing import Any

import pytest
from hub_square.connector import Square
from hub_square.simulator import SIGNATURE, SquareSimulator, sample
from hub_square.till import Charge
from hub_square.wire import TAX

import canonical
from hub.sdk import Change, ConnectorError, Document, Ignored, Request, UntranslatableError, Webhook
from hub.sdk.testing import drive

SPEC = Path(__file__).resolve().parents[4] / "shared/specs/square/api.json"
SETTINGS = {"timezone": "America/New_York", "business_day_start": "04:00", "locations": {"S8GWD5R9QB376": "HARBOUR-ST"}}


@pytest.fixture
def simulator() -> SquareSimulator:
    return SquareSimulator()


@pytest.fixture
def square() -> Square:
    return Square(SETTINGS)


def _documents(square: Square, simulator: SquareSimulator, trace: list[Request] | None = None) -> list[Any]:
    headers = {"Authorization": f"Bearer {simulator.token}"}
    documents: list[Any] = []
    for _, body, sent in simulator.take_webhooks("https://hub"):
        for change in square.receive(Webhook(body, sent)):
            if isinstance(change, Change):
                documents += drive(square, square.translate(change), simulator.handle, headers, trace)
    return documents


def test_a_days_documents_are_valid_and_add_up(square: Square, simulator: SquareSimulator) -> None:
    coffee, mug = simulator.add_item("SKU-1", "Coffee", 950, 10), simulator.add_item("SKU-2", "Mug", 1200, 10)
    sale = simulator.ring_sale([(coffee, 3), (mug, 1)], "CASH", discount=100, tip=200)
    simulator.ring_return(sale, {sale["line_items"][0]["uid"]: 2})
    simulator.ring_exchange(sale, {sale["line_items"][1]["uid"]: 1}, [(coffee, 1)])
    simulator.count(coffee, 9)
    simulator.adjust(mug, 1, "IN_STOCK", "WASTE")

    documents = [item for item in _documents(square, simulator) if isinstance(item, Document)]

    for document in documents:
        assert canonical.violations(document.type, document.data) == [], document.type
    assert {document.type for document in documents} == {
        "sale.completed.v1", "return.completed.v1", "exchange.completed.v1", "stock.counted.v1", "stock.adjusted.v1",
    }  # fmt: skip
    first = next(document.data for document in documents if document.type == "sale.completed.v1")
    assert first["location"] == {"code": "HARBOUR-ST"}
    assert [line["sku"] for line in first["lines"]] == ["SKU-1", "SKU-2"]
    back = next(document.data for document in documents if document.type == "return.completed.v1")
    assert back["original"]["id"] == sale["id"]
    assert [tender["type"] for tender in back["tenders"]] == ["cash"], "money goes back the way it came"


def test_the_same_fact_has_one_source_id_however_it_is_told(square: Square, simulator: SquareSimulator) -> None:
    coffee = simulator.add_item("SKU-1", "Coffee", 950, 0)
    simulator.ring_sale([(coffee, 1)])
    change = simulator.count(coffee, 9)
    by_webhook = {item.source_id for item in _documents(square, simulator) if isinstance(item, Document)}
    headers = {"Authorization": f"Bearer {simulator.token}"}
    page = drive(square, square.read("inventory_change", {}), simulator.handle, headers)
    by_poll = set()
    for record in page.records:
        polled = square.change_of("inventory_change", record)
        for item in drive(square, square.translate(polled), simulator.handle, headers):
            if isinstance(item, Document):
                by_poll.add(item.source_id)

    assert len(by_webhook) == 2, "order.updated and payment.updated tell one sale"
    assert by_poll == {f"inventory:{change['physical_count']['id']}"} <= by_webhook


def test_stock_that_a_sale_moved_is_left_to_the_sale(square: Square, simulator: SquareSimulator) -> None:
    coffee = simulator.add_item("SKU-1", "Coffee", 950, 0)
    simulator.ring_sale([(coffee, 1)], announce=False)
    headers = {"Authorization": f"Bearer {simulator.token}"}
    (record,) = drive(square, square.read("inventory_change", {}), simulator.handle, headers).records

    (item,) = drive(square, square.translate(square.change_of("inventory_change", record)), simulator.handle, headers)

    assert isinstance(item, Ignored)
    assert "part of a sale" in item.reason


def test_reading_on_from_an_inclusive_cursor_loses_nothing(square: Square, simulator: SquareSimulator) -> None:
    coffee = simulator.add_item("SKU-1", "Coffee", 950, 0)
    headers = {"Authorization": f"Bearer {simulator.token}"}
    seen: list[str] = []
    cursor: Any = {}
    for _ in range(3):
        for n in range(70):
            simulator.count(coffee, n, announce=False)
        more = True
        while more:
            page = drive(square, square.read("inventory_change", cursor), simulator.handle, headers)
            seen += [record["physical_count"]["id"] for record in page.records]
            cursor, more = page.cursor, page.more

    assert set(seen) == {change["physical_count"]["id"] for change in simulator.changes}
    assert len(seen) <= 210 + 3, "only the bound itself may repeat"


def test_squares_own_order_example_becomes_a_sale(square: Square) -> None:
    order = sample("CreateOrderResponse")["order"]
    tenders = [{"id": "t", "type": "CARD", "amount_money": {"amount": 6176, "currency": "USD"}, "payment_id": "p"}]

    document = square.transaction(order | {"tenders": tenders}, {}, {"BEMYCSMIJL46OCDV4KYIKXIB": "STEAK"})

    assert canonical.violations(document.type, document.data) == []
    assert document.data["total"] == {"amount": "61.76", "currency": "USD"}
    assert [line["sku"] for line in document.data["lines"]] == ["CUSTOM-AMOUNT", "STEAK"]
    assert document.data["lines"][1]["unit_price"]["amount"] == "22.50", "modifiers are part of the price"


@pytest.mark.parametrize(
    "name", ["order.updated", "payment.created", "payment.updated", "refund.updated", "inventory.count.updated"]
)
def test_squares_own_webhook_examples_are_understood(square: Square, name: str) -> None:
    (change,) = square.receive(Webhook(json.dumps(sample(name)).encode()))

    expected = {
        "order.updated": Ignored, "payment.created": Ignored,  # still OPEN, still APPROVED
        "payment.updated": Change, "refund.updated": Change, "inventory.count.updated": Change,
    }  # fmt: skip
    assert isinstance(change, expected[name])


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"data": 7}', b'{"type":"payment.updated","data":{"object":{"payment":{"status":"COMPLETED"}}}}']
)
def test_what_makes_no_sense_is_refused_with_a_code(square: Square, body: bytes) -> None:
    with pytest.raises(UntranslatableError) as caught:
        list(square.receive(Webhook(body)))

    assert caught.value.code == "malformed_event"


@pytest.mark.parametrize(
    ("moment", "day"),
    [("2026-11-21T05:30:00Z", "2026-11-20"), ("2026-11-21T08:59:59Z", "2026-11-20"), ("2026-11-21T09:00:00Z", "2026-11-21"),
     ("2026-03-08T06:59:00Z", "2026-03-07"), ("2026-07-04T03:00:00Z", "2026-07-03")],
)  # fmt: skip
def test_a_sale_after_midnight_belongs_to_the_day_before(square: Square, moment: str, day: str) -> None:
    assert square.business_date(moment) == day


def test_the_simulator_signs_as_the_manifest_declares() -> None:
    assert Square.manifest.signature == SIGNATURE


def test_every_request_fits_squares_own_description(square: Square, simulator: SquareSimulator) -> None:
    if not SPEC.exists():
        pytest.skip("Square's OpenAPI file is not beside this checkout")
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    referencing = pytest.importorskip("referencing", reason="needs referencing")
    spec = json.loads(SPEC.read_text())
    resource = referencing.Resource.from_contents(spec, default_specification=referencing.jsonschema.DRAFT202012)
    registry = referencing.Registry().with_resource("square", resource)
    coffee = simulator.add_item("SKU-1", "Coffee", 950, 5)
    sale = simulator.ring_sale([(coffee, 2)])
    simulator.ring_return(sale, {sale["line_items"][0]["uid"]: 1})
    simulator.count(coffee, 4)
    requests: list[Request] = []
    _documents(square, simulator, requests)
    headers = {"Authorization": f"Bearer {simulator.token}"}
    for name in ("inventory_change", "item_variation", "order"):
        drive(square, square.read(name, {}), simulator.handle, headers, requests)
    drive(square, square.check(), simulator.handle, headers, requests)

    checked = set()
    for request in requests:
        path = "/v2/orders/{order_id}" if request.path.startswith("/v2/orders/") and request.method == "GET" else request.path
        operation = spec["paths"][path][request.method.lower()]
        checked.add(path)
        if request.json is not None:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            jsonschema.Draft202012Validator({"$ref": f"square{schema['$ref']}"}, registry=registry).validate(request.json)
            name = schema["$ref"].rpartition("/")[2]
            unknown = set(request.json) - set(spec["components"]["schemas"][name]["properties"])
            assert unknown == set(), f"{path}: {unknown}"
    assert len(checked) == 6


def test_a_search_is_repeated_page_by_page_and_ends_with_its_first(square: Square, simulator: SquareSimulator) -> None:
    """As Square's description has it; our connector must not depend on more."""
    coffee = simulator.add_item("SKU-1", "Coffee", 950, 500)
    sold = {simulator.ring_sale([(coffee, 1)], announce=False)["id"] for _ in range(150)}
    headers = {"Authorization": f"Bearer {simulator.token}"}
    first = drive(square, square.read("order", {}), simulator.handle, headers)
    late = simulator.ring_sale([(coffee, 1)], announce=False)["id"]
    other = {**first.cursor, "before": {"S8GWD5R9QB376": "2026-01-01T00:00:00Z"}}

    second = drive(square, square.read("order", first.cursor), simulator.handle, headers)
    third = drive(square, square.read("order", second.cursor), simulator.handle, headers)

    assert first.more
    assert not second.more
    assert {record["id"] for page in (first, second) for record in page.records} == sold
    assert late in {record["id"] for record in third.records}
    with pytest.raises(ConnectorError, match="query of this cursor"):
        drive(square, square.read("order", other), simulator.handle, headers)


def test_orders_of_many_locations_are_read_ten_at_a_time_and_none_is_passed_by(simulator: SquareSimulator) -> None:
    """A sale in the first ten while the others are read has a later one's time behind it: it comes with the next read."""
    coffee = simulator.add_item("SKU-1", "Coffee", 950, 100)
    names = [f"L{n:02}" for n in range(23)]
    square = Square({**SETTINGS, "locations": {name: name for name in names}})
    headers = {"Authorization": f"Bearer {simulator.token}"}

    def sell(place: str) -> str:
        simulator.location_id = place
        return str(simulator.ring_sale([(coffee, 1)], announce=False)["id"])

    expected = {sell(place) for place in names for _ in range(2)}
    found: list[str] = []
    cursor: dict[str, Any] = {}
    asked: list[Request] = []
    while True:
        page = drive(square, square.read("order", cursor), simulator.handle, headers, asked)
        found += [record["id"] for record in page.records]
        cursor = dict(page.cursor)
        if not page.more:
            break
        if len(found) == 20:  # the first ten are through
            early = sell("L00")
            sell("L22")
    assert {*found} >= expected
    assert early not in found
    assert [len(request.json["location_ids"]) for request in asked] == [10, 10, 3]

    again: set[str] = set()
    for _ in range(3):
        page = drive(square, square.read("order", cursor), simulator.handle, headers)
        again |= {record["id"] for record in page.records}
        cursor = dict(page.cursor)
    assert early in again


def test_a_seller_without_configured_locations_is_asked_for_them(simulator: SquareSimulator) -> None:
    coffee = simulator.add_item("SKU-1", "Coffee", 950, 100)
    sale = simulator.ring_sale([(coffee, 1)], announce=False)
    square = Square({"timezone": "UTC"})

    page = drive(square, square.read("order", {}), simulator.handle, {"Authorization": f"Bearer {simulator.token}"})

    assert [record["id"] for record in page.records] == [sale["id"]]


def test_what_the_simulator_answers_fits_squares_own_description(simulator: SquareSimulator) -> None:
    """Every field of its orders, payments and refunds is one of Square's, of the type that Square gives it."""
    if not SPEC.exists():
        pytest.skip("Square's OpenAPI file is not beside this checkout")
    spec = json.loads(SPEC.read_text())["components"]["schemas"]
    simulator.location_id = simulator.add_location("L-1", "Europe/London", "GB", "GBP")
    mug = simulator.add_item("MUG", "Mug", 1200, 5)
    charges = [
        Charge(name="Service", percentage="10", taxes=(TAX,)),
        Charge(name="Party", amount=50, treatment="APPORTIONED_TREATMENT"),
    ]
    modified = simulator.rung(mug, 2, modifiers=[("Engraved", 100, 1)], unit={"generic_unit": "UNIT"})
    sale = simulator.ring_sale([modified], "CASH", tip=100, charges=charges, rounding=2)
    for kind in ("CARD", "OTHER", "WALLET", "BUY_NOW_PAY_LATER", "BANK_ACCOUNT", "SQUARE_ACCOUNT", "SQUARE_GIFT_CARD"):
        simulator.ring_sale([(mug, 1)], kind)
    everything = {each["uid"]: 1 for each in (*sale["line_items"], *sale["service_charges"])}
    back = simulator.ring_return(sale, everything, tip=100, amount=5, rounding=1, status="PENDING")
    simulator.settle_refund(back, "FAILED")
    simulator.ring_exchange(sale, everything, [(mug, 1)])
    simulator.touch(sale)

    for name, found in (("Order", simulator.orders), ("Payment", simulator.payments), ("PaymentRefund", simulator.refunds),
                        ("Location", simulator.locations), ("CatalogObject", simulator.variations),
                        ("CatalogObject", simulator.items)):  # fmt: skip
        for each in found.values():
            _fits(spec, {"$ref": f"#/components/schemas/{name}"}, each, name)


def _fits(spec: Any, schema: Any, value: Any, place: str) -> None:
    """No field that the description does not name, and no value of another type or outside of its list."""
    if "$ref" in schema:
        schema = spec[schema["$ref"].rpartition("/")[2]]
    types = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
    assert isinstance(value, types[schema.get("type", "object")]), place
    assert "enum" not in schema or value in schema["enum"], f"{place}: {value}"
    if isinstance(value, dict) and schema.get("properties"):
        for key, inner in value.items():
            assert key in schema["properties"], f"{place}.{key} is not in Square's description"
            _fits(spec, schema["properties"][key], inner, f"{place}.{key}")
    elif isinstance(value, list):
        for inner in value:
            _fits(spec, schema["items"], inner, place)
