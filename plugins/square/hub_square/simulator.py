"""A stateful Square: orders, payments, refunds, catalogue, inventory, webhooks. Written from Square's OpenAPI description
2025-08-20 and its webhook documentation; every webhook is Square's own example with this seller's ids and amounts in it.
"""

import json
import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from importlib import resources
from typing import Any

from hub.sdk.steps import Response
from hub.sdk.testing import SimRequest, Simulator, answer, route
from hub.sdk.webhook import SignatureScheme, sign
from hub_square import wire

#: developer.squareup.com/docs/webhooks/step3validate
SIGNATURE = SignatureScheme("x-square-hmacsha256-signature", over=("url", "body"))

Json = dict[str, Any]


def sample(name: str) -> Json:
    """One of Square's own example payloads (see samples/SOURCE.md)."""
    loaded: Json = json.loads((resources.files("hub_square") / f"samples/{name}.json").read_text("utf-8"))
    return loaded


class SquareSimulator(Simulator):
    """One seller with one location.

    Attributes:
        token, signature_key: credentials the hub must use.
        webhooks: (event type, body, headers without signature) not yet taken by `take_webhooks`.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC), timezone: str = "America/New_York") -> None:
        super().__init__()
        self.clock, self.timezone = clock, timezone
        self.token, self.signature_key = f"EAAA{secrets.token_hex(20)}", secrets.token_urlsafe(16)
        self.location_id, self.merchant_id = "S8GWD5R9QB376", "6SSW7HV8K2ST5"
        self.variations: dict[str, Json] = {}
        self.orders: dict[str, Json] = {}
        self.changes: list[Json] = []
        self.webhooks: list[Json] = []
        self._number = 1000
        self._last = datetime(1970, 1, 1, tzinfo=UTC)

    # -- what happens in the shop -------------------------------------------------------------------------------

    def add_item(self, sku: str, name: str, price_minor: int, opening: int) -> str:
        """A catalogue variation with opening stock; returns its id."""
        variation_id = wire.new_id(24)
        now = self._now()
        self.variations[variation_id] = {
            "type": "ITEM_VARIATION", "id": variation_id, "updated_at": now, "version": len(self.variations) + 1,
            "is_deleted": False, "present_at_all_locations": True,
            "item_variation_data": {
                "item_id": wire.new_id(24), "name": name, "sku": sku, "pricing_type": "FIXED_PRICING", "ordinal": 1,
                "price_money": wire.money(price_minor), "track_inventory": True,
            },
        }  # fmt: skip
        if opening:
            self._change("PHYSICAL_COUNT", variation_id, opening, state="IN_STOCK")
        return variation_id

    def delete_item(self, variation_id: str) -> str:
        """Take a variation out of the catalogue: searches that include deleted objects still list it."""
        self.variations[variation_id] |= {"is_deleted": True, "updated_at": self._now()}
        self.variations[variation_id]["version"] += 1
        return variation_id

    def ring_sale(
        self, lines: Iterable[tuple[str, int]], tender: str = "CARD", discount: int = 0, tip: int = 0, announce: bool = True,
        ticket: str = "",
    ) -> Json:  # fmt: skip
        """A completed sale of (variation id, quantity) lines; ``discount`` minor units off the first line."""
        order = self._new_order()
        if ticket:
            order["ticket_name"] = ticket
        order["line_items"] = [
            self._line(variation_id, quantity, discount if index == 0 else 0)
            for index, (variation_id, quantity) in enumerate(lines)
        ]
        wire.totals(order, order["line_items"], tip)
        order["taxes"] = [wire.TAX | {"applied_money": order["total_tax_money"]}]
        due = order["total_money"]["amount"]
        order["tenders"] = [self._tender(order, tender, due, tip)]
        self._store(order)
        for line in order["line_items"]:
            self._sold(line["catalog_object_id"], int(line["quantity"]), order["id"])
        if announce:
            self._announce_order(order)
            self._announce_payment(order)
        return order

    def ring_return(self, sale: Json, quantities: Mapping[str, int], announce: bool = True) -> Json:
        """Goods of ``sale`` come back: line uid → quantity; money goes back to the sale's tender."""
        order = self._new_order()
        returned = [
            self._return_line(line, quantities[line["uid"]]) for line in sale["line_items"] if line["uid"] in quantities
        ]
        amounts = wire.amounts(returned)
        order["returns"] = [{
            "uid": wire.new_id(10), "source_order_id": sale["id"], "return_line_items": returned,
            "return_taxes": [{**wire.TAX, "uid": "return-tax", "source_tax_uid": wire.TAX["uid"]}], "return_amounts": amounts,
        }]  # fmt: skip
        order["return_amounts"] = amounts
        order["net_amounts"] = {name: wire.money(-value["amount"]) for name, value in amounts.items()}
        order["total_money"] = order["total_tax_money"] = order["total_discount_money"] = wire.money(0)
        order["refunds"] = [self._refund(sale, amounts["total_money"]["amount"])]
        self._store(order)
        self._came_back(returned, order["id"])
        if announce:
            self._announce_order(order)
            self._announce_refund(order)
        return order

    def ring_exchange(self, sale: Json, quantities: Mapping[str, int], lines: Iterable[tuple[str, int]]) -> Json:
        """Goods of ``sale`` come back and others are taken; the difference is paid or given back."""
        order = self._new_order()
        order["line_items"] = [self._line(variation_id, quantity, 0) for variation_id, quantity in lines]
        wire.totals(order, order["line_items"], 0)
        order["taxes"] = [wire.TAX | {"applied_money": order["total_tax_money"]}]
        returned = [
            self._return_line(line, quantities[line["uid"]]) for line in sale["line_items"] if line["uid"] in quantities
        ]
        back = wire.amounts(returned)
        order["returns"] = [{
            "uid": wire.new_id(10), "source_order_id": sale["id"], "return_line_items": returned,
            "return_taxes": [{**wire.TAX, "uid": "return-tax", "source_tax_uid": wire.TAX["uid"]}], "return_amounts": back,
        }]  # fmt: skip
        order["return_amounts"] = back
        sold = wire.amounts(order["line_items"])
        order["net_amounts"] = {name: wire.money(sold[name]["amount"] - back[name]["amount"]) for name in sold}
        difference = order["net_amounts"]["total_money"]["amount"]
        if difference > 0:
            order["tenders"] = [self._tender(order, "CARD", difference, 0)]
        elif difference < 0:
            order["refunds"] = [self._refund(sale, -difference)]
        self._store(order)
        self._came_back(returned, order["id"])
        for line in order["line_items"]:
            self._sold(line["catalog_object_id"], int(line["quantity"]), order["id"])
        self._announce_order(order)
        return order

    def count(self, variation_id: str, quantity: int, announce: bool = True) -> Json:
        """Somebody counted."""
        change = self._change("PHYSICAL_COUNT", variation_id, quantity, state="IN_STOCK")
        if announce:
            self._announce_inventory(variation_id)
        return change

    def adjust(self, variation_id: str, quantity: int, from_state: str, to_state: str, announce: bool = True) -> Json:
        """Stock moved between states, e.g. IN_STOCK to WASTE."""
        change = self._change("ADJUSTMENT", variation_id, quantity, from_state=from_state, to_state=to_state)
        if announce:
            self._announce_inventory(variation_id)
        return change

    # -- the seller's own books, for comparing ------------------------------------------------------------------

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
                    for state, sign_ in ((body["from_state"], -1), (body["to_state"], 1)):
                        if state == "IN_STOCK":
                            level[sku] = level.get(sku, Decimal(0)) + sign_ * quantity
        return level

    def money(self) -> dict[str, Decimal]:
        """Tender type (Square's words) → what came in less what went out, of every completed order."""
        taken: dict[str, Decimal] = {}
        with self.lock:
            kinds = {t["id"]: t["type"] for order in self.orders.values() for t in order.get("tenders", [])}
            for order in self.orders.values():
                for tender in order.get("tenders", []):
                    amount = Decimal(tender["amount_money"]["amount"]) / 100
                    taken[tender["type"]] = taken.get(tender["type"], Decimal(0)) + amount
                for refund in order.get("refunds", []):
                    kind = kinds[refund["tender_id"]]
                    taken[kind] = taken.get(kind, Decimal(0)) - Decimal(refund["amount_money"]["amount"]) / 100
        return taken

    def sku(self, variation_id: str) -> str:
        return str(self.variations[variation_id]["item_variation_data"]["sku"])

    # -- webhooks -----------------------------------------------------------------------------------------------

    def take_webhooks(self, url: str) -> list[tuple[str, bytes, dict[str, str]]]:
        """(event id, body, headers with signature) of what happened since the last call."""
        with self.lock:
            taken, self.webhooks = self.webhooks, []
        return [(event["event_id"], *self.signed(event, url)) for event in taken]

    def signed(self, event: Json | bytes, url: str) -> tuple[bytes, dict[str, str]]:
        """(body, headers) as Square would send them to ``url``."""
        body = event if isinstance(event, bytes) else json.dumps(event, separators=(",", ":")).encode()
        signature = sign(SIGNATURE, self.signature_key, body, url)
        headers = {SIGNATURE.header: signature, "square-environment": "Production", "user-agent": "Square Connect v2"}
        return body, headers

    def _event(self, name: str, object_id: str, fill: Mapping[str, Any]) -> None:
        event = sample(name)
        event |= {"event_id": str(uuid.uuid4()), "created_at": self._now(), "merchant_id": self.merchant_id}
        event["data"]["id"] = object_id
        inner = event["data"]["object"]
        key = next(iter(inner))
        inner[key] = fill if isinstance(inner[key], list) else {**inner[key], **fill}
        with self.lock:
            self.webhooks.append(event)

    def _announce_order(self, order: Json) -> None:
        shown = {key: order[key] for key in ("created_at", "updated_at", "location_id", "state", "version")}
        self._event("order.updated", order["id"], {"order_id": order["id"], **shown})

    def _announce_payment(self, order: Json) -> None:
        tender = order["tenders"][0]
        money = {"amount_money": tender["amount_money"], "total_money": tender["amount_money"],
                 "approved_money": tender["amount_money"]}  # fmt: skip
        self._event("payment.updated", tender["payment_id"], {
            "id": tender["payment_id"], "order_id": order["id"], "location_id": order["location_id"], **money,
            "source_type": "CASH" if tender["type"] == "CASH" else "CARD", "status": "COMPLETED",
            "created_at": order["created_at"], "updated_at": order["updated_at"],
        })  # fmt: skip

    def _announce_refund(self, order: Json) -> None:
        refund = order["refunds"][0]
        self._event("refund.updated", refund["id"], {
            "id": refund["id"], "order_id": order["id"], "location_id": order["location_id"], "status": "COMPLETED",
            "amount_money": refund["amount_money"], "created_at": order["created_at"], "updated_at": order["updated_at"],
        })  # fmt: skip

    def _announce_inventory(self, variation_id: str) -> None:
        level = self.stock().get(self.sku(variation_id), Decimal(0))
        self._event("inventory.count.updated", str(uuid.uuid4()), [{  # type: ignore[arg-type]
            "calculated_at": self._now(), "catalog_object_id": variation_id, "catalog_object_type": "ITEM_VARIATION",
            "location_id": self.location_id, "quantity": str(level), "state": "IN_STOCK",
        }])  # fmt: skip

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
        return answer(200, {"locations": [{"id": self.location_id, "name": "Harbour Street", "timezone": self.timezone,
                                           "currency": wire.CURRENCY, "status": "ACTIVE"}]})  # fmt: skip

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

    @route("POST", "/v2/catalog/batch-retrieve")
    def batch_retrieve_catalog(self, request: SimRequest) -> Response:
        wanted = request.json().get("object_ids")
        if not isinstance(wanted, list) or not wanted:
            return wire.error(
                400, "INVALID_REQUEST_ERROR", "MISSING_REQUIRED_PARAMETER", "Missing required parameter.", "object_ids"
            )
        return answer(200, {"objects": [self.variations[item] for item in wanted if item in self.variations]})

    @route("POST", "/v2/catalog/search")
    def search_catalog(self, request: SimRequest) -> Response:
        body = request.json()
        since = body.get("begin_time", "")
        deleted = body.get("include_deleted_objects", False)
        found = [item for item in self.variations.values()
                 if wire.moment(item["updated_at"]) >= wire.moment(since) and (deleted or not item["is_deleted"])]  # fmt: skip
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

    # -- inside -------------------------------------------------------------------------------------------------

    def _now(self) -> str:
        """The moment, at Square's milliseconds; two things never happen in the same one, so their order can be told."""
        with self.lock:
            self._last = max(self.clock().astimezone(UTC), self._last + timedelta(milliseconds=1))
            return self._last.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _new_order(self) -> Json:
        now = self._now()
        self._number += 1
        return {
            "id": wire.new_id(29), "location_id": self.location_id, "ticket_name": str(self._number), "state": "COMPLETED",
            "source": {"name": "Square Point of Sale"}, "version": 2, "created_at": now, "updated_at": now, "closed_at": now,
        }  # fmt: skip

    def _store(self, order: Json) -> None:
        with self.lock:
            self.orders[order["id"]] = order

    def _line(self, variation_id: str, quantity: int, discount: int) -> Json:
        data = self.variations[variation_id]["item_variation_data"]
        price = data["price_money"]["amount"]
        gross = price * quantity
        tax = wire.percent(gross - discount)
        return {
            "uid": wire.new_id(10), "catalog_object_id": variation_id, "name": data["name"], "quantity": str(quantity),
            "base_price_money": wire.money(price), "variation_total_price_money": wire.money(gross),
            "gross_sales_money": wire.money(gross),
            "total_discount_money": wire.money(discount), "total_tax_money": wire.money(tax),
            "total_money": wire.money(gross - discount + tax), "total_service_charge_money": wire.money(0),
            "applied_taxes": [{"uid": wire.new_id(8), "tax_uid": wire.TAX["uid"], "applied_money": wire.money(tax)}],
        }  # fmt: skip

    @staticmethod
    def _return_line(line: Json, quantity: int) -> Json:
        """The share of a sold line that comes back; the last unit takes what rounding left."""
        sold = int(line["quantity"])

        def share(name: str) -> int:
            whole = line[name]["amount"]
            return int(whole if quantity == sold else (Decimal(whole) * quantity / sold).quantize(Decimal(1), ROUND_HALF_EVEN))

        gross = line["base_price_money"]["amount"] * quantity
        discount, tax = share("total_discount_money"), share("total_tax_money")
        return {
            "uid": wire.new_id(10), "source_line_item_uid": line["uid"], "catalog_object_id": line["catalog_object_id"],
            "name": line["name"], "quantity": str(quantity), "base_price_money": line["base_price_money"],
            "gross_return_money": wire.money(gross), "total_discount_money": wire.money(discount),
            "total_tax_money": wire.money(tax), "total_money": wire.money(gross - discount + tax),
            "applied_taxes": [{"uid": wire.new_id(8), "tax_uid": "return-tax", "applied_money": wire.money(tax)}],
        }  # fmt: skip

    def _tender(self, order: Json, kind: str, amount: int, tip: int) -> Json:
        tender = {
            "id": wire.new_id(24), "type": kind, "location_id": self.location_id, "amount_money": wire.money(amount),
            "tip_money": wire.money(tip), "created_at": order["created_at"], "payment_id": wire.new_id(31),
        }  # fmt: skip
        if kind == "CASH":
            handed = -(-amount // 1000) * 1000  # the next ten-dollar note
            tender["cash_details"] = {
                "buyer_tendered_money": wire.money(handed),
                "change_back_money": wire.money(handed - amount),
            }
        return tender

    def _refund(self, sale: Json, amount: int) -> Json:
        return {
            "id": wire.new_id(31), "location_id": self.location_id, "tender_id": sale["tenders"][0]["id"],
            "reason": "Returned goods",
            "amount_money": wire.money(amount), "status": "APPROVED", "created_at": self._now(),
        }  # fmt: skip

    def _sold(self, variation_id: str, quantity: int, order_id: str) -> None:
        self._change("ADJUSTMENT", variation_id, quantity, from_state="IN_STOCK", to_state="SOLD", transaction_id=order_id)

    def _came_back(self, lines: Iterable[Json], order_id: str) -> None:
        for line in lines:
            self._change("ADJUSTMENT", line["catalog_object_id"], int(line["quantity"]), from_state="UNLINKED_RETURN",
                         to_state="IN_STOCK", transaction_id=order_id)  # fmt: skip

    def _change(self, kind: str, variation_id: str, quantity: int, **more: str) -> Json:
        now = self._now()
        body = {
            "id": wire.new_id(24), "catalog_object_id": variation_id, "catalog_object_type": "ITEM_VARIATION",
            "location_id": self.location_id, "quantity": str(quantity), "occurred_at": now, "created_at": now, **more,
        }  # fmt: skip
        change = {"type": kind, "physical_count" if kind == "PHYSICAL_COUNT" else "adjustment": body}
        with self.lock:
            self.changes.append(change)
        return change
