"""One bad document of an input waits in quarantine alone; its siblings are admitted (ADR 32)."""

import base64
import json
from collections.abc import Callable, Iterator
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
def told(make_shop: Callable[..., Shop], database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    yield Told(make_shop(database_url=database_url), monkeypatch)


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


def test_input_waits_itself_when_all_it_says_is_one_refused_document(told: Told) -> None:
    row = told.tell(Refused("S2", "edited_sale", "order 2 was edited"))

    assert (row["state"], row["cause_code"], row["cause"]) == ("quarantined", "edited_sale", "order 2 was edited")
    assert [item["id"] for item in told.waiting()] == [row["id"]]


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
