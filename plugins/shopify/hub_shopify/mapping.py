"""Shopify's records (Admin GraphQL) → canonical documents. Pure. Amounts are those of the shop's own currency (shopMoney)."""

from hub.sdk import Document, Ignored
from hub_shopify.ledger import Ledger
from hub_shopify.orders import Orders
from hub_shopify.places import Places
from hub_shopify.records import Records
from hub_shopify.returns import Returns
from hub_shopify.sales import Sales, Told
from hub_shopify.shapes import JSON, Articles


class Mapper:
    """Canonical documents by a connection's settings (`timezone`, `business_day_start`, `locations`, …)."""

    def __init__(self, settings: JSON) -> None:
        self._settings = settings
        articles, self.places = Articles(settings), Places(settings)
        self._orders, self._sales = Orders(articles, self.places), Sales(articles, self.places)
        self._returns = Returns(articles, self.places, self._sales)
        records = Records(self.places)
        self.product, self.customer, self.level = records.product, records.customer, records.level

    def order(self, order: JSON) -> list[Told]:
        """Documents of an order: how it stands and what was fulfilled (unless it was rung up at a till), sale, refunds.

        Each document adds up on its own or is refused on its own.
        """
        if order["test"] and not self._settings["test_orders"]:
            return [Ignored("a test order")]
        ledger = Ledger.of(order)
        told: list[Told] = [] if ledger.at_till else [self._orders.standing(ledger)]
        if order["cancelledAt"]:
            told.append(self._orders.cancelled(ledger))
        sale, has_sale = self._sales.told(ledger)
        told += sale
        if not ledger.at_till:  # what is sold at a till leaves with its sale
            told += self._orders.fulfilled(ledger)
        told += self._returns.told(ledger, has_sale)
        is_known = any(isinstance(item, Document) and item.type == "sale.completed.v1" for item in sale)
        return [*told, *self._sales.rest(ledger, is_known)]
