"""Square → canonical. Orders carry sales, returns and exchanges; inventory changes carry counts and adjustments.

An order's webhook is thin (`order.updated` names the order), so the order is fetched, with the catalogue objects its lines
name (for the SKU) and, for a return, the original order (for how it was paid).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from canonical.money import from_minor
from hub.sdk import (
    Change,
    Connector,
    ConnectorError,
    Document,
    Gone,
    Ignored,
    Page,
    Request,
    Steps,
    UntranslatableError,
    Webhook,
    furthest,
    listed,
    load_manifest,
)

JSON = Mapping[str, Any]

#: Square's InventoryState → canonical stock state. What is missing here is caused by sales and comes with the order.
_STATES = {
    "IN_STOCK": "available", "RESERVED_FOR_SALE": "reserved", "WASTE": "unsellable", "IN_TRANSIT": "in_transit",
    "IN_TRANSIT_TO": "in_transit", "NONE": "none", "ORDERED_FROM_VENDOR": "none", "RECEIVED_FROM_VENDOR": "none",
}  # fmt: skip
_BY_SALE = ("SOLD", "SOLD_ONLINE", "RETURNED_BY_CUSTOMER", "UNLINKED_RETURN")
_TENDERS = {
    "CASH": "cash", "CARD": "card", "THIRD_PARTY_CARD": "card", "SQUARE_GIFT_CARD": "gift_card",
    "BANK_ACCOUNT": "bank_transfer", "WALLET": "wallet",
}  # fmt: skip
#: SearchOrders takes so many locations at most.
_LOCATIONS = 10
#: What reading a body raises that is not as documented.
_MALFORMED = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError)


class Square(Connector):
    """Tills, payments and inventory of one Square seller."""

    manifest = load_manifest("hub_square")

    def receive(self, webhook: Webhook) -> Iterable[Change | Ignored]:
        event = webhook.json()
        try:
            return list(self._received(event))
        except _MALFORMED as error:
            raise _malformed("event", error) from error

    def _received(self, event: Any) -> Iterable[Change | Ignored]:
        if not isinstance(event, dict) or not isinstance(event.get("data"), dict):
            raise UntranslatableError("not a Square event: no data object", code="malformed_event")
        kind, content = str(event.get("type")), event["data"].get("object", {})
        match kind:
            case "order.created" | "order.updated" | "order.fulfillment.updated":
                inner: JSON = next((content[name] for name in content if name.startswith("order_")), {})
                if inner.get("state") != "COMPLETED":
                    return [Ignored(f"order is {inner.get('state')}, not yet COMPLETED")]
                return [self._order(inner.get("order_id"))]
            case "payment.created" | "payment.updated":
                payment = content.get("payment", {})
                if payment.get("status") != "COMPLETED":
                    return [Ignored(f"payment is {payment.get('status')}, not yet COMPLETED")]
                return [self._order(payment.get("order_id"))]
            case "refund.created" | "refund.updated":
                refund = content.get("refund", {})
                if refund.get("status") != "COMPLETED":
                    return [Ignored(f"refund is {refund.get('status')}, not yet COMPLETED")]
                return [self._order(refund.get("order_id"))]
            case "inventory.count.updated":
                counts = content.get("inventory_counts", [])
                return [Change("inventory_count", str(c["catalog_object_id"]), detail=_since(c)) for c in counts]
        return [Ignored(f"event type {kind} means nothing to the hub")]

    @staticmethod
    def _order(order_id: Any) -> Change:
        if not order_id:
            raise UntranslatableError("the event names no order", code="malformed_event")
        return Change("order", str(order_id))

    def translate(self, change: Change) -> Steps[Sequence[Document | Gone | Ignored]]:
        try:
            return (yield from self._translated(change))
        except _MALFORMED as error:
            raise _malformed("record", error) from error

    def _translated(self, change: Change) -> Steps[Sequence[Document | Gone | Ignored]]:
        if change.object == "inventory_count":
            return (yield from self._changes_behind_count(change))
        if change.object == "inventory_change" and change.record is not None:
            skus = yield from self._skus([_fact(change.record).get("catalog_object_id")])
            return [self._stock(change.record, skus)]
        if change.object == "order":
            order = change.record if change.record is not None else (yield from self.fetch(change))
            return [(yield from self._transaction(order))]
        return (yield from super().translate(change))

    def read(self, object_name: str, cursor: JSON) -> Steps[Page]:
        if object_name != "order":
            return (yield from super().read(object_name, cursor))
        try:
            return (yield from self._orders(cursor))
        except _MALFORMED as error:
            raise ConnectorError(f"the answer is not as documented: {error!r}", code="unreadable_answer") from error

    def _orders(self, cursor: JSON) -> Steps[Page]:
        """Completed orders by the time of their last change, ten locations at a time; each ten have a time of their own:
        what changes in the first ten while the last are read is not passed by.
        """
        declared = self.manifest.objects["order"]["read"]
        since, left = cursor.get("since", declared["since"]), cursor.get("locations")
        if left is None:
            left = sorted(self.settings["locations"])
        if not left:
            left = sorted(str(item["id"]) for item in listed((yield Request("GET", "/v2/locations")), "locations", []))
        if not left:
            return Page([], {"since": since}, more=False)
        before, reached = cursor.get("before", {}), dict(cursor.get("reached", {}))
        asked = before.get(left[0], since)
        body = {
            "location_ids": left[:_LOCATIONS], "limit": declared["paging"]["limit"],
            "query": {
                "filter": {"state_filter": {"states": ["COMPLETED"]}, "date_time_filter": {"updated_at": {"start_at": asked}}},
                "sort": {"sort_field": "UPDATED_AT", "sort_order": "ASC"},
            },
        }  # fmt: skip
        if cursor.get("page"):
            body["cursor"] = cursor["page"]
        response = yield Request("POST", declared["request"]["path"], json=body, effect=False)
        orders, following = listed(response, "orders", declared["left_out_when_empty"]), response.json().get("cursor")
        times = [order.get("updated_at") for order in orders if isinstance(order, dict)]
        reached[left[0]] = furthest(times, reached.get(left[0], asked), response)
        rest = left if following else left[_LOCATIONS:]
        oldest = min(reached.values(), key=datetime.fromisoformat)
        if not rest:
            return Page(orders, {"since": oldest, **({"before": reached} if len(reached) > 1 else {})}, more=False)
        going = {"since": since, "high": oldest, "before": before, "reached": reached, "locations": rest}
        return Page(orders, {**going, "page": following}, more=True)

    # -- transactions -------------------------------------------------------------------------------------------

    def _transaction(self, order: JSON) -> Steps[Document | Ignored]:
        if order.get("state") != "COMPLETED":
            return Ignored(f"order is {order.get('state')}, not yet COMPLETED")
        returns = order.get("returns") or []
        named = [line.get("catalog_object_id") for line in order.get("line_items") or []]
        named += [line.get("catalog_object_id") for item in returns for line in item.get("return_line_items", [])]
        skus = yield from self._skus(named)
        source: JSON = {}
        if returns and returns[0].get("source_order_id"):
            original = yield Request("GET", f"/v2/orders/{returns[0]['source_order_id']}", expect=(404,))
            source = original.json().get("order", {}) if original.status == 200 else {}
        return self.transaction(order, source, skus)

    def transaction(self, order: JSON, source: JSON, skus: Mapping[str, str]) -> Document:
        """The canonical document of a completed order. ``source``: the original order of a return ({} if unknown)."""
        lines = [self._line(line, order.get("taxes") or [], skus) for line in order.get("line_items") or []]
        returned = [
            self._return_line(line, item.get("return_taxes") or [], skus)
            for item in order.get("returns") or []
            for line in item.get("return_line_items", [])
        ]
        head = self._head(order)
        currency = _currency(order)
        if not returned:
            if not lines:
                raise UntranslatableError(f"order {order['id']} has neither lines nor returns", code="empty_order")
            tenders, change = _tenders(order.get("tenders") or [], currency)
            data = {
                **head, "lines": lines, "discount": _money(order.get("total_discount_money"), currency),
                "tax": _money(order.get("total_tax_money"), currency), "total": _money(order["total_money"], currency),
                "tip": _money(order.get("total_tip_money"), currency), "tenders": tenders, "change": change,
                "service_charge": _money(order.get("total_service_charge_money"), currency),
            }  # fmt: skip
            return Document("sale.completed.v1", f"order:{order['id']}", data)
        original = order["returns"][0].get("source_order_id")
        linked = {"original": {"id": original}} if original else {}
        refunds = _refunds(order.get("refunds") or [], source, currency)
        if not lines:
            amounts = order.get("return_amounts") or {}
            data = {
                **head, **linked, "lines": returned, "discount": _money(amounts.get("discount_money"), currency),
                "tax": _money(amounts.get("tax_money"), currency),
                "total": _money(amounts.get("total_money"), currency), "tenders": refunds,
            }  # fmt: skip
            return Document("return.completed.v1", f"order:{order['id']}", data)
        net = order["net_amounts"]
        tenders, change = _tenders(order.get("tenders") or [], currency)
        tenders += [{**item, "amount": _negative(item["amount"])} for item in refunds]
        data = {
            **head, **linked, "returned": returned, "lines": lines, "tax": _money(net.get("tax_money"), currency),
            "discount": _money(net.get("discount_money"), currency), "total": _money(net["total_money"], currency),
            "tenders": tenders, "change": change,
        }  # fmt: skip
        return Document("exchange.completed.v1", f"order:{order['id']}", data)

    def _head(self, order: JSON) -> dict[str, Any]:
        occurred = str(order.get("closed_at") or order.get("updated_at") or order["created_at"])
        customer = {"customer": {"id": order["customer_id"]}} if order.get("customer_id") else {}
        rounding = (order.get("rounding_adjustment") or {}).get("amount_money")
        return {
            "id": order["id"], "number": str(order.get("ticket_name") or order.get("reference_id") or order["id"])[:64],
            "location": self._location(order["location_id"]), "occurred_at": occurred,
            "business_date": self.business_date(occurred), **customer,
            **({"rounding": _money(rounding, rounding["currency"])} if rounding else {}),
        }  # fmt: skip

    def _line(self, line: JSON, taxes: Iterable[JSON], skus: Mapping[str, str]) -> dict[str, Any]:
        modifiers = line.get("modifiers") or []
        unit = line["base_price_money"]["amount"] + sum(
            item.get("base_price_money", {}).get("amount", 0) * int(Decimal(str(item.get("quantity", "1"))))
            for item in modifiers
        )
        return self._any_line(line, line["gross_sales_money"], unit, taxes, skus)

    def _return_line(self, line: JSON, taxes: Iterable[JSON], skus: Mapping[str, str]) -> dict[str, Any]:
        modifiers = line.get("return_modifiers") or []
        unit = line["base_price_money"]["amount"] + sum(m.get("base_price_money", {}).get("amount", 0) for m in modifiers)
        converted = self._any_line(line, line["gross_return_money"], unit, taxes, skus)
        if line.get("source_line_item_uid"):
            converted["original_line_id"] = line["source_line_item_uid"]
        return converted

    def _any_line(self, line: JSON, gross: JSON, unit: int, taxes: Iterable[JSON], skus: Mapping[str, str]) -> dict[str, Any]:
        currency = gross["currency"]
        declared = {tax.get("uid"): tax for tax in taxes}
        applied = []
        for item in line.get("applied_taxes") or []:
            tax = declared.get(item["tax_uid"], {})
            included = {"included": True} if tax.get("type") == "INCLUSIVE" else {}
            applied.append({
                "name": tax.get("name") or "Tax", "rate": str(tax.get("percentage") or "0"),
                "amount": _money(item.get("applied_money"), currency), **included,
            })  # fmt: skip
        name = " ".join(filter(None, (line.get("name"), line.get("variation_name"))))
        return {
            "id": line["uid"], "sku": self._sku(line.get("catalog_object_id"), skus), "description": name or "Item",
            "quantity": str(line["quantity"]), "unit_price": from_minor(unit, currency),
            "gross": _money(gross, currency), "discount": _money(line.get("total_discount_money"), currency),
            "taxes": applied, "total": _money(line["total_money"], currency),
        }  # fmt: skip

    # -- stock --------------------------------------------------------------------------------------------------

    def _changes_behind_count(self, change: Change) -> Steps[list[Document | Ignored]]:
        """`inventory.count.updated` tells a computed level, not what happened; the changes behind it are read."""
        body = {
            "catalog_object_ids": [change.ref], "types": ["PHYSICAL_COUNT", "ADJUSTMENT"],
            "updated_after": change.detail["since"], "limit": 100,
        }  # fmt: skip
        response = yield Request("POST", "/v2/inventory/changes/batch-retrieve", json=body, effect=False)
        found = response.json().get("changes") or []
        skus = yield from self._skus([change.ref])
        if not found:
            return [Ignored("no inventory change behind this count")]
        return [self._stock(item, skus) for item in found]

    def _stock(self, record: JSON, skus: Mapping[str, str]) -> Document | Ignored:
        fact, kind = _fact(record), record.get("type")
        head = {
            "id": fact["id"], "location": self._location(fact["location_id"]),
            "sku": self._sku(fact.get("catalog_object_id"), skus), "occurred_at": fact["occurred_at"],
            "business_date": self.business_date(fact["occurred_at"]),
        }  # fmt: skip
        if kind == "PHYSICAL_COUNT":
            data = {**head, "state": self._state(fact["state"]), "quantity": fact["quantity"]}
            return Document("stock.counted.v1", f"inventory:{fact['id']}", data)
        if kind == "ADJUSTMENT":
            if fact["from_state"] in _BY_SALE or fact["to_state"] in _BY_SALE:
                return Ignored(f"{fact['from_state']} to {fact['to_state']} is part of a sale and comes with its order")
            data = {
                **head, "from_state": self._state(fact["from_state"]), "to_state": self._state(fact["to_state"]),
                "quantity": fact["quantity"], "reason": f"{fact['from_state']} to {fact['to_state']}",
            }  # fmt: skip
            return Document("stock.adjusted.v1", f"inventory:{fact['id']}", data)
        return Ignored(f"inventory change of type {kind} is not carried")

    @staticmethod
    def _state(state: str) -> str:
        if state not in _STATES:
            raise UntranslatableError(f"inventory state {state} has no canonical state", code="unknown_state")
        return _STATES[state]

    # -- shared -------------------------------------------------------------------------------------------------

    def _skus(self, variation_ids: Iterable[Any]) -> Steps[dict[str, str]]:
        """SKU by catalogue object id, one request; an object that is gone or has no SKU is absent."""
        wanted = sorted({str(item) for item in variation_ids if item})
        if not wanted:
            return {}
        body = {"object_ids": wanted, "include_deleted_objects": True}
        response = yield Request("POST", "/v2/catalog/batch-retrieve", json=body, effect=False)
        objects = response.json().get("objects") or []
        found = {item["id"]: item.get("item_variation_data", {}).get("sku") for item in objects}
        return {key: sku for key, sku in found.items() if sku}

    def _sku(self, variation_id: Any, skus: Mapping[str, str]) -> str:
        """An item without an SKU goes by its Square id: it is then unknown to the target, and said so."""
        if not variation_id:
            return str(self.settings["custom_amount_sku"])
        return skus.get(variation_id, str(variation_id))

    def _location(self, location_id: str) -> dict[str, str]:
        return {"code": str(self.settings["locations"].get(location_id, location_id))}

    def business_date(self, occurred_at: str) -> str:
        """The trading day of an instant, by the stores' zone and the hour their day begins."""
        hours, minutes = str(self.settings["business_day_start"]).split(":")
        local = datetime.fromisoformat(occurred_at).astimezone(ZoneInfo(str(self.settings["timezone"])))
        return (local - timedelta(hours=int(hours), minutes=int(minutes))).date().isoformat()


def _malformed(what: str, error: Exception) -> UntranslatableError:
    said = f"the {what} is not as Square documents it ({type(error).__name__}: {str(error)[:200]})"
    return UntranslatableError(said, code=f"malformed_{what}")


def _fact(record: JSON) -> JSON:
    fact: JSON = record.get("physical_count") or record.get("adjustment") or record.get("transfer") or {}
    return fact


def _since(count: JSON) -> dict[str, str]:
    """A minute before the count was computed: the bound is inclusive and clocks differ; repeats are deduped."""
    moment = datetime.fromisoformat(str(count["calculated_at"])) - timedelta(minutes=1)
    return {"since": moment.isoformat().replace("+00:00", "Z")}


def _currency(order: JSON) -> str:
    for name in ("total_money", "net_amount_due_money"):
        if order.get(name):
            return str(order[name]["currency"])
    return str(order["net_amounts"]["total_money"]["currency"])


def _money(value: JSON | None, currency: str) -> dict[str, str]:
    return from_minor(value["amount"], value["currency"]) if value else from_minor(0, currency)


def _negative(value: Mapping[str, str]) -> dict[str, str]:
    return {"amount": format(-Decimal(value["amount"]), "f"), "currency": value["currency"]}


def _tenders(tenders: Iterable[JSON], currency: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """(tenders, change): cash is what was handed over, change what came back."""
    converted, change = [], 0
    for tender in tenders:
        given = tender["amount_money"]
        details = tender.get("cash_details")
        if details and details.get("buyer_tendered_money"):
            given = details["buyer_tendered_money"]
            change += (details.get("change_back_money") or {}).get("amount", 0)
        kind = _TENDERS.get(tender["type"], "other")
        reference = {"reference": tender["payment_id"]} if tender.get("payment_id") else {}
        converted.append({"type": kind, "amount": _money(given, currency), **reference})
    return converted, from_minor(change, currency)


def _refunds(refunds: Iterable[JSON], source: JSON, currency: str) -> list[dict[str, Any]]:
    """Money given back, by the kind of tender it was paid with (a refund names its tender on the original order)."""
    kinds = {tender["id"]: _TENDERS.get(tender["type"], "other") for tender in source.get("tenders") or []}
    return [
        {
            "type": kinds.get(refund.get("tender_id"), "other"), "amount": _money(refund["amount_money"], currency),
            "reference": refund["id"],
        }
        for refund in refunds
        if refund["status"] in ("APPROVED", "PENDING")
    ]  # fmt: skip
