"""A hub as users run it (PostgreSQL, RabbitMQ, a process per role) on databases and queues of its own, and a target beside it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any, Self

import pika
import psycopg
from support import VAULT_KEY

from hub.broker.topology import topology_for
from hub.runtime.plugins import load_plugins

HERE = Path(__file__).parent
MANIFEST = """
connector: bench
name: Bench
version: 1.0.0
kind: erp
summary: A target that takes whatever comes.
canonical: 1
self_hosted: true
limits: {concurrency: 64}
writes:
  sale.completed.v1:
    object: sale
    idempotency: native_key
    max_in_flight_seconds: 5
    request:
      method: POST
      path: /sales
      json:
        key: "= document.id"
        reference: "= key"
        receipt: "= document.number"
        total: "= document.total.amount"
        lines: "= document.lines[].{sku: sku, quantity: quantity, total: total.amount}"
    external_id: id
"""
INTEGRATION = """
integration: bench
duplicates: pass
connections:
  erp: {{connector: bench, base_url: "{url}"}}
flows:
  - {{name: sales, on: sale.completed.v1, to: [{{connection: erp}}]}}
"""


def sale(lines: int = 10) -> dict[str, Any]:
    """A sale of so many lines, valid; `@@N@@` stands where its number comes."""

    def money(amount: str) -> dict[str, str]:
        return {"amount": amount, "currency": "USD"}

    each = [
        {"id": f"{n}", "sku": f"SKU-{n:04}", "description": f"Article number {n}", "quantity": "2", "unit_price": money("9.50"),
         "gross": money("19.00"), "discount": money("1.00"), "total": money("19.62"),
         "taxes": [{"name": "Sales tax", "rate": "9", "amount": money("1.62")}]}
        for n in range(1, lines + 1)
    ]  # fmt: skip
    total = f"{19.62 * lines:.2f}"
    return {
        "id": "S@@N@@", "number": "R@@N@@", "location": {"code": "HARBOUR-ST", "name": "Harbour Street"}, "till": {"number": "1"},
        "occurred_at": "2026-11-20T12:00:00-05:00", "business_date": "2026-11-20", "lines": each,
        "discount": money(f"{lines}.00"), "tax": money(f"{1.62 * lines:.2f}"), "total": money(total),
        "tenders": [{"type": "cash", "amount": money(total)}],
    }  # fmt: skip


class Process:
    """A process of the benchmark, ended by its pid."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path, given: bytes = b"") -> None:
        self.name, self.log = name, log
        with log.open("ab") as file:
            self.popen = subprocess.Popen(
                command, env=environment, stdout=file, stderr=file, stdin=subprocess.PIPE, cwd=HERE.parent
            )
        assert self.popen.stdin is not None
        self.popen.stdin.write(given)
        self.popen.stdin.close()

    @property
    def pid(self) -> int:
        return self.popen.pid

    def end(self, seconds: float = 20) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


class Stage:
    """A folder with a target, processes and a load generator. Use it in a `with`; what it started ends with it."""

    name = ""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.processes: dict[str, Process] = {}
        self.environment = dict(os.environ)
        self.headers: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{port}/v1/events"
        self.target_url = f"http://127.0.0.1:{port + 1}"
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            process.end()

    def start_target(self, *more: str) -> None:
        arguments = [str(self.port + 1), str(self.folder / "arrived"), *more]
        self.process("target", [sys.executable, "-m", "benchmarks.target", *arguments])

    def process(self, name: str, command: list[str], given: bytes = b"", **environment: str) -> Process:
        made = Process(name, command, {**self.environment, **environment}, self.folder / f"{name}.log", given)
        self.processes[name] = made
        return made

    def load(self, task: dict[str, Any]) -> list[tuple[int, float, float, int]]:
        """Run the load generator: (number, sent, answered, status) of each request."""
        file = self.folder / "load.json"
        given = json.dumps(task).encode()
        command = [sys.executable, "-m", "benchmarks.load", str(file)]
        Process("load", command, dict(os.environ), self.folder / "load.log", given).popen.wait()
        return [tuple(item) for item in json.loads(file.read_text())]

    def arrived(self) -> int:
        """How many requests the target had, a moment ago."""
        try:
            return int((self.folder / "arrived.count").read_text() or 0)
        except (OSError, ValueError):
            return 0

    def arrivals(self) -> dict[str, float]:
        """When the target had each event, by its id (the first time, if it came twice)."""
        found: dict[str, float] = {}
        for key, _, at in self.all_arrivals():
            found.setdefault(key, at)
        return found

    def all_arrivals(self) -> list[tuple[str, str, float]]:
        """(id, reference, when) of what the target had since this was asked last."""
        file = self.folder / "arrived"
        file.unlink(missing_ok=True)
        os.kill(self.processes["target"].pid, signal.SIGUSR1)
        while not file.exists():
            time.sleep(0.01)
        return [tuple(item) for item in json.loads(file.read_text())]

    def settled(self) -> bool:
        """Whether nothing is under way any more."""
        return True

    def ready(self, url: str, seconds: float = 90) -> None:
        """Wait until somebody answers there, whatever it is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(url, timeout=5)
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.1)
            else:
                return
        logs = "".join(path.read_text()[-1500:] for path in self.folder.glob("*.log"))
        raise SystemExit(f"{self.name}: nobody answers at {url}\n{logs}")


def amqp(url: str) -> pika.URLParameters:
    """A broker's URL as pika takes it: the virtual host `/` is written `%2F` there."""
    return pika.URLParameters(f"{url[:-1]}%2F" if url.endswith("//") else url)


def forget_queues(url: str, prefix: str) -> None:
    """Delete a hub's queues: each quorum queue keeps three of the broker's files open."""
    names = [queue.name for queue in topology_for(["bench", *load_plugins().connectors]).queues]
    with pika.BlockingConnection(amqp(url)) as connection:
        for name in names:
            connection.channel().queue_delete(f"{prefix}.{name}")


class World(Stage):
    """A database and a hub, as users run it."""

    def __init__(
        self,
        folder: Path,
        admin: str,
        broker: str,
        port: int,
        embedded: bool = False,
        manifest: str = MANIFEST,
        **settings: str,
    ) -> None:
        super().__init__(folder, port)
        self.admin = admin
        self.database = f"bench_{uuid.uuid4().hex[:8]}"
        package = folder / "code/crossdock_bench"
        package.mkdir(parents=True, exist_ok=True)
        (package / "connector.yaml").write_text(manifest)
        (package / "__init__.py").write_text(
            "from hub.sdk import Connector, hookimpl, load_manifest\n\n\nclass Bench(Connector):\n"
            '    manifest = load_manifest("crossdock_bench")\n\n\n@hookimpl\ndef hub_connectors():\n    return [Bench]\n'
        )
        info = folder / "code/crossdock_bench-1.0.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crossdock-bench\nVersion: 1.0.0\n")
        (info / "entry_points.txt").write_text("[hub.connectors]\nbench = crossdock_bench\n")
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self.database}"')  # type: ignore[call-overload]
        self.database_url = f"{admin.rpartition('/')[0]}/{self.database}"
        url = self.database_url.replace("postgresql://", "postgresql+psycopg://")
        stores = {} if embedded else {"HUB_DATABASE_URL": url, "HUB_BROKER_URL": broker, "HUB_BROKER_PREFIX": self.database}
        self.environment = {
            **os.environ, "PYTHONPATH": str(folder / "code"), **stores, "HUB_DATA_DIR": str(folder / "data"),
            "HUB_PORT": str(port), "HUB_EGRESS_PRIVATE_HOSTS": "127.0.0.1", "HUB_VAULT_KEY": VAULT_KEY,
            **{f"HUB_{name.upper()}": value for name, value in settings.items()},
        }  # fmt: skip
        self.hub("db", "upgrade")
        self.key = json.loads(self.hub("tenant", "create", "acme", "--json"))["key"]
        self.headers = {"Authorization": f"Bearer {self.key}"}

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if "HUB_BROKER_URL" in self.environment:
            forget_queues(self.environment["HUB_BROKER_URL"], self.database)
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{self.database}" WITH (FORCE)')  # type: ignore[call-overload]

    def hub(self, *arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "hub"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"hub {' '.join(arguments)}: {done.stderr[-2000:]}")
        return done.stdout

    def start(self, *roles: str) -> None:
        """The target, then `hub ROLE` for each; returns when the integration is in force."""
        self.start_target()
        self.run(*roles)
        self.call("POST", "/v1/integrations", {"source": INTEGRATION.format(url=self.target_url)})

    def run(self, *roles: str) -> None:
        """`hub ROLE` for each (`work --lane bulk`); returns when the API answers."""
        for role in roles:
            self.process(role, [str(Path(sys.executable).parent / "hub"), *role.split()])
        self.ready(f"http://127.0.0.1:{self.port}/v1/connections")

    def settled(self) -> bool:
        """Whether every outcome is stored."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("SET enable_seqscan TO off")  # ten million rows read through would count as what the hub does
            under_way = ["pending", "held", "claimed", "sending", "ambiguous"]
            asked = "SELECT 1 FROM delivery WHERE tenant_id = 'acme' AND state = ANY(%s) LIMIT 1"
            return connection.execute(asked, (under_way,)).fetchone() is None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The API's answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path}: {error.read()!r}") from error
