"""A system that takes what is written to it and does nothing else: the cheapest honest target.

`python -m benchmarks.target PORT FILE [RECORDS]` answers every POST with an id, and keeps in FILE.count how many there were. On
SIGUSR1 it writes (key, reference, monotonic seconds) of each arrival since the last time to FILE: who sent them can tell how long
each one took, and what came twice. With RECORDS it has a history, too: `GET /rows?since=…&page=…&limit=…` gives so many records
in all, spread over 500 days.
"""

import asyncio
import json
import re
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httptools
import uvloop

_KEY = re.compile(rb'"key":\s*"([^"]+)"')
_REFERENCE = re.compile(rb'"reference":\s*"([^"]+)"')
#: The history's first day, and how long it is.
BEGAN, DAYS = datetime(2025, 1, 1, tzinfo=UTC), 500


def rows(records: int, since: str, first: int, limit: int) -> list[dict[str, Any]]:
    """Records changed since then, oldest first, after ``first`` of them."""
    step = timedelta(days=DAYS) / max(records, 1)
    first += max(0, -(-(datetime.fromisoformat(since) - BEGAN) // step))
    return [
        {"id": f"H{n:07}", "name": f"Product {n}", "changed": (BEGAN + n * step).isoformat().replace("+00:00", "Z")}
        for n in range(first, min(records, first + limit))
    ]


class _Protocol(asyncio.Protocol):
    def __init__(self, arrived: list[tuple[str, str, float]], records: int) -> None:
        self._arrived, self._records, self._body, self._url = arrived, records, b"", b""
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if self._parser.get_method() == b"GET":
            query = {"since": "2025-01-01T00:00:00Z", "limit": "1"}  # who only asks whether we are there names nothing
            given = query | {name: values[0] for name, values in parse_qs(self._url.decode().partition("?")[2]).items()}
            page = rows(self._records, given["since"], int(given.get("page") or 0), int(given["limit"]))
            content = json.dumps({"items": page}).encode()
        else:
            self._arrived.append((_first(_KEY, body), _first(_REFERENCE, body), time.monotonic()))
            content = b'{"id": "%d", "count": %d}' % (len(self._arrived), len(self._arrived))
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
        )


def _first(pattern: re.Pattern[bytes], body: bytes) -> str:
    found = pattern.search(body)
    return found[1].decode() if found else ""


async def _serve(port: int, file: Path, records: int) -> None:
    arrived: list[tuple[str, str, float]] = []
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
    server = await loop.create_server(lambda: _Protocol(arrived, records), "127.0.0.1", port)
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
    uvloop.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
