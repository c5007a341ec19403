"""The simulator's orders: rung up, paid, captured in parts, edited, sent, refunded, exchanged, cancelled.

Fields and their meaning are those of the Admin GraphQL schema 2025-01: `quantity` of a line item includes what was refunded and
removed, `originalTotalPriceSet` stays as the order was made, `totalRefundedSet` counts transactions that succeeded, a tip is a
line item without article, and `amountRoundingSet` comes on top of a cash transaction's `amountSet`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from hub_shopify.simulator.shop import Shop, sample
from hub_shopify.simulator.wire import Json, cents, money, number, page, shop_amount, summed

_TAX = Decimal("0.08")
#: A customer's currency, and how much of it one unit of the shop's currency is.
Abroad = tuple[str, Decimal]


class Orders(Shop):
    """Orders of one shop: 8 % tax on top, or within the prices."""

    def place_order(
        self, bought: Sequence[tuple[str, int]], paid: bool = True, discount: str = "0.00", shipping: str = "10.00",
        customer: str | None = None, *, gateway: str = "shopify_payments", duties: str = "0.00", fee: str = "0.00",
        tip: str = "0.00", abroad: Abroad | None = None, received: str | None = None, taxes_included: bool = False,
    ) -> Json:  # fmt: skip
        """An order of the online shop: SKUs with quantities. ``received``: what its payment is worth in the shop's currency."""
        order = self._order(bought, "web", discount, customer, abroad, taxes_included)
        if Decimal(shipping):
            order["shippingLines"]["nodes"].append(self._shipping(order, shipping))
        if Decimal(duties):
            order["lineItems"]["nodes"][0]["duties"].append(
                {"id": self._gid("Duty"), "price": self._bag(duties, order), "taxLines": []})  # fmt: skip
            order["originalTotalDutiesSet"] = self._bag(duties, order)
        if Decimal(fee):
            order["additionalFees"].append({"id": self._gid("AdditionalFee"), "name": "Eco fee",
                                            "price": self._bag(fee, order), "taxLines": []})  # fmt: skip
        self._opened(order, tip)
        if paid and shop_amount(order["totalPriceSet"]):
            whole = {**order["totalPriceSet"]}
            if received:
                whole["shopMoney"] = self._money(received)["shopMoney"]
            order["transactions"].append(self._transaction("SALE", whole, gateway))
        return self._placed(order)

    def ring_sale(
        self, bought: Sequence[tuple[str, int]], gateway: str = "cash", given: str | None = None, *, tip: str = "0.00",
        rounding: str = "0.00", discount: str = "0.00",
    ) -> Json:  # fmt: skip
        """A sale at a Shopify POS till at the first location. ``rounding`` is added to the amount that is due in cash."""
        order = self._order(bought, "pos", discount, None, None, False)
        place = next(iter(self.locations))
        order |= {"retailLocation": {"id": place, "name": self.locations[place]}, "shippingAddress": None}
        self._opened(order, tip)
        whole = shop_amount(order["totalPriceSet"])
        order["transactions"].append(self._transaction("SALE", self._money(given or whole), gateway, rounding=rounding))
        if given:
            order["transactions"].append(self._transaction("CHANGE", self._money(Decimal(given) - whole), gateway))
        return self._placed(order)

    # -- payments -----------------------------------------------------------------------------------------------

    def pay(self, order: Json, amount: str | None = None, kind: str = "SALE", gateway: str = "shopify_payments") -> Json:
        """Pay ``amount``, or what is open of the order as it is now."""
        due = Decimal(amount) if amount else self._open(order)
        paid = self._transaction(kind, self._bag(due, order), gateway)
        order["transactions"].append(paid)
        self._touch(order)
        return paid

    def authorize(self, order: Json) -> Json:
        """Reserve what is open; `pay` it with kind CAPTURE."""
        return self.pay(order, kind="AUTHORIZATION")

    def void(self, order: Json, payment: Json) -> Json:
        """Take an authorization or a payment back."""
        void = self._transaction("VOID", payment["amountSet"], payment["gateway"], payment)
        order["transactions"].append(void)
        self._touch(order)
        return void

    # -- refunds ------------------------------------------------------------------------------------------------

    def refund(
        self, order: Json, lines: Mapping[str, int], shipping: str = "0.00", kept: str = "0.00", *, more: str = "0.00",
        restock: str = "RETURN", status: str = "SUCCESS", tip: str = "0.00", rounding: str = "0.00", duties: bool = False,
        location: str | None = None, given: str | None = None, received: str | None = None, of: Json | None = None,
    ) -> Json:  # fmt: skip
        """Give back lines (by SKU) with their tax, delivery of the price ``shipping`` with its tax, a tip, duties.

        ``kept`` is not given back, ``more`` is given beyond: adjustments. ``given``: another sum. ``of``: its return.
        """
        nodes = [self._refund_line(order, line, lines[line["sku"]], restock, location)
                 for line in order["lineItems"]["nodes"] if line["sku"] in lines]  # fmt: skip
        nodes += self._refunded_tip(order, tip)
        delivery = [self._refund_shipping(order, shipping)] if Decimal(shipping) else []
        returned = [{"amountSet": duty["price"], "originalDuty": {"id": duty["id"]}}
                    for line in order["lineItems"]["nodes"] for duty in line["duties"] if duties]  # fmt: skip
        adjusted = [self._adjustment(order, value, reason) for value, reason in
                    ((Decimal(kept), "RESTOCK"), (-Decimal(more), "CUSTOMER")) if value]  # fmt: skip
        bags = [*(bag for node in nodes for bag in self._worth(order, node["subtotalSet"], node["totalTaxSet"])),
                *(bag for node in delivery for bag in self._worth(order, node["subtotalAmountSet"], node["taxAmountSet"])),
                *(item["amountSet"] for item in returned), self._bag(Decimal(more) - Decimal(kept), order)]  # fmt: skip
        whole = self._bag(given, order) if given else summed(bags)
        if received:
            whole = {**whole, "shopMoney": self._money(received)["shopMoney"]}
        moved = []
        if shop_amount(whole):
            payment = next(item for item in order["transactions"] if item["kind"] in ("SALE", "CAPTURE"))
            moved.append(self._transaction("REFUND", whole, payment["gateway"], payment, status=status, rounding=rounding))
        refund: Json = {
            "id": self._gid("Refund"), "createdAt": self._now(), "return": {"id": of["id"]} if of else None,
            "duties": returned, "refundLineItems": nodes, "refundShippingLines": delivery, "orderAdjustments": adjusted,
            "transactions": moved,
        }  # fmt: skip
        self._count_refund(order, refund)
        order["refunds"].append(refund)
        order["transactions"] += moved
        body = {"id": number(refund["id"]), "order_id": number(order["id"]), "created_at": refund["createdAt"],
                "admin_graphql_api_id": refund["id"]}  # fmt: skip
        self._announce("REFUNDS_CREATE", {**sample("refund")["refund"], **body})
        self._touch(order)
        return refund

    def settle(self, order: Json, refund: Json, status: str) -> None:
        """The bank says what became of a refund's money."""
        for item in refund["transactions"]:
            item["status"] = status
        self._count_refund(order, refund)
        self._touch(order)

    def exchange(
        self, order: Json, back: Mapping[str, int], new: Sequence[tuple[str, int]], gateway: str = "cash", fee: str = "0.00",
    ) -> Json:  # fmt: skip
        """Take goods back for new ones of the same order; the difference is paid or given back. Returns the return."""
        items = [self._item(order, sku, quantity) for sku, quantity in new]
        order["lineItems"]["nodes"] += items
        worth = summed([self._line_worth(order, item) for item in items])
        order["totalPriceSet"] = summed([order["totalPriceSet"], worth])
        order["edited"] = True
        made = self.give_return(order, fee, items)
        came = [self._refund_line(order, line, back[line["sku"]], "RETURN", None, dry=True)
                for line in order["lineItems"]["nodes"] if line["sku"] in back]  # fmt: skip
        value = sum((shop_amount(bag) for node in came for bag in self._worth(order, node["subtotalSet"], node["totalTaxSet"])),
                    Decimal(0))  # fmt: skip
        owed = value - shop_amount(worth) - Decimal(fee)
        self.refund(order, back, of=made, given=str(max(owed, Decimal(0))) or None)
        if owed < 0:
            self.pay(order, str(-owed), gateway=gateway)
        return made

    def give_return(self, order: Json, fee: str = "0.00", new: Sequence[Json] = (), shipping_fee: str = "0.00") -> Json:
        """A return with a restocking fee; give its `refund` the return as ``of``."""
        node = {"__typename": "ReturnLineItem", "id": self._gid("ReturnLineItem"), "restockingFee": {
            "id": self._gid("RestockingFee"), "amountSet": self._bag(fee, order)} if Decimal(fee) else None}  # fmt: skip
        fees = [{"id": self._gid("ReturnShippingFee"), "amountSet": self._bag(shipping_fee, order)}]
        fees = fees if Decimal(shipping_fee) else []
        made: Json = {"id": self._gid("Return"), "status": "CLOSED", "exchangeLineItems": [{"lineItem": item} for item in new],
                      "returnLineItems": [node], "returnShippingFees": fees}  # fmt: skip
        order["returns"].append(made)
        self._agreed(order, "RETURN")
        return made

    # -- what else happens to an order --------------------------------------------------------------------------

    def cancel(self, order: Json) -> None:
        """Cancel an order."""
        order |= {"cancelledAt": self._now(), "cancelReason": "CUSTOMER"}
        self._touch(order)

    def edit(self, order: Json, sku: str, quantity: int) -> None:
        """Reduce a line of an order; the edit leaves a refund of no money behind."""
        line = next(line for line in order["lineItems"]["nodes"] if line["sku"] == sku)
        line["currentQuantity"] = quantity
        order["edited"] = True
        self._agreed(order, "ORDER_EDIT")
        self._touch(order)

    def add_line(self, order: Json, sku: str, quantity: int) -> None:
        """Add a line to an order."""
        item = self._item(order, sku, quantity)
        order["lineItems"]["nodes"].append(item)
        order["totalPriceSet"] = summed([order["totalPriceSet"], self._line_worth(order, item)])
        order["edited"] = True
        self._agreed(order, "ORDER_EDIT")
        self._touch(order)

    def fulfil(self, order: Json, lines: Mapping[str, int], number: str = "") -> Json:
        """Hand goods of an order over (by SKU), with a parcel's ``number`` if they are sent."""
        taken = [line for line in order["lineItems"]["nodes"] if line["sku"] in lines]
        fulfillment: Json = {
            "id": self._gid("Fulfillment"), "status": "SUCCESS", "createdAt": self._now(), "deliveredAt": None,
            "location": {"id": next(iter(self.locations))},
            "trackingInfo": [{"company": "UPS", "number": number}] if number else [],
            "fulfillmentLineItems": [{"quantity": lines[line["sku"]], "lineItem": {"id": line["id"]}} for line in taken],
        }  # fmt: skip
        order["fulfillments"].append(fulfillment)
        self._announce_fulfillment("FULFILLMENTS_CREATE", order, fulfillment)
        return fulfillment

    def deliver(self, order: Json, fulfillment: Json) -> None:
        """A parcel arrives."""
        fulfillment["deliveredAt"] = self._now()
        self._announce_fulfillment("FULFILLMENTS_UPDATE", order, fulfillment)

    def _announce_fulfillment(self, topic: str, order: Json, fulfillment: Json) -> None:
        self._announce(topic, {"id": number(fulfillment["id"]), "order_id": number(order["id"]), "status": "success",
                               "admin_graphql_api_id": fulfillment["id"]})  # fmt: skip
        self._touch(order)

    def _touch(self, order: Json) -> None:
        order["updatedAt"] = self._now()
        self._announce_order("ORDERS_UPDATED", order)

    def _announce_order(self, topic: str, order: Json) -> None:
        body = {
            **sample("order")["order"], "id": number(order["id"]), "admin_graphql_api_id": order["id"], "name": order["name"],
            "created_at": order["createdAt"], "updated_at": order["updatedAt"], "source_name": order["sourceName"],
            "total_price": order["totalPriceSet"]["shopMoney"]["amount"], "currency": self.currency,
        }  # fmt: skip
        self._announce(topic, body)

    def _agreed(self, order: Json, reason: str) -> None:
        kind = {"ORDER": "OrderAgreement", "ORDER_EDIT": "OrderEditAgreement", "RETURN": "ReturnAgreement"}[reason]
        known = {sale["lineItem"]["id"] for item in order["agreements"] for sale in item["sales"]}
        sales = [{"__typename": _sale_type(line), "actionType": "ORDER", "lineItem": {"id": line["id"]}}
                 for line in order["lineItems"]["nodes"] if line["id"] not in known]  # fmt: skip
        order["agreements"].append({"__typename": kind, "happenedAt": self._now(), "reason": reason, "sales": sales})

    # -- how it is made -----------------------------------------------------------------------------------------

    def _order(
        self, bought: Sequence[tuple[str, int]], source: str, discount: str, customer: str | None, abroad: Abroad | None,
        taxes_included: bool,
    ) -> Json:  # fmt: skip
        now = self._now()
        order: Json = {
            "id": self._gid("Order"), "name": f"#{1000 + len(self.orders) + 1}", "createdAt": now, "processedAt": now,
            "updatedAt": now, "cancelledAt": None, "cancelReason": None, "edited": False, "test": False, "sourceName": source,
            "taxesIncluded": taxes_included, "dutiesIncluded": False, "currencyCode": self.currency,
            "presentmentCurrencyCode": abroad[0] if abroad else self.currency, "abroad": abroad,
            "customer": self.customers.get(customer or ""), "retailLocation": None,
            "shippingAddress": {
                "address1": "Chestnut Street 92", "address2": "", "city": "Louisville", "zip": "40202", "provinceCode": "KY",
                "countryCodeV2": "US",
            },
            "originalTotalDutiesSet": None, "additionalFees": [], "agreements": [], "shippingLines": {"nodes": []},
            "transactions": [], "refunds": [], "returns": [], "exchangeV2s": [], "fulfillments": [], "lineItems": {"nodes": []},
        }  # fmt: skip
        for place, (sku, quantity) in enumerate(bought):
            order["lineItems"]["nodes"].append(self._item(order, sku, quantity, discount if place == 0 else "0.00"))
        return order

    def _item(self, order: Json, sku: str, quantity: int, discount: str = "0.00") -> Json:
        product, variant = next((product, variant) for product in self.products.values()
                                for variant in product["variants"] if variant["sku"] == sku)  # fmt: skip
        off = Decimal(discount)
        net = Decimal(variant["price"]) * quantity - off
        if not product["isGiftCard"]:
            place = (order["retailLocation"] or {}).get("id") or next(iter(self.locations))
            self._add(self.items[variant["item"]], place, -quantity)
        allocations = [{"allocatedAmountSet": self._bag(off, order)}] if off else []
        taxes = [] if product["isGiftCard"] else [self._tax(net, order)]
        return {**self._blank(product["title"], variant["price"], order), "sku": sku, "quantity": quantity,
                "currentQuantity": quantity, "isGiftCard": product["isGiftCard"], "variant": variant["id"],
                "discountAllocations": allocations, "taxLines": taxes}  # fmt: skip

    def _blank(self, name: str, price: str, order: Json) -> Json:
        return {
            "id": self._gid("LineItem"), "name": name, "sku": None, "quantity": 1, "currentQuantity": 1, "isGiftCard": False,
            "variant": None, "originalUnitPriceSet": self._bag(price, order), "discountAllocations": [], "duties": [],
            "taxLines": [],
        }  # fmt: skip

    def _opened(self, order: Json, tip: str) -> None:
        """The order's totals, once all of its parts are there."""
        if Decimal(tip):
            order["lineItems"]["nodes"].append(self._blank("Tip", tip, order))
        lines, delivery = order["lineItems"]["nodes"], order["shippingLines"]["nodes"]
        nothing = self._bag(0, order)
        taxes = [tax["priceSet"] for item in [*lines, *delivery] for tax in item["taxLines"]]
        parts = [*(self._line_worth(order, line) for line in lines),
                 *(bag for item in delivery for bag in (item["discountedPriceSet"],
                   *(tax["priceSet"] for tax in item["taxLines"] if not order["taxesIncluded"]))),
                 *(duty["price"] for line in lines for duty in line["duties"]),
                 *(fee["price"] for fee in order["additionalFees"]), nothing]  # fmt: skip
        order |= {
            "totalPriceSet": summed(parts), "originalTotalPriceSet": summed(parts), "totalTaxSet": summed([*taxes, nothing]),
            "totalTipReceivedSet": self._bag(tip, order),
        }  # fmt: skip

    def _placed(self, order: Json) -> Json:
        self.orders[order["id"]] = order
        self._agreed(order, "ORDER")
        self._announce_order("ORDERS_CREATE", order)
        return order

    def _shipping(self, order: Json, price: str) -> Json:
        return {"id": self._gid("ShippingLine"), "title": "Standard", "isRemoved": False,
                "discountedPriceSet": self._bag(price, order), "taxLines": [self._tax(Decimal(price), order)]}  # fmt: skip

    def _tax(self, price: Decimal, order: Json) -> Json:
        tax = cents(price * _TAX / (1 + _TAX) if order["taxesIncluded"] else price * _TAX, self.currency)
        return {"title": "State Tax", "rate": _TAX, "ratePercentage": Decimal("8.0"), "priceSet": self._bag(tax, order)}

    def _worth(self, order: Json, subtotal: Json, tax: Json) -> tuple[Json, ...]:
        return (subtotal,) if order["taxesIncluded"] else (subtotal, tax)

    def _line_worth(self, order: Json, line: Json) -> Json:
        off = [self._bag(-shop_amount(item["allocatedAmountSet"]), order) for item in line["discountAllocations"]]
        taxes = [] if order["taxesIncluded"] else [tax["priceSet"] for tax in line["taxLines"]]
        return summed([*[line["originalUnitPriceSet"]] * line["quantity"], *off, *taxes])

    def _open(self, order: Json) -> Decimal:
        """What is not paid yet of the order as it is now."""
        whole = shop_amount(order["totalPriceSet"])
        for line in order["lineItems"]["nodes"]:
            removed = line["quantity"] - line["currentQuantity"]
            whole -= cents(shop_amount(self._line_worth(order, line)) * removed / line["quantity"], self.currency)
        return whole - sum((shop_amount(item["amountSet"]) for item in order["transactions"]
                            if item["kind"] in ("SALE", "CAPTURE") and item["status"] == "SUCCESS"), Decimal(0))  # fmt: skip

    def _refund_line(
        self, order: Json, line: Json, count: int, restock: str, location: str | None, dry: bool = False
    ) -> Json:  # fmt: skip
        off = sum((shop_amount(item["allocatedAmountSet"]) for item in line["discountAllocations"]), Decimal(0))
        subtotal = shop_amount(line["originalUnitPriceSet"]) * count - cents(off * count / line["quantity"], self.currency)
        tax = self._tax(subtotal, order)["priceSet"] if line["taxLines"] else self._bag(0, order)
        if not dry:
            line["currentQuantity"] -= count
        return {
            "quantity": count, "restockType": restock, "lineItem": {"id": line["id"]}, "totalTaxSet": tax,
            "subtotalSet": self._bag(subtotal, order),
            "location": None if restock == "NO_RESTOCK" else {"id": location or next(iter(self.locations))},
        }  # fmt: skip

    def _refunded_tip(self, order: Json, tip: str) -> Iterator[Json]:
        for line in order["lineItems"]["nodes"]:
            if Decimal(tip) and line["name"] == "Tip":
                yield {"quantity": 1, "restockType": "NO_RESTOCK", "lineItem": {"id": line["id"]}, "location": None,
                       "totalTaxSet": self._bag(0, order), "subtotalSet": self._bag(tip, order)}  # fmt: skip

    def _refund_shipping(self, order: Json, price: str) -> Json:
        (line,) = order["shippingLines"]["nodes"]
        return {"shippingLine": {"id": line["id"]}, "subtotalAmountSet": self._bag(price, order),
                "taxAmountSet": self._tax(Decimal(price), order)["priceSet"]}  # fmt: skip

    def _adjustment(self, order: Json, value: Decimal, reason: str) -> Json:
        return {"id": self._gid("OrderAdjustment"), "reason": reason, "amountSet": self._bag(value, order),
                "taxAmountSet": self._bag(0, order)}  # fmt: skip

    def _count_refund(self, order: Json, refund: Json) -> None:
        done = [item["amountSet"] for item in refund["transactions"] if item["status"] == "SUCCESS"]
        refund["totalRefundedSet"] = summed([*done, self._bag(0, order)])

    def _transaction(
        self, kind: str, amount: Json, gateway: str, parent: Json | None = None, *, status: str = "SUCCESS",
        rounding: str = "0.00",
    ) -> Json:  # fmt: skip
        return {
            "id": self._gid("OrderTransaction"), "kind": kind, "status": status, "gateway": gateway, "processedAt": self._now(),
            "amountSet": amount, "amountRoundingSet": self._money(rounding) if Decimal(rounding) else None,
            "parentTransaction": parent,
        }  # fmt: skip

    def _bag(self, amount: Decimal | str | int, order: Json) -> Json:
        return money(amount, self.currency, order["abroad"])

    def _money(self, amount: Decimal | str | int) -> Json:
        return money(amount, self.currency)

    # -- what is shown ------------------------------------------------------------------------------------------

    def _found(self, name: str, gid: str) -> Json:
        return next(item for order in self.orders.values() for item in order[name] if item["id"] == gid)

    def _shown_order(self, order: Json) -> Json:
        lines = [self._shown_line(line) for line in order["lineItems"]["nodes"]]
        refunds = [self._shown_refund(item) for item in order["refunds"]]
        sent = [self._shown_fulfillment(item) for item in order["fulfillments"]]
        returns = [{**item, **{name: _nodes(item[name]) for name in ("exchangeLineItems", "returnLineItems")}}
                   for item in order["returns"]]  # fmt: skip
        agreed = [{**item, "sales": _nodes(item["sales"])} for item in order["agreements"]]
        lists = {"lineItems": lines, "shippingLines": order["shippingLines"]["nodes"], "agreements": agreed,
                 "returns": returns, "exchangeV2s": order["exchangeV2s"]}  # fmt: skip
        return {**order, **{name: _nodes(found) for name, found in lists.items()},
                "transactions": lambda first: order["transactions"][:first], "refunds": lambda first: refunds[:first],
                "fulfillments": lambda first: sent[:first]}  # fmt: skip

    def _shown_line(self, line: Json) -> Json:
        """A line item; a variant that was deleted is not there any more."""
        found = next((variant for product in self.products.values() for variant in product["variants"]
                      if variant["id"] == line["variant"]), None)  # fmt: skip
        item = {"id": found["id"], "inventoryItem": {"tracked": self.items[found["item"]]["tracked"]}} if found else None
        return {**line, "variant": item}

    @staticmethod
    def _shown_refund(refund: Json) -> Json:
        names = ("refundLineItems", "refundShippingLines", "orderAdjustments", "transactions")
        return {**refund, **{name: _nodes(refund[name]) for name in names}}

    @staticmethod
    def _shown_fulfillment(sent: Json) -> Json:
        return {**sent, "trackingInfo": lambda first: sent["trackingInfo"][:first],
                "fulfillmentLineItems": _nodes(sent["fulfillmentLineItems"])}  # fmt: skip


def _sale_type(line: Json) -> str:
    if line["isGiftCard"]:
        return "GiftCardSale"
    return "ProductSale" if line["variant"] else "TipSale"


def _nodes(found: Sequence[Any]) -> Callable[..., Json]:
    return lambda **asked: page(found, **asked)
