"""What an answer means: HTTP's own meaning, the manifest's rules first."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from support import MANIFEST as GOOD

from hub.sdk.answers import classify, retry_after, said_at
from hub.sdk.errors import (
    AmbiguousWriteError,
    AuthenticationError,
    RateLimitedError,
    RejectedByTargetError,
    TargetUnavailableError,
)
from hub.sdk.manifest import parse_manifest
from hub.sdk.steps import Request, Response

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PLAIN = parse_manifest(GOOD, "m")
RULED = parse_manifest(
    GOOD + "errors:\n  - {when: \"status == `200` && body.error\", then: rejected, code: fault, message: body.error.text, "
    "field: body.error.field, remedy: Mend it.}\n  - {when: \"status == `503`\", then: rate_limited}\n", "m",
)  # fmt: skip
READ, WRITE = Request("GET", "/x"), Request("POST", "/x")


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        (READ, 500, TargetUnavailableError), (WRITE, 500, AmbiguousWriteError), (WRITE, 504, AmbiguousWriteError),
        (READ, 429, RateLimitedError), (WRITE, 401, AuthenticationError), (WRITE, 403, AuthenticationError),
        (WRITE, 422, RejectedByTargetError), (READ, 200, type(None)), (Request("GET", "/x", expect=(404,)), 404, type(None)),
        (Request("POST", "/search", effect=False), 500, TargetUnavailableError), (WRITE, 302, TargetUnavailableError),
    ],
)  # fmt: skip
def test_an_answer_means_what_its_status_says(request_: Request, status: int, kind: type) -> None:
    assert type(classify(PLAIN, request_, Response(status), NOW)) is kind


def test_a_rule_of_the_manifest_goes_first_and_names_the_field() -> None:
    body = b'{"error": {"text": "no such SKU", "field": "sku"}}'

    error = classify(RULED, WRITE, Response(200, {}, body), NOW)

    assert isinstance(error, RejectedByTargetError)
    assert (error.code, error.message, error.field, error.remedy) == ("fault", "no such SKU", "sku", "Mend it.")
    assert isinstance(classify(RULED, WRITE, Response(503, {"retry-after": "7"}), NOW), RateLimitedError)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0", 0.0), ("", None), ("soon", None), ("1000000000", 60.0), ("80000", 3600.0), ("-5", 0.0), ("nan", None),
     ("Sat, 21 Nov 2026 00:01:00 GMT", 60.0), ("Fri, 20 Nov 2026 00:00:00 GMT", 0.0), ("Fri, 20 Nov 2099 00:00:00 GMT", 60.0)],
)  # fmt: skip
def test_retry_after_is_read_in_every_spelling_and_capped(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(("ours", "seconds"), [("wrong by an hour", 30.0), ("right", 30.0)])
def test_a_date_to_wait_for_is_read_against_the_targets_own_clock(ours: str, seconds: float) -> None:
    """Whoever's clock is wrong: the answer says when it was written."""
    now = NOW - timedelta(hours=1) if ours != "right" else NOW
    headers = {
        "date": format_datetime(NOW, usegmt=True),
        "retry-after": format_datetime(NOW + timedelta(seconds=30), usegmt=True),
    }

    error = classify(PLAIN, READ, Response(429, headers, b""), now)

    assert isinstance(error, RateLimitedError)
    assert error.retry_after == seconds
    told = said_at(Response(429, {"date": "nonsense"}, b""), now)
    assert told == now
