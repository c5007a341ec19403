"""Canonical → Shopify. A record is looked up and what differs is written; stock moves by differences, all of a document's at
once, never to what somebody believes to be there.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from canonical.movements import movements
from hub.sdk import (
    AmbiguousWriteError,
    Connector,
    ConnectorError,
    RejectedByTargetError,
    Request,
    Skipped,
    Steps,
    TargetUnavailableError,
    Written,
    linked_id,
)
from hub_shopify import queries
from hub_shopify.shapes import JSON, Json, tail

#: What reading a body raises that is not as documented.
MALFORMED = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError)
MOST_PAGES, _MOST_STALE = 20, 5


@dataclass(frozen=True)
class _Stocked:
    """A variant's stock at one location."""

    item: str
    level: str
    available: int
    changed_at: str


class Asking(Connector):
    """Asks Shopify in GraphQL."""

    def all(self, query: str, variables: JSON, name: str) -> Steps[list[Json]]:
        """The nodes of all pages of a connection."""
        nodes: list[Json] = []
        after = None
        for _ in range(MOST_PAGES):
            page = (yield from self.ask(query, {**variables, "after": after}))[name]
            nodes += page["nodes"]
            if not page["pageInfo"]["hasNextPage"]:
                return nodes
            after = page["pageInfo"]["endCursor"]
        raise ConnectorError(f"{name} has no end after {MOST_PAGES} pages", code="unreadable_answer")

    def ask(self, query: str, variables: JSON, effect: bool = False) -> Steps[Json]:
        name = query.partition("{")[0].partition("(")[0].split()[-1]
        response = yield Request(
            "POST", "/admin/api/2025-01/graphql.json", json={"query": query, "variables": variables}, effect=effect, label=name
        )
        data = response.json()["data"]
        if not isinstance(data, dict):
            raise TypeError("data is no object")
        return data

    def effect(self, query: str, variables: JSON, name: str, expected: Sequence[str] = ()) -> Steps[Json]:
        """A mutation's payload; what Shopify refuses is raised, unless its code is ``expected``."""
        data = yield from self.ask(query, variables, effect=True)
        payload = data.get(name)
        if not isinstance(payload, dict) or not isinstance(payload.get("userErrors"), list):
            raise AmbiguousWriteError(f"{name} answered nothing that can be read", code="unreadable_answer")
        for error in payload["userErrors"]:
            code = str(error.get("code") or "")
            if code not in expected:
                where = "/".join(map(str, error.get("field") or ()))
                raise RejectedByTargetError(
                    f"Shopify refuses it: {error['message']}", code=(code or "rejected_by_target").lower(),
                    field=f"/{where}" if where else "", remedy="Correct the document or the record in Shopify, then replay.",
                )  # fmt: skip
        return payload


class Writes(Asking):
    """Products, customers and stock of one shop."""

    def write(self, type_name: str, document: JSON, key: str) -> Steps[Written | Skipped]:
        try:
            return (yield from super().write(type_name, document, key))
        except MALFORMED as error:
            raise ConnectorError(f"the answer is not as documented: {error!r}", code="unreadable_answer") from error

    def write_product(self, document: JSON, key: str) -> Steps[Written]:
        variant, currency = yield from self._variant(document)
        if variant is None:
            return (yield from self._make_product(document, currency))
        product, ours = self._product_changes(document, variant, currency)
        if product:
            whole = {"id": variant["product"]["id"], **product}
            yield from self.effect(queries.SET_PRODUCT, {"product": whole}, "productUpdate")
        if ours:
            changed: Json = {"product": variant["product"]["id"], "variants": [{"id": variant["id"], **ours}]}
            yield from self.effect(queries.SET_VARIANT, changed, "productVariantsBulkUpdate")
        return Written(tail(variant["id"]))

    def _variant(self, document: JSON) -> Steps[tuple[Json | None, str]]:
        """(the variant that is known to be it, or else has its SKU; the shop's currency)."""
        sku = document["sku"]
        if linked := linked_id(document):
            data = yield from self.ask(queries.KNOWN_VARIANT, {"id": f"gid://shopify/ProductVariant/{linked}"})
            if data["productVariant"]:
                return data["productVariant"], str(data["shop"]["currencyCode"])
        data = yield from self.ask(queries.FIND_VARIANT, {"query": _by_sku([sku])})
        found = [node for node in data["productVariants"]["nodes"] if node["sku"] == sku]
        if len(found) > 1:
            raise _ambiguous_sku(sku, "/sku")
        if not found:  # the search may not know yet what we have just made; its handle does
            data = {**(yield from self.ask(queries.FIND_HANDLE, {"handle": _handle(sku)})), "shop": data["shop"]}
            made = data["productByIdentifier"]
            found = [{**node, "product": made} for node in (made["variants"]["nodes"] if made else ()) if node["sku"] == sku]
        return (found[0] if found else None), str(data["shop"]["currencyCode"])

    def _product_changes(self, document: JSON, variant: JSON, currency: str) -> tuple[Json, Json]:
        """What differs: (of the product, of the variant). What a product shares among variants is set by none of them."""
        product, wanted, ours = variant["product"], dict[str, Any](), dict[str, Any]()
        if product["hasOnlyDefaultVariant"]:
            said = {"title": document.get("name"), "vendor": document.get("brand"), "productType": document.get("category")}
            if "active" in document:
                said["status"] = "ACTIVE" if document["active"] else "ARCHIVED"
            wanted = {name: value for name, value in said.items() if value is not None and value != product[name]}
        if (price := document.get("price")) is not None:
            if price["currency"] != currency:
                raise RejectedByTargetError(
                    f"the shop's prices are in {currency}, not {price['currency']}", code="currency_refused",
                    field="/price/currency", remedy=f"Send prices in {currency} to this connection.",
                )  # fmt: skip
            if Decimal(str(variant["price"])) != Decimal(price["amount"]):
                ours["price"] = price["amount"]
        if variant["sku"] != document["sku"]:  # it is known to be this one: its number has changed
            ours["inventoryItem"] = {"sku": document["sku"]}
        if document.get("gtin") and document["gtin"] != variant["barcode"]:
            ours["barcode"] = document["gtin"]
        known = {(item["namespace"], item["key"]): item["value"] for item in product["metafields"]["nodes"]}
        fields = _metafields(document)
        if any(known.get((item["namespace"], item["key"])) != item["value"] for item in fields):
            wanted["metafields"] = fields
        return wanted, ours

    def _make_product(self, document: JSON, currency: str) -> Steps[Written]:
        if document.get("variant") or "name" not in document:
            raise RejectedByTargetError(
                f"Shopify has no variant with SKU {document['sku']!r}", code="unknown_sku", field="/sku", value=document["sku"],
                remedy=f"Create the product with a variant {document['sku']} in Shopify, then replay.",
            )  # fmt: skip
        variant: Json = {"optionValues": [{"optionName": "Title", "name": "Default Title"}], "sku": document["sku"]}
        blank = {"id": "", "sku": document["sku"], "price": "-1", "barcode": None, "product": {
            "hasOnlyDefaultVariant": True, "title": None, "vendor": None, "productType": None, "status": None,
            "metafields": {"nodes": []},
        }}  # fmt: skip
        product, ours = self._product_changes(document, blank, currency)
        product |= {
            "handle": _handle(document["sku"]), "productOptions": [{"name": "Title", "values": [{"name": "Default Title"}]}],
            "variants": [{**variant, **ours}],
        }  # fmt: skip
        made = yield from self.effect(queries.MAKE_PRODUCT, {"input": product}, "productSet")
        return Written(tail(made["product"]["variants"]["nodes"][0]["id"]))

    def write_customer(self, document: JSON, key: str) -> Steps[Written]:
        found = yield from self._customer(document)
        if found is None:
            changes = self._customer_changes(document, {"displayName": None, "email": None, "phone": None})
            made = yield from self.effect(queries.MAKE_CUSTOMER, {"input": changes}, "customerCreate")
            return Written(tail(made["customer"]["id"]))
        if changes := self._customer_changes(document, found):
            yield from self.effect(queries.SET_CUSTOMER, {"input": {"id": found["id"], **changes}}, "customerUpdate")
        return Written(tail(found["id"]))

    def _customer(self, document: JSON) -> Steps[Json | None]:
        """Who is known to be it, or else has this e-mail address, or else this telephone."""
        if linked := linked_id(document):
            asked: Json = {"id": f"gid://shopify/Customer/{linked}"}
            known: Json | None = (yield from self.ask(queries.KNOWN_CUSTOMER, asked))["customer"]
            if known:
                return known
        named = {"emailAddress": document.get("email"), "phoneNumber": document.get("phone")}
        if not any(named.values()):
            raise RejectedByTargetError(
                "Shopify knows customers by e-mail or telephone, and this one has neither", code="no_identity", field="/email",
                remedy="Add an e-mail address or a telephone at the source, then replay.",
            )  # fmt: skip
        for name, value in named.items():
            if value:
                asked = {"identifier": {name: value}}
                found: Json | None = (yield from self.ask(queries.FIND_CUSTOMER, asked))["customerByIdentifier"]
                if found:
                    return found
        return None

    @staticmethod
    def _customer_changes(document: JSON, found: JSON) -> Json:
        changes = {name: document[name] for name in ("email", "phone") if document.get(name) and document[name] != found[name]}
        if document.get("name") and document["name"] != found["displayName"]:
            first, _, last = document["name"].rpartition(" ")
            changes |= {"firstName": first, "lastName": last}
        return changes

    # -- stock --------------------------------------------------------------------------------------------------

    def write_sale_completed(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move("sale.completed.v1", document, "other", key))

    def write_return_completed(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move("return.completed.v1", document, "restock", key))

    def write_exchange_completed(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move("exchange.completed.v1", document, "other", key))

    def write_fulfillment_completed(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move("fulfillment.completed.v1", document, "other", key))

    def write_stock_adjusted(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        return (yield from self._move("stock.adjusted.v1", document, "correction", key))

    def write_stock_counted(self, document: JSON, key: str) -> Steps[Written | Skipped]:
        """Sets what is available, if nothing has moved since it was counted: Shopify does not tell what has."""
        if document["state"] != "available":
            return Skipped(f"only available stock is counted in Shopify, not {document['state']}")
        counted = _whole_number(Decimal(document["quantity"]), "/quantity")
        location = self._location(document["location"]["code"])
        for _ in range(_MOST_STALE):
            stock = (yield from self._stock(document, [document["sku"]], location))[document["sku"]]
            if stock.available == counted:
                return Written(stock.level, {"unchanged": True})
            if stock.changed_at and datetime.fromisoformat(stock.changed_at) > datetime.fromisoformat(document["occurred_at"]):
                raise RejectedByTargetError(
                    f"{document['sku']} moved at {stock.changed_at}, after it was counted: the count would undo it",
                    code="moved_since_count", field="/occurred_at", remedy="Count again, and discard this count.",
                )  # fmt: skip
            change = {
                "name": "available", "reason": "cycle_count_available", "referenceDocumentUri": _reference(key),
                "quantities": [{"inventoryItemId": stock.item, "locationId": location, "quantity": counted,
                                "compareQuantity": stock.available}],
            }  # fmt: skip
            asked = yield from self.effect(
                queries.SET_QUANTITY, {"input": change}, "inventorySetQuantities", ("COMPARE_QUANTITY_STALE",)
            )
            if not asked["userErrors"]:
                return Written(stock.level, {"group": asked["inventoryAdjustmentGroup"]["id"]})
        raise TargetUnavailableError(f"{document['sku']} moves faster than it can be set")

    def _move(self, type_name: str, document: JSON, reason: str, key: str) -> Steps[Written | Skipped]:
        """All of a document's movements in one request: they are applied together or not at all."""
        moving = {where: quantity for where, quantity in _available(type_name, document).items() if quantity}
        if not moving:
            return Skipped("nothing of it changes what is available")
        changes = []
        for code in dict.fromkeys(code for code, _ in moving):
            location = self._location(code)
            here = {sku: quantity for (place, sku), quantity in moving.items() if place == code}
            stock = yield from self._stock(document, sorted(here), location)
            changes += [
                {"inventoryItemId": stock[sku].item, "locationId": location,
                 "delta": _whole_number(quantity, _pointer(document, sku, "quantity"))}
                for sku, quantity in here.items()
            ]  # fmt: skip
        change = {"name": "available", "reason": reason, "referenceDocumentUri": _reference(key), "changes": changes}
        done = yield from self.effect(queries.ADJUST, {"input": change}, "inventoryAdjustQuantities")
        return Written(str(done["inventoryAdjustmentGroup"]["id"]))

    def _stock(self, document: JSON, skus: Sequence[str], location: str) -> Steps[dict[str, _Stocked]]:
        data = yield from self.ask(queries.VARIANTS, {"query": _by_sku(skus), "location": location})
        found: dict[str, _Stocked] = {}
        for node in data["productVariants"]["nodes"]:
            sku, level = node["sku"], node["inventoryItem"]["inventoryLevel"]
            if sku not in skus:
                continue
            if sku in found:
                raise _ambiguous_sku(sku, _pointer(document, sku, "sku"))
            if level is None:
                raise RejectedByTargetError(
                    f"{sku} is not stocked at Shopify location {tail(location)}", code="not_stocked", value=sku,
                    field=_pointer(document, sku, "sku"), remedy="Stock the item at that location in Shopify, then replay.",
                )  # fmt: skip
            (available,) = level["quantities"]
            found[sku] = _Stocked(node["inventoryItem"]["id"], level["id"], available["quantity"], available["updatedAt"] or "")
        if missing := [sku for sku in skus if sku not in found]:
            raise RejectedByTargetError(
                f"Shopify has no variant with SKU {missing[0]!r}", code="unknown_sku", value=missing[0],
                field=_pointer(document, missing[0], "sku"),
                remedy=f"Create a variant with SKU {missing[0]} in Shopify (or correct the SKU), then replay.",
            )  # fmt: skip
        return found

    def _location(self, code: str) -> str:
        known = {name: place for place, name in self.settings["locations"].items()}
        place = known.get(code, code)
        if not str(place).isdigit():
            raise RejectedByTargetError(
                f"location {code!r} is no location of this shop", code="unknown_location", field="/location/code", value=code,
                remedy="Add it under settings.locations of the connection, then replay.",
            )  # fmt: skip
        return f"gid://shopify/Location/{place}"


def _by_sku(skus: Sequence[str]) -> str:
    """Shopify's search syntax; values are quoted, so that nothing in them is syntax."""
    return " OR ".join('sku:"{}"'.format(sku.replace("\\", "\\\\").replace('"', '\\"')) for sku in skus)


def _handle(sku: str) -> str:
    """The handle of a product that we make: it is found by it at once, and two SKUs never share one."""
    return f"crossdock-{hashlib.sha256(sku.encode()).hexdigest()[:20]}"


def _metafields(document: JSON) -> list[Json]:
    """What a map set beyond the language: `namespace.key` → value."""
    found = []
    for name, value in document.get("extensions", {}).get("target", {}).items():
        namespace, _, key = name.rpartition(".")
        found.append({"namespace": namespace or "custom", "key": key, "value": value if isinstance(value, str) else str(value)})
    return found


def _reference(key: str) -> str:
    return f"crossdock://delivery/{key}"


def _available(type_name: str, document: JSON) -> dict[tuple[str, str], Decimal]:
    """By (place, SKU): how a document changes what is available."""
    moved: dict[tuple[str, str], Decimal] = {}
    for item in movements(type_name, document):
        sign = (item.to_state == "available") - (item.from_state == "available")
        where = (item.place, item.sku)
        moved[where] = moved.get(where, Decimal(0)) + sign * item.quantity
    return moved


def _whole_number(quantity: Decimal, pointer: str) -> int:
    if quantity != quantity.to_integral_value():
        raise RejectedByTargetError(
            f"Shopify counts whole pieces, not {quantity}", code="fractional_quantity", field=pointer, value=str(quantity),
            remedy="Route goods that are weighed to another connection.",
        )  # fmt: skip
    return int(quantity)


def _ambiguous_sku(sku: str, pointer: str) -> RejectedByTargetError:
    return RejectedByTargetError(
        f"Shopify has several variants with SKU {sku!r}", code="ambiguous_sku", field=pointer, value=sku,
        remedy="Make the SKU unique in Shopify, then replay.",
    )  # fmt: skip


def _pointer(document: JSON, sku: str, name: str) -> str:
    for part in ("lines", "returned", "goods"):
        for index, line in enumerate(document.get(part, ())):
            if line["sku"] == sku:
                return f"/{part}/{index}/{name}"
    return f"/{name}"
