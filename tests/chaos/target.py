"""`python -m chaos.target PORT`: a target that costs little, so that a long run measures the hub and not its judge.

POST /…: applied once per `key`, the answer names it. GET /books: how many requests, keys and keys applied twice there were.
"""

import asyncio
import json
import sys
from collections import Counter


class Books:
    """What was applied."""

    def __init__(self) -> None:
        self.keys: Counter[str] = Counter()
        self.requests = 0


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
            answer = json.dumps(self._answer(head.startswith(b"POST"), body)).encode()
            start = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(start % len(answer) + answer)

    def _answer(self, post: bool, body: bytes) -> dict[str, object]:
        books = self._books
        if not post:
            doubled = sum(n > 1 for n in books.keys.values())
            return {"requests": books.requests, "documents": len(books.keys), "doubled": doubled}
        books.requests += 1
        document = json.loads(body)
        items = document.get("items", [document])
        for item in items:
            books.keys[item["key"]] += 1
        results = [{"ok": True, "id": item["key"]} for item in items]
        return {"results": results} if "items" in document else results[0]


async def main(port: int) -> None:
    """Serve until killed."""
    books = Books()
    server = await asyncio.get_running_loop().create_server(lambda: Target(books), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
