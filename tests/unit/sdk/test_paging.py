"""Where a list ends, what the next page is asked by, how far a read has come: by the vendor's own word."""

from typing import Any

import pytest

from hub.sdk import Connector, Request, Response
from hub.sdk.errors import ConnectorError, Unreadable
from hub.sdk.json_values import parse_json
from hub.sdk.manifest import parse_manifest
from hub.sdk.paging import furthest, listed
from hub.sdk.testing import answer
from hub.sdk.testing.simulator import SimRequest

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
      request: {path: /items, params: {since: "= since", page: "= page"}}
      records: items
      ref: id
      incremental: at
      paging: PAGING
"""
AT = "2026-11-20T10:00:00Z"
DATE = "Mon, 30 Nov 2026 12:00:00 GMT"


def read(paging: str, *answers: Response, cursor: Any = None) -> tuple[list[Any], Any, list[Request]]:
    """(records, the cursor in the end, requests) of a whole read."""
    kind = type("Acme", (Connector,), {"manifest": parse_manifest(MANIFEST.replace("PAGING", paging), "acme.yaml")})
    found, left, asked, records = kind({}), list(answers), [], []
    cursor = cursor or {}
    while True:
        steps = found.read("item", cursor)
        request = next(steps)
        while True:
            asked.append(request)
            try:
                request = steps.send(left.pop(0))
            except StopIteration as done:
                page = done.value
                break
        records += page.records
        cursor = page.cursor
        if not page.more:
            return records, cursor, asked


def page(*ids: int, headers: dict[str, str] | None = None, **more: Any) -> Response:
    return answer(200, {"items": [{"id": str(number), "at": AT} for number in ids], **more}, headers)


@pytest.mark.parametrize(
    "body",
    [{"error": {"code": "BUSY"}}, {}, {"items": None}, {"items": {"a": 1}}, {"items": "none"}, [1, 2], None, "maintenance"],
    ids=str,
)
def test_a_read_fails_when_the_answer_has_no_list(body: Any) -> None:
    for paging in (
        "{type: none}",
        "{type: cursor, token: next}",
        "{type: offset}",
        "{type: link}",
        "{type: version, token: v}",
    ):
        with pytest.raises(ConnectorError) as caught:
            read(paging, Response(200, {"content-type": "application/json"}, answer(200, body).content or b"null"))
        assert caught.value.code == "unreadable_answer"


def test_a_list_is_empty_when_the_manifest_declares_that_it_is_left_out() -> None:
    assert listed(answer(200, {"cursor": "x", "errors": None}), "orders", ["cursor"]) == []
    for body in ({"errors": [{"code": "X"}]}, {"orders": {}}, []):
        with pytest.raises(ConnectorError):
            listed(answer(200, body), "orders", ["cursor"])


def test_an_xml_list_of_one_or_none_is_a_list() -> None:
    def xml(text: str) -> Response:
        return Response(200, {"content-type": "application/xml"}, text.encode())

    assert listed(xml("<r><items><item><id>1</id></item></items></r>"), "r.items.item") == [{"id": "1"}]
    assert listed(xml("<r><items/></r>"), "r.items.item") == []
    with pytest.raises(ConnectorError):
        listed(xml("<error>busy</error>"), "r.items.item")


@pytest.mark.parametrize(
    ("paging", "body"),
    [
        ("{type: cursor, token: next, more: has_more}", {"items": [{"id": "1"}], "has_more": True}),
        ("{type: cursor, token: next, more: has_more}", {"items": [{"id": "1"}], "next": "T"}),
        ("{type: offset, more: has_more}", {"items": [], "has_more": True}),
        ("{type: offset, total: count}", {"items": [{"id": "1"}]}),
        ("{type: offset, total: count}", {"items": [], "count": 3}),
        ("{type: last}", {"items": [None]}),
        ("{type: next_url, token: next}", {"items": [{"id": "1"}], "next": {"page": 2}}),
        ("{type: next_url, token: next}", {"items": [{"id": "1"}], "next": "http://h/else/where"}),
        ("{type: next_url, token: next}", {"items": [{"id": "1"}], "next": "http://h/items/../admin?page=2"}),
        ("{type: version, token: version}", {"items": [{"id": "1"}]}),
    ],
)
def test_a_read_fails_when_the_answer_says_more_and_not_where(paging: str, body: Any) -> None:
    with pytest.raises(ConnectorError) as caught:
        read(paging, answer(200, body))
    assert caught.value.code == "unreadable_answer"


@pytest.mark.parametrize(
    ("told", "path", "params"),
    [
        ("http://h/api/items?status=open&status=closed&page=2", "/items", {"status": ["open", "closed"], "page": "2"}),
        ("http://h/api/items/page/2", "/items/page/2", {}),
        ("?page=2", "/items", {"page": "2"}),
        ("/items?page=a%2Fb", "/items", {"page": "a/b"}),
        ("https://other/elsewhere?page=2", "/items", {"page": "2"}),
    ],
)
def test_a_next_url_is_followed_when_its_page_is_in_path_or_query(told: str, path: str, params: Any) -> None:
    records, _, asked = read("{type: next_url, token: next}", page(1, next=told), page(2, next=None))
    assert [record["id"] for record in records] == ["1", "2"]
    assert (asked[1].path, dict(asked[1].params)) == (path, params)
    _, _, asked = read("{type: link}", page(1, headers={"link": f'<{told}>; REL=next, <x>; rel="last"'}), page(2))
    assert (asked[1].path, dict(asked[1].params)) == (path, params)


def test_a_cursor_of_a_former_version_goes_on_when_it_holds_parameters() -> None:
    _, _, asked = read("{type: link}", page(2), cursor={"since": AT, "page": {"page": "2"}, "high": AT})
    assert dict(asked[0].params) == {"page": "2"}


def test_a_short_page_ends_nothing_when_the_vendor_gives_fewer_than_asked() -> None:
    records, _, asked = read("{type: offset, limit: 100}", page(1, 2), page(3, 4), page(5), page())
    assert [record["id"] for record in records] == ["1", "2", "3", "4", "5"]
    assert [request.params.get("page") for request in asked] == [None, 2, 4, 5]


def test_a_time_of_the_future_does_not_move_a_cursor() -> None:
    response = answer(200, {}, {"date": DATE})
    assert furthest([AT, "2099-01-01T00:00:00Z", None], "2026-11-01T00:00:00Z", response) == AT
    assert furthest(["2099-01-01T00:00:00Z"], AT, response) == AT
    assert furthest(["2026-11-30T13:00:00+01:00"], AT, response) == "2026-11-30T13:00:00+01:00", "it is now"


def test_a_cursor_compares_numbers_when_they_are_numbers() -> None:
    response, start = answer(200, {}), "1970-01-01T00:00:00Z"
    assert furthest([998, 1000], start, response, start) == 1000
    assert furthest(["998", "1000"], "999", response, start) == "1000"
    assert furthest([1500, "junk", None, True, Unreadable("1e99999")], 1000, response, start) == 1500
    assert furthest(["junk", AT], "2026-11-01", response, start) == AT


def test_a_value_that_no_number_holds_is_kept_as_text_and_its_siblings_are_read() -> None:
    deep = b"[" * 100000 + b"]" * 100000
    text = b'{"a": 1e9999999999999999999, "b": NaN, "c": ' + b"9" * 5000 + b', "d": 1.50, "e": ' + deep + b', "f": "\\ud83d"}'
    found = parse_json(text)
    assert [type(found[key]) is Unreadable for key in "abcdf"] == [True, True, True, False, False]
    inner = found["e"]
    while isinstance(inner, list):
        (inner,) = inner
    assert isinstance(inner, Unreadable)
    assert str(found["d"]) == "1.50"
    for broken in (b"<html>", b"", b"\xff\xfe\x00", b'{"a": ' + b"[" * 100000):
        with pytest.raises(ValueError, match=r"JSON|Expecting|decode"):
            parse_json(broken)


def test_a_request_repeats_a_parameter_when_it_is_a_list() -> None:
    assert SimRequest.of(Request("GET", "/x", params={"status": ["open", "closed"]}), {}).params == {"status": "open"}
