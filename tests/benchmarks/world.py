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
from typing import Any

import psycopg
from support import VAULT_KEY

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


class World:
    """A database, a hub and a target. Use it in a `with`; what it started ends with it."""

    def __init__(self, folder: Path, admin: str, broker: str, port: int, **settings: str) -> None:
        self.folder, self.admin, self.port = folder, admin, port
        self.database = f"bench_{uuid.uuid4().hex[:8]}"
        self.processes: dict[str, Process] = {}
        package = folder / "code/crossdock_bench"
        package.mkdir(parents=True, exist_ok=True)
        (package / "connector.yaml").write_text(MANIFEST)
        (package / "__init__.py").write_text(
            "from hub.sdk import Connector, hookimpl, load_manifest\n\n\nclass Bench(Connector):\n"
            '    manifest = load_manifest("crossdock_bench")\n\n\n@hookimpl\ndef hub_connectors():\n    return [Bench]\n'
        )
        info = folder / "code/crossdock_bench-1.0.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crossdock-bench\nVersion: 1.0.0\n")
        (info / "entry_points.txt").write_text("[hub.connectors]\nbench = crossdock_bench\n")
        embedded = settings.pop("embedded", "")
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self.database}"')  # type: ignore[call-overload]
            for extra in os.environ.get("BENCH_SQL", "").split(";"):
                if extra:
                    connection.execute(extra.replace("DB", self.database))
        url = admin.rpartition("/")[0].replace("postgresql://", "postgresql+psycopg://") + f"/{self.database}"
        stores = {} if embedded else {"HUB_DATABASE_URL": url, "HUB_BROKER_URL": broker, "HUB_BROKER_PREFIX": self.database}
        self.environment = {
            **os.environ, "PYTHONPATH": str(folder / "code"), **stores, "HUB_DATA_DIR": str(folder / "data"),
            "HUB_PORT": str(port), "HUB_EGRESS_PRIVATE_HOSTS": "127.0.0.1", "HUB_VAULT_KEY": VAULT_KEY,
            **{f"HUB_{name.upper()}": value for name, value in settings.items()},
        }  # fmt: skip
        self.hub("db", "upgrade")
        self.key = json.loads(self.hub("tenant", "create", "acme", "--json"))["key"]

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            process.end()
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{self.database}" WITH (FORCE)')  # type: ignore[call-overload]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def target_url(self) -> str:
        return f"http://127.0.0.1:{self.port + 1}"

    def hub(self, *arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "hub"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"hub {' '.join(arguments)}: {done.stderr[-2000:]}")
        return done.stdout

    def start(self, *roles: str) -> None:
        """The target, then `hub ROLE` for each; returns when the API answers."""
        self.process("target", [sys.executable, "-m", "benchmarks.target", str(self.port + 1), str(self.folder / "arrived")])
        for role in roles:
            self.process(role, [str(Path(sys.executable).parent / "hub"), role])
        deadline = time.monotonic() + 60
        while self.call("GET", "/v1/connections") is None:
            if time.monotonic() > deadline:
                raise SystemExit("".join((self.folder / f"{role}.log").read_text()[-2000:] for role in roles))
            time.sleep(0.1)
        self.call("POST", "/v1/integrations", {"source": INTEGRATION.format(url=self.target_url)})

    def process(self, name: str, command: list[str], given: bytes = b"", **environment: str) -> Process:
        made = Process(name, command, {**self.environment, **environment}, self.folder / f"{name}.log", given)
        self.processes[name] = made
        return made

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The API's answer; None where nobody answers yet."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path}: {error.read()!r}") from error
        except OSError:
            return None

    def arrived(self) -> int:
        """How many requests the target had, a tenth of a second ago."""
        try:
            return int((self.folder / "arrived.count").read_text() or 0)
        except (OSError, ValueError):
            return 0
