"""What the conformance kit needs to judge this connector."""

from hub.sdk.kit import Subject, System
from hub.sdk.steps import Change
from hub_square.connector import Square
from hub_square.simulator import SquareSimulator

_SETTINGS = {"timezone": "America/New_York", "business_day_start": "04:00", "locations": {"S8GWD5R9QB376": "HARBOUR-ST"}}


def system() -> System:
    """A shop with a day behind it: sales, a return, an exchange, counts and waste."""
    simulator = SquareSimulator()
    coffee, mug = simulator.add_item("SKU-0001", "Coffee", 950, 10), simulator.add_item("SKU-0002", "Mug", 1200, 10)
    sale = simulator.ring_sale([(coffee, 3), (mug, 1)], "CASH", discount=100, tip=200)
    simulator.ring_return(sale, {sale["line_items"][0]["uid"]: 2})
    simulator.ring_exchange(sale, {sale["line_items"][1]["uid"]: 1}, [(coffee, 1)])
    for quantity in range(120):
        simulator.count(coffee, quantity, announce=quantity == 0)
    simulator.adjust(mug, 1, "IN_STOCK", "WASTE")
    return System(
        handle=simulator.handle,
        headers={"authorization": f"Bearer {simulator.token}"},
        settings=_SETTINGS,
        applied=lambda: 0,
        secrets=[simulator.token, simulator.signature_key],
        webhooks=[body for _, body, _ in simulator.take_webhooks("https://hub")],
        changes=[
            *(Change("order", order) for order in simulator.orders),
            *(Change("item_variation", name, record) for name, record in simulator.variations.items()),
            *(Change("inventory_change", _ref(change), change) for change in simulator.changes),
        ],
        listed={
            "order": lambda: set(simulator.orders),
            "inventory_change": lambda: {_ref(change) for change in simulator.changes},
            "item_variation": lambda: set(simulator.variations),
        },
        touch={
            "order": lambda: simulator.ring_sale([(coffee, 1)], announce=False)["id"],
            "inventory_change": lambda: _ref(simulator.count(coffee, 5, announce=False)),
            "item_variation": lambda: simulator.add_item("SKU-NEW", "New", 100, 0),
        },
        delete={"item_variation": lambda: simulator.delete_item(mug)},
    )


def _ref(change: dict[str, dict[str, str]]) -> str:
    return (change.get("physical_count") or change.get("adjustment") or {})["id"]


def subject() -> Subject:
    """The connector: it writes nothing."""
    return Subject(connector=Square, system=system)
