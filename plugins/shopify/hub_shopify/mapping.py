"""Shopify's records (Admin GraphQL) → canonical documents. Pure. Amounts are those of the shop's own currency (shopMoney)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from canonical.money import allocate, amount, money, total
from hub.sdk import Document, Ignored, UntranslatableError
from hub.sdk.mapping import evaluate

JSON = Mapping[str, Any]
Json = dict[str, Any]

#: Shopify's gateways → canonical tenders; others are `other`.
_TENDERS = {
    "cash": "cash", "gift_card": "gift_card", "shopify_payments": "card", "bogus": "card", "shopify_installments": "card",
    "paypal": "wallet", "shop_cash": "wallet", "bank_deposit": "bank_transfer",
}  # fmt: skip
#: Shopify's names of quantities → canonical stock states.
STATES = {
    "available": "available", "committed": "reserved", "reserved": "reserved", "safety_stock": "reserved",
    "damaged": "damaged", "incoming": "in_transit", "quality_control": "unsellable",
}  # fmt: skip


def tail(gid: str) -> str:
    """`gid://shopify/Order/123` → `123`, without parameters."""
    return gid.rsplit("/", 1)[-1].partition("?")[0]


class Mapper:
    """Canonical documents by a connection's settings (`timezone`, `business_day_start`, `locations`, …)."""

    def __init__(self, settings: JSON) -> None:
        self._settings = settings

    # -- orders -------------------------------------------------------------------------------------------------

    def order(self, order: JSON) -> list[Document | Ignored]:
        """What an order says: how it stands (unless it was rung up at a till), its sale once paid, its refunds."""
        if order["test"] and not self._settings["test_orders"]:
            return [Ignored("a test order")]
        place, at_till = tail(order["id"]), order["sourceName"] == "pos"
        documents: list[Document | Ignored] = []
        if not at_till:
            documents.append(self._standing(order, place))
        if order["cancelledAt"]:
            cancelled = {"id": place, "number": order["name"], "occurred_at": order["cancelledAt"],
                         "reason": str(order["cancelReason"] or "OTHER").lower()}  # fmt: skip
            documents.append(Document("order.cancelled.v1", f"order:{place}:cancelled", cancelled))
        documents.append(self._sale(order, place, at_till))
        if not at_till:  # what is sold at a till leaves with its sale
            for shipped in order["fulfillments"]:
                documents += self._fulfilled(order, shipped) if shipped["status"] == "SUCCESS" else []
        return [*documents, *(self._return(order, refund) for refund in order["refunds"] if _gives_back(refund))]

    def _fulfilled(self, order: JSON, shipped: JSON) -> list[Document]:
        """Goods that left, the parcel they left in, and that it arrived."""
        place, tracking = tail(shipped["id"]), next(iter(shipped["trackingInfo"]), None)
        of_order = {"id": tail(order["id"]), "number": order["name"]}
        sku = str(self._settings["custom_line_sku"])
        fact = {
            "id": place, "order": of_order, "location": self._location((shipped["location"] or {}).get("id")),
            "occurred_at": shipped["createdAt"],
            "goods": [{"line_id": tail(item["lineItem"]["id"]), "sku": item["lineItem"]["sku"] or sku,
                       "quantity": str(item["quantity"])}
                      for item in shipped["fulfillmentLineItems"]["nodes"] if item["quantity"]],
        }  # fmt: skip
        sent = {"shipment_id": place} if tracking else {}
        found = [Document("fulfillment.completed.v1", f"fulfillment:{place}", {**fact, **sent})] if fact["goods"] else []
        if tracking and fact["goods"]:
            named = (("carrier", tracking["company"]), ("tracking_number", tracking["number"]))
            told = {name: str(value)[:128] for name, value in named if value}
            found.append(Document("shipment.dispatched.v1", f"shipment:{place}", {**fact, **told}))
        if shipped["deliveredAt"]:
            arrived = {"id": place, "order": of_order, "occurred_at": shipped["deliveredAt"]}
            found.append(Document("shipment.delivered.v1", f"shipment:{place}:delivered", arrived))
        return found

    def _standing(self, order: JSON, place: str) -> Document:
        edited = bool(order["edited"])
        count = "currentQuantity" if edited else "quantity"
        lines = [self._line(line, order, line[count]) for line in order["lineItems"]["nodes"] if line[count]]
        if not lines:
            raise UntranslatableError(f"order {order['name']} has no lines left", code="empty_order")
        shipping, currency = _shipping(order), order["currencyCode"]
        data = {
            "id": place, "number": order["name"], "channel": "web" if order["sourceName"] == "web" else "other",
            "occurred_at": order["updatedAt"] if edited else order["createdAt"], "lines": lines, **_sums(lines, currency),
            "shipping": money(shipping, currency),
            "total": money(total(line["total"] for line in lines) + shipping, currency), **_customer(order["customer"]),
            **({"ship_to": address} if (address := _address(order["shippingAddress"])) else {}),
            **({"note": order["note"][:1000]} if order["note"] else {}),
        }  # fmt: skip
        if edited:
            return Document("order.changed.v1", f"order:{place}:changed:{order['updatedAt']}", data)
        return Document("order.placed.v1", f"order:{place}", data)

    def _sale(self, order: JSON, place: str, at_till: bool) -> Document | Ignored:
        currency, whole = order["currencyCode"], _amount(order["totalPriceSet"])
        paid = [item for item in order["transactions"] if item["status"] == "SUCCESS"]
        tenders = [self._tender(item) for item in paid if item["kind"] in ("SALE", "CAPTURE")]
        change = sum((_amount(item["amountSet"]) for item in paid if item["kind"] == "CHANGE"), Decimal(0))
        received = total(item["amount"] for item in tenders) - change
        if received < whole:
            return Ignored(f"{received} of {whole} {currency} is paid; the sale comes when it is paid")
        if order["edited"]:  # Shopify does not tell whether before or after it was paid
            raise UntranslatableError(f"order {order['name']} was edited, and is paid: what of it is booked is not knowable",
                                      code="edited_sale")  # fmt: skip
        lines = [self._line(line, order, line["quantity"]) for line in order["lineItems"]["nodes"]]
        rounding = _amount((order["totalCashRoundingAdjustment"] or {}).get("paymentSet"))
        data = {
            **self._head(order, place, max(item["processedAt"] for item in paid)), "lines": lines, **_sums(lines, currency),
            "total": money(whole + rounding, currency), "tenders": tenders, "change": money(change, currency),
            "tip": money(_amount(order["totalTipReceivedSet"]), currency),
            "service_charge": money(_shipping(order), currency), **_customer(order["customer"]),
            **({"rounding": money(rounding, currency)} if rounding else {}),
            **({} if at_till else {"order": {"id": place, "number": order["name"]}}),
        }  # fmt: skip
        return Document("sale.completed.v1", f"order:{place}:sale", data)

    def _return(self, order: JSON, refund: JSON) -> Document:
        currency, place = order["currencyCode"], tail(refund["id"])
        sold = {line["id"]: line for line in order["lineItems"]["nodes"]}
        lines = [self._return_line(sold[item["lineItem"]["id"]], item, order)
                 for item in refund["refundLineItems"]["nodes"]]  # fmt: skip
        tenders = [self._tender(item) for item in refund["transactions"]["nodes"]
                   if item["kind"] == "REFUND" and item["status"] == "SUCCESS"]  # fmt: skip
        given = total(item["amount"] for item in tenders)
        _level(lines, given, currency, str(self._settings["adjustment_sku"]))
        data = {
            **self._head(order, place, refund["createdAt"]), "number": order["name"], "lines": lines,
            "original": {"id": tail(order["id"]), "number": order["name"]}, **_sums(lines, currency),
            "total": money(given, currency), "tenders": tenders,
        }  # fmt: skip
        return Document("return.completed.v1", f"refund:{place}", data)

    def _head(self, order: JSON, place: str, occurred_at: str) -> Json:
        return {
            "id": place, "number": order["name"], "location": self._location((order["retailLocation"] or {}).get("id")),
            "occurred_at": occurred_at, "business_date": self.business_date(occurred_at),
        }  # fmt: skip

    def _line(self, line: JSON, order: JSON, quantity: int) -> Json:
        """A line at ``quantity`` of what it was when it was ordered: discounts and taxes in proportion."""
        currency, weights = order["currencyCode"], [quantity, line["quantity"] - quantity]
        unit = _amount(line["originalUnitPriceSet"])
        off = sum((_amount(item["allocatedAmountSet"]) for item in line["discountAllocations"]), Decimal(0))
        discount = amount(allocate(money(off, currency), weights)[0])
        taxes = [_tax(tax, allocate(money(_amount(tax["priceSet"]), currency), weights)[0], order) for tax in line["taxLines"]]
        added = Decimal(0) if order["taxesIncluded"] else total(tax["amount"] for tax in taxes)
        return {
            "id": tail(line["id"]), "sku": line["sku"] or str(self._settings["custom_line_sku"]), "description": line["name"],
            "quantity": str(quantity), "unit_price": money(unit, currency), "gross": money(unit * quantity, currency),
            "discount": money(discount, currency), "taxes": taxes, "total": money(unit * quantity - discount + added, currency),
        }  # fmt: skip

    def _return_line(self, line: JSON, item: JSON, order: JSON) -> Json:
        currency, unit = order["currencyCode"], _amount(line["originalUnitPriceSet"])
        gross, subtotal = unit * item["quantity"], _amount(item["subtotalSet"])
        tax = money(_amount(item["totalTaxSet"]), currency)
        declared = line["taxLines"] or ([{"title": "Tax", "ratePercentage": "0"}] if amount(tax) else [])
        weights = [_amount(entry.get("priceSet")) for entry in declared]
        shares = allocate(tax, weights) if declared else []
        added = Decimal(0) if order["taxesIncluded"] else amount(tax)
        return {
            "id": tail(line["id"]), "original_line_id": tail(line["id"]), "description": line["name"],
            "sku": line["sku"] or str(self._settings["custom_line_sku"]), "quantity": str(item["quantity"]),
            "unit_price": money(unit, currency), "gross": money(gross, currency), "discount": money(gross - subtotal, currency),
            "taxes": [_tax(entry, share, order) for entry, share in zip(declared, shares, strict=True)],
            "total": money(subtotal + added, currency), "reason": str(item["restockType"]).lower().replace("_", " "),
        }  # fmt: skip

    @staticmethod
    def _tender(item: JSON) -> Json:
        shop = item["amountSet"]["shopMoney"]
        kind = _TENDERS.get(str(item["gateway"]).lower().replace(" ", "_"), "other")
        return {"type": kind, "amount": money(Decimal(str(shop["amount"])), shop["currencyCode"]),
                "reference": tail(item["id"])}  # fmt: skip

    # -- records ------------------------------------------------------------------------------------------------

    def product(self, product: JSON, currency: str) -> list[Document]:
        """One product per variant."""
        return [self._variant(product, variant, currency) for variant in product["variants"]["nodes"]]

    @staticmethod
    def _variant(product: JSON, variant: JSON, currency: str) -> Document:
        place, alone = tail(variant["id"]), product["hasOnlyDefaultVariant"]
        options = [{"name": item["name"], "value": item["value"]} for item in variant["selectedOptions"]]
        group = {"product_id": tail(product["id"]), "product_name": product["title"], "options": options}
        changed = max(product["updatedAt"], variant["updatedAt"], key=datetime.fromisoformat)
        gtin = evaluate("gtin(@)", variant["barcode"])
        name = " ".join([product["title"], *(() if alone else (item["value"] for item in options))])
        data = {
            "id": place, "sku": variant["sku"] or place, "name": name[:512], "active": product["status"] == "ACTIVE",
            "price": money(Decimal(str(variant["price"])), currency), "updated_at": changed,
            **({"gtin": gtin} if gtin else {}), **({} if alone else {"variant": group}),
            **({"brand": product["vendor"]} if product["vendor"] else {}),
            **({"category": product["productType"]} if product["productType"] else {}),
        }  # fmt: skip
        return Document("product.v1", f"variant:{place}:{changed}", data)

    @staticmethod
    def customer(customer: JSON) -> Document:
        """A customer; one without a name goes by its e-mail address or telephone."""
        place, consent = tail(customer["id"]), customer["emailMarketingConsent"]
        addresses = [found for item in customer["addresses"] if (found := _address(item))]
        data = {
            "id": place, "name": customer["displayName"] or customer["email"] or customer["phone"] or place,
            "active": True, "updated_at": customer["updatedAt"], **({"addresses": addresses} if addresses else {}),
            **({"email": customer["email"]} if customer["email"] else {}),
            **({"phone": customer["phone"]} if customer["phone"] else {}),
            **({"marketing": consent["marketingState"] == "SUBSCRIBED"} if consent else {}),
        }  # fmt: skip
        return Document("customer.v1", f"customer:{place}:{customer['updatedAt']}", data)

    def level(self, item: JSON) -> Document | Ignored:
        """What Shopify believes to have of an inventory item at one location."""
        level = item["inventoryLevel"]
        if level is None:
            return Ignored("the item is not stocked at this location any more")
        if not item["sku"]:
            return Ignored("an inventory item without an SKU")
        sums: dict[str, int] = {}
        for quantity in level["quantities"]:
            state = STATES[quantity["name"]]
            sums[state] = sums.get(state, 0) + int(quantity["quantity"])
        place = tail(level["id"])
        data = {
            "id": f"{place}:{tail(item['id'])}", "location": self._location(level["location"]["id"]), "sku": item["sku"],
            "as_of": level["updatedAt"], "levels": [{"state": state, "quantity": str(count)} for state, count in sums.items()],
        }  # fmt: skip
        return Document("stock_level.v1", f"level:{place}:{tail(item['id'])}:{level['updatedAt']}", data)

    # -- shared -------------------------------------------------------------------------------------------------

    def _location(self, gid: str | None) -> dict[str, str]:
        if gid is None:
            return {"code": str(self._settings["online_location"])}
        return {"code": str(self._settings["locations"].get(tail(gid), tail(gid)))}

    def business_date(self, occurred_at: str) -> str:
        """The trading day of an instant, by the shop's zone and the hour its day begins."""
        hours, minutes = str(self._settings["business_day_start"]).split(":")
        local = datetime.fromisoformat(occurred_at).astimezone(ZoneInfo(str(self._settings["timezone"])))
        return (local - timedelta(hours=int(hours), minutes=int(minutes))).date().isoformat()


def _amount(bag: JSON | None) -> Decimal:
    """A MoneyBag's amount in the shop's currency; nothing is zero."""
    return Decimal(str(bag["shopMoney"]["amount"])) if bag else Decimal(0)


def _shipping(order: JSON) -> Decimal:
    """What delivery costs, tax included."""
    whole = Decimal(0)
    for line in order["shippingLines"]["nodes"]:
        whole += _amount(line["discountedPriceSet"])
        if not order["taxesIncluded"]:
            whole += sum((_amount(tax["priceSet"]) for tax in line["taxLines"]), Decimal(0))
    return whole


def _sums(lines: Sequence[JSON], currency: str) -> Json:
    """Discount and tax of the lines together."""
    return {
        "discount": money(total(line["discount"] for line in lines), currency),
        "tax": money(total(tax["amount"] for line in lines for tax in line["taxes"]), currency),
    }  # fmt: skip


def _tax(tax: JSON, share: Mapping[str, str], order: JSON) -> Json:
    percent = tax.get("ratePercentage")
    rate = Decimal(str(percent)) if percent is not None else Decimal(str(tax.get("rate") or 0)) * 100
    included = {"included": True} if order["taxesIncluded"] else {}
    return {"name": tax["title"], "rate": format(rate.normalize(), "f"), "amount": dict(share), **included}


def _gives_back(refund: JSON) -> bool:
    """Whether goods or money came back: an edit leaves refunds of nothing behind."""
    return bool(refund["refundLineItems"]["nodes"]) or _amount(refund["totalRefundedSet"]) > 0


def _level(lines: list[Json], given: Decimal, currency: str, sku: str) -> None:
    """Make lines add up to what was given back: shipping and goodwill are a line of their own, what was kept a discount."""
    more = given - total(line["total"] for line in lines)
    if more > 0:
        value = money(more, currency)
        lines.append({
            "id": "adjustment", "sku": sku, "description": "Shipping and adjustments", "quantity": "1", "unit_price": value,
            "gross": value, "discount": money(Decimal(0), currency), "taxes": [], "total": value,
        })  # fmt: skip
    for line in lines:
        kept = min(-more, amount(line["gross"]) - amount(line["discount"])) if more < 0 else Decimal(0)
        line["discount"] = money(amount(line["discount"]) + kept, currency)
        line["total"] = money(amount(line["total"]) - kept, currency)
        more += kept


def _customer(customer: JSON | None) -> Json:
    if not customer:
        return {}
    named = {"id": tail(customer["id"])}
    named |= {"name": customer["displayName"]} if customer["displayName"] else {}
    return {"customer": named | ({"email": customer["email"]} if customer["email"] else {})}


def _address(address: JSON | None) -> Json | None:
    if not address or not address["countryCodeV2"]:
        return None
    lines = [line for line in (address["address1"], address["address2"]) if line]
    found: Iterable[tuple[str, Any]] = (
        ("lines", lines), ("city", address["city"]), ("postal_code", address["zip"]), ("region", address["provinceCode"]),
    )  # fmt: skip
    return {"country": address["countryCodeV2"], **{name: value for name, value in found if value}}
