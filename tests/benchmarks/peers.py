"""What others make of the same work, as their own documents recommend it: an event in over HTTP, mapped, posted to a target.

Installed into a cache folder by the benchmark and never by the product. What each of them keeps of an event when it is killed is
said beside its figures. n8n is indicative: it installs with an override of one of its packages, and without its task runners.
"""

import json
import os
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pika
import psycopg

from benchmarks.world import Stage, amqp

#: What each one keeps: (of an accepted event, of a sent one, what it checks).
GUARANTEES = {
    "hub": "in the database before it is answered; sent at least once, applied once; validated, ordered, audited",
    "celery": "in the broker before it is answered (confirmed, quorum); sent at least once; nothing validated or stored",
    "node-red": "in memory; lost with the process; nothing validated or stored",
    "n8n": "an execution row in its database, with its result; one that is interrupted is not resumed; nothing validated "
    "(indicative: an unsupported installation)",
}
_CELERY = """
import os, threading
import requests
from celery import Celery
from flask import Flask, request

app = Celery("peer", broker=os.environ["BROKER"])
app.conf.update(
    task_acks_late=True, task_ignore_result=True, task_default_queue=os.environ["QUEUE"], task_default_queue_type="quorum",
    task_default_exchange_type="topic", broker_transport_options={"confirm_publish": True}, worker_prefetch_multiplier=4,
)
local = threading.local()

@app.task
def deliver(event):
    session = getattr(local, "session", None) or local.__dict__.setdefault("session", requests.Session())
    data = event["data"]
    lines = [{"sku": n["sku"], "quantity": n["quantity"], "total": n["total"]["amount"]} for n in data["lines"]]
    body = {"key": data["id"], "receipt": data["number"], "total": data["total"]["amount"], "lines": lines}
    session.post(os.environ["TARGET"] + "/sales", json=body, timeout=20).raise_for_status()

web = Flask("peer")

@web.post("/v1/events")
def events():
    deliver.delay(request.get_json())
    return {"status": "accepted"}, 202
"""
_MAP = """
const data = msg.payload.data;
msg.answer = {req: msg.req, res: msg.res};
msg.headers = {"content-type": "application/json"};
msg.payload = {key: data.id, receipt: data.number, total: data.total.amount,
    lines: data.lines.map(n => ({sku: n.sku, quantity: n.quantity, total: n.total.amount}))};
return msg;
"""


class Celery(Stage):
    """Celery 5 on the same RabbitMQ: Flask (gunicorn, threads) → task → HTTP (requests), 16 threads."""

    name = "celery"

    def __init__(self, folder: Path, cache: Path, broker: str, port: int) -> None:
        super().__init__(folder, port)
        home = cache / "celery"
        if not (home / "bin/celery").exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            packages = ["celery>=5.5,<6", "flask", "gunicorn", "requests"]
            subprocess.run([str(home / "bin/pip"), "install", "-q", *packages], check=True, stdout=subprocess.DEVNULL)
        (folder / "peer.py").write_text(_CELERY)
        self.environment |= {
            "BROKER": broker, "QUEUE": f"bench-celery-{os.getpid()}", "TARGET": self.target_url, "PYTHONPATH": str(folder)
        }  # fmt: skip
        self.start_target()
        self.process("web", [str(home / "bin/gunicorn"), "-k", "gthread", "-w", "2", "--threads", "8", "-b", f"127.0.0.1:{port}",
                             "peer:web"])  # fmt: skip
        self.process("worker", [str(home / "bin/celery"), "-A", "peer", "worker", "-P", "threads", "-c", "16", "-l", "warning",
                                "--without-gossip", "--without-mingle"])  # fmt: skip
        self.ready(f"http://127.0.0.1:{port}/")

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        with pika.BlockingConnection(amqp(self.environment["BROKER"])) as connection:
            for name in [self.environment["QUEUE"], *(f"celery_delayed_{level}" for level in range(28))]:
                connection.channel().queue_delete(name)


class NodeRed(Stage):
    """Node-RED: http in → function → http request → http response."""

    name = "node-red"

    def __init__(self, folder: Path, cache: Path, port: int) -> None:
        super().__init__(folder, port)
        home = cache / "node-red"
        if not (home / "node_modules/.bin/node-red").exists():
            home.mkdir(parents=True, exist_ok=True)
            command = ["npm", "install", "--prefix", str(home), "--no-audit", "--no-fund", "node-red@4"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        flow = [
            {"id": "t", "type": "tab", "label": "peer"},
            {"id": "in", "type": "http in", "z": "t", "url": "/v1/events", "method": "post", "wires": [["map"]]},
            {"id": "map", "type": "function", "z": "t", "func": textwrap.dedent(_MAP), "outputs": 1, "wires": [["send"]]},
            {"id": "send", "type": "http request", "z": "t", "method": "POST", "ret": "txt", "url": f"{self.target_url}/sales",
             "persist": True, "wires": [["answer"]]},
            {"id": "answer", "type": "http response", "z": "t", "statusCode": "200", "wires": []},
        ]  # fmt: skip
        (folder / "flows.json").write_text(json.dumps(flow))
        (folder / "settings.js").write_text(
            f"module.exports = {{uiPort: {port}, uiHost: '127.0.0.1', flowFile: 'flows.json', httpAdminRoot: false,"
            " logging: {console: {level: 'warn'}}, apiMaxLength: '5mb'};"
        )
        self.start_target()
        self.process("node", [str(home / "node_modules/.bin/node-red"), "-u", str(folder), "-s", str(folder / "settings.js")])
        self.ready(f"http://127.0.0.1:{port}/")


_N8N = "1.105.4"  # the newest whose packages resolve here
_N8N_MAP = """
const data = $input.first().json.body.data;
return [{json: {key: data.id, receipt: data.number, total: data.total.amount,
    lines: data.lines.map(n => ({sku: n.sku, quantity: n.quantity, total: n.total.amount}))}}];
"""


class N8n(Stage):
    """n8n: webhook → code → HTTP request, answered by the last; its executions are kept in a PostgreSQL database, as it does."""

    name = "n8n"

    def __init__(self, folder: Path, cache: Path, admin: str, port: int) -> None:
        super().__init__(folder, port)
        program = str(_n8n(cache / "n8n"))
        self.admin, self.database = admin, f"bench_n8n_{uuid.uuid4().hex[:8]}"
        self.url = f"http://127.0.0.1:{port}/webhook/events"
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self.database}"')  # type: ignore[call-overload]
        at = urlsplit(admin)
        self.environment |= {
            "N8N_USER_FOLDER": str(folder), "N8N_PORT": str(port), "N8N_LISTEN_ADDRESS": "127.0.0.1", "N8N_HOST": "127.0.0.1",
            "N8N_DIAGNOSTICS_ENABLED": "false", "N8N_VERSION_NOTIFICATIONS_ENABLED": "false", "N8N_TEMPLATES_ENABLED": "false",
            "N8N_PERSONALIZATION_ENABLED": "false", "EXTERNAL_FRONTEND_HOOKS_URLS": "", "N8N_RUNNERS_ENABLED": "false",
            "N8N_LOG_LEVEL": "warn", "N8N_RUNNERS_BROKER_PORT": str(port + 2),
            "DB_TYPE": "postgresdb", "DB_POSTGRESDB_HOST": at.hostname or "127.0.0.1", "DB_POSTGRESDB_PORT": str(at.port or 5432),
            "DB_POSTGRESDB_USER": at.username or "postgres", "DB_POSTGRESDB_PASSWORD": at.password or "",
            "DB_POSTGRESDB_DATABASE": self.database, "DB_POSTGRESDB_POOL_SIZE": "8",
        }  # fmt: skip
        (folder / "flow.json").write_text(json.dumps(self._flow()))
        for command in (["import:workflow", f"--input={folder / 'flow.json'}"], ["update:workflow", "--all", "--active=true"]):
            done = subprocess.run([program, *command], env=self.environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"n8n {command[0]}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
        self.start_target()
        self.process("node", [program, "start"])
        self._registered(180)

    def _flow(self) -> dict[str, Any]:
        def node(name: str, kind: str, version: float, **parameters: Any) -> dict[str, Any]:
            return {"id": name, "name": name, "type": f"n8n-nodes-base.{kind}", "typeVersion": version, "position": [0, 0],
                    "parameters": parameters, "webhookId": str(uuid.uuid4())}  # fmt: skip

        def to(name: str) -> dict[str, Any]:
            return {"main": [[{"node": name, "type": "main", "index": 0}]]}

        return {
            "id": "benchmark0000001", "name": "peer", "active": False, "settings": {"executionOrder": "v1"},
            "nodes": [
                node("In", "webhook", 2, httpMethod="POST", path="events", responseMode="lastNode", options={}),
                node("Map", "code", 2, jsCode=_N8N_MAP),
                node("Out", "httpRequest", 4.2, method="POST", url=f"{self.target_url}/sales", sendBody=True, specifyBody="json",
                     jsonBody="={{ JSON.stringify($json) }}", options={}),
            ],
            "connections": {"In": to("Map"), "Map": to("Out")},
        }  # fmt: skip

    def _registered(self, seconds: float) -> None:
        """It answers before its webhooks are there: until this one says that it wants a POST."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(self.url, timeout=5)
            except urllib.error.HTTPError as error:
                if b"POST" in error.read():
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise SystemExit(f"n8n: its webhook is not there\n{(self.folder / 'node.log').read_text()[-1500:]}")

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{self.database}" WITH (FORCE)')  # type: ignore[call-overload]


def _n8n(home: Path) -> Path:
    """Its program, installed (1.1 GB, a minute or two) if it is not there. Raises CalledProcessError or OSError if it cannot be."""
    program = home / "node_modules/.bin/n8n"
    if not program.exists():
        (home / "pnpm").mkdir(parents=True, exist_ok=True)
        # One of its packages comes from a site of its own and not from the registry.
        (home / "pnpm-workspace.yaml").write_text(
            "overrides:\n  xlsx: 0.18.5\nallowBuilds: {sqlite3: true, isolated-vm: true}\nstrictDepBuilds: false\n"
        )
        (home / "package.json").write_text('{"name": "n", "version": "1.0.0", "private": true}')
        (home / "pnpm/package.json").write_text('{"private": true}')
        environment = {**os.environ, "npm_config_nodedir": "/usr"}
        for folder, command in (
            (home / "pnpm", ["npm", "install", "pnpm@12"]),
            (home, ["pnpm/node_modules/.bin/pnpm", "add", f"n8n@{_N8N}"]),
        ):
            subprocess.run(
                command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
    return program
