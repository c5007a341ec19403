"""What a person corrected can be seen, and holds for every open delivery of the message."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import Shop, Web, envelope

from canonical.examples import EXAMPLES
from hub.cli import main
from hub.flow import replay
from hub.flow.corrections import NOT_GIVEN, changes, raw_changes
from hub.flow.ingest import accept_event, receive_webhook
from hub.flow.lineage import lineage
from hub.identity.api_keys import Client
from hub.reconcile.measure import documents_of, documents_open

BAD = json.loads(json.dumps(EXAMPLES["sale.completed.v1"]).replace("SKU-0001", "SKU-1").replace("SKU-0002", "SKU-X"))
BAD["customer"] = {"id": "C-9", "name": "Ada Doe", "email": "ada@example.com"}
GOOD = json.loads(json.dumps(BAD).replace("SKU-X", "SKU-2").replace("Ada Doe", "Ada Lovelace"))
SKU = {"pointer": "/lines/1/sku", "before": "SKU-X", "after": "SKU-2"}
NAME = {"pointer": "/customer/name", "before": "***", "after": "***"}


@pytest.fixture
def shop(make_shop: Callable[..., Shop], database_url: str) -> Shop:
    """A running shop on each engine."""
    shop = make_shop(database_url=database_url)
    shop.stock_item("SKU-1", 950)
    shop.stock_item("SKU-2", 1200)
    return shop.start()


@pytest.fixture
def web(shop: Shop) -> Web:
    return shop.serve()


def _died(shop: Shop) -> dict[str, dict[str, Any]]:
    """A sale of an unknown SKU, dead at both targets; the deliveries by connection."""
    accept_event(shop.hub.ctx, Client(shop.tenant, "k", "test", frozenset()), envelope(BAD))
    shop.until(lambda: len(shop.deliveries(state="dead")) == 2)
    return {row["connection_id"]: row for row in shop.deliveries(state="dead")}


def _told(shop: Shop, text: str = "S-1001") -> dict[str, Any]:
    (message,) = lineage(shop.hub.ctx, shop.tenant, text)["messages"]
    return message  # type: ignore[no-any-return]


def test_correction_is_told_by_lineage_when_a_dead_letter_was_corrected(shop: Shop) -> None:
    dead = _died(shop)
    replay.correct_delivery(shop.hub.ctx, shop.tenant, dead["erp"]["id"], GOOD, "key/ada", "mistyped")

    history = lineage(shop.hub.ctx, shop.tenant, "S-1001")
    (told,) = history["messages"][0]["corrections"]
    assert (told["number"], told["actor"], told["reason"], told["delivery_id"]) == (1, "key/ada", "mistyped", dead["erp"]["id"])
    assert told["document"] == GOOD
    assert history["messages"][0]["document"] == BAD, "the original stays"
    assert sorted(told["changes"], key=lambda item: item["pointer"]) == [NAME, SKU]
    (step,) = [step for step in history["steps"] if step["step"] == "correct"]
    assert step["at"] == told["at"]
    assert "by key/ada, reason: mistyped" in step["text"]
    assert '/lines/1/sku "SKU-X" → "SKU-2"' in step["text"]
    assert "Ada" not in step["text"]
    (record,) = [item for item in history["audit"] if item["action"] == "delivery.corrected"]
    assert (record["actor"], record["detail"]["reason"], record["detail"]["correction"]) == ("key/ada", "mistyped", told["id"])
    assert sorted(record["detail"]["changes"], key=lambda item: item["pointer"]) == [NAME, SKU]
    assert record["detail"]["also_for"] == [dead["stock"]["id"]]
    assert "Lovelace" not in json.dumps(record["detail"])


def test_correction_reaches_every_open_delivery_when_one_dead_letter_was_corrected(shop: Shop) -> None:
    """The other dead letter stays dead until somebody replays it; then it sends the corrected document."""
    dead = _died(shop)
    replay.correct_delivery(shop.hub.ctx, shop.tenant, dead["erp"]["id"], GOOD, "test", "mistyped")
    shop.settle()
    states = {row["connection_id"]: row["state"] for row in shop.deliveries()}
    assert states == {"erp": "applied", "stock": "dead"}

    replay.replay_delivery(shop.hub.ctx, shop.tenant, dead["stock"]["id"], "test")
    shop.settle()

    assert {row["connection_id"]: row["state"] for row in shop.deliveries()} == {"erp": "applied", "stock": "applied"}
    message = _told(shop)
    (correction,) = message["corrections"]
    for delivery in message["deliveries"]:
        assert delivery["correction"] == correction["id"]
        assert [item.get("correction") for item in delivery["attempts"]] == [None, correction["id"]]
        assert delivery["sent"] == [correction["id"]]
    steps = [step["text"] for step in lineage(shop.hub.ctx, shop.tenant, "S-1001")["steps"] if step["step"] == "deliver"]
    assert sorted(text.partition(") ")[2] for text in steps) == ["with correction 1"] * 2 + ["with the original document"] * 2


def test_correction_leaves_a_delivery_when_it_was_applied_before(shop: Shop) -> None:
    dead = _died(shop)
    with shop.hub.ctx.store.begin() as uow:  # as if the stock system had taken the original
        assert uow.deliveries.change_state(shop.tenant, dead["stock"]["id"], ["dead"], {"state": "applied"})
    replay.correct_delivery(shop.hub.ctx, shop.tenant, dead["erp"]["id"], GOOD, "test", "mistyped")
    shop.settle()

    by_connection = {row["connection_id"]: row for row in _told(shop)["deliveries"]}
    assert "correction" not in by_connection["stock"]
    assert all("correction" not in item for item in by_connection["stock"]["attempts"])
    assert by_connection["erp"]["sent"] == [_told(shop)["corrections"][0]["id"]]


def test_correction_reaches_a_delivery_in_another_major_when_it_is_open(shop: Shop) -> None:
    dead = _died(shop)
    with shop.hub.ctx.store.begin() as uow:  # a connector that writes the second major, and waits
        values = {"state": "pending", "type": "sale.completed.v2", "available_at": shop.hub.ctx.clock().replace(year=2090)}
        assert uow.deliveries.change_state(shop.tenant, dead["stock"]["id"], ["dead"], values)
    replay.correct_delivery(shop.hub.ctx, shop.tenant, dead["erp"]["id"], GOOD, "test", "mistyped")

    with shop.hub.ctx.store.read() as uow:
        row = uow.deliveries.get(shop.tenant, dead["stock"]["id"])
    assert row is not None
    assert row["state"] == "pending"
    given = json.loads(row["corrected"])
    assert [line["sku"] for line in given["lines"]] == ["SKU-1", "SKU-2"]
    assert given["tenders"][0]["method"] == "cash"


def test_corrections_are_told_against_each_other_when_a_document_is_corrected_twice(shop: Shop) -> None:
    dead = _died(shop)
    worse = json.loads(json.dumps(BAD).replace("SKU-X", "SKU-Y"))
    replay.correct_delivery(shop.hub.ctx, shop.tenant, dead["erp"]["id"], worse, "test", "first")
    shop.until(lambda: len(shop.deliveries(state="dead")) == 2)
    replay.correct_delivery(shop.hub.ctx, shop.tenant, dead["stock"]["id"], GOOD, "test", "second")
    told = _told(shop)["corrections"]
    assert [(item["number"], item["reason"]) for item in told] == [(1, "first"), (2, "second")]
    assert {"pointer": "/lines/1/sku", "before": "SKU-Y", "after": "SKU-2"} in told[1]["changes"]


def test_a_reason_that_nobody_gave_is_shown_as_such_when_a_document_is_corrected(shop: Shop) -> None:
    dead = _died(shop)
    replay.correct_delivery(shop.hub.ctx, shop.tenant, dead["erp"]["id"], GOOD, "test", "  ")
    assert _told(shop)["corrections"][0]["reason"] == NOT_GIVEN
    (record,) = [
        item for item in lineage(shop.hub.ctx, shop.tenant, "S-1001")["audit"] if item["action"] == "delivery.corrected"
    ]
    assert record["detail"]["reason"] == NOT_GIVEN


def test_the_measure_takes_the_corrected_document_when_there_is_one(shop: Shop) -> None:
    dead = _died(shop)
    replay.correct_delivery(shop.hub.ctx, shop.tenant, dead["erp"]["id"], GOOD, "test", "mistyped")
    assert documents_of(shop.hub.ctx.store, shop.tenant, ["sale.completed.v1"]) == [("sale.completed.v1", GOOD)]
    assert documents_open(shop.hub.ctx.store, shop.tenant, "stock") == [("sale.completed.v1", GOOD)]


def test_a_corrected_input_is_told_when_it_was_quarantined(shop: Shop) -> None:
    shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    (_, body, _), *_ = shop.square.take_webhooks("x")
    changed = json.loads(body)
    changed["data"] = "none"
    broken, headers = shop.square.signed(json.dumps(changed).encode(), f"http://hub.test/webhooks/{shop.tenant}/pos")
    received = receive_webhook(shop.hub.ctx, shop.tenant, "pos", headers, broken)
    shop.until(lambda: shop.raws(state="quarantined"))
    replay.replay_raw(shop.hub.ctx, shop.tenant, str(received.raw_id), "key/ada", body, "the till's bug")
    shop.until(lambda: shop.deliveries())
    shop.settle()

    history = lineage(shop.hub.ctx, shop.tenant, shop.deliveries()[0]["subject"])
    raw = history["messages"][0]["raw"]
    (told,) = raw["corrections"]
    assert (told["actor"], told["reason"], told["delivery_id"]) == ("key/ada", "the till's bug", None)
    assert base64.b64decode(told["body_base64"]) == base64.b64decode(raw["corrected_base64"]) == body
    assert base64.b64decode(raw["body_base64"]) == broken
    assert told["changes"] == [{"pointer": "/data", "before": "***", "after": "***"}]
    assert any(step["step"] == "correct" and "the till's bug" in step["text"] for step in history["steps"])
    (record,) = [item for item in history["audit"] if item["action"] == "raw.replayed"]
    assert (record["detail"]["reason"], record["detail"]["correction"]) == ("the till's bug", told["id"])


def test_the_api_the_command_line_and_the_console_show_a_correction_when_there_is_one(
    shop: Shop, web: Web, tmp_path: Path
) -> None:
    dead = _died(shop)
    file = tmp_path / "sale.json"
    file.write_text(json.dumps(GOOD), "utf-8")
    at = ["--url", f"http://127.0.0.1:{web.port}", "--key", web.key]
    command = ["correct", dead["erp"]["id"], str(file), *at]
    missing = CliRunner().invoke(main, command)
    assert missing.exit_code == 2
    assert "--reason" in missing.output
    done = CliRunner().invoke(main, [*command, "--reason", "mistyped"])
    assert done.exit_code == 0, done.output
    assert "/lines/1/sku" in done.output
    shop.settle()

    paths = [f"deliveries/{row['id']}" for row in dead.values()] + [f"messages/{dead['erp']['message_id']}"]
    for version in ("v1", "v2"):
        for path in paths:
            status, found, _ = web.call("GET", f"/{version}/{path}")
            assert status == 200, found
            (told,) = found["corrections"]
            assert (told["reason"], told["document"], SKU in told["changes"]) == ("mistyped", GOOD, True)
        (listed,) = web.call("GET", f"/{version}/dead-letters")[1]["items"]
        assert listed["correction"] == told["id"]
        tries = web.call("GET", f"/{version}/deliveries/{dead['erp']['id']}/attempts")[1]["items"]
        assert [item.get("correction") for item in tries] == [None, told["id"]]
    shown = CliRunner().invoke(main, ["lineage", "S-1001", *at]).output
    assert "correction 1 of sale.completed.v1" in shown
    assert "reason: mistyped" in shown
    assert '/lines/1/sku  "SKU-X" → "SKU-2"' in shown
    assert "Ada" not in shown
    page = _console(web, "/console/lineage?of=S-1001")
    for text in ("Correction 1", "mistyped", "/lines/1/sku", "SKU-X", "SKU-2", "the corrected document", "document sent"):
        assert text in page, text


def _console(web: Web, path: str) -> str:
    """A page of the console, signed in."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    _, _, headers = web.call("POST", "/console/sign-in", headers=form, raw=f"key={web.key}".encode())
    return str(web.call("GET", path, headers={"Cookie": headers["set-cookie"].partition(";")[0]})[1], "utf-8")


def test_changes_name_each_place_when_lists_grow_and_names_have_slashes() -> None:
    before = {"id": "1", "lines": [{"sku": "a"}], "extensions": {"a/b": {"c~d": 1}}, "tip": None}
    after = {"id": "1", "lines": [{"sku": "b"}, {"sku": "c"}], "extensions": {"a/b": {"c~d": True}}, "change": None}
    assert changes("sale.completed.v1", before, after) == [
        {"pointer": "/lines/0/sku", "before": "a", "after": "b"},
        {"pointer": "/lines/1", "after": {"sku": "c"}},
        {"pointer": "/extensions/a~1b/c~0d", "before": 1, "after": True},
        {"pointer": "/tip", "before": None},
        {"pointer": "/change", "after": None},
    ]


def test_changes_mask_personal_data_when_it_is_added_moved_or_in_lists() -> None:
    before = {"ship_to": {"lines": ["12 Quay Road"], "city": "Portland"}}
    after = {"ship_to": {"lines": ["13 Quay Road", "rear"], "city": "Salem"}, "customer": {"id": "C", "name": "Ada Doe"}}
    assert changes("order.placed.v1", before, after) == [
        {"pointer": "/ship_to/lines/0", "before": "***", "after": "***"},
        {"pointer": "/ship_to/lines/1", "after": "***"},
        {"pointer": "/ship_to/city", "before": "Portland", "after": "Salem"},
        {"pointer": "/customer", "after": {"id": "C", "name": "***"}},
    ]


def test_raw_changes_are_empty_when_an_input_is_not_json() -> None:
    assert raw_changes(b"<order/>", b"{}") == []
