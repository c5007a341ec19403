"""The distributed engine as the compose file starts it: its own command lines, real PostgreSQL and RabbitMQ."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pika
import pytest
import yaml
from hub_inventree.simulator import InvenTreeSimulator
from hub_square.simulator import SquareSimulator
from hub_tryton.simulator import TrytonSimulator
from support import INTEGRATION, VAULT_KEY, envelope

from canonical.examples import EXAMPLES
from hub.broker import open_broker, topology_for
from hub.cli.client import Api
from hub.sdk.testing import OutgoingWebhook, SimulatorServer
from hub.sdk.testing.webhooks import post
from hub.settings import from_environment

pytestmark = pytest.mark.acceptance
ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
RABBITMQ = os.environ.get("TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//")
ROLES = ("migrate", "api", "worker", "scheduler")


def test_the_compose_file_fits_the_compose_schema_and_every_role_has_what_it_needs() -> None:
    schema = json.loads((Path(__file__).parent / "data/compose_spec.json").read_text())
    shown = {name: value for name, value in COMPOSE.items() if not name.startswith("x-")}
    errors = [
        f"{list(error.instance_path)}: {error.message}" for error in jsonschema_rs.validator_for(schema).iter_errors(shown)
    ]
    assert errors == []
    assert set(COMPOSE["services"]) == {"postgres", "rabbitmq", "jaeger", *ROLES}
    for name, service in COMPOSE["services"].items():
        assert "healthcheck" in service, name
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"], volume
        for other in service.get("depends_on", {}):
            assert other in COMPOSE["services"], other


def test_the_compose_files_environment_is_settings_this_hub_knows() -> None:
    for name in ROLES:
        environment = {key: str(value) for key, value in COMPOSE["services"][name]["environment"].items()}
        settings = from_environment(environment)
        assert settings.database_url.startswith("postgresql+psycopg://")
        assert settings.broker_url.startswith("amqp://")


class Stack:
    """The compose file's roles as processes here."""

    def __init__(self, folder: Path, database_url: str, prefix: str) -> None:
        self.port = next(port for port in range(22000 + os.getpid() % 3000, 32000) if _free(port))
        self.url = f"http://127.0.0.1:{self.port}"
        here = {
            "HUB_DATABASE_URL": database_url, "HUB_BROKER_URL": RABBITMQ, "HUB_VAULT_KEY": VAULT_KEY, "HUB_HOST": "127.0.0.1",
            "HUB_DATA_DIR": str(folder / "data"),
        }  # fmt: skip
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HUB_")}
        more = {"HUB_BROKER_PREFIX": prefix, "HUB_PORT": str(self.port), "HUB_EGRESS_PRIVATE_HOSTS": "127.0.0.1",
                "HUB_SWEEP_SECONDS": "0.2", "HUB_LEASE_SECONDS": "3", "HUB_RETRY_BASE_SECONDS": "0.2"}  # fmt: skip
        self.environment = {
            name: {**kept, **{key: here[key] for key in COMPOSE["services"][name]["environment"] if key in here}, **more}
            for name in ROLES
        }
        self.log = (folder / "roles.log").open("ab")
        self.processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def command(self, role: str) -> list[str]:
        command = COMPOSE["services"][role]["command"]
        words = shlex.split(command) if isinstance(command, str) else list(command)
        assert words[0] == "hub"
        return [sys.executable, "-m", *words]

    def start(self, role: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(self.command(role), env=self.environment[role], stdout=self.log, stderr=self.log)
        self.processes.append((role, process))
        return process

    def ready(self) -> None:
        until = time.monotonic() + 40
        while Api(self.url, "").request("GET", "/health/ready")[0] != 200:
            assert time.monotonic() < until, Path(self.log.name).read_text()[-3000:]
            time.sleep(0.1)

    def hub(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "hub", *arguments], env=self.environment["api"], capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    def stop(self) -> dict[str, int]:
        codes = {}
        for _, process in self.processes:
            if process.poll() is None:
                process.terminate()
        for role, process in self.processes:
            codes[role] = process.wait(40)
        self.log.close()
        return codes


def _free(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def stack(tmp_path: Path, postgres_url: str) -> Iterator[Stack]:
    problem = open_broker(RABBITMQ).problem()
    if problem is not None:
        reason = f"no RabbitMQ (set TEST_RABBITMQ): {problem}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    prefix = f"roles-{uuid.uuid4().hex[:8]}"
    stack = Stack(tmp_path, postgres_url, prefix)
    yield stack
    for _, process in stack.processes:
        if process.poll() is None:
            process.kill()
            process.wait()
    stack.log.close()
    topology = topology_for(["inventree", "square", "tryton"])
    with pika.BlockingConnection(pika.URLParameters(RABBITMQ.removesuffix("//"))) as connection:
        channel = connection.channel()
        for queue in topology.queues:
            channel.queue_delete(f"{prefix}.{queue.name}")
        for exchange in topology.exchanges:
            channel.exchange_delete(f"{prefix}.{exchange.name}")
    from hub.store import Store
    from hub.store.tables import metadata

    store = Store(postgres_url)
    with store.begin() as uow:
        for table in reversed(metadata.sorted_tables):
            uow._connection.execute(table.delete())
    store.close()


def test_every_role_runs_by_the_compose_files_command_and_a_sale_reaches_both_systems(stack: Stack, tmp_path: Path) -> None:
    assert stack.start("migrate").wait(60) == 0
    api, worker, scheduler = stack.start("api"), stack.start("worker"), stack.start("scheduler")
    second = stack.start("scheduler")
    stack.ready()
    key = json.loads(stack.hub("tenant", "create", "acme", "--json").stdout)["key"]
    square, inventree, tryton = SquareSimulator(), InvenTreeSimulator(), TrytonSimulator()
    servers = [SimulatorServer(simulator) for simulator in (square, inventree, tryton)]
    item = square.add_item("SKU-1", "Coffee", 950, 0)
    inventree.add_part("SKU-1", "Coffee", 1, 100)
    tryton.add_product("SKU-1", "Coffee")
    client = Api(stack.url, key)
    text = INTEGRATION.format(square=servers[0].url, inventree=servers[1].url, tryton=servers[2].url)
    (tmp_path / "stores.yaml").write_text(text)
    applied = subprocess.run(
        [sys.executable, "-m", "hub", "apply", str(tmp_path / "stores.yaml")],
        env={**stack.environment["api"], "CROSSDOCK_URL": stack.url, "CROSSDOCK_KEY": key}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert applied.returncode == 0, applied.stderr
    for connection, values in {
        "pos": {"access_token": square.token, "webhook_signature_key": square.signature_key},
        "erp": {"username": tryton.username, "password": tryton.password}, "stock": {"token": inventree.token},
    }.items():  # fmt: skip
        client.call("PUT", f"/v1/connections/{connection}/credentials", values)
    url = f"{stack.url}/webhooks/acme/pos"

    def ring(times: int) -> None:
        for _ in range(times):
            square.ring_sale([(item, 1)], "CARD")
            for _, body, headers in square.take_webhooks(url):
                assert post(OutgoingWebhook(url, headers, body)) == 200

    def paid(count: int, seconds: float = 40.0) -> None:
        until = time.monotonic() + seconds
        while (
            len([row for row in tryton.invoices() if row["state"] == "paid"]) < count
            or inventree.stock()["SKU-1"] != 100 - count
        ):
            assert time.monotonic() < until, client.call("GET", "/v1/status")
            time.sleep(0.1)

    ring(3)
    paid(3)
    assert client.request("POST", "/v1/events", envelope(EXAMPLES["product.v1"], "product.v1"))[0] == 202
    # A worker that is told to stop finishes what it has; the next one goes on. A killed scheduler's seat is taken.
    scheduler.send_signal(signal.SIGKILL)
    ring(2)
    worker.terminate()
    assert worker.wait(40) == 0
    ring(2)
    stack.start("worker")
    paid(7)
    assert second.poll() is None
    doctor = stack.hub("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "as declared" in doctor.stdout
    codes = stack.stop()
    for server in servers:
        server.close()
    references = [row["reference"] for row in tryton.invoices()]
    assert len(references) == len(set(references)) == 7
    assert (api.returncode, codes["worker"]) == (0, 0)


def test_roles_that_cannot_be_apart_say_so(stack: Stack) -> None:
    stack.environment["api"] = {
        key: value for key, value in stack.environment["api"].items() if key not in ("HUB_DATABASE_URL", "HUB_BROKER_URL")
    }
    for role in ("serve", "work", "schedule"):
        refused = stack.hub(role)
        assert refused.returncode == 2
        assert "HUB_DATABASE_URL" in refused.stderr
    assert stack.hub("work", "--lane", "fast").returncode == 2
