"""The hub's measures agree with the canonical language: every type, every major, instants and places."""

from decimal import Decimal
from typing import Any

import pytest

from canonical.examples import EXAMPLES
from canonical.movements import movements
from canonical.registry import TYPES
from canonical.versions import cast
from hub.reconcile.measure import TILL_MONEY, NotMeasurableError, money_by_tender, stock_by_place, stock_by_sku

SALE = EXAMPLES["sale.completed.v1"]
VOID = EXAMPLES["sale.voided.v1"]
CASH = Decimal("34.70")


def counted(quantity: str, at: str, place: str = "HARBOUR-ST", **more: str) -> tuple[str, dict[str, Any]]:
    document = EXAMPLES["stock.counted.v1"] | {"quantity": quantity, "occurred_at": at, "location": {"code": place}} | more
    return "stock.counted.v1", document


def sold(at: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "sale.completed.v1", SALE | {"occurred_at": at} | more


def test_till_money_covers_every_type_of_the_registry() -> None:
    assert set(TILL_MONEY) == {name.rpartition(".v")[0] for name in TYPES}
    for name in TYPES:
        has_tenders = "tenders" in TYPES[name].schema.fields and not name.startswith(("till.", "store_day."))
        assert (TILL_MONEY[name.rpartition(".v")[0]] is not None) == (has_tenders or name == "sale.voided.v1"), name


@pytest.mark.parametrize("type_name", ["sale.completed.v9", "parcel.weighed.v1", "sale"])
def test_measures_refuse_a_type_when_the_registry_does_not_know_it(type_name: str) -> None:
    with pytest.raises(NotMeasurableError, match=type_name):
        money_by_tender([(type_name, SALE)])
    with pytest.raises(NotMeasurableError, match=type_name):
        stock_by_sku([(type_name, SALE)])


def test_stock_is_what_the_movements_of_the_canonical_language_come_to() -> None:
    """Each example alone, after a count of nothing: orders, fulfilments, voids, transfers, purchases and both majors."""
    moved_by = set()
    for name, document in EXAMPLES.items():
        if name == "stock.counted.v1":
            continue
        expected: dict[tuple[str, str], Decimal] = {}
        for move in movements(name, document):
            for state, sign in ((move.from_state, -1), (move.to_state, 1)):
                if state == "available":
                    key = move.sku, move.place
                    expected[key] = expected.get(key, Decimal(0)) + sign * move.quantity
        assert stock_by_place([(name, document)]) == expected, name
        moved_by |= {name} if expected else set()
    assert {"sale.voided.v1", "sale.completed.v2", "stock.adjusted.v2", "purchase.received.v1", "transfer.sent.v1"} <= moved_by


def test_stock_compares_instants_when_offsets_differ() -> None:
    """Counted at 09:00Z, sold at 09:30Z; as text the count comes later."""
    documents = [counted("10", "2026-11-21T10:00:00+01:00"), sold("2026-11-21T09:30:00Z")]
    assert stock_by_sku(documents)["SKU-0001"] == 8


def test_stock_takes_a_movement_as_counted_when_both_have_one_instant() -> None:
    documents = [counted("10", "2026-11-21T10:00:00+01:00"), sold("2026-11-21T09:00:00Z")]
    assert stock_by_sku(documents)["SKU-0001"] == stock_by_sku(documents[::-1])["SKU-0001"] == 10


def test_stock_sums_places_when_one_sku_is_counted_at_two() -> None:
    documents = [counted("10", "2026-11-21T08:00:00Z"), counted("3", "2026-11-21T09:00:00Z", "WH-1")]
    assert stock_by_sku(documents) == {"SKU-0001": Decimal(13)}
    assert stock_by_place(documents) == {("SKU-0001", "HARBOUR-ST"): Decimal(10), ("SKU-0001", "WH-1"): Decimal(3)}


def test_stock_sums_lots_when_each_is_counted_and_replaces_them_when_a_count_names_none() -> None:
    lots = [counted("5", "2026-11-21T08:00:00Z", lot="A"), counted("7", "2026-11-21T08:01:00Z", lot="B")]
    assert stock_by_sku(lots) == {"SKU-0001": Decimal(12)}
    assert stock_by_sku([*lots, counted("11", "2026-11-21T08:02:00Z")]) == {"SKU-0001": Decimal(11)}


def test_stock_and_money_are_as_before_when_a_sale_is_voided() -> None:
    documents = [counted("10", "2026-11-21T08:00:00Z"), sold("2026-11-21T23:40:00Z"),
                 ("sale.voided.v1", VOID | {"occurred_at": "2026-11-21T23:45:00Z"})]  # fmt: skip
    assert stock_by_sku(documents)["SKU-0001"] == 10
    assert money_by_tender(documents) == {}


def test_stock_stays_when_an_order_is_paid_and_leaves_with_its_fulfilment() -> None:
    paid = [counted("10", "2026-11-21T08:00:00Z"), sold("2026-11-21T09:00:00Z", order={"id": "O-5001"})]
    assert stock_by_sku(paid)["SKU-0001"] == 10
    fulfilled = EXAMPLES["fulfillment.completed.v1"] | {"location": {"code": "HARBOUR-ST"}, "reserved": False}
    assert stock_by_sku([*paid, ("fulfillment.completed.v1", fulfilled)])["SKU-0001"] == 8


def test_money_is_the_same_when_a_sale_is_told_in_another_major() -> None:
    newer = cast("sale.completed.v1", SALE, 2)
    assert newer is not None
    assert money_by_tender([newer]) == money_by_tender([("sale.completed.v1", SALE)]) == {"cash": CASH}
    assert money_by_tender([newer, ("sale.voided.v1", VOID)]) == {}


def test_money_takes_the_tenders_of_a_void_when_it_has_some() -> None:
    void = VOID | {"tenders": SALE["tenders"], "change": SALE["change"]}
    assert money_by_tender([("sale.voided.v1", void)]) == {"cash": -CASH}


def test_money_takes_the_tenders_of_the_sale_when_the_void_has_none() -> None:
    assert money_by_tender([("sale.voided.v1", VOID)], [("sale.completed.v1", SALE)]) == {"cash": -CASH}


def test_money_takes_the_sale_of_the_same_place_when_two_places_use_one_id() -> None:
    other = SALE | {"location": {"code": "WH-1"}, "tenders": [{"type": "card", "amount": SALE["total"]}], "change": None}
    assert money_by_tender([("sale.voided.v1", VOID)], [("sale.completed.v1", other), ("sale.completed.v1", SALE)]) == {
        "cash": -CASH
    }


def test_money_is_not_measurable_when_a_void_has_no_tenders_and_its_sale_is_not_there() -> None:
    with pytest.raises(NotMeasurableError, match="V-1"):
        money_by_tender([("sale.voided.v1", VOID)])
    two = [SALE, SALE | {"tenders": [{"type": "card", "amount": SALE["total"]}]}]
    with pytest.raises(NotMeasurableError, match="2 sales have the id S-1001"):
        money_by_tender([("sale.voided.v1", VOID)], [("sale.completed.v1", sale) for sale in two])


def test_money_is_not_measurable_when_documents_are_in_two_currencies() -> None:
    euros = SALE | {"tenders": [{"type": "cash", "amount": {"amount": "1.00", "currency": "EUR"}}], "change": None}
    with pytest.raises(NotMeasurableError, match="EUR and USD"):
        money_by_tender([("sale.completed.v1", SALE), ("sale.completed.v1", euros)])
