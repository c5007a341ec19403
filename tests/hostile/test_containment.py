"""S11: what a hostile connector tries stays in its process; the others go on; each incident has a name."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from support import VAULT_KEY, Web

from canonical.examples import EXAMPLES
from hostile import pack
from hub.bootstrap import Hub, utc_now
from hub.flow.ingest import accept_event
from hub.identity.api_keys import SCOPES, Client, create_key
from hub.identity.connections import set_credentials
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.runtime.guest import Limits, PluginDiedError, PluginRestartedError
from hub.runtime.isolation import Guests
from hub.runtime.plugins import Isolation, load_plugins
from hub.sdk import Response
from hub.sdk.connector import Connector
from hub.sdk.guest import wire
from hub.sdk.testing import Simulator, SimulatorServer
from hub.sdk.testing.simulator import SimRequest, answer
from hub.settings import Settings

CANARY = "canary-7f3a9c51d2e84b60"
FACTS = 4


class Loot(Simulator):
    """The systems behind every connector: they keep what they are sent, and one of them echoes."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[str, str, str]] = []

    def handle(self, request: SimRequest) -> Response:
        if request.path == "/echo":
            return answer(200, dict(request.headers), {"x-echo": request.headers.get("authorization", "")})
        if request.path != "/loot":
            return answer(404)
        found = request.json()
        self.taken.append((found["who"], found["label"], found["loot"]))
        return answer(200, {"id": "1"})

    def of(self, who: str, label: str = "") -> list[str]:
        return [loot for name, of, loot in list(self.taken) if name == who and (not label or of == label)]


class Battle:
    """A hub with every hostile connector, each on a connection of its own, and a peaceful one; every fact goes to all."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, (module, body, attack, _) in pack.PACK.items():
            pack.write(folder / "code", name, module, body, attack)
        pack.write(folder / "code", "peaceful")
        monkeypatch.syspath_prepend(str(folder / "code"))
        monkeypatch.setenv("SOME_SECRET", CANARY)
        self.names = [*pack.PACK, "peaceful"]
        self.logged: list[logging.LogRecord] = []
        handler = logging.Handler()
        handler.emit = self.logged.append  # type: ignore[method-assign]
        self._handler = handler
        logger = logging.getLogger("hub.runtime")
        self._level = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        isolation = Isolation(folder / "plugins", guests=Guests(Limits(step_seconds=2.0)))
        points = [EntryPoint(name, f"hub_{name}", "hub.connectors") for name in self.names]
        self.plugins = load_plugins(points, isolation)
        self.loot = Loot()
        self.server = SimulatorServer(self.loot)
        settings = Settings(data_dir=folder / "data", vault_key=VAULT_KEY, egress_private_hosts="127.0.0.1", sweep_seconds=0.05,
                            retry_base_seconds=0.2, retry_cap_seconds=0.5, max_attempts=4)  # fmt: skip
        self.hub = Hub(settings, self.plugins)
        self.hub.ctx.store.upgrade()
        self.key = ""
        self._tenant("acme", self.names)
        self._tenant("rival", ["cross_tenant_cache"])
        self.hub.start()

    def _tenant(self, tenant: str, names: list[str]) -> None:
        ctx = self.hub.ctx
        text = "integration: all\nconnections:\n"
        for name in names:
            text += f'  {name}: {{connector: {name}, base_url: "{self.server.url}", settings: {{label: {tenant}}}}}\n'
        text += "flows:\n  - name: products\n    on: product.v2\n    to:\n" + "".join(
            f"      - connection: {name}\n" for name in names
        )
        with ctx.store.begin() as uow:
            uow.tenants.add(tenant, tenant, utc_now())
            self.key = create_key(uow, tenant, "ops", SCOPES, utc_now()) if tenant == "acme" else self.key
            apply_integration(
                uow, self.plugins, tenant, parse_integration(text, "all.yaml", self.plugins), "test", "", utc_now()
            )
            for name in names:
                set_credentials(uow, self.plugins, ctx.vault, tenant, name, {"token": CANARY}, utc_now(), "test")

    def publish(self, tenant: str, number: int) -> None:
        document = {**EXAMPLES["product.v2"], "id": f"P-{number}", "sku": f"SKU-{number}"}
        envelope = {"specversion": "1.0", "id": f"{number}", "source": "/test", "type": "product.v2", "time": "2026-11-21T12:00:00Z",
                    "data": document}  # fmt: skip
        accept_event(self.hub.ctx, Client(tenant, "", "test", frozenset(SCOPES)), envelope)

    def incidents(self, name: str) -> list[dict[str, Any]]:
        with self.hub.ctx.store.read() as uow:
            return uow.plugins.incidents("acme", name)

    def deliveries(self, name: str) -> list[dict[str, Any]]:
        with self.hub.ctx.store.read() as uow:
            return [row for row in uow.deliveries.page("acme", None, 200) if row["connection_id"] == name]

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"still not so after {seconds} s"
            time.sleep(0.05)

    def close(self) -> None:
        self.hub.close()
        self.server.close()
        logger = logging.getLogger("hub.runtime")
        logger.removeHandler(self._handler)
        logger.setLevel(self._level)


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battle]:
    with pytest.MonkeyPatch.context() as patch:
        battle = Battle(tmp_path_factory.mktemp("battle"), patch)
        for number in range(FACTS):
            battle.publish("acme", number)
            battle.publish("rival", number)
        yield battle
        battle.close()


def test_every_plugin_is_there_and_none_was_imported(battle: Battle) -> None:
    import sys

    assert battle.plugins.quarantined == {}
    assert not [name for name in sys.modules if name.startswith("hub_") and name.removeprefix("hub_") in battle.names]


def test_the_peaceful_one_is_through_while_hostile_ones_are_still_at_it(battle: Battle) -> None:
    battle.until(lambda: len(battle.loot.of("peaceful")) == FACTS)

    open_ones = [name for name in ("busy_loop", "slow_close", "crash_loop") if any(
        row["state"] not in ("applied", "dead", "skipped") for row in battle.deliveries(name))]  # fmt: skip
    assert open_ones == ["busy_loop", "slow_close", "crash_loop"]
    battle.until(lambda: {row["state"] for row in battle.deliveries("peaceful")} == {"applied"})


@pytest.mark.parametrize("name", pack.PACK)
def test_contained(battle: Battle, name: str) -> None:
    kind = pack.PACK[name][3]
    if kind:
        battle.until(lambda: kind in {item["kind"] for item in battle.incidents(name)})
        assert any(f"plugin {name} 1.0.0" in record.getMessage() and kind in record.getMessage() for record in battle.logged)
    else:
        battle.until(lambda: len(battle.loot.of(name)) >= (1 if name == "monkeypatch" else FACTS))
    plunder = (CANARY, VAULT_KEY, "root:", "('127.0.0.1', 5432)", "socket.socket")
    assert not [loot for loot in battle.loot.of(name) if any(word in loot for word in plunder)]


def test_nothing_but_the_system_it_is_for_is_found_in_an_environment(battle: Battle) -> None:
    battle.until(lambda: len(battle.loot.of("env_read")) >= FACTS)

    assert {frozenset(eval(loot)) - {"LC_CTYPE"} for loot in battle.loot.of("env_read")} == {frozenset()}


def test_what_a_system_echoes_is_without_the_credential(battle: Battle) -> None:
    battle.until(lambda: len(battle.loot.of("token_echo")) >= FACTS)

    assert all("Bearer ***" in loot and CANARY not in loot for loot in battle.loot.of("token_echo"))


def test_tenants_share_no_memory(battle: Battle) -> None:
    battle.until(lambda: len(battle.loot.of("cross_tenant_cache")) >= 2 * FACTS)

    assert "acme" in battle.loot.of("cross_tenant_cache", "acme")[0]
    assert not [loot for loot in battle.loot.of("cross_tenant_cache", "acme") if "rival" in loot]
    assert not [loot for loot in battle.loot.of("cross_tenant_cache", "rival") if "acme" in loot]


def test_a_line_of_the_log_is_a_line_of_the_log(battle: Battle) -> None:
    battle.until(lambda: len(battle.loot.of("log_injection")) >= FACTS)

    printed = [record.getMessage() for record in battle.logged if "log_injection prints" in record.getMessage()]
    assert any("nothing happened" in line for line in printed)
    assert all(line.isprintable() and line.startswith("plugin log_injection prints:") for line in printed)


def test_incidents_are_on_the_plugins_page_and_in_the_api(battle: Battle) -> None:
    battle.until(lambda: battle.incidents("dns"))
    web = Web(battle.hub, battle.key)
    try:
        status, page, _ = web.call("GET", "/v1/connectors/dns")
        assert (status, page["isolated"]) == (200, True)
        assert [item["kind"] for item in page["incidents"]] == ["network"]
        assert "getaddrinfo" in page["incidents"][0]["detail"]
        cookie = web.call("POST", "/console/sign-in", raw=f"key={battle.key}".encode(),
                          headers={"Content-Type": "application/x-www-form-urlencoded"})[2]["set-cookie"]  # fmt: skip
        shown = web.call("GET", "/console/connectors", headers={"Cookie": cookie.partition(";")[0]})[1].decode()
        assert shown.count("<section") == len(battle.names)
        assert "getaddrinfo" in shown
        assert "\x1b" not in shown
    finally:
        web.close()


def test_the_hub_itself_is_not_patched(battle: Battle) -> None:
    battle.until(lambda: battle.loot.of("monkeypatch"))

    assert Connector.write.__module__ == "hub.sdk.connector"


def test_what_ends_its_process_costs_tries_and_is_dead_lettered_in_the_end(battle: Battle) -> None:
    battle.until(lambda: {row["state"] for row in battle.deliveries("system_exit")} == {"dead"}, 90)

    assert {row["cause_code"] for row in battle.deliveries("system_exit")} == {"attempts_exhausted"}


def test_a_crash_loop_is_left_alone_and_loses_nothing(battle: Battle) -> None:
    battle.until(lambda: any(row["cause_code"] == "plugin_resting" for row in battle.deliveries("crash_loop")))

    assert len(battle.deliveries("crash_loop")) == FACTS


# -- the fences of the kernel, without the words of the audit hook ------------------------------------------------

RAW = """\
        libc = ctypes.pythonapi
        libc.syscall.restype = ctypes.c_long
        loot = {code}
        yield Request("POST", "/loot", json={{"who": "raw", "label": "", "loot": str(loot)}})
        return Written(key)
"""


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str, limits: Limits | None = None) -> Any:
    """What a connector's first write asks for, as loot."""
    pack.write(folder / "code", name, "", body)
    monkeypatch.syspath_prepend(str(folder / "code"))
    isolation = Isolation(folder / "plugins", guests=Guests(limits or Limits(step_seconds=5.0)))
    plugins = load_plugins([EntryPoint(name, f"hub_{name}", "hub.connectors")], isolation)
    assert plugins.quarantined == {}

    async def ask() -> Any:
        connector = plugins.get(name)({})
        steps: Any = connector.write("product.v2", {"id": "1"}, "K")
        try:
            request = await steps.advance(None, None)
            return request.json if request.content is None else __import__("json").loads(request.content)["loot"]
        finally:
            await isolation.guests.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("raw_socket", "libc.syscall(41, 2, 1, 0)"),
        ("raw_fork", "libc.fork()"),
        ("raw_open", "libc.open(b'/etc/passwd', 0)"),
        ("raw_write", "libc.open(b'/tmp/crossdock-written', 0o101, 0o600)"),
        ("raw_kill", "libc.kill(os.getppid(), 0)"),
        ("raw_memfd", "libc.memfd_create(b'x', 0)"),
    ],
)
def test_the_kernel_refuses_what_python_was_not_asked(
    name: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, monkeypatch, name, RAW.format(code=code)) == "-1"


@pytest.mark.parametrize(
    "code", ["libc.execve(b'/bin/true', None, None)", "libc.ptrace(0, 0, 0, 0)", "libc.unshare(0x10000000)"]
)
def test_the_kernel_ends_what_no_connector_does_by_mistake(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginDiedError, match="SIGSYS"):
        run(tmp_path, monkeypatch, "deadly", RAW.format(code=code))


def test_a_plugin_is_not_started_where_a_needed_fence_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginRestartedError, match="moat missing"):
        run(tmp_path, monkeypatch, "unfenced", pack.GOOD, Limits(fences=("moat",)))


def test_what_is_too_large_for_a_frame_costs_that_call_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack.write(tmp_path / "code", "roomy")
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    isolation = Isolation(tmp_path / "plugins", guests=Guests(Limits(step_seconds=5.0)))
    plugins = load_plugins([EntryPoint("roomy", "hub_roomy", "hub.connectors")], isolation)

    async def ask() -> None:
        connector = plugins.get("roomy")({})
        waiting: Any = connector.write("product.v2", {"id": "1"}, "K")
        await waiting.advance(None, None)
        large: Any = connector.write("product.v2", {"id": "2", "text": "x" * (wire.MAX_FRAME_BYTES + 1)}, "L")
        with pytest.raises(wire.WireError, match="more than a frame may have"):
            await large.advance(None, None)
        with pytest.raises(wire.WireError, match="more than a frame may have"):
            await waiting.advance(Response(200, {}, b"x" * wire.MAX_FRAME_BYTES), None)
        done = await waiting.advance(Response(200, {}, b"{}"), None)
        assert done.value.external_id == "K"
        await isolation.guests.close()

    asyncio.run(ask())


def test_who_ends_the_process_pays_and_who_was_beside_it_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "        if document['id'] == 'bad':\n            os._exit(7)\n" + pack.GOOD
    pack.write(tmp_path / "code", "shared", "", body)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    isolation = Isolation(tmp_path / "plugins", guests=Guests(Limits(step_seconds=5.0)))
    plugins = load_plugins([EntryPoint("shared", "hub_shared", "hub.connectors")], isolation)

    async def ask() -> None:
        connector = plugins.get("shared")({})
        first: Any = connector.write("product.v2", {"id": "1"}, "K")
        await first.advance(None, None)
        bad: Any = connector.write("product.v2", {"id": "bad"}, "L")
        behind: Any = connector.write("product.v2", {"id": "2"}, "M")
        ends = await asyncio.gather(bad.advance(None, None), behind.advance(None, None), return_exceptions=True)
        assert [type(end) for end in ends] == [PluginDiedError, PluginRestartedError]
        assert "exit code 7" in str(ends[0])
        with pytest.raises(PluginRestartedError):
            await first.advance(Response(200, {}, b"{}"), None)
        again: Any = connector.write("product.v2", {"id": "1"}, "K")
        assert (await again.advance(None, None)).path == "/loot"
        await isolation.guests.close()

    asyncio.run(ask())
