"""A system that takes what is written to it and does nothing else: the cheapest honest target.

`python -m benchmarks.target PORT FILE` answers every POST with an id, and keeps in FILE.count how many there were. On SIGUSR1 it
writes (key, monotonic seconds) of each arrival since the last time to FILE: who sent them can tell how long each one took.
"""

import asyncio
import json
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httptools
import uvloop

_KEY = re.compile(rb'"key":\s*"([^"]+)"')


class _Protocol(asyncio.Protocol):
    def __init__(self, arrived: list[tuple[str, float]]) -> None:
        self._arrived, self._body = arrived, b""
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        found = _KEY.search(body)
        key = found[1].decode() if found else ""
        self._arrived.append((key, time.monotonic()))
        content = b'{"id": "%d", "count": %d}' % (len(self._arrived), len(self._arrived))
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
        )


async def _serve(port: int, file: Path) -> None:
    arrived: list[tuple[str, float]] = []
    told = 0

    def tell() -> None:
        nonlocal told
        part = file.with_suffix(".part")
        part.write_text(json.dumps(arrived[told:]))
        told = len(arrived)
        part.rename(file)

    loop, end = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    loop.add_signal_handler(signal.SIGUSR1, tell)
    server = await loop.create_server(lambda: _Protocol(arrived), "127.0.0.1", port)
    while not end.is_set():
        part = file.with_suffix(".counting")
        part.write_text(str(len(arrived)))
        part.rename(file.with_suffix(".count"))  # whoever reads it never sees half of it
        try:
            await asyncio.wait_for(end.wait(), 0.02)
        except TimeoutError:
            continue
    server.close()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
