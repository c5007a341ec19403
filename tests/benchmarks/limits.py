"""What the parts can do here, each alone, with the same event: the least that the hub's work can cost on this machine.

Each function returns (what it is, times a second, processor µs a time, of the client and the server together).
"""

import asyncio
import json
import os
import sys
import time
import uuid
from pathlib import Path

import aiohttp
import pika
import psycopg
import uvloop

from benchmarks import machine
from benchmarks.pipeline import event
from benchmarks.world import Stage, amqp

Limit = tuple[str, float, float]


def _measured(what: str, count: int, began: float, used: float) -> Limit:
    return what, count / (time.monotonic() - began), 1e6 * used / count


def inserts(admin: str, count: int = 20_000, group: int = 100) -> Limit:
    """Rows of an event's size, committed in groups, by one prepared statement of many rows."""
    name, body = f"bench_{uuid.uuid4().hex[:8]}", json.dumps(event()).encode()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
    try:
        with psycopg.connect(f"{admin.rpartition('/')[0]}/{name}", prepare_threshold=1) as connection:
            connection.execute(
                "CREATE TABLE event (tenant text, id uuid PRIMARY KEY, source text, body bytea, UNIQUE (tenant, source))"
            )
            connection.commit()
            values = ", ".join(["(%s, %s, %s, %s)"] * group)
            server, began = machine.processor(machine.named("postgres")), time.monotonic()
            ours = time.process_time()
            for start in range(0, count, group):
                rows = [("acme", uuid.uuid4(), f"E{n}", body) for n in range(start, start + group)]
                connection.execute(f"INSERT INTO event VALUES {values}", [item for row in rows for item in row])  # type: ignore[arg-type]
                connection.commit()
            used = time.process_time() - ours + machine.processor(machine.named("postgres")) - server
            return _measured(f"PostgreSQL: inserts, committed by {group}", count, began, used)
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[call-overload]


class _Amqp:
    """Confirmed publishes, pipelined, or a consumption with acknowledgements in groups, on a quorum queue."""

    def __init__(self, url: str, queue: str, count: int, consume: bool) -> None:
        self._queue, self._consume = queue, consume
        self._unsent, self._left, self._seen = count, count, 0
        self._connection = pika.SelectConnection(amqp(url), on_open_callback=self._opened)
        self._connection.ioloop.start()

    def _opened(self, connection: object) -> None:
        self._connection.channel(on_open_callback=self._channel)

    def _channel(self, channel: "pika.channel.Channel") -> None:
        self._open = channel
        if self._consume:
            channel.basic_qos(prefetch_count=200)
            channel.basic_consume(self._queue, self._received)
            return
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._send(1000))

    def _send(self, number: int) -> None:
        for _ in range(min(number, self._unsent)):
            self._unsent -= 1
            self._open.basic_publish("", self._queue, b"x" * 200, pika.BasicProperties(delivery_mode=2))

    def _confirmed(self, frame: object) -> None:
        method = frame.method  # type: ignore[attr-defined]
        done = method.delivery_tag - self._seen if method.multiple else 1
        self._seen = max(self._seen, method.delivery_tag)
        self._left -= done
        self._send(done)
        if self._left <= 0:
            self._end()

    def _received(self, channel: "pika.channel.Channel", method: object, _properties: object, _body: bytes) -> None:
        self._left -= 1
        if self._left % 50 == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)  # type: ignore[attr-defined]
        if self._left == 0:
            self._end()

    def _end(self) -> None:
        self._connection.close()
        self._connection.ioloop.stop()


def broker(url: str, count: int = 20_000) -> list[Limit]:
    """Publishing with confirms, and consuming, of what tells of one delivery."""
    name, found = f"bench-limit-{os.getpid()}", []
    with pika.BlockingConnection(amqp(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
        for what, consume in (("RabbitMQ: confirmed publishes", False), ("RabbitMQ: consumed, acknowledged by 50", True)):
            server, ours, began = machine.processor(machine.named("beam")), time.process_time(), time.monotonic()
            _Amqp(url, name, count, consume)
            used = time.process_time() - ours + machine.processor(machine.named("beam")) - server
            found.append(_measured(what, count, began, used))
    with pika.BlockingConnection(amqp(url)) as connection:
        connection.channel().queue_delete(name)
    return found


def client(folder: Path, port: int, count: int = 10_000) -> Limit:
    """The hub's HTTP client posting to the same target, 32 at a time."""

    async def post() -> None:
        async with aiohttp.ClientSession() as session:
            left = iter(range(count))

            async def worker() -> None:
                for number in left:
                    async with session.post(f"{stage.target_url}/sales", data=body % number) as answer:
                        await answer.read()

            await asyncio.gather(*(worker() for _ in range(32)))

    body = b'{"key": "%08d", "text": "' + b"x" * 700 + b'"}'
    with Stage(folder, port) as stage:
        stage.start_target()
        stage.ready(f"{stage.target_url}/")
        ours, began = time.process_time(), time.monotonic()
        uvloop.run(post())
        return _measured("HTTP client: posts to the target", count, began, time.process_time() - ours)


_BARE = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
"""


def server(folder: Path, port: int, count: int = 15_000) -> Limit:
    """uvicorn with an application that reads the body and answers."""
    with Stage(folder, port) as stage:
        (folder / "bare.py").write_text(_BARE)
        command = [sys.executable, "-m", "uvicorn", "--log-level", "warning", "--port", str(port), "bare:app"]
        process = stage.process("bare", command, PYTHONPATH=str(folder))
        stage.ready(stage.url)
        used, began = machine.processor([process.pid]), time.monotonic()
        stage.load(
            {"url": stage.url, "headers": {}, "template": json.dumps(event()), "first": 0, "count": count, "connections": 32}
        )
        return _measured("ASGI server: bodies read and answered", count, began, machine.processor([process.pid]) - used)


def all_of_them(folder: Path, admin: str, broker_url: str, port: int) -> list[Limit]:
    """Every limit, one after the other."""
    return [inserts(admin), *broker(broker_url), client(folder / "client", port), server(folder / "server", port)]
