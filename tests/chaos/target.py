"""`python -m chaos.target PORT [SECONDS]`: a target that costs little, so that a long run measures the hub and not its judge.

POST /…: applied once per `key` and answered after SECONDS with its name. GET /books: how many requests, keys and keys applied
twice there were. GET /arrivals: by first part of the path, when each request came and how many were in progress then.
"""

import asyncio
import json
import sys
import time
from collections import Counter, defaultdict


class Books:
    """What was applied."""

    def __init__(self, latency: float) -> None:
        self.keys: Counter[str] = Counter()
        self.requests = 0
        self.latency = latency
        self.arrivals: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
        self.in_progress: Counter[str] = Counter()


class Target(asyncio.Protocol):
    """One keep-alive connection of HTTP/1.1, bodies by Content-Length."""

    def __init__(self, books: Books) -> None:
        self._books, self._buffer = books, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            method, path = head.split(b" ", 2)[:2]
            name = path.split(b"/")[1].decode()
            if method != b"POST":
                self._write(self._read(name))
                continue
            self._books.in_progress[name] += 1
            self._books.arrivals[name].append((time.monotonic(), self._books.in_progress[name]))
            if self._books.latency:
                asyncio.get_running_loop().call_later(self._books.latency, self._done, name, body)
            else:
                self._done(name, body)

    def _done(self, name: str, body: bytes) -> None:
        self._books.in_progress[name] -= 1
        if b"poison: refused" in body:
            self._write({"error": "poison"}, b"422 Unprocessable Content")
        else:
            self._write(self._apply(body))

    def _write(self, answer: object, status: bytes = b"200 OK") -> None:
        content = json.dumps(answer).encode()
        start = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(start % (status, len(content)) + content)

    def _read(self, name: str) -> object:
        books = self._books
        if name == "arrivals":
            return books.arrivals
        doubled = sum(n > 1 for n in books.keys.values())
        return {"requests": books.requests, "documents": len(books.keys), "doubled": doubled}

    def _apply(self, body: bytes) -> dict[str, object]:
        books = self._books
        books.requests += 1
        document = json.loads(body)
        items = document.get("items", [document])
        for item in items:
            books.keys[item["key"]] += 1
        results = [{"ok": True, "id": item["key"]} for item in items]
        return {"results": results} if "items" in document else results[0]


async def main(port: int, latency: float = 0.0) -> None:
    """Serve until killed."""
    books = Books(latency)
    server = await asyncio.get_running_loop().create_server(lambda: Target(books), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *(float(item) for item in sys.argv[2:])))
