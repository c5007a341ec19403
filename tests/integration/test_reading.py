"""Reading that loses nothing and repeats nothing: cursors under torture, cadences, backfills, runs that tell the truth."""

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sync_world import START, TENANT, World, later, poll, publish

from canonical.examples import EXAMPLES
from hub.errors import HubError
from hub.flow.pace import release_closed, release_flow
from hub.integrations.cadence import NEVER
from hub.sync import runs
from hub.sync.poll import Poller

READING = """
integration: sync
duplicates: pass
connections: {a: {connector: rows, base_url: "http://a.test"}, b: {connector: rows, base_url: "http://b.test"}}
flows:
  - {name: rows, on: product.v2, from: a, cadence: every 1m, read: [row], to: []}
"""
OFFSET = "paging: {type: offset, limit: 100}\nincremental: changed"
VERSION = "paging: {type: version, token: version, limit: 100}\nsince: '0'"
WAYS = {
    "inclusive": (OFFSET, "inclusive"),
    "exclusive": (OFFSET + "\noverlap_seconds: 120", "exclusive"),
    "late": (OFFSET + "\noverlap_seconds: 600", "inclusive"),
    "day": (OFFSET + "\nsince: '1970-01-01'", "day"),
    "version": (VERSION, "version"),
}


def drain(hub: Any) -> None:
    """Poll until a read ends, and everything that follows."""
    for _ in range(500):
        hub.poller.run_due()
        with hub.ctx.store.read() as uow:
            row = uow.cursors.get(TENANT, "a", "row")
        if row["run"]["state"] not in ("more", "throttled"):
            return
        if row["next_run_at"] > hub.world.now:  # a history is not read far ahead of what is translated
            translate(hub)
            later(hub.world, seconds=1)
    raise AssertionError("the read does not end")


def translate(hub: Any) -> None:
    hub.run(limit=3000)


@pytest.mark.parametrize("way", WAYS)
def test_five_thousand_rows_of_one_instant_come_once_each(way: str) -> None:
    world = World(READING, *WAYS[way])
    for number in range(5000):
        world.system.put(f"R{number:04}", START)
    world.live(drain)
    later(world, minutes=2)
    world.live(drain)  # the bound is inclusive, or overlaps: all are read again, and known

    raws = world.rows("raw_input")
    assert len(raws) == 5000
    assert len({row["source_event_id"] for row in raws}) == 5000
    assert world.system.requests > 50


def test_a_stream_goes_on_where_another_integration_has_come_to() -> None:
    world = World(READING)
    for number in range(5):
        world.system.put(f"OLD{number}", START - timedelta(days=1))
    cursor = {"since": world.system.stamp(START)}
    world.live(lambda hub: runs.set_cursor(hub.ctx, TENANT, "a", "row", cursor, "anna", "moved from the old one"))
    world.system.put("NEW", START + timedelta(minutes=1))
    later(world, minutes=2)
    world.live(drain)

    (raw,) = world.rows("raw_input")
    assert b'"NEW"' in raw["body"], "what the old one has read is not read again"
    assert raw["lane"] == "live", "and what is new is no history"
    (told,) = [row for row in world.rows("audit") if row["action"] == "cursor.set"]
    assert '"before": null' in str(told["detail"]) or told["detail"]["before"] is None


@pytest.mark.parametrize("way", WAYS)
def test_changes_deletions_late_commits_and_crashes_lose_and_repeat_nothing(way: str) -> None:
    """A day of a hundred polls, each of which may die at any effect."""
    source = random.Random(way)
    world = World(READING, *WAYS[way])
    alive = [f"R{number}" for number in range(60)]
    expected: Counter[tuple[str, str]] = Counter()
    for turn in range(100):
        for identity in source.sample(alive, source.randint(0, 6)):
            late = timedelta(seconds=source.choice([0, 0, 0, 240]) if way == "late" else 0)
            row = world.system.rows.get(identity)
            if row is not None and (row["seen"] > world.now or row["deleted"]):
                continue
            world.system.put(identity, world.now, deleted=turn > 50 and source.random() < 0.1, seen=world.now + late)
        world.live(lambda hub: (drain(hub), translate(hub)), crash_at=source.choice([0, 0, source.randint(1, 40)]))
        later(world, seconds=61)
    later(world, minutes=10)
    for row in world.system.rows.values():
        expected[row["id"], row["name"]] += 1
    world.live(lambda hub: (drain(hub), translate(hub)))

    told = Counter(world.told())
    assert max(told.values()) == 1, "a state came twice"
    assert not expected - told, f"the last state of {sorted(expected - told)[:3]} never came"
    deleted = {row["id"] for row in world.system.rows.values() if row["deleted"]}
    assert deleted
    actives = {row["source_id"].partition("@")[0]: row for row in sorted(world.rows("message"), key=lambda row: str(row["id"]))}
    assert all(b'"withdrawn"' in actives[identity]["body"] for identity in deleted), "a deletion is a tombstone"


def test_without_an_overlap_what_is_committed_late_is_lost_so_the_test_above_can_fail() -> None:
    world = World(READING, OFFSET, "inclusive")
    world.system.put("early", START)
    world.system.put("late", START - timedelta(seconds=30), seen=START + timedelta(seconds=30))
    world.live(lambda hub: (drain(hub), translate(hub)))
    later(world, minutes=2)
    world.live(lambda hub: (drain(hub), translate(hub)))

    assert [identity for identity, _ in world.told()] == ["early"]


def test_a_record_that_returns_to_what_it_was_is_a_change() -> None:
    world = World(READING, "paging: {type: none, limit: 100}", "inclusive")
    for name in ("red", "blue", "red"):
        world.system.put("R", START, name)
        world.system.rows["R"].pop("version")
        world.system.rows["R"]["version"] = {"red": 1, "blue": 2}[name]
        world.live(drain)
        later(world, minutes=2)

    names = [row["body"].count(b"red") for row in sorted(world.rows("raw_input"), key=lambda row: str(row["id"]))]
    assert names == [1, 0, 1]


def test_one_bad_record_stops_nothing_and_is_told() -> None:
    world = World(READING)
    for number in range(120):
        world.system.put(f"R{number:03}", START + timedelta(seconds=number))
    world.system.rows["R050"]["name"] = None
    world.system.rows["R051"]["id"] = ""
    later(world, minutes=3)
    world.live(lambda hub: (drain(hub), translate(hub)))

    hub = world.hub()
    with hub.ctx.store.read() as uow:
        (row,) = uow.runs.page(TENANT, None, 10)
        run = runs.told(uow, row, hub.ctx.clock())
    hub.end()
    assert (run["read"], run["new"], run["complete"]) == (120, 120, True)
    counted = run["reckoning"]
    assert (counted["translated"], counted["quarantined"], counted["missing"]) == (118, 2, 0)
    assert run["summary"] == "120 read: 0 known, 118 translated, 2 quarantined; deliveries: none; complete"


def test_a_run_whose_records_vanished_says_so_loudly() -> None:
    world = World(READING)
    world.system.put("R1", START)
    world.live(drain)
    hub = world.hub()
    with hub.ctx.store.begin() as uow:
        uow.raws._c.exec_driver_sql("DELETE FROM raw_input")
    with hub.ctx.store.read() as uow:
        run = runs.told(uow, uow.runs.page(TENANT, None, 1)[0], hub.ctx.clock())
    hub.end()

    assert not run["complete"]
    assert "1 missing" in run["summary"]
    assert "NOT COMPLETE" in run["summary"]


def test_what_was_told_in_real_time_is_read_too() -> None:
    world = World(READING.replace("every 1m", "realtime"), backing_poll_seconds=300.0)
    world.system.put("R1", START)
    world.live(poll)
    assert [identity for identity, _ in world.told()] == ["R1"], "what is there is read at once"
    world.system.put("R2", world.now)  # its webhook is lost
    world.live(poll)
    assert len(world.told()) == 1
    later(world, minutes=5, seconds=1)
    world.live(poll)
    assert [identity for identity, _ in world.told()] == ["R1", "R2"]


def test_on_demand_is_read_when_somebody_asks_and_a_calendar_when_it_is_time() -> None:
    world = World(READING.replace("every 1m", "on_demand"))
    world.system.put("R1", START)
    later(world, days=3)
    world.live(poll)
    assert not world.told()
    world.live(lambda hub: runs.hasten(hub.ctx, TENANT, "a", "row"))
    world.live(poll)
    assert len(world.told()) == 1

    nightly = World(READING.replace("every 1m", "'cron \"0 2 * * *\" Europe/Berlin'"))
    nightly.system.put("R1", START)
    nightly.live(poll)
    assert not nightly.told()
    nightly.now = START + timedelta(days=3)  # three nights missed: it runs once
    before = nightly.system.requests
    nightly.live(poll)
    nightly.live(poll)
    # Read once: a page that is not full, and the empty one after it. A system may give fewer records than it is asked for.
    assert (len(nightly.told()), nightly.system.requests - before) == (1, 2)


PUSHING = READING.replace(
    "to: []}", "to: []}\n  - {name: books, on: sale.completed.v1, cadence: on_closure, to: [{connection: b}]}"
)


def sale(number: str, day: str = "2026-11-21", till: str = "1") -> dict[str, Any]:
    found = {**EXAMPLES["sale.completed.v1"], "id": f"S{number}", "number": number, "business_date": day}
    return {**found, "till": {"number": till}}


def test_a_flow_on_closure_waits_for_its_own_till_and_day() -> None:
    world = World(PUSHING)

    def day(hub: Any) -> None:
        for number, date, till in (("1", "2026-11-21", "1"), ("2", "2026-11-22", "1"), ("3", "2026-11-21", "2")):
            publish(hub, "sale.completed.v1", sale(number, date, till))
        hub.step()
        assert world.system.sales == []
        publish(hub, "till.closed.v1", EXAMPLES["till.closed.v1"])
        release_closed(hub.ctx)
        while hub.step():
            pass

    world.live(day)
    assert len(world.system.sales) == 1
    waiting = {row["waits_for"] for row in world.rows("delivery") if row["state"] == "pending"}
    assert waiting == {"closure/HARBOUR-ST/1/2026-11-22", "closure/HARBOUR-ST/2/2026-11-21"}

    def after(hub: Any) -> None:  # a till that was offline tells a sale of the closed day
        publish(hub, "sale.completed.v1", sale("4"))
        release_closed(hub.ctx)
        while hub.step():
            pass

    world.live(after)
    assert len(world.system.sales) == 2


def test_a_flow_on_demand_or_with_a_batch_waits_until_then() -> None:
    for cadence, waits in (("on_demand", True), ("every 1h", False)):
        world = World(PUSHING.replace("on_closure", cadence))

        def first(hub: Any) -> None:
            for number in "123":
                publish(hub, "sale.completed.v1", sale(number))
            while hub.step():
                pass

        world.live(first)
        assert world.system.sales == []
        due = {row["available_at"] for row in world.rows("delivery")}
        assert len(due) == 1, "a batch goes together"
        assert (NEVER.year == 9999 and "9999" in str(due)) == waits
        later(world, hours=1, seconds=1)

        def second(hub: Any, asks: bool = waits) -> None:
            if asks:
                assert release_flow(hub.ctx, TENANT, "sync/books", "test", "") == 3
            while hub.step():
                pass

        world.live(second)
        assert len(world.system.sales) == 3
    with pytest.raises(HubError):
        world.live(lambda hub: release_flow(hub.ctx, TENANT, "sync/nothing", "test", ""))


def start(world: World, **given: str) -> str:
    hub = world.hub()
    row = runs.start_backfill(hub.ctx, TENANT, "a", "row", given.get("since", ""), given.get("until", ""), "test", "")
    hub.end()
    return str(row["id"])


def told(world: World, run_id: str) -> dict[str, Any]:
    hub = world.hub()
    with hub.ctx.store.read() as uow:
        row = uow.runs.get(TENANT, run_id)
        assert row is not None
        found = runs.told(uow, row, hub.ctx.clock())
    hub.end()
    return found


def test_a_backfill_is_killed_paused_and_resumed_and_doubles_nothing_that_is_read_live() -> None:
    world = World(READING.replace("every 1m", "every 1h"), "paging: {type: offset, limit: 10}\nincremental: changed")
    begin = START - timedelta(days=100)
    for number in range(2000):
        world.system.put(f"R{number:04}", begin + timedelta(minutes=72 * number))
    run_id = start(world, since=(begin + timedelta(days=10)).isoformat().replace("+00:00", "Z"))
    source = random.Random(7)
    kills = 0
    for turn in range(400):
        kills += world.live(poll, crash_at=source.randint(1, 300))
        if turn == 20:
            world.live(lambda hub: runs.change(hub.ctx, TENANT, run_id, "pause", "test", ""))
            at = told(world, run_id)["read"]
            later(world, minutes=5)
            world.live(poll)
            assert told(world, run_id)["read"] == at, "a paused one reads nothing"
            world.live(lambda hub: runs.change(hub.ctx, TENANT, run_id, "resume", "test", ""))
        later(world, seconds=30)
        if told(world, run_id)["complete"]:
            break
    run = told(world, run_id)

    assert kills >= 20
    assert (run["state"], run["complete"], run["progress"]) == ("read", True, 1.0)
    later(world, hours=2)
    world.live(poll)
    counts = Counter(identity for identity, _ in world.told())
    assert len(counts) == 2000
    assert set(counts.values()) == {1}, "the backfill and the poll read the same rows: each came once"
    lanes = {row["lane"] for row in world.rows("raw_input")}
    assert lanes == {"bulk"}
    with pytest.raises(HubError, match="cannot be told to pause"):
        world.live(lambda hub: runs.change(hub.ctx, TENANT, run_id, "pause", "test", ""))


def test_a_backfill_of_a_period_ends_with_it_and_says_how_far_it_is() -> None:
    world = World(READING.replace("every 1m", "on_demand"))
    for day in range(100):
        for number in range(10):
            world.system.put(f"R{day:02}{number}", START - timedelta(days=100 - day))
    run_id = start(world, since="2026-08-13T12:00:00Z", until="2026-10-12T12:00:00Z")
    seen = []
    for _ in range(60):
        world.live(poll)
        later(world, seconds=10)
        run = told(world, run_id)
        if run["state"] != "running":
            break
        seen.append((run["progress"], run["remaining_seconds"]))

    assert run["complete"]
    days = {identity[1:3] for identity, _ in world.told()}
    assert {f"{day:02}" for day in range(60)} <= days
    assert "90" not in days
    assert [progress for progress, _ in seen] == sorted(progress for progress, _ in seen)


def test_what_a_page_lists_twice_is_read_twice_and_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    page, listed = Poller._page, [0]

    def twice(self: Poller, *given: Any) -> Any:
        found = page(self, *given)
        records = [*found.records, *found.records[:10]]
        listed[0] += len(records)
        return replace(found, records=records)

    monkeypatch.setattr(Poller, "_page", twice)
    world = World(READING.replace("every 1m", "on_demand"))
    for number in range(60):
        world.system.put(f"R{number:02}", START - timedelta(days=60 - number))
    run_id = start(world)
    for _ in range(20):
        world.live(poll)
        later(world, seconds=10)
        if told(world, run_id)["complete"]:
            break
    run = told(world, run_id)

    assert run["complete"]
    assert run["read"] == listed[0] > 60
    assert run["reckoning"]["known"] == listed[0] - 60
    assert Counter(identity for identity, _ in world.told()) == Counter(f"R{number:02}" for number in range(60))


@pytest.mark.parametrize(
    ("given", "field"),
    [(("a", "nothing", ""), "'nothing' cannot be read; row can"), (("c", "row", ""), "c")],
)  # fmt: skip
def test_a_backfill_of_what_cannot_be_read_is_refused(given: tuple[str, str, str], field: str) -> None:
    world = World(READING)
    hub = world.hub()
    with pytest.raises(HubError) as caught:
        runs.start_backfill(hub.ctx, TENANT, *given, "", "test", "")
    hub.end()
    assert field in (caught.value.errors[0]["message"] if caught.value.errors else caught.value.detail)
