"""What the conformance kit needs to judge this connector."""

from decimal import Decimal

from canonical.examples import EXAMPLES
from hub.sdk.kit import Subject, System
from hub.sdk.steps import Change
from hub_shopify.connector import Shopify
from hub_shopify.simulator import ShopifySimulator

_MOVES = ("sale.completed.v1", "return.completed.v1", "exchange.completed.v1", "fulfillment.completed.v1", "stock.adjusted.v1",
          "stock.counted.v1")  # fmt: skip
_SETTINGS = {
    "timezone": "America/New_York", "business_day_start": "04:00",
    "locations": {"905684977": "HARBOUR-ST", "487838322": "MILL-LANE"},
}  # fmt: skip
_HUB = "https://hub.example/webhooks/acme/shop"
#: After whatever the simulator's stock has seen: a count that is older than the last movement is refused.
_COUNT = EXAMPLES["stock.counted.v1"] | {"occurred_at": "2099-01-01T10:00:00Z", "business_date": "2099-01-01"}
#: Goods that were not reserved: they leave what is available.
_SENT = {name: value for name, value in EXAMPLES["fulfillment.completed.v1"].items() if name != "reserved"} | {
    "location": {"code": "HARBOUR-ST"}
}


def system() -> System:
    """A shop that knows the examples' articles, with a day behind it: orders, a sale at the till, refunds, a cancellation."""
    simulator = ShopifySimulator()
    for topic in Shopify.manifest.data["webhooks"]["topics"]:
        simulator.subscriptions[topic] = {"id": topic, "topic": topic, "callbackUrl": _HUB}
    care = {"namespace": "custom", "key": "care", "name": "Care", "type": {"name": "single_line_text_field"}}
    simulator.definitions["PRODUCT"] = [care]
    for number in range(1, 10):
        simulator.add_product(f"Article {number}", [f"SKU-000{number}"], "9.50", 100)
    shirt = simulator.add_product("Shirt", ["SHIRT-S", "SHIRT-M"], "25.00", 10, "4006381333931")
    customer = simulator.add_customer("Bob Norman", "bob.norman@mail.example", "+15556251199")
    order = simulator.place_order([("SKU-0001", 3), ("SHIRT-S", 1)], discount="2.00", customer=customer)
    simulator.deliver(order, simulator.fulfil(order, {"SKU-0001": 2}, "1Z12345E0205271688"))
    simulator.fulfil(order, {"SKU-0001": 1, "SHIRT-S": 1})
    simulator.refund(order, {"SKU-0001": 1}, shipping="10.00")
    simulator.refund(simulator.ring_sale([("SKU-0002", 2)], given="50.00"), {"SKU-0002": 1}, kept="1.00")
    simulator.cancel(simulator.place_order([("SHIRT-M", 2)], paid=False))
    simulator.edit(simulator.place_order([("SKU-0003", 3)], paid=False), "SKU-0003", 2)
    simulator.delete_product(simulator.add_product("Withdrawn", ["SKU-OLD"], "1.00"))
    # One of each topic: the kit spoils each of them field by field, with a fresh shop each time.
    webhooks = {headers["x-shopify-topic"]: body for _, body, headers in simulator.take_webhooks()}
    _unusual(simulator)
    return System(
        handle=simulator.handle,
        headers={"x-shopify-access-token": simulator.token},
        settings=_SETTINGS,
        applied=lambda: len(simulator.groups) + len(simulator.products) + len(simulator.customers),
        secrets=[simulator.token, simulator.client_secret],
        webhooks=list(webhooks.values()),
        changes=[
            *(Change("order", gid) for gid in simulator.orders),
            *(Change("product", gid) for gid in simulator.products),
            *(Change("customer", gid) for gid in simulator.customers),
            *(_level(item, place) for item in simulator.items for place in simulator.locations),
        ],
        listed={
            "order": lambda: set(simulator.orders),
            "product": lambda: set(simulator.products),
            "customer": lambda: set(simulator.customers),
            "inventory_level": lambda: {_level(item, place).ref for item in simulator.items for place in simulator.locations},
        },
        touch={
            "order": lambda: str(simulator.place_order([("SKU-0001", 1)])["id"]),
            "product": lambda: simulator.change_price(shirt, "26.00"),
            "customer": lambda: simulator.rename(customer, "Robert Norman"),
            "inventory_level": lambda: simulator.adjust("SKU-0001", 1),
        },
        stored=simulator.stored,
    )


def _unusual(simulator: ShopifySimulator) -> None:
    """Orders beyond the everyday; their webhooks are like the others."""
    simulator.add_product("Gift card", ["GIFT-50"], "50.00", gift_card=True)
    simulator.place_order([("GIFT-50", 1), ("SKU-0004", 1)], duties="2.50", fee="1.00", abroad=("EUR", Decimal("0.5")))
    simulator.exchange(simulator.ring_sale([("SKU-0005", 1)], tip="2.00"), {"SKU-0005": 1}, [("SKU-0006", 2)])
    failed = simulator.ring_sale([("SKU-0007", 1)])
    simulator.settle(failed, simulator.refund(failed, {"SKU-0007": 1}, restock="NO_RESTOCK"), "FAILURE")
    part = simulator.place_order([("SKU-0008", 2)], paid=False)
    simulator.pay(part, "5.00", kind="CAPTURE")
    simulator.cancel(part)
    simulator.refund(part, {"SKU-0008": 2}, given="5.00", restock="CANCEL")
    simulator.take_webhooks()


def _level(item: str, place: str) -> Change:
    number, where = item.rsplit("/", 1)[-1], place.rsplit("/", 1)[-1]
    return Change("inventory_level", f"{number}@{where}", detail={"item": item, "location": place})


def subject() -> Subject:
    """The connector with a document of every type it writes, and one that Shopify cannot take."""
    unknown = EXAMPLES["stock.adjusted.v1"] | {"sku": "SKU-9999"}
    return Subject(
        connector=Shopify,
        system=system,
        documents={
            **{name: [EXAMPLES[name]] for name in _MOVES},
            "stock.counted.v1": [_COUNT],
            "fulfillment.completed.v1": [_SENT],
            "product.v1": [EXAMPLES["product.v1"] | {"sku": "SKU-NEW"}],
            "customer.v1": [EXAMPLES["customer.v1"]],
        },
        refused=[("stock.adjusted.v1", unknown)],
        custom={"product.v1": {"custom.care": "wash cold"}},
    )
