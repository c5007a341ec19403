"""Square → canonical. Orders carry sales, returns and exchanges; inventory changes carry counts and adjustments.

An order's webhook is thin (`order.updated` names the order), so the order is fetched, with the catalogue objects its lines
name (for the SKU) and, for a return, the original order (for how it was paid).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from hub.sdk import (
    UNREADABLE,
    AuthenticationError,
    Change,
    Connector,
    ConnectorError,
    Document,
    Gone,
    Ignored,
    Page,
    Refused,
    RejectedByTargetError,
    Request,
    Steps,
    UntranslatableError,
    Webhook,
    furthest,
    listed,
    load_manifest,
)
from hub_square.lines import Article, Shelf
from hub_square.stock import Counting, fact_of, stock_item
from hub_square.tenders import TOLD_BY_PAYMENT
from hub_square.transactions import Known, documents

JSON = Mapping[str, Any]
Items = list[Document | Gone | Ignored | Refused]

#: SearchOrders takes so many locations at most.
_LOCATIONS = 10


class Square(Connector):
    """Tills, payments and inventory of one Square seller."""

    manifest = load_manifest("hub_square")

    def __init__(self, settings: JSON) -> None:
        super().__init__(settings)
        #: Time zones of Square's locations by id, as they were read; empty: Square does not say.
        self._zones: dict[str, str] = {}

    def receive(self, webhook: Webhook) -> Iterable[Change | Ignored]:
        event = webhook.json()
        try:
            return list(self._received(event))
        except UNREADABLE as error:
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
                if refund.get("status") not in ("COMPLETED", "FAILED"):
                    return [Ignored(f"refund is {refund.get('status')}, not yet COMPLETED")]
                # The order may still say what the refund was before.
                return [self._order(refund.get("order_id"), {"refund": refund.get("id"), "status": refund["status"]})]
            case "inventory.count.updated":
                counts = content.get("inventory_counts", [])
                return [Change("inventory_count", str(c["catalog_object_id"]), detail=_since(c)) for c in counts]
        return [Ignored(f"event type {kind} means nothing to the hub")]

    @staticmethod
    def _order(order_id: Any, detail: JSON | None = None) -> Change:
        if not order_id:
            raise UntranslatableError("the event names no order", code="malformed_event")
        return Change("order", str(order_id), detail=detail or {})

    def translate(self, change: Change) -> Steps[Sequence[Document | Gone | Ignored | Refused]]:
        try:
            return (yield from self._translated(change))
        except UNREADABLE as error:
            raise _malformed("record", error) from error

    def _translated(self, change: Change) -> Steps[Sequence[Document | Gone | Ignored | Refused]]:
        if change.object == "inventory_count":
            return (yield from self._changes_behind_count(change))
        if change.object == "inventory_change" and change.record is not None:
            return (yield from self._stock([change.record]))
        if change.object == "order":
            order = change.record if change.record is not None else (yield from self.fetch(change))
            return (yield from self._transactions(_with_status(order, change.detail)))
        return (yield from super().translate(change))

    def read(self, object_name: str, cursor: JSON) -> Steps[Page]:
        if object_name != "order":
            return (yield from super().read(object_name, cursor))
        try:
            return (yield from self._orders(cursor))
        except UNREADABLE as error:
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

    def _transactions(self, order: JSON) -> Steps[Items]:
        """The documents of an order, with all that it only names: articles, original orders, payments, refunds, time zone."""
        if order.get("state") != "COMPLETED":
            return [Ignored(f"order is {order.get('state')}, not yet COMPLETED")]
        yield from self._learn_zone(str(order["location_id"]))
        returns = order.get("returns") or []
        named = [line.get("catalog_object_id") for line in order.get("line_items") or []]
        named += [line.get("catalog_object_id") for item in returns for line in item.get("return_line_items") or []]
        articles = yield from self._articles(named)
        sources = yield from self._sources(order)
        wanted = {
            str(tender["payment_id"])
            for each in (order, *sources.values())
            for tender in each.get("tenders") or []
            if tender["type"] in TOLD_BY_PAYMENT and tender.get("payment_id")
        }
        payments = yield from self._each("/v2/payments", wanted, "payment")
        refunds = yield from self._each("/v2/refunds", _refunds_to_read(order, sources), "refund")
        return list(documents(order, self._known(articles, sources, payments, refunds)))

    def _known(
        self, articles: Mapping[str, Article], sources: Mapping[str, JSON], payments: Mapping[str, JSON],
        refunds: Mapping[str, JSON],
    ) -> Known:  # fmt: skip
        shelf = Shelf(
            articles=articles, bare_sku=str(self.settings["custom_amount_sku"]),
            is_restocked_by_inventory=self._is_restocked_by_inventory,
        )  # fmt: skip
        return Known(
            shelf=shelf, sources=sources, payments=payments, refunds=refunds, location=self._location,
            business_date=self.business_date,
        )  # fmt: skip

    def transaction(self, order: JSON, source: JSON, skus: Mapping[str, str]) -> Document:
        """The first canonical document of an order. ``source``: the original order of a return ({} if unknown). Pure."""
        articles = {key: Article(sku=sku) for key, sku in skus.items()}
        sources = {str(source["id"]): source} if source else {}
        item = documents({**order, "state": "COMPLETED"}, self._known(articles, sources, {}, {}))[0]
        if isinstance(item, Document):
            return item
        said = (item.message, item.code) if isinstance(item, Refused) else (item.reason, "nothing_to_tell")
        raise UntranslatableError(said[0], code=said[1])

    def _sources(self, order: JSON) -> Steps[dict[str, JSON]]:
        """The orders that goods come back from, by id; one that is gone is absent."""
        wanted = {str(item["source_order_id"]) for item in order.get("returns") or [] if item.get("source_order_id")}
        return (yield from self._each("/v2/orders", wanted - {str(order["id"])}, "order"))

    @staticmethod
    def _each(path: str, ids: Iterable[str], key: str) -> Steps[dict[str, JSON]]:
        """Records by id, one request each; one that is gone is absent."""
        found: dict[str, JSON] = {}
        for each in sorted(ids):
            try:
                answer = yield Request("GET", f"{path}/{quote(each, safe='')}")
            except RejectedByTargetError as error:
                if error.code != "not_found":
                    raise
            else:
                found[each] = answer.json().get(key) or {}
        return found

    # -- stock --------------------------------------------------------------------------------------------------

    def _changes_behind_count(self, change: Change) -> Steps[Items]:
        """`inventory.count.updated` tells a computed level, not what happened; the changes behind it are read."""
        body = {
            "catalog_object_ids": [change.ref], "types": ["PHYSICAL_COUNT", "ADJUSTMENT"],
            "updated_after": change.detail["since"], "limit": 100,
        }  # fmt: skip
        found: list[JSON] = []
        while True:
            answer = (yield Request("POST", "/v2/inventory/changes/batch-retrieve", json=body, effect=False)).json()
            found += answer.get("changes") or []
            if not answer.get("cursor"):
                break
            body = {**body, "cursor": answer["cursor"]}
        if not found:
            return [Ignored("no inventory change behind this count")]
        return (yield from self._stock(found))

    def _stock(self, records: Sequence[JSON]) -> Steps[Items]:
        articles = yield from self._articles(fact_of(record).get("catalog_object_id") for record in records)
        counted = {
            str(fact_of(record).get("catalog_object_id")) for record in records if record.get("type") == "PHYSICAL_COUNT"
        }
        rivals = yield from self._rivals({key: item.sku for key, item in articles.items() if key in counted and item.sku})
        for record in records:
            if place := fact_of(record).get("location_id"):
                yield from self._learn_zone(str(place))
        counting = Counting(
            articles=articles, rivals=rivals, is_restocked_by_inventory=self._is_restocked_by_inventory,
            location=self._location, business_date=self.business_date,
        )  # fmt: skip
        return [_alone(record, counting) for record in records]

    @property
    def _is_restocked_by_inventory(self) -> bool:
        return bool(self.settings["restocked_by"] == "inventory")

    # -- shared -------------------------------------------------------------------------------------------------

    def _articles(self, variation_ids: Iterable[Any]) -> Steps[dict[str, Article]]:
        """Articles by catalogue object id, one request; an object that is gone is absent, as is an SKU that it has not."""
        wanted = sorted({str(item) for item in variation_ids if item})
        if not wanted:
            return {}
        body = {"object_ids": wanted, "include_deleted_objects": True, "include_related_objects": True}
        answer = (yield Request("POST", "/v2/catalog/batch-retrieve", json=body, effect=False)).json()
        items = {item["id"]: item.get("item_data") or {} for item in answer.get("related_objects") or []}
        found = {}
        for each in answer.get("objects") or []:
            data = each.get("item_variation_data") or {}
            product_type = (items.get(data.get("item_id")) or {}).get("product_type")
            found[str(each["id"])] = Article(sku=str(data.get("sku") or ""), product_type=str(product_type or ""))
        return found

    @staticmethod
    def _rivals(skus: Mapping[str, str]) -> Steps[dict[str, list[JSON]]]:
        """Other live variations with the same SKU, by the id of a variation that has one."""
        found: dict[str, list[JSON]] = {}
        for object_id, sku in sorted(skus.items()):
            query = {"exact_query": {"attribute_name": "sku", "attribute_value": sku}}
            body = {"object_types": ["ITEM_VARIATION"], "query": query}
            answer = (yield Request("POST", "/v2/catalog/search", json=body, effect=False)).json()
            # The value may match in part, and without regard to case.
            same = [item for item in answer.get("objects") or [] if (item.get("item_variation_data") or {}).get("sku") == sku]
            if object_id in {item["id"] for item in same}:
                found[object_id] = [item for item in same if item["id"] != object_id]
        return found

    def _location(self, location_id: str) -> dict[str, str]:
        return {"code": str(self.settings["locations"].get(location_id, location_id))}

    def _learn_zone(self, location_id: str) -> Steps[None]:
        """Read the time zones of Square's locations, once, and again when a location is new."""
        if location_id in self._zones or location_id in self.settings["timezones"]:
            return
        listed: Sequence[JSON] = []
        try:
            listed = (yield Request("GET", "/v2/locations")).json().get("locations") or []
        except AuthenticationError as error:
            if error.code != "insufficient_scope":  # of a token without MERCHANT_PROFILE_READ
                raise
        self._zones |= {str(item["id"]): str(item.get("timezone") or "") for item in listed}
        self._zones.setdefault(location_id, "")

    def business_date(self, occurred_at: str, location_id: str = "") -> str:
        """The trading day of an instant at a location, by its time zone and the hour that the stores' day begins."""
        hours, minutes = str(self.settings["business_day_start"]).split(":")
        zone = self.settings["timezones"].get(location_id) or self._zones.get(location_id) or self.settings["timezone"]
        local = datetime.fromisoformat(occurred_at).astimezone(ZoneInfo(str(zone)))
        return (local - timedelta(hours=int(hours), minutes=int(minutes))).date().isoformat()


def _alone(record: JSON, counting: Counting) -> Document | Ignored | Refused:
    """What one inventory change tells; a malformed one that has an id is refused alone."""
    try:
        return stock_item(record, counting)
    except UNREADABLE as error:
        if not fact_of(record).get("id"):
            raise
        found = _malformed("record", error)
        return Refused(f"inventory:{fact_of(record)['id']}", found.code, found.message)


def _with_status(order: JSON, detail: JSON) -> JSON:
    """An order with the refund's status that a webhook told, which may be newer than the order's own."""
    if not detail.get("refund"):
        return order
    refunds = [
        {**refund, "status": detail["status"]} if refund.get("id") == detail["refund"] else refund
        for refund in order.get("refunds") or []
    ]
    return {**order, "refunds": refunds}


def _refunds_to_read(order: JSON, sources: Mapping[str, JSON]) -> set[str]:
    """Refunds of a return that the order says too little of: they failed, or their tender is on no known order."""
    if not order.get("returns"):
        return set()
    tenders = {str(tender["id"]) for each in (order, *sources.values()) for tender in each.get("tenders") or []}
    return {
        str(refund["id"])
        for refund in order.get("refunds") or []
        if refund["status"] == "FAILED" or str(refund.get("tender_id")) not in tenders
    }


def _malformed(what: str, error: Exception) -> UntranslatableError:
    said = f"the {what} is not as Square documents it ({type(error).__name__}: {str(error)[:200]})"
    return UntranslatableError(said, code=f"malformed_{what}")


def _since(count: JSON) -> dict[str, str]:
    """A minute before the count was computed: the bound is inclusive and clocks differ; repeats are deduped."""
    moment = datetime.fromisoformat(str(count["calculated_at"])) - timedelta(minutes=1)
    return {"since": moment.isoformat().replace("+00:00", "Z")}
