"""A seller's history comes in while sales go on: what it costs the sales, what a kill loses, and whether the estimate holds.

`make backfill RECORDS=20000 KILLS=5 SECONDS=30` on a PostgreSQL of the machine (DATABASE_URL): live products are published by the
API all the time and timed until the target has them, alone first, then beside a backfill; the hub is then killed again and again
until the backfill is complete. Figures of one run on one machine; the ratio is what counts.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
from support import VAULT_KEY

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
MANIFEST = """
connector: history
name: History
version: 1.0.0
kind: erp
summary: A system with a long history, and a target.
canonical: 2
self_hosted: true
objects:
  row:
    read:
      request: {path: /rows, params: {since: "= since", page: "= page", limit: "= limit"}}
      records: items
      ref: id
      paging: {type: offset, limit: 200}
      incremental: changed
    map:
      type: product.v2
      source_id: "= record.id"
      data: {id: "= record.id", sku: "= record.id", name: "= record.name", status: active, updated_at: "= record.changed"}
writes:
  product.v2:
    object: row
    idempotency: upsert
    max_in_flight_seconds: 5
    request: {method: POST, path: /products, json: {key: "= key", sku: "= document.sku"}}
    external_id: id
"""
INTEGRATION = """
integration: bench
duplicates: pass
connections: {{old: {{connector: history, base_url: "{url}"}}, new: {{connector: history, base_url: "{url}", limits: {{concurrency: 8}}}}}}
flows:
  - {{name: history, on: product.v2, from: old, cadence: on_demand, read: [row], to: [{{connection: new}}]}}
  - {{name: live, on: product.v1, where: "starts_with(sku, 'L')", to: [{{connection: new}}]}}
"""


class System:
    """Where the history is, and where it goes: counts what arrives, and when."""

    def __init__(self, records: int) -> None:
        self.records, self.step = records, timedelta(days=500) / records
        self.arrived: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.at: dict[str, float] = {}
        self._lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def rows(self, since: str, page: int, limit: int) -> list[dict[str, Any]]:
        first = max(0, -(-(datetime.fromisoformat(since) - BEGIN) // self.step)) + page
        return [{"id": f"H{n:07}", "name": f"Product {n}", "changed": (BEGIN + n * self.step).isoformat().replace("+00:00", "Z")}
                for n in range(first, min(self.records, first + limit))]  # fmt: skip

    def take(self, body: dict[str, Any]) -> None:
        with self._lock:
            if body["key"] not in self.keys:
                self.keys.add(body["key"])
                self.arrived[body["sku"]] += 1
                self.at.setdefault(body["sku"], time.monotonic())


def _handler(system: System) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            given = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            self._answer({"items": system.rows(given["since"], int(given.get("page") or 0), int(given["limit"]))})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            system.take(body)
            self._answer({"id": body["sku"]})

        def _answer(self, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    return Handler


class Bench:
    """A hub in a process of its own, and a client of its API."""

    def __init__(self, folder: Path, system: System, admin: str, port: int) -> None:
        self.folder, self.system, self.port, self.live = folder, system, port, 0
        package = folder / "code/crossdock_history"
        package.mkdir(parents=True)
        (package / "connector.yaml").write_text(MANIFEST)
        (package / "__init__.py").write_text(
            "from hub.sdk import Connector, hookimpl, load_manifest\n\n\nclass History(Connector):\n"
            '    manifest = load_manifest("crossdock_history")\n\n\n@hookimpl\ndef hub_connectors():\n    return [History]\n'
        )
        info = folder / "code/crossdock_history-1.0.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crossdock-history\nVersion: 1.0.0\n")
        (info / "entry_points.txt").write_text("[hub.connectors]\nhistory = crossdock_history\n")
        self.database = f"bench_{uuid.uuid4().hex[:8]}"
        self.admin = admin
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self.database}"')  # type: ignore[call-overload]
        url = admin.rpartition("/")[0].replace("postgresql://", "postgresql+psycopg://") + f"/{self.database}"
        self.environment = {
            **os.environ, "PYTHONPATH": str(folder / "code"), "HUB_DATABASE_URL": url, "HUB_DATA_DIR": str(folder / "data"),
            "HUB_PORT": str(port), "HUB_EGRESS_PRIVATE_HOSTS": "127.0.0.1", "HUB_LEASE_SECONDS": "5", "HUB_VAULT_KEY": VAULT_KEY, "HUB_BACKFILL_SHARE": "0.25",
        }  # fmt: skip
        self.hub("db", "upgrade")
        self.key = json.loads(self.hub("tenant", "create", "acme", "--json"))["key"]
        self.process: subprocess.Popen[bytes] | None = None

    def hub(self, *arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "hub"), *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def start(self) -> None:
        command = [str(Path(sys.executable).parent / "hub"), "up"]
        with (self.folder / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while self.call("GET", "/v1/connections") is None:
            if time.monotonic() > deadline:
                raise SystemExit((self.folder / "hub.log").read_text()[-2000:])
            time.sleep(0.1)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method), timeout=10
            ) as answer:
                return json.loads(answer.read())
        except OSError:
            return None

    def sell(self, seconds: float, rate: float) -> list[float]:
        """Publish live products for so long; milliseconds until the target had each."""
        sent: dict[str, float] = {}
        end, following = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end:
            self.live += 1
            sku = f"L{self.live:06}"
            now = datetime.now(UTC).isoformat()
            data = {"id": sku, "sku": sku, "name": "live", "active": True, "updated_at": now}
            event = {"specversion": "1.0", "id": sku, "source": "/bench", "type": "product.v1", "time": now, "data": data}
            sent[sku] = time.monotonic()
            self.call("POST", "/v1/events", event)
            following += 1 / rate
            time.sleep(max(0.0, following - time.monotonic()))
        deadline = time.monotonic() + 60
        while not sent.keys() <= self.system.at.keys() and time.monotonic() < deadline:
            time.sleep(0.05)
        return [1000 * (self.system.at.get(sku, deadline) - at) for sku, at in sent.items()]

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{self.database}" WITH (FORCE)')  # type: ignore[call-overload]


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def main() -> int:
    """Run and print; exit code 1 if a record was lost or came twice."""
    parser = argparse.ArgumentParser(prog="backfill")
    parser.add_argument("--records", type=int, default=20000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--port", type=int, default=18760)
    parser.add_argument(
        "--database-url", default=os.environ.get("DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
    )
    options = parser.parse_args()
    system = System(options.records)
    with tempfile.TemporaryDirectory(prefix="crossdock-backfill-") as name:
        bench = Bench(Path(name), system, options.database_url, options.port)
        try:
            return _run(bench, system, options)
        finally:
            bench.close()


def _run(bench: Bench, system: System, options: Any) -> int:
    bench.start()
    bench.call("POST", "/v1/integrations", {"source": INTEGRATION.format(url=system.url)})
    bench.sell(5, options.rate)
    alone = bench.sell(options.seconds, options.rate)
    print(f"live alone          p50 {statistics.median(alone):6.1f} ms  p99 {p99(alone):6.1f} ms", flush=True)
    started = time.monotonic()
    run = bench.call("POST", "/v1/backfills", {"connection_id": "old", "object": "row", "since": "2025-01-01T00:00:00Z",
                                               "until": "2026-05-16T00:00:00Z"})  # fmt: skip
    beside = bench.sell(options.seconds, options.rate)
    ratio = p99(beside) / p99(alone)
    print(
        f"live beside it      p50 {statistics.median(beside):6.1f} ms  p99 {p99(beside):6.1f} ms  ratio {ratio:.2f}", flush=True
    )
    estimates: list[tuple[float, float, float]] = []  # when, how far, how long still
    kills, read_at = 0, 0.0
    every = 0.0
    while True:
        found = bench.call("GET", f"/v1/runs/{run['id']}")
        if found is None:
            time.sleep(0.2)
            continue
        if found["progress"] and found["remaining_seconds"]:
            estimates.append((time.monotonic(), found["progress"], found["remaining_seconds"]))
        if found["state"] == "read" and not read_at:
            read_at = time.monotonic()
        if found["complete"] and kills >= options.kills:
            break
        if kills < options.kills and time.monotonic() > every:
            kills += 1
            bench.kill()
            bench.start()
            every = time.monotonic() + max(2.0, options.records / 20000)
        print(f"\r{found['summary'][:110]}  kills {kills}", end="", file=sys.stderr, flush=True)
        time.sleep(0.5)
    took = time.monotonic() - started
    history = {sku: count for sku, count in system.arrived.items() if sku.startswith("H")}
    lost = options.records - len(history)
    doubled = sum(count - 1 for count in history.values())
    errors = [abs(left / (started + took - at) - 1) for at, far, left in estimates if 0.1 <= far <= 0.9]
    print(f"\n{options.records} records in {took:.0f} s ({options.records / took:.0f} a second), killed {kills} times: "
          f"lost {lost}, doubled {doubled}")  # fmt: skip
    off = f"off by {100 * statistics.median(errors):.0f} % (median of {len(errors)})" if errors else "not told: too short"
    print(f"read in {read_at - started:.0f} s; remaining time between the first and the last tenth {off}")
    print(found["summary"])
    return 1 if lost or doubled else 0


if __name__ == "__main__":
    raise SystemExit(main())
