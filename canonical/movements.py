"""What a document does to the stock, as movements between states: the one place that knows, so nothing is moved twice.

Σ movements = what should be on hand per (article, place, lot, state). A count is no movement: it is compared with the sum.
Source: GS1 EPCIS 2.0 / CBV (bizStep, disposition).
"""

from collections.abc import Iterator, Mapping
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
    """The movements a document of that type makes; nothing for what moves no goods (payments, records, counts)."""
    move = _MOVES.get(type_name.rpartition(".v")[0])
    if move is not None:
        yield from move(document)


def _lines(document: Document, name: str, from_state: str, to_state: str) -> Iterator[Movement]:
    place = document["location"]["code"]
    for line in document[name]:
        yield Movement(line["sku"], place, line.get("lot", ""), from_state, to_state, Decimal(line["quantity"]))


def _sale(document: Document) -> Iterator[Movement]:
    if "order" not in document:  # the goods of an order leave with its fulfilment, once
        yield from _lines(document, "lines", "available", OUTSIDE)


def _exchange(document: Document) -> Iterator[Movement]:
    yield from _lines(document, "lines", "available", OUTSIDE)
    yield from _lines(document, "returned", OUTSIDE, "available")


def _one(document: Document, from_state: str, to_state: str) -> Iterator[Movement]:
    place, quantity = document["location"]["code"], Decimal(document["quantity"])
    yield Movement(document["sku"], place, document.get("lot", ""), from_state, to_state, quantity)


def _fulfilled(document: Document) -> Iterator[Movement]:
    """What was reserved for the order leaves; orders without reservations take it from what is available."""
    state = "reserved" if document.get("reserved") else "available"
    yield from _lines(document, "goods", state, OUTSIDE)


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


_MOVES: dict[str, Any] = {
    "sale.completed": _sale,
    "return.completed": lambda document: _lines(document, "lines", OUTSIDE, "available"),
    "sale.voided": lambda document: _lines(document, "lines", OUTSIDE, "available"),
    "exchange.completed": _exchange,
    "stock.adjusted": lambda document: _one(document, document["from_state"], document["to_state"]),
    "stock.reserved": lambda document: _one(document, "available", "reserved"),
    "stock.released": lambda document: _one(document, "reserved", "available"),
    "fulfillment.completed": _fulfilled,
    "transfer.sent": _sent,
    "transfer.received": _arrived,
    "purchase.received": _bought,
}
