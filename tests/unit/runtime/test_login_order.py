"""A request departs right before it leaves: one that needs a login first departs after it, not before."""

from typing import Any

from hub_tryton.connector import Tryton
from hub_tryton.simulator import TrytonSimulator

from hub.runtime.egress import Egress
from hub.runtime.loop import Loop
from hub.runtime.performer import NoBoundary, Run
from hub.runtime.session import Session
from hub.sdk import Request
from hub.sdk.testing import SimulatorServer
from hub.telemetry import Telemetry


class _Told(NoBoundary):
    """Notes what is asked of it, and how many requests the system has seen by then."""

    def __init__(self, simulator: TrytonSimulator) -> None:
        self._simulator = simulator
        self.asked: list[tuple[str, str, int]] = []

    def _note(self, what: str, request: Request) -> None:
        method = str(request.json["method"]).rpartition(".")[2]
        self.asked.append((what, method, len(self._simulator.requests)))

    async def before_request(self, request: Request) -> None:
        self._note("slot", request)

    async def before_read(self, request: Request) -> None:
        self._note("departs", request)


def test_a_read_departs_after_the_login_that_it_needs() -> None:
    simulator = TrytonSimulator()
    server = SimulatorServer(simulator)
    told = _Told(simulator)
    connector = Tryton({"database": "tryton", "currency": "USD", "accounts": {}})
    credentials = {"username": simulator.username, "password": simulator.password}
    limits: dict[str, Any] = dict(Tryton.manifest.limits)
    session = Session("acme", "erp", connector, server.url, credentials, limits)
    loop = Loop(Egress("127.0.0.1"), Telemetry(sample_ratio=0.0))
    try:
        assert loop.submit(loop.performer.perform(connector.check(), session, told, Run())).result(20) == "answered 200"
    finally:
        loop.close()
        server.close()

    assert told.asked == [
        ("slot", "search_read", 0),
        ("slot", "login", 0),
        ("departs", "login", 0),
        ("departs", "search_read", 1),
    ]
