"""G5: two versions of the API side by side; each change goes down and up without loss; one store behind both."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from canonical_cases import TIMES
from support import Shop, Web, envelope

from canonical.examples import EXAMPLES
from hub.contracts.api_versions import CHANGES, NEWEST, OLDEST, downgrade, upgrade, version_of
from hub.contracts.diff import compare
from hub.contracts.document import document, operations, short_name
from hub.contracts.lint import lint_text

BOTH = {name: operation for name, operation in operations().items() if version_of(name)[0] == NEWEST}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    shop = Shop(tmp_path_factory.mktemp("versions")).start()
    web = shop.serve()
    web.shop = shop  # type: ignore[attr-defined]
    yield web
    shop.close()


def _made_up(schema: Any, chance: random.Random) -> Any:
    """Some value of a schema; enough for the answers of this API."""
    if "$ref" in schema:
        return _made_up(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]], chance)
    if schema.get("nullable") and chance.random() < 0.3:
        return None
    kind = schema.get("type", "object")
    if kind == "object":
        return {name: _made_up(inner, chance) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [_made_up(schema["items"], chance) for _ in range(chance.randrange(4))]
    plain = {"integer": lambda: chance.randrange(99), "number": chance.random, "boolean": lambda: chance.random() < 0.5}
    return plain.get(kind, lambda: chance.choice(schema.get("enum") or ["", "x", "naïve \N{SNOWMAN}", "7"]))()


def _answer(operation: dict[str, Any]) -> Any:
    status = next(code for code in operation["responses"] if code < "300")
    return operation["responses"][status]["content"]["application/json"]


@pytest.mark.parametrize("change", CHANGES, ids=[f"{change.version}-{change.title[:30]}" for change in CHANGES])
def test_a_change_names_operations_that_there_are(change: Any) -> None:
    assert OLDEST < change.version <= NEWEST
    assert set(change.places) <= {short_name(version_of(name)[1]) for name in BOTH}


def test_what_goes_up_comes_down_again_unchanged() -> None:
    """10,000 payloads with CASES_TIMES=10: each changed object, alone and in its answer; nothing is changed in place."""
    chance, tried = random.Random(7), 0
    places = [(name, place) for change in CHANGES for name, place in change.places.items()]
    older = {"Delivery": {"$ref": "#/components/schemas/Delivery"}, "Accepted": {"$ref": "#/components/schemas/Accepted"}}
    while tried < 1000 * TIMES:
        name, place = chance.choice(places)
        made = _made_up(older["Accepted" if name.startswith("events") else "Delivery"], chance)
        if "duplicate" in made:
            made |= {"status": chance.choice(("accepted", "duplicate"))}
            made["duplicate"] = made["status"] == "duplicate"
        answer: Any = made
        for step in reversed(place.split(".") if place else []):
            answer = {step.removesuffix("[]"): [answer, *([answer] if chance.random() < 0.3 else [])], "next_cursor": None}
        before = json.dumps(answer, sort_keys=True)
        newest = upgrade(name, answer, OLDEST)
        assert json.dumps(answer, sort_keys=True) == before
        assert json.dumps(downgrade(name, newest, OLDEST), sort_keys=True) == before
        assert json.dumps(upgrade(name, downgrade(name, newest, OLDEST), OLDEST), sort_keys=True) == json.dumps(
            newest, sort_keys=True
        )
        assert newest != answer
        tried += 1


def test_both_versions_have_every_operation_and_the_examples_correspond() -> None:
    firsts = {name for name, operation in operations().items() if operation["path"].startswith("/v1/")}
    assert {version_of(name)[1] for name in BOTH} == firsts
    for name, operation in BOTH.items():
        older = operations()[version_of(name)[1]]
        short = short_name(version_of(name)[1])
        assert downgrade(short, _answer(operation)["example"], OLDEST) == _answer(older)["example"]


def test_the_newer_document_breaks_only_where_a_change_says_so() -> None:
    """Compared as if v2 took the place of v1, the differences are those of the changes."""
    whole = document()
    newer = {path.replace("/v2/", "/v1/", 1): item for path, item in whole["paths"].items() if path.startswith("/v2/")}
    older = {path: item for path, item in whole["paths"].items() if path.startswith("/v1/")}
    found = compare({**whole, "paths": older}, {**whole, "paths": newer})
    said = {name for change in CHANGES for name in change.places}
    changed = {operation for change in found if "cause" in change.place or "failure" in change.place or "duplicate" in change.place
               for operation in change.operations}  # fmt: skip
    paths = {f"{operation['method'].upper()} {operation['path']}" for name, operation in operations().items()
             if version_of(name)[0] == OLDEST and short_name(name) in said}  # fmt: skip

    # An untyped list or object promises nothing, so nothing of it is a difference: the batch's results, messages' deliveries.
    assert {path.replace("{id}", "{}") for path in paths} - changed <= {
        "POST /v1/events/batch",
        "GET /v1/lineage",
        "GET /v1/messages/{}",
    }
    assert changed <= {path.replace("{id}", "{}") for path in paths}


def test_the_whole_document_is_as_well_made_as_its_first_version() -> None:
    whole = lint_text(json.dumps(document(), default=str))

    assert [item for item in whole.findings if item.severity == "error"] == []


def test_one_event_is_seen_in_both_versions(web: Web) -> None:
    event = envelope(EXAMPLES["sale.completed.v1"] | {"id": "V-1"})
    first = web.call("POST", "/v2/events", event)
    again = web.call("POST", "/v1/events", event)
    batch = web.call("POST", "/v2/events/batch", {"events": [event, {"x": 1}]})

    assert (first[0], first[1]["status"], "duplicate" in first[1]) == (202, "accepted", False)
    assert (again[1]["status"], again[1]["duplicate"]) == ("duplicate", True)
    assert [("duplicate" in item, item["status"]) for item in batch[1]["results"]] == [
        (False, "duplicate"),
        (False, "rejected"),
    ]
    assert again[1]["message_id"] == first[1]["message_id"]


def test_a_dead_letter_says_its_failure_in_each_versions_words_and_v1_stays_as_it_was_released(web: Web) -> None:
    web.call("POST", "/v2/events", envelope(EXAMPLES["sale.completed.v1"] | {"id": "V-2", "number": "V-2"}))
    shop = web.shop  # type: ignore[attr-defined]
    shop.until(lambda: web.call("GET", "/v1/dead-letters")[1]["items"])

    older = web.call("GET", "/v1/dead-letters")[1]["items"][0]
    newer = web.call("GET", f"/v2/deliveries/{older['id']}")[1]
    assert set(newer["failure"]) == {"code", "cause", "remedy"}
    assert (older["cause_code"], older["cause"], older["remedy"]) == tuple(newer["failure"].values())
    assert {key: value for key, value in older.items() if key in newer} == {
        key: value for key, value in newer.items() if key != "failure"
    }
    history = web.call("GET", "/v2/lineage?of=V-2")[1]["messages"][0]["deliveries"]
    assert all("failure" in item and "cause" not in item for item in history)
    assert all("cause" in item for item in web.call("GET", "/v1/lineage?of=V-2")[1]["messages"][0]["deliveries"])

    path = f"dead-letters/{older['id']}/discard"
    assert web.call("POST", f"/v2/{path}", {"reason": ""})[0] == 422
    assert web.call("POST", f"/v1/{path}", {"reason": ""})[0] == 200


def test_who_still_calls_the_older_version_is_known_by_name(web: Web) -> None:
    for path in ("/v1/links", "/v2/links", "/v2/links"):
        assert web.call("GET", path)[0] == 200

    items = web.call("GET", "/v2/contracts/usage?limit=200")[1]["items"]
    counted = {item["operation"]: item["calls"] for item in items}
    assert (counted["links.list_links"], counted["v2.links.list_links"]) == (1, 2)
