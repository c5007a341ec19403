"""What others make of the same work, as their own documents recommend it: an event in over HTTP, mapped, posted to a target.

Installed into a cache folder by the benchmark and never by the product. What each of them keeps of an event when it is killed is
said beside its figures. n8n is not among them: no version of it installs here without overrides.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pika

from benchmarks.world import Stage, amqp

#: What each one keeps: (of an accepted event, of a sent one, what it checks).
GUARANTEES = {
    "hub": "in the database before it is answered; sent at least once, applied once; validated, ordered, audited",
    "celery": "in the broker before it is answered (confirmed, quorum); sent at least once; nothing validated or stored",
    "node-red": "in memory; lost with the process; nothing validated or stored",
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
