"""One bad document of an input waits in quarantine alone; its siblings are admitted (ADR 32)."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from support import Shop

from canonical.examples import EXAMPLES
from hub.flow import replay
from hub.flow.ingest import received
from hub.sdk import Document, Ignored, Refused
from hub.store import new_id


class Told:
    """A shop whose till tells exactly the documents that a test gives."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shop = shop
        self.inputs: dict[str, list[Any]] = {}
        inputs = self.inputs

        def interpret(_: Any, raw: Any, object_name: str = "") -> Any:
            yield from ()
            return list(inputs[raw.body.decode()])

        monkeypatch.setattr(shop.hub.ctx.plugins.connectors["square"], "interpret", interpret)
        shop.start()

    def tell(self, *items: Any, kind: str = "webhook") -> dict[str, Any]:
        """Have the till tell ``items`` in one input; the input's row when all is done."""
        raw_id, name = new_id(), f"input-{len(self.inputs)}"
        self.inputs[name] = list(items)
        ctx = self.shop.hub.ctx
        with ctx.store.begin() as uow:
            uow.raws.add_many([{
                **received(ctx.clock()), "tenant_id": "acme", "id": raw_id, "connection_id": "pos", "kind": kind, "object": "order",
                "source_event_id": raw_id, "event_type": "", "headers": {}, "body": name.encode(), "traceparent": "",
            }])  # fmt: skip
        ctx.raw_arrived.set()
        return self.settled(raw_id)

    def settled(self, raw_id: str) -> dict[str, Any]:
        self.shop.until(lambda: not self.shop.raws(state="received"))
        return self.row(raw_id)

    def row(self, raw_id: str) -> dict[str, Any]:
        with self.shop.hub.ctx.store.read() as uow:
            found = uow.raws.get("acme", raw_id)
        assert found is not None
        return found

    def waiting(self) -> list[dict[str, Any]]:
        return self.shop.raws(state="quarantined")

    def messages(self) -> list[dict[str, Any]]:
        with self.shop.hub.ctx.store.read() as uow:
            found = uow.messages.page("acme", None, 200)
        return sorted(found, key=lambda row: str(row["id"]))

    def replay(self, raw_id: str, body: bytes | None = None) -> dict[str, Any]:
        replay.replay_raw(self.shop.hub.ctx, "acme", raw_id, "anna", body, "mended")
        return self.settled(raw_id)


@pytest.fixture
def told(make_shop: Callable[..., Shop], database_url: str, monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(make_shop(database_url=database_url), monkeypatch)


def sale(identity: str, **changes: Any) -> Document:
    return Document(
        "sale.completed.v1", identity, EXAMPLES["sale.completed.v1"] | {"id": identity, "number": identity} | changes
    )


def product(identity: str, at: str = "2026-11-21T12:00:00Z", **changes: Any) -> Document:
    data = EXAMPLES["product.v1"] | {"id": identity, "sku": identity, "updated_at": at} | changes
    return Document("product.v1", identity, data, "item", identity)


def test_refused_document_waits_alone_when_siblings_are_good(told: Told) -> None:
    row = told.tell(sale("S1"), Refused("S2", "edited_sale", "order 2 was edited"), sale("S3"), Ignored("a draft"))

    assert [message["source_id"] for message in told.messages()] == ["S1", "S3"]
    (waiting,) = told.waiting()
    assert (waiting["kind"], waiting["cause_code"], waiting["cause"]) == ("document", "edited_sale", "order 2 was edited")
    assert row["state"] == "translated"
    assert row["cause_code"] == "partly_quarantined"
    assert row["cause"].startswith("1 of 3 documents quarantined: S2")
    assert row["ignored"] == ["a draft"]


def test_refused_document_is_one_entry_when_later_inputs_tell_it_again(told: Told) -> None:
    refused = Refused("S2", "edited_sale", "order 2 was edited: 10.00 of 12.00")
    row = told.tell(refused)
    again = told.tell(sale("S1"), refused)

    (waiting,) = told.waiting()
    assert (waiting["cause_code"], waiting["cause"]) == ("edited_sale", "order 2 was edited: 10.00 of 12.00")
    assert waiting["id"] in row["cause"]
    assert waiting["id"] in again["cause"]
    told.tell(Refused("S2", "edited_sale", "order 2 was edited: 12.00 of 12.00"))
    assert len(told.waiting()) == 2, "other figures are another fault"


def test_refused_document_waits_anew_when_its_former_entry_was_replayed_to_its_end(told: Told) -> None:
    refused = Refused("S2", "edited_sale", "order 2 was edited")
    told.tell(refused)
    (waiting,) = told.waiting()
    told.inputs["input-0"] = [sale("S2")]
    assert told.replay(waiting["id"])["state"] == "translated"

    told.tell(sale("S1"), refused)

    (anew,) = told.waiting()
    assert anew["id"] != waiting["id"]


def test_replay_of_refused_document_translates_its_input_again_and_admits_only_what_is_missing(told: Told) -> None:
    told.tell(sale("S1"), Refused("S2", "edited_sale", "order 2 was edited"))
    (waiting,) = told.waiting()

    still = told.replay(waiting["id"])
    assert (still["state"], still["cause_code"]) == ("quarantined", "edited_sale"), "nothing has changed"
    assert len(told.waiting()) == 1

    told.inputs["input-0"] = [sale("S1"), sale("S2")]  # the connector was mended
    assert told.replay(waiting["id"])["state"] == "translated"
    assert [message["source_id"] for message in told.messages()] == ["S1", "S2"]
    assert told.waiting() == []


def test_bad_document_waits_alone_and_is_admitted_when_corrected(told: Told) -> None:
    bad = sale("S2", currency=7, total={"amount": "1"})
    told.tell(sale("S1"), bad, sale("S3"))

    assert [message["source_id"] for message in told.messages()] == ["S1", "S3"]
    (waiting,) = told.waiting()
    body = json.loads(told.row(waiting["id"])["body"])
    assert waiting["cause_code"] == "invalid_document"
    assert (body["index"], body["document"]["source_id"]) == (1, "S2")
    assert any(item["field"] == "/total/currency" for item in body["violations"])

    body["document"]["data"] = dict(sale("S2").data)
    assert told.replay(waiting["id"], json.dumps(body).encode())["state"] == "translated"
    assert [message["source_id"] for message in told.messages()] == ["S1", "S3", "S2"]
    raw_ids = {message["raw_id"] for message in told.messages()}
    assert len(raw_ids) == 1, "its history leads to the input that told it"


def test_correction_without_a_document_is_refused_in_words(told: Told) -> None:
    told.tell(sale("S1"), sale("S2", total=None))
    (waiting,) = told.waiting()

    row = told.replay(waiting["id"], b'{"document": 7}')
    assert (row["state"], row["cause_code"]) == ("quarantined", "untranslatable")
    assert "a correction keeps input and document" in row["cause"]


def test_return_waits_when_the_sale_before_it_in_the_same_input_is_bad(told: Told) -> None:
    back = EXAMPLES["return.completed.v1"]
    bad = sale(back["original"]["id"], total=None)
    told.tell(bad, Document("return.completed.v1", "R1", back), sale("S9"))

    assert [message["source_id"] for message in told.messages()] == ["S9"]
    assert sorted(item["cause_code"] for item in told.waiting()) == ["behind_quarantined", "invalid_document"]


def test_same_bad_document_is_one_entry_when_it_is_told_twice(told: Told) -> None:
    for _ in range(2):
        told.tell(sale("S1"), sale("S2", total=None))

    (waiting,) = told.waiting()
    assert waiting["repeats"] == 1


def test_document_of_unknown_type_waits_alone(told: Told) -> None:
    told.tell(sale("S1"), Document("wish.made.v1", "W1", {}))

    assert [message["source_id"] for message in told.messages()] == ["S1"]
    assert told.waiting()[0]["cause"].startswith("wish.made.v1: /type")


def test_waiting_document_is_shown_and_discarded_by_the_api(told: Told) -> None:
    told.tell(sale("S1"), sale("S2", total=None))
    (waiting,) = told.waiting()
    web = told.shop.serve()

    status, shown, _ = web.call("GET", f"/v1/quarantine/{waiting['id']}")
    assert status == 200
    assert json.loads(base64.b64decode(shown["body_base64"]))["document"]["source_id"] == "S2"
    status, gone, _ = web.call("POST", f"/v1/quarantine/{waiting['id']}/discard", {"reason": "a test sale"})
    assert (status, gone["state"]) == (200, "discarded")
    row = told.tell(sale("S1"), sale("S2", total=None))
    assert row["state"] == "translated"
    assert "is discarded" in row["ignored"][0]


def test_changed_fact_waits_with_what_changed_and_the_known_one_stays(told: Told) -> None:
    told.tell(sale("S1"))
    other = sale("S1", number="S1-b", customer={"id": "C1", "name": "Ida"})
    row = told.tell(other)

    (message,) = told.messages()
    (waiting,) = told.waiting()
    assert (row["state"], row["cause_code"]) == ("translated", "partly_quarantined")
    assert (waiting["kind"], waiting["cause_code"]) == ("document", "changed_fact")
    assert "/number: S1 → S1-b" in waiting["cause"]
    assert message["id"] in waiting["cause"]
    assert "Ida" not in waiting["cause"], "personal data"
    with told.shop.hub.ctx.store.read() as uow:
        (audit,) = [
            item for item in uow.audit.page("acme", None, 50, f"message/{message['id']}") if item["action"] == "message.changed"
        ]
    assert audit["detail"]["known_digest"] == message["digest"] != audit["detail"]["digest"]
    assert set(audit["detail"]["fields"]) >= {"/number", "/customer"}


def test_changed_fact_is_one_entry_when_it_is_told_again_and_stays_discarded(told: Told) -> None:
    told.tell(sale("S1"))
    told.tell(sale("S1", number="S1-b"))
    told.tell(sale("S1", number="S1-b"), kind="poll")
    (waiting,) = told.waiting()
    assert waiting["repeats"] == 1

    replay.discard_raw(told.shop.hub.ctx, "acme", waiting["id"], "anna", "the first is right")
    told.tell(sale("S1", number="S1-b"))
    assert told.waiting() == []
    told.tell(sale("S1"))
    assert len(told.messages()) == 1


def test_changed_fact_becomes_a_message_of_its_own_when_a_person_admits_it(told: Told) -> None:
    told.tell(sale("S1"))
    told.tell(sale("S1", number="S1-b"))
    (waiting,) = told.waiting()
    web = told.shop.serve()

    status, _, _ = web.call("POST", f"/v1/quarantine/{waiting['id']}/replay", {"reason": "the till was corrected"})
    assert status == 202
    assert told.settled(waiting["id"])["state"] == "translated"
    first, second = told.messages()
    assert second["source_id"].startswith("S1~")
    assert second["causation_id"] == first["id"]
    keys = {(row["connection_id"], row["key"]) for row in told.shop.deliveries()}
    assert len(keys) == 4, "a key of its own at each target"
    told.tell(sale("S1", number="S1-b"))
    assert (len(told.messages()), told.waiting()) == (2, [])


def test_other_fact_under_a_known_source_id_is_not_lost(told: Told) -> None:
    told.tell(sale("S1"))
    told.tell(Document("return.completed.v1", "S1", EXAMPLES["return.completed.v1"]))

    (waiting,) = told.waiting()
    assert "/type: sale.completed.v1 → return.completed.v1" in waiting["cause"]


def test_fact_in_another_major_is_the_same_fact_when_it_says_the_same(told: Told) -> None:
    from canonical.versions import cast

    told.tell(sale("S1"))
    name, data = cast("sale.completed.v1", sale("S1").data, 2) or ("", {})
    told.tell(Document(name, "S1", data))

    assert (len(told.messages()), told.waiting()) == (1, [])


def test_newer_state_of_a_record_is_a_message_when_its_source_id_stays_the_same(told: Told) -> None:
    before, after = product("P1", name="Mug"), product("P1", "2026-11-21T13:00:00Z", name="Large mug")
    for item in (before, after, after, before, after):  # the last two: a page that was read before comes again
        row = told.tell(item, kind="poll")
        assert row["state"] == "translated"

    first, second = told.messages()
    assert (first["source_id"], second["source_id"][:3]) == ("P1", "P1~")
    assert second["event_at"] > first["event_at"]
    assert told.waiting() == []

    told.tell(product("P1", "2026-11-21T14:00:00Z", name="Mug"), kind="poll")
    assert len(told.messages()) == 3, "set back to what it was is a state of its own"


def test_records_that_share_a_source_id_are_each_told(told: Told) -> None:
    told.tell(replace_id(product("P1"), "page-1"), replace_id(product("P2"), "page-1"))

    assert sorted(message["subject"] for message in told.messages()) == ["product/P1", "product/P2"]


def replace_id(item: Document, source_id: str) -> Document:
    return Document(item.type, source_id, item.data, item.object, item.ref)


def test_source_ids_longer_than_the_column_stay_two(told: Told) -> None:
    long = "S" * 300
    told.tell(replace_id(sale("S1"), long + "1"), replace_id(sale("S2"), long + "2"))

    assert len(told.messages()) == 2
    assert all(len(message["source_id"]) <= 255 for message in told.messages())


def test_text_for_people_is_cut_and_cleaned_when_it_cannot_be_kept(told: Told) -> None:
    lines = [{**line, "description": "R" * 559 + "\ud83d"} for line in sale("S1").data["lines"]]
    told.tell(sale("S1", lines=lines, customer={"id": "C1", "name": "a\0b\ud83d"}, extensions={"acme": {"note": "x\0y"}}))

    (message,) = told.messages()
    with told.shop.hub.ctx.store.read() as uow:
        stored = uow.messages.get("acme", message["id"])
    assert stored is not None
    data = json.loads(stored["body"])["data"]
    assert data["lines"][0]["description"] == "R" * 511 + "…"
    assert data["customer"]["name"] == "a\ufffdb\ufffd"
    assert data["extensions"] == {"acme": {"note": "x\ufffdy"}}
    assert told.waiting() == []


@pytest.mark.parametrize("odd", ["a\0b", "a\ud83db"])
def test_identifier_that_is_no_text_waits_alone(told: Told, odd: str) -> None:
    told.tell(
        sale("S1"), sale("S2", lines=[{**sale("S2").data["lines"][0], "sku": odd}]), replace_id(sale("S3"), odd),
        Refused(odd, "odd_one", f"cannot say {odd}"), Ignored(f"nothing {odd}"),
    )  # fmt: skip

    assert [message["source_id"] for message in told.messages()] == ["S1"]
    causes = sorted(item["cause"] for item in told.waiting())
    assert len(causes) == 3
    assert any("/lines/0/sku" in cause and "[not_text]" in cause for cause in causes)
    assert any("/source_id" in cause for cause in causes)


def test_event_with_nul_is_refused_by_field_and_the_others_of_its_batch_are_accepted(told: Told) -> None:
    from support import envelope

    web = told.shop.serve()
    good = envelope(sale("S1").data)
    odd_sku = envelope(product("a\0b").data, "product.v1", "e2")
    odd_id = {**envelope(sale("S3").data), "id": "e\0"}
    odd_name = envelope(product("P1", name="a\0b").data, "product.v1", "e4")
    for event, field in ((odd_sku, "/data/sku"), (odd_id, "/id"), (odd_name, "/data/name")):
        status, problem, _ = web.call("POST", "/v1/events", event)
        assert (status, problem["code"]) == (422, "invalid_document")
        assert field in {entry["field"] for entry in problem["errors"]}
        assert {entry["code"] for entry in problem["errors"]} == {"not_text"}
    status, body, _ = web.call("POST", "/v1/events/batch", {"events": [odd_sku, good, odd_id]})
    assert (status, [item["status"] for item in body["results"]]) == (200, ["rejected", "accepted", "rejected"])


def test_nul_is_refused_wherever_a_caller_may_send_it(told: Told) -> None:
    web = told.shop.serve()

    assert web.call("GET", "/v1/messages?type=%00")[0] == 400
    assert web.call("GET", "/v1/quarantine/%00")[0] == 400
    status, problem, _ = web.call("POST", "/v1/quarantine/x/discard", {"reason": "a\0b"})
    assert (status, problem["errors"][0]["field"]) == (422, "/reason")
