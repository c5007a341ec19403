"""What a source has no more: full reads find it, webhooks and pages tell it, and what it said last is withdrawn."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from sync_world import START, TENANT, World, later, poll, publish

from hub.errors import HubError
from hub.flow.ingest import received
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.runtime.plugins import Plugins
from hub.sdk.errors import ManifestError
from hub.sdk.steps import Gone
from hub.store import MemoryStore, new_id
from hub.sync import runs

READING = """
integration: sync
duplicates: pass
connections: {a: {connector: rows, base_url: "http://a.test"}, b: {connector: rows, base_url: "http://b.test"}}
flows:
  - {name: rows, on: product.v2, from: a, cadence: every 1m, read: [row], to: [{connection: b}]}
"""
EVERY_DAY = READING.replace("read: [row],", "read: [row], full_read: every 1d,")
PAGED = "paging: {type: offset, limit: 10}\nincremental: changed"


def filled(integration: str = READING, rows: int = 25, paging: str = PAGED) -> World:
    """A hub that has read rows, an hour ago."""
    world = World(integration, paging)
    for number in range(rows):
        world.system.put(f"R{number:03}", START + timedelta(seconds=number))
    world.live(poll)
    later(world, hours=1)
    world.live(poll)
    return world


def in_full(world: World, crash_at: int = 0) -> dict[str, Any]:
    """A full read to its end, or until it asks; how it is told."""
    started: list[str] = []
    later(world, minutes=1)
    world.live(lambda hub: started.append(
        runs.start_backfill(hub.ctx, TENANT, "a", "row", "", "", "anna", "nightly", full=True)["id"]
    ))  # fmt: skip
    return go_on(world, started[0], crash_at)


def go_on(world: World, run_id: str, crash_at: int = 0) -> dict[str, Any]:
    told: list[dict[str, Any]] = []

    def look(hub: Any) -> None:
        with hub.ctx.store.read() as uow:
            told.append(runs.told(uow, uow.runs.get(TENANT, run_id), world.now))

    for turn in range(400):
        world.live(poll, crash_at if turn % 3 == 0 else 0)
        world.live(look)
        if told[-1]["state"] != "running" and not told[-1]["reckoning"]["waiting"] and not told[-1]["reckoning"]["open"]:
            return told[-1]
        later(world, seconds=20)
    raise AssertionError(f"the run does not end: {told[-1]}")


def states(world: World) -> dict[str, str]:
    """What counts of each row: its last message's status."""
    found = sorted(world.rows("message"), key=lambda row: str(row["id"]))
    return {data["id"]: data["status"] for row in found for data in [orjson.loads(row["body"])["data"]]}


def test_what_is_not_listed_any_more_is_withdrawn_everywhere() -> None:
    world = filled()
    del world.system.rows["R003"], world.system.rows["R017"]
    world.system.rows["R005"] |= {"name": "renamed, and its time of change was not set", "version": 900}
    world.system.written.clear()

    told = in_full(world)

    assert {ref for ref, status in states(world).items() if status == "withdrawn"} == {"R003", "R017"}
    assert sorted(ref for ref, _ in world.system.written) == ["R003", "R005", "R017"], "targets are told, and of nothing else"
    assert dict(world.system.written)["R005"].startswith("renamed"), "what polls by time do not see is seen"
    assert told["complete"]
    assert (told["reckoning"]["known"], told["new"]) == (45, 3), "23 that are there, twice; of them one changed"
    again = in_full(world)
    assert again["new"] == 0, "what is gone is gone once"


def test_a_person_is_asked_before_much_is_withdrawn_and_what_is_listed_again_stays() -> None:
    world = filled()
    hidden = {ref: world.system.rows.pop(ref) for ref in [f"R{number:03}" for number in range(12)]}

    told = in_full(world)

    assert told["state"] == "paused"
    assert "12 of 25 records are not listed any more" in told["error"]
    assert "withdrawn" not in states(world).values(), "nothing happens unasked"
    world.system.rows |= {ref: row for ref, row in hidden.items() if ref > "R004"}  # the key may see these again
    world.live(lambda hub: runs.change(hub.ctx, TENANT, told["id"], "resume", "anna", "five are really gone"))
    told = go_on(world, told["id"])
    assert told["complete"]
    assert sorted(ref for ref, status in states(world).items() if status == "withdrawn") == sorted(hidden)[:5]


@pytest.mark.parametrize("how", ["paused", "down"])
def test_what_came_back_while_a_full_read_was_interrupted_stays(how: str) -> None:
    world = filled()
    row = world.system.rows.pop("R003")
    later(world, minutes=1)
    run: dict[str, Any] = {}

    def start(hub: Any) -> None:
        run.update(runs.start_backfill(hub.ctx, TENANT, "a", "row", "", "", "anna", "", full=True))

    def look(hub: Any) -> None:
        with hub.ctx.store.read() as uow:
            run.update(uow.runs.get(TENANT, run["id"]))

    world.live(start)
    while run["cursor"]["pass"] < 3:  # it is about to withdraw R003
        world.live(lambda hub: hub.poller.run_due())
        world.live(look)
        later(world, seconds=5)
    if how == "paused":
        world.live(lambda hub: runs.change(hub.ctx, TENANT, run["id"], "pause", "anna", "wait"))
    later(world, days=2)
    world.system.rows["R003"] = row
    if how == "paused":
        world.live(lambda hub: runs.change(hub.ctx, TENANT, run["id"], "resume", "anna", ""))

    assert go_on(world, run["id"])["state"] == "read"
    assert states(world)["R003"] == "active"


def test_a_full_read_that_is_asked_for_more_often_does_not_wait_for_its_former_time() -> None:
    world = filled(READING.replace("read: [row],", 'read: [row], full_read: cron "0 3 1 1 *",'))
    (row,) = (row for row in world.rows("cursor") if row["object"] == "row")
    before = str(row["full_at"])
    plugins = Plugins(world.connectors)
    with MemoryStore(world.memory, lambda: None).begin() as uow:
        apply_integration(uow, plugins, TENANT, parse_integration(EVERY_DAY, "s.yaml", plugins, TENANT), "t", "", world.now)
    world.live(poll)

    (row,) = (row for row in world.rows("cursor") if row["object"] == "row")
    assert before > "2026-12-30"
    assert str(row["full_at"]) < "2026-11-23"


def test_what_is_listed_again_is_told_again_although_it_looks_the_same() -> None:
    world = filled()
    row = world.system.rows.pop("R007")
    in_full(world)
    assert states(world)["R007"] == "withdrawn"

    world.system.rows["R007"] = row
    world.system.written.clear()
    told = in_full(world)

    assert states(world)["R007"] == "active"
    assert [ref for ref, _ in world.system.written] == ["R007"], "and it reaches the target: it is newer than its withdrawal"
    assert told["new"] == 1
    world.system.rows.pop("R007")
    in_full(world)
    assert states(world)["R007"] == "withdrawn", "and gone again"


def test_a_record_that_shifts_between_pages_is_not_gone() -> None:
    world = filled()
    answer, pages = world.system.answer, []

    def shifting(request: Any) -> Any:
        if request.method == "GET" and request.params.get("page") is None:
            pages.append(request)
        found = answer(request)
        if request.method == "GET" and len(pages) == 1:
            world.system.rows.pop("R001", None)  # what is on the second page moves to the first, which was read
        return found

    world.system.answer = shifting  # type: ignore[method-assign]
    told = in_full(world)

    assert told["complete"]
    assert {ref for ref, status in states(world).items() if status == "withdrawn"} <= {"R001"}


def test_what_comes_back_before_its_end_was_told_stays() -> None:
    world = filled()
    row = world.system.rows.pop("R007")
    later(world, minutes=1)
    world.live(lambda hub: runs.start_backfill(hub.ctx, TENANT, "a", "row", "", "", "anna", "", full=True))
    for _ in range(20):  # read to the end; the withdrawal waits in the bulk lane
        world.live(lambda hub: hub.poller.run_due())
        later(world, seconds=20)
    assert [raw["event_type"] for raw in world.rows("raw_input") if raw["state"] == "received"] == ["gone"]

    world.system.rows["R007"] = {**row, "changed": world.system.stamp(world.now), "seen": world.now}
    later(world, minutes=2)
    world.live(poll)

    assert states(world)["R007"] == "active"
    assert not [message for message in world.rows("message") if message["source_id"].startswith("gone:")]


def test_a_number_that_another_record_has_now_is_not_withdrawn() -> None:
    world = filled(rows=5)
    world.connectors["rows"].manifest.objects["row"]["map"]["data"]["sku"] = "= record.sku || record.id"
    world.system.rows.pop("R002")
    world.system.put("R900", world.now)
    world.system.rows["R900"]["sku"] = "R002"
    world.live(poll)

    told = in_full(world)

    assert "withdrawn" not in states(world).values(), "the article is sold under another record"
    assert told["reckoning"]["ignored"] == 1


@pytest.mark.parametrize("crash_at", range(1, 30, 2))
def test_a_full_read_that_dies_anywhere_withdraws_what_is_gone_once(crash_at: int) -> None:
    world = filled()
    del world.system.rows["R003"]

    told = in_full(world, crash_at)

    assert told["state"] == "read"
    tombstones = [row for row in world.rows("message") if row["source_id"].startswith("gone:")]
    assert len(tombstones) == 1
    assert orjson.loads(tombstones[0]["body"])["data"]["status"] == "withdrawn"


def test_a_webhook_that_says_that_a_record_was_deleted_withdraws_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = filled(rows=3)
    monkeypatch.setattr(world.connectors["rows"], "receive", lambda self, webhook: [Gone("row", webhook.json()["id"])])
    world.system.written.clear()

    for number, ref in enumerate(["R001", "R001", "NOBODY"]):
        later(world, minutes=1)
        world.live(lambda hub, number=number, ref=ref: (_webhook(hub, f"e{number}", ref), hub.run()))

    assert {ref for ref, status in states(world).items() if status == "withdrawn"} == {"R001"}
    assert [ref for ref, _ in world.system.written] == ["R001"]
    ignored = [str(row["ignored"]) for row in world.rows("raw_input") if row["kind"] == "webhook"]
    assert "withdrawn already" in ignored[1]
    assert "nothing that it was told by" in ignored[2]


def _webhook(hub: Any, event_id: str, ref: str) -> None:
    now = hub.ctx.clock()
    with hub.ctx.store.begin() as uow:
        uow.raws.add_many([{
            "tenant_id": TENANT, "id": new_id(), "connection_id": "a", "kind": "webhook", "object": "",
            "source_event_id": event_id, "event_type": "deleted", "headers": {}, "body": orjson.dumps({"id": ref}),
            "traceparent": "", **received(now),
        }])  # fmt: skip


def test_a_page_that_says_so_withdraws_what_the_page_before_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that tells of a deletion by an id alone; what was told of the record waits in the same batch."""
    world = World(READING, PAGED)
    told = world.connectors["rows"].change_of

    def change_of(self: Any, name: str, record: Any) -> Any:
        return Gone(name, record["id"]) if record["deleted"] else told(self, name, record)

    monkeypatch.setattr(world.connectors["rows"], "change_of", change_of)
    world.system.put("R1", START)
    world.live(lambda hub: hub.poller.run_due())
    later(world, minutes=2)
    world.system.put("R1", world.now, deleted=True)
    world.live(lambda hub: hub.poller.run_due())
    world.live(lambda hub: hub.run())

    assert states(world) == {"R1": "withdrawn"}
    later(world, minutes=2)
    world.system.put("R1", world.now, name="back")
    world.live(poll)
    assert states(world) == {"R1": "active"}


def test_full_reads_come_by_their_cadence_and_one_at_a_time() -> None:
    world = filled(EVERY_DAY)
    assert not [row for row in world.rows("sync_run") if row["kind"] == "full"], "the first read was a full one"
    del world.system.rows["R003"]
    for _ in range(30):
        later(world, hours=1)
        world.live(poll)
        world.live(poll)

    full = [row for row in world.rows("sync_run") if row["kind"] == "full"]
    assert 1 <= len(full) <= 2
    assert states(world)["R003"] == "withdrawn"


def test_two_full_reads_of_one_stream_are_refused() -> None:
    world = filled()

    def start(hub: Any) -> None:
        runs.start_backfill(hub.ctx, TENANT, "a", "row", "", "", "anna", "", full=True)

    world.live(start)
    with pytest.raises(HubError, match="being read in full already"):
        world.live(start)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("full_read: realtime, read: [row]", "is by time"),
        ("full_read: every 1d", "needs `read`"),
        ("full_read: nightly, read: [row]", "is not realtime"),
    ],
)
def test_a_full_read_that_makes_no_sense_is_refused(line: str, problem: str) -> None:
    with pytest.raises(ManifestError, match=problem):
        parse_integration(READING.replace("read: [row]", line), "sync.yaml")


def test_what_is_withdrawn_when_its_record_goes_is_not_forgotten_before() -> None:
    world = filled(rows=3)
    later(world, days=2)
    world.live(lambda hub: _forget(hub, START + timedelta(days=9999)))
    kept = {orjson.loads(row["body"])["data"]["id"] for row in world.rows("message")}
    assert kept == {"R000", "R001", "R002"}

    del world.system.rows["R001"]
    in_full(world)
    assert states(world)["R001"] == "withdrawn"


def _forget(hub: Any, now: Any) -> None:
    with hub.ctx.store.begin() as uow:
        uow.history.messages(TENANT, now, "", 500)
        uow.history.raws(TENANT, now, "", 500)


def test_what_the_hub_was_told_by_its_own_api_is_nobodys_record() -> None:
    world = filled(rows=1)
    data = {"id": "X", "sku": "X", "name": "X", "status": "active", "updated_at": "2026-11-21T12:00:00Z"}
    world.live(lambda hub: publish(hub, "product.v2", data))
    in_full(world)
    assert states(world)["X"] == "active"
