"""What the conformance kit needs to judge this connector."""

from hub.sdk.kit import Subject, System
from hub.sdk.steps import Change
from hub_square import till
from hub_square.connector import Square
from hub_square.simulator import SquareSimulator
from hub_square.till import Charge, Rung
from hub_square.wire import TAX

_SETTINGS = {"timezone": "America/New_York", "business_day_start": "04:00", "locations": {"S8GWD5R9QB376": "HARBOUR-ST"}}


def system() -> System:
    """A shop with a day behind it: sales of all kinds, returns and exchanges of one receipt and two, refunds that wait and
    fail, counts, waste, and inventory states that the hub cannot tell.
    """
    simulator = SquareSimulator()
    coffee, mug = simulator.add_item("SKU-0001", "Coffee", 950, 10), simulator.add_item("SKU-0002", "Mug", 1200, 10)
    sale = simulator.ring_sale([(coffee, 3), (mug, 1)], "CASH", discount=100, tip=200)
    simulator.ring_return(sale, {sale["line_items"][0]["uid"]: 2})
    simulator.ring_exchange(sale, {sale["line_items"][1]["uid"]: 1}, [(coffee, 1)])
    _more_kinds(simulator, coffee, mug)
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


def _more_kinds(simulator: SquareSimulator, coffee: str, mug: str) -> None:
    card = Rung(name="Gift Card", price=5000, item_type="GIFT_CARD", taxes=())
    repair = Rung(name="Repair", price=700, item_type="CUSTOM_AMOUNT")
    gratuity = Charge(name="Auto gratuity", percentage="18", type="AUTO_GRATUITY", taxes=(TAX,))
    vat = {"uid": "vat", "name": "VAT", "percentage": "20", "type": "INCLUSIVE", "scope": "ORDER"}
    lunch = simulator.ring_sale([(mug, 1), repair], [("CARD", 1000), ("SQUARE_GIFT_CARD", 1444)], charges=[gratuity])
    simulator.ring_sale([card, simulator.rung(coffee, taxes=(vat,))], "OTHER", rounding=-2)
    late = simulator.ring_sale([(coffee, 2)], "WALLET", tip=150)
    simulator.ring_returns([(sale, till.returned(sale, {sale["line_items"][0]["uid"]: 1})) for sale in (lunch, late)])
    simulator.ring_exchange(
        lunch, {lunch["line_items"][1]["uid"]: 1}, [(mug, 2)], others=[(late, {late["line_items"][0]["uid"]: 1})]
    )
    simulator.ring_return(late, {}, amount=50, tip=150, status="PENDING")
    simulator.settle_refund(simulator.ring_return(lunch, {}, amount=50, rounding=1), "FAILED")
    for states in (("IN_STOCK", "CUSTOM"), ("ORDERED_FROM_VENDOR", "RECEIVED_FROM_VENDOR"), ("SOLD", "RETURNED_BY_CUSTOMER")):
        simulator.adjust(mug, 1, *states)


def _ref(change: dict[str, dict[str, str]]) -> str:
    return (change.get("physical_count") or change.get("adjustment") or {})["id"]


def subject() -> Subject:
    """The connector: it writes nothing."""
    return Subject(connector=Square, system=system)
