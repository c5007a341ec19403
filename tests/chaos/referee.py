"""The fake ERP that judges: what it applied, how often, in which order; and misbehaves by a seeded plan."""

import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: Shares of writes that go wrong, as RELIABILITY 2.4 has them.
RATES = {"applied_then_timeout": 0.02, "applied_after_timeout": 0.005, "truncated": 0.005, "slow_body": 0.005, "lied": 0.001}
TIMEOUT = 1.0


class Referee:
    """Serves /find, /native and /bulk; `documents` by (kind, key), `applications` in order."""

    def __init__(self, seed: int, latency: float = 0.002, rates: dict[str, float] | None = None) -> None:
        self._chance = random.Random(seed)
        self._rates, self._latency = RATES if rates is None else rates, latency
        self._lock = threading.Lock()
        self.documents: dict[tuple[str, str], int] = Counter()
        self.applications: list[tuple[str, str, str, str, float]] = []
        self.lies: list[tuple[str, str]] = []
        self.injected: Counter[str] = Counter()
        self.storm_until = 0.0
        self.requests = 0
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def storm(self, seconds: float) -> None:
        """Answer 429 for a while."""
        self.storm_until = time.monotonic() + seconds
        self.injected["429 storm"] += 1

    def fault(self) -> str:
        with self._lock:
            self.requests += 1
            roll = self._chance.random()
        for name, share in self._rates.items():
            if roll < share:
                self.injected[name] += 1
                return name
            roll -= share
        return ""

    def apply(self, kind: str, item: Any) -> str:
        """Apply one document; /native and /bulk dedupe by key, /find does not."""
        key, document = item["key"], item["document"]
        with self._lock:
            known = self.documents[kind, key]
            if not (known and kind in ("native", "bulk")):
                self.documents[kind, key] += 1
                self.applications.append((kind, document["sku"], document["updated_at"], key, time.time()))
        return f"{kind}-{key}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def _handler(referee: Referee) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            kind, key = parts.path.split("/")[1], parse_qs(parts.query)["key"][0]
            with referee._lock:
                found = referee.documents.get((kind, key), 0)
            self._answer(200, {"items": [{"id": f"{kind}-{key}"}] * found})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            kind = self.path.split("/")[1]
            time.sleep(referee._latency)
            if time.monotonic() < referee.storm_until:
                self._answer(429, {"error": "too many"}, {"retry-after": referee._chance.choice(["1", "0", "99999999999", "soon"])
                                                          if referee._chance.random() < 0.02 else "1"})  # fmt: skip
                return
            fault = referee.fault()
            if fault == "applied_after_timeout":
                time.sleep(TIMEOUT + 0.4)
            items = body["items"] if kind == "bulk" else [body]
            if fault == "lied":
                referee.lies += [(kind, item["key"]) for item in items]
                results = [{"ok": True, "id": "nothing"} for item in items]
            else:
                results = [{"ok": True, "id": referee.apply(kind, item)} for item in items]
            if fault in ("applied_then_timeout", "applied_after_timeout"):
                time.sleep(TIMEOUT + 0.2 if fault == "applied_then_timeout" else 0)
                self.close_connection = True
                return
            answer = {"results": results} if kind == "bulk" else results[0]
            content = json.dumps(answer).encode()
            if fault == "truncated":
                self._raw(200, content[: len(content) // 2], {})
            elif fault == "slow_body":
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                for byte in content[:3]:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(TIMEOUT / 2)
                self.close_connection = True
            else:
                self._raw(200, content, {})

        def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            self._raw(status, json.dumps(body).encode(), headers or {})

        def _raw(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True

    return Handler
