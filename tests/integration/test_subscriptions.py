"""Webhook subscriptions: the hub makes them, looks after them, mends them, and reads what was missed meanwhile.

A real shop's connector beside its simulator: what the simulator sends, and where to, follows from its own list of subscriptions.
"""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hub_shopify.connector import Shopify
from hub_shopify.simulator import ShopifySimulator
from support import Shop

from hub.bootstrap import utc_now
from hub.cli import main
from hub.errors import NotFoundError, ThrottledError
from hub.flow.ingest import receive_webhook
from hub.sdk.errors import RejectedByTargetError
from hub.sdk.steps import Steps, Subscription
from hub.sdk.testing import SimulatorServer
from hub.sync.subscriptions import Subscriber

FILE = """
integration: online
connections:
  web:
    connector: shopify
    base_url: {url}
    settings: {{locations: {{"905684977": HARBOUR-ST}}, online_location: HARBOUR-ST}}
  stock:
    connector: inventree
    base_url: {stock}
    settings: {{locations: {{HARBOUR-ST: 1}}}}
    limits: {{timeout_seconds: 1.0, max_in_flight_seconds: 1.2}}
flows:
  - {{name: orders, on: sale.completed.v1, from: web, cadence: realtime, read: [order], to: [{{connection: stock}}]}}
"""
TOPICS = Shopify.manifest.data["webhooks"]["topics"]
URL = "http://hub.test/webhooks/acme/web"


class Online(Shop):
    """A shop that sells online, too: its flows and those of the tills lead to one stock system, each from its own source."""

    accepted = ("same-target:stock",)

    def __init__(self, folder: Path, database_url: str = "", **settings: Any) -> None:
        super().__init__(folder, database_url, **settings)
        self.shopify = ShopifySimulator()
        self.servers["shopify"] = SimulatorServer(self.shopify)
        self.apply(self.text())
        self.credentials("web", access_token=self.shopify.token, client_secret=self.shopify.client_secret)
        self.shopify.add_product("Coffee", ["SKU-0001"], "9.50", 50)
        self.stock_item("SKU-0001")

    def text(self) -> str:
        return FILE.format(url=self.servers["shopify"].url, stock=self.servers["inventree"].url)

    def deliver(self) -> int:
        """What Shopify sends to the hub's URL, through the hub's ingest; how many."""
        found = self.shopify.take_webhooks(URL)
        for _, body, headers in found:
            receive_webhook(self.hub.ctx, self.tenant, "web", headers, body)
        return len(found)

    def arrived(self) -> list[dict[str, Any]]:
        """Deliveries of this file's flow; the till's own flow takes the sales as well."""
        return [row for row in self.deliveries(connection_id="stock") if row["flow"] == "online/orders"]

    def rows(self) -> dict[str, Any]:
        with self.hub.ctx.store.read() as uow:
            return {row["topic"]: row for row in uow.subscriptions.of(self.tenant)}

    def due(self) -> None:
        """Let what is to be looked at be due."""
        now = utc_now() - timedelta(seconds=1)
        with self.hub.ctx.store.begin() as uow:
            uow.subscriptions.put([{**row, "due_at": now} for row in uow.subscriptions.of(self.tenant)])

    def audited(self, action: str) -> list[dict[str, Any]]:
        with self.hub.ctx.store.read() as uow:
            return [row for row in uow.audit.page(self.tenant, None, 200) if row["action"] == f"subscription.{action}"]


@pytest.fixture
def shop(tmp_path: Path, emptied_url: str) -> Iterator[Online]:
    shop = Online(tmp_path, emptied_url)
    yield shop
    shop.close()


def topics(shop: Online, url: str = URL) -> list[str]:
    return sorted(item["topic"] for item in shop.shopify.subscriptions.values() if item["callbackUrl"] == url)


def test_what_a_connector_wants_to_be_told_is_asked_for_once(shop: Online) -> None:
    subscriber = Subscriber(shop.hub.ctx)
    shop.shopify.subscriptions["other"] = {"id": "other", "topic": "ORDERS_CREATE", "callbackUrl": "https://elsewhere.example"}

    assert subscriber.run_due() == 1
    assert subscriber.run_due() == 0, "nothing is due for an hour"
    shop.due()
    subscriber.run_due()

    assert topics(shop) == sorted(TOPICS)
    assert {row["state"] for row in shop.rows().values()} == {"active"}
    assert shop.shopify.subscriptions["other"], "what is not ours stays"
    assert [row["detail"]["topics"] for row in shop.audited("created")] == [TOPICS]


def test_a_sale_of_the_shop_reaches_the_stock_by_webhook(shop: Online) -> None:
    Subscriber(shop.hub.ctx).run_due()
    shop.start()
    shop.shopify.ring_sale([("SKU-0001", 2)])  # the goods of an online order leave with its fulfilment

    assert shop.deliver() == 2  # the sale, and the stock level it moved
    shop.settle()

    (done,) = shop.arrived()
    assert done["state"] == "applied"


def test_what_was_dropped_is_made_again_and_what_was_missed_is_read(shop: Online) -> None:
    subscriber = Subscriber(shop.hub.ctx)
    shop.start()
    shop.until(lambda: len(shop.rows()) == len(TOPICS) and _read(shop))
    shop.shopify.subscriptions.clear()  # after failures Shopify removes them, and tells nobody
    shop.shopify.ring_sale([("SKU-0001", 1)])
    assert shop.deliver() == 0

    shop.due()
    subscriber.run_due()

    assert topics(shop) == sorted(TOPICS)
    shop.until(lambda: shop.arrived())
    shop.settle()
    (done,) = shop.arrived()
    assert done["state"] == "applied"
    assert {row["repairs"] for row in shop.rows().values()} == {1}
    assert shop.audited("repaired")


def _read(shop: Online) -> bool:
    with shop.hub.ctx.store.read() as uow:
        row = uow.cursors.get(shop.tenant, "web", "order")
    return bool(row and row["run"].get("state") == "complete")


def test_the_hubs_former_address_is_given_up(shop: Online, tmp_path: Path) -> None:
    old = {"id": "old", "topic": "ORDERS_CREATE", "callbackUrl": "https://old.example/webhooks/acme/web"}
    shop.shopify.subscriptions["old"] = old

    Subscriber(shop.hub.ctx).run_due()

    assert topics(shop) == sorted(TOPICS)
    assert topics(shop, old["callbackUrl"]) == []


def test_a_connection_that_nobody_reads_from_is_told_nothing_any_more(shop: Online) -> None:
    subscriber = Subscriber(shop.hub.ctx)
    subscriber.run_due()
    shop.apply(shop.text().replace("from: web, cadence: realtime, read: [order], ", ""))

    subscriber.run_due()

    assert topics(shop) == []
    assert shop.rows() == {}
    assert shop.audited("ended")


def test_a_refusal_says_why_and_is_tried_again_soon(shop: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Shopify, topic: str, url: str) -> Steps[None]:
        if topic == "REFUNDS_CREATE":
            raise RejectedByTargetError("Address is not allowed", code="rejected_by_target", remedy="x")
        yield from Shopify.__bases__[0].effect(  # type: ignore[attr-defined]
            self, "mutation Subscribe($topic: X, $url: Y) { webhookSubscriptionCreate(topic: $topic, "
            "webhookSubscription: {callbackUrl: $url}) { userErrors { field message } } }",
            {"topic": topic, "url": url}, "webhookSubscriptionCreate",
        )  # fmt: skip

    monkeypatch.setattr(Shopify, "subscribe", refuse)
    Subscriber(shop.hub.ctx).run_due()

    rows = shop.rows()
    refused = rows.pop("REFUNDS_CREATE")
    assert (refused["state"], refused["detail"]) == ("refused", "Address is not allowed")
    assert refused["due_at"] - refused["checked_at"] == timedelta(minutes=5)
    assert {row["state"] for row in rows.values()} == {"active"}


def test_what_ends_soon_or_sleeps_is_renewed(shop: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    subscriber = Subscriber(shop.hub.ctx)
    subscriber.run_due()
    before = {topic: row["external_id"] for topic, row in shop.rows().items()}
    listed = Shopify.subscriptions
    soon = (utc_now() + timedelta(hours=1)).isoformat()

    def fading(self: Shopify) -> Steps[Any]:
        found = yield from listed(self)
        return [
            Subscription(item.id, item.topic, item.url, active=item.id != before["ORDERS_CREATE"],
                         expires_at=soon if item.id == before["ORDERS_UPDATED"] else "")
            for item in found
        ]  # fmt: skip

    monkeypatch.setattr(Shopify, "subscriptions", fading)
    shop.due()
    subscriber.run_due()

    changed = {topic for topic, row in shop.rows().items() if row["external_id"] != before[topic]}
    assert changed == {"ORDERS_CREATE", "ORDERS_UPDATED"}
    assert topics(shop) == sorted(TOPICS)


def test_a_hub_that_nobody_can_reach_subscribes_to_nothing(tmp_path: Path) -> None:
    shop = Online(tmp_path, public_url="")
    try:
        Subscriber(shop.hub.ctx).run_due()

        assert shop.shopify.subscriptions == {}
        assert all("HUB_PUBLIC_URL is not set" in row["detail"] for row in shop.rows().values())
    finally:
        shop.close()


@pytest.mark.parametrize(
    ("error", "said"), [(TypeError("a bug"), "TypeError: a bug"), (ThrottledError(3.0), "the connection's budget is used up")]
)
def test_what_goes_wrong_with_one_connection_is_told_and_stops_no_other(
    shop: Online, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(self: Shopify) -> Steps[Any]:
        raise error
        yield

    monkeypatch.setattr(Shopify, "subscriptions", fail)

    assert Subscriber(shop.hub.ctx).run_due() == 1
    assert {(row["state"], row["detail"]) for row in shop.rows().values()} == {("refused", said)}


def test_refused_credentials_pause_the_connection(shop: Online) -> None:
    shop.credentials("web", access_token="wrong", client_secret=shop.shopify.client_secret)

    Subscriber(shop.hub.ctx).run_due()

    with shop.hub.ctx.store.read() as uow:
        row = uow.connections.get(shop.tenant, "web")
    assert row is not None
    assert row["state"] == "paused"
    assert all(row["state"] == "refused" for row in Subscriber(shop.hub.ctx).look(shop.tenant, "web"))
    with pytest.raises(NotFoundError):
        Subscriber(shop.hub.ctx).look(shop.tenant, "nobody")


def test_the_commands_show_and_mend(shop: Online) -> None:
    shop.serve()
    assert shop.web is not None
    options = ["--url", f"http://127.0.0.1:{shop.web.port}", "--key", shop.key]

    made = CliRunner().invoke(main, ["sync", "subscribe", "web", *options, "--json"])
    shown = CliRunner().invoke(main, ["sync", "subscriptions", *options])

    assert made.exit_code == shown.exit_code == 0, made.output
    assert {item["state"] for item in json.loads(made.output)["items"]} == {"active"}
    assert shown.output.count("active") == len(TOPICS)
    missing = CliRunner().invoke(main, ["sync", "subscribe", "nobody", *options])
    assert missing.exit_code == 4
