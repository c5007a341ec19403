"""Load over HTTP/1.1, keep-alive: so many connections as fast as they are answered, or an open loop at a rate.

`python -m benchmarks.load FILE` reads what to do as JSON from standard input: `url`, `headers`, `template` (its `@@N@@` becomes
the number of the request), `first`, `count` (or `seconds`), `connections`, `rate` (0: closed loop). It writes (number, sent,
answered, status) of each request to FILE, in monotonic seconds.
"""

import asyncio
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools
import uvloop


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(0)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)

    async def ask(self, request: bytes) -> int:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


async def _run(given: dict[str, Any]) -> list[tuple[int, float, float, int]]:
    url, loop = urlsplit(given["url"]), asyncio.get_running_loop()
    parts = [part.encode() for part in given["template"].split("@@N@@")]
    head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in given["headers"].items())
    results: list[tuple[int, float, float, int]] = []
    number, end = given["first"], time.monotonic() + given.get("seconds", 1e9)
    last = given["first"] + given.get("count", 10**9)

    def request(n: int) -> bytes:
        text = f"{n:08d}".encode()
        body = text.join(parts)
        return (head.replace("@@N@@", f"{n:08d}") + f"Content-Length: {len(body)}\r\n\r\n").encode() + body

    async def connect() -> _Connection:
        return (await loop.create_connection(_Connection, url.hostname, url.port))[1]

    async def one(connection: _Connection, n: int, planned: float | None = None) -> None:
        content = request(n)
        sent = time.monotonic() if planned is None else planned
        status = await connection.ask(content)
        results.append((n, sent, time.monotonic(), status))

    async def closed() -> None:
        nonlocal number
        connection = await connect()
        while number < last and time.monotonic() < end:
            n, number = number, number + 1
            await one(connection, n)

    async def opened(rate: float) -> None:
        """Requests at their planned times: one that waits for a free connection has waited since then."""
        nonlocal number
        free = deque([await connect() for _ in range(given["connections"])])
        tasks: set[asyncio.Task[None]] = set()
        start = time.monotonic()

        async def at(planned: float, n: int) -> None:
            connection = free.popleft() if free else await connect()
            await one(connection, n, planned)
            free.append(connection)

        while number < last and time.monotonic() < end:
            planned = start + (number - given["first"]) / rate
            if (wait := planned - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            task = loop.create_task(at(planned, number))
            number += 1
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    if given.get("rate"):
        await opened(given["rate"])
    else:
        await asyncio.gather(*(closed() for _ in range(given["connections"])))
    return results


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(uvloop.run(_run(json.load(sys.stdin)))))
