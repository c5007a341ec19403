"""Real processes: nothing that was answered 2xx is missing after kill -9, wherever it hits; the commands people type work."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hub_inventree.simulator import InvenTreeSimulator
from hub_square.simulator import SquareSimulator
from hub_tryton.simulator import TrytonSimulator
from support import INTEGRATION, envelope

from canonical.examples import EXAMPLES
from hub.cli.client import Api
from hub.sdk.testing import OutgoingWebhook, SimulatorServer
from hub.sdk.testing.webhooks import post
from hub.store import Store

pytestmark = pytest.mark.acceptance


class Process:
    """`hub up` in a folder, started and killed at will."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
        self.port = next(port for port in range(21000 + os.getpid() % 5000, 32000) if _free(port))
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("HUB_")} | {
            "HUB_DATA_DIR": str(folder / "data"), "HUB_PORT": str(self.port), "HUB_EGRESS_PRIVATE_HOSTS": "127.0.0.1",
            "HUB_SWEEP_SECONDS": "0.05", "HUB_RETRY_BASE_SECONDS": "0.1",
        }  # fmt: skip
        self.log = (folder / "hub.log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hub", "up"], env=self.environment, stdout=self.log, stderr=self.log
        )
        deadline = time.monotonic() + 40
        while Api(self.url, "").request("GET", "/health/ready")[0] != 200:
            assert self.process.poll() is None, "the hub ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def command(self, *arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, "CROSSDOCK_URL": self.url, "CROSSDOCK_KEY": key}
        return subprocess.run(
            [sys.executable, "-m", "hub", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.log.close()


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def process(tmp_path: Path) -> Any:
    process = Process(tmp_path)
    yield process
    process.close()


def test_the_commands_of_the_readme_work_and_say_what_is_wrong(process: Process, tmp_path: Path) -> None:
    assert process.command("messages").returncode == 3, "no hub is running"
    created = process.command("tenant", "create", "acme", "--json")
    key = json.loads(created.stdout)["key"]
    assert process.command("tenant", "create", "acme").returncode == 4
    process.start()
    second = process.command("up")
    assert (second.returncode, "in use by another hub" in second.stderr) == (2, True)

    bad = tmp_path / "bad.yaml"
    bad.write_text("integration: x\nconnections: {}\nflows:\n  - name: f\n    on: sale.imagined.v1\n")
    refused = process.command("apply", str(bad), key=key)
    assert refused.returncode == 4
    assert "bad.yaml:5" in refused.stderr
    good = tmp_path / "good.yaml"
    good.write_text(
        INTEGRATION.format(square="http://127.0.0.1:9", tryton="http://127.0.0.1:9", inventree="http://127.0.0.1:9")
    )
    assert "revision 1 in force" in process.command("apply", str(good), key=key).stdout
    assert "unchanged" in process.command("apply", str(good), key=key).stdout

    sent = process.command("send", "--example", "product.v1", key=key)
    assert sent.stdout.startswith("accepted")
    assert "product.v1" in process.command("messages", key=key).stdout
    message = json.loads(process.command("messages", "--json", key=key).stdout)["items"][0]
    assert "ingest" in process.command("lineage", message["source_id"], key=key).stdout
    assert process.command("lineage", "nothing", key=key).returncode == 4
    assert process.command("dead-letters", key=key).stdout.strip() == "no dead letters"
    assert "effect-once with look-up" in process.command("connectors").stdout
    assert process.command("replay", message["id"], key=key).returncode == 4
    assert process.command("connect", "stock", "token=x", key=key).returncode == 1, "nobody listens there"
    assert process.command("connect", "stock", "token=x", "--untried", key=key).returncode == 0
    limited = json.loads(process.command("tenant", "key", "acme", "till", "--scope", "events:write", "--json").stdout)["key"]
    assert "lacks the scope" in process.command("messages", key=limited).stderr
    assert process.command("tenant", "key", "acme", "till", "--scope", "nonsense").returncode == 2
    assert process.command("tenant", "revoke", "acme", limited).returncode == 0
    assert "unauthorized" in process.command("messages", key=limited).stderr
    assert process.command("tenant", "revoke", "acme", limited).returncode == 4
    doctor = process.command("doctor")
    assert "chain whole" in doctor.stdout
    assert re.search(r"schema (\d+) → \1\b", process.command("db", "upgrade").stdout)
    assert process.command("up", "--port", "x").returncode == 2


def test_every_command_has_help_with_an_example(process: Process) -> None:
    import click

    from hub.cli import main

    def visit(command: click.Command, path: tuple[str, ...]) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                visit(inner, (*path, name))
        else:
            assert command.epilog, f"{' '.join(path)} shows no example"
            assert "Example:" in command.epilog
            assert command.help

    visit(main, ("hub",))
    for name, (make, told) in type(main).later.items():
        assert make().get_short_help_str(200) == told, f"what --help says of {name} before it is imported"


def test_nothing_that_was_answered_is_missing_after_kills_at_random(process: Process, tmp_path: Path) -> None:
    """Webhooks and API events under load; the hub is killed six times; then all books are compared."""
    square, inventree, tryton = SquareSimulator(), InvenTreeSimulator(), TrytonSimulator()
    servers = [SimulatorServer(simulator) for simulator in (square, inventree, tryton)]
    item = square.add_item("SKU-1", "Coffee", 950, 0)
    inventree.add_part("SKU-1", "Coffee", 1, 1000)
    tryton.add_product("SKU-1", "Coffee")
    key = json.loads(process.command("tenant", "create", "acme", "--json").stdout)["key"]
    process.start()
    file = tmp_path / "stores.yaml"
    file.write_text(INTEGRATION.format(square=servers[0].url, inventree=servers[1].url, tryton=servers[2].url))
    assert process.command("apply", str(file), key=key).returncode == 0
    api = Api(process.url, key)
    for connection, values in {
        "pos": {"access_token": square.token, "webhook_signature_key": square.signature_key},
        "erp": {"username": tryton.username, "password": tryton.password}, "stock": {"token": inventree.token},
    }.items():  # fmt: skip
        api.call("PUT", f"/v1/connections/{connection}/credentials", values)
    url, chance = f"{process.url}/webhooks/acme/pos", random.Random(3)
    acknowledged: set[str] = set()
    published: set[str] = set()
    unsent: list[tuple[str, bytes, dict[str, str]]] = []
    for round_ in range(6):
        for n in range(8):
            square.ring_sale([(item, 1)], "CARD")
            unsent += square.take_webhooks(url)
            event = envelope(EXAMPLES["product.v1"] | {"id": f"P-{round_}-{n}"}, "product.v1")
            if api.request("POST", "/v1/events", event)[0] == 202:
                published.add(event["id"])
            for webhook in list(unsent):
                if post(OutgoingWebhook(url, webhook[2], webhook[1])) == 200:
                    acknowledged.add(webhook[0])
                    unsent.remove(webhook)
        time.sleep(chance.uniform(0, 0.8))
        process.kill()
        process.start()
    deadline = time.monotonic() + 90
    quiet = 0
    while quiet < 4:
        assert time.monotonic() < deadline, api.call("GET", "/v1/status")
        for webhook in list(unsent):
            if post(OutgoingWebhook(url, webhook[2], webhook[1])) == 200:
                acknowledged.add(webhook[0])
                unsent.remove(webhook)
        status = api.call("GET", "/v1/status")
        waiting = [row for row in status["deliveries"] if row["state"] in ("pending", "claimed", "sending", "ambiguous")]
        quiet = 0 if unsent or waiting or status["raw"].get("received") else quiet + 1
        time.sleep(0.2)
    process.close()

    store = Store(f"sqlite:///{tmp_path / 'data/hub.sqlite'}")
    with store.read() as uow:
        stored = {row["source_event_id"] for row in _all(lambda after: uow.raws.page("acme", after, 200))}
        messages = {row["source_id"] for row in _all(lambda after: uow.messages.page("acme", after, 200))}
        assert uow.audit.verify("acme") is None
    store.close()
    for server in servers:
        server.close()
    assert acknowledged <= stored
    assert published <= messages
    assert {f"order:{order}" for order in square.orders} <= messages
    references = [row["reference"] for row in tryton.invoices()]
    assert len(references) == len(set(references)) == len(square.orders) == 48
    assert {row["state"] for row in tryton.invoices()} == {"paid"}
    assert max(inventree.applied().values()) == 1
    assert inventree.stock()["SKU-1"] == 1000 - 48


def _all(page: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = None
    while True:
        found = page(after)
        rows += found[:200]
        if len(found) <= 200:
            return rows
        after = found[199]["id"]
