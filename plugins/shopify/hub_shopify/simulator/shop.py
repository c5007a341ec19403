"""The simulator's shop: what it holds, and what happens in it beside the API. Each change is announced to its subscribers."""

import itertools
import json
import secrets
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources

from hub.sdk.testing import Simulator
from hub.sdk.webhook import SignatureScheme, sign
from hub_shopify.simulator.wire import Json, number

#: shopify.dev, "Verify webhook deliveries"; header as in Shopify's own libraries.
SIGNATURE = SignatureScheme("x-shopify-hmac-sha256")
VERSION = "2025-01"


@cache
def sample(name: str) -> Json:
    """One of the SDK's own example payloads (see samples/SOURCE.md)."""
    loaded: Json = json.loads((resources.files("hub_shopify") / f"samples/{name}.json").read_text("utf-8"))
    return loaded


class Shop(Simulator):
    """One shop with two locations. Prices without tax; taxes are added.

    Attributes:
        token, client_secret: credentials the hub must use; with ``refresh_token`` the token is one that expires.
        subscriptions: webhook subscriptions by id; what happens is sent to them.
        webhooks: (topic, body, URL) not yet taken by `take_webhooks`.
        groups: inventory adjustment groups, what each changed.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC), currency: str = "USD") -> None:
        super().__init__()
        self.clock, self.currency = clock, currency
        self.token, self.client_secret = f"shpat_{secrets.token_hex(16)}", secrets.token_hex(16)
        self.client_id, self.refresh_token, self.token_ends = secrets.token_hex(16), "", datetime.max.replace(tzinfo=UTC)
        self.locations = {"gid://shopify/Location/905684977": "Harbour St", "gid://shopify/Location/487838322": "Mill Lane"}
        self.orders: dict[str, Json] = {}
        self.products: dict[str, Json] = {}
        self.customers: dict[str, Json] = {}
        self.items: dict[str, Json] = {}
        self.subscriptions: dict[str, Json] = {}
        self.definitions: dict[str, list[Json]] = {}
        self.groups: dict[str, Json] = {}
        self.webhooks: list[tuple[str, Json, str]] = []
        self._ids = itertools.count(1_000_001)

    # -- what happens in the shop -------------------------------------------------------------------------------

    def add_product(
        self, title: str, skus: Sequence[str], price: str, opening: int = 0, barcode: str | None = None, *,
        gift_card: bool = False, tracked: bool = True,
    ) -> str:  # fmt: skip
        """A product with one variant per SKU, stocked at every location; returns its id."""
        alone = len(skus) == 1
        variants = [self._variant(sku, price, opening, "Default Title" if alone else f"Size {place}", barcode)
                    for place, sku in enumerate(skus)]  # fmt: skip
        for variant in variants:
            self.items[variant["item"]]["tracked"] = tracked and not gift_card
        return self._new_product({"title": title, "isGiftCard": gift_card, "vendor": "Acme", "productType": "Goods",
                                  "status": "ACTIVE", "handle": title.lower().replace(" ", "-")}, variants, alone)  # fmt: skip

    def add_customer(self, name: str, email: str | None, phone: str | None = None) -> str:
        """A customer; returns its id."""
        first, _, last = name.rpartition(" ")
        return self._new_customer({"firstName": first, "lastName": last, "email": email, "phone": phone})

    def delete_product(self, product_id: str) -> None:
        """Somebody deletes a product in the admin: its number is all that is told."""
        for variant in self.products.pop(product_id)["variants"]:
            del self.items[variant["item"]]
        self._announce("PRODUCTS_DELETE", {"id": number(product_id)})

    def delete_customer(self, customer_id: str) -> None:
        """Somebody deletes a customer in the admin."""
        del self.customers[customer_id]
        self._announce("CUSTOMERS_DELETE", {"id": number(customer_id)})

    def change_price(self, product_id: str, price: str) -> str:
        """Somebody changes all prices of a product in the admin."""
        product = self.products[product_id]
        for variant in product["variants"]:
            variant |= {"price": price, "updatedAt": self._now()}
        self._touch_product(product)
        return product_id

    def rename(self, customer_id: str, name: str) -> str:
        """Somebody changes a customer's name in the admin."""
        self._set_customer(self.customers[customer_id], {"firstName": "", "lastName": name})
        return customer_id

    def adjust(self, sku: str, delta: int, location: str | None = None) -> str:
        """Somebody adjusts stock in the admin; returns the level as `read` names it."""
        item = next(item for item in self.items.values() if item["sku"] == sku)
        place = location or next(iter(self.locations))
        self._add(item, place, delta)
        return f"{number(item['id'])}@{number(place)}"

    def stored(self, variant_id: str, field: str) -> str | None:
        """A metafield (`namespace.key`) of the product that a variant belongs to."""
        space, _, key = field.rpartition(".")
        found = (item for item in self.products.values() if any(number(v["id"]) == int(variant_id) for v in item["variants"]))
        product: Json | None = next(found, None)
        return product["metafields"].get((space, key)) if product else None

    def take_webhooks(self, url: str = "") -> list[tuple[str, bytes, dict[str, str]]]:
        """(webhook id, body, signed headers) of what happened since the last call and is sent to ``url`` (empty: to anyone)."""
        with self.lock:
            taken, self.webhooks = self.webhooks, []
        return [self.signed(topic, body) for topic, body, to in taken if not url or to == url]

    def signed(self, topic: str, event: Json) -> tuple[str, bytes, dict[str, str]]:
        """(webhook id, body, headers) as Shopify would send them."""
        body = json.dumps(event, separators=(",", ":")).encode()
        first, _, rest = topic.partition("_") if not topic.startswith("INVENTORY") else ("INVENTORY_LEVELS", "_", "UPDATE")
        identity = str(uuid.uuid4())
        headers = {
            SIGNATURE.header: sign(SIGNATURE, self.client_secret, body), "x-shopify-webhook-id": identity,
            "x-shopify-topic": f"{first}/{rest}".lower(), "x-shopify-api-version": VERSION,
        }  # fmt: skip
        return identity, body, headers

    # -- how it is kept ---------------------------------------------------------------------------------------------

    def _new_product(self, fields: Json, variants: list[Json], alone: bool) -> str:
        gid = self._gid("Product")
        self.products[gid] = {"id": gid, "updatedAt": self._now(), "variants": variants, "metafields": {},
                              "hasOnlyDefaultVariant": alone, "isGiftCard": False, **fields}  # fmt: skip
        self._announce("PRODUCTS_CREATE", {"id": number(gid), "admin_graphql_api_id": gid, "title": fields["title"]})
        return gid

    def _touch_product(self, product: Json) -> None:
        product["updatedAt"] = self._now()
        body = {"id": number(product["id"]), "admin_graphql_api_id": product["id"], "title": product["title"]}
        self._announce("PRODUCTS_UPDATE", body)

    @staticmethod
    def _set_metafields(product: Json, given: Sequence[Json]) -> None:
        for item in given:
            product["metafields"][item["namespace"], item["key"]] = item["value"]

    def _variant(self, sku: str, price: str, opening: int, option: str, barcode: str | None) -> Json:
        now, gid = self._now(), self._gid("InventoryItem")
        levels = {
            place: {
                "id": f"gid://shopify/InventoryLevel/{next(self._ids)}?inventory_item_id={number(gid)}", "updatedAt": now,
                "quantities": {"available": opening, "committed": 0, "reserved": 0, "damaged": 0, "incoming": 0,
                               "quality_control": 0, "safety_stock": 0},
            }
            for place in self.locations
        }  # fmt: skip
        self.items[gid] = {"id": gid, "sku": sku, "levels": levels, "tracked": True, "updatedAt": now}
        return {"id": self._gid("ProductVariant"), "sku": sku, "barcode": barcode, "price": price, "updatedAt": now,
                "selectedOptions": [{"name": "Title", "value": option}], "item": gid}  # fmt: skip

    def _new_customer(self, fields: Json) -> str:
        gid = self._gid("Customer")
        self.customers[gid] = {"id": gid, "firstName": None, "lastName": None, "email": None, "phone": None,
                               "state": "DISABLED", "emailMarketingConsent": None,
                               "addresses": lambda first: []}  # fmt: skip
        self._set_customer(self.customers[gid], fields, "CUSTOMERS_CREATE")
        return gid

    def _set_customer(self, customer: Json, fields: Json, topic: str = "CUSTOMERS_UPDATE") -> None:
        customer |= {name: fields[name] for name in ("firstName", "lastName", "email", "phone") if name in fields}
        named = " ".join(filter(None, (customer["firstName"], customer["lastName"])))
        customer |= {"displayName": named or customer["email"] or customer["phone"] or "", "updatedAt": self._now()}
        self._announce(topic, {"id": number(customer["id"]), "admin_graphql_api_id": customer["id"]})

    def _add(self, item: Json, location: str, delta: int) -> None:
        level = item["levels"][location]
        level["quantities"]["available"] += delta
        level["updatedAt"] = self._now()
        body = {"inventory_item_id": number(item["id"]), "location_id": number(location),
                "available": level["quantities"]["available"], "updated_at": level["updatedAt"]}  # fmt: skip
        self._announce("INVENTORY_LEVELS_UPDATE", body)

    def _announce(self, topic: str, body: Json) -> None:
        urls = [item["callbackUrl"] for item in self.subscriptions.values() if item["topic"] == topic]
        self.webhooks += [(topic, body, url) for url in urls]

    def _gid(self, kind: str) -> str:
        return f"gid://shopify/{kind}/{next(self._ids)}"

    def _now(self) -> str:
        return self.clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
