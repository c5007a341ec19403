"""Canonical → InvenTree stock. Movements are deltas, counts are dated; neither ever overwrites the other.

InvenTree knows no event time: our note on each tracking entry carries our reference and when it happened
(`crossdock XD…:out at 2026-11-21T10:00:00Z`). A movement older than the item's latest count is skipped, for the count has
seen it; a count is written plus the movements that happened after it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hub.sdk import (
    AmbiguousWriteError,
    Connector,
    ConnectorError,
    RejectedByTargetError,
    Request,
    Response,
    Skipped,
    Steps,
    Written,
    linked_id,
    load_manifest,
)

JSON = Mapping[str, Any]

_NOTE = re.compile(r"crossdock (?P<key>[^:\s]+):(?P<part>in|out|count) at (?P<at>\S+)")
#: InvenTree's StockHistoryCode for a count by its own staff (InvenTree source, stock/status_codes.py).
STOCK_COUNT = 10


@dataclass(frozen=True)
class _Entry:
    """A tracking entry: when it happened, and its delta (None: a count)."""

    at: datetime
    delta: Decimal | None


class InvenTree(Connector):
    """Stock of one InvenTree server."""

    manifest = load_manifest("hub_inventree")

    def write_sale_completed(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move(document, key, out=_by_sku(document["lines"]), back={}))

    def write_return_completed(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move(document, key, out={}, back=_by_sku(document["lines"])))

    def write_exchange_completed(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        out, back = _by_sku(document["lines"]), _by_sku(document["returned"])
        return (yield from self._move(document, key, out=out, back=back))

    def write_stock_adjusted(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        quantity = {document["sku"]: Decimal(document["quantity"])}
        if document["from_state"] == "available":
            return (yield from self._move(document, key, out=quantity, back={}))
        if document["to_state"] == "available":
            return (yield from self._move(document, key, out={}, back=quantity))
        return Skipped(f"{document['from_state']} to {document['to_state']} does not change available stock")

    def write_stock_counted(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        if document["state"] != "available":
            return Skipped(f"only available stock is counted in InvenTree, not {document['state']}")
        done = yield from self._done(key)
        if "count" in done:
            return Written(done["count"])
        location = self._location(document)
        part = yield from self._part(document["sku"], "/sku")
        item = yield from self._item(part, location, document["sku"], create=True)
        at = datetime.fromisoformat(document["occurred_at"])
        history = yield from self._history(item)
        if any(entry.delta is None and entry.at > at for entry in history):
            return Skipped("a later count of this item is in force")
        since = sum((entry.delta for entry in history if entry.delta is not None and entry.at > at), Decimal(0))
        quantity = Decimal(document["quantity"]) + since
        if quantity < 0:
            raise RejectedByTargetError(
                f"counted {document['quantity']} less {-since} sold since is negative", code="negative_stock",
                field="/quantity", remedy="Count again, then discard this one.",
            )  # fmt: skip
        yield _adjust("count", {item: quantity}, key, document)
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
            (part,) = _checked([made])
            return Written(str(part["pk"]))
        changed = {name: value for name, value in wanted.items() if part.get(name) != value}
        if changed:
            _checked([(yield Request("PATCH", f"/api/part/{part['pk']}/", json=changed)).json()])
        return Written(str(part["pk"]))

    def _known_part(self, document: JSON) -> Steps[JSON | None]:
        if linked := linked_id(document):
            response = yield Request("GET", f"/api/part/{linked}/", expect=(404,))
            if response.status == 200:
                return _checked([response.json()])[0]
        rows = _rows((yield Request("GET", "/api/part/", params={"IPN": document["sku"], "limit": 2})))
        if len(rows) > 1:
            raise _ambiguous(document["sku"], "/sku")
        return rows[0] if rows else None

    def find_sale_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, ("out",)))

    def find_return_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, ("in",)))

    def find_exchange_completed(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, ("in", "out")))

    def find_stock_adjusted(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, ("out" if document["from_state"] == "available" else "in",)))

    def find_stock_counted(self, document: JSON, key: str) -> Steps[str | None]:
        return (yield from self._find(key, ("count",)))

    def _find(self, key: str, parts: Iterable[str]) -> Steps[str | None]:
        done = yield from self._done(key)
        return next(iter(done.values())) if all(part in done for part in parts) else None

    def _move(
        self, document: JSON, key: str, out: Mapping[str, Decimal], back: Mapping[str, Decimal]
    ) -> Steps[Written | Skipped]:
        """Look first, then add what came back and remove what left: two effects at most, each under its own note."""
        done = yield from self._done(key)
        location = self._location(document)
        at = datetime.fromisoformat(document["occurred_at"])
        items: dict[str, int] = {}
        counted: set[str] = set()
        for sku in {**back, **out}:
            part = yield from self._part(sku, _pointer(document, sku))
            items[sku] = yield from self._item(part, location, sku, create=sku in back)
            history = yield from self._history(items[sku])
            if any(entry.delta is None and entry.at >= at for entry in history):
                counted.add(sku)
        parts = []
        for part_name, verb, quantities in (("in", "add", back), ("out", "remove", out)):
            moving = {items[sku]: quantity for sku, quantity in quantities.items() if sku not in counted}
            if moving:
                parts.append(part_name)
                if part_name not in done:
                    yield _adjust(verb, moving, key, document)
        if counted == items.keys():
            return Skipped(f"counted after {document['occurred_at']}: the count has seen this movement already")
        done = yield from self._proven(key, parts)
        return Written(next(iter(done.values())))

    def _proven(self, key: str, parts: Iterable[str]) -> Steps[dict[str, str]]:
        """What is tracked under our key, each of ``parts`` in it: an answer alone proves nothing, a proxy's page is 200 too."""
        done = yield from self._done(key)
        if missing := [part for part in parts if part not in done]:
            raise AmbiguousWriteError(f"answered, but not tracked: {', '.join(missing)}", code="not_tracked")
        return done

    # -- look-ups -----------------------------------------------------------------------------------------------

    def _done(self, key: str) -> Steps[dict[str, str]]:
        """Part of our write (in, out, count) → tracking entry that proves it is applied."""
        response = yield Request("GET", "/api/stock/track/", params={"search": key, "limit": 100})
        found: dict[str, str] = {}
        for row in _rows(response):
            match = _NOTE.search(row.get("notes") or "")
            if match and match["key"] == key:
                found.setdefault(match["part"], f"stocktracking/{row['pk']}")
        return found

    def _part(self, sku: str, pointer: str) -> Steps[int]:
        response = yield Request("GET", "/api/part/", params={"IPN": sku, "limit": 2})
        rows = _rows(response)
        if not rows:
            raise RejectedByTargetError(
                f"InvenTree has no part with IPN {sku!r}", code="unknown_sku", field=pointer, value=sku,
                remedy=f"Create a part with IPN {sku} in InvenTree (or correct the SKU), then replay.",
            )  # fmt: skip
        if len(rows) > 1:
            raise _ambiguous(sku, pointer)
        return int(rows[0]["pk"])

    def _item(self, part: int, location: int, sku: str, create: bool) -> Steps[int]:
        """The stock item of a part at a location; an empty one is made where stock arrives for the first time."""
        params = {"part": part, "location": location, "limit": 1}
        response = yield Request("GET", "/api/stock/", params=params)
        rows = _rows(response)
        if rows:
            return int(rows[0]["pk"])
        if not create:
            raise RejectedByTargetError(
                f"{sku} has no stock item at InvenTree location {location}", code="no_stock_item", value=sku,
                remedy="Count the item there once (or book its receipt), then replay.",
            )  # fmt: skip
        made = (yield Request("POST", "/api/stock/", json={"part": part, "location": location, "quantity": 0})).json()
        (row,) = _checked(made[:1] if isinstance(made, list) and made else [made])
        return int(row["pk"])

    def _history(self, item: int) -> Steps[list[_Entry]]:
        """The item's tracking entries, newest first (the last 200)."""
        params = {"item": item, "ordering": "-date", "limit": 200}
        response = yield Request("GET", "/api/stock/track/", params=params)
        entries = []
        for row in _rows(response):
            match = _NOTE.search(row.get("notes") or "")
            deltas = row.get("deltas") or {}
            if match:
                moved = Decimal(str(deltas.get("added", 0))) - Decimal(str(deltas.get("removed", 0)))
                entries.append(_Entry(datetime.fromisoformat(match["at"]), None if match["part"] == "count" else moved))
            elif row.get("tracking_type") == STOCK_COUNT:
                entries.append(_Entry(_aware(row["date"]), None))
        return entries

    def _location(self, document: JSON) -> int:
        code = document["location"]["code"]
        found = self.settings["locations"].get(code, self.settings["default_location"])
        if not found:
            raise RejectedByTargetError(
                f"location {code!r} is not mapped to an InvenTree stock location", code="unknown_location",
                field="/location/code", value=code, remedy="Add it under settings.locations of the connection, then replay.",
            )  # fmt: skip
        return int(found)


def _ambiguous(sku: str, pointer: str) -> RejectedByTargetError:
    return RejectedByTargetError(
        f"InvenTree has several parts with IPN {sku!r}", code="ambiguous_sku", field=pointer, value=sku,
        remedy="Make the IPN unique in InvenTree, then replay.",
    )  # fmt: skip


def _rows(response: Response) -> list[JSON]:
    """The records of a list."""
    body = response.json()
    return _checked(body.get("results") if isinstance(body, dict) else None)


def _checked(rows: Any) -> list[JSON]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("pk"), int) for row in rows):
        raise ConnectorError("the answer is no list of records with a pk", code="unreadable_answer")
    return rows


def _adjust(verb: str, quantities: Mapping[int, Decimal], key: str, document: JSON) -> Request:
    """`POST /api/stock/{add,remove,count}/`: one request, one database transaction for all items."""
    part = {"add": "in", "remove": "out", "count": "count"}[verb]
    items = [{"pk": pk, "quantity": format(quantity, "f")} for pk, quantity in sorted(quantities.items())]
    notes = f"crossdock {key}:{part} at {document['occurred_at']}"
    return Request("POST", f"/api/stock/{verb}/", json={"items": items, "notes": notes})


def _by_sku(lines: Iterable[JSON]) -> dict[str, Decimal]:
    quantities: dict[str, Decimal] = {}
    for line in lines:
        quantities[line["sku"]] = quantities.get(line["sku"], Decimal(0)) + Decimal(line["quantity"])
    return quantities


def _pointer(document: JSON, sku: str) -> str:
    for name in ("lines", "returned"):
        for index, line in enumerate(document.get(name, ())):
            if line["sku"] == sku:
                return f"/{name}/{index}/sku"
    return "/sku"


def _aware(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
