"""Every answer that is read, damaged: nothing is lost once the vendor is well again, and what missed something does not say that
it is complete. DAMAGE=500 in the environment tries that many damages of each list.
"""

import copy
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import hub_inventree.kit
import hub_shopify.kit
import hub_square.kit
import hub_tryton.kit
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sync_world import START, TENANT, World, later, poll

from hub.bootstrap import utc_now
from hub.sdk.errors import ConnectorError
from hub.sdk.kit import Subject
from hub.sdk.kit.subject import Trial
from hub.sdk.steps import Request, Response
from hub.sdk.testing import answer
from hub.sync import runs, trail

EXAMPLES = int(os.environ.get("DAMAGE", "12"))
SUBJECTS = {kit.__name__.split("_", 1)[1].split(".")[0]: kit.subject for kit in
            (hub_inventree.kit, hub_shopify.kit, hub_square.kit, hub_tryton.kit)}  # fmt: skip
LISTS = ("orders", "changes", "objects", "results", "nodes", "result", "items", "locations")
READS = [(name, object_name) for name, make in SUBJECTS.items() for object_name in sorted(make().system().listed)]
JUNK: tuple[Any, ...] = (None, "oops", 7, [], {}, True)
DAMAGES = ("error", "drop", "type", "empty", "reverse", "records", "repeat", "html", "null")


def holder(body: Any) -> tuple[dict[str, Any], str] | None:
    """The object that holds the list of an answer, and the list's key."""
    waiting = [body]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, dict):
            for key, value in item.items():
                if key in LISTS and isinstance(value, list):
                    return item, key
            waiting += item.values()
    return None


def damaged(how: str, junk: Any, response: Response, before: Response | None) -> Response:
    """An answer with one thing wrong."""
    body = json.loads(response.content)
    found = holder(body)
    if how == "html":
        return Response(200, {"content-type": "text/html"}, b"<html>please sign in")
    if how == "null":
        return Response(200, {"content-type": "application/json"}, b"null")
    if how == "error" or found is None:
        return answer(200, {"error": {"code": "BUSY", "message": "try again later"}})
    owner, key = found
    match how:
        case "drop":
            del owner[key]
            owner["notice"] = "the list is not here"
        case "type":
            owner[key] = {} if junk == [] else junk
        case "empty":  # the system says that there is nothing, and nothing more
            owner[key] = []
            owner.pop("cursor", None)
            owner |= {"count": 0, "next": None} if "count" in owner else {}
            owner |= {"pageInfo": {"hasNextPage": False, "endCursor": None}} if "pageInfo" in owner else {}
        case "reverse":
            owner[key].reverse()
        case "records":
            owner[key][1:1] = [junk]
        case "repeat":
            return before or response
    return answer(200, body)


@contextmanager
def small_pages(subject: Subject, name: str) -> Iterator[None]:
    paging: Any = subject.connector.manifest.objects[name]["read"]["paging"]
    limit = paging["limit"]
    paging["limit"] = 2
    try:
        yield
    finally:
        paging["limit"] = limit


def read(trial: Trial, name: str, cursor: Any, spoil: Any = None) -> tuple[set[str], Any, str]:
    """(ids that were read, the cursor that is saved, why the read ended before its end), as the hub reads."""
    refs: set[str] = set()
    for _ in range(100):
        try:
            page = trial.perform(trial.connector.read(name, trail.position(cursor)), spoil)
        except ConnectorError as error:
            return refs, cursor, error.code
        for record in page.records:
            try:
                refs.add(trial.connector.change_of(name, record).ref)
            except ConnectorError:
                continue  # it is kept without an id, and waits in quarantine
        cursor, stuck = trail.followed(cursor, page, utc_now())
        if stuck is not None:
            return refs, cursor, stuck.code
        if not page.more:
            return refs, cursor, ""
    raise AssertionError("the read does not end")


@pytest.mark.parametrize(("plugin", "name"), READS)
def test_a_connector_loses_nothing_when_an_answer_is_damaged(plugin: str, name: str) -> None:
    subject = SUBJECTS[plugin]()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES < 100)
    @given(how=st.sampled_from(DAMAGES), place=st.integers(0, 5), junk=st.sampled_from(JUNK))
    def check(how: str, place: int, junk: Any) -> None:
        trial, count, given_before = subject.trial(), [0], []

        def spoil(_: int, request: Request, real: Callable[[], Response]) -> Response:
            response = real()
            given_before.append(copy.deepcopy(response))
            count[0] += 1
            if count[0] - 1 != place:
                return response
            return damaged(how, junk, response, given_before[-2] if len(given_before) > 1 else None)

        listed = trial.system.listed[name]()
        seen, cursor, error = read(trial, name, {}, spoil)
        missed = listed - seen
        # That there is nothing is a thing that a system may say: a poll cannot know better, and a later one reads it.
        assert how == "empty" or not missed or error, f"{missed} were not seen, and the read says that it is complete"
        again, cursor, error = read(trial, name, cursor)
        if error:  # the saved position led nowhere: the hub begins again at the bounds
            again, _, error = read(trial, name, trail.beginning(cursor))
        assert not error
        assert listed <= seen | again, f"{listed - seen - again} are lost after {how}"

    with small_pages(subject, name):
        check()


READING = """
integration: sync
duplicates: pass
connections: {a: {connector: rows, base_url: "http://a.test"}, b: {connector: rows, base_url: "http://b.test"}}
flows:
  - {name: rows, on: product.v2, from: a, cadence: every 1m, read: [row], to: [{connection: b}]}
"""
PAGED = "paging: {type: offset, limit: 4}\nincremental: changed"


def statuses(world: World) -> dict[str, str]:
    found = sorted(world.rows("message"), key=lambda row: str(row["id"]))
    return {data["id"]: data["status"] for row in found for data in [orjson.loads(row["body"])["data"]]}


def spoiled(world: World, spoil: Callable[[int, Request, Response], Response]) -> Callable[[], None]:
    """Damage the answers of reads until what is returned is called."""
    real, count = world.system.answer, [0]

    def answered(request: Request) -> Response:
        params = {name: value for name, value in request.params.items() if name != "page" or isinstance(value, int)}
        response = real(replace(request, params=params))
        if request.method != "GET":
            return response
        count[0] += 1
        return spoil(count[0], request, response)

    world.system.answer = answered  # type: ignore[method-assign]

    def mend() -> None:
        world.system.answer = real  # type: ignore[method-assign]

    return mend


def stream(world: World) -> dict[str, Any]:
    (row,) = world.rows("cursor")
    return {**row, "run": orjson.loads(row["run"]) if isinstance(row["run"], str | bytes) else row["run"],
            "value": orjson.loads(row["value"]) if isinstance(row["value"], str | bytes) else row["value"]}  # fmt: skip


def filled(rows: int = 10, paging: str = PAGED, **given: Any) -> World:
    world = World(READING, paging, **given)
    for number in range(rows):
        world.system.put(f"R{number:03}", START - timedelta(minutes=100 - number))
    settle(world)
    return world


def settle(world: World, turns: int = 6) -> None:
    for _ in range(turns):
        later(world, minutes=1)
        world.live(poll)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES < 100)
@given(how=st.sampled_from(DAMAGES), place=st.integers(1, 4), junk=st.sampled_from(JUNK), whole=st.booleans())
def test_a_hub_loses_and_withdraws_nothing_when_an_answer_is_damaged(how: str, place: int, junk: Any, whole: bool) -> None:
    world = filled()
    for number in range(10, 16):
        world.system.put(f"R{number:03}", world.now + timedelta(seconds=number))
    later(world, minutes=1)
    before: list[Response] = []

    def spoil(number: int, request: Request, response: Response) -> Response:
        before.append(response)
        return damaged(how, junk, response, before[-2] if len(before) > 1 else None) if number >= place else response

    mend = spoiled(world, spoil)
    if whole:
        world.live(lambda hub: runs.start_backfill(hub.ctx, TENANT, "a", "row", "", "", "anna", "", full=True))
    settle(world)
    mend()
    settle(world)

    assert set(statuses(world)) == {f"R{number:03}" for number in range(16)}
    assert "withdrawn" not in statuses(world).values()


@pytest.mark.parametrize("rows", [1, 8, 30])
def test_a_full_read_asks_a_person_when_it_finds_nothing(rows: int) -> None:
    world = filled(rows, "paging: {type: none}\nincremental: changed")
    world.system.rows.clear()
    started: list[str] = []
    world.live(lambda hub: started.append(
        runs.start_backfill(hub.ctx, TENANT, "a", "row", "", "", "anna", "", full=True)["id"]
    ))  # fmt: skip
    settle(world, 8)

    (run,) = [row for row in world.rows("sync_run") if row["kind"] == "full"]
    assert run["state"] == "paused"
    assert f"{rows} of {rows} records are not listed any more (0 are" in run["error"]
    assert "withdrawn" not in statuses(world).values()
    world.live(lambda hub: runs.change(hub.ctx, TENANT, started[0], "resume", "anna", "they are gone"))
    settle(world, 8)
    assert set(statuses(world).values()) == {"withdrawn"}


def test_a_full_read_withdraws_no_more_than_a_person_agreed_to_when_the_system_is_empty_afterwards() -> None:
    world = filled(10, full_read_ask_share=0.2)
    for number in range(6):
        del world.system.rows[f"R{number:03}"]
    started: list[str] = []
    world.live(lambda hub: started.append(
        runs.start_backfill(hub.ctx, TENANT, "a", "row", "", "", "anna", "", full=True)["id"]
    ))  # fmt: skip
    settle(world, 8)
    world.system.rows.clear()
    world.live(lambda hub: runs.change(hub.ctx, TENANT, started[0], "resume", "anna", "six are gone"))
    settle(world, 8)

    assert {ref for ref, status in statuses(world).items() if status == "withdrawn"} == {f"R{number:03}" for number in range(6)}


def test_a_read_stops_with_an_error_when_the_same_pages_come_again() -> None:
    world = World(READING, "paging: {type: cursor, token: next, limit: 2}\nincremental: changed")
    for number in range(4):
        world.system.put(f"R{number:03}", START - timedelta(minutes=number + 1))
    tokens = {None: "A", "A": "B", "B": "C", "C": "A"}
    spoiled(world, lambda number, request, response: answer(200, {
        "items": [json.loads(response.content)["items"][number % 2]], "next": tokens[request.params.get("page")],
    }))  # fmt: skip
    world.live(poll)
    asked = 0
    for _ in range(40):
        later(world, seconds=1)
        world.live(poll)
        if stream(world)["run"]["state"] == "failed":
            asked = world.system.requests
            break

    assert 4 <= asked <= 20
    assert "read already" in stream(world)["run"]["error"]
    assert stream(world)["value"] == {"since": "1970-01-01T00:00:00Z"}, "the next read begins anew"
    assert stream(world)["run"]["new"] == 2, "nothing of what was read is lost"


def test_a_read_begins_again_once_when_its_page_token_is_refused() -> None:
    world = World(READING, "paging: {type: cursor, token: next, limit: 10}\nincremental: changed")
    for number in range(3):
        world.system.put(f"R{number:03}", START - timedelta(minutes=9 - number))
    first = [True]

    def spoil(_: int, request: Request, response: Response) -> Response:
        if request.params.get("page"):
            return answer(410, {"error": "cursor expired"})
        items = json.loads(response.content)["items"]
        if first:
            first.clear()
            return answer(200, {"items": items[:1], "next": "T1"})
        return answer(200, {"items": items, "next": None})

    spoiled(world, spoil)
    for _ in range(5):
        world.live(poll)
        later(world, seconds=1)

    assert set(statuses(world)) == {"R000", "R001", "R002"}
    assert "refused" in stream(world)["run"]["notice"]
    assert [row["action"] for row in world.rows("audit") if row["action"] == "read.begun_again"] == ["read.begun_again"]


@pytest.mark.parametrize(
    "bad",
    [
        rb'{"id": "B", "name": "half \ud83d"}', rb'{"id": "B\u0000", "name": 7}', b'{"id": "B", "w": 1e9999999999999999999}',
        b'{"id": "B", "w": NaN}', b'{"id": "B", "w": ' + b"9" * 30 + b"}", b'{"id": "B", "w": ' + b"9" * 5000 + b"}",
        b'{"id": "B", "w": ' + b"[" * 100000 + b"]" * 100000 + b"}", b"null", b'"oops"', b"[]", b"{}",
        b'{"id": {}, "name": [], "changed": null}',
    ],
    ids=range(12),
)  # fmt: skip
def test_an_unreadable_record_waits_in_quarantine_alone(bad: bytes) -> None:
    world = World(READING, "paging: {type: none}\nincremental: changed")
    for number in range(2):
        world.system.put(f"R{number:03}", START - timedelta(minutes=1))
    spoiled(world, lambda number, request, response: replace(
        response, content=response.content.replace(b'"items":[', b'"items":[' + bad + b",")
    ))  # fmt: skip
    settle(world, 3)

    assert set(statuses(world)) == {"R000", "R001"}
    raws = [row for row in world.rows("raw_input") if row["state"] != "translated"]
    assert [row["state"] for row in raws] == ["quarantined"]
    assert stream(world)["run"]["state"] == "complete"


def test_a_stream_keeps_its_cadence_and_shows_its_error_when_anything_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    world = filled(1)

    def fails(*_: Any) -> Any:
        raise OSError("nobody foresaw this")
        yield

    monkeypatch.setattr(world.connectors["rows"], "read", fails)
    later(world, minutes=2)
    world.live(poll)
    assert (stream(world)["run"]["state"], "nobody foresaw" in stream(world)["run"]["error"]) == ("failed", True)
    assert str(stream(world)["next_run_at"]) > str(world.now).replace("+00:00", "")
