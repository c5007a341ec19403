"""What the hub relies on: manifest and code agree, errors mean what they should, no credential is seen."""

from datetime import UTC, datetime

from hub_square.connector import Square
from hub_square.simulator import SquareSimulator

from hub.sdk import AuthenticationError, RateLimitedError, Request, Response, TargetUnavailableError
from hub.sdk.answers import classify
from hub.sdk.testing import SimRequest

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_manifest_and_code_agree() -> None:
    assert Square.disagreements() == []


def test_squares_error_bodies_mean_what_they_should() -> None:
    simulator = SquareSimulator()
    request = Request("GET", "/v2/orders/x")

    assert isinstance(classify(Square.manifest, request, simulator.throttled(1), NOW), RateLimitedError)
    assert isinstance(
        classify(Square.manifest, request, simulator.handle(SimRequest("GET", "/v2/orders/x")), NOW), AuthenticationError
    )
    assert isinstance(classify(Square.manifest, request, Response(503, {}, b"<html>"), NOW), TargetUnavailableError)


def test_the_connector_never_sees_a_credential() -> None:
    assert "access_token" not in Square({}).settings
    assert not set(Square.manifest.data["credentials"]) & set(Square.manifest.data["settings"])
