"""What the hub relies on: manifest and code agree, errors mean what they should."""

from datetime import UTC, datetime

from hub_inventree.connector import InvenTree
from hub_inventree.simulator import InvenTreeSimulator

from hub.sdk import AmbiguousWriteError, AuthenticationError, RateLimitedError, RejectedByTargetError, Request, Response
from hub.sdk.answers import classify
from hub.sdk.testing import SimRequest

NOW = datetime(2026, 11, 21, tzinfo=UTC)
WRITE = Request("POST", "/api/stock/add/")


def test_manifest_and_code_agree() -> None:
    assert InvenTree.disagreements() == []


def test_error_bodies_mean_what_they_should() -> None:
    simulator = InvenTreeSimulator()
    refused = simulator.handle(SimRequest("GET", "/api/part/"))

    assert isinstance(classify(InvenTree.manifest, WRITE, refused, NOW), AuthenticationError)
    assert isinstance(classify(InvenTree.manifest, WRITE, simulator.throttled(3), NOW), RateLimitedError)
    assert isinstance(classify(InvenTree.manifest, WRITE, Response(400, {}, b'{"items":["x"]}'), NOW), RejectedByTargetError)
    assert isinstance(classify(InvenTree.manifest, WRITE, Response(502, {}, b"<html>"), NOW), AmbiguousWriteError)
