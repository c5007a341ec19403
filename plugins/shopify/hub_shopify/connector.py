"""Shopify ↔ canonical, over the Admin GraphQL API. Webhooks and polls name a record; the record is fetched, as it is now: so it
does not matter which of them came first, or how often.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from hub.sdk import (
    AccountField,
    Change,
    ConnectorError,
    Document,
    Gone,
    Ignored,
    Page,
    Refused,
    Request,
    Steps,
    Subscription,
    UntranslatableError,
    Webhook,
    furthest,
    listed,
    load_manifest,
)
from hub_shopify import queries
from hub_shopify.mapping import Mapper
from hub_shopify.shapes import JSON, Json, tail
from hub_shopify.writes import MALFORMED, MOST_PAGES, Writes

#: Kinds of Shopify ids → objects of the manifest.
_OBJECTS = {"Order": "order", "Product": "product", "Customer": "customer"}
#: What was deleted is told by its number alone: the topic says what it was.
_DELETED = {"products/delete": "Product", "customers/delete": "Customer"}


class Shopify(Writes):
    """One shop."""

    manifest = load_manifest("hub_shopify")

    def __init__(self, settings: JSON) -> None:
        super().__init__(settings)
        self.mapper = Mapper(self.settings)

    # -- inbound ------------------------------------------------------------------------------------------------

    def receive(self, webhook: Webhook) -> Iterable[Change | Gone | Ignored]:
        body = webhook.json()
        try:
            if kind := _DELETED.get(webhook.headers.get("x-shopify-topic", "")):
                return [Gone(_OBJECTS[kind], f"gid://shopify/{kind}/{int(body['id'])}")]
            return [self._received(body)]
        except MALFORMED as error:
            raise _malformed("event", error) from error

    @staticmethod
    def _received(body: Any) -> Change | Ignored:
        """A webhook carries the record in the retired REST shape: its id is what is taken from it."""
        if not isinstance(body, dict):
            raise UntranslatableError("not a Shopify webhook: no object", code="malformed_event")
        if "inventory_item_id" in body and "location_id" in body:
            item, location = int(body["inventory_item_id"]), int(body["location_id"])
            return _level_change(f"gid://shopify/InventoryItem/{item}", f"gid://shopify/Location/{location}")
        gid = str(body.get("admin_graphql_api_id") or "")
        kind = gid.removeprefix("gid://shopify/").partition("/")[0]
        if kind in ("Refund", "Fulfillment"):
            return Change("order", f"gid://shopify/Order/{int(body['order_id'])}")
        if kind in _OBJECTS and tail(gid).isdigit():
            return Change(_OBJECTS[kind], gid)
        if body.get("id") and not gid:
            return Ignored("a record was deleted; Shopify tells no more than its id")
        raise UntranslatableError("the webhook names no record", code="malformed_event")

    def read(self, object_name: str, cursor: JSON) -> Steps[Page]:
        if object_name != "inventory_level":
            return (yield from super().read(object_name, cursor))
        try:
            return (yield from self._levels(cursor))
        except MALFORMED as error:
            raise ConnectorError(f"the answer is not as documented: {error!r}", code="unreadable_answer") from error

    def _levels(self, cursor: JSON) -> Steps[Page]:
        """Levels change without their item: they are read location by location, each from a time of its own: what changes in
        the first while the last is read is not passed by.
        """
        declared = self.manifest.objects["inventory_level"]["read"]
        since, places = cursor.get("since", declared["since"]), cursor.get("places")
        before, reached = cursor.get("before", {}), dict(cursor.get("reached", {}))
        if places is None:
            places = [node["id"] for node in (yield from self.all(queries.LOCATIONS, {}, "locations"))]
        if not places:
            return Page([], {"since": since}, more=False)
        asked = {"location": places[0], "first": declared["paging"]["limit"], "after": cursor.get("page"),
                 "query": f"updated_at:>='{before.get(places[0], since)}'"}  # fmt: skip
        response = yield Request("POST", declared["request"]["path"], json={"query": queries.LEVELS, "variables": asked},
                                 effect=False, label="Levels")  # fmt: skip
        place = response.json()["data"]["location"]
        nodes, info = [], {"hasNextPage": False}  # a location that was deleted meanwhile has no levels
        if place is not None:
            nodes, info = listed(response, declared["records"]), place["inventoryLevels"]["pageInfo"]
        times = [node.get("updatedAt") for node in nodes if isinstance(node, dict)]
        reached[places[0]] = furthest(times, reached.get(places[0], before.get(places[0], since)), response)
        oldest = min(reached.values(), key=datetime.fromisoformat)
        going = {"since": since, "high": oldest, "before": before, "reached": reached}
        if info["hasNextPage"]:
            if not info["endCursor"]:
                raise LookupError("hasNextPage without endCursor")
            return Page(nodes, {**going, "places": places, "page": info["endCursor"]}, True)
        if places[1:]:
            return Page(nodes, {**going, "places": places[1:]}, True)
        return Page(nodes, {"since": oldest, **({"before": reached} if len(reached) > 1 else {})}, more=False)

    def change_of(self, object_name: str, record: JSON) -> Change | Gone:
        try:
            if object_name == "inventory_level":
                return _level_change(record["item"]["id"], record["location"]["id"])
            return Change(object_name, super().change_of(object_name, record).ref)
        except MALFORMED as error:
            raise _malformed("record", error) from error

    def translate(self, change: Change) -> Steps[list[Document | Gone | Ignored | Refused]]:
        try:
            return (yield from self._translated(change))
        except MALFORMED as error:
            raise _malformed("record", error) from error

    def _translated(self, change: Change) -> Steps[list[Document | Gone | Ignored | Refused]]:
        gone: list[Document | Gone | Ignored | Refused] = [Gone(change.object, change.ref)]
        match change.object:
            case "order":
                order = yield from self._order(change.ref)
                return [*self.mapper.order(order)] if order else gone
            case "product":
                product = yield from self._whole(queries.PRODUCT, change.ref, "product", "variants")
                return list(self.mapper.product(product, product["currencyCode"])) if product else gone
            case "customer":
                customer = (yield from self.ask(queries.CUSTOMER, {"id": change.ref}))["customer"]
                return [self.mapper.customer(customer)] if customer else gone
            case "inventory_level":
                item = (yield from self.ask(queries.LEVEL, dict(change.detail)))["inventoryItem"]
                return [self.mapper.level(item)] if item else gone
        raise UntranslatableError(f"{change.object} is no object of this connector", code="no_map")

    def _order(self, ref: str) -> Steps[Json | None]:
        """An order with all of its lists; raises UntranslatableError if one of them has no known end."""
        order = yield from self._whole(queries.ORDER, ref, "order", "lineItems")
        if order is None:
            return None
        for name, longest in queries.LONGEST.items():
            if len(order[name]) >= longest:
                raise _too_large(order, name, longest)
        for name, query, below in (("refunds", queries.REFUND, "refundLineItems"),
                                   ("fulfillments", queries.FULFILLMENT, "fulfillmentLineItems")):  # fmt: skip
            for item in order[name]:
                yield from self._rest(query, item, below)
        order["lineItems"]["pageInfo"] = {"hasNextPage": False}
        order["agreements"] = {"nodes": [], "pageInfo": {"hasNextPage": False}}
        if order["edited"]:
            known = yield from self._whole(queries.AGREEMENTS, ref, "order", "agreements")
            order["agreements"] = {**order["agreements"], "nodes": known["agreements"]["nodes"] if known else []}
        for name, found in _lists(order):
            if found["pageInfo"]["hasNextPage"]:
                raise _too_large(order, name, len(found["nodes"]))
        return order

    def _rest(self, query: str, item: Json, below: str) -> Steps[None]:
        """The further pages of the list ``below`` an item of an order."""
        for _ in range(MOST_PAGES):
            if not item[below]["pageInfo"]["hasNextPage"]:
                return
            asked = {"id": item["id"], "after": item[below]["pageInfo"]["endCursor"]}
            (record,) = (yield from self.ask(query, asked)).values()
            item[below] = {**record[below], "nodes": [*item[below]["nodes"], *record[below]["nodes"]]}

    def _whole(self, query: str, ref: str, name: str, below: str) -> Steps[Json | None]:
        """A record with all pages of what is below it; None if it is gone."""
        whole: Json | None = None
        after = None
        for _ in range(MOST_PAGES):
            data = yield from self.ask(query, {"id": ref, "after": after})
            found = data[name]
            if found is None:
                return None
            if whole is None:
                whole = {**found, **data.get("shop", {})}
            else:
                whole[below]["nodes"] += found[below]["nodes"]
            if not found[below]["pageInfo"]["hasNextPage"]:
                return whole
            after = found[below]["pageInfo"]["endCursor"]
        raise UntranslatableError(f"{name} {tail(ref)} has more than {MOST_PAGES * 100} {below}", code="too_large")

    # -- the connection itself ----------------------------------------------------------------------------------

    def describe(self) -> Steps[Sequence[AccountField]]:
        """The metafields that the shop has defined; `map` names them `namespace.key`."""
        found: list[AccountField] = []
        for owner in ("PRODUCT", "PRODUCTVARIANT", "CUSTOMER", "ORDER"):
            for node in (yield from self.all(queries.DEFINITIONS, {"owner": owner}, "metafieldDefinitions")):
                name = f"{node['namespace']}.{node['key']}"
                found.append(AccountField(owner.lower(), name, node["type"]["name"], node["name"], custom=True))
        return found

    def subscriptions(self) -> Steps[Sequence[Subscription]]:
        nodes = yield from self.all(queries.SUBSCRIPTIONS, {}, "webhookSubscriptions")
        return [Subscription(node["id"], node["topic"], node["callbackUrl"]) for node in nodes]

    def subscribe(self, topic: str, url: str) -> Steps[None]:
        yield from self.effect(queries.SUBSCRIBE, {"topic": topic, "url": url}, "webhookSubscriptionCreate")

    def unsubscribe(self, subscription_id: str) -> Steps[None]:
        yield from self.effect(queries.UNSUBSCRIBE, {"id": subscription_id}, "webhookSubscriptionDelete", ("",))


def _lists(value: Any, name: str = "order") -> Iterator[tuple[str, Json]]:
    """The connections in a record, by name."""
    if isinstance(value, dict):
        if "pageInfo" in value:
            yield name, value
        for key, item in value.items():
            yield from _lists(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _lists(item, name)


def _too_large(order: JSON, name: str, count: int) -> UntranslatableError:
    said = f"order {order['name']} has {count} or more {name}, and the rest of them is not known"
    return UntranslatableError(said, code="too_large")


def _malformed(what: str, error: Exception) -> UntranslatableError:
    said = f"the {what} is not as Shopify documents it ({type(error).__name__}: {str(error)[:200]})"
    return UntranslatableError(said, code=f"malformed_{what}")


def _level_change(item: str, location: str) -> Change:
    return Change("inventory_level", f"{tail(item)}@{tail(location)}", detail={"item": item, "location": location})
