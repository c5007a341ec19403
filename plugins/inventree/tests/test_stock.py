"""Several stock items, the last piece, more than there is, and crashes: nothing is moved twice, nothing is lost silently."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hub_inventree.connector import InvenTree
from hub_inventree.simulator import InvenTreeSimulator

from canonical.examples import EXAMPLES
from canonical.registry import violations
from hub.sdk import ConnectorError, RejectedByTargetError, Response, Skipped, Written
from hub.sdk.testing import SimRequest, drive

Json = dict[str, Any]
HEAD = {name: EXAMPLES["sale.completed.v1"][name] for name in ("location", "occurred_at", "business_date")}
FACT = {name: EXAMPLES["stock.counted.v1"][name] for name in ("location", "business_date")}
_LATER = "2026-11-22T08:00:00-05:00"


class Lost(ConnectorError):
    """The answer to a request never came."""


class Shop:
    """A server with the part MUG, and the connector."""

    def __init__(self, *batches: int, **settings: Any) -> None:
        self.simulator = InvenTreeSimulator()
        self.mug = self.simulator.add_part("MUG", "Mug")
        self.items = [self.simulator.add_item(self.mug, quantity) for quantity in batches]
        self.settings = {"locations": {"HARBOUR-ST": 1, "WH-1": 2}, **settings}

    def write(self, name: str, told: Json, key: str, handle: Callable[[SimRequest], Response] | None = None) -> Any:
        assert violations(name, told) == []
        connector = InvenTree(self.settings)
        headers = {"Authorization": f"Token {self.simulator.token}"}
        return drive(connector, connector.write(name, told, key), handle or self.simulator.handle, headers)

    def find(self, name: str, told: Json, key: str) -> str | None:
        connector = InvenTree(self.settings)
        headers = {"Authorization": f"Token {self.simulator.token}"}
        found: str | None = drive(connector, connector.find(name, told, key), self.simulator.handle, headers)
        return found

    def levels(self) -> list[int]:
        """The quantities of the stock items, oldest first."""
        return [int(item["quantity"]) for item in self.simulator.items.values()]

    def sell(self, quantity: str, key: str) -> Any:
        return self.write("sale.completed.v1", sale(line("MUG", quantity)), key)


def line(sku: str, quantity: str = "1", **more: Any) -> Json:
    zero = {"amount": "0.00", "currency": "USD"}
    return {
        "id": f"{sku} {len(more)}",
        "sku": sku,
        "quantity": quantity,
        "unit_price": zero,
        "gross": zero,
        "total": zero,
        **more,
    }


def document(**lists: list[Json]) -> Json:
    zero = {"amount": "0.00", "currency": "USD"}
    return {"id": "1", "number": "1", **HEAD, "tax": zero, "total": zero, "tenders": [], **lists}


def sale(*lines: Json, **more: Any) -> Json:
    return {**document(lines=list(lines)), **more}


def adjusted(quantity: str, from_state: str, to_state: str, **more: Any) -> Json:
    return {
        "id": "A", **FACT, "sku": "MUG", "occurred_at": "2026-11-21T23:00:00-05:00", "from_state": from_state,
        "to_state": to_state, "quantity": quantity, **more,
    }  # fmt: skip


def counted(quantity: str, occurred_at: str = _LATER, **more: Any) -> Json:
    fact = {"id": "C", **FACT, "sku": "MUG", "state": "available", "quantity": quantity, "occurred_at": occurred_at}
    return fact | {"business_date": occurred_at[:10]} | more


@pytest.mark.parametrize(
    ("batches", "sold", "left"),
    [((2, 10), "2", [0, 10]), ((2, 10), "5", [0, 7]), ((10, 2), "2", [8, 2]), ((2,), "2", [0]), ((1, 1, 1), "3", [0, 0, 0])],
)
def test_a_sale_takes_from_the_oldest_item_first_and_once_when_it_is_written_again(
    batches: tuple[int, ...], sold: str, left: list[int]
) -> None:
    """Also where an item becomes empty: the server would delete it with the proof that the sale was applied."""
    shop = Shop(*batches)

    first = shop.sell(sold, "XD1")
    found = shop.find("sale.completed.v1", sale(line("MUG", sold)), "XD1")
    again = shop.sell(sold, "XD1")

    assert shop.levels() == left
    assert isinstance(first, Written)
    assert first.external_id == found == again.external_id


def test_all_items_of_a_sale_are_taken_in_one_request() -> None:
    shop = Shop(2, 10)
    shop.simulator.add_item(shop.simulator.add_part("CUP", "Cup"), 4)
    seen: list[SimRequest] = []

    def watched(request: SimRequest) -> Response:
        seen.append(request)
        return shop.simulator.handle(request)

    shop.write("sale.completed.v1", sale(line("MUG", "5"), line("CUP", "1")), "XD1", watched)

    assert shop.levels() == [0, 7, 3]
    assert [request.path for request in seen if request.method == "POST"] == ["/api/stock/remove/"]


@pytest.mark.parametrize("batches", [(), (0,), (2,), (1, 1), (3, 10)])
@pytest.mark.parametrize("name", ["sale.completed.v1", "exchange.completed.v1", "stock.counted.v1"])
def test_cut_off_after_any_request_the_stock_is_right_in_the_end(batches: tuple[int, ...], name: str) -> None:
    """Every crash point, with a look-up before each attempt, as the hub does it."""
    back = [line("MUG", "1", reason="cold")]
    told = {
        "sale.completed.v1": sale(line("MUG", "2")), "stock.counted.v1": counted("0"),
        "exchange.completed.v1": document(lines=[line("MUG", "3")], returned=back),
    }[name]  # fmt: skip
    shop = Shop(*batches)
    for cut in range(1, 60):
        left = [cut]

        def losing(request: SimRequest, left: list[int] = left) -> Response:
            response = shop.simulator.handle(request)
            left[0] -= 1
            if left[0] == 0:
                raise Lost("the answer was lost")
            return response

        if shop.find(name, told, "XD1") is not None:
            break
        try:
            shop.write(name, told, "XD1", losing)
        except Lost:
            continue
    else:
        raise AssertionError("the write never came to its end")
    assert sum(shop.levels()) == (0 if name.startswith("stock") else max(0, sum(batches) - 2))
    assert max(shop.simulator.applied().values()) == 1


@pytest.mark.parametrize("batches", [(), (2,), (1, 1)])
def test_more_than_there_is_is_recorded_and_taken_from_what_arrives_later(batches: tuple[int, ...]) -> None:
    """The server stops at 0 and forgets: 2 there, 5 sold, 3 received late would leave 3."""
    shop = Shop(*batches)
    missing = 5 - sum(batches)

    result = shop.sell("5", "XD1")
    assert result.detail == {"short": {"MUG": str(missing)}}
    assert (sum(shop.levels()), shop.simulator.tracking[-1]["notes"].partition(" short ")[2]) == (0, f"1={missing}")
    shop.write("stock.adjusted.v1", adjusted(str(missing), "none", "available"), "XD2")
    assert sum(shop.levels()) == 0
    shop.write("stock.adjusted.v1", adjusted("4", "none", "available"), "XD3")

    assert sum(shop.levels()) == 4, "what was owed is taken once"


def test_what_was_missing_is_taken_from_goods_that_the_staff_received_since() -> None:
    shop = Shop(2)
    shop.sell("5", "XD1")
    shop.simulator.receive(shop.items[0], 10)

    result = shop.sell("1", "XD2")

    assert (shop.levels(), result.detail) == ([6], {})


def test_a_count_ends_what_was_missing() -> None:
    shop = Shop(2)
    shop.sell("5", "XD1")

    shop.write("stock.counted.v1", counted("7"), "XD2")
    shop.write("sale.completed.v1", {**sale(line("MUG", "1")), "occurred_at": "2026-11-22T09:00:00-05:00"}, "XD3")

    assert shop.levels() == [6]


def test_a_late_count_does_not_add_up_what_was_owed_twice() -> None:
    shop = Shop(2)
    shop.sell("5", "XD1")  # 23:40
    shop.simulator.receive(shop.items[0], 10)
    shop.write("sale.completed.v1", {**sale(line("MUG", "1")), "occurred_at": "2026-11-21T23:50:00-05:00"}, "XD2")

    shop.write("stock.counted.v1", counted("20", "2026-11-21T08:00:00-05:00"), "XD3")

    assert shop.levels() == [14]


@pytest.mark.parametrize(("quantity", "left"), [("8", [0, 6, 2]), ("16", [3, 8, 5]), ("13", [3, 8, 2]), ("0", [0, 0, 0])])
def test_a_count_of_several_items_takes_from_the_oldest_and_adds_to_the_newest(quantity: str, left: list[int]) -> None:
    shop = Shop(3, 8, 2)

    shop.write("stock.counted.v1", counted(quantity), "XD1")

    assert shop.levels() == left
    assert isinstance(shop.write("sale.completed.v1", sale(line("MUG", "1")), "XD2"), Skipped), "the count has seen it"
    assert shop.levels() == left


def test_a_count_of_a_lot_changes_the_items_of_that_lot_only() -> None:
    shop = Shop(3)
    shop.simulator.add_item(shop.mug, 5, batch="L-1")

    shop.write("stock.counted.v1", counted("4", lot="L-1"), "XD1")

    assert shop.levels() == [3, 4]


def test_a_movement_of_a_lot_takes_from_that_lot_first() -> None:
    shop = Shop(3)
    shop.simulator.add_item(shop.mug, 5, batch="L-1")

    shop.write("stock.adjusted.v1", adjusted("6", "available", "damaged", lot="L-1"), "XD1")

    assert shop.levels() == [2, 0]


def test_items_of_sublocations_and_items_that_cannot_be_sold_are_left_alone() -> None:
    shop = Shop()
    shop.simulator.parents[9] = 1
    elsewhere = {"location": 9}, {"status": 55}, {"customer": 7}, {"is_building": True}
    for fields in elsewhere:
        shop.simulator.add_item(shop.mug, 5, **{"location": 1, **fields})
    shop.simulator.add_item(shop.mug, 5)

    shop.sell("2", "XD1")

    assert shop.levels() == [5, 5, 5, 5, 3]


def test_stock_with_serial_numbers_is_refused_when_the_rest_does_not_suffice() -> None:
    shop = Shop(1)
    shop.simulator.add_item(shop.mug, 1, serial="77")

    with pytest.raises(RejectedByTargetError) as caught:
        shop.sell("2", "XD1")

    assert (caught.value.code, shop.levels()) == ("serialized_stock", [1, 1])


def test_only_lines_about_goods_move_stock() -> None:
    shop = Shop(10)
    beside = [
        line("CUSTOM-AMOUNT", kind="amount"), line("GIFT", kind="gift_card"), line("DELIVERY", kind="delivery"),
        line("BAG", stocked=False),
    ]  # fmt: skip

    shop.write("sale.completed.v1", sale(line("MUG", "2"), *beside), "XD1")
    nothing = shop.write("sale.completed.v1", sale(*beside), "XD2")
    of_order = shop.write("sale.completed.v1", sale(line("MUG", "2"), order={"id": "O-1"}), "XD3")

    assert shop.levels() == [8]
    assert nothing == Skipped("no line is about goods that move stock")
    assert of_order == Skipped("the goods of order O-1 move with its fulfilment and returns")


def test_returned_goods_go_where_and_as_the_document_says() -> None:
    shop = Shop(10)
    lines = [
        line("MUG", "1"), line("MUG", "2", state="damaged", id="2"), line("MUG", "4", state="none", id="3"),
        line("MUG", "3", restocked_at={"code": "WH-1"}, id="4"),
    ]  # fmt: skip

    shop.write("return.completed.v1", document(lines=lines), "XD1")
    damaged = shop.write("return.completed.v1", document(lines=lines[1:2]), "XD2")

    assert {item["location"]: int(item["quantity"]) for item in shop.simulator.items.values()} == {1: 11, 2: 3}
    assert damaged == Skipped("none to damaged does not change available stock")


def test_an_unmapped_place_of_a_returned_line_is_named() -> None:
    told = document(lines=[line("MUG"), line("MUG", restocked_at={"code": "NOWHERE"}, id="2")])

    with pytest.raises(RejectedByTargetError) as caught:
        Shop(1).write("return.completed.v1", told, "XD1")

    assert (caught.value.code, caught.value.field) == ("unknown_location", "/lines/1/restocked_at/code")


def test_two_places_that_are_one_location_share_its_items() -> None:
    shop = Shop(2, locations={"HARBOUR-ST": 1, "WH-1": 1})
    back = [line("MUG", "1"), line("MUG", "1", restocked_at={"code": "WH-1"}, id="2")]

    shop.write("exchange.completed.v1", document(lines=[line("MUG", "6")], returned=back), "XD1")

    assert shop.levels() == [0]
    assert shop.simulator.tracking[-1]["notes"].endswith(" short 1=2")


def test_a_void_and_a_fulfilment_move_the_goods() -> None:
    shop = Shop(10)
    void = EXAMPLES["sale.voided.v1"] | {"lines": [line("MUG", "2")]}
    fulfilled = EXAMPLES["fulfillment.completed.v1"] | {"location": HEAD["location"]}
    fulfilled |= {"goods": [{"line_id": "1", "sku": "MUG", "quantity": "5"}]}

    shop.sell("2", "XD1")
    shop.write("sale.voided.v1", void, "XD2")
    assert shop.levels() == [10]
    shop.write("fulfillment.completed.v1", fulfilled, "XD3")
    assert shop.levels() == [5]


def test_a_write_of_more_items_than_a_page_lists_is_done_once() -> None:
    shop = Shop(*[1] * 205)
    told = document(lines=[line("MUG", "150")], returned=[line("MUG", "1")])

    first = shop.write("exchange.completed.v1", told, "XD1")

    assert shop.find("exchange.completed.v1", told, "XD1") is not None
    assert shop.write("exchange.completed.v1", told, "XD1") == first
    assert sum(shop.levels()) == 56


def test_several_pages_of_items_are_read() -> None:
    shop = Shop(*[1] * 205)

    shop.sell("203", "XD1")

    assert sum(shop.levels()) == 2
    assert shop.levels()[-2:] == [1, 1]
    assert all(quantity == Decimal(0) for quantity in shop.levels()[:203])
