"""Maps records: products, customers, stock levels."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from canonical.money import money
from hub.sdk import Document, Ignored
from hub.sdk.mapping import evaluate
from hub_shopify.places import Places
from hub_shopify.shapes import JSON, Json, tail

#: Shopify's names of quantities → canonical stock states.
STATES = {
    "available": "available", "committed": "reserved", "reserved": "reserved", "safety_stock": "reserved",
    "damaged": "damaged", "incoming": "in_transit", "quality_control": "unsellable",
}  # fmt: skip


@dataclass(frozen=True)
class Records:
    """Records by a connection's settings."""

    places: Places

    def product(self, product: JSON, currency: str) -> list[Document]:
        """One product per variant."""
        return [self._variant(product, variant, currency) for variant in product["variants"]["nodes"]]

    @staticmethod
    def _variant(product: JSON, variant: JSON, currency: str) -> Document:
        place, alone, stock = tail(variant["id"]), product["hasOnlyDefaultVariant"], variant["inventoryItem"]
        options = [{"name": item["name"], "value": item["value"]} for item in variant["selectedOptions"]]
        group = {"product_id": tail(product["id"]), "product_name": product["title"], "options": options}
        changed = max(product["updatedAt"], variant["updatedAt"], stock["updatedAt"], key=datetime.fromisoformat)
        gtin = evaluate("gtin(@)", variant["barcode"])
        name = " ".join([product["title"], *(() if alone else (item["value"] for item in options))])
        data = {
            "id": place, "sku": variant["sku"] or place, "name": name[:512], "active": product["status"] == "ACTIVE",
            "price": money(Decimal(str(variant["price"])), currency), "updated_at": changed,
            **({"kind": "gift_card"} if product["isGiftCard"] else {}), **({} if stock["tracked"] else {"stocked": False}),
            **({"gtin": gtin} if gtin else {}), **({} if alone else {"variant": group}),
            **({"brand": product["vendor"]} if product["vendor"] else {}),
            **({"category": product["productType"]} if product["productType"] else {}),
        }  # fmt: skip
        return Document("product.v1", f"variant:{place}:{changed}", data)

    @staticmethod
    def customer(customer: JSON) -> Document:
        """A customer; one without a name goes by its e-mail address or telephone."""
        place, consent = tail(customer["id"]), customer["emailMarketingConsent"]
        addresses = [found for item in customer["addresses"] if (found := address_of(item))]
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
            "id": f"{place}:{tail(item['id'])}", "location": self.places.location(level["location"]["id"]), "sku": item["sku"],
            "as_of": level["updatedAt"], "levels": [{"state": state, "quantity": str(count)} for state, count in sums.items()],
        }  # fmt: skip
        return Document("stock_level.v1", f"level:{place}:{tail(item['id'])}:{level['updatedAt']}", data)


def address_of(address: JSON | None) -> Json | None:
    """A postal address; none without a country."""
    if not address or not address["countryCodeV2"]:
        return None
    lines = [line for line in (address["address1"], address["address2"]) if line]
    found: Iterable[tuple[str, Any]] = (
        ("lines", lines), ("city", address["city"]), ("postal_code", address["zip"]), ("region", address["provinceCode"]),
    )  # fmt: skip
    return {"country": address["countryCodeV2"], **{name: value for name, value in found if value}}
