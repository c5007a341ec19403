"""The hub on PostgreSQL and RabbitMQ: the same flow, and what the broker may do to it."""

import copy
import json
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pika.exceptions
import pytest
from canonical_cases import CURRENCIES, TIMES
from support import Shop, envelope

from canonical.examples import EXAMPLES
from canonical.money import from_minor
from hub.broker import open_broker, queue_name, topology_for
from hub.flow.ingest import accept_event
from hub.identity.api_keys import SCOPES, Client
from hub.integrations.files import parse_integration
from hub.runtime.plugins import load_plugins
from hub.sdk.errors import ManifestError, RejectedByTargetError

RABBITMQ = os.environ.get("TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//")
OPS = Client("acme", "k", "ops", frozenset(SCOPES))


def _blocking() -> Any:
    return pika.BlockingConnection(pika.URLParameters(RABBITMQ.removesuffix("//")))


@pytest.fixture
def distributed(make_shop: Callable[..., Shop], postgres_url: str) -> Iterator[Callable[..., Shop]]:
    """Shops on PostgreSQL and RabbitMQ; their queues go with the test."""
    problem = open_broker(RABBITMQ).problem()
    if problem is not None:
        reason = f"no RabbitMQ (set TEST_RABBITMQ): {problem}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    shops: list[Shop] = []

    def make(**settings: Any) -> Shop:
        values = {"database_url": postgres_url, "broker_url": RABBITMQ, "broker_prefix": f"t-{uuid.uuid4().hex[:10]}"}
        shops.append(make_shop(**{**values, **settings}))
        return shops[-1]

    yield make
    for shop in shops:
        shop.hub.close()
        topology = topology_for(shop.hub.ctx.plugins.connectors)
        prefix = shop.hub.settings.broker_prefix
        with _blocking() as connection:
            channel = connection.channel()
            for queue in topology.queues:
                channel.queue_delete(f"{prefix}.{queue.name}")
            for exchange in topology.exchanges:
                channel.exchange_delete(f"{prefix}.{exchange.name}")


def _product(sku: str, at: str = "2026-11-21T12:00:00Z", identity: str = "") -> dict[str, Any]:
    document = copy.deepcopy(EXAMPLES["product.v1"]) | {"id": sku, "sku": sku, "updated_at": at}
    return envelope(document, "product.v1", identity or f"{sku}@{at}") | {"time": at}


def _adjustments_from_anywhere(shop: Shop, lane: str = "live") -> None:
    """A flow for adjustments that an internal system publishes."""
    text = shop_text(shop).replace("on: [stock.counted.v1, stock.adjusted.v1]", "on: [stock.counted.v1]")
    shop.apply(f"{text}\n  - name: adjustments\n    on: stock.adjusted.v1\n    lane: {lane}\n    to: [{{connection: stock}}]\n")


def _adjustment(name: str) -> dict[str, Any]:
    document = copy.deepcopy(EXAMPLES["stock.adjusted.v1"]) | {"id": name, "sku": "SKU-1"}
    document["location"] = {"code": "HARBOUR-ST"}
    return envelope(document, "stock.adjusted.v1")


def test_two_hubs_in_one_test_the_engine_chosen_by_url_alone(
    make_shop: Callable[..., Shop], distributed: Callable[..., Shop]
) -> None:
    embedded, scaled = make_shop(), distributed()
    for shop in (embedded, scaled):
        shop.stock_item("SKU-1", 950)
        shop.start()
    for shop in (embedded, scaled):
        sale = shop.square.ring_sale([(shop.items["SKU-1"], 3)], "CARD")
        shop.square.ring_return(sale, {sale["line_items"][0]["uid"]: 1})
        shop.announce()
    for shop in (embedded, scaled):
        shop.until(lambda shop=shop: len(shop.deliveries()) == 4, 40.0)
        shop.settle(60.0)
        assert {row["state"] for row in shop.deliveries()} == {"applied"}
        assert shop.inventree.stock()["SKU-1"] == 98


def test_a_binding_that_is_deleted_fifty_times_loses_nothing_and_is_noticed(
    distributed: Callable[..., Shop],
) -> None:
    """D8."""
    shop = distributed()
    shop.stock_item("SKU-1", 950, 1000)
    _adjustments_from_anywhere(shop)
    shop.start()
    prefix, key = shop.hub.settings.broker_prefix, queue_name("inventree", "live")
    noticed = []
    for number in range(50):
        caught = shop.hub.net.caught
        with _blocking() as connection:
            connection.channel().queue_unbind(f"{prefix}.{key}", f"{prefix}.hub.deliveries", f"{prefix}.{key}")
        gone = time.monotonic()
        accept_event(shop.hub.ctx, OPS, _adjustment(f"S-{number}"))
        while shop.hub.net.caught == caught and time.monotonic() - gone < 10:
            time.sleep(0.005)
        noticed.append(time.monotonic() - gone)
        time.sleep(0.15)  # what was caught a moment ago must not bring the binding back right after the next cut
    shop.settle(60.0)

    assert max(noticed) < 10.0, "a missing binding was not noticed within ten seconds"
    assert [row["state"] for row in _every(shop, connection_id="stock")] == ["applied"] * 50


def _every(shop: Shop, **filters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = None
    with shop.hub.ctx.store.read() as uow:
        while True:
            page = uow.deliveries.page(shop.tenant, after, 200, **filters)
            rows += page[:200]
            if len(page) <= 200:
                return rows
            after = page[199]["id"]


def test_a_broker_that_is_away_costs_no_ingress_and_its_backlog_drains(distributed: Callable[..., Shop]) -> None:
    """D9, shortened: the broker cannot be reached for four seconds."""
    from chaos.proxy import Proxy
    from chaos.services import free_port

    port = int(pika.URLParameters(RABBITMQ.removesuffix("//")).port)
    proxy = Proxy(free_port(25500), port, 1)
    shop = distributed(broker_url=RABBITMQ.replace(f":{port}", f":{proxy.port}"))
    shop.stock_item("SKU-1", 950, 1000)
    _adjustments_from_anywhere(shop)
    shop.start()
    web = shop.serve()
    try:
        proxy.toxic("down")
        answers = []
        until = time.monotonic() + 4.0
        while time.monotonic() < until:
            answers.append(web.call("POST", "/v1/events", _adjustment(f"D-{len(answers)}"))[0])
            time.sleep(0.02)
        assert web.call("GET", "/health/ready")[0] == 200
        proxy.toxic("")
        assert set(answers) == {202}
        assert len(answers) > 50
        shop.settle(90.0)
        rows = _every(shop, connection_id="stock")
        assert len(rows) == len(answers)
        assert {row["state"] for row in rows} == {"applied"}
    finally:
        proxy.close()


def test_work_in_the_bulk_lane_never_keeps_live_work_waiting(distributed: Callable[..., Shop]) -> None:
    shop = distributed()
    shop.stock_item("SKU-1", 950, 1000)
    _adjustments_from_anywhere(shop, "bulk")
    for number in range(60):
        accept_event(shop.hub.ctx, OPS, _adjustment(f"B-{number}"))
    sale = shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    assert sale
    shop.announce()
    shop.start()
    shop.until(lambda: [row["state"] for row in shop.deliveries(connection_id="stock", lane="live")] == ["applied"], 30.0)
    bulk = [row["state"] for row in _every(shop, connection_id="stock", lane="bulk")]
    assert bulk.count("applied") < 40, "the live sale had to wait for the history"
    shop.settle(60.0)
    assert {row["state"] for row in _every(shop, connection_id="stock", lane="bulk")} == {"applied"}


def shop_text(shop: Shop) -> str:
    with shop.hub.ctx.store.read() as uow:
        (row,) = uow.integrations.in_force(shop.tenant)
    return str(row["source"])


def test_a_connector_that_writes_in_bulk_maps_each_result_to_its_delivery(
    make_shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    from chaos.referee import Referee
    from chaos.run import PLUGIN

    monkeypatch.syspath_prepend(str(PLUGIN))
    referee = Referee(1, latency=0.05, rates={})
    sizes: list[int] = []
    shop = make_shop(plugins=load_plugins())
    connector = shop.hub.ctx.plugins.connectors["referee_bulk"]
    write_many = connector.write_many_product

    def counted(self: Any, items: Any) -> Any:
        sizes.append(len(items))
        results = yield from write_many(self, items)
        return [
            RejectedByTargetError("ends in 3", code="refused", remedy="rename it") if document["sku"].endswith("3") else result
            for (document, _), result in zip(items, results, strict=True)
        ]

    monkeypatch.setattr(connector, "write_many_product", counted)
    url = f"http://127.0.0.1:{referee.port}"
    shop.apply(
        "integration: bulk\nconnections: {b: {connector: referee_bulk, base_url: '" + url + "'}}\n"
        "flows: [{name: f, on: product.v1, to: [{connection: b}]}]\n"
    )
    for number in range(40):
        accept_event(shop.hub.ctx, OPS, _product(f"P{number}"))
    shop.start()
    shop.settle()
    referee.close()

    rows = shop.deliveries(connection_id="b")
    assert max(sizes) > 5, "nothing was written in bulk"
    dead = {row["subject"] for row in rows if row["state"] == "dead"}
    assert dead == {f"product/P{number}" for number in range(40) if str(number).endswith("3")}
    assert {row["cause_code"] for row in rows if row["state"] == "dead"} == {"refused"}
    assert sum(row["state"] == "applied" for row in rows) == 40 - len(dead)


def test_a_connection_may_declare_its_own_limits_and_a_wrong_one_is_named(shop: Shop) -> None:
    text = shop_text(shop).replace(
        "limits: {timeout_seconds: 1.0}", "limits: {rates: [{requests: 60, seconds: 60}], error_budget: {errors: 1}}"
    )
    with pytest.raises(ManifestError) as caught:
        parse_integration(text, "stores.yaml", shop.hub.ctx.plugins)
    assert "error_budget" in str(caught.value)
    assert "stores.yaml:" in str(caught.value)


def test_an_amount_survives_api_stores_and_broker_unchanged(
    make_shop: Callable[..., Shop], distributed: Callable[..., Shop]
) -> None:
    """A2: what was sent is what SQLite, PostgreSQL and a subscriber of `hub.events` have; JSON numbers are refused everywhere."""
    embedded, scaled = make_shop(), distributed()
    webs = [shop.serve() for shop in (embedded, scaled)]
    scaled.start()
    events = f"{scaled.hub.settings.broker_prefix}.hub.events"
    with _blocking() as connection:
        channel = connection.channel()
        scaled.until(lambda: _declared(events))
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, events, "acme.price.changed.v1")
        sent: dict[str, Any] = {}
        heard: dict[str, Any] = {}
        for batch in range(TIMES):
            chance, prices = random.Random(batch), []
            for number in range(300):
                pair = {side: from_minor(chance.randint(0, 10**14), currency) for currency in (chance.choice(CURRENCIES),)
                        for side in ("before", "after")}  # fmt: skip
                prices.append(EXAMPLES["price.changed.v1"] | pair | {"id": f"A2-{batch}-{number}", "sku": f"SKU-{number}"})
            sent |= {document["id"]: document for document in prices}
            body = {"events": [envelope(document, "price.changed.v1") for document in prices]}
            for web in webs:
                status, answer, _ = web.call("POST", "/v1/events/batch", body)
                assert (status, {item["status"] for item in answer["results"]}) == (200, {"accepted"})
                for item, document in zip(answer["results"], prices, strict=True):
                    assert web.call("GET", f"/v1/messages/{item['message_id']}")[1]["document"] == document
            _listen(channel, queue, heard, len(sent))
    assert heard == sent
    number = copy.deepcopy(EXAMPLES["price.changed.v1"]) | {"id": "A2-n", "after": {"amount": 9.5, "currency": "USD"}}
    for web in webs:
        assert web.call("POST", "/v1/events", envelope(number, "price.changed.v1"))[0] == 422


def _listen(channel: Any, queue: str, heard: dict[str, Any], wanted: int) -> None:
    """Take announced documents until there are as many as wanted."""
    until = time.monotonic() + 60
    while len(heard) < wanted and time.monotonic() < until:
        _, _, content = channel.basic_get(queue, auto_ack=True)
        if content is None:
            time.sleep(0.05)
            continue
        document = json.loads(content)["data"]
        heard[document["id"]] = document


def _declared(exchange: str) -> bool:
    with _blocking() as connection:
        try:
            connection.channel().exchange_declare(exchange, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
    return True


def test_other_connectors_deliver_when_one_queue_is_refused_and_it_does_once_it_is_mended(
    distributed: Callable[..., Shop],
) -> None:
    """A queue of an older version, with other arguments, stopped every connector."""
    shop = distributed()
    shop.stock_item("SKU-1")
    name = f"{shop.hub.settings.broker_prefix}.{queue_name('tryton', 'live')}"
    with _blocking() as connection:
        connection.channel().queue_declare(name, durable=True)
    shop.start()
    web = shop.serve()
    document = copy.deepcopy(EXAMPLES["sale.completed.v1"])
    for line in document["lines"]:
        line["sku"] = "SKU-1"
    accept_event(shop.hub.ctx, OPS, envelope(document))

    def states() -> dict[str, str]:
        return {row["connection_id"]: row["state"] for row in shop.deliveries()}

    shop.until(lambda: states().get("stock") == "applied", 30)
    time.sleep(1.0)
    assert states() == {"stock": "applied", "erp": "pending"}
    status, ready, _ = web.call("GET", "/health/ready")
    assert (status, ready["status"]) == (200, "degraded")
    assert name in ready["checks"]["broker"]
    reasons = {row["connection_id"]: row["state_reason"] for row in web.call("GET", "/v1/connections")[1]["items"]}
    assert name in reasons["erp"]
    assert "delete this queue" in reasons["erp"]
    assert reasons["stock"] == ""

    with _blocking() as connection:
        connection.channel().queue_delete(name)
    shop.until(lambda: states() == {"stock": "applied", "erp": "applied"}, 30)
    assert web.call("GET", "/health/ready")[1]["status"] == "ok"
    web.close()
