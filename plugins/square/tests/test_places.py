"""Where and when: time zones of locations, inventory states, variations that share an SKU."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from hub.sdk import Change, Document, Ignored, Refused, Response

LATE = "2026-12-01T06:30:00.000Z"  # 22:30 on the 30th in Los Angeles, 01:30 on the 1st in New York


def _order(shop: Any, location_id: str) -> Any:
    order = copy.deepcopy(shop.till.ring_sale([(shop.till.add_item("MUG", "Mug", 1000, 10), 1)], announce=False))
    return order | {"location_id": location_id, "created_at": LATE, "closed_at": LATE}


def test_trading_day_is_that_of_the_location(shop: Any) -> None:
    shop.till.add_location("LA", "America/Los_Angeles")

    days = [shop.only(_order(shop, place)).data["business_date"] for place in ("LA", "S8GWD5R9QB376")]

    assert days == ["2026-11-30", "2026-12-01"]


def test_trading_day_goes_by_the_setting_of_a_location_before_square(make_shop: Callable[..., Any]) -> None:
    shop = make_shop(timezones={"LA": "Asia/Tokyo"})
    shop.till.add_location("LA", "America/Los_Angeles")

    assert shop.only(_order(shop, "LA")).data["business_date"] == "2026-12-01"
    assert [request.path for request in shop.requests if request.path == "/v2/locations"] == []


@pytest.mark.parametrize("answered", ["unknown location", "no permission"])
def test_trading_day_goes_by_the_connection_when_square_does_not_say(make_shop: Callable[..., Any], answered: str) -> None:
    shop = make_shop(timezone="Pacific/Honolulu")
    if answered == "no permission":
        handle = shop.till.handle
        denied = Response(403, {}, b'{"errors":[{"category":"AUTHENTICATION_ERROR","code":"INSUFFICIENT_SCOPES"}]}')
        shop.till.handle = lambda request: denied if request.path == "/v2/locations" else handle(request)

    assert shop.only(_order(shop, "ELSEWHERE")).data["business_date"] == "2026-11-30"


def test_locations_are_read_once(shop: Any) -> None:
    shop.till.add_location("LA", "America/Los_Angeles")
    for place in ("LA", "S8GWD5R9QB376", "LA"):
        shop.only(_order(shop, place))
    shop.change(shop.till.count(shop.till.add_item("HAT", "Hat", 1000, 0), 3, announce=False))

    assert [request.path for request in shop.requests].count("/v2/locations") == 1


def test_count_is_dated_by_its_location(shop: Any) -> None:
    shop.till.add_location("LA", "America/Los_Angeles")
    change = copy.deepcopy(shop.till.count(shop.till.add_item("MUG", "Mug", 1000, 0), 3, announce=False))
    change["physical_count"] |= {"location_id": "LA", "occurred_at": LATE}

    assert shop.change(change).data["business_date"] == "2026-11-30"


def test_change_of_an_unknown_state_does_not_hold_back_its_siblings(shop: Any) -> None:
    mug = shop.till.add_item("MUG", "Mug", 1000, 0)
    states = [("ORDERED_FROM_VENDOR", "RECEIVED_FROM_VENDOR"), ("NONE", "IN_STOCK"), ("IN_TRANSIT_TO", "IN_TRANSIT"),
              ("IN_STOCK", "CUSTOM"), ("COMPOSED", "IN_STOCK"), ("UNLINKED_RETURN", "CUSTOM")]  # fmt: skip
    changes = [shop.till.adjust(mug, 3, *each, announce=False)["adjustment"]["id"] for each in states]

    items = shop.of(Change("inventory_count", mug, detail={"since": "2020-01-01T00:00:00Z"}))

    assert [type(item) for item in items] == [Ignored, Document, Ignored, Refused, Refused, Refused]
    assert "ORDERED_FROM_VENDOR to RECEIVED_FROM_VENDOR" in items[0].reason
    assert (items[1].data["to_state"], items[1].data["quantity"]) == ("available", "3")
    assert (items[3].source_id, items[3].code) == (f"inventory:{changes[3]}", "unknown_state")
    assert "CUSTOM" in items[3].message


def test_malformed_change_does_not_hold_back_its_siblings(shop: Any) -> None:
    mug = shop.till.add_item("MUG", "Mug", 1000, 0)
    broken = shop.till.adjust(mug, 3, "NONE", "IN_STOCK", announce=False)["adjustment"]
    shop.till.adjust(mug, 4, "NONE", "IN_STOCK", announce=False)
    shop.till.sku(mug)
    del broken["quantity"]

    items = shop.of(Change("inventory_count", mug, detail={"since": "2020-01-01T00:00:00Z"}))

    assert [type(item) for item in items] == [Refused, Document]
    assert (items[0].source_id, items[0].code) == (f"inventory:{broken['id']}", "malformed_record")


def test_every_change_behind_a_count_is_read(shop: Any) -> None:
    mug = shop.till.add_item("MUG", "Mug", 1000, 0)
    for quantity in range(1, 131):
        shop.till.adjust(mug, quantity, "NONE", "IN_STOCK", announce=False)

    assert len(shop.of(Change("inventory_count", mug, detail={"since": "2020-01-01T00:00:00Z"}))) == 130


def test_count_is_refused_when_two_variations_have_one_sku(shop: Any) -> None:
    small, large = shop.till.add_item("TEE", "Small", 1000, 0), shop.till.add_item("TEE", "Large", 1000, 0)
    shop.till.add_item("tee", "Other case", 1000, 0)
    shop.till.add_item("TEE-2", "Other", 1000, 0)

    refused = shop.change(shop.till.count(small, 3, announce=False))
    moved = shop.change(shop.till.adjust(large, 3, "IN_STOCK", "WASTE", announce=False))
    shop.till.delete_item(large)
    counted = shop.change(shop.till.count(small, 3, announce=False))

    assert isinstance(refused, Refused)
    assert refused.code == "sku_ambiguous"
    assert large in refused.message
    assert "TEE" in refused.message
    assert isinstance(moved, Document), "movements of both add up"
    assert isinstance(counted, Document)


def test_count_is_told_when_its_rival_is_at_another_location(shop: Any) -> None:
    small, large = shop.till.add_item("TEE", "Here", 1000, 0), shop.till.add_item("TEE", "There", 1000, 0)
    shop.till.variations[large] |= {"present_at_all_locations": False, "present_at_location_ids": ["LA"]}

    assert isinstance(shop.change(shop.till.count(small, 3, announce=False)), Document)
