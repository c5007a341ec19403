"""From a listed version to a running hub and on: install, upgrade, canary, roll back, enable, yank, revoke; verified at every start."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import VAULT_KEY, envelope

from canonical.examples import EXAMPLES
from hub.bootstrap import Hub, isolation_of, utc_now
from hub.errors import HubError
from hub.flow.ingest import accept_event
from hub.identity.api_keys import SCOPES, Client
from hub.identity.connections import set_credentials
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.marketplace.client import chosen
from hub.marketplace.installed import Installed
from hub.marketplace.repository import CatalogueError
from hub.runtime.plugins import load_plugins
from hub.sdk import Response
from hub.sdk.testing import SimRequest, Simulator, SimulatorServer, answer
from hub.settings import Settings
from hub.sync.versions import compare
from marketplace.shelf import Shelf

INTEGRATION = """
integration: counts
connections: {{erp: {{connector: acme, base_url: "{url}", limits: {{max_in_flight_seconds: 0.1}}}}}}
flows: [{{name: counts, on: stock.counted.v1, to: [{{connection: erp}}]}}]
"""


class Counter(Simulator):
    """The system behind acme: it keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[dict[str, Any]] = []

    def handle(self, request: SimRequest) -> Response:
        self.taken.append({"path": request.path, "agent": request.headers.get("x-version", "0.1.0"), **request.json()})
        return answer(200, {"id": f"C{len(self.taken)}"})


class Running:
    """A hub whose plugins come from the shelf's catalogue."""

    def __init__(self, folder: Path, shelf: Shelf, tenants: tuple[str, ...] = ("north", "south"), **settings: Any) -> None:
        self.shelf, self.simulator = shelf, Counter()
        self.server = SimulatorServer(self.simulator)
        self.settings = Settings(
            data_dir=folder / "data", plugins_dir=str(shelf.home), catalogue=str(shelf.folder), catalogue_seconds=0.5, vault_key=VAULT_KEY,
            egress_private_hosts="127.0.0.1", sweep_seconds=0.05, retry_base_seconds=0.5, retry_cap_seconds=1.0, plugin_step_seconds=3.0,
            **settings,
        )  # fmt: skip
        self.hub = Hub(self.settings, load_plugins((), isolation_of(self.settings)))
        self.hub.ctx.store.upgrade()
        self.hub.start()
        self.tenants = tenants
        for tenant in tenants:
            with self.hub.ctx.store.begin() as uow:
                uow.tenants.add(tenant, tenant, utc_now())
        self._number = 0

    def connect(self) -> None:
        self.until(lambda: "acme" in self.hub.ctx.plugins.connectors)
        ctx = self.hub.ctx
        for tenant in self.tenants:
            wanted = parse_integration(INTEGRATION.format(url=self.server.url), "counts.yaml", ctx.plugins, tenant)
            with ctx.store.begin() as uow:
                apply_integration(uow, ctx.plugins, tenant, wanted, "test", "", utc_now())
                set_credentials(uow, ctx.plugins, ctx.vault, tenant, "erp", {"token": "token-of-the-test"}, utc_now(), "test")

    def count(self, tenant: str, times: int = 1) -> None:
        for _ in range(times):
            self._number += 1
            document = EXAMPLES["stock.counted.v1"] | {"id": f"T-{self._number}", "sku": f"SKU-{self._number}"}
            accept_event(self.hub.ctx, Client(tenant, "", "test", frozenset(SCOPES)), envelope(document, "stock.counted.v1"))

    def states(self, tenant: str) -> list[str]:
        with self.hub.ctx.store.read() as uow:
            return [row["state"] for row in uow.deliveries.page(tenant, None, 200)]

    def outcomes(self, tenant: str) -> list[dict[str, Any]]:
        with self.hub.ctx.store.read() as uow:
            return uow.plugins.outcomes("acme", tenant)

    def connection(self, tenant: str) -> Any:
        with self.hub.ctx.store.read() as uow:
            return uow.connections.get(tenant, "erp")

    def until(self, condition: Callable[[], Any], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"still not so after {seconds} s"
            time.sleep(0.05)

    def close(self) -> None:
        self.hub.close()
        self.server.close()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "shelf").mkdir()
    shelf = Shelf(tmp_path / "shelf")
    shelf.list(shelf.plugin())
    shelf.catalogue()
    return shelf


@pytest.fixture
def running(tmp_path: Path, shelf: Shelf) -> Iterator[Running]:
    running = Running(tmp_path, shelf)
    yield running
    running.close()


def says(version: str) -> Callable[[Path], None]:
    """The connector of this version says so in a header."""

    def edit(folder: Path) -> None:
        file = folder / "connector.py"
        file.write_text(file.read_text().replace('Request("POST", "/counts", json=count)',
                                                 f'Request("POST", "/counts", json=count, headers={{"X-Version": "{version}"}})'))  # fmt: skip

    return edit


def breaks(folder: Path) -> None:
    """As it was judged it works; on what this hub's tenants send it fails."""
    file = folder / "connector.py"
    file.write_text(
        file.read_text().replace(
            'count = {"key"', 'assert not document["id"].startswith("T-"), "a bug"\n        count = {"key"'
        )
    )


def test_installed_into_a_running_hub_it_delivers(running: Running) -> None:
    assert "acme" not in running.hub.ctx.plugins.connectors
    running.shelf.install("acme")
    running.connect()

    running.count("north", 3)

    running.until(lambda: running.states("north") == ["applied"] * 3)
    assert [item["path"] for item in running.simulator.taken] == ["/counts"] * 3
    running.until(lambda: running.outcomes("north") == [{"version": "0.1.0", "outcome": "applied", "count": 3}])


def test_an_upgrade_is_taken_up_and_goes_back(running: Running) -> None:
    running.shelf.install("acme")
    running.connect()
    running.shelf.list(running.shelf.plugin(version="0.1.1", edit=says("0.1.1")))
    running.shelf.install("acme")
    running.until(lambda: running.hub.ctx.plugins.connectors["acme"].manifest.data["version"] == "0.1.1")

    running.count("north")
    running.until(lambda: [item["agent"] for item in running.simulator.taken] == ["0.1.1"])
    assert Installed(running.shelf.home).rollback("acme", "test") == "0.1.0"
    running.until(lambda: running.hub.ctx.plugins.connectors["acme"].manifest.data["version"] == "0.1.0")
    running.count("north")
    running.until(lambda: [item["agent"] for item in running.simulator.taken] == ["0.1.1", "0.1.0"])


def test_a_canary_is_one_tenants(running: Running) -> None:
    running.shelf.install("acme")
    running.connect()
    running.shelf.list(running.shelf.plugin(version="0.1.1", edit=says("0.1.1")))
    running.shelf.install("acme", canary=["south"])
    running.until(lambda: running.hub.ctx.plugins.get("acme", "south").manifest.data["version"] == "0.1.1")

    running.count("north")
    running.until(lambda: running.states("north") == ["applied"])
    running.count("south")
    running.until(lambda: running.states("south") == ["applied"])

    assert [item["agent"] for item in running.simulator.taken] == ["0.1.0", "0.1.1"]
    assert Installed(running.shelf.home).promote("acme") == "0.1.1"
    running.until(lambda: running.hub.ctx.plugins.get("acme", "north").manifest.data["version"] == "0.1.1")


def test_what_a_canary_would_send_is_compared_and_nothing_is_sent(running: Running) -> None:
    ctx = running.hub.ctx
    running.shelf.install("acme")
    running.connect()
    running.count("north", 2)
    running.until(lambda: running.states("north") == ["applied"] * 2)
    with pytest.raises(HubError, match="in one version only"):
        compare(ctx, "north", "erp", 20)
    running.shelf.list(running.shelf.plugin(version="0.1.1", edit=says("0.1.1")))
    running.shelf.install("acme", canary=["south"])
    running.until(lambda: ctx.plugins.other("acme", "north"))

    found = compare(ctx, "north", "erp", 20)

    assert (found["version"], found["other_version"], found["examined"]) == ("0.1.0", "0.1.1", 2)
    assert found["counts"] == {"same": 0, "changed": 2, "failing": 0}
    assert found["items"][0]["fields"] == [{"field": "/1/headers/X-Version", "now": None, "then": "0.1.1"}]
    assert compare(ctx, "north", "erp", 1)["examined"] == 1
    other_way = compare(ctx, "south", "erp", 20)
    assert (other_way["version"], other_way["other_version"]) == ("0.1.1", "0.1.0")
    assert len(running.simulator.taken) == 2, "what is compared is not sent"

    running.shelf.list(running.shelf.plugin(version="0.1.2", edit=breaks))
    running.shelf.install("acme", canary=["south"])
    running.until(lambda: ctx.plugins.other("acme", "north").manifest.data["version"] == "0.1.2")
    found = compare(ctx, "north", "erp", 20)
    assert found["counts"] == {"same": 0, "changed": 0, "failing": 2}
    assert "a bug" in found["items"][0]["problem"]


@pytest.mark.parametrize("canary", [[], ["south"]], ids=["everyone", "canary"])
def test_a_version_that_fails_goes_back_by_itself_and_nothing_is_lost(running: Running, canary: list[str]) -> None:
    running.shelf.install("acme")
    running.connect()
    running.count("south", 2)
    running.until(lambda: running.states("south") == ["applied"] * 2)
    running.shelf.list(running.shelf.plugin(version="0.1.1", edit=breaks))
    running.shelf.install("acme", canary=canary)
    running.until(lambda: running.hub.ctx.plugins.get("acme", "south").manifest.data["version"] == "0.1.1")

    running.count("south", 4)

    running.until(lambda: running.states("south") == ["applied"] * 6, 60)
    held = Installed(running.shelf.home).read()["acme"]
    assert held["current"]["version"] == "0.1.0"
    assert held["rolled_back"]["version"] == "0.1.1"
    assert "failed by its own fault" in held["rolled_back"]["reason"]
    with running.hub.ctx.store.read() as uow:
        assert [
            row["detail"]["left"] for row in uow.audit.page("south", None, 200) if row["action"] == "plugin.rolled_back"
        ] == ["0.1.1"]


@pytest.fixture
def impatient(tmp_path: Path, shelf: Shelf) -> Iterator[Running]:
    """Two tries, then a dead letter."""
    running = Running(tmp_path, shelf, max_attempts=2)
    yield running
    running.close()


def test_what_died_of_a_version_that_goes_back_tries_again(impatient: Running) -> None:
    running = impatient
    running.shelf.install("acme")
    running.connect()
    running.shelf.list(running.shelf.plugin(version="0.1.1", edit=breaks))
    running.shelf.install("acme")
    running.until(lambda: running.hub.ctx.plugins.get("acme", "south").manifest.data["version"] == "0.1.1")

    running.count("south", 6)

    running.until(lambda: running.states("south") == ["applied"] * 6, 60)
    with running.hub.ctx.store.read() as uow:
        replays = [
            row["detail"]["reason"] for row in uow.audit.page("south", None, 200) if row["action"] == "delivery.replayed"
        ]
    assert replays
    assert set(replays) == {"acme 0.1.1 was rolled back"}


def test_revoked_it_stops_everywhere_and_what_is_for_it_waits(running: Running) -> None:
    running.shelf.install("acme")
    running.connect()
    running.count("north")
    running.until(lambda: running.states("north") == ["applied"])
    running.shelf.mark("acme", "0.1.0", "revoked")
    running.until(lambda: running.connection("north")["state"] == "paused")  # at the next look, every 0.5 s here

    running.count("north", 2)

    time.sleep(0.5)
    assert sorted(running.states("north")) == ["applied", "pending", "pending"]
    assert "was revoked: because" in running.connection("north")["state_reason"]
    assert running.connection("south")["state"] == "paused"
    with pytest.raises(KeyError, match=r"is disabled: acme 0.1.0 was revoked"):
        running.hub.ctx.plugins.get("acme")
    with pytest.raises(CatalogueError, match="it is revoked: because"):
        running.shelf.install("acme")
    running.shelf.list(running.shelf.plugin(version="0.1.1"))
    running.shelf.install("acme")
    running.until(lambda: running.states("north") == ["applied"] * 3)
    assert running.connection("north")["state"] == "active"


def test_what_cannot_be_verified_stops_and_goes_on_when_it_can(running: Running) -> None:
    """Without a change of the lock file: the metadata may have been half written by another process of the hub."""
    running.shelf.install("acme")
    running.connect()
    kept = running.shelf.home / "catalogue/targets/reviews.json"
    signed = kept.read_bytes()
    running.hub.upkeep.catalogue = running.shelf.catalogue()
    running.hub.upkeep.every_seconds = 1e9  # nobody fetches it anew
    time.sleep(2.5)
    kept.write_bytes(b"{}")
    running.hub.upkeep._stamp = (-1, -1)
    running.until(lambda: running.connection("north")["state"] == "paused")
    running.count("north")
    kept.write_bytes(signed)

    running.until(lambda: running.states("north") == ["applied"])
    assert len(running.simulator.taken) == 1


def test_yanked_it_goes_on_where_it_is_and_is_installed_nowhere_else(running: Running) -> None:
    running.shelf.install("acme")
    running.connect()
    running.shelf.mark("acme", "0.1.0", "yanked")
    time.sleep(1.0)

    running.count("north")

    running.until(lambda: running.states("north") == ["applied"])
    Installed(running.shelf.home).remove("acme")
    with pytest.raises(CatalogueError, match="it is yanked"):
        running.shelf.install("acme")


def test_enabled_for_one_tenant_it_is_not_anothers(running: Running) -> None:
    running.shelf.install("acme", tenants=["north"])
    running.until(lambda: "acme" in running.hub.ctx.plugins.connectors)
    text = INTEGRATION.format(url=running.server.url)

    parse_integration(text, "counts.yaml", running.hub.ctx.plugins, "north")
    with pytest.raises(ValueError, match="not enabled for south: `hub plugin enable acme south`"):
        parse_integration(text, "counts.yaml", running.hub.ctx.plugins, "south")
    assert Installed(running.shelf.home).enable("acme", "south", True) == ["north", "south"]
    running.until(lambda: _ok(lambda: running.hub.ctx.plugins.get("acme", "south")))
    running.connect()
    Installed(running.shelf.home).enable("acme", "south", False)
    running.until(lambda: running.connection("south")["state"] == "paused")
    assert running.connection("north")["state"] == "active"


def _ok(work: Callable[[], Any]) -> bool:
    try:
        work()
    except KeyError:
        return False
    return True


def _opened(shelf: Shelf, catalogue: bool = True) -> tuple[list[str], dict[str, str]]:
    adopted, refused = Installed(shelf.home).adopted(shelf.catalogue() if catalogue else None)
    return [item.connector for item in adopted], refused


def test_at_every_start_every_byte_is_verified(shelf: Shelf) -> None:
    shelf.install("acme")
    assert _opened(shelf) == (["acme"], {})

    (code,) = shelf.home.glob("hub_acme-*/lib/python*/site-packages/hub_acme/connector.py")
    kept = code.read_text()
    code.write_text(kept + "\nPOISON = True\n")
    assert "were changed" in _opened(shelf)[1]["acme"]
    code.write_text(kept)
    assert _opened(shelf)[0] == ["acme"]

    (wheel,) = (shelf.home / "wheels").iterdir()
    content = wheel.read_bytes()
    wheel.write_bytes(content + b"x")
    assert "not the one in the lock file" in _opened(shelf)[1]["acme"]
    wheel.write_bytes(content)

    reviews = shelf.home / "catalogue/targets/reviews.json"
    signed = reviews.read_bytes()
    reviews.write_bytes(signed.replace(b'"gold"', b'"lead"').replace(b'"platinum"', b'"titanium"'))
    assert "cannot be verified" in _opened(shelf)[1]["acme"]
    reviews.write_bytes(signed)

    lock = shelf.home / "plugins.lock.json"
    lock.write_text(lock.read_text().replace('"sha256": "', '"sha256": "00'))
    assert "no reviewer has signed" in _opened(shelf)[1]["acme"]
    assert "HUB_CATALOGUE" in _opened(shelf, catalogue=False)[1]["acme"]


def test_the_version_follows_from_the_difference(shelf: Shelf) -> None:
    def fewer(folder: Path) -> None:
        file = folder / "connector.yaml"
        head, _, tail = file.read_text().partition("  stock.counted.v1:")
        file.write_text(head + tail[tail.index("check:") :])
        file = folder / "connector.py"
        head, _, tail = file.read_text().partition("    def write_stock_counted")
        file.write_text(head + tail[tail.index("\n\ndef ") :])

    def lowered(folder: Path) -> None:
        file = folder / "connector.yaml"
        file.write_text(file.read_text().replace("idempotency: native_key", "idempotency: find").replace(
            "    max_in_flight_seconds: 30\n\ncheck", "    max_in_flight_seconds: 30\n\ncheck"))  # fmt: skip

    for edit, version, needed, rule in (
        (fewer, "0.1.1", "0.2.0", "connector-write-removed"),
        (says("x"), "0.1.1", "0.1.1", ""),
    ):
        wheel = shelf.submit(shelf.plugin(version=version, edit=edit))
        record = shelf.assessed(wheel)
        assert record["needed"] == needed
        assert rule in {change["rule"] for change in record["changes"]} or not rule
        if rule:
            with pytest.raises(CatalogueError, match="connector-write-removed"):
                shelf.repository.decide(_listed(record, shelf), shelf.reviewer)
        shelf.repository.decide(_rejected(record, shelf), shelf.reviewer)


def test_another_request_on_the_wire_is_seen(shelf: Shelf) -> None:
    def more(folder: Path) -> None:
        file = folder / "connector.py"
        file.write_text(
            file.read_text().replace('"quantity": document["quantity"]}', '"quantity": document["quantity"], "who": "me"}')
        )

    record = shelf.assessed(shelf.submit(shelf.plugin(version="0.1.1", edit=more)))

    assert {change["rule"] for change in record["changes"]} == {"traffic-changed"}
    assert any(".who" in str(change["after"]) for change in record["changes"])
    assert record["bump"] == "minor"


def _listed(record: Any, shelf: Shelf) -> Any:
    from hub.marketplace.review import decided

    return decided(record, "listed", "fine", "grace", shelf.now)


def _rejected(record: Any, shelf: Shelf) -> Any:
    from hub.marketplace.review import decided

    return decided(record, "rejected", "no", "grace", shelf.now)


def test_versions_are_immutable_and_decided_once(shelf: Shelf) -> None:
    with pytest.raises(CatalogueError, match="versions are immutable"):
        shelf.submit(shelf.plugin(edit=says("x")))
    shelf.submit(shelf.plugin(version="0.1.1"))
    with pytest.raises(CatalogueError, match="waits for review; one at a time"):
        shelf.submit(shelf.plugin(version="0.1.2"))


def test_a_plugin_that_fails_its_own_kit_or_attacks_the_reviewer_is_not_listed(shelf: Shelf) -> None:
    def floats(folder: Path) -> None:
        file = folder / "connector.py"
        file.write_text(file.read_text().replace('document["total"]["amount"]', 'float(document["total"]["amount"])'))

    def attacks(folder: Path) -> None:
        file = folder / "kit.py"
        file.write_text(
            "import socket\ntry:\n    socket.create_connection(('127.0.0.1', 5432))\nexcept OSError:\n    pass\n"
            + file.read_text()
        )

    record = shelf.assessed(shelf.submit(shelf.plugin(version="0.1.1", edit=attacks)))
    with pytest.raises(CatalogueError, match=r"behind the fence it tried: network: socket"):
        _listed(record, shelf)
    shelf.repository.decide(_rejected(record, shelf), shelf.reviewer)
    assert [item["state"] for item in shelf.repository.records()] == ["listed", "rejected"]
    record = shelf.assessed(shelf.submit(shelf.plugin(version="0.1.2", edit=floats)))
    assert record["tier"] != "platinum"


def test_pinned_it_stays(shelf: Shelf) -> None:
    shelf.install("acme")
    Installed(shelf.home).pin("acme", True)
    shelf.list(shelf.plugin(version="0.1.1"))

    with pytest.raises(CatalogueError, match=r"is pinned to 0.1.0"):
        shelf.install("acme")
    assert Installed(shelf.home).plan(shelf.catalogue().refresh(), "acme")["before"] == "0.1.0"


def test_what_does_not_fit_this_hub_is_not_chosen(shelf: Shelf) -> None:
    def later(folder: Path) -> None:
        file = folder.parent / "pyproject.toml"
        file.write_text(file.read_text().replace('dependencies = ["crossdock"]', 'dependencies = ["crossdock>=9"]'))

    shelf.list(shelf.plugin(version="0.1.1", edit=later))
    records = shelf.catalogue().refresh()

    assert chosen(records, "acme")["version"] == "0.1.0"
    with pytest.raises(CatalogueError, match="asks for crossdock >=9, this hub is"):
        chosen(records, "acme", "0.1.1")
    with pytest.raises(CatalogueError, match="lists no connector 'nothing'"):
        chosen(records, "nothing")
