"""Canonical → InvenTree stock. Movements are deltas, counts are dated; neither ever overwrites the other.

InvenTree knows no event time: our note on each tracking entry carries our reference and when it happened
(`crossdock XD…:out at 2026-11-21T10:00:00Z`). A movement older than the shelf's latest count is skipped, for the count has
seen it; a count is written plus the movements that happened after it. `canonical.movements` says what a document moves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from canonical.movements import movements
from hub.sdk import (
    AmbiguousWriteError,
    Connector,
    RejectedByTargetError,
    Request,
    Skipped,
    Steps,
    Written,
    linked_id,
    load_manifest,
)
from hub_inventree import stock
from hub_inventree.stock import Shelf, checked, records

JSON = Mapping[str, Any]

_ZERO = Decimal(0)
#: States that are in the quantity of InvenTree's items: it is told of no reservation, so what is reserved is still in it.
_ON_HAND = ("available", "reserved")


@dataclass(frozen=True, kw_only=True)
class _Moves:
    """What a document moves into and out of the stock on hand: (SKU, place) → lot → quantity."""

    back: dict[tuple[str, str], dict[str, Decimal]] = field(default_factory=dict)
    out: dict[tuple[str, str], dict[str, Decimal]] = field(default_factory=dict)

    @property
    def parts(self) -> list[str]:
        """The parts of our write."""
        return [part for part, moves in (("in", self.back), ("out", self.out)) if moves]


class InvenTree(Connector):
    """Stock of one InvenTree server."""

    manifest = load_manifest("hub_inventree")

    def write_sale_completed(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move("sale.completed.v1", document, key))

    def write_return_completed(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move("return.completed.v1", document, key))

    def write_exchange_completed(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move("exchange.completed.v1", document, key))

    def write_sale_voided(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move("sale.voided.v1", document, key))

    def write_fulfillment_completed(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move("fulfillment.completed.v1", document, key))

    def write_stock_adjusted(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move("stock.adjusted.v1", document, key))

    def write_stock_counted(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        """Write a count plus what moved since: on the shelf as a whole, or on the items of its lot."""
        if document["state"] != "available":
            return Skipped(f"only available stock is counted in InvenTree, not {document['state']}")
        done = yield from stock.done(key)
        if "count" in done:
            return Written(done["count"])
        at = datetime.fromisoformat(document["occurred_at"])
        part = yield from self._part(document["sku"], "/sku")
        location = self._location(document, document["location"]["code"])
        shelf = yield from stock.shelf(document["sku"], part, location, at, document.get("lot", ""))
        if shelf.is_counted_after(at, inclusive=False):
            return Skipped("a later count of this item is in force")
        since = shelf.moved_since(at)
        serialized = _ZERO if document.get("lot") else shelf.serialized
        quantity = Decimal(document["quantity"]) + since - serialized
        if quantity < 0:
            numbered = f" and {serialized} that have serial numbers" if serialized else ""
            raise RejectedByTargetError(
                f"counted {document['quantity']} less {-since} sold since{numbered} is negative", code="negative_stock",
                field="/quantity", remedy="Count again, then discard this one.",
            )  # fmt: skip
        yield from stock.adjust("count", shelf.count(quantity), [shelf], key, document["occurred_at"])
        return Written((yield from self._proven(key, ["count"]))["count"])

    def write_product(self, document: JSON, key: str) -> Steps[Written]:
        """The part with this IPN, or that is known to be it: what differs is written."""
        part = yield from self._known_part(document)
        said = {"IPN": document.get("sku"), "name": document.get("name"), "active": document.get("active")}
        wanted = {name: value for name, value in said.items() if value is not None}
        wanted |= document.get("extensions", {}).get("target", {})
        if part is None:
            if "name" not in wanted:
                raise RejectedByTargetError(
                    f"InvenTree has no part with IPN {document['sku']!r}", code="unknown_sku", field="/sku",
                    value=document["sku"], remedy=f"Create a part with IPN {document['sku']} in InvenTree, then replay.",
                )  # fmt: skip
            made = (yield Request("POST", "/api/part/", json=wanted)).json()
            (part,) = checked([made])
            return Written(str(part["pk"]))
        changed = {name: value for name, value in wanted.items() if part.get(name) != value}
        if changed:
            checked([(yield Request("PATCH", f"/api/part/{part['pk']}/", json=changed)).json()])
        return Written(str(part["pk"]))

    def _known_part(self, document: JSON) -> Steps[JSON | None]:
        if linked := linked_id(document):
            response = yield Request("GET", f"/api/part/{linked}/", expect=(404,))
            if response.status == 200:
                return checked([response.json()])[0]
        rows = records((yield Request("GET", "/api/part/", params={"IPN": document["sku"], "limit": 2})))
        if len(rows) > 1:
            raise _ambiguous(document["sku"], "/sku")
        return rows[0] if rows else None

    def find_sale_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, _moves("sale.completed.v1", document).parts))

    def find_return_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, _moves("return.completed.v1", document).parts))

    def find_exchange_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, _moves("exchange.completed.v1", document).parts))

    def find_sale_voided(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, _moves("sale.voided.v1", document).parts))

    def find_fulfillment_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, _moves("fulfillment.completed.v1", document).parts))

    def find_stock_adjusted(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, _moves("stock.adjusted.v1", document).parts))

    def find_stock_counted(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, ["count"]))

    def _find(self, key: str, parts: list[str]) -> Steps[str | None]:
        done = yield from stock.done(key)
        return next(iter(done.values())) if parts and all(part in done for part in parts) else None

    def _move(self, type_name: str, document: JSON, key: str) -> Steps[Written | Skipped]:
        """Look first, then add what came back, take what was owed, remove what left: each under a note of its own."""
        moves = _moves(type_name, document)
        if not moves.parts:
            return Skipped(_reason(type_name, document))
        done = yield from stock.done(key)
        if all(part in done for part in moves.parts):
            return Written(next(iter(done.values())))
        at = datetime.fromisoformat(document["occurred_at"])
        shelves: dict[tuple[str, str], Shelf] = {}
        read: dict[tuple[int, int], Shelf] = {}  # two places may be one location in InvenTree
        for sku, place in {**moves.back, **moves.out}:
            location = self._location(document, place)
            part = yield from self._part(sku, _pointer(document, sku))
            if (part, location) not in read:
                read[part, location] = yield from stock.shelf(sku, part, location, at)
            if not read[part, location].is_counted_after(at, inclusive=True):
                shelves[sku, place] = read[part, location]
        if not shelves:
            return Skipped(f"counted after {document['occurred_at']}: the count has seen this movement already")
        short = yield from self._apply(moves, shelves, done, key, document["occurred_at"])
        parts = [part for part, moved in (("in", moves.back), ("out", moves.out)) if shelves.keys() & moved.keys()]
        done = yield from self._proven(key, parts)
        missing = {sku: format(quantity, "f") for sku, quantity in short.items()}
        return Written(next(iter(done.values())), {"short": missing} if missing else {})

    def _apply(
        self, moves: _Moves, shelves: Mapping[tuple[str, str], Shelf], done: Mapping[str, str], key: str, at: str
    ) -> Steps[dict[str, Decimal]]:
        """Send the parts that are not done; returns SKU → what left without being there."""
        every = list({shelf.anchor: shelf for shelf in shelves.values()}.values())
        if "in" not in done:
            arriving = _planned((place, lots) for place, lots in moves.back.items() if place in shelves)
            planned = [shelves[place].put(quantity, lot) for place, lot, quantity in arriving]
            if planned:
                yield from stock.adjust("in", _summed(planned), every, key, at)
        short: dict[str, Decimal] = {}
        if "out" in done:
            return short
        if settled := _summed(shelf.settle() for shelf in every):
            yield from stock.adjust("owed", settled, every, key, at)
        before = [shelf.owed for shelf in every]
        leaving = _planned((place, lots) for place, lots in moves.out.items() if place in shelves)
        if taken := _summed([shelves[place].take(quantity, lot) for place, lot, quantity in leaving]):
            yield from stock.adjust("out", taken, every, key, at)
        for shelf, owed in zip(every, before, strict=True):
            if missing := shelf.owed - owed:
                short[shelf.sku] = short.get(shelf.sku, _ZERO) + missing
        return short

    def _proven(self, key: str, parts: Iterable[str]) -> Steps[dict[str, str]]:
        """What is tracked under our key, each of ``parts`` in it: an answer alone proves nothing, a proxy's page is 200 too."""
        done = yield from stock.done(key)
        if missing := [part for part in parts if part not in done]:
            raise AmbiguousWriteError(f"answered, but not tracked: {', '.join(missing)}", code="not_tracked")
        return done

    # -- look-ups -----------------------------------------------------------------------------------------------

    def _part(self, sku: str, pointer: str) -> Steps[int]:
        response = yield Request("GET", "/api/part/", params={"IPN": sku, "limit": 2})
        rows = records(response)
        if not rows:
            raise RejectedByTargetError(
                f"InvenTree has no part with IPN {sku!r}", code="unknown_sku", field=pointer, value=sku,
                remedy=f"Create a part with IPN {sku} in InvenTree (or correct the SKU), then replay.",
            )  # fmt: skip
        if len(rows) > 1:
            raise _ambiguous(sku, pointer)
        return int(rows[0]["pk"])

    def _location(self, document: JSON, code: str) -> int:
        found = self.settings["locations"].get(code, self.settings["default_location"])
        if not found:
            raise RejectedByTargetError(
                f"location {code!r} is not mapped to an InvenTree stock location", code="unknown_location",
                field=_place_pointer(document, code), value=code,
                remedy="Add it under settings.locations of the connection, then replay.",
            )  # fmt: skip
        return int(found)


def _moves(type_name: str, document: JSON) -> _Moves:
    """The movements that change the stock on hand, per article, place and lot."""
    moves = _Moves()
    for move in movements(type_name, document):
        into, from_ = move.to_state in _ON_HAND, move.from_state in _ON_HAND
        if into != from_:
            lots = (moves.back if into else moves.out).setdefault((move.sku, move.place), {})
            lots[move.lot] = lots.get(move.lot, _ZERO) + move.quantity
    return moves


def _planned(
    moves: Iterable[tuple[tuple[str, str], Mapping[str, Decimal]]],
) -> Iterable[tuple[tuple[str, str], str, Decimal]]:
    return ((place, lot, quantity) for place, lots in moves for lot, quantity in lots.items())


def _summed(plans: Iterable[Mapping[int, Decimal]]) -> dict[int, Decimal]:
    """Several plans as one: item → quantity."""
    quantities: dict[int, Decimal] = {}
    for plan in plans:
        for pk, quantity in plan.items():
            quantities[pk] = quantities.get(pk, _ZERO) + quantity
    return quantities


def _reason(type_name: str, document: JSON) -> str:
    """Why a document leaves the stock on hand as it is."""
    found = list(movements(type_name, document))
    if found:
        states = ", ".join(sorted({f"{move.from_state} to {move.to_state}" for move in found}))
        return f"{states} does not change available stock"
    if "order" in document and type_name.startswith("sale."):
        return f"the goods of order {document['order']['id']} move with its fulfilment and returns"
    return "no line is about goods that move stock"


def _ambiguous(sku: str, pointer: str) -> RejectedByTargetError:
    return RejectedByTargetError(
        f"InvenTree has several parts with IPN {sku!r}", code="ambiguous_sku", field=pointer, value=sku,
        remedy="Make the IPN unique in InvenTree, then replay.",
    )  # fmt: skip


def _pointer(document: JSON, sku: str) -> str:
    for name in ("lines", "returned", "goods"):
        for index, line in enumerate(document.get(name, ())):
            if line["sku"] == sku:
                return f"/{name}/{index}/sku"
    return "/sku"


def _place_pointer(document: JSON, code: str) -> str:
    for name in ("lines", "returned"):
        for index, line in enumerate(document.get(name, ())):
            if line.get("restocked_at", {}).get("code") == code != document["location"]["code"]:
                return f"/{name}/{index}/restocked_at/code"
    return "/location/code"
