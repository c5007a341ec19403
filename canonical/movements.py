"""What a document does to the stock, as movements between states: the one place that knows, so nothing is moved twice.

Σ movements = what should be on hand per (article, place, lot, state). A count is no movement: it is compared with the sum.
Source: GS1 EPCIS 2.0 / CBV (bizStep, disposition).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Document = Mapping[str, Any]
#: Outside of any stock: customers, suppliers, the bin.
OUTSIDE = "none"


@dataclass(frozen=True)
class Movement:
    """``quantity`` (positive) of an article at a place from one state to another; `OUTSIDE` is no state of the stock.

    Goods in transit belong to the place they are going to.
    """

    sku: str
    place: str
    lot: str
    from_state: str
    to_state: str
    quantity: Decimal


def movements(type_name: str, document: Document) -> Iterator[Movement]:
    """The movements that a document of that type makes; none for a type that moves no goods.

    Raises ValueError for a type that this module does not know: a new type must say what it does to the stock.
    """
    entity = type_name.rpartition(".v")[0]
    if entity in _MOVES:
        return _MOVES[entity](document)
    if entity in WITHOUT_MOVEMENT:
        return iter(())
    raise ValueError(
        f"{type_name!r} is not known to canonical.movements; add it to the types that move goods or to those that do not"
    )


def moves_stock(line: Document) -> bool:
    """Whether a line is about goods that are kept in stock."""
    return bool(line.get("kind", "goods") == "goods" and line.get("stocked", True))


def _lines(document: Document, name: str) -> Iterator[Movement]:
    """Goods that leave the available stock of the document's location."""
    for line in filter(moves_stock, document[name]):
        quantity = Decimal(line["quantity"])
        yield Movement(line["sku"], document["location"]["code"], line.get("lot", ""), "available", OUTSIDE, quantity)


def _back(document: Document, name: str) -> Iterator[Movement]:
    """Goods that come back, into the state and the place of the line; default: available at the document's location."""
    for line in filter(moves_stock, document[name]):
        state = line.get("state", "available")
        if state != OUTSIDE:
            place = line.get("restocked_at", document["location"])["code"]
            yield Movement(line["sku"], place, line.get("lot", ""), OUTSIDE, state, Decimal(line["quantity"]))


def _sale(document: Document) -> Iterator[Movement]:
    if "order" not in document:  # the goods of an order leave with its fulfilment, once
        yield from _lines(document, "lines")


def _void(document: Document) -> Iterator[Movement]:
    if "order" not in document:
        yield from _back(document, "lines")


def _exchange(document: Document) -> Iterator[Movement]:
    yield from _lines(document, "lines")
    yield from _back(document, "returned")


def _one(document: Document, from_state: str, to_state: str) -> Iterator[Movement]:
    place, quantity = document["location"]["code"], Decimal(document["quantity"])
    yield Movement(document["sku"], place, document.get("lot", ""), from_state, to_state, quantity)


def _fulfilled(document: Document) -> Iterator[Movement]:
    """What was reserved for the order leaves; orders without reservations take it from what is available."""
    state = "reserved" if document.get("reserved") else "available"
    for goods in document["goods"]:
        place, lot = document["location"]["code"], goods.get("lot", "")
        yield Movement(goods["sku"], place, lot, state, OUTSIDE, Decimal(goods["quantity"]))


def _sent(document: Document) -> Iterator[Movement]:
    origin, destination = document["origin"]["code"], document["destination"]["code"]
    for goods in document["goods"]:
        key, quantity = (goods["sku"], goods.get("lot", "")), Decimal(goods["quantity"])
        yield Movement(key[0], origin, key[1], "available", OUTSIDE, quantity)
        yield Movement(key[0], destination, key[1], OUTSIDE, "in_transit", quantity)


def _arrived(document: Document) -> Iterator[Movement]:
    for goods in document["goods"]:
        place, lot = document["destination"]["code"], goods.get("lot", "")
        yield Movement(goods["sku"], place, lot, "in_transit", "available", Decimal(goods["quantity"]))


def _bought(document: Document) -> Iterator[Movement]:
    for line in document["lines"]:
        if quantity := Decimal(line["accepted"]):
            place, lot = document["location"]["code"], line.get("lot", "")
            yield Movement(line["sku"], place, lot, OUTSIDE, "available", quantity)


_MOVES: dict[str, Callable[[Document], Iterator[Movement]]] = {
    "sale.completed": _sale,
    "return.completed": lambda document: _back(document, "lines"),
    "sale.voided": _void,
    "exchange.completed": _exchange,
    "stock.adjusted": lambda document: _one(document, document["from_state"], document["to_state"]),
    "stock.reserved": lambda document: _one(document, "available", "reserved"),
    "stock.released": lambda document: _one(document, "reserved", "available"),
    "fulfillment.completed": _fulfilled,
    "transfer.sent": _sent,
    "transfer.received": _arrived,
    "purchase.received": _bought,
}

#: Types (without major) that move no goods. A count is compared with the sum of movements; a shipment's goods left before.
WITHOUT_MOVEMENT = frozenset((
    "account", "bank.line", "credit_note", "customer", "gift_card.adjusted", "gift_card.issued", "gift_card.redeemed",
    "gift_card.reloaded", "invoice", "journal_entry", "location", "order.cancelled", "order.changed", "order.placed",
    "payment.authorized", "payment.captured", "payment.charged_back", "payment.made", "payment.refunded", "payment.reversed",
    "payout.settled", "price", "price.changed", "product", "purchase_order", "shipment.delivered", "shipment.dispatched",
    "stock.counted", "stock_level", "store_day.closed", "supplier", "tax_rate", "till.cash_moved", "till.closed", "till.opened",
))  # fmt: skip
