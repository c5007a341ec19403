"""The fast lane and Connexion give the same answers: one corpus of good and bad requests to both, compared field by field."""

import copy
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Shop, Web, envelope

from canonical.examples import EXAMPLES
from hub.bootstrap import utc_now
from hub.gateway.fast_lane import FastLane
from hub.identity.api_keys import create_key

Answer = tuple[int, str, Any]


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, Web]]:
    """(with the fast lane, without it): same contract, same data."""
    shops = [Shop(tmp_path_factory.mktemp(name)) for name in ("fast", "slow")]
    webs = [shop.serve() for shop in shops]
    for shop, web in zip(shops, webs, strict=True):
        with shop.hub.ctx.store.begin() as uow:
            web.limited = create_key(uow, "acme", "reader", ["messages:read"], utc_now())  # type: ignore[attr-defined]
        web.shop = shop  # type: ignore[attr-defined]
    gateway = webs[1]._server.config.app

    async def decline(headers: Any, body: bytes, value: Any) -> None:
        return None

    for lane in gateway._events.values():  # type: ignore[union-attr]
        lane.accept = decline
    yield webs[0], webs[1]
    for shop in shops:
        shop.close()


def _sale(number: str, **changes: Any) -> dict[str, Any]:
    document = copy.deepcopy(EXAMPLES["sale.completed.v1"]) | {"id": number, "number": number} | changes
    return envelope(document)


def _corpus() -> list[tuple[str, dict[str, Any]]]:
    """(what it is, arguments of a call) in an order in which the same happens to both."""
    good = _sale("G-1")
    cases: list[tuple[str, dict[str, Any]]] = [
        ("every type", {"body": envelope(EXAMPLES[name], name, f"type-{name}")}) for name in sorted(EXAMPLES)
    ]
    cases += [
        ("good", {"body": good}),
        ("the same again", {"body": good}),
        ("same id, other document", {"body": envelope({**good["data"], "number": "other"})}),
        ("with a key", {"body": _sale("K-1"), "headers": {"Idempotency-Key": "k1"}}),
        ("the key again", {"body": _sale("K-1"), "headers": {"Idempotency-Key": "k1"}}),
        ("the key with another body", {"body": _sale("K-2"), "headers": {"Idempotency-Key": "k1"}}),
        ("an empty key", {"body": _sale("K-3"), "headers": {"Idempotency-Key": ""}}),
        ("a long key", {"body": _sale("K-4"), "headers": {"Idempotency-Key": "k" * 256}}),
        ("no credentials", {"body": good, "headers": {"Authorization": ""}}),
        ("wrong key", {"body": good, "headers": {"Authorization": "Bearer xdk_nonsense"}}),
        ("other scheme", {"body": good, "headers": {"Authorization": "Basic YTpi"}}),
        ("lower-case scheme", {"body": _sale("L-1"), "headers": {"Authorization": "bearer {key}"}}),
        ("without the scope", {"body": good, "headers": {"Authorization": "Bearer {limited}"}}),
        ("other content type", {"raw": json.dumps(good).encode(), "headers": {"Content-Type": "text/plain"}}),
        ("charset", {"raw": json.dumps(_sale("C-1")).encode(), "headers": {"Content-Type": "application/json; charset=utf-8"}}),
        (
            "upper-case content type",
            {"raw": json.dumps(_sale("C-2")).encode(), "headers": {"Content-Type": "Application/JSON"}},
        ),
        ("vendor content type", {"raw": json.dumps(good).encode(), "headers": {"Content-Type": "application/vnd.x+json"}}),
        ("query", {"body": _sale("Q-1"), "path": "/v1/events?x=1"}),
        ("trailing slash", {"body": good, "path": "/v1/events/"}),
        ("traceparent", {"body": _sale("T-1"), "headers": {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}}),
        ("bad traceparent", {"body": _sale("T-2"), "headers": {"traceparent": "nonsense"}}),
        ("unknown type", {"body": {**good, "type": "sale.imagined.v1"}}),
        ("number for a string", {"body": {**good, "id": 7}}),
        ("extra member", {"body": {**_sale("X-1"), "custom": 1}}),
        ("wrong subject", {"body": {**good, "subject": "sale/other"}}),
        ("wrong business date", {"body": {**good, "businessdate": "2020-01-01"}}),
        ("bad time", {"body": {**good, "time": "yesterday"}}),
        ("float amount", {"body": envelope({**good["data"], "total": {"amount": 34.7, "currency": "USD"}})}),
        ("sum does not add up", {"body": envelope({**good["data"], "total": {"amount": "1.00", "currency": "USD"}})}),
        ("array", {"body": [good]}),
        ("null", {"raw": b"null"}),
        ("empty", {"raw": b""}),
        ("not JSON", {"raw": b"{"}),
        ("twice the same key", {"raw": b'{"id": "1", "id": "2"}'}),
        ("NaN", {"raw": b'{"id": NaN}'}),
        ("deep", {"raw": b"[" * 60 + b"]" * 60}),
        ("not UTF-8", {"raw": b'{"id": "\xff"}'}),
        ("lone surrogate", {"raw": json.dumps(envelope({**good["data"], "number": "\ud800"})).encode()}),
        ("too large", {"raw": b'{"id": "' + b"x" * 1_100_000 + b'"}'}),
        (
            "a return of nothing that was sold",
            {"body": envelope(EXAMPLES["return.completed.v1"] | {"id": "R-1"}, "return.completed.v1")},
        ),
    ]
    for field in good:
        cases.append((f"without {field}", {"body": {name: value for name, value in good.items() if name != field}}))
        cases.append((f"{field} is null", {"body": {**good, field: None}}))
    for field in good["data"]:
        without = {name: value for name, value in good["data"].items() if name != field}
        cases.append((f"document without {field}", {"body": {**good, "id": f"without-{field}", "data": without}}))
        cases.append(
            (f"document's {field} is a list", {"body": {**good, "id": f"list-{field}", "data": {**good["data"], field: []}}})
        )
    again = [
        (f"{name}, v2", {"path": "/v2/events", **case})
        for name, case in cases
        if "trailing" not in name and "query" not in name
    ]
    return cases + again + [case for path in ("/v1/events/batch", "/v2/events/batch") for case in _batches(path)]


def _batches(path: str) -> list[tuple[str, dict[str, Any]]]:
    """The same for batches: good and bad events side by side, known ones, keys."""
    of = path[2]
    good = [_sale(f"B{of}-{number}") for number in range(4)]
    bad = [{**good[0], "id": f"B{of}-x", "data": {}}, "no object", {**good[0], "data": {**good[0]["data"], "number": "else"}}]
    thing = EXAMPLES["return.completed.v1"]
    returned = envelope({**thing, "id": f"BR{of}", "original": {"id": f"B{of}-9"}}, "return.completed.v1", f"BR{of}")
    cases: list[tuple[str, dict[str, Any]]] = [
        ("a good batch", {"body": {"events": good}}),
        ("the batch again", {"body": {"events": good}}),
        ("the same event twice", {"body": {"events": [_sale(f"B{of}-5"), _sale(f"B{of}-5")]}}),
        ("good and bad", {"body": {"events": [_sale(f"B{of}-6"), *bad, _sale(f"B{of}-7")]}}),
        ("all bad", {"body": {"events": bad}}),
        ("a return of what the batch has not sold", {"body": {"events": [_sale(f"B{of}-8"), returned]}}),
        ("with a key", {"body": {"events": [_sale(f"B{of}-10")]}, "headers": {"Idempotency-Key": f"bk{of}"}}),
        ("the key again", {"body": {"events": [_sale(f"B{of}-10")]}, "headers": {"Idempotency-Key": f"bk{of}"}}),
        ("no event", {"body": {"events": []}}),
        ("more than a batch", {"body": {"events": ["x"] * 1001}}),
        ("a field too many", {"body": {"events": good, "more": 1}}),
        ("a key without the scope", {"body": {"events": good}, "headers": {"Authorization": "Bearer {limited}"}}),
    ]
    return [(f"{name}, {path}", {"path": path, **case}) for name, case in cases]


def _ask(web: Web, case: dict[str, Any]) -> Answer:
    headers = {
        name: value.replace("{key}", web.key).replace("{limited}", web.limited)  # type: ignore[attr-defined]
        for name, value in case.get("headers", {}).items()
    }
    if "raw" in case:
        headers = {"Content-Type": "application/json", **headers}
    status, answer, got = web.call("POST", case.get("path", "/v1/events"), case.get("body"), headers, case.get("raw"))
    text = json.dumps(answer) if not isinstance(answer, bytes) else answer.decode()
    known: dict[str, str] = web.__dict__.setdefault("seen", {})  # ids differ between hubs, in the same places
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", lambda match: known.setdefault(match[0], f"id-{len(known)}"), text)
    text = re.sub(r"[0-9a-f]{32}", "trace", text)
    return status, got.get("content-type", "").partition(";")[0], text


def test_both_give_the_same_answers_to_the_whole_corpus(hubs: tuple[Web, Web]) -> None:
    fast, slow = hubs
    accepted = 0
    for name, case in _corpus():
        a, b = _ask(fast, case), _ask(slow, case)
        assert a == b, name
        accepted += a[0] == 202
    assert accepted > 15


def test_both_leave_the_same_behind(hubs: tuple[Web, Web]) -> None:
    """Messages, deliveries, audit, usage: whichever way they came in."""
    books = []
    for web in hubs:
        shop = web.shop  # type: ignore[attr-defined]
        with shop.hub.ctx.store.read() as uow:
            messages = [
                (row["type"], row["source_id"], row["subject"], row["state"]) for row in uow.messages.page("acme", None, 200)
            ]
            deliveries = sorted(
                (row["connection_id"], row["subject"], row["state"]) for row in uow.deliveries.page("acme", None, 200)
            )
            actions = [(row["action"], row["actor"]) for row in uow.audit.page("acme", None, 500)]
            usage = {(row["operation"], row["client"]): row["calls"] for row in uow.usage.page("acme", None, 1000)}
            assert uow.audit.verify("acme") is None
        books.append((messages, deliveries, actions, usage.keys()))
    assert books[0] == books[1]


def test_the_fast_lane_is_the_one_that_answers_what_is_in_order(hubs: tuple[Web, Web], monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that declined everything would pass the comparison."""
    taken = []
    accept = FastLane.accept

    async def counted(self: FastLane, headers: Any, body: bytes, value: Any) -> Any:
        found = await accept(self, headers, body, value)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(FastLane, "accept", counted)
    for number in range(5):
        assert hubs[0].call("POST", "/v1/events", _sale(f"F-{number}"))[0] == 202
    assert hubs[0].call("POST", "/v1/events/batch", {"events": [_sale("F-5"), {}]})[0] == 200
    assert taken == [True] * 6


def test_requests_that_arrive_together_share_commits(hubs: tuple[Web, Web]) -> None:
    fast, answers = hubs[0], []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(fast.call("POST", "/v1/events", _sale(f"P-{n}"))[0]))
        for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [202] * 40


def test_a_store_that_is_away_is_a_503_with_retry_after_and_nothing_is_half_done(
    make_shop: Any, postgres_url: str, tmp_path: Path
) -> None:
    shop = make_shop(database_url=postgres_url)
    web = shop.serve()
    good = shop.hub.ctx.store.engine
    assert web.call("POST", "/v1/events", _sale("A-1"))[0] == 202
    import sqlalchemy as sa

    shop.hub.ctx.store.engine = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:9/none")
    status, answer, headers = web.call("POST", "/v1/events", _sale("A-2"))
    away = shop.hub.ctx.store.engine
    shop.hub.ctx.store.engine = good
    away.dispose()
    assert (status, answer["code"]) == (503, "unavailable")
    assert headers["retry-after"]
    assert web.call("POST", "/v1/events", _sale("A-2"))[0] == 202
