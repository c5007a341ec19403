"""Tells orders: how they stand, that they were cancelled, what was fulfilled and sent."""

from collections.abc import Iterator
from dataclasses import dataclass

from canonical.money import money, total
from hub.sdk import Document, Ignored, Refused
from hub_shopify.ledger import Ledger
from hub_shopify.places import Places
from hub_shopify.records import address_of
from hub_shopify.sales import Told, customer
from hub_shopify.shapes import JSON, Articles, Json, UnsoundError, charges, kind_of, sums, tail, tracked


@dataclass(frozen=True)
class Orders:
    """Orders of the online shop by a connection's settings."""

    articles: Articles
    places: Places

    def standing(self, ledger: Ledger) -> Told:
        """An order as it was placed; once it was edited, as it is now."""
        order = ledger.order
        if order["edited"]:
            return self._changed(ledger)
        try:
            ledger.check_total()
            lines = [self.articles.line(line, order, line["quantity"]) for line in ledger.original_items()]
            lines += [charge.line(order) for charge in charges(order)]
            return Document("order.placed.v1", f"order:{ledger.id}", self._state(ledger, lines, order["createdAt"]))
        except UnsoundError as error:
            return Refused(f"order:{ledger.id}", error.code, str(error))

    def _changed(self, ledger: Ledger) -> Told:
        order = ledger.order
        left = [self.articles.line(line, order, line["currentQuantity"]) for line in ledger.items() if line["currentQuantity"]]
        if not left:
            return Ignored(f"order {order['name']} has no lines left")
        lines = [*left, *(charge.line(order) for charge in charges(order, has_removed=False))]
        changed = f"order:{ledger.id}:changed:{order['updatedAt']}"
        return Document("order.changed.v1", changed, self._state(ledger, lines, order["updatedAt"]))

    def _state(self, ledger: Ledger, lines: list[Json], occurred_at: str) -> Json:
        order, ship_to = ledger.order, address_of(ledger.order["shippingAddress"])
        return {
            "id": ledger.id, "number": order["name"], "channel": "web" if order["sourceName"] == "web" else "other",
            "occurred_at": occurred_at, "lines": lines, **sums(lines),
            "total": money(total(line["total"] for line in lines), ledger.currency), **customer(order),
            **({"ship_to": ship_to} if ship_to else {}),
        }  # fmt: skip

    @staticmethod
    def cancelled(ledger: Ledger) -> Document:
        """That an order was cancelled."""
        order = ledger.order
        data = {"id": ledger.id, "number": order["name"], "occurred_at": order["cancelledAt"],
                "reason": str(order["cancelReason"] or "OTHER").lower()}  # fmt: skip
        return Document("order.cancelled.v1", f"order:{ledger.id}:cancelled", data)

    def fulfilled(self, ledger: Ledger) -> Iterator[Document]:
        """Goods that left, the parcels they left in, and that these arrived."""
        for shipped in ledger.order["fulfillments"]:
            if shipped["status"] == "SUCCESS":
                yield from self._fulfilment(ledger, shipped)

    def _fulfilment(self, ledger: Ledger, shipped: JSON) -> Iterator[Document]:
        order, place, tracking = ledger.order, tail(shipped["id"]), next(iter(shipped["trackingInfo"]), None)
        of_order = {"id": ledger.id, "number": order["name"]}
        sold = {line["id"]: line for line in order["lineItems"]["nodes"]}
        sent = [(sold[item["lineItem"]["id"]], item["quantity"]) for item in shipped["fulfillmentLineItems"]["nodes"]
                if item["quantity"] and kind_of(sold[item["lineItem"]["id"]]) == "goods"]  # fmt: skip
        # the goods of an exchange left with the exchange
        left = [(line, count) for line, count in sent if tracked(line) and line["id"] not in ledger.added()]
        fact = {
            "id": place, "order": of_order, "location": self.places.location((shipped["location"] or {}).get("id")),
            "occurred_at": shipped["createdAt"],
        }  # fmt: skip
        if left:
            parcel = {"shipment_id": place} if tracking else {}
            goods = [self._goods(line, count) for line, count in left]
            yield Document("fulfillment.completed.v1", f"fulfillment:{place}", {**fact, "goods": goods, **parcel})
        if tracking and sent:
            named = (("carrier", tracking["company"]), ("tracking_number", tracking["number"]))
            told = {name: str(value)[:128] for name, value in named if value}
            goods = [self._goods(line, count) for line, count in sent]
            yield Document("shipment.dispatched.v1", f"shipment:{place}", {**fact, "goods": goods, **told})
        if shipped["deliveredAt"]:
            arrived = {"id": place, "order": of_order, "occurred_at": shipped["deliveredAt"]}
            yield Document("shipment.delivered.v1", f"shipment:{place}:delivered", arrived)

    def _goods(self, line: JSON, count: int) -> Json:
        return {"line_id": tail(line["id"]), "sku": self.articles.sku(line), "quantity": str(count)}
