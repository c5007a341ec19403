"""A stateful Shopify: orders, refunds, products, customers, stock, webhook subscriptions. Written from Shopify's Admin GraphQL
schema 2025-01 (whose types its answers keep, see the tests) and its SDK's fixtures for webhook bodies (samples/SOURCE.md).
"""

import copy
import re
import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from hub.sdk.steps import Response
from hub.sdk.testing import SimRequest, answer, route
from hub_shopify.simulator.graphql import GraphQLError, execute
from hub_shopify.simulator.orders import Orders
from hub_shopify.simulator.shop import VERSION
from hub_shopify.simulator.wire import Json, page, refusal


class ShopifySimulator(Orders):
    """The API of one shop."""

    # -- the API ------------------------------------------------------------------------------------------------

    def authenticate(self, request: SimRequest) -> Response | None:
        if request.path == "/admin/oauth/access_token":
            return None
        if request.headers.get("x-shopify-access-token") != self.token or self.clock() >= self.token_ends:
            refusal = "[API] Invalid API key or access token (unrecognized login or wrong password)"
            return answer(401, {"errors": refusal})
        return None

    def throttled(self, seconds: int) -> Response:
        """GraphQL throttles with HTTP 200."""
        cost = {"requestedQueryCost": 32, "actualQueryCost": None, "throttleStatus": {
            "maximumAvailable": 1000.0, "currentlyAvailable": 0, "restoreRate": 50.0,
        }}  # fmt: skip
        return answer(200, {"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}],
                            "extensions": {"cost": cost}})  # fmt: skip

    @route("POST", rf"/admin/api/{VERSION}/graphql\.json")
    def graphql(self, request: SimRequest) -> Response:
        """Run one operation."""
        try:
            body = request.json()
            data = execute(body["query"], body.get("variables") or {}, {"query": self._query(), "mutation": self._mutation()})
        except (GraphQLError, ValueError, LookupError, TypeError) as error:
            return answer(200, {"errors": [{"message": str(error), "extensions": {"code": "undefinedField"}}]})
        return answer(200, {"data": copy.deepcopy(data)})

    @route("POST", r"/admin/oauth/access_token")
    def renew(self, request: SimRequest) -> Response:
        """An expiring offline token: 60 minutes; the refresh token changes with each use, and only one token is good."""
        form = dict(parse_qsl(request.body.decode()))
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            return answer(401, {"error": "invalid_client", "error_description": "Client authentication failed"})
        if form.get("grant_type") != "refresh_token" or not self.refresh_token:
            return answer(400, {"error": "unsupported_grant_type"})
        if form.get("refresh_token") != self.refresh_token:
            return answer(400, {"error": "invalid_grant", "error_description": "The refresh token is not valid"})
        self.token, self.refresh_token = f"shpat_{secrets.token_hex(16)}", f"shprt_{secrets.token_hex(16)}"
        self.token_ends = self.clock() + timedelta(seconds=3600)
        return answer(200, {"access_token": self.token, "expires_in": 3600, "refresh_token": self.refresh_token,
                            "refresh_token_expires_in": 7776000, "scope": "read_orders"})  # fmt: skip

    def _query(self) -> Json:
        return {
            "shop": {"currencyCode": self.currency},
            "order": lambda id: self.orders.get(id) and self._shown_order(self.orders[id]),
            "refund": lambda id: self._shown_refund(self._found("refunds", id)),
            "fulfillment": lambda id: self._shown_fulfillment(self._found("fulfillments", id)),
            "orders": lambda **asked: page(self.orders.values(), **asked),
            "product": lambda id: self.products.get(id) and self._shown_product(self.products[id]),
            "products": lambda **asked: page(self.products.values(), **asked),
            "productByIdentifier": lambda identifier: next(
                (self._shown_product(item) for item in self.products.values() if item["handle"] == identifier["handle"]), None
            ),
            "productVariants": lambda first, query: page(self._found_variants(query), first),
            "productVariant": lambda id: next((v for v in self._found_variants() if v["id"] == id), None),
            "customer": lambda id: self.customers.get(id),
            "customers": lambda **asked: page(self.customers.values(), **asked),
            "customerByIdentifier": self._by_identifier,
            "inventoryItem": lambda id: self.items.get(id) and self._shown_item(self.items[id]),
            "location": lambda id: self._shown_location(id) if id in self.locations else None,
            "locations": lambda **asked: page([self._shown_location(place) for place in self.locations], **asked),
            "metafieldDefinitions": lambda ownerType, **asked: page(self.definitions.get(ownerType, []), **asked),  # noqa: N803
            "webhookSubscriptions": lambda **asked: page(self.subscriptions.values(), **asked),
        }  # fmt: skip

    def _mutation(self) -> Json:
        return {
            "inventoryAdjustQuantities": self._adjust_quantities, "inventorySetQuantities": self._set_quantities,
            "productUpdate": self._update_product, "productSet": self._set_product,
            "productVariantsBulkUpdate": self._update_variants, "customerCreate": self._create_customer,
            "customerUpdate": self._update_customer, "webhookSubscriptionCreate": self._subscribe,
            "webhookSubscriptionDelete": self._unsubscribe,
        }  # fmt: skip

    # -- inventory ----------------------------------------------------------------------------------------------

    def _adjust_quantities(self, input: Json) -> Json:
        refused = []
        for place, change in enumerate(input["changes"]):
            item = self.items.get(change["inventoryItemId"])
            if item is None or change["locationId"] not in item["levels"]:
                code = "INVALID_INVENTORY_ITEM" if item is None else "ITEM_NOT_STOCKED_AT_LOCATION"
                refused.append(refusal(code, "The specified inventory item could not be found.", "input", "changes", place))
            if not isinstance(change["delta"], int):
                raise TypeError(f"Could not coerce value {change['delta']} to Int")
        if refused:
            return {"inventoryAdjustmentGroup": None, "userErrors": refused}
        for change in input["changes"]:
            self._add(self.items[change["inventoryItemId"]], change["locationId"], change["delta"])
        return {"inventoryAdjustmentGroup": self._group(input, input["changes"]), "userErrors": []}

    def _set_quantities(self, input: Json) -> Json:
        for place, wanted in enumerate(input["quantities"]):
            item = self.items.get(wanted["inventoryItemId"])
            if item is None or wanted["locationId"] not in item["levels"]:
                said = refusal("ITEM_NOT_STOCKED_AT_LOCATION", "The item is not stocked there.", "input", "quantities", place)
                return {"inventoryAdjustmentGroup": None, "userErrors": [said]}
            level = item["levels"][wanted["locationId"]]
            if not input.get("ignoreCompareQuantity") and wanted.get("compareQuantity") != level["quantities"]["available"]:
                said = refusal("COMPARE_QUANTITY_STALE", "The compareQuantity value does not match.", "input", "quantities")
                return {"inventoryAdjustmentGroup": None, "userErrors": [said]}
        for wanted in input["quantities"]:
            item = self.items[wanted["inventoryItemId"]]
            now = item["levels"][wanted["locationId"]]["quantities"]["available"]
            self._add(item, wanted["locationId"], wanted["quantity"] - now)
        return {"inventoryAdjustmentGroup": self._group(input, input["quantities"]), "userErrors": []}

    def _group(self, said: Json, changes: Any) -> Json:
        gid = self._gid("InventoryAdjustmentGroup")
        self.groups[gid] = {"id": gid, "reason": said["reason"], "referenceDocumentUri": said.get("referenceDocumentUri"),
                            "made": list(changes)}  # fmt: skip
        return self.groups[gid]

    # -- products and customers ---------------------------------------------------------------------------------

    def _update_product(self, product: Json) -> Json:
        known = self.products.get(product["id"])
        if known is None:
            return {"product": None, "userErrors": [refusal("", "Product does not exist", "id")]}
        known |= {name: value for name, value in product.items() if name in ("title", "vendor", "productType", "status")}
        self._set_metafields(known, product.get("metafields") or ())
        self._touch_product(known)
        return {"product": {"id": known["id"]}, "userErrors": []}

    def _set_product(self, input: Json, synchronous: bool) -> Json:
        if any(item["handle"] == input["handle"] for item in self.products.values()):
            refused = refusal("HANDLE_NOT_UNIQUE", "Handle has already been taken", "input", "handle")
            return {"product": None, "userErrors": [refused]}
        (given,) = input["variants"]
        variant = self._variant(given["sku"], given.get("price", "0.00"), 0, "Default Title", given.get("barcode"))
        fields = {"vendor": "", "productType": "", "status": "ACTIVE", **input}
        gid = self._new_product({name: fields[name] for name in ("title", "vendor", "productType", "status", "handle")},
                                [variant], True)  # fmt: skip
        self._set_metafields(self.products[gid], input.get("metafields") or ())
        shown = self._shown_product(self.products[gid])
        return {"product": shown, "userErrors": []}

    def _update_variants(self, productId: str, variants: list[Json]) -> Json:  # noqa: N803 - Shopify's name
        product = self.products[productId]
        by_id = {variant["id"]: variant for variant in product["variants"]}
        if unknown := [item["id"] for item in variants if item["id"] not in by_id]:
            refused = refusal("PRODUCT_VARIANT_DOES_NOT_EXIST", f"{unknown[0]} does not exist", "variants", 0, "id")
            return {"productVariants": None, "userErrors": [refused]}
        for item in variants:
            given: Json = {name: item[name] for name in ("price", "barcode") if name in item}
            if "inventoryItem" in item:
                given["sku"] = self.items[by_id[item["id"]]["item"]]["sku"] = item["inventoryItem"]["sku"]
            by_id[item["id"]] |= {**given, "updatedAt": self._now()}
        self._touch_product(product)
        return {"productVariants": [{"id": item["id"]} for item in variants], "userErrors": []}

    def _found_variants(self, query: str | None = None) -> list[Json]:
        """The search of the documented syntax `sku:"A" OR sku:"B"`; all without one."""
        found = re.findall(r'sku:"((?:\\.|[^"\\])*)"', query or "")
        wanted = {text.replace('\\"', '"').replace("\\\\", "\\") for text in found}
        variants = ((product, variant) for product in self.products.values() for variant in product["variants"])
        return [
            {**variant, "product": self._shown_product(product), "inventoryItem": self._shown_item(self.items[variant["item"]])}
            for product, variant in variants if query is None or variant["sku"] in wanted
        ]  # fmt: skip

    def _create_customer(self, input: Json) -> Json:
        for name in ("email", "phone"):
            if input.get(name) and any(item[name] == input[name] for item in self.customers.values()):
                return {"customer": None, "userErrors": [refusal("", f"{name.title()} has already been taken", name)]}
        return {"customer": self.customers[self._new_customer(input)], "userErrors": []}

    def _update_customer(self, input: Json) -> Json:
        known = self.customers.get(input["id"])
        if known is None:
            return {"customer": None, "userErrors": [refusal("", "Customer does not exist", "id")]}
        self._set_customer(known, input)
        return {"customer": known, "userErrors": []}

    def _by_identifier(self, identifier: Json) -> Json | None:
        (named, value), = identifier.items()  # fmt: skip
        field = {"emailAddress": "email", "phoneNumber": "phone"}[named]
        return next((item for item in self.customers.values() if item[field] == value), None)

    # -- webhook subscriptions ----------------------------------------------------------------------------------

    def _subscribe(self, topic: str, webhookSubscription: Json) -> Json:  # noqa: N803 - Shopify's name
        url = webhookSubscription["callbackUrl"]
        if any(item["topic"] == topic and item["callbackUrl"] == url for item in self.subscriptions.values()):
            refused = refusal("", "Address for this topic has already been taken", "webhookSubscription", "callbackUrl")
            return {"webhookSubscription": None, "userErrors": [refused]}
        gid = self._gid("WebhookSubscription")
        self.subscriptions[gid] = {"id": gid, "topic": topic, "callbackUrl": url}
        return {"webhookSubscription": self.subscriptions[gid], "userErrors": []}

    def _unsubscribe(self, id: str) -> Json:
        if self.subscriptions.pop(id, None) is None:
            return {"deletedWebhookSubscriptionId": None,
                    "userErrors": [refusal("", "Webhook subscription does not exist", "id")]}  # fmt: skip
        return {"deletedWebhookSubscriptionId": id, "userErrors": []}

    # -- what is shown ------------------------------------------------------------------------------------------

    def _shown_product(self, product: Json) -> Json:
        fields = [{"namespace": space, "key": key, "value": value} for (space, key), value in product["metafields"].items()]
        variants = [{**variant, "inventoryItem": self._shown_item(self.items[variant["item"]])}
                    for variant in product["variants"]]  # fmt: skip
        return {**product, "variants": lambda **asked: page(variants, **asked),
                "metafields": lambda **asked: page(fields, **asked)}  # fmt: skip

    def _shown_item(self, item: Json) -> Json:
        def level(locationId: str) -> Json | None:  # noqa: N803 - Shopify's name
            return self._shown_level(item, locationId) if locationId in item["levels"] else None

        return {**{name: item[name] for name in ("id", "sku", "tracked", "updatedAt")}, "inventoryLevel": level}

    def _shown_level(self, item: Json, location: str) -> Json:
        level = item["levels"][location]

        def quantities(names: list[str]) -> list[Json]:
            return [{"name": name, "quantity": level["quantities"][name], "updatedAt": level["updatedAt"]} for name in names]

        return {"id": level["id"], "updatedAt": level["updatedAt"], "item": {"id": item["id"]}, "location": {"id": location},
                "quantities": quantities}  # fmt: skip

    def _shown_location(self, place: str) -> Json:
        def levels(**asked: Any) -> Json:
            return page([self._shown_level(item, place) for item in self.items.values()], **asked)

        return {"id": place, "name": self.locations[place], "inventoryLevels": levels}
