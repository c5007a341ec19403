"""A history beside live work: how much of the time it takes, whose work it leaves alone, and how long it says that it will take."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import INTEGRATION, Shop

from canonical.examples import EXAMPLES
from hub.bootstrap import utc_now
from hub.broker import topology_for
from hub.flow import share
from hub.flow.deliver import _Desk, _Waiting
from hub.flow.recipients import NewMessage
from hub.flow.route import admit
from hub.sync.runs import paced, told

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def shop(tmp_path: Path, emptied_url: str) -> Iterator[Shop]:
    shop = Shop(tmp_path, emptied_url)
    shop.apply(INTEGRATION.format(**{name: server.url for name, server in shop.servers.items()}))
    yield shop
    shop.close()


def sell(shop: Shop, lane: str, number: int = 1) -> None:
    sale = EXAMPLES["sale.completed.v1"] | {"id": f"S-{number}", "number": str(number)}
    with shop.hub.ctx.store.begin() as uow:
        said = NewMessage(shop.tenant, "sale.completed.v1", "test", f"S-{number}", sale, utc_now(), "", "test", lane=lane)
        admit(shop.hub.ctx, uow, said)


def test_a_history_takes_little_beside_live_work_and_more_where_there_is_none(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "_LOOK_SECONDS", 0.0)
    ours, settings = share.Share(shop.hub.ctx), shop.hub.ctx.settings

    sell(shop, "bulk", 1)
    assert not ours.beside(), "another history is no live work"
    sell(shop, "live", 2)
    assert ours.beside()
    monkeypatch.setattr(share, "_LATELY", timedelta(seconds=-5))
    assert not ours.beside(), "it is over"

    assert ours.rest(1.0, True) == pytest.approx(1 / settings.backfill_share - 1)
    assert ours.rest(1.0, False) == pytest.approx(1 / settings.backfill_alone_share - 1)
    assert share.Share(SimpleNamespace(settings=SimpleNamespace(backfill_share=2.0))).rest(1.0, True) == 0.0  # type: ignore[arg-type]
    assert ours.rest(1.0, True) > 2 * ours.rest(1.0, False)


def test_whoever_does_live_work_publishes_no_history(shop: Shop) -> None:
    relay, ctx = shop.hub.relay, shop.hub.ctx
    ctx.broker.declare(topology_for(ctx.plugins.connectors))
    sell(shop, "bulk", 1)
    relay.lanes = ("live",)
    for connection in ("erp", "stock"):
        ctx.due.add(shop.tenant, connection, freed=True)
        ctx.due.add(shop.tenant, connection)
    assert relay.run_due() == 0
    assert relay.sweep() == 2, "the scheduler finds it, whoever works on it"
    sell(shop, "live", 2)
    sell(shop, "bulk", 3)
    ctx.due.add(shop.tenant, "erp")
    assert relay.run_due() == 1
    assert [row["lane"] for row in shop.deliveries(connection_id="erp") if row["published_at"] is None] == ["bulk"]


def test_what_has_begun_is_seen_through_also_where_it_follows_another_subject(shop: Shop) -> None:
    ctx = shop.hub.ctx
    sell(shop, "live", 1)
    sell(shop, "live", 2)
    first, second = sorted(shop.deliveries(connection_id="erp"), key=lambda row: row["id"])
    with ctx.store.begin() as uow:
        uow.deliveries.change_state(shop.tenant, second["id"], ["pending"], {"state": "ambiguous", "probe": True})
        uow.deliveries.follow(shop.tenant, {second["id"]: first["subject"]})

    with ctx.store.begin() as uow:
        taken = uow.deliveries.take_due(shop.tenant, "erp", "live", ctx.clock(), 10)
    assert [row["id"] for row in taken] == [second["id"]]


class Desk(_Desk):
    """A desk whose connection has so many places; what it claims together is noted, and writes take their time."""

    def __init__(self, ctx: Any, places: int) -> None:
        super().__init__(ctx, "acme", "erp")
        self.places, self.in_hand = places, 0
        self.rounds: list[list[str]] = []

    async def _claim(self, items: Any) -> Any:
        free = sorted(items, key=lambda item: item.bulk)[: self.places - self.in_hand]
        self.in_hand += len(free)
        if free:
            self.rounds.append([item.id for item in free])
        row = {item.id: {"id": item.id, "lane": "bulk" if item.bulk else "live"} for item in free}
        return [[SimpleNamespace(row=row[item.id])] for item in free], {item.id for item in items} - row.keys()

    async def _work(self, group: Any, trial: bool) -> bool:
        await asyncio.sleep(0.01 * int(group[0].row["id"].strip("L")))
        self.in_hand -= 1
        return True


def put(count: int, bulk: bool, done: list[str]) -> list[_Waiting]:
    names = [f"{number}" if bulk else f"{number}L" for number in range(1, count + 1)]
    return [
        _Waiting(name, bulk, False, lambda name=name: done.append(name), asyncio.get_running_loop().time()) for name in names
    ]  # type: ignore[misc]


def test_bulk_work_goes_in_rounds_and_live_work_does_not_wait_for_their_ends() -> None:
    told_relay: list[str] = []
    ctx = SimpleNamespace(
        due=SimpleNamespace(add=lambda *key, freed: told_relay.append(key[1])),
        loop=SimpleNamespace(time=lambda: asyncio.get_running_loop().time()),
    )

    async def run() -> tuple[Desk, list[str]]:
        desk, done = Desk(ctx, 4), list[str]()
        desk.put(put(12, True, done))
        await asyncio.sleep(0.025)  # the first two have ended, the round has not
        desk.put(put(1, False, done))
        while desk.busy:
            await asyncio.sleep(0.01)
        return desk, done

    desk, done = asyncio.run(run())
    bulk = [[name for name in names if not name.endswith("L")] for names in desk.rounds]
    assert len(done) == 13
    assert max(len(names) for names in bulk) == 4
    assert len([names for names in bulk if names]) <= 5, f"a claim for each round and not for each delivery: {desk.rounds}"
    assert any("1L" in names for names in desk.rounds[:2]), "and who comes meanwhile is claimed with the next free place"
    assert 3 <= len(told_relay) <= 6, "so is the relay told"


def test_remaining_time_is_told_by_the_pace_of_the_last_minutes() -> None:
    row: dict[str, Any] = {
        "tenant_id": "acme", "id": "R", "state": "running", "since": SINCE.isoformat(), "reached": SINCE.isoformat(),
        "until": (SINCE + timedelta(days=100)).isoformat(), "seconds": 0.0, "pace": 0.0, "read": 0, "new": 0, "updated_at": SINCE,
        **dict.fromkeys(("connection_id", "object", "kind", "pages", "error", "actor", "reason", "started_at", "ended_at"), ""),
    }  # fmt: skip
    nothing = SimpleNamespace(runs=SimpleNamespace(reckoning=lambda *_: {"raw": {}, "deliveries": {}}))

    def read(days: float, seconds: float) -> float:
        at = datetime.fromisoformat(row["reached"]) + timedelta(days=days)
        row["pace"] = paced(row, at.isoformat(), seconds)
        row.update(reached=at.isoformat(), seconds=row["seconds"] + seconds)
        left: float = told(nothing, row, row["updated_at"])["remaining_seconds"]  # type: ignore[arg-type]
        return left

    for _ in range(40):
        left = read(1, 10)
    assert left == pytest.approx(600, rel=0.01)
    for _ in range(30):
        left = read(1, 60)  # live work began: six times slower
    assert left == pytest.approx(30 * 60, rel=0.05), "and not the average of all there was"
    later = told(nothing, row, row["updated_at"] + timedelta(minutes=30))["remaining_seconds"]  # type: ignore[arg-type]
    assert later > 5 * left, "what says nothing any more is not told to end soon"
