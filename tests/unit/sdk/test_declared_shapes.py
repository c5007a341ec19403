"""What vendors do in the wild, declared and not coded: how lists page, how webhooks are signed."""

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from hub.sdk import Connector, Response
from hub.sdk.errors import ManifestError
from hub.sdk.manifest import parse_manifest
from hub.sdk.steps import Subscription
from hub.sdk.testing import SimRequest, answer, drive
from hub.sdk.webhook import SignatureScheme, sign, verify

MANIFEST = """\
connector: acme
name: Acme
version: 1.0.0
kind: erp
summary: Test.
canonical: 1
self_hosted: true
objects:
  item:
    read:
      request: {request}
      records: {records}
      ref: text(id)
      incremental: {incremental}
      since: "{since}"
      paging: {paging}
"""
ROWS = [{"id": number, "changed": f"2026-11-20T10:00:{number:02d}Z", "version": 100 + number} for number in range(1, 8)]


def connector(paging: str, request: str, records: str = "items", incremental: str = "changed", since: str = "") -> Connector:
    text = MANIFEST.format(paging=paging, request=request, records=records, incremental=incremental, since=since)
    return type("Acme", (Connector,), {"manifest": parse_manifest(text, "acme.yaml")})({})


def read_all(found: Connector, handle: Callable[[SimRequest], Response]) -> tuple[list[int], int, Any]:
    """(ids, pages, the cursor in the end)."""
    cursor: Any = {}
    ids: list[int] = []
    for page in range(1, 20):
        result = drive(found, found.read("item", cursor), handle, {})
        ids += [record["id"] for record in result.records]
        cursor = result.cursor
        if not result.more:
            return ids, page, cursor
    raise AssertionError("it does not end")


SUBSCRIBING = """\
connector: acme
name: Acme
version: 1.0.0
kind: erp
summary: Test.
canonical: 1
self_hosted: true
credentials: {secret: {description: The key that signs}}
webhooks:
  signature: {header: x-vendor-signature}
  secret: secret
  event_id_header: x-vendor-delivery
  topics: [order.updated]
  subscriptions:
    list: {request: {path: /webhooks}, records: items, id: id, topic: event, url: target, active: "state == 'on'", expires_at: ends}
    create: {method: POST, path: /webhooks, json: {event: "= topic", target: "= url"}}
    delete: {method: DELETE, path: "/webhooks/{id}", expect: [404]}
"""


def test_subscriptions_are_listed_made_and_ended_by_declaration() -> None:
    kept: dict[str, Any] = {"7": {"id": 7, "event": "x", "target": "https://b", "state": "off", "ends": "2027-01-01T00:00:00Z"}}
    found: Connector = type("Acme", (Connector,), {"manifest": parse_manifest(SUBSCRIBING, "acme.yaml")})({})

    def handle(request: SimRequest) -> Response:
        match request.method:
            case "POST":
                kept["8"] = {"id": 8, "state": "on", **request.json()}
                return answer(201, kept["8"])
            case "DELETE":
                return answer(204 if kept.pop(request.path.rpartition("/")[2], None) else 404)
        return answer(200, {"items": list(kept.values())})

    drive(found, found.subscribe("order.updated", "https://hub"), handle, {})
    listed = drive(found, found.subscriptions(), handle, {})
    for _ in range(2):
        drive(found, found.unsubscribe("7"), handle, {})

    assert listed == [
        Subscription("7", "x", "https://b", active=False, expires_at="2027-01-01T00:00:00Z"),
        Subscription("8", "order.updated", "https://hub"),
    ]
    assert kept.keys() == {"8"}


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("event_id_header: x-vendor-delivery", "event_id"),
        ("list: {request: {path: /webhooks}, records: items", "JMESPath"),
    ],
)
def test_what_is_wrong_with_declared_webhooks_is_said(said: str, problem: str) -> None:
    wrong = SUBSCRIBING.replace(said, "event_type: x" if problem == "event_id" else said.replace("items", '"items["'))

    with pytest.raises(ManifestError, match=problem):
        parse_manifest(wrong, "acme.yaml")


def test_topics_need_a_way_to_subscribe() -> None:
    text = SUBSCRIBING[: SUBSCRIBING.index("  subscriptions:")]
    found = type("Acme", (Connector,), {"manifest": parse_manifest(text, "acme.yaml"), "receive": lambda *_: []})

    assert found.disagreements() == [
        f"webhooks.topics, but neither subscriptions: nor {name}()" for name in ("subscriptions", "subscribe", "unsubscribe")
    ]


def some(start: int, size: int = 3) -> list[dict[str, Any]]:
    return ROWS[start : start + size]


def by_link(request: SimRequest) -> Response:
    """Shopify's: the next page in a header, its cursor replaces every other parameter."""
    start = int(request.params.get("page_info", "0"))
    assert ("updated_at_min" in request.params) == (start == 0)
    links = [f'<https://elsewhere.example/items.json?page_info={max(start - 3, 0)}>; rel="previous"']
    links += (
        [f'<https://elsewhere.example/items.json?page_info={start + 3}&limit=3>; rel="next"'] if start + 3 < len(ROWS) else []
    )
    return answer(200, {"items": some(start)}, {"link": ", ".join(links)})


def by_next_url(request: SimRequest) -> Response:
    """OData's: `@odata.nextLink` with a skip token."""
    assert request.path == "/items"
    start = int(request.params.get("$skiptoken", "0"))
    following = f"https://elsewhere.example/other?$filter={quote('a eq 1')}&$skiptoken={start + 3}"
    return answer(200, {"value": some(start), **({"@odata.nextLink": following} if start + 3 < len(ROWS) else {})})


def by_last(request: SimRequest) -> Response:
    """Stripe's: after the last id, until `has_more` is false."""
    start = int(request.params.get("starting_after", "0"))
    return answer(200, {"items": some(start), "has_more": start + 3 < len(ROWS)})


def by_version(request: SimRequest) -> Response:
    """Lightspeed X's: whatever has a higher version, until nothing has."""
    rows = [row for row in ROWS if row["version"] > int(request.params["after"])][:3]
    return answer(200, {"items": rows, "version": {"max": max(row["version"] for row in rows)} if rows else {}})


def by_statement(request: SimRequest) -> Response:
    """QuickBooks': the position is part of a statement, and the first is 1."""
    start = int(request.params["query"].rpartition("STARTPOSITION ")[2].split()[0]) - 1
    return answer(200, {"items": some(start)})


def by_graphql(request: SimRequest) -> Response:
    start = int(request.json()["variables"].get("after", 0))
    assert request.json()["query"].startswith("query(")
    info = {"hasNextPage": start + 3 < len(ROWS), "endCursor": str(start + 3)}
    return answer(200, {"data": {"items": {"nodes": some(start), "pageInfo": info}}})


@pytest.mark.parametrize(
    ("handle", "given"),
    [
        (by_link, {"paging": "{type: link}", "request": '{path: /items, params: {updated_at_min: "= since", limit: 3}}'}),
        (by_next_url, {"paging": "{type: next_url, token: '\"@odata.nextLink\"'}", "records": "value",
                       "request": '{path: /items, params: {"$filter": "= since"}}'}),
        (by_last, {"paging": "{type: last, more: has_more}", "request": '{path: /items, params: {starting_after: "= page"}}'}),
        (by_statement, {"paging": "{type: offset, limit: 3}", "request": "{path: /query, params: {query: \"= join(' ', ['SELECT * FROM Item "
                        "STARTPOSITION', page && text(sum([page, `1`])) || '1', 'MAXRESULTS 3'])\"}}"}),
        (by_graphql, {"paging": "{type: cursor, token: 'data.items.pageInfo.hasNextPage && data.items.pageInfo.endCursor || null'}",
                      "records": "data.items.nodes", "request": '{method: POST, effect: false, path: /graphql, json: {query: "query($after: '
                      'String) {items(after: $after) {nodes {id}}}", variables: {after: "= page"}}}'}),
    ],
    ids=["link", "next_url", "last", "statement", "graphql"],
)  # fmt: skip
def test_a_list_is_read_to_its_end(handle: Callable[[SimRequest], Response], given: dict[str, str]) -> None:
    ids, pages, cursor = read_all(connector(**given), handle)

    assert ids == [1, 2, 3, 4, 5, 6, 7]
    assert pages == 3
    assert cursor == {"since": "2026-11-20T10:00:07Z"}


def test_a_version_is_cursor_and_bound_in_one() -> None:
    found = connector(
        "{type: version, token: version.max}", '{path: /items, params: {after: "= since"}}', incremental="''", since="0"
    )

    ids, _, cursor = read_all(found, by_version)

    assert ids == [1, 2, 3, 4, 5, 6, 7]
    assert cursor == {"since": 107}
    result = drive(found, found.read("item", cursor), by_version, {})
    assert (list(result.records), result.more, result.cursor) == ([], False, {"since": 107})


def test_what_paging_lacks_is_said() -> None:
    with pytest.raises(ManifestError, match="what the next page is asked by"):
        connector("{type: next_url}", "{path: /items}")


# -- signatures: vectors from the vendors' own documents ------------------------------------------------------------

STANDARD = SignatureScheme("webhook-signature", over=("id", "timestamp", "body"), separator=".", format="list", id_header="webhook-id",
                           timestamp_header="webhook-timestamp", key_encoding="base64")  # fmt: skip
PREFIXED = SignatureScheme("x-hub-signature-256", encoding="hex", prefix="sha256=")
PAIRS = SignatureScheme("stripe-signature", encoding="hex", over=("timestamp", "body"), separator=".", format="pairs")
STATIC = SignatureScheme("x-clover-auth", type="static")


def test_standard_webhooks_vector() -> None:
    """The example of the Standard Webhooks specification."""
    body, secret = b'{"test": 2432232314}', "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330",
               "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}  # fmt: skip

    assert verify(STANDARD, [secret], body, headers, now=1614265330 + 299) is None
    assert "off" in str(verify(STANDARD, [secret], body, headers, now=1614265330 + 301))
    rotated = headers | {"webhook-signature": f"v1,AAAA v1a,{'x' * 20} {headers['webhook-signature']}"}
    assert verify(STANDARD, ["whsec_b3RoZXI=", secret], body, rotated, now=1614265330) is None
    assert verify(STANDARD, [secret], body + b" ", headers, now=1614265330) == "signature does not match"
    assert verify(STANDARD, [secret], body, headers | {"webhook-id": "msg_other"}, now=1614265330) == "signature does not match"
    assert "base64" in str(verify(STANDARD, ["whsec_%%%"], body, headers, now=1614265330))


def test_a_prefixed_vector() -> None:
    """The example of GitHub's documentation."""
    given = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    assert verify(PREFIXED, ["It's a Secret to Everybody"], b"Hello, World!", {"x-hub-signature-256": given}) is None
    assert verify(PREFIXED, ["It's a Secret to Everybody"], b"Hello, World!", {"x-hub-signature-256": given[7:]}) is not None


def test_pairs_with_several_signatures() -> None:
    given = sign(PAIRS, "new", b"{}", timestamp="1700000000")
    _, _, value = given.partition("v1=")

    assert given.startswith("t=1700000000,v1=")
    assert verify(PAIRS, ["new"], b"{}", {"stripe-signature": given}, now=1700000100.0) is None
    assert (
        verify(PAIRS, ["new"], b"{}", {"stripe-signature": f"t=1700000000, v1=00, v1={value}, v0=zz"}, now=1700000100.0) is None
    )
    assert (
        verify(PAIRS, ["new"], b"{}", {"stripe-signature": f"t=1700000001,v1={value}"}, now=1700000100.0)
        == "signature does not match"
    )
    for broken in ("", "t=,v1=x", f"v1={value}", "t=nan,v1=x", "t=1e999,v1=x"):
        assert verify(PAIRS, ["new"], b"{}", {"stripe-signature": broken}, now=1700000100.0) is not None


def test_a_static_header() -> None:
    assert sign(STATIC, "the-code", b"x") == "the-code"
    assert verify(STATIC, ["the-code"], b"anything", {"x-clover-auth": "the-code"}) is None
    assert verify(STATIC, ["the-code"], b"anything", {"x-clover-auth": "the-cod"}) == "signature does not match"
    assert verify(STATIC, [], b"anything", {"x-clover-auth": ""}) is not None


@pytest.mark.parametrize("scheme", [STANDARD, PREFIXED, PAIRS, SignatureScheme("s", "hmac", "sha512", "hex", ("url", "body"))])
def test_every_changed_byte_is_refused(scheme: SignatureScheme) -> None:
    secret, body, now = base64.b64encode(b"a secret of the test").decode(), b'{"amount": "12.50"}', 1_700_000_000.0
    headers = {"webhook-timestamp": f"{now:.0f}", "webhook-id": "m"}
    headers[scheme.header] = sign(scheme, secret, body, "https://hub.example/w", f"{now:.0f}", "m")

    assert verify(scheme, [secret], body, headers, "https://hub.example/w", now) is None
    for place in range(len(body)):
        for bit in range(8):
            changed = body[:place] + bytes([body[place] ^ (1 << bit)]) + body[place + 1 :]
            assert verify(scheme, [secret], changed, headers, "https://hub.example/w", now) is not None
    signature = headers[scheme.header]
    for place in range(len(signature)):
        wrong = "B" if signature[place] in "aA" else "A"  # hexadecimal digits have two cases
        other = signature[:place] + wrong + signature[place + 1 :]
        assert verify(scheme, [secret], body, headers | {scheme.header: other}, "https://hub.example/w", now) is not None
