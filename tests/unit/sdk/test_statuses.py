"""The table of statuses: "not now" and "elsewhere" are no fault of the document, and nothing is repeated without a promise."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import MANIFEST

from hub.sdk.answers import classify, retry_after, said_at
from hub.sdk.errors import (
    AmbiguousWriteError,
    AuthenticationError,
    ConnectorError,
    RateLimitedError,
    RejectedByTargetError,
    RetryableError,
    TargetUnavailableError,
    Unreadable,
    bounded_wait,
)
from hub.sdk.manifest import parse_manifest
from hub.sdk.statuses import STATUSES
from hub.sdk.steps import Request, Response

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PLAIN = parse_manifest(MANIFEST, "m")
READ, WRITE = Request("GET", "/x"), Request("POST", "/x")
HTML = {"content-type": "text/html; charset=utf-8"}


def _error(request: Request, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Any:
    return classify(PLAIN, request, Response(status, headers or {}, body), NOW)


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "code"),
    [
        (301, {"location": "https://login.example/"}, b"", TargetUnavailableError, "redirected"),
        (302, {}, b"", TargetUnavailableError, "redirected"), (307, {}, b"", TargetUnavailableError, "redirected"),
        (308, {}, b"", TargetUnavailableError, "redirected"), (303, {}, b"", AmbiguousWriteError, "redirected"),
        (401, {}, b"", AuthenticationError, "authentication_failed"), (403, {}, b"", AuthenticationError, "authentication_failed"),
        (403, {"retry-after": "1"}, b"", RateLimitedError, "rate_limited"),
        (403, {"x-ratelimit-remaining": "0"}, b"", RateLimitedError, "rate_limited"),
        (403, HTML, b"<html>", TargetUnavailableError, "not_the_system"),
        (404, HTML, b"<html>", TargetUnavailableError, "not_the_system"),
        (404, {}, b"\n<!DOCTYPE html><html>", TargetUnavailableError, "not_the_system"),
        (404, {"content-type": "application/json"}, b"{}", RejectedByTargetError, "rejected_by_target"),
        (405, {}, b"", TargetUnavailableError, "not_the_system"), (407, {}, b"", TargetUnavailableError, "proxy_authentication"),
        (408, {}, b"", AmbiguousWriteError, "ambiguous_write"), (421, {}, b"", TargetUnavailableError, "wrong_server"),
        (423, {}, b"locked", TargetUnavailableError, "locked"), (425, {}, b"", TargetUnavailableError, "too_early"),
        (429, {}, b"", RateLimitedError, "rate_limited"), (503, {}, b"", AmbiguousWriteError, "ambiguous_write"),
        (511, {}, b"", TargetUnavailableError, "not_the_system"), (422, {}, b"", RejectedByTargetError, "rejected_by_target"),
    ],
)  # fmt: skip
def test_a_status_becomes_its_outcome_when_an_effect_is_answered(
    status: int, headers: dict[str, str], body: bytes, kind: type, code: str
) -> None:
    error = _error(WRITE, status, headers, body)

    assert (type(error), error.code) == (kind, code)
    if code in ("redirected", "not_the_system", "proxy_authentication"):
        assert error.remedy


@pytest.mark.parametrize("status", [*range(300, 400), 405, 407, 408, 421, 423, 425, 426, 429, *range(500, 600)])
def test_no_document_is_refused_when_a_status_says_not_now_or_elsewhere(status: int) -> None:
    assert isinstance(_error(WRITE, status), RetryableError | AmbiguousWriteError)
    assert isinstance(_error(READ, status), RetryableError)


@pytest.mark.parametrize("status", [303, 408, 500, 502, 503, 504, 520, 599])
def test_an_effect_is_looked_up_when_its_status_promises_nothing(status: int) -> None:
    assert isinstance(_error(WRITE, status, {"retry-after": "2"}), AmbiguousWriteError)
    assert _error(WRITE, status, {"retry-after": "2"}).retry_after == 2.0


def test_a_lookup_has_not_looked_when_a_page_answers_in_the_systems_place() -> None:
    """The ingress's 404 would be taken for "it is not there", and the write be sent a second time."""
    look = Request("GET", "/x", expect=(404,))

    assert isinstance(_error(look, 404, HTML, b"<html>no route</html>"), TargetUnavailableError)
    assert _error(look, 404, {"content-type": "application/json"}, b"{}") is None


def test_every_status_has_a_row_and_every_row_a_reason() -> None:
    for status in range(100, 1000):
        assert any(rule.first <= status <= rule.last and not rule.only for rule in STATUSES), status
    assert all(rule.why.endswith(".") for rule in STATUSES)


def test_the_page_shows_the_table_that_decides() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/reference/answers.md").read_text()
    assert all(rule.why in page for rule in STATUSES)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None), ("inf", 60.0), ("1e400", 60.0), ("1e12", 60.0), ("-3", 0.0),
        ("-inf", 0.0), (10**400, 60.0), ({"a": 1}, None), ([], None), (True, None), ("\ud800", None),
    ],
)  # fmt: skip
def test_retry_after_is_bounded_or_unread_when_it_is_malformed(said: Any, seconds: float | None) -> None:
    assert retry_after(said, NOW) == seconds


def test_a_date_that_overflows_is_no_date_when_an_answer_is_read() -> None:
    assert said_at(Response(500, {"date": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}), NOW) == NOW


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300, -5, 10**400, "soon", None, True])
def test_a_wait_is_bounded_when_a_plugin_asks_for_an_absurd_one(seconds: Any) -> None:
    for error in (RetryableError("x", retry_after=seconds), AmbiguousWriteError("x", retry_after=seconds)):
        assert error.retry_after == bounded_wait(seconds)
        error.retry_after = seconds
        assert error.retry_after is None or 0 <= error.retry_after <= 3600


@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff\xfe", b""])
def test_an_answer_is_unreadable_and_no_bug_when_it_is_absurd(body: bytes) -> None:
    with pytest.raises(ConnectorError) as caught:
        Response(200, {}, body).data()
    assert caught.value.code == "unreadable_answer"


def test_a_number_without_a_value_is_read_as_its_text_when_its_siblings_can_be_read() -> None:
    read = Response(200, {}, b'{"w": 1e9999999999999999999, "name": "x"}').data()

    assert isinstance(read["w"], Unreadable)
    assert read["name"] == "x"
