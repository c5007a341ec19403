"""Two versions of a connector beside each other: whole deliveries by what was recorded, and input by what both make of it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from hub.bootstrap import utc_now
from hub.flow.ingest import received
from hub.identity.connections import resume, set_credentials
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.marketplace.installed import Installed
from hub.sdk import Response
from hub.sdk.testing import SimRequest, answer
from hub.store import new_id
from hub.store.recordings import KEPT
from hub.sync.versions import compare
from marketplace.shelf import Shelf
from marketplace.test_lifecycle import INTEGRATION, Running

_CALLS = """
        found = (yield Request("GET", "/counts", params={"key": key})).json()
        identity = found["id"]
        if not identity:
            count = {"key": key, "code": document["sku"], "quantity": document["quantity"]}
            identity = _id((yield Request("POST", "/counts", json=count)).json())
        yield Request("POST", f"/counts/{identity}/confirm", json={"by": "hub"})
        return Written(identity)
"""
_SYSTEM = """
    @route("GET", "/counts")
    def find_count(self, request: SimRequest) -> Response:
        return answer(200, {"id": self.counts.get(request.params["key"], {}).get("id", "")})

    @route("POST", "/counts/(?P<identity>[^/]+)/confirm")
    def confirm(self, request: SimRequest, identity: str) -> Response:
        return answer(200, {"confirmed": True})
"""
TILL = """
integration: till
connections: {till: {connector: globex, base_url: "https://till.example"}, books: {connector: acme, base_url: "https://b.example"}}
flows: [{name: till, on: stock.counted.v1, from: till, to: [{connection: books}]}]
"""
TOKEN = "token-of-the-test"


def writes(*edits: tuple[str, str]) -> Callable[[Path], None]:
    """A connector that looks, makes and confirms, edited."""

    def edit(folder: Path) -> None:
        file = folder / "connector.py"
        calls = _CALLS
        for old, new in edits:
            assert old in calls
            calls = calls.replace(old, new)
        text = re.sub(r'        count = \{"key".*?Request\("POST", "/counts", json=count\)\)\.json\(\)\)\)\n', calls.lstrip("\n"),
                      file.read_text(), flags=re.S)  # fmt: skip
        file.write_text(text)
        file = folder / "simulator.py"
        file.write_text(file.read_text() + _SYSTEM)

    return edit


class Counts:
    """A system that finds what it has, and tells everybody the credentials it was sent."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}

    def handle(self, request: SimRequest) -> Response:
        self.asked.append(f"{request.method} {request.path}")
        if request.method == "GET":
            return answer(200, {"id": self.kept.get(request.params["key"], ""), "you": request.headers["authorization"]})
        if request.path == "/counts/many":
            rows = request.json()["rows"]
            self.kept |= {row["key"]: f"C{len(self.kept) + number}" for number, row in enumerate(rows, 1)}
            return answer(200, {"rows": [{"id": self.kept[row["key"]]} for row in rows]})
        if request.path == "/counts":
            self.kept[request.json()["key"]] = f"C{len(self.kept) + 1}"
            return answer(200, {"id": f"C{len(self.kept)}"})
        return answer(200, {"confirmed": True}, self.headers)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "shelf").mkdir()
    shelf = Shelf(tmp_path / "shelf")
    shelf.list(shelf.plugin(edit=writes()))
    shelf.catalogue()
    running = Running(tmp_path, shelf)
    counts = Counts()
    running.simulator.handle = counts.handle  # type: ignore[method-assign]
    running.counts = counts  # type: ignore[attr-defined]
    running.shelf.install("acme")
    running.connect()
    yield running
    running.close()


def beside(running: Running, version: str, *edits: tuple[str, str], connector: str = "acme") -> None:
    """Another version, as one tenant's canary."""
    running.shelf.list(running.shelf.plugin(version=version, edit=writes(*edits)))
    running.shelf.install(connector, canary=["south"])
    running.until(lambda: (other := running.hub.ctx.plugins.other(connector, "north"))
                  and other.manifest.data["version"] == version)  # fmt: skip


def delivered(running: Running, times: int) -> None:
    running.count("north", times)
    running.until(lambda: set(running.states("north")) == {"applied"})


def kept(running: Running) -> list[dict[str, Any]]:
    with running.hub.ctx.store.read() as uow:
        return uow.recordings.newest("north", "erp", "0.1.0", 1000)


def test_what_follows_the_first_effect_is_compared_too(running: Running) -> None:
    ctx = running.hub.ctx
    delivered(running, 1)
    assert not kept(running), "nothing is kept while there is nothing to compare with"
    beside(running, "0.1.1", ('"hub"', '"somebody"'))
    between = ctx.clock()
    delivered(running, 2)
    asked = list(running.counts.asked)  # type: ignore[attr-defined]

    found = compare(ctx, "north", "erp", 2)

    assert (found["examined"], found["whole"], found["counts"]) == (2, 2, {"same": 0, "changed": 2, "failing": 0})
    assert found["items"][0]["compared"] == "whole"
    assert found["items"][0]["fields"] == [{"field": "/2/body/by", "now": "hub", "then": "somebody"}]
    assert running.counts.asked == asked, "what was recorded is asked of nobody"  # type: ignore[attr-defined]
    assert TOKEN.encode() not in b"".join(row["content"] for row in kept(running)), "no credential is kept"

    older = compare(ctx, "north", "erp", 20)
    assert (older["examined"], older["whole"]) == (3, 2), "the one before the canary is compared by its first effect"
    windows = [compare(ctx, "north", "erp", 20, until=between), compare(ctx, "north", "erp", 20, between)]
    assert [(window["examined"], window["whole"]) for window in windows] == [(1, 0), (2, 2)]


@pytest.mark.parametrize(("edits", "counts", "fields", "problem"), [
    ((), {"same": 1, "changed": 0, "failing": 0}, [], ""),
    ((('"quantity": document["quantity"]', '"quantity": document["quantity"], "unit": "pc"'),), {"same": 0, "changed": 1, "failing": 0},
     ["/1/body/unit"], ""),
    ((('        yield Request("POST", f"/counts/{identity}/confirm", json={"by": "hub"})\n', ""),),
     {"same": 0, "changed": 1, "failing": 0}, ["/2"], ""),
    ((('        return Written(identity)', '        return Written(f"N-{identity}")'),), {"same": 0, "changed": 1, "failing": 0},
     ["/result/external_id"], ""),
    ((('        return Written(identity)', '        assert not document["id"].startswith("T-"), "a bug"\n        return Written(identity)'),), {"same": 0, "changed": 0, "failing": 1},
     ["/result/external_id", "/result/error"], "a bug"),
], ids=["nothing", "a body", "a request less", "the result", "a bug after the last answer"])  # fmt: skip
def test_each_difference_is_named(
    running: Running, edits: Any, counts: dict[str, int], fields: list[str], problem: str
) -> None:  # fmt: skip
    beside(running, "0.1.1", *edits)
    delivered(running, 1)

    found = compare(running.hub.ctx, "north", "erp", 20)

    assert (found["counts"], found["whole"]) == (counts, 1)
    assert [field["field"] for item in found["items"] for field in item["fields"]] == fields
    assert all(problem in item["problem"] for item in found["items"])


def together(folder: Path) -> None:
    """Counts go many at a time."""
    manifest = folder / "connector.yaml"
    manifest.write_text(re.sub(r"(    object: count\n)", r"\1    batch: 10\n", manifest.read_text()))
    file = folder / "connector.py"
    file.write_text(
        file.read_text().replace(
            "\n\ndef _id(",
            """
    def write_many_stock_counted(self, items: Any) -> Any:
        rows = [{"key": key, "code": document["sku"], "quantity": document["quantity"]} for document, key in items]
        answers = (yield Request("POST", "/counts/many", json={"rows": rows})).json()["rows"]
        return [Written(row["id"]) if row["id"] else ConnectorError("none", code="refused") for row in answers]


def _id(""",
            1,
        )
    )
    file = folder / "simulator.py"
    file.write_text(
        file.read_text()
        + """
    @route("POST", "/counts/many")
    def many(self, request: SimRequest) -> Response:
        rows = request.json()["rows"]
        known = [row for row in rows if row["code"] in self.articles]
        for row in known:
            self.counts.setdefault(row["key"], {"id": f"C{len(self.counts) + 1}", **row})
        return answer(200, {"rows": [{"id": self.counts.get(row["key"], {}).get("id", "")} for row in rows]})
"""
    )


def test_those_that_are_written_together_are_compared_together(running: Running) -> None:
    ctx, shelf = running.hub.ctx, running.shelf
    shelf.list(shelf.plugin(version="0.2.0", edit=together))
    shelf.install("acme")
    running.until(lambda: ctx.plugins.get("acme", "north").manifest.data["version"] == "0.2.0")

    def doubled(folder: Path) -> None:
        together(folder)
        file = folder / "connector.py"
        file.write_text(file.read_text().replace('{"rows": rows}', '{"rows": [row | {"unit": "pc"} for row in rows]}'))

    shelf.list(shelf.plugin(version="0.2.1", edit=doubled))
    shelf.install("acme", canary=["south"])
    running.until(lambda: ctx.plugins.other("acme", "north"))
    with ctx.store.begin() as uow:
        uow.connections.set_state("north", "erp", "paused", "to wait for each other", utc_now())
    running.count("north", 4)
    with ctx.store.begin() as uow:
        resume(uow, "north", "erp", utc_now(), "test", "all are here")
    running.until(lambda: running.states("north") == ["applied"] * 4)

    found = compare(ctx, "north", "erp", 20)

    assert (found["examined"], found["whole"], found["counts"]) == (4, 4, {"same": 0, "changed": 4, "failing": 0})
    assert sum(len(item["fields"]) for item in found["items"]) == 4, "one field of each row"
    assert "/1/body/rows/1/unit" in [field["field"] for item in found["items"] for field in item["fields"]], (
        "some went together"
    )


def test_a_version_that_asks_otherwise_is_compared_by_its_first_effect(running: Running) -> None:
    beside(running, "0.1.1", ('params={"key": key}', 'params={"key": key, "exact": "1"}'), ('"hub"', '"somebody"'))
    delivered(running, 1)

    found = compare(running.hub.ctx, "north", "erp", 20)

    assert (found["examined"], found["whole"]) == (1, 0)
    assert found["items"][0]["compared"] == "first_effect"
    assert found["items"][0]["fields"] == [{"field": "/1/body/by", "now": "hub", "then": "somebody"}], "both found it there"


def test_the_newest_are_kept_until_one_version_is_left(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.store.recordings.KEPT", 3)
    assert KEPT > 3
    beside(running, "0.1.1")
    delivered(running, 5)
    with running.hub.ctx.store.read() as uow:
        newest = sorted(row["id"] for row in uow.deliveries.page("north", None, 3)[:3])

    held = kept(running)

    assert len(held) == 3
    assert sorted(name for row in held for name in orjson.loads(row["content"])["deliveries"]) == newest
    Installed(running.shelf.home).promote("acme")
    running.until(lambda: not kept(running))


def test_what_never_reached_the_connector_is_a_dead_letter_as_ever(running: Running) -> None:
    ctx = running.hub.ctx
    beside(running, "0.1.1")
    source = INTEGRATION.format(url=running.server.url).replace("{connection: erp}", "{connection: erp, map: {code: CODE}}")
    source = source.replace("CODE", '"mapped(sku, values.codes)"') + "values: {codes: {map: {other: X}}}\n"
    wanted = parse_integration(source, "counts.yaml", ctx.plugins, "north")
    with ctx.store.begin() as uow:
        apply_integration(uow, ctx.plugins, "north", wanted, "test", "", utc_now())

    running.count("north")

    running.until(lambda: running.states("north") == ["dead"])
    assert not kept(running)


def test_what_cannot_be_kept_does_not_cost_a_delivery_its_outcome(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    beside(running, "0.1.1")
    with monkeypatch.context() as patched:
        patched.setattr("hub.flow.recording.shown", lambda request: {"body": "\udce9"})

        delivered(running, 1)

    assert not kept(running)


def test_an_answer_s_headers_are_read_whatever_their_bytes_are_and_sessions_are_not_kept(running: Running) -> None:
    beside(running, "0.1.1")
    running.counts.headers = {"X-Shop": "Caf\xe9", "Set-Cookie": "session=made-up-just-now"}  # type: ignore[attr-defined]

    delivered(running, 1)

    (row,) = kept(running)
    assert orjson.loads(row["content"])["exchanges"][-1]["headers"]["x-shop"] == "Caf\xe9"
    assert b"made-up-just-now" not in row["content"]


def test_what_came_in_becomes_documents_by_both(running: Running) -> None:
    ctx = running.hub.ctx
    shelf = running.shelf

    def renamed(folder: Path) -> None:
        file = folder / "connector.yaml"
        file.write_text(file.read_text().replace('name: "= record.title"', 'name: "= upper(record.title)"'))

    shelf.list(shelf.plugin("globex", "pos"))
    shelf.install("globex")
    running.until(lambda: "globex" in ctx.plugins.connectors)
    wanted = parse_integration(TILL, "till.yaml", ctx.plugins, "north")
    with ctx.store.begin() as uow:
        apply_integration(uow, ctx.plugins, "north", wanted, "test", "", utc_now())
        set_credentials(
            uow, ctx.plugins, ctx.vault, "north", "till", {"token": TOKEN, "webhook_secret": "s"}, utc_now(), "test"
        )
        record = {"id": "A1", "code": "SKU-A1", "title": "Tea", "deleted": False, "changed_at": "2026-11-21T10:00:00Z"}
        for body in (record, {**record, "id": "A2", "title": "TEA"}, {**record, "title": None}):
            uow.raws.add({
                **received(utc_now()), "tenant_id": "north", "id": new_id(), "connection_id": "till", "kind": "poll",
                "object": "article", "source_event_id": new_id(), "event_type": "", "headers": {}, "body": orjson.dumps(body),
                "traceparent": "", "lane": "live",
            })  # fmt: skip
    running.until(lambda: not _received(running))
    shelf.list(shelf.plugin("globex", "pos", version="0.2.0", edit=renamed))
    shelf.install("globex", canary=["south"])
    running.until(lambda: ctx.plugins.other("globex", "north"))

    found = compare(ctx, "north", "till", 20)["inputs"]

    assert (found["examined"], found["counts"]) == (3, {"same": 2, "changed": 1, "failing": 0}), "one both refuse"
    assert found["items"][0]["object"] == "article"
    assert found["items"][0]["fields"] == [{"field": "/1/data/name", "now": "Tea", "then": "TEA"}]


def _received(running: Running) -> list[Any]:
    with running.hub.ctx.store.read() as uow:
        return uow.raws.page("north", None, 20, state="received")
