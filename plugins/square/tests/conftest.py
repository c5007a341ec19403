"""A simulated Square with its connector: what each event or record becomes."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hub_square.connector import Square
from hub_square.simulator import SquareSimulator

import canonical
from hub.sdk import Change, Document, Ignored, Refused, Request, Webhook
from hub.sdk.testing import drive

SETTINGS = {"timezone": "America/New_York", "locations": {"S8GWD5R9QB376": "HARBOUR-ST"}}
Item = Document | Ignored | Refused


class Shop:
    """A till and the connector that reads it; documents are checked by the canonical rules."""

    def __init__(self, **settings: Any) -> None:
        self.square = Square({**SETTINGS, **settings})
        self.till = SquareSimulator()
        self.requests: list[Request] = []

    def told(self) -> list[Item]:
        """What the webhooks since the last call become."""
        found: list[Item] = []
        for _, body, headers in self.till.take_webhooks("https://hub"):
            for change in self.square.receive(Webhook(body, headers)):
                found += self.of(change) if isinstance(change, Change) else [change]  # type: ignore[list-item]
        return found

    def of(self, change: Change) -> list[Item]:
        """What a change becomes; every document is valid."""
        headers = {"Authorization": f"Bearer {self.till.token}"}
        items = drive(self.square, self.square.translate(change), self.till.handle, headers, self.requests)
        for item in items:
            if isinstance(item, Document):
                assert canonical.violations(item.type, item.data) == [], item.type
        return list(items)  # type: ignore[arg-type]

    def order(self, order: Mapping[str, Any]) -> list[Item]:
        """What an order becomes when it is read."""
        return self.of(Change("order", str(order["id"]), order))

    def only(self, order: Mapping[str, Any]) -> Document:
        """The one document of an order."""
        (item,) = self.order(order)
        assert isinstance(item, Document), item
        return item

    def change(self, record: Mapping[str, Any]) -> Item:
        """What one inventory change becomes."""
        (item,) = self.of(Change("inventory_change", "x", record))
        return item

    @staticmethod
    def amount(value: Mapping[str, str] | None) -> str:
        """The amount of a money object."""
        return value["amount"] if value else ""

    @staticmethod
    def brief(lines: Any) -> list[tuple[str, str, str]]:
        """(sku, kind, total) of lines."""
        return [(line["sku"], line.get("kind", "goods"), line["total"]["amount"]) for line in lines]


@pytest.fixture
def make_shop() -> Callable[..., Shop]:
    """A shop with settings."""
    return Shop


@pytest.fixture
def shop() -> Shop:
    """A shop in New York."""
    return Shop()
