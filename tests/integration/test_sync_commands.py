"""`hub sync`, `hub conflicts` and `hub entity` as a person has them, on both databases."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from support import INTEGRATION, Shop, envelope

from canonical.examples import EXAMPLES
from hub.cli import main

OWNED = "ownership:\n  product: {name: api, category: {merge: review}}\n"


@pytest.fixture
def shop(make_shop: Callable[..., Shop], database_url: str) -> Shop:
    shop = make_shop(database_url=database_url)
    shop.start()
    shop.stock_item("SKU-0001")
    shop.serve()
    shop.apply(INTEGRATION.format(**{name: server.url for name, server in shop.servers.items()}) + OWNED)
    return shop


def hub(shop: Shop, *arguments: str, code: int = 0, text: bool = False) -> Any:
    assert shop.web is not None
    given = [*arguments, "--url", f"http://127.0.0.1:{shop.web.port}", "--key", shop.key, *([] if text else ["--json"])]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    return result.output if text or code > 1 else json.loads(result.output)


def test_streams_runs_and_a_backfill(shop: Shop) -> None:
    shop.square.count(shop.items["SKU-0001"], 7)
    shop.until(lambda: hub(shop, "sync", "runs")["items"])
    (stream,) = hub(shop, "sync", "streams")["items"]
    assert (stream["connection_id"], stream["object"], stream["cadences"]) == ("pos", "inventory_change", ["every 1 s"])
    hub(shop, "sync", "now", "pos", "inventory_change")
    hub(shop, "sync", "now", "pos", "nothing", code=4)

    run = hub(shop, "sync", "backfill", "pos", "inventory_change", "--since", "2020-01-01T00:00:00Z", "--reason", "new store")
    shop.until(lambda: hub(shop, "sync", "show", run["id"])["complete"])

    found = hub(shop, "sync", "show", run["id"])
    assert (found["state"], found["progress"], found["reason"]) == ("read", 1.0, "new store")
    assert found["reckoning"]["known"] == found["read"] >= 1, "the poll had read it: nothing comes twice"
    polled = next(item for item in hub(shop, "sync", "runs", "--kind", "poll")["items"] if item["new"])
    shop.settle()
    assert hub(shop, "sync", "show", polled["id"])["complete"]
    assert "complete" in hub(shop, "sync", "runs", text=True)
    hub(shop, "sync", "pause", run["id"], code=4)
    hub(shop, "sync", "backfill", "pos", "nothing", code=4)


def test_conflicts_are_listed_and_decided(shop: Shop) -> None:
    assert shop.web is not None
    for number, category in enumerate(["Drinks", "Food"]):
        product = {**EXAMPLES["product.v1"], "name": f"Coffee {number}", "category": category}
        status, answer, _ = shop.web.call("POST", "/v1/events", envelope(product, "product.v1", f"p{number}"))
        assert status < 300, answer
        time.sleep(0.01)
    entity = hub(shop, "entity", "product/SKU-0001")
    assert (entity["fields"]["name"]["value"], entity["fields"]["name"]["origin"]) == ("Coffee 1", "api")
    assert "Coffee 1" in hub(shop, "entity", "product/SKU-0001", text=True)
    hub(shop, "entity", "product/nothing", code=4)
    assert hub(shop, "conflicts")["items"] == [], "one origin does not contradict itself"
    with shop.hub.ctx.store.begin() as uow:
        row = uow.entities.locked(shop.tenant, "product/SKU-0001")
        assert row is not None
        row["state"]["fields"]["category"] |= {"origin": "stock", "at": "2026-11-21T12:00:00+00:00"}
        uow.entities.save(row)
    product = {**EXAMPLES["product.v1"], "name": "Coffee 2", "category": "Gifts"}
    shop.web.call("POST", "/v1/events", envelope(product, "product.v1", "p9"))

    (conflict,) = hub(shop, "conflicts", "--state", "open", code=1)["items"]
    assert (conflict["field"], conflict["wanted"], conflict["kept"], conflict["why"]) == (
        "category",
        "Gifts",
        "Food",
        "a person decides",
    )
    assert "wanted" in hub(shop, "conflicts", text=True, code=1)
    resolved = hub(shop, "resolve", conflict["id"], "--keep", "wanted", "--reason", "asked")
    assert (resolved["state"], resolved["actor"]) == ("resolved", "key/ops")
    assert hub(shop, "entity", "product/SKU-0001")["fields"]["category"]["value"] == "Gifts"
    hub(shop, "resolve", conflict["id"], "--keep", "kept", code=4)
    hub(shop, "conflicts")


def test_what_waits_in_a_flow_is_let_go(shop: Shop) -> None:
    text = INTEGRATION.format(**{name: server.url for name, server in shop.servers.items()})
    shop.stock_item("SKU-0002")
    shop.apply(text.replace("  - name: transactions\n", "  - name: transactions\n    cadence: on_demand\n"))
    assert shop.web is not None
    shop.web.call("POST", "/v1/events", envelope(EXAMPLES["sale.completed.v1"]))
    time.sleep(0.5)
    assert {row["state"] for row in shop.deliveries()} == {"pending"}

    assert hub(shop, "sync", "release", "stores/transactions", "--reason", "books are open")["released"] == 2
    shop.settle()
    assert {row["state"] for row in shop.deliveries()} == {"applied"}
    hub(shop, "sync", "release", "stores/nothing", code=4)
