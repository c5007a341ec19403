"""What is old and over is forgotten; what is open stays however old it is, and so does the audit chain."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support import INTEGRATION, Shop, envelope

from canonical.examples import EXAMPLES
from hub.bootstrap import utc_now
from hub.errors import MisconfiguredError
from hub.flow import retention
from hub.flow.ingest import accept_event, received
from hub.flow.retention import Retention
from hub.identity.api_keys import SCOPES, Client
from hub.settings import Settings
from hub.store import new_id, tables


class Old(Shop):
    """A shop whose hub is looked at a year later."""

    def tell(self, identity: str, sku: str = "SKU-0001") -> None:
        document = EXAMPLES["stock.counted.v1"] | {"id": identity, "sku": sku}
        accept_event(self.hub.ctx, Client(self.tenant, "", "test", frozenset(SCOPES)), envelope(document, "stock.counted.v1"))

    def heard(self, event: str, state: str) -> None:
        """Raw input that came to this end."""
        identity = new_id()
        with self.hub.ctx.store.begin() as uow:
            uow.raws.add({
                "tenant_id": self.tenant, "id": identity, "connection_id": "pos", "kind": "webhook", "object": "", "event_type": "",
                "source_event_id": event, "headers": {}, "body": b"{}", "traceparent": "", **received(utc_now()), "state": state,
            })  # fmt: skip

    def forget(self, after_days: int) -> int:
        """Pieces until the end, so many days from now; returns how many rows went."""
        ctx = self.hub.ctx
        clock, ctx.clock = ctx.clock, lambda: utc_now() + timedelta(days=after_days)
        work, found = Retention(ctx), 0
        try:
            for _ in range(1000):
                work._next = 0.0
                found += work.run_due()
                if not work._left:
                    return found
        finally:
            ctx.clock = clock
        raise AssertionError("it never ends")

    def count(self, table: str) -> int:
        with self.hub.ctx.store.engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(getattr(tables, table))).scalar_one())

    def left(self) -> dict[str, int]:
        return {name: self.count(name) for name in ("message", "delivery", "attempt", "raw_input")}


@pytest.fixture
def shop(tmp_path: Path, emptied_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Old]:
    monkeypatch.setattr(retention, "_PIECE", 3)
    shop = Old(tmp_path, emptied_url, retention_days=90).start()
    text = INTEGRATION.format(**{name: server.url for name, server in shop.servers.items()})
    shop.apply(text.replace("    from: pos\n    cadence: every 1s\n    read: [inventory_change]\n", ""))
    shop.stock_item("SKU-0001")
    yield shop
    shop.close()


def _audited(shop: Old) -> list[Any]:
    with shop.hub.ctx.store.read() as uow:
        return [row for row in uow.audit.page(shop.tenant, None, 200) if row["action"] == "history.forgotten"]


def test_recordings_go_with_what_they_are_of(shop: Old) -> None:
    row = {"tenant_id": shop.tenant, "id": new_id(), "connection_id": "erp", "connector": "acme", "version": "1.0.0",
           "at": utc_now(), "content": b"{}"}  # fmt: skip
    with shop.hub.ctx.store.begin() as uow:
        uow.recordings.add([row])

    shop.forget(80)
    assert shop.count("recording") == 1
    shop.forget(100)
    assert shop.count("recording") == 0


def test_what_is_over_is_forgotten_and_what_is_open_stays(shop: Old) -> None:
    for number in range(10):
        shop.tell(f"C-{number}")
        if number == 1:
            shop.tell("lost", sku="SKU-NOBODY-KNOWS")
    for number, state in enumerate(("translated", "quarantined", "ignored")):
        shop.heard(f"R-{number}", state)
    shop.settle()
    assert {row["state"] for row in shop.deliveries()} == {"applied", "dead"}
    before, links = shop.left(), shop.count("link")

    assert shop.forget(after_days=89) == 0
    assert shop.left() == before, "not old enough"
    assert shop.forget(after_days=91) == 12

    assert [row["state"] for row in shop.deliveries()] == ["dead"]
    assert shop.left() == {"message": 1, "delivery": 1, "attempt": 1, "raw_input": 1}
    assert shop.count("link") == links
    (record,) = _audited(shop)
    assert (record["detail"]["messages"], record["detail"]["raws"]) == (10, 2)
    with shop.hub.ctx.store.read() as uow:
        assert uow.audit.verify(shop.tenant) is None
    assert shop.forget(after_days=91) == 0, "a dead letter waits for a person, and nothing is told twice"
    assert len(_audited(shop)) == 1


def test_without_a_retention_nothing_is_forgotten(tmp_path: Path) -> None:
    shop = Old(tmp_path).start()
    shop.stock_item("SKU-0001")
    shop.tell("C-1")
    shop.settle()

    assert shop.forget(after_days=10_000) == 0
    assert shop.left()["message"] == 1
    shop.close()


def test_what_is_told_again_must_be_known_for_as_long_as_it_may_be_told() -> None:
    for days in (29, -1):
        with pytest.raises(MisconfiguredError, match="HUB_RETENTION_DAYS"):
            Settings(retention_days=days)
    assert Settings(retention_days=30).retention_days == 30
