"""A stateful InvenTree: parts, stock items, adjustments, tracking. Written from InvenTree's API schema 534; what the schema
does not say (error bodies, clamping at 0, deletion of empty items, filters) follows Django REST framework and InvenTree's
public source (stock/models.py, serializers.py, api.py), unverified against a running server.
"""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from hub.sdk.steps import Response
from hub.sdk.testing import SimRequest, Simulator, answer, route

Json = dict[str, Any]
#: StockHistoryCode (InvenTree source, unverified against a running server).
_CODES = {"count": (10, "Stock counted"), "add": (11, "Stock manually added"), "remove": (12, "Stock manually removed")}


class InvenTreeSimulator(Simulator):
    """One server with stock locations, parts and stock items. ``token``: what `Authorization: Token …` must carry."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__()
        self.clock, self.token = clock, f"inv-{secrets.token_hex(20)}"
        self.parts: dict[int, Json] = {}
        self.items: dict[int, Json] = {}
        self.tracking: list[Json] = []
        self.parents: dict[int, int] = {}  # sublocation → location
        self._keys = {"item": 0, "track": 0}  # the last pk of each; a deleted one is not given twice

    def add_part(self, ipn: str, name: str, location: int = 1, quantity: int | None = None) -> int:
        """A part and, with ``quantity``, its stock item; returns the part's pk."""
        pk = len(self.parts) + 1
        self.parts[pk] = {"pk": pk, "IPN": ipn, "name": name, "active": True, "salable": True, "keywords": None, "notes": None,
                          "description": "", "link": None, "units": ""}  # fmt: skip
        if quantity is not None:
            self.add_item(pk, quantity, location)
        return pk

    def add_item(self, part: int, quantity: int | str, location: int = 1, **fields: Any) -> int:
        """Another stock item (batch) of a part, as the staff makes it; returns its pk."""
        pk: int = self._new_item(part, location, Decimal(quantity), **fields)["pk"]
        return pk

    def receive(self, item: int, quantity: int | str) -> None:
        """The staff adds goods to an item."""
        self._apply(self.items[item], "add", Decimal(quantity), "")

    def stock(self) -> dict[str, Decimal]:
        """SKU → quantity over all stock items: this side's own book."""
        with self.lock:
            level: dict[str, Decimal] = {}
            for item in self.items.values():
                ipn = self.parts[item["part"]]["IPN"]
                level[ipn] = level.get(ipn, Decimal(0)) + item["quantity"]
            return level

    def applied(self) -> dict[str, int]:
        """Note → how many times an adjustment with that note touched the same item: more than one is a doubled write."""
        counts: dict[tuple[str, int], int] = {}
        with self.lock:
            for row in self.tracking:
                if row["notes"]:
                    key = (row["notes"], row["item"])
                    counts[key] = counts.get(key, 0) + 1
        result: dict[str, int] = {}
        for (note, _), count in counts.items():
            result[note] = max(result.get(note, 0), count)
        return result

    def authenticate(self, request: SimRequest) -> Response | None:
        if request.headers.get("authorization") != f"Token {self.token}":
            return answer(401, {"detail": "Authentication credentials were not provided."})
        return None

    @route("GET", "/api/part/")
    def list_parts(self, request: SimRequest) -> Response:
        rows = [row for row in self.parts.values() if request.params.get("IPN") in (None, row["IPN"])]
        return _paged(request, rows)

    @route("POST", "/api/part/")
    def create_part(self, request: SimRequest) -> Response:
        body = request.json()
        if problem := self._part_problem(body, whole=True):
            return answer(400, problem)
        pk = self.add_part(body.get("IPN", ""), body["name"])
        self.parts[pk] |= {name: value for name, value in body.items() if name in self.parts[pk]}
        return answer(201, self.parts[pk])

    @route("GET", r"/api/part/(?P<pk>\d+)/")
    def show_part(self, request: SimRequest, pk: str) -> Response:
        part = self.parts.get(int(pk))
        return answer(200, part) if part else answer(404, {"detail": "No Part matches the given query."})

    @route("PATCH", r"/api/part/(?P<pk>\d+)/")
    def change_part(self, request: SimRequest, pk: str) -> Response:
        part, body = self.parts.get(int(pk)), request.json()
        if part is None:
            return answer(404, {"detail": "No Part matches the given query."})
        if problem := self._part_problem(body, whole=False):
            return answer(400, problem)
        part |= {name: value for name, value in body.items() if name in part}
        return answer(200, part)

    @staticmethod
    def _part_problem(body: Json, whole: bool) -> Json:
        """As the schema says: a name of at most 100 characters, keywords of at most 250."""
        if whole and not body.get("name"):
            return {"name": ["This field is required."]}
        long = {
            name: most for name, most in (("name", 100), ("keywords", 250), ("IPN", 100)) if len(body.get(name) or "") > most
        }
        return {name: [f"Ensure this field has no more than {most} characters."] for name, most in long.items()}

    @route("GET", "/api/stock/")
    def list_stock(self, request: SimRequest) -> Response:
        rows = [
            row
            for row in self.items.values()
            if request.params.get("part") in (None, str(row["part"])) and self._is_at(row, request)
        ]
        rows.sort(key=lambda row: row["quantity"])  # the server's order: part name, quantity
        return _paged(request, rows)

    @route("POST", "/api/stock/")
    def create_stock(self, request: SimRequest) -> Response:
        body = request.json()
        if body.get("part") not in self.parts:
            return answer(400, {"part": [f'Invalid pk "{body.get("part")}" - object does not exist.']})
        fields = {name: body[name] for name in ("delete_on_deplete", "batch") if name in body}
        return answer(201, [self._new_item(body["part"], body.get("location"), Decimal(str(body["quantity"])), **fields)])

    @route("PATCH", r"/api/stock/(?P<pk>\d+)/")
    def change_stock(self, request: SimRequest, pk: str) -> Response:
        item, body = self.items.get(int(pk)), request.json()
        if item is None:
            return answer(404, {"detail": "No StockItem matches the given query."})
        item |= {name: value for name, value in body.items() if name in ("delete_on_deplete", "batch", "status")}
        return answer(200, item)

    def _is_at(self, row: Json, request: SimRequest) -> bool:
        """Sublocations are included unless `cascade` is false."""
        wanted, place = request.params.get("location"), row["location"]
        while wanted is not None and str(place) != wanted:
            if request.params.get("cascade", "true") == "false" or place not in self.parents:
                return False
            place = self.parents[place]
        return True

    @route("POST", "/api/stock/(?P<verb>add|remove|count)/")
    def adjust(self, request: SimRequest, verb: str) -> Response:
        """All items or none, as InvenTree's serializer saves in one transaction."""
        body = request.json()
        rows, errors = [], []
        for entry in body.get("items") or []:
            problem = self._problem(entry, verb)
            errors.append(problem)
            if not problem:
                rows.append((self.items[entry["pk"]], Decimal(entry["quantity"])))
        if not body.get("items"):
            return answer(400, {"items": ["This field is required."]})
        if any(errors):
            return answer(400, {"items": errors})
        for item, quantity in rows:
            self._apply(item, verb, quantity, body.get("notes", ""))
        return answer(201, body)

    @route("GET", "/api/stock/track/")
    def list_tracking(self, request: SimRequest) -> Response:
        if "limit" not in request.params:
            return answer(400, {"limit": ["This field is required."]})
        search = request.params.get("search", "").lower()
        rows = [
            row
            for row in self.tracking
            if search in (row["notes"] or "").lower()
            and all(request.params.get(name) in (None, str(row[name])) for name in ("item", "part"))
        ]
        if request.params.get("ordering", "-date") == "-date":  # the server's default
            rows = rows[::-1]
        return _paged(request, rows)

    def _problem(self, entry: Json, verb: str) -> Json:
        """DRF's per-item errors; {} if the entry is fine."""
        if entry.get("pk") not in self.items:
            return {"pk": [f'Invalid pk "{entry.get("pk")}" - object does not exist.']}
        if not isinstance(entry.get("quantity"), str):
            return {"quantity": ["A valid number is required."]}  # the schema says: string, decimal
        try:
            quantity = Decimal(entry["quantity"])
        except InvalidOperation:
            return {"quantity": ["A valid number is required."]}
        if quantity < 0:
            return {"quantity": ["Ensure this value is greater than or equal to 0."]}
        return {}

    def _apply(self, item: Json, verb: str, quantity: Decimal, notes: str) -> None:
        """Do as StockItem.add_stock, take_stock and stocktake: nothing to a serialized item or of 0; never below 0.

        An empty item that is not kept is deleted with its tracking, and the adjustment that emptied it is not tracked.
        """
        if item["serial"] or (quantity == 0 and verb != "count"):
            return
        code, label = _CODES[verb]
        level = {"add": item["quantity"] + quantity, "remove": item["quantity"] - quantity}.get(verb, quantity)
        item["quantity"] = max(level, Decimal(0))
        if not item["quantity"] and item["delete_on_deplete"]:
            del self.items[item["pk"]]
            self.tracking = [row for row in self.tracking if row["item"] != item["pk"]]
            return
        moved = {"add": {"added": quantity}, "remove": {"removed": quantity}}.get(verb, {})
        self._track(item, code, label, {**moved, "quantity": item["quantity"]}, notes)

    def _new_item(self, part: int, location: Any, quantity: Decimal, **fields: Any) -> Json:
        self._keys["item"] += 1
        item = {
            "pk": self._keys["item"], "part": part, "location": location, "quantity": quantity, "status": 10, "serial": None,
            "batch": None, "delete_on_deplete": True, "customer": None, "sales_order": None, "belongs_to": None,
            "consumed_by": None, "is_building": False, **fields,
        }  # fmt: skip
        self.items[item["pk"]] = item
        self._track(item, 1, "Stock item created", {"quantity": quantity}, "")
        return item

    def _track(self, item: Json, code: int, label: str, deltas: Json, notes: str) -> None:
        self._keys["track"] += 1
        self.tracking.append({
            "pk": self._keys["track"], "item": item["pk"], "part": item["part"], "deltas": deltas, "label": label,
            "date": self.clock().isoformat(), "notes": notes, "tracking_type": code, "user": 1,
        })  # fmt: skip


def _paged(request: SimRequest, rows: list[Json]) -> Response:
    """`limit`/`offset` → {count, next, previous, results}; a bare list without limit."""
    if "limit" not in request.params:
        return answer(200, rows)
    limit, offset = int(request.params["limit"]), int(request.params.get("offset") or 0)
    more = offset + limit < len(rows)
    following = f"{request.path}?limit={limit}&offset={offset + limit}" if more else None
    content = {"count": len(rows), "next": following, "previous": None, "results": rows[offset : offset + limit]}
    return answer(200, content)
