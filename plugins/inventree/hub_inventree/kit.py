"""What the conformance kit needs to judge this connector."""

from canonical.examples import EXAMPLES
from hub.sdk.kit import Subject, System
from hub_inventree.connector import InvenTree
from hub_inventree.simulator import InvenTreeSimulator

_WRITES = (
    "sale.completed.v1", "return.completed.v1", "exchange.completed.v1", "sale.voided.v1", "fulfillment.completed.v1",
    "stock.counted.v1", "stock.adjusted.v1",
)  # fmt: skip


def system() -> System:
    """A server that knows the examples' articles."""
    simulator = InvenTreeSimulator()
    for number in range(1, 10):
        simulator.add_part(f"SKU-000{number}", f"Article {number}", 1, 100)
    return System(
        handle=simulator.handle,
        headers={"authorization": f"Token {simulator.token}"},
        settings={"locations": {"HARBOUR-ST": 1, "WH-1": 2}},
        applied=lambda: sum(1 for row in simulator.tracking if row["notes"]) + len(simulator.parts),
        secrets=[simulator.token],
        listed={"stock_item": lambda: {str(pk) for pk in simulator.items}},
    )


def subject() -> Subject:
    """The connector with a document of every type it writes, and one that InvenTree cannot take."""
    unknown = EXAMPLES["sale.completed.v1"] | {
        "lines": [line | {"sku": "SKU-9999"} for line in EXAMPLES["sale.completed.v1"]["lines"]]
    }
    return Subject(
        connector=InvenTree,
        system=system,
        documents={
            **{name: [EXAMPLES[name]] for name in _WRITES},
            "product.v1": [EXAMPLES["product.v1"] | {"sku": "SKU-NEW"}],
        },
        refused=[("sale.completed.v1", unknown)],
    )
