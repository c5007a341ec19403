"""A shop of its own for each test."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hub_shopify.connector import Shopify
from hub_shopify.simulator import ShopifySimulator

from canonical.histories import check_return_against_sale
from canonical.registry import validate
from hub.sdk import Document, Gone, Ignored, Refused
from hub.sdk.kit import System
from hub.sdk.kit.subject import Trial
from hub.sdk.steps import Change

SETTINGS = {"locations": {"905684977": "HARBOUR-ST", "487838322": "MILL-LANE"}, "timezone": "America/New_York"}
Told = Document | Gone | Ignored | Refused


class Bench:
    """A connector beside a shop; prices without tax, 8 % on top."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 15, tzinfo=UTC)
        self.simulator = ShopifySimulator(clock=lambda: self.now)
        headers = {"x-shopify-access-token": self.simulator.token}
        self.trial = Trial(Shopify(SETTINGS), System(self.simulator.handle, headers, SETTINGS, lambda: 0))
        for sku, price in (("MUG", "100.00"), ("HAT", "60.00"), ("PIE", "9.24")):
            self.simulator.add_product(sku.title(), [sku], price, 10)
        self.simulator.add_product("Gift card", ["GIFT-50"], "50.00", 0, gift_card=True)
        self.simulator.add_product("Engraving", ["ENGRAVING"], "20.00", 0, tracked=False)

    def later(self) -> None:
        """An hour passes."""
        self.now += timedelta(hours=1)

    def read(self, order: dict[str, Any]) -> dict[str, Any]:
        """source id → what an order says now; every document is valid on its own, every return against its sale."""
        told = self.trial.perform(self.trial.connector.translate(Change("order", order["id"])))
        found: dict[str, Any] = {}
        for number, item in enumerate(told):
            if isinstance(item, Document):
                validate(item.type, item.data)
            key = item.source_id if isinstance(item, Document | Refused) else f"ignored {number}"
            assert key not in found, key
            found[key] = item
        self._check_history(found)
        return found

    def documents(self, order: dict[str, Any]) -> dict[str, Any]:
        """type → the one document of that type."""
        documents = [item for item in self.read(order).values() if isinstance(item, Document)]
        assert len({item.type for item in documents}) == len(documents)
        return {item.type: item.data for item in documents}

    def refused(self, order: dict[str, Any]) -> dict[str, str]:
        """source id → code of what is refused."""
        return {key: item.code for key, item in self.read(order).items() if isinstance(item, Refused)}

    @staticmethod
    def _check_history(found: dict[str, Any]) -> None:
        documents = [item for item in found.values() if isinstance(item, Document)]
        sale = next((item.data for item in documents if item.type == "sale.completed.v1"), None)
        earlier: list[Any] = []
        for item in documents:
            is_back = item.type in ("return.completed.v1", "exchange.completed.v1")
            if sale and is_back and item.data["original"]["id"] == sale["id"]:
                assert list(check_return_against_sale(item.data, sale, earlier)) == []
                earlier.append(item.data)


@pytest.fixture
def bench() -> Bench:
    return Bench()
