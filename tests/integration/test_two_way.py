"""Two systems that both change: they converge, nobody writes what another owns, nothing goes in circles, nothing said is lost.

Histories are generated: edits on both sides by people who may not know who owns what, webhooks that are lost, doubled, late and
out of order, clocks that differ, writes whose answers are lost or that arrive late, processes that die at any effect.
`HISTORIES` says how many.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sync_world import START, TENANT, World

from hub.flow import entities
from hub.flow.claim import digest_of
from hub.flow.forecast import Window, forecast
from hub.flow.heal import heal
from hub.flow.ingest import received
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.integrations.routes import InForce
from hub.rehearsal.incarnation import Incarnation
from hub.runtime.plugins import Plugins
from hub.sdk.connector import Connector
from hub.sdk.errors import AmbiguousWriteError, ManifestError, TargetUnavailableError
from hub.sdk.manifest import parse_manifest
from hub.sdk.steps import Change, Request, Response
from hub.store import new_id

WINDOW = 2.0
MANIFEST = """
connector: side
name: Side
version: 1.0.0
kind: erp
summary: A system of products.
canonical: 2
self_hosted: true
credentials: {secret: {description: Signing secret, required: false}}
webhooks: {signature: {header: x-signature, encoding: hex}, secret: secret, event_id: event}
objects:
  row:
    read:
      request: {path: /rows, params: {since: "= since", page: "= page", limit: "= limit"}}
      records: items
      ref: id
      paging: {type: offset, limit: 50}
      incremental: changed
      overlap_seconds: 30
    map:
      type: product.v2
      source_id: "= join('@', [record.id, text(record.version)])"
      data:
        {id: "= record.id", sku: "= record.id", name: "= record.name", brand: "= record.brand", category: "= record.category",
         status: active, updated_at: "= record.changed"}
writes:
  product.v2:
    object: row
    idempotency: upsert
    partial: true
    max_in_flight_seconds: 2
    request: {method: PUT, path: "/rows/{document.sku}", json: {name: "= document.name", brand: "= document.brand", category: "= document.category"}}
    external_id: id
"""

INTEGRATION = """
integration: sync
duplicates: pass
connections: {a: {connector: side, base_url: "http://a.test"}, b: {connector: side, base_url: "http://b.test"}}
flows:
  - {name: forth, on: product.v2, from: a, cadence: every 5m, read: [row], to: [{connection: b}]}
  - {name: back, on: product.v2, from: b, cadence: every 5m, read: [row], to: [{connection: a}]}
ownership:
  product: {name: a, brand: b, sku: a, status: a, "*": {merge: newest}}
"""
OWNERS = {"name": "a", "brand": "b"}


class Side(Connector):
    manifest = parse_manifest(MANIFEST, "side.yaml")

    def receive(self, webhook: Any) -> Any:
        row = webhook.json()["row"]
        return [Change("row", row["id"], row)]


class System:
    """One side: rows that people change, and what the hub wrote."""

    def __init__(self, world: "Both", name: str) -> None:
        self.world, self.name, self.skew = world, name, timedelta(0)
        self.rows: dict[str, dict[str, Any]] = {}
        self.versions = 0
        self.written: list[tuple[str, str, Any]] = []
        self.faults: list[str] = []
        self.late: list[tuple[datetime, Request]] = []
        self.webhooks: list[bytes] = []

    def edit(self, identity: str, **fields: Any) -> None:
        """Somebody changes fields here, knowing nothing of the hub."""
        row = self.rows.setdefault(identity, {"id": identity, "name": "new", "brand": "new", "category": "new"})
        self.versions += 1
        stamp = (self.world.now + self.skew).astimezone(UTC).isoformat().replace("+00:00", "Z")
        row |= {**fields, "version": f"{self.name}{self.versions}", "changed": stamp}
        event = f"{self.name}-{identity}-{self.versions}"
        self.webhooks.append(orjson.dumps({"event": event, "row": row}))

    def answer(self, request: Request) -> Response:
        for due, late in [item for item in self.late if item[0] <= self.world.now]:
            self.late.remove((due, late))
            self._put(late)
        if request.method == "GET":
            rows = sorted(
                (row for row in self.rows.values() if row["changed"] >= request.params["since"]),
                key=lambda r: (r["changed"], r["id"]),
            )
            start = int(request.params.get("page") or 0)
            return _json({"items": rows[start : start + int(request.params["limit"])]})
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "down":
            raise TargetUnavailableError("refused")
        if fault == "late":
            self.late.append((self.world.now + timedelta(seconds=WINDOW - 0.5), request))
            raise AmbiguousWriteError("timed out")
        answer = self._put(request)
        if fault == "lost":
            raise AmbiguousWriteError("reset")
        return answer

    def _put(self, request: Request) -> Response:
        identity = request.path.rpartition("/")[2]
        self.written += [(identity, field, value) for field, value in request.json.items()]
        if any(self.rows.get(identity, {}).get(field) != value for field, value in request.json.items()):
            self.edit(identity, **request.json)
        return _json({"id": identity})


def _json(body: Any) -> Response:
    return Response(200, {"content-type": "application/json"}, orjson.dumps(body))


class Both(World):
    """Two systems and the hub between them."""

    def __init__(self, integration: str = INTEGRATION) -> None:
        super().__init__(
            'integration: none\nconnections: {x: {connector: rows, base_url: "http://a.test"}}\nflows: [{name: n, on: sale.completed.v1}]'
        )
        self.connectors = {"side": Side}
        self.sides = {name: System(self, name) for name in "ab"}
        self.put_in_force(integration)

    def put_in_force(self, integration: str) -> None:
        hub = self.hub()
        with hub.ctx.store.begin() as uow:
            plugins = Plugins(self.connectors)
            apply_integration(uow, plugins, TENANT, parse_integration(integration, "sync.yaml", plugins), "test", "", START)
        hub.end()

    def answer(self, connection_id: str, request: Request) -> Response:
        return self.sides[connection_id].answer(request)

    def tell(self, hub: Incarnation, side: str, body: bytes) -> None:
        """A webhook arrives (its signature was checked)."""
        with hub.ctx.store.begin() as uow:
            uow.raws.add({
                "tenant_id": TENANT, "id": new_id(), "connection_id": side, "kind": "webhook", "object": "", "event_type": "",
                "source_event_id": orjson.loads(body)["event"], "headers": {}, "body": body, "traceparent": "", **received(self.now),
            })  # fmt: skip

    def rest(self) -> None:
        """Everything is told, polled and written, until nothing changes any more."""
        for _ in range(12):
            self.now += timedelta(minutes=6)

            def all_of_it(hub: Incarnation) -> None:
                hub.poller.run_due()
                hub.run()
                heal(hub.ctx)
                hub.run()

            before = (str(self.sides["a"].rows), str(self.sides["b"].rows))
            self.live(all_of_it)
            for side in self.sides.values():
                side.webhooks.clear()
            if before == (str(self.sides["a"].rows), str(self.sides["b"].rows)) and not any(
                s.late for s in self.sides.values()
            ):
                break


VALUES = st.sampled_from(["red", "green", "blue", "black"])
EDIT = st.tuples(
    st.just("edit"), st.sampled_from("ab"), st.sampled_from(["P", "Q"]), st.sampled_from(["name", "brand", "category"]), VALUES
)
TELL = st.tuples(st.just("tell"), st.sampled_from("ab"), st.sampled_from(["next", "twice", "lose", "newest", "later"]))
WORK = st.tuples(st.just("work"), st.integers(0, 25))
WAIT = st.tuples(st.just("wait"), st.sampled_from([1, 20, 400]))
FAULT = st.tuples(st.just("fault"), st.sampled_from("ab"), st.sampled_from(["down", "lost", "late"]))
HISTORY = st.lists(st.one_of(EDIT, EDIT, TELL, TELL, WORK, WORK, WAIT, FAULT), min_size=5, max_size=30)


@settings(
    max_examples=int(os.environ.get("HISTORIES", "60")), deadline=None, derandomize="HISTORIES" not in os.environ,
    suppress_health_check=list(HealthCheck), database=None, phases=(Phase.explicit, Phase.generate),
)  # fmt: skip
@given(history=HISTORY, skew=st.sampled_from([-90, 0, 45]))
def test_two_systems_converge_whatever_happens(history: list[Any], skew: int) -> None:
    world = Both()
    world.sides["b"].skew = timedelta(seconds=skew)
    owned: dict[tuple[str, str], set[Any]] = {}
    edits = 0
    for identity in "PQ":
        world.sides["a"].edit(identity, name="first", brand="new", category="new")
        world.sides["b"].edit(identity, name="first", brand="own", category="new")
        owned[identity, "name"], owned[identity, "brand"] = {"first"}, {"own"}
    held: list[tuple[str, bytes]] = []
    for step in history:
        match step:
            case ("edit", side, identity, field, value):
                edits += 1
                world.sides[side].edit(identity, **{field: value})
                if OWNERS.get(field) == side:
                    owned[identity, field].add(value)
            case ("tell", side, how):
                queue = world.sides[side].webhooks
                if not queue:
                    continue
                body = queue.pop(-1 if how == "newest" else 0)
                if how == "later":
                    held.append((side, body))
                elif how != "lose":
                    world.live(
                        lambda hub, s=side, b=body, n=how: [world.tell(hub, s, b) for _ in range(2 if n == "twice" else 1)]
                    )
            case ("work", crash):
                world.live(_work, crash_at=crash)
            case ("wait", seconds):
                world.now += timedelta(seconds=seconds)
            case ("fault", side, fault):
                world.sides[side].faults.append(fault)
    for side, body in held:  # three days late
        world.live(lambda hub, s=side, b=body: world.tell(hub, s, b))
    world.rest()

    try:
        _check(world, owned, edits)
    except AssertionError as error:
        error.add_note(f"history {history}, skew {skew}")
        raise


def _work(hub: Incarnation) -> None:
    hub.poller.run_due()
    for _ in range(6):
        if not hub.step():
            return


def _check(world: Both, owned: dict[tuple[str, str], set[Any]], edits: int) -> None:
    a, b = (world.sides[name].rows for name in "ab")
    for identity in "PQ":
        for field, owner in OWNERS.items():
            wanted = world.sides[owner].rows[identity][field]
            assert a[identity][field] == b[identity][field] == wanted, f"{identity}.{field}: {a[identity]} {b[identity]}"
        assert a[identity]["category"] == b[identity]["category"], f"{identity}.category: {a[identity]} {b[identity]}"
    for name, side in world.sides.items():
        for identity, field, value in side.written:
            if field in OWNERS:
                assert OWNERS[field] != name, f"{name} owns {field}, and was written to"
                assert value in owned[identity, field], f"{field} {value!r} was never said by {OWNERS[field]}"
    assert sum(len(side.written) for side in world.sides.values()) <= 3 * (12 * edits + 24), "it goes in circles"
    said = {(row["subject"], row["field"], orjson.loads(row["wanted"])) for row in world.rows("conflict")}
    for row in world.rows("message"):
        data, origin = orjson.loads(row["body"])["data"], row["connection_id"]
        for field, owner in OWNERS.items():
            if origin is not None and origin != owner and data[field] not in owned[data["sku"], field] | {"new"}:
                known = (row["subject"], field, data[field]) in said
                assert known or _stale(world, row), f"{origin} said {field} {data[field]!r}, and no conflict tells it"
    open_ = [row for row in world.rows("delivery") if row["state"] not in ("applied", "skipped")]
    assert open_ == []
    assert not [row for row in world.rows("entity") if row["tripped"]], "nothing here is a loop"


def _stale(world: Both, row: Any) -> bool:
    """A word older than the last one of its system says nothing."""
    others = [
        other
        for other in world.rows("message")
        if other["subject"] == row["subject"] and other["connection_id"] == row["connection_id"]
    ]
    return any(other["event_at"] > row["event_at"] for other in others)


def settled(world: Both) -> None:
    for side in world.sides.values():
        side.webhooks.clear()
    world.rest()


def test_a_day_of_dropped_webhooks_misses_nothing_after_one_poll() -> None:
    """D13: 5 % lost, 5 % doubled, 20 % out of order, 1 % three days late. `WEBHOOKS` says how many."""
    source, world = random.Random(13), Both(INTEGRATION.replace("every 5m", "realtime"))
    total = int(os.environ.get("WEBHOOKS", "600"))
    for number in range(total):
        world.now += timedelta(seconds=1)
        world.sides["a"].edit(f"R{source.randint(0, total // 3)}", name=f"n{number}", category=f"c{number}")
    arriving: list[tuple[float, bytes]] = []
    for position, body in enumerate(world.sides["a"].webhooks):
        chance = source.random()
        if chance < 0.05:
            continue
        late = 3 * 86400.0 if chance < 0.06 else source.uniform(1, 60) if chance < 0.26 else 0.0
        arriving += [(position + late, body)] * (2 if 0.26 <= chance < 0.31 else 1)
    world.sides["a"].webhooks.clear()
    told = [body for _, body in sorted(arriving, key=lambda item: item[0])]
    for start in range(0, len(told), 50):
        world.live(lambda hub, bodies=told[start : start + 50]: ([world.tell(hub, "a", body) for body in bodies], hub.run()))
    missing = {
        identity
        for identity, row in world.sides["a"].rows.items()
        if world.sides["b"].rows.get(identity, {}).get("name") != row["name"]
    }
    assert missing, "something was lost on the way"

    world.now += timedelta(minutes=16)  # one cycle of the poll that backs every subscription
    for _ in range(2 + total // 100):  # nobody has read it before: page by page, each gives way to what else there is
        world.live(lambda hub: (hub.poller.run_due(), hub.run(limit=5000)))
        world.now += timedelta(seconds=1)

    a, b = (world.sides[name].rows for name in "ab")
    assert {identity: row["name"] for identity, row in a.items()} == {identity: row["name"] for identity, row in b.items()}
    assert {identity: row["category"] for identity, row in a.items()} == {
        identity: row["category"] for identity, row in b.items()
    }


def test_the_one_who_spoke_in_vain_gets_the_owners_word_back_and_it_is_told() -> None:
    world = Both()
    world.sides["a"].edit("P", name="Coffee", category="drinks")
    settled(world)
    assert world.sides["b"].rows["P"]["name"] == "Coffee"
    assert "brand" not in {field for _, field, _ in world.sides["b"].written}, "b owns it"
    world.sides["b"].edit("P", name="Kaffee", brand="House")
    settled(world)

    assert (world.sides["a"].rows["P"]["name"], world.sides["b"].rows["P"]["name"]) == ("Coffee", "Coffee")
    assert world.sides["a"].rows["P"]["brand"] == "House"
    (conflict,) = [row for row in world.rows("conflict") if row["field"] == "name"]
    assert (conflict["origin"], conflict["wanted"], conflict["kept"], conflict["why"], conflict["state"]) == (
        "b", '"Kaffee"', '"Coffee"', "a owns it", "settled")  # fmt: skip


def test_an_echo_is_nobodys_news() -> None:
    world = Both()
    world.sides["a"].edit("P", name="Coffee", category="drinks")
    settled(world)
    before = Counter(side for side, system in world.sides.items() for _ in system.written)
    for _ in range(3):
        settled(world)

    after = Counter(side for side, system in world.sides.items() for _ in system.written)
    assert before == after


def test_systems_that_change_by_turns_faster_than_people_trip_the_breaker_and_a_person_lets_go() -> None:
    world = Both(INTEGRATION.replace(", brand: b", ""))
    world.sides["a"].edit("P", category="first")
    settled(world)
    for turn in range(14):  # an automation on each side that corrects the other
        side = "ab"[turn % 2]
        world.now += timedelta(seconds=1)
        world.sides[side].edit("P", category=f"{side}{turn}")
        body = world.sides[side].webhooks[-1]
        world.live(lambda hub, s=side, b=body: world.tell(hub, s, b))
        world.live(lambda hub: [hub.step() for _ in range(4)])
    (entity,) = world.rows("entity")
    assert entity["tripped"].startswith("loop: a and b changed category by turns, 12 times in 60 s")
    (loop,) = [row for row in world.rows("conflict") if row["field"] == "*"]
    assert loop["state"] == "open"
    world.live(lambda hub: hub.run())  # what was on its way
    written = sum(len(side.written) for side in world.sides.values())
    settled(world)
    assert sum(len(side.written) for side in world.sides.values()) == written, "nothing is sent until a person has decided"

    world.live(lambda hub: entities.resolve(hub.ctx, TENANT, loop["id"], "kept", "anna", "automation switched off"))
    settled(world)
    assert world.sides["a"].rows["P"]["category"] == world.sides["b"].rows["P"]["category"] == "b13"


def test_what_is_not_knowable_waits_for_a_person_and_either_answer_reaches_both() -> None:
    for keep in ("kept", "wanted"):
        world = Both(INTEGRATION.replace('"*": {merge: newest}', '"*": {merge: newest, tolerance_seconds: 60}'))
        world.sides["a"].edit("P", category="first")
        settled(world)
        world.now += timedelta(minutes=30)
        world.sides["a"].edit("P", category="cold")
        world.now += timedelta(seconds=20)
        world.sides["b"].edit("P", category="warm")
        with poll_only(world, "a"):
            pass
        settled(world)
        (conflict,) = [row for row in world.rows("conflict") if row["state"] == "open"]
        values = {orjson.loads(conflict["wanted"]), orjson.loads(conflict["kept"])}
        assert values == {"cold", "warm"}
        assert "not knowable within 60 s" in conflict["why"]
        chosen = orjson.loads(conflict[keep])
        world.live(lambda hub, c=conflict, k=keep: entities.resolve(hub.ctx, TENANT, c["id"], k, "anna", "asked the shop"))
        settled(world)
        assert world.sides["a"].rows["P"]["category"] == world.sides["b"].rows["P"]["category"] == chosen


@contextmanager
def poll_only(world: Both, side: str) -> Iterator[None]:
    """Both sides' last webhooks arrive before anything is written."""
    for name, system in world.sides.items():
        body = system.webhooks[-1]
        world.live(lambda hub, s=name, b=body: world.tell(hub, s, b))
    yield


def test_an_owner_that_would_be_overwritten_is_refused_when_the_file_is_read() -> None:
    class Whole(Side):
        manifest = parse_manifest(MANIFEST.replace("    partial: true\n", ""), "side.yaml")

    with pytest.raises(ManifestError, match="b owns brand of product.v2; side writes it whole".replace(".", r"\.")):
        parse_integration(INTEGRATION, "sync.yaml", Plugins({"side": Whole}))


def test_an_owner_that_another_integration_would_write_whole_gets_nothing() -> None:
    class Whole(Side):
        manifest = parse_manifest(MANIFEST.replace("    partial: true\n", ""), "side.yaml")

    world = Both()
    world.connectors = {"side": Whole}  # it was installed later, or its flow is another file's
    world.sides["b"].edit("P", brand="House")
    world.sides["a"].edit("P", name="Coffee")
    settled(world)

    assert world.sides["b"].written == []
    assert world.sides["b"].rows["P"]["brand"] == "House"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [("name: a,", "nme: a,", "no field of product; known: active"), ("name: a,", "name: c,", "'c' is not a connection here"),
     ("  product: {name", "  sale: {name", "no entity with a state; one of account"),
     ("name: a,", "name: {owner: a, merge: union},", "a field with an owner is not merged")],
)  # fmt: skip
def test_rules_about_what_is_not_there_are_named(old: str, new: str, problem: str) -> None:
    assert old in INTEGRATION
    with pytest.raises(ManifestError, match=problem):
        parse_integration(INTEGRATION.replace(old, new), "sync.yaml", Plugins({"side": Side}))


def test_what_waits_while_a_field_gets_an_owner_does_not_overwrite_it() -> None:
    world = Both(INTEGRATION.replace(", brand: b", ""))
    world.sides["a"].edit("P", name="Coffee", brand="House", category="drinks")
    settled(world)
    world.now += timedelta(minutes=10)
    world.sides["a"].edit("P", name="Espresso", brand="Other")
    world.live(lambda hub: (hub.poller.run_due(), hub.translator.run_once()))
    (waiting,) = [row for row in world.rows("delivery") if row["state"] == "pending"]
    assert orjson.loads(waiting["merged"])["brand"] == "Other", "nobody owned it when it was merged"
    world.put_in_force(INTEGRATION)
    written = len(world.sides["b"].written)

    settled(world)

    (row,) = [row for row in world.rows("delivery") if row["id"] == waiting["id"]]
    assert (row["state"], row["cause_code"]) == ("skipped", "ownership_changed")
    assert "brand" not in {field for _, field, _ in world.sides["b"].written[written:]}
    assert world.sides["a"].rows["P"]["name"] == world.sides["b"].rows["P"]["name"] == "Espresso"


def test_a_plan_forecasts_what_owners_merged_and_no_echo() -> None:
    world = Both()
    world.sides["a"].edit("P", name="Coffee", brand="not mine", category="drinks")
    world.sides["b"].edit("P", name="not mine", brand="House", category="drinks")
    settled(world)
    world.now += timedelta(minutes=10)
    world.sides["a"].edit("P", name="Espresso")
    settled(world)
    wanted = parse_integration(
        INTEGRATION.replace("to: [{connection: b}]", 'to: [{connection: b, map: {label: "name"}}]'),
        "sync.yaml",
        Plugins(world.connectors),
    )
    told = [row for row in world.rows("delivery") if row["connection_id"] == "b"]
    sent = [orjson.loads(row["merged"]) for row in told]
    found: dict[str, Any] = {}

    def plan(hub: Incarnation) -> None:
        with hub.ctx.store.read() as uow:
            now = hub.ctx.routes.in_force(uow, TENANT)
            found.update(forecast(hub.ctx, uow, TENANT, now, [InForce(2, wanted)], Window()))

    world.live(plan)

    assert found["counts"] | {"same": 0} == {"same": 0, "added": 0, "removed": 0, "changed": len(told), "failing": 0}
    assert found["counts"]["same"] == len(world.rows("delivery")) - len(told), "an echo would be written by neither"
    assert {write["message_id"].replace("-", "") for write in found["writes"]} == {row["message_id"] for row in told}
    predicted = {write["digest"] for write in found["writes"]}
    labelled = [{**document, "extensions": {"target": {"label": document.get("name", "")}}} for document in sent]
    assert "brand" not in sent[-1]
    assert predicted == {digest_of(document) for document in labelled}
