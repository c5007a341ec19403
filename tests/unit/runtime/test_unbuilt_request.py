"""A request that cannot be built is refused by name, and nothing leaves: it is no effect."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from hub.runtime.egress import Egress
from hub.runtime.performer import NoBoundary, Performer, Run
from hub.runtime.session import Session
from hub.sdk import Connector, Request, Response
from hub.sdk.errors import AuthenticationError, PermanentError
from hub.sdk.manifest import parse_manifest
from hub.sdk.testing import SimRequest, Simulator, SimulatorServer, answer
from hub.telemetry import Telemetry

MANIFEST = """\
connector: acme
name: Acme
version: 1.0.0
kind: erp
summary: Test.
canonical: 1
self_hosted: true
credentials: {token: {description: Test}}
auth: {headers: {Authorization: "Bearer {token}"}}
"""


class _Target(Simulator):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[SimRequest] = []

    def handle(self, request: SimRequest) -> Response:
        self.seen.append(request)
        return answer(200, {"id": 1})


class _Watch(NoBoundary):
    def __init__(self) -> None:
        self.calls: list[str] = []

    async def before_request(self, request: Request) -> None:
        self.calls.append("request")

    async def before_effect(self, request: Request) -> None:
        self.calls.append("effect")


def _perform(request: Request, token: str = "fine-token-of-the-test") -> tuple[Any, Run, list[str], list[SimRequest]]:
    target, watch, run = _Target(), _Watch(), Run()
    manifest = parse_manifest(MANIFEST, "acme.yaml")

    def steps() -> Any:
        return (yield request)

    async def go(url: str) -> Any:
        performer = Performer(Egress("127.0.0.1"), Telemetry())
        connector = type("Acme", (Connector,), {"manifest": manifest})({})
        session = Session("t", "erp", connector, url, {"token": token}, manifest.limits)
        try:
            return await performer.perform(steps(), session, watch, run)
        except (PermanentError, AuthenticationError) as error:
            return error
        finally:
            await performer.close()

    with SimulatorServer(target) as server:
        return asyncio.run(go(server.url)), run, watch.calls, target.seen


LOOP: dict[str, Any] = {}
LOOP["self"] = LOOP


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"headers": {"X-Name": "two\r\nX-Injected: yes"}}, "header X-Name"), ({"headers": {"X Name": "x"}}, "header 'X Name'"),
        ({"headers": {"X-Name": 7}}, "header X-Name"), ({"headers": {"X-Name": "half \ud800"}}, "header X-Name"),
        ({"path": "/x HTTP/1.1\r\nHost: evil"}, "the path"), ({"path": "/\ud800"}, "the path"), ({"path": "x"}, "the path"),
        ({"method": "POST /evil"}, "the method"), ({"params": {"q": "\ud800"}}, "parameter 'q'"),
        ({"json": {"lines": [{"name": "half \ud83d"}]}}, "/lines/0/name of the body"), ({"json": {"n": float("nan")}}, "/n of the body"),
        ({"json": {"n": float("inf")}}, "/n of the body"), ({"json": {"when": object()}}, "/when of the body"),
        ({"json": LOOP}, "of the body"), ({"content": "text"}, "the content"),
    ],
    ids=lambda value: ascii(value)[:40],
)  # fmt: skip
def test_nothing_is_sent_or_intended_when_a_request_cannot_be_built(arguments: Mapping[str, Any], named: str) -> None:
    error, run, calls, seen = _perform(Request(**{"method": "POST", "path": "/x", **arguments}))

    assert isinstance(error, PermanentError)
    assert error.code == "request_invalid"
    assert error.message.startswith("step 1: ")
    assert named in error.message
    assert error.remedy
    assert (calls, seen, run.effects) == ([], [], 0)
    assert run.steps[0]["error"] == "request_invalid"


def test_the_connection_pauses_when_no_header_can_carry_its_credential() -> None:
    error, run, calls, seen = _perform(Request("POST", "/x", json={}), token="secret\r\nX-Evil: 1")

    assert isinstance(error, AuthenticationError)
    assert error.code == "credential_invalid"
    assert "Authorization" in error.message
    assert "secret" not in error.message
    assert ("effect" in calls, seen, run.effects) == (False, [], 0)


def test_a_request_is_sent_as_it_is_when_it_can_be_built() -> None:
    result, run, calls, seen = _perform(Request("POST", "/x", {"q": "a b"}, json={"name": "Zoë\n"}, headers={"X-Name": "a\tb"}))

    assert result.status == 200
    assert (calls, run.effects, len(seen)) == (["request", "effect"], 1, 1)
    assert seen[0].params["q"] == "a b"
