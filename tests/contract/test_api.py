"""The contract holds: every operation answers as the document says, refuses as documented, and never with a 500."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import validate
from support import Shop, Web, envelope

from canonical.examples import EXAMPLES
from hub.api.app import draft4
from hub.bootstrap import utc_now
from hub.contracts.document import document, operations
from hub.errors import PROBLEMS
from hub.identity.api_keys import SCOPES, create_key

OPERATIONS = {name: operation for name, operation in operations().items() if "x-served-by" not in operation}
MISSING = "0192f4e2-7c1a-7b3e-9d55-3f1c2ab40001"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    shop = Shop(tmp_path_factory.mktemp("api"))
    shop.start()
    web = shop.serve()
    web.shop = shop  # type: ignore[attr-defined]
    yield web
    shop.close()


def _path(operation: dict[str, Any]) -> str:
    path = operation["path"].replace("{id}", MISSING).replace("{connection_id}", "nobody")
    path = path.replace("{entity}", "product")
    return path + ("?of=nothing" if path.endswith("/lineage") else "?system=nobody" if "/links/product/plan" in path else "")


def _body(operation: dict[str, Any]) -> Any:
    content = operation.get("requestBody", {}).get("content", {})
    return content.get("application/json", {}).get("example")


def _check(schema: Any, value: Any) -> None:
    """``value`` fits ``schema`` of the contract."""
    whole = {**draft4(schema), "components": {"schemas": draft4(document()["components"]["schemas"])}}
    errors = [f"{list(e.instance_path)}: {e.message}" for e in jsonschema_rs.validator_for(whole).iter_errors(value)]
    assert errors == []


def test_the_document_is_valid_openapi_and_every_operation_has_an_example() -> None:
    validate(document())
    for name, operation in operations().items():
        assert operation["summary"], name
        for status, response in operation["responses"].items():
            if "$ref" not in response:
                media = response["content"]["application/json"]
                assert "example" in media, f"{name} {status} has no example"
        if "requestBody" in operation:
            assert "example" in operation["requestBody"]["content"]["application/json"], f"{name} has no request example"


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_the_examples_fit_their_schemas(name: str) -> None:
    operation = OPERATIONS[name]
    for response in operation["responses"].values():
        if "$ref" not in response:
            media = response["content"]["application/json"]
            _check(media["schema"], media["example"])
    if "requestBody" in operation:
        media = operation["requestBody"]["content"]["application/json"]
        _check(media["schema"], media["example"])


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_answers_its_example_as_documented(web: Web, name: str) -> None:
    operation = OPERATIONS[name]

    status, answer, headers = web.call(operation["method"].upper(), _path(operation), _body(operation))

    assert str(status) in operation["responses"], f"{status} is not documented: {answer}"
    assert status < 500
    declared = operation["responses"][str(status)]
    if status < 400:
        _check(declared["content"]["application/json"]["schema"], answer)
    else:
        assert headers["content-type"] == "application/problem+json"
        _check(document()["components"]["schemas"]["Problem"], answer)
        assert answer["code"] in PROBLEMS
        assert PROBLEMS[answer["code"]].status == status


@pytest.mark.parametrize("name", sorted(name for name, operation in OPERATIONS.items() if "x-scope" in operation))
def test_every_operation_refuses_no_key_a_wrong_key_and_a_key_without_the_scope(web: Web, name: str) -> None:
    operation = OPERATIONS[name]
    ctx = web.shop.hub.ctx  # type: ignore[attr-defined]
    with ctx.store.begin() as uow:
        others = [scope for scope in SCOPES if scope != operation["x-scope"]]
        limited = create_key(uow, "acme", f"limited-{name}", others, utc_now())

    def call(header: str) -> tuple[int, str]:
        status, answer, _ = web.call(operation["method"].upper(), _path(operation), _body(operation), {"Authorization": header})
        return status, answer["code"]

    assert call("") == (401, "unauthorized")
    assert call("Bearer xdk_wrong") == (401, "unauthorized")
    assert call(f"Bearer {limited}") == (403, "forbidden")


def test_no_scope_is_unused_and_none_unknown() -> None:
    assert {operation["x-scope"] for operation in OPERATIONS.values() if "x-scope" in operation} == set(SCOPES)


def test_another_tenants_things_are_not_found(web: Web) -> None:
    shop = web.shop  # type: ignore[attr-defined]
    with shop.hub.ctx.store.begin() as uow:
        uow.tenants.add("other", "Other", utc_now())
        key = create_key(uow, "other", "ops", SCOPES, utc_now())
    _, mine, _ = web.call("POST", "/v1/events", envelope(EXAMPLES["product.v1"] | {"id": "T-1"}, "product.v1"))
    theirs = {"Authorization": f"Bearer {key}"}

    assert web.call("GET", f"/v1/messages/{mine['message_id']}")[0] == 200
    assert web.call("GET", f"/v1/messages/{mine['message_id']}", headers=theirs)[0] == 404
    assert web.call("GET", "/v1/lineage?of=T-1", headers=theirs)[0] == 404
    assert web.call("GET", "/v1/connections/erp", headers=theirs)[0] == 404
    assert web.call("GET", "/v1/messages", headers=theirs)[1] == {"items": [], "next_cursor": None}
    assert (
        web.call("POST", "/v1/events", envelope(EXAMPLES["product.v1"] | {"id": "T-1"}, "product.v1"), theirs)[1]["duplicate"]
        is False
    )


BAD = [
    (b"", 400, "invalid_request"), (b"{", 400, "malformed_json"), (b"\xff", 400, "malformed_json"), (b'"\\ud800"', 400, "malformed_json"),
    (b'{"a":NaN}', 400, "number_not_finite"), (b'{"a":1,"a":2}', 400, "duplicate_key"),
    (b"[" * 10_000 + b"]" * 10_000, 400, "nesting_too_deep"), (b'{"a":"' + b"x" * 11_000_000 + b'"}', 413, "body_too_large"),
    (b"[]", 422, "invalid_document"), (b"null", 400, "invalid_request"), (b"{}", 422, "invalid_document"), (b"1e400", 400, "malformed_json"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "code"), BAD, ids=[f"{b[:12]!r}-{c}" for b, _, c in BAD])
def test_a_hostile_body_gets_its_documented_answer(web: Web, body: bytes, status: int, code: str) -> None:
    got, answer, headers = web.call("POST", "/v1/events", raw=body)

    assert (got, answer["code"]) == (status, code)
    assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        (lambda e: e.update(type="sale.imagined.v1"), "unknown_type", "/type"),
        (lambda e: e["data"]["total"].update(amount=34.7), "invalid_field", "/data/total/amount"),
        (lambda e: e["data"]["total"].update(amount="34.71"), "total_mismatch", "/data/total"),
        (lambda e: e["data"].pop("location"), "missing_field", "/data/location"),
        (lambda e: e["data"].update(surprise=1), "unknown_field", "/data/surprise"),
        (lambda e: e.pop("time"), "missing_field", "/time"),
        (lambda e: e.update(subject="sale/other"), "subject_mismatch", "/subject"),
        (lambda e: e["data"].update(occurred_at="2026-11-21T23:40:00"), "invalid_field", "/data/occurred_at"),
    ],
)
def test_a_bad_event_is_told_which_field_and_why(web: Web, change: Callable[[Any], Any], code: str, field: str) -> None:
    event = json.loads(json.dumps(envelope(EXAMPLES["sale.completed.v1"])))
    change(event)

    status, answer, _ = web.call("POST", "/v1/events", event)

    assert status == 422
    assert (code, field) in {(entry["code"], entry["field"]) for entry in answer["errors"]}


def test_null_is_not_the_same_as_no_body(web: Web) -> None:
    assert web.call("POST", "/v1/connections/stock/resume", raw=b" null ")[0] == 400
    assert web.call("POST", "/v1/connections/stock/resume")[0] == 200


def test_a_batch_accepts_the_good_and_names_the_bad(web: Web) -> None:
    good = envelope(EXAMPLES["stock.counted.v1"] | {"id": "B-1"}, "stock.counted.v1")

    status, answer, _ = web.call("POST", "/v1/events/batch", {"events": [good, {"x": 1}, 7, good]})

    assert status == 200
    assert [item["status"] for item in answer["results"]] == ["accepted", "rejected", "rejected", "duplicate"]
    assert answer["results"][1]["problem"]["errors"]


def test_the_same_key_and_body_gets_the_first_answer_byte_for_byte(web: Web) -> None:
    event = envelope(EXAMPLES["product.v1"] | {"id": "K-1"}, "product.v1")
    first = web.call("POST", "/v1/events", event, {"Idempotency-Key": "k-1"})
    again = web.call("POST", "/v1/events", event, {"Idempotency-Key": "k-1"})
    other = web.call("POST", "/v1/events", event | {"id": "K-2"}, {"Idempotency-Key": "k-1"})

    assert first[:2] == again[:2]
    assert again[2]["idempotency-replayed"] == "true"
    assert (other[0], other[1]["code"]) == (422, "idempotency_mismatch")


def test_many_senders_of_one_key_have_one_effect(web: Web) -> None:
    event, answers = envelope(EXAMPLES["product.v1"] | {"id": "K-9"}, "product.v1"), []

    def send() -> None:
        answers.append(web.call("POST", "/v1/events", event, {"Idempotency-Key": "k-9"})[:2])

    threads = [threading.Thread(target=send) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {status for status, _ in answers} <= {202, 409}
    assert len({answer["message_id"] for status, answer in answers if status == 202}) == 1


def test_lists_page_through_everything_by_cursor(web: Web) -> None:
    for n in range(7):
        web.call("POST", "/v1/events", envelope(EXAMPLES["product.v1"] | {"id": f"P-{n}", "sku": "PAGED"}, "product.v1"))
    seen, path = [], "/v1/messages?subject=product/PAGED&limit=3"
    while path:
        _, answer, _ = web.call("GET", path)
        seen += [item["source_id"] for item in answer["items"]]
        path = f"/v1/messages?subject=product/PAGED&limit=3&cursor={answer['next_cursor']}" if answer["next_cursor"] else ""

    assert seen == [f"P-{n}" for n in reversed(range(7))]
    assert web.call("GET", "/v1/messages?cursor=tampered")[1]["code"] == "invalid_cursor"


def test_an_integration_with_mistakes_is_refused_with_line_numbers(web: Web) -> None:
    source = "integration: x\nconnections:\n  a: {connector: nowhere}\nflows:\n  - name: f\n    on: sale.imagined.v1\n    to: [{connection: b}]\n"

    status, answer, _ = web.call("POST", "/v1/integrations", {"source": source, "name": "x.yaml"})

    assert (status, answer["code"]) == (422, "invalid_integration")
    lines = " ".join(entry["message"] for entry in answer["errors"])
    assert "x.yaml:6" in lines
    assert "x.yaml:7" in lines


def test_a_webhook_is_answered_at_the_edge(web: Web) -> None:
    shop = web.shop  # type: ignore[attr-defined]
    url = "http://hub.test/webhooks/acme/pos"
    body, headers = shop.square.signed({"event_id": "W-1", "type": "device.code.paired", "data": {"object": {}}}, url)

    assert web.call("POST", "/webhooks/acme/pos", raw=body, headers=headers)[0] == 200
    again = web.call("POST", "/webhooks/acme/pos", raw=body, headers=headers)
    forged = web.call("POST", "/webhooks/acme/pos", raw=body + b" ", headers=headers)
    assert (again[0], again[1]["duplicate"]) == (200, True)
    assert (forged[0], forged[1]["code"]) == (401, "invalid_signature")
    assert web.call("POST", "/webhooks/acme/nobody", raw=body, headers=headers)[0] == 404
    assert web.call("GET", "/webhooks/acme/pos")[0] == 405


def test_credentials_go_in_and_never_come_out(web: Web) -> None:
    status, answer, _ = web.call("PUT", "/v1/connections/stock/credentials", {"token": "canary-7f3a"})

    assert status == 200
    assert answer["credentials"] == ["token"]
    for name, operation in OPERATIONS.items():
        if operation["method"] == "get":
            path = _path(operation).replace("nobody", "stock")
            assert "canary-7f3a" not in json.dumps(web.call("GET", path)[1]), name
    assert web.call("PUT", "/v1/connections/stock/credentials", {"nonsense": "x"})[0] == 422


def test_a_quarantined_input_is_corrected_through_the_api(web: Web) -> None:
    shop = web.shop  # type: ignore[attr-defined]
    body, headers = shop.square.signed(b'{"event_id": "Q-1", "ty', "http://hub.test/webhooks/acme/pos")
    _, received, _ = web.call("POST", "/webhooks/acme/pos", raw=body, headers=headers)
    shop.until(lambda: shop.raws(state="quarantined"))

    path = f"/v1/quarantine/{received['id']}"
    assert base64.b64decode(web.call("GET", path)[1]["body_base64"]) == body
    corrected = base64.b64encode(b'{"event_id": "Q-1", "type": "location.created", "data": {"object": {}}}').decode()
    assert web.call("POST", f"{path}/replay", {"body_base64": "%%%"})[0] == 422
    assert web.call("POST", f"{path}/replay", {"body_base64": corrected, "reason": "cut off"})[0] == 202
    shop.until(lambda: web.call("GET", path)[1]["state"] == "ignored")


def test_the_documentation_and_the_console_are_served(web: Web) -> None:
    assert web.call("GET", "/docs/")[0] == 200
    assert web.call("GET", "/openapi.json")[1]["info"]["title"] == "Crossdock hub"
    assert b"API key" in web.call("GET", "/console", headers={"Authorization": ""})[1]
    assert web.call("GET", "/v1/nowhere")[1]["code"] == "not_found"
    assert web.call("GET", "/v1/connections/a%0Ab")[0] == 404
    for method, path, allow in (("DELETE", "/v1/messages", "GET"), ("GET", "/webhooks/acme/pos", "POST"),
                                ("PUT", "/v1/contracts/proposals", "GET, POST")):  # fmt: skip
        status, answer, headers = web.call(method, path)
        assert (status, answer["code"], headers["allow"]) == (405, "method_not_allowed", allow)


def test_the_calendar_is_json_or_an_icalendar_whichever_is_asked_for(web: Web) -> None:
    assert web.call("GET", "/v2/contracts/calendar")[1] == {"items": []}
    status, answer, headers = web.call("GET", "/v1/contracts/calendar", headers={"Accept": "text/calendar"})
    assert (status, answer[:15], headers["content-type"]) == (200, b"BEGIN:VCALENDAR", "text/calendar; charset=utf-8")


def test_what_clients_call_is_counted_from_the_first_request(web: Web) -> None:
    web.call("GET", "/v1/links")

    _, answer, _ = web.call("GET", "/v1/contracts/usage")

    assert any(item["operation"] == "links.list_links" and item["calls"] >= 1 for item in answer["items"])
