"""What the hub relies on: manifest and code agree, faults mean what they should."""

from datetime import UTC, datetime

import pytest
from hub_tryton.connector import Tryton

from hub.sdk import (
    AmbiguousWriteError,
    AuthenticationError,
    RateLimitedError,
    RejectedByTargetError,
    Request,
    Response,
    TargetUnavailableError,
)
from hub.sdk.answers import classify
from hub.sdk.testing import answer

NOW = datetime(2026, 11, 21, tzinfo=UTC)
READ, WRITE = Request("POST", "/tryton/rpc/", effect=False), Request("POST", "/tryton/rpc/")


def test_manifest_and_code_agree() -> None:
    assert Tryton.disagreements() == []


@pytest.mark.parametrize(
    ("request_", "response", "kind", "code"),
    [
        (WRITE, answer(200, {"id": 1, "error": ["UserError", ["No.", "", None]]}), RejectedByTargetError, "rejected_by_target"),
        (WRITE, answer(200, {"id": 1, "error": ["UserWarning", ["k.x", "Sure?", ""]]}), RejectedByTargetError, "user_warning"),
        (WRITE, answer(200, {"id": 1, "error": ["ConcurrencyException", ["x"]]}), TargetUnavailableError, "concurrent_change"),
        (WRITE, answer(200, {"id": 1, "error": ["KeyError", "trace"]}), RejectedByTargetError, "target_fault"),
        (WRITE, Response(200, {}, b"<html>"), AmbiguousWriteError, "unreadable_answer"),
        (READ, Response(200, {}, b"<html>"), TargetUnavailableError, "unreadable_answer"),
        (WRITE, Response(403, {}, b"<html>"), RejectedByTargetError, "method_forbidden"),
        (WRITE, Response(401, {}, b""), AuthenticationError, "authentication_failed"),
        (WRITE, answer(429, {"detail": "x"}, {"retry-after": "4"}), RateLimitedError, "rate_limited"),
    ],
)
def test_a_fault_means_what_it_should(request_: Request, response: Response, kind: type, code: str) -> None:
    error = classify(Tryton.manifest, request_, response, NOW)

    assert type(error) is kind
    assert error is not None
    assert error.code == code


def test_an_answer_without_a_fault_is_an_answer() -> None:
    assert classify(Tryton.manifest, WRITE, answer(200, {"id": 1, "result": [1]}), NOW) is None
