"""What the simulated Square answers: the endpoints that the connector uses, by Square's OpenAPI description 2025-08-20."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hub.sdk.steps import Response
from hub.sdk.testing import SimRequest, Simulator, answer, route
from hub_square import wire
from hub_square.wire import Json


def _matches(item: Json, exact: Json) -> bool:
    value = str(item["item_variation_data"].get(exact["attribute_name"]) or "")
    return str(exact["attribute_value"]).casefold() in value.casefold()


class SquareApi(Simulator):
    """A seller's books, and the endpoints that show them.

    Attributes:
        token: the access token that a request must carry.
        locations, orders, payments, refunds, variations, items: objects by id.
        changes: the inventory's history.
    """

    token: str
    location_id: str

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self.clock = clock
        self.locations: dict[str, Json] = {}
        self.orders: dict[str, Json] = {}
        self.payments: dict[str, Json] = {}
        self.refunds: dict[str, Json] = {}
        self.items: dict[str, Json] = {}
        self.variations: dict[str, Json] = {}
        self.changes: list[Json] = []
        self._last = datetime(1970, 1, 1, tzinfo=UTC)

    def _now(self) -> str:
        """The moment, at Square's milliseconds; two things never happen in the same one, so their order can be told."""
        with self.lock:
            self._last = max(self.clock().astimezone(UTC), self._last + timedelta(milliseconds=1))
            return self._last.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def stock(self) -> dict[str, Decimal]:
        """SKU → quantity in stock, replayed from the inventory history."""
        level: dict[str, Decimal] = {}
        with self.lock:
            for change in sorted(self.changes, key=lambda item: wire.body(item)["occurred_at"]):
                body = wire.body(change)
                sku, quantity = self.sku(body["catalog_object_id"]), Decimal(body["quantity"])
                if change["type"] == "PHYSICAL_COUNT":
                    level[sku] = quantity
                else:
                    for state, sign in ((body["from_state"], -1), (body["to_state"], 1)):
                        if state == "IN_STOCK":
                            level[sku] = level.get(sku, Decimal(0)) + sign * quantity
        return level

    def sku(self, variation_id: str) -> str:
        return str(self.variations[variation_id]["item_variation_data"]["sku"])

    # -- the API ------------------------------------------------------------------------------------------------

    def authenticate(self, request: SimRequest) -> Response | None:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return wire.error(401, "AUTHENTICATION_ERROR", "UNAUTHORIZED", "This request could not be authorized.")
        return None

    def throttled(self, seconds: int) -> Response:
        """429 without Retry-After: Square's documents promise none, only that one should back off."""
        return wire.error(429, "RATE_LIMIT_ERROR", "RATE_LIMITED", "Too many requests. Try again later.")

    def not_found(self, request: SimRequest) -> Response:
        return wire.error(404, "INVALID_REQUEST_ERROR", "NOT_FOUND", "Resource not found.")

    @route("GET", "/v2/locations")
    def list_locations(self, request: SimRequest) -> Response:
        return answer(200, {"locations": list(self.locations.values())})

    @route("POST", "/v2/orders/search")
    def search_orders(self, request: SimRequest) -> Response:
        """Newest first unless asked otherwise. A filter by time goes with the sort by the same time and ends with the search's
        first page; every page repeats the query. (That no location is refused is not in Square's description.)
        """
        body = request.json()
        places, asked = body.get("location_ids"), body.get("query") or {}
        if not isinstance(places, list) or not 1 <= len(places) <= 10:
            return wire.error(400, "INVALID_REQUEST_ERROR", "INVALID_VALUE", "1 to 10 locations", "location_ids")
        sort, wanted = asked.get("sort") or {}, asked.get("filter") or {}
        ranges, by = wanted.get("date_time_filter") or {}, sort.get("sort_field", "CREATED_AT").lower()
        if ranges.keys() - {by}:
            return wire.error(400, "INVALID_REQUEST_ERROR", "BAD_REQUEST", "sort_field does not match the filter", "sort_field")
        began = self._now()
        if body.get("cursor"):
            start, began, digest = str(body["cursor"]).split("|")
            if digest != wire.digest([places, asked]):
                return wire.error(400, "INVALID_REQUEST_ERROR", "INVALID_CURSOR", "not the query of this cursor", "cursor")
        start = start if body.get("cursor") else "0"
        since = wire.moment((ranges.get(by) or {}).get("start_at") or "")
        until = wire.moment((ranges.get(by) or {}).get("end_at") or began)
        states = (wanted.get("state_filter") or {}).get("states")
        with self.lock:
            found = [
                order
                for order in self.orders.values()
                if order["location_id"] in places
                and (not states or order["state"] in states)
                and (not ranges or since <= wire.moment(order[by]) <= until)
            ]
        found.sort(key=lambda order: wire.moment(order[by]), reverse=sort.get("sort_order", "DESC") == "DESC")
        page = wire.page({"limit": body.get("limit") or 500, "cursor": start}, found, "orders").json()
        if "cursor" in page:
            page["cursor"] = "|".join((page["cursor"], began, wire.digest([places, asked])))
        return answer(200, page)

    @route("GET", "/v2/orders/(?P<order_id>[^/]+)")
    def get_order(self, request: SimRequest, order_id: str) -> Response:
        if order_id not in self.orders:
            return wire.error(404, "INVALID_REQUEST_ERROR", "NOT_FOUND", f"Order not found for id {order_id}")
        return answer(200, {"order": self.orders[order_id]})

    @route("GET", "/v2/payments/(?P<payment_id>[^/]+)")
    def get_payment(self, request: SimRequest, payment_id: str) -> Response:
        if payment_id not in self.payments:
            return wire.error(404, "INVALID_REQUEST_ERROR", "NOT_FOUND", f"Could not find payment with id: {payment_id}")
        return answer(200, {"payment": self.payments[payment_id]})

    @route("GET", "/v2/refunds/(?P<refund_id>[^/]+)")
    def get_refund(self, request: SimRequest, refund_id: str) -> Response:
        if refund_id not in self.refunds:
            return wire.error(404, "INVALID_REQUEST_ERROR", "NOT_FOUND", f"Could not find refund with id: {refund_id}")
        return answer(200, {"refund": self.refunds[refund_id]})

    @route("POST", "/v2/catalog/batch-retrieve")
    def batch_retrieve_catalog(self, request: SimRequest) -> Response:
        wanted = request.json().get("object_ids")
        if not isinstance(wanted, list) or not wanted:
            return wire.error(
                400, "INVALID_REQUEST_ERROR", "MISSING_REQUIRED_PARAMETER", "Missing required parameter.", "object_ids"
            )
        found = {"objects": [self.variations[item] for item in wanted if item in self.variations]}
        if request.json().get("include_related_objects"):
            items = {each["item_variation_data"]["item_id"] for each in found["objects"]}
            found["related_objects"] = [self.items[each] for each in sorted(items)]
        return answer(200, found)

    @route("POST", "/v2/catalog/search")
    def search_catalog(self, request: SimRequest) -> Response:
        """Exact queries match without regard to case, and in part (CatalogQueryExact)."""
        body = request.json()
        since = body.get("begin_time", "")
        deleted = body.get("include_deleted_objects", False)
        exact = (body.get("query") or {}).get("exact_query")
        found = [
            item
            for item in self.variations.values()
            if wire.moment(item["updated_at"]) >= wire.moment(since)
            and (deleted or not item["is_deleted"])
            and (exact is None or _matches(item, exact))
        ]
        return wire.page(body, found, "objects")

    @route("POST", "/v2/inventory/changes/batch-retrieve")
    def batch_retrieve_changes(self, request: SimRequest) -> Response:
        body = request.json()
        types = body.get("types") or ["PHYSICAL_COUNT", "ADJUSTMENT"]
        objects = body.get("catalog_object_ids")
        since = wire.moment(body.get("updated_after", ""))
        found = [
            change
            for change in sorted(self.changes, key=lambda item: wire.body(item)["occurred_at"])
            if change["type"] in types
            and wire.moment(wire.body(change)["created_at"]) >= since
            and (not objects or wire.body(change)["catalog_object_id"] in objects)
        ]
        return wire.page(body, found, "changes")

    @route("POST", "/v2/inventory/counts/batch-retrieve")
    def batch_retrieve_counts(self, request: SimRequest) -> Response:
        ids = {self.sku(key): key for key in self.variations}
        counts = [
            {"catalog_object_id": ids[sku], "catalog_object_type": "ITEM_VARIATION", "state": "IN_STOCK",
             "location_id": self.location_id, "quantity": str(level), "calculated_at": self._now()}
            for sku, level in self.stock().items()
        ]  # fmt: skip
        return wire.page(request.json(), counts, "counts")
