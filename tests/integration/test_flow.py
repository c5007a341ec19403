"""A message's life with real HTTP to stateful simulators, on both engines: what arrives is applied once, whatever happens."""

import copy
import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import Shop, envelope

from canonical.examples import EXAMPLES
from hub.bootstrap import utc_now
from hub.cli import main
from hub.errors import HubError
from hub.flow import replay
from hub.flow.ingest import accept_event, receive_webhook
from hub.flow.lineage import lineage
from hub.flow.recipients import NewMessage
from hub.flow.relay import Relay
from hub.flow.route import Admitted, admit_many, tell_relay
from hub.identity.api_keys import Client
from hub.policies import tracing
from hub.sdk.testing import Fault
from hub.store import Store

CREATE = r'"model\.account\.invoice\.create"'


def _client(shop: Shop) -> Client:
    return Client(shop.tenant, "k", "test", frozenset())


@pytest.fixture
def both(make_shop: Callable[..., Shop], database_url: str) -> Shop:
    """A running shop on each engine."""
    shop = make_shop(database_url=database_url)
    shop.stock_item("SKU-1", 950)
    shop.stock_item("SKU-2", 1200)
    return shop.start()


def _paid(shop: Shop) -> list[str]:
    return [row["reference"] for row in shop.tryton.invoices() if row["state"] == "paid"]


def test_a_trading_day_reaches_both_systems_to_the_cent_and_piece(both: Shop) -> None:
    a, b = both.items["SKU-1"], both.items["SKU-2"]
    both.square.count(a, 100)
    both.square.count(b, 100)
    sale = both.square.ring_sale([(a, 3), (b, 1)], "CASH", discount=100, tip=200)
    both.square.ring_return(sale, {sale["line_items"][0]["uid"]: 1})
    other = both.square.ring_sale([(b, 2)], "CARD")
    both.square.ring_exchange(other, {other["line_items"][0]["uid"]: 2}, [(a, 1)])
    both.square.adjust(a, 2, "IN_STOCK", "WASTE")
    both.square.adjust(b, 7, "NONE", "IN_STOCK", announce=False)  # only polling finds this one
    both.announce()
    both.until(lambda: len(both.deliveries(connection_id="stock")) >= 8)
    both.settle()

    assert both.inventree.stock() == both.square.stock()
    till = both.square.money()
    assert both.tryton.money({"CASH": "1.1.1", "CARD": "1.1.2"}) == {"CASH": till["CASH"], "CARD": till["CARD"]}
    assert len(_paid(both)) == len(set(_paid(both))) == 4
    assert {row["state"] for row in both.deliveries()} == {"applied"}
    with both.hub.ctx.store.read() as uow:
        assert uow.audit.verify(both.tenant) is None


def test_a_newer_major_reaches_connectors_that_write_the_older_one(shop: Shop) -> None:
    """The schema-version policy: flow and connectors name major 1, an internal system speaks major 2."""
    document: Any = copy.deepcopy(EXAMPLES["sale.completed.v2"])
    for line in document["lines"]:
        line["sku"] = "SKU-1"

    accept_event(shop.hub.ctx, _client(shop), envelope(document, "sale.completed.v2"))
    shop.settle()

    rows = shop.deliveries()
    assert {(row["connection_id"], row["type"], row["state"]) for row in rows} == {
        ("erp", "sale.completed.v1", "applied"), ("stock", "sale.completed.v1", "applied"),
    }  # fmt: skip
    assert len(_paid(shop)) == 1
    with shop.hub.ctx.store.read() as uow:
        (message,) = uow.messages.many(shop.tenant, [rows[0]["message_id"]]).values()
    assert message["type"] == "sale.completed.v2", "what arrived is kept as it arrived"


def test_the_same_sale_by_three_webhooks_twice_is_one_sale(both: Shop) -> None:
    both.square.ring_sale([(both.items["SKU-1"], 1)], "CARD")
    first = both.announce()
    both.settle()
    for answer in first:
        again = receive_webhook(both.hub.ctx, both.tenant, "pos", answer["headers"], answer["body"])
        assert (again.raw_id, again.duplicate) == (answer["id"], True)
    both.settle()

    assert len(_paid(both)) == 1
    assert both.inventree.stock()["SKU-1"] == 99


@pytest.mark.parametrize("kind", ["timeout_after_apply", "drop_after_apply", "html_200", "truncate"])
@pytest.mark.parametrize("server", ["tryton", "inventree"])
def test_a_write_whose_answer_is_lost_is_probed_and_never_doubled(shop: Shop, server: str, kind: str) -> None:
    pattern = CREATE if server == "tryton" else "/api/stock/remove/"
    shop.servers[server].faults.add(Fault(kind, pattern, "POST", 1, 1.5))
    shop.square.ring_sale([(shop.items["SKU-1"], 2)], "CARD")
    shop.announce()
    shop.until(lambda: shop.servers[server].faults.fired)
    shop.settle()

    assert shop.servers[server].faults.fired == {kind: 1}
    assert len(shop.tryton.invoices()) == len(_paid(shop)) == 1
    assert len(shop.tryton.entries()) == 2
    assert shop.inventree.stock()["SKU-1"] == 98
    assert max(shop.inventree.applied().values()) == 1


def test_every_step_of_a_long_write_may_lose_its_answer(shop: Shop) -> None:
    for method in ("account.invoice.create", "account.invoice.post", "account.move.create", "account.move.post",
                   "account.invoice.write", "account.move.reconciliation.create"):  # fmt: skip
        shop.servers["tryton"].faults.add(Fault("drop_after_apply", rf'"model\.{method}"', "POST"))
    shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    shop.announce()
    shop.settle(60)

    assert shop.servers["tryton"].faults.fired == {"drop_after_apply": 6}
    assert [row["state"] for row in shop.tryton.invoices()] == ["paid"]
    assert len(shop.tryton.entries()) == 2


def test_no_write_leaves_before_the_quiesce_window_is_over(shop: Shop) -> None:
    shop.servers["tryton"].faults.add(Fault("drop_after_apply", CREATE, "POST"))
    shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    shop.announce()
    shop.settle()

    (delivery,) = shop.deliveries(connection_id="erp")
    with shop.hub.ctx.store.read() as uow:
        first, second = uow.attempts.of_delivery(shop.tenant, delivery["id"])
    assert (first["outcome"], first["effects"], second["kind"]) == ("ambiguous", 1, "probe")
    assert (second["started_at"] - first["ended_at"]).total_seconds() >= 1.2
    assert second["steps"][0]["effect"] is False, "the probe looks before anything is sent"


def test_a_return_is_not_admitted_before_its_sale_however_slow_the_sale_is_read(
    make_shop: Callable[..., Shop], database_url: str
) -> None:
    shop = make_shop(database_url=database_url)
    shop.stock_item("SKU-1")
    sale = shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    shop.square.ring_return(sale, {sale["line_items"][0]["uid"]: 1})
    handle = shop.square.handle
    slow = [True, True]  # order.updated and payment.updated both read the sale

    def late(request: Any) -> Any:
        if slow and request.path.endswith(sale["id"]):
            slow.pop()
            time.sleep(0.6)
        return handle(request)

    shop.servers["square"].target = SimpleNamespace(handle=late, throttled=shop.square.throttled)
    shop.announce()  # all of them wait before the hub starts: they are translated side by side
    shop.start()
    shop.until(lambda: len(shop.deliveries(connection_id="erp")) == 2)
    shop.settle()

    types = [row["type"] for row in sorted(shop.deliveries(connection_id="erp"), key=lambda row: row["id"])]
    assert types == ["sale.completed.v1", "return.completed.v1"]


def test_a_probe_that_cannot_reach_the_target_is_made_again_before_anything_is_sent(shop: Shop) -> None:
    faults = shop.servers["tryton"].faults
    shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    faults.add(Fault("drop_after_apply", CREATE, "POST"))
    shop.announce()
    shop.until(lambda: faults.fired)
    faults.add(Fault("drop_before_apply", "account.invoice.search_read", "POST", 2))
    shop.settle()

    (delivery,) = shop.deliveries(connection_id="erp")
    with shop.hub.ctx.store.read() as uow:
        kinds = [item["kind"] for item in uow.attempts.of_delivery(shop.tenant, delivery["id"])]
    assert kinds == ["write", "probe", "probe", "probe"]
    assert len(shop.tryton.invoices()) == len(_paid(shop)) == 1


def test_a_rate_limit_storm_delays_and_loses_nothing(shop: Shop) -> None:
    shop.servers["tryton"].faults.add(Fault("throttle", count=3, seconds=1))
    shop.servers["square"].faults.add(Fault("throttle", count=3))
    for _ in range(5):
        shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    shop.announce()
    shop.until(lambda: len(shop.deliveries()) == 10)
    shop.settle()

    assert len(_paid(shop)) == 5
    assert {row["state"] for row in shop.deliveries()} == {"applied"}


def test_an_unknown_sku_is_a_dead_letter_with_cause_and_remedy_and_replays_once_mended(shop: Shop) -> None:
    ghost = shop.square.add_item("SKU-9", "Ghost", 500, 0)
    sale = shop.square.ring_sale([(ghost, 1)], "CARD")
    shop.announce()
    shop.until(lambda: len(shop.deliveries(state="dead")) == 2)

    dead = {row["connection_id"]: row for row in shop.deliveries(state="dead")}
    assert {row["cause_code"] for row in dead.values()} == {"unknown_sku"}
    assert "SKU-9" in dead["erp"]["cause"]
    assert "replay" in dead["erp"]["remedy"]

    shop.square.ring_return(sale, {sale["line_items"][0]["uid"]: 1})
    shop.announce()
    shop.until(lambda: len(shop.deliveries()) == 4)
    time.sleep(0.3)
    waiting = [row for row in shop.deliveries(connection_id="erp") if row["type"] == "return.completed.v1"]
    assert [row["state"] for row in waiting] == ["pending"], "a return must not overtake the sale a person has to mend"

    shop.tryton.add_product("SKU-9", "Ghost")
    shop.inventree.add_part("SKU-9", "Ghost", 1, 10)
    for row in dead.values():
        replay.replay_delivery(shop.hub.ctx, shop.tenant, row["id"], "test")
    shop.settle()
    assert {row["state"] for row in shop.deliveries()} == {"applied"}
    assert shop.inventree.stock()["SKU-9"] == 10
    assert shop.tryton.money({"card": "1.1.2"}) == {"card": Decimal(0)}


def test_all_dead_letters_of_a_kind_are_replayed_at_once(both: Shop) -> None:
    shop = both
    ghost = shop.square.add_item("SKU-9", "Ghost", 500, 0)
    for _ in range(3):
        shop.square.ring_sale([(ghost, 1)], "CARD")
    shop.announce()
    shop.until(lambda: len(shop.deliveries(state="dead")) == 6)
    shop.inventree.add_part("SKU-9", "Ghost", 1, 10)
    url = ("--url", f"http://127.0.0.1:{shop.serve().port}", "--key", shop.key, "--json")

    def replay_all(*arguments: str) -> Any:
        result = CliRunner().invoke(main, ["replay", "--all", *arguments, *url])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert replay_all("--cause", "another_cause") == {"replayed": 0}
    assert replay_all("--connection", "stock", "--cause", "unknown_sku", "--reason", "part made") == {"replayed": 3}
    shop.settle()
    assert {row["state"] for row in shop.deliveries(connection_id="stock")} == {"applied"}
    assert shop.inventree.stock()["SKU-9"] == 7, "each once"
    assert {row["state"] for row in shop.deliveries(connection_id="erp")} == {"dead"}, "nobody asked for these"
    with shop.hub.ctx.store.read() as uow:
        told = [row["detail"] for row in uow.audit.page(shop.tenant, None, 200) if row["action"] == "delivery.replayed"]
    assert [(item["was"], item["reason"]) for item in told] == [("unknown_sku", "part made")] * 3

    before = utc_now()
    shop.tryton.add_product("SKU-9", "Ghost")
    first = replay.replay_many(shop.hub.ctx, shop.tenant, {}, before, 2, "test", "")
    assert (first, replay.replay_many(shop.hub.ctx, shop.tenant, {}, before, 2, "test", "")) == ((2, True), (1, False))
    shop.settle()
    assert {row["state"] for row in shop.deliveries()} == {"applied"}
    assert CliRunner().invoke(main, ["replay", *url]).exit_code == 2


def test_a_dead_letter_can_be_corrected_or_discarded(shop: Shop) -> None:
    document = json.loads(json.dumps(EXAMPLES["sale.completed.v1"]).replace("SKU-0001", "SKU-1").replace("SKU-0002", "SKU-X"))
    accept_event(shop.hub.ctx, _client(shop), envelope(document))
    shop.until(lambda: len(shop.deliveries(state="dead")) == 2)
    by_connection = {row["connection_id"]: row for row in shop.deliveries(state="dead")}

    with pytest.raises(HubError, match="may not change"):
        replay.correct_delivery(shop.hub.ctx, shop.tenant, by_connection["erp"]["id"], document | {"id": "other"}, "test")
    corrected = json.loads(json.dumps(document).replace("SKU-X", "SKU-2"))
    replay.correct_delivery(shop.hub.ctx, shop.tenant, by_connection["erp"]["id"], corrected, "test", "mistyped")
    replay.discard_delivery(shop.hub.ctx, shop.tenant, by_connection["stock"]["id"], "test", "counted by hand")
    shop.settle()

    states = {row["connection_id"]: row["state"] for row in shop.deliveries()}
    assert states == {"erp": "applied", "stock": "discarded"}
    with pytest.raises(HubError, match="discarded"):
        replay.replay_delivery(shop.hub.ctx, shop.tenant, by_connection["stock"]["id"], "test")


def test_malformed_input_is_kept_answered_and_can_be_corrected(shop: Shop) -> None:
    sale = shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    (_, body, _), *_ = shop.square.take_webhooks("x")
    broken, headers = shop.square.signed(body[:-20], f"http://hub.test/webhooks/{shop.tenant}/pos")
    received = receive_webhook(shop.hub.ctx, shop.tenant, "pos", headers, broken)
    shop.until(lambda: shop.raws(state="quarantined"))

    (row,) = shop.raws(state="quarantined")
    assert (row["id"], row["cause_code"]) == (received.raw_id, "malformed_json")
    assert row["remedy"]
    replay.replay_raw(shop.hub.ctx, shop.tenant, row["id"], "test", body)
    shop.until(lambda: shop.deliveries())
    shop.settle()
    with shop.hub.ctx.store.read() as uow:
        kept = uow.raws.get(shop.tenant, row["id"])
    assert kept is not None
    assert (kept["body"], kept["corrected"]) == (broken, body), "what arrived is kept beside its correction"
    assert shop.deliveries()[0]["subject"] == f"sale/{sale['id']}"
    assert len(_paid(shop)) == 1


def test_a_forged_webhook_is_refused_with_an_audit_line_and_stores_nothing(shop: Shop) -> None:
    body, headers = shop.square.signed(
        {"event_id": "1", "type": "order.updated"}, f"http://hub.test/webhooks/{shop.tenant}/pos"
    )

    with pytest.raises(HubError) as caught:
        receive_webhook(shop.hub.ctx, shop.tenant, "pos", headers, body + b" ")

    assert (caught.value.code, caught.value.problem.status) == ("invalid_signature", 401)
    assert shop.raws() == []
    with shop.hub.ctx.store.read() as uow:
        (record,) = [row for row in uow.audit.page(shop.tenant, None, 100) if row["action"] == "webhook.refused"]
    assert record["detail"]["reason"] == "signature does not match"


def test_an_offline_tills_second_copy_is_held_shown_and_decided_by_a_person(shop: Shop) -> None:
    lines = [(shop.items["SKU-1"], 1)]
    shop.square.ring_sale(lines, "CARD", ticket="77")
    shop.square.ring_sale(lines, "CARD", ticket="77")
    shop.announce()
    shop.until(lambda: len(shop.deliveries(state="held")) == 2)
    shop.settle()
    assert len(_paid(shop)) == 1

    with shop.hub.ctx.store.read() as uow:
        (held,) = uow.messages.page(shop.tenant, None, 10, state="held")
    assert held["suspect_of"]
    replay.decide_suspect(shop.hub.ctx, shop.tenant, held["id"], True, "test", "two customers")
    shop.settle()
    assert len(_paid(shop)) == 2
    assert shop.inventree.stock()["SKU-1"] == 98


def test_a_return_of_more_than_was_sold_waits_in_quarantine(shop: Shop) -> None:
    sale = shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    shop.square.ring_return(sale, {sale["line_items"][0]["uid"]: 1})
    shop.announce()
    shop.settle()
    shop.square.ring_return(sale, {sale["line_items"][0]["uid"]: 1})
    shop.announce()
    shop.until(lambda: shop.raws(state="quarantined"))

    assert "return_exceeds_sale" in shop.raws(state="quarantined")[0]["cause"]


def test_stale_credentials_pause_the_connection_and_kill_nothing(shop: Shop) -> None:
    shop.credentials("erp", password="wrong")
    shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    shop.announce()

    def paused() -> Any:
        with shop.hub.ctx.store.read() as uow:
            row = uow.connections.get(shop.tenant, "erp")
        return row is not None and row["state"] == "paused"

    shop.until(paused)
    assert [row["state"] for row in shop.deliveries(connection_id="erp")] == ["pending"]
    shop.credentials("erp", password=shop.tryton.password)
    shop.settle()
    assert len(_paid(shop)) == 1


def test_an_expired_session_logs_in_again(shop: Shop) -> None:
    for _ in range(2):
        shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
        shop.announce()
        shop.settle()
        shop.tryton.expire_sessions()

    assert len(_paid(shop)) == 2
    assert all(len(row["cause"]) == 0 for row in shop.deliveries())


def test_a_late_sale_does_not_touch_stock_that_was_counted_since(shop: Shop) -> None:
    item = shop.items["SKU-1"]
    shop.square.count(item, 100)
    shop.announce()
    shop.settle()
    shop.square.ring_sale([(item, 4)], "CARD")
    late = shop.square.take_webhooks(f"http://hub.test/webhooks/{shop.tenant}/pos")
    time.sleep(0.01)
    shop.square.count(item, 95)
    shop.announce()
    shop.until(lambda: shop.inventree.stock()["SKU-1"] == 95)
    for _, body, headers in late:
        receive_webhook(shop.hub.ctx, shop.tenant, "pos", headers, body)
    shop.until(lambda: any(row["type"] == "sale.completed.v1" for row in shop.deliveries(connection_id="stock")))
    shop.settle()

    assert shop.inventree.stock()["SKU-1"] == shop.square.stock()["SKU-1"] == 95
    (skipped,) = shop.deliveries(state="skipped")
    assert "the count has seen this movement" in skipped["cause"]
    assert len(_paid(shop)) == 1, "the books need the sale all the same"


def test_lineage_tells_everything_from_raw_bytes_to_the_documents_id(shop: Shop) -> None:
    sale = shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    answers = shop.announce()
    shop.settle()

    for name in (sale["id"], f"order:{sale['id']}", json.loads(answers[0]["body"])["event_id"]):
        history = lineage(shop.hub.ctx, shop.tenant, name)
        assert history["subject"] == f"sale/{sale['id']}"
    steps = [step["step"] for step in history["steps"]]
    assert steps[0] == "ingest"
    assert {"translate", "route", "deliver", "step", "outcome"} <= set(steps)
    assert steps == [s["step"] for s in sorted(history["steps"], key=lambda step: step["at"])]
    (message,) = history["messages"]
    assert message["raw"]["body_base64"]
    ids = {row["connection_id"]: row["external_id"] for row in message["deliveries"]}
    assert ids["erp"].startswith("account.invoice,")
    assert {link["external_id"] for link in message["links"]} == set(ids.values())


def test_one_trace_runs_through_every_step_and_the_replay(
    make_shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    from hub import bootstrap

    original = bootstrap.Hub.__init__
    monkeypatch.setattr(bootstrap.Hub, "__init__", lambda self, *a, **k: original(self, *a, **{**k, "exporter": exporter}))
    shop = make_shop().start()
    shop.stock_item("SKU-1")
    ghost = shop.square.add_item("SKU-9", "Ghost", 500, 0)
    shop.inventree.add_part("SKU-9", "Ghost", 1, 10)
    sale = shop.square.ring_sale([(ghost, 1)], "CARD")
    shop.announce()
    shop.until(lambda: shop.deliveries(state="dead"))
    shop.tryton.add_product("SKU-9", "Ghost")
    replay.replay_delivery(shop.hub.ctx, shop.tenant, shop.deliveries(state="dead")[0]["id"], "test")
    shop.settle()
    shop.hub.ctx.telemetry.flush()

    (trace_id,) = lineage(shop.hub.ctx, shop.tenant, sale["id"])["trace_ids"]
    spans = [span for span in exporter.get_finished_spans() if f"{span.context.trace_id:032x}" == trace_id]
    # The relay publishes many messages at once: its span belongs to none of their traces.
    assert {span.name for span in spans} == {*tracing.STEPS, tracing.REPLAY} - {tracing.RELAY}
    ids = {span.context.span_id for span in spans}
    assert [span.name for span in spans if span.parent is None or span.parent.span_id not in ids] == [tracing.INGEST]


def test_every_message_is_announced_with_personal_fields_masked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[tuple[str, Any]] = []
    announce = shop.hub.ctx.broker.announce

    def recording(messages: Any) -> Any:
        announced.extend(messages)
        return announce(messages)

    monkeypatch.setattr(shop.hub.ctx.broker, "announce", recording)
    document = json.loads(json.dumps(EXAMPLES["sale.completed.v1"]).replace("SKU-0001", "SKU-1").replace("SKU-0002", "SKU-2"))
    document["customer"] = {"id": "C-1", "name": "Ada Lovelace"}
    accept_event(shop.hub.ctx, _client(shop), envelope(document))
    shop.until(lambda: announced)

    ((key, event),) = announced
    assert key == "acme.sale.completed.v1"
    assert event["data"]["customer"] == {"id": "C-1", "name": "***"}
    assert event["data"]["total"] == document["total"]


class _Told:
    """A shop whose hub is not started, so that nobody but the test announces; what was published, and by what answers."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch, answer: Callable[[int], Any]) -> None:
        self._shop, self._relay, self._answer = shop, Relay(shop.hub.ctx), answer
        self.told: list[list[str]] = []
        monkeypatch.setattr(shop.hub.ctx.broker, "announce", self._heard)

    def _heard(self, messages: Sequence[Any]) -> Any:
        self.told.append([event["id"] for _, event in messages])
        return self._answer(len(messages))

    def sold(self, *ids: str) -> list[list[str]]:
        self.told = []
        for name in ids:
            accept_event(
                self._shop.hub.ctx, _client(self._shop), {**envelope({**EXAMPLES["sale.completed.v1"], "id": name}), "id": name}
            )
        self.announced = self._relay.announce()
        return self.told


def test_what_nobody_listens_for_is_announced_once_in_a_while_and_who_comes_hears_all_that_follows(
    make_shop: Callable[..., Shop], emptied_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = False
    told = _Told(make_shop(database_url=emptied_url), monkeypatch, lambda n: ([], [] if listening else list(range(n))))
    assert told.sold("a", "b") == [["a", "b"]], "nobody has been asked for yet"
    assert told.sold("c", "d", "e") == [["c"]]
    assert told.announced == 3
    listening = True
    assert told.sold("f", "g", "h") == [["f"], ["g", "h"]]
    assert told.sold("i", "j") == [["i", "j"]]
    assert told.sold() == []


def test_what_the_broker_does_not_take_is_announced_again(
    make_shop: Callable[..., Shop], emptied_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [([0], []), ([], [])]
    told = _Told(make_shop(database_url=emptied_url), monkeypatch, lambda _: answers.pop(0))
    assert told.sold("a") == [["a"]]
    assert told.announced == 0
    assert told.sold() == [["a"]]
    assert told.sold() == []


def test_a_plugin_that_breaks_is_flagged_and_costs_nobody_else(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, document: Any, key: str) -> Any:
        raise ZeroDivisionError("bug in the connector")
        yield

    tryton = shop.hub.ctx.plugins.connectors["tryton"]
    monkeypatch.setattr(tryton, "write_sale_completed", broken)
    shop.square.ring_sale([(shop.items["SKU-1"], 1)], "CARD")
    shop.announce()
    shop.until(lambda: any(row["cause_code"] == "connector_bug" for row in shop.deliveries(connection_id="erp")))
    shop.until(lambda: [row["state"] for row in shop.deliveries(connection_id="stock")] == ["applied"])

    (row,) = shop.deliveries(connection_id="erp")
    assert "ZeroDivisionError" in row["cause"]
    monkeypatch.undo()
    shop.settle()
    assert len(_paid(shop)) == 1


def test_a_fact_admitted_by_many_at_once_is_one_message_with_one_delivery_each(both: Shop) -> None:
    document = json.loads(json.dumps(EXAMPLES["sale.completed.v1"]).replace("SKU-0001", "SKU-1").replace("SKU-0002", "SKU-2"))
    event, answers = envelope(document), []
    threads = [
        threading.Thread(target=lambda: answers.append(accept_event(both.hub.ctx, _client(both), event))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    both.settle()

    assert len({answer.message_id for answer in answers}) == 1
    assert [answer.duplicate for answer in answers].count(False) == 1
    assert sorted(row["connection_id"] for row in both.deliveries()) == ["erp", "stock"]
    assert len(_paid(both)) == 1


def test_what_may_go_with_its_admission_is_due_again_if_the_hub_ends_before_it_went(tmp_path: Path, emptied_url: str) -> None:
    shop = Shop(tmp_path, emptied_url)
    ctx = shop.hub.ctx
    ctx.due.allow(shop.tenant, "erp", 1, ctx.clock() + timedelta(hours=1))
    for number in ("1", "2"):
        sale = EXAMPLES["sale.completed.v1"] | {"id": number}
        message = NewMessage(shop.tenant, "sale.completed.v1", "/test", number, sale, utc_now(), "", "test")
        with ctx.store.begin() as uow:
            (admitted,) = admit_many(ctx, uow, [message], at_once=True)
        assert isinstance(admitted, Admitted)
        tell_relay(ctx, shop.tenant, admitted)
    went = {row["connection_id"]: row["published_at"] is not None for row in shop.deliveries()[2:]}
    assert went == {"erp": True, "stock": False}, "one place was free, at one connection"
    assert not any(row["published_at"] for row in shop.deliveries()[:2])

    shop.close()
    store = Store(shop.hub.settings.store_url)
    with store.read() as uow:
        assert [row["published_at"] for row in uow.deliveries.page(shop.tenant, None, 10)] == [None] * 4
    store.close()
