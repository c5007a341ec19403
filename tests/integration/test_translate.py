"""Who is translated next, and what a store that was away for a moment does to raw input: nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support import INTEGRATION, Shop

from canonical.examples import EXAMPLES
from hub.bootstrap import utc_now
from hub.flow import translate
from hub.flow.deliver import _Desk, _Waiting
from hub.flow.ingest import received
from hub.flow.recipients import NewMessage
from hub.flow.route import admit
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


@pytest.mark.parametrize(("lane", "other"), [("live", "bulk"), ("bulk", "live")])
def test_a_worker_for_one_lane_leaves_the_other_alone(
    shop: Shop, lane: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(shop, "acme", "live", 3)
    _add(shop, "acme", "bulk", 3)
    translator = shop.hub.translator
    translator.lanes = (lane,)

    async def taken(self: Any, tenant_id: str, rows: Any) -> None:
        assert {row["lane"] for row in rows} == {lane}

    monkeypatch.setattr(translate.Translator, "_all", taken)
    assert translator.run_once() == 3
    if lane == "bulk":
        assert translator.run_once() == 0, "one piece at a time"
    with shop.hub.ctx.store.read() as uow:
        left = uow.raws.page("acme", None, 200, state="received")
    assert {row["lane"] for row in left if row["lease_owner"] is None} == {other}


def test_bulk_deliveries_leave_half_of_the_places_to_live_ones(shop: Shop) -> None:
    ctx, now = shop.hub.ctx, utc_now()
    text = INTEGRATION.format(**{name: server.url for name, server in shop.servers.items()})
    shop.apply(
        text.replace(
            "settings: {locations: {HARBOUR-ST: 1}}\n    limits: {",
            "settings: {locations: {HARBOUR-ST: 1}}\n    limits: {concurrency: 4, ",
        )
    )
    with ctx.store.begin() as uow:
        for number in range(12):
            sale = EXAMPLES["sale.completed.v1"] | {"id": f"S-{number}", "number": str(number)}
            lane = "bulk" if number < 8 else "live"
            admit(
                ctx, uow, NewMessage(shop.tenant, "sale.completed.v1", "test", f"S-{number}", sale, now, "", "test", lane=lane)
            )
    rows = sorted(shop.deliveries(connection_id="stock"), key=lambda row: str(row["id"]))
    items = [_Waiting(row["id"], row["lane"] == "bulk", False, lambda: None, 0.0) for row in rows]
    desk = _Desk(ctx, shop.tenant, "stock")

    claims, busy = desk._claimed(items[:8])
    assert [claim.row["lane"] for group in claims for claim in group] == ["bulk"] * 2, "places for what may come"
    assert len(busy) == 6
    claims, _ = desk._claimed(items[8:])
    assert [claim.row["lane"] for group in claims for claim in group] == ["live"] * 2, "which takes what is left"
    assert desk._claimed(items[2:])[0] == []


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
