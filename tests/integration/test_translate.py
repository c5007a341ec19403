"""Who is translated next, and what a store that was away for a moment does to raw input: nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support import Shop

from hub.bootstrap import utc_now
from hub.flow import translate
from hub.flow.ingest import received
from hub.store import StoreUnavailableError, new_id


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.close()


def _add(shop: Shop, tenant: str, lane: str, count: int) -> None:
    with shop.hub.ctx.store.begin() as uow:
        uow.tenants.add(tenant, tenant, utc_now())
        uow.raws.add_many([
            {**received(utc_now()), "tenant_id": tenant, "id": new_id(), "connection_id": "pos", "kind": "poll", "object": "order",
             "source_event_id": new_id(), "event_type": "", "headers": {}, "body": b"{}", "traceparent": "", "lane": lane}
            for _ in range(count)
        ])  # fmt: skip


def test_bulk_work_goes_beside_live_work_and_tenants_take_turns(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for tenant in ("acme", "beta", "city"):
        _add(shop, tenant, "bulk", 200)
        _add(shop, tenant, "live", 3)
    taken: list[tuple[str, int, int]] = []

    async def all_at_once(self: Any, tenant_id: str, rows: Any) -> None:
        lanes = [row["lane"] for row in rows]
        taken.append((tenant_id, lanes.count("live"), lanes.count("bulk")))
        self._in_hand[tenant_id] -= len(rows)
        if "bulk" in lanes:
            self._bulk_at = 0.0

    monkeypatch.setattr(translate.Translator, "_all", all_at_once)
    translator = shop.hub.translator
    for _ in range(3):
        translator.run_once()
        shop.hub.ctx.loop.submit(_nothing()).result(5)

    bulk = [tenant for tenant, _, count in taken if count]
    assert sorted(set(bulk)) == ["acme", "beta", "city"], "one with a long history keeps no other one's waiting"
    assert all(count <= translate._MOST_BULK for _, _, count in taken)
    assert any(live and count for _, live, count in taken), "live work that never ends does not stop bulk work"
    assert sum(live for _, live, _ in taken) == 9


async def _nothing() -> None:
    """What was submitted before has run."""


def test_a_store_that_was_away_for_a_moment_quarantines_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.start()
    commit, failed = translate._commit, []

    def away_once(uow: Any, reads: Any) -> Any:
        if len(failed) < 2:  # in the group, and alone
            failed.append(True)
            raise StoreUnavailableError(shop_error())
        return commit(uow, reads)

    def shop_error() -> Any:
        return sa.exc.OperationalError("SELECT 1", {}, Exception("deadlock detected"))

    monkeypatch.setattr(translate, "_commit", away_once)
    item = shop.stock_item("SKU-0001")
    shop.serve()
    shop.square.ring_sale([(item, 1)], "CARD")
    shop.announce()
    shop.settle()

    assert len(failed) == 2
    with shop.hub.ctx.store.read() as uow:
        counts = uow.raws.counts("acme")
    assert counts.get("translated", 0) > 0
    assert counts.get("quarantined", 0) == 0
