"""Read and change the stock of a part at a place. InvenTree keeps it in items (batches), of which there may be several.

What InvenTree's server does (stock/models.py, stock/api.py): a removal has no upper bound, the quantity stops at 0; an item
that reaches 0 is deleted with its tracking unless `delete_on_deplete` is off; serialized items do not change by quantity;
lists include sublocations and variants unless told otherwise. So this module keeps every item that it touches (the tracking
entry is our proof), takes from items in a fixed order, and writes what was missing into the note.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hub.sdk import ConnectorError, RejectedByTargetError, Request, Response, Steps

JSON = Mapping[str, Any]
_ZERO = Decimal(0)
_NOTE = re.compile(
    r"crossdock (?P<key>[^:\s]+):(?P<part>in|out|count|owed) at (?P<at>\S+)(?: short (?P<short>\d+=\S+(?: \d+=\S+)*))?"
)
#: InvenTree's StockHistoryCode for a count by its own staff (InvenTree source, stock/status_codes.py).
STOCK_COUNT = 10
#: Status codes of stock that can be sold: OK, attention needed (InvenTree source, stock/status_codes.py).
_SALEABLE = (10, 50)
#: Fields that say that an item is not on the shelf: installed, used up, sold.
_GONE = ("belongs_to", "consumed_by", "customer", "sales_order")
#: Longest note of a tracking entry, in characters.
_NOTE_LENGTH = 512
_PAGE = 100
#: Pages of tracking entries that are read at most, to find what was missing before.
_HISTORY_PAGES = 25
#: How far InvenTree's clock may be behind the till's.
_CLOCK_MARGIN = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A tracking entry of ours or a count: when it happened and what it moved (None: a count)."""

    pk: int
    at: datetime
    delta: Decimal | None
    short: Mapping[int, Decimal]


@dataclass(kw_only=True)
class Shelf:
    """The items of one part at one place, oldest first, with what is known of them.

    Attributes:
        owed: what left without being there; it is taken from the next stock that arrives, until somebody counts.
        serialized: quantity in items with serial numbers, which no quantity can be taken from.
    """

    sku: str
    part: int
    location: int
    levels: dict[int, Decimal] = field(default_factory=dict)
    batches: dict[int, str] = field(default_factory=dict)
    is_kept: dict[int, bool] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    owed: Decimal = _ZERO
    serialized: Decimal = _ZERO

    @property
    def anchor(self) -> int:
        """The oldest item: it carries what is owed."""
        return next(iter(self.levels))

    def is_counted_after(self, at: datetime, inclusive: bool) -> bool:
        """Whether a count has seen what happened at ``at``."""
        counts = (entry.at for entry in self.entries if entry.delta is None)
        return any(counted > at or (inclusive and counted == at) for counted in counts)

    def moved_since(self, at: datetime) -> Decimal:
        """What our writes moved after ``at``."""
        return sum((entry.delta for entry in self.entries if entry.delta is not None and entry.at > at), _ZERO)

    def put(self, quantity: Decimal, lot: str) -> dict[int, Decimal]:
        """Plan an arrival: into the item of its lot, else into the oldest one."""
        pk = next((pk for pk, batch in self.batches.items() if lot and batch == lot), self.anchor)
        self.levels[pk] += quantity
        return {pk: quantity}

    def take(self, quantity: Decimal, lot: str = "") -> dict[int, Decimal]:
        """Plan a removal: from the items of its lot, then oldest first. What is missing is owed, on the oldest item."""
        taken: dict[int, Decimal] = {}
        for pk in sorted(self.levels, key=lambda pk: (not lot or self.batches[pk] != lot, pk)):
            if part := min(self.levels[pk], quantity):
                taken[pk] = part
                self.levels[pk] -= part
                quantity -= part
        if quantity:
            if self.serialized:
                raise RejectedByTargetError(
                    f"{self.sku} is kept by serial number at InvenTree location {self.location}; {quantity} cannot be taken "
                    "from it by quantity", code="serialized_stock", value=self.sku,
                    remedy="Remove the item in InvenTree by its serial number, then discard this document.",
                )  # fmt: skip
            taken[self.anchor] = taken.get(self.anchor, _ZERO) + quantity
            self.owed += quantity
        return taken

    def settle(self) -> dict[int, Decimal]:
        """Plan the removal of what is owed, as far as it is there now."""
        part = min(self.owed, sum(self.levels.values(), _ZERO))
        self.owed -= part
        return self.take(part) if part else {}

    def count(self, quantity: Decimal) -> dict[int, Decimal]:
        """Plan a count: what is less goes off the oldest items, what is more onto the newest; nothing is owed any more."""
        difference = quantity - sum(self.levels.values(), _ZERO)
        before = dict(self.levels)
        if difference > 0:
            self.levels[list(self.levels)[-1]] += difference
        elif difference < 0:
            self.take(-difference)
        self.owed = _ZERO
        return {pk: level for pk, level in self.levels.items() if level or before[pk] or pk == self.anchor}


def shelf(sku: str, part: int, location: int, at: datetime, lot: str = "") -> Steps[Shelf]:
    """Read a part's items at a place; an empty one is made where there is none. ``lot`` limits it to that batch."""
    found = Shelf(sku=sku, part=part, location=location)
    params = {"part": part, "location": location, "cascade": "false", "include_variants": "false", "limit": _PAGE}
    rows = yield from _every("/api/stock/", params)
    for row in sorted(rows, key=lambda row: int(row["pk"])):
        if row.get("is_building") or row.get("status", 10) not in _SALEABLE or any(row.get(name) for name in _GONE):
            continue
        if row.get("serial"):
            found.serialized += Decimal(str(row["quantity"]))
        elif not lot or row.get("batch") == lot:
            _add(found, row)
    if not found.levels:
        body = {
            "part": part,
            "location": location,
            "quantity": 0,
            "delete_on_deplete": False,
            **({"batch": lot} if lot else {}),
        }
        made = (yield Request("POST", "/api/stock/", json=body)).json()
        (row,) = checked(made[:1] if isinstance(made, list) and made else [made])
        _add(found, row)
    yield from _history(found, at)
    return found


def _add(found: Shelf, row: JSON) -> None:
    pk = int(row["pk"])
    found.levels[pk] = max(Decimal(str(row["quantity"])), _ZERO)
    found.batches[pk] = row.get("batch") or ""
    found.is_kept[pk] = row.get("delete_on_deplete") is False


def _history(found: Shelf, at: datetime) -> Steps[None]:
    """Read the items' tracking entries back to ``at``, and to the newest one that says what is owed."""
    params = {"part": found.part, "ordering": "-date", "limit": 2 * _PAGE}
    newest: Entry | None = None
    for page in range(_HISTORY_PAGES):
        response = yield Request("GET", "/api/stock/track/", params={**params, "offset": page * 2 * _PAGE})
        rows = records(response)
        for row in rows:
            if row.get("item") in found.levels and (entry := _entry(row)) is not None:
                found.entries.append(entry)
                newest = entry if newest is None or entry.pk > newest.pk else newest
        if len(rows) < 2 * _PAGE or (newest is not None and _aware(rows[-1]["date"]) < at - _CLOCK_MARGIN):
            break
    if newest is not None:
        found.owed = sum((quantity for pk, quantity in newest.short.items() if pk in found.levels), _ZERO)


def _entry(row: JSON) -> Entry | None:
    match = _NOTE.search(row.get("notes") or "")
    if match is None:
        count = Entry(pk=row["pk"], at=_aware(row["date"]), delta=None, short={})
        return count if row.get("tracking_type") == STOCK_COUNT else None
    deltas = row.get("deltas") or {}
    moved = Decimal(str(deltas.get("added", 0))) - Decimal(str(deltas.get("removed", 0)))
    short = dict(pair.split("=") for pair in (match["short"] or "").split())
    delta = None if match["part"] == "count" else _ZERO if match["part"] == "owed" else moved
    return Entry(
        pk=row["pk"], at=datetime.fromisoformat(match["at"]), delta=delta,
        short={int(pk): Decimal(quantity) for pk, quantity in short.items()},
    )  # fmt: skip


def adjust(part: str, quantities: Mapping[int, Decimal], shelves: Iterable[Shelf], key: str, at: str) -> Steps[None]:
    """`POST /api/stock/{add,remove,count}/`: one request, one database transaction for all items; they are kept from then on.

    ``part`` of our write: in, out, owed or count. The note carries our reference and what is still owed per shelf.
    """
    touched = [shelf for shelf in shelves if shelf.levels.keys() & quantities.keys()]
    short = " ".join(f"{shelf.anchor}={shelf.owed:f}" for shelf in touched if shelf.owed)
    notes = f"crossdock {key}:{part} at {at}" + (f" short {short}" if short else "")
    if len(notes) > _NOTE_LENGTH:
        raise RejectedByTargetError(
            "more articles are missing in InvenTree than the note of one movement can name", code="too_many_missing",
            remedy="Count the articles of this document in InvenTree (or book their receipt), then replay.",
        )  # fmt: skip
    for shelf in touched:
        for pk in shelf.levels.keys() & quantities.keys():
            if not shelf.is_kept[pk]:
                yield Request("PATCH", f"/api/stock/{pk}/", json={"delete_on_deplete": False})
                shelf.is_kept[pk] = True
    items = [{"pk": pk, "quantity": format(quantity, "f")} for pk, quantity in sorted(quantities.items())]
    verb = {"in": "add", "out": "remove", "owed": "remove", "count": "count"}[part]
    yield Request("POST", f"/api/stock/{verb}/", json={"items": items, "notes": notes})


def done(key: str) -> Steps[dict[str, str]]:
    """Part of our write (in, out, count) → tracking entry that proves it is applied."""
    found: dict[str, str] = {}
    for row in (yield from _every("/api/stock/track/", {"search": key, "limit": _PAGE})):
        match = _NOTE.search(row.get("notes") or "")
        if match and match["key"] == key and match["part"] != "owed":
            found.setdefault(match["part"], f"stocktracking/{row['pk']}")
    return found


def _every(path: str, params: Mapping[str, Any]) -> Steps[list[JSON]]:
    """All pages of a list."""
    rows: list[JSON] = []
    while True:
        page = records((yield Request("GET", path, params={**params, "offset": len(rows)})))
        rows += page
        if len(page) < _PAGE:
            return rows


def records(response: Response) -> list[JSON]:
    """The records of a list."""
    body = response.json()
    return checked(body.get("results") if isinstance(body, dict) else None)


def checked(rows: Any) -> list[JSON]:
    """Records that have a pk; raises `unreadable_answer` for anything else."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("pk"), int) for row in rows):
        raise ConnectorError("the answer is no list of records with a pk", code="unreadable_answer")
    return rows


def _aware(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
