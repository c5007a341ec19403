"""A simulator (or `Forward`) on a loopback port, with faults."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol

from hub.sdk.steps import Response
from hub.sdk.testing.faults import FaultPlan
from hub.sdk.testing.simulator import SimRequest


class Target(Protocol):
    """What can be served: answers a request, and knows how it would throttle."""

    def handle(self, request: SimRequest) -> Response: ...

    def throttled(self, seconds: int) -> Response: ...


class _DroppedError(Exception):
    """The connection closes without an answer."""


class SimulatorServer:
    """Serves ``target`` on ``127.0.0.1:port`` (0: any free one) until `close`. ``faults`` may be added to at any time."""

    def __init__(self, target: Target, port: int = 0) -> None:
        self.target = target
        self.faults = FaultPlan()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def answer(self, request: SimRequest) -> Response:
        fault = self.faults.take(request)
        if fault is None:
            return self.target.handle(request)
        match fault.kind:
            case "throttle":
                return self.target.throttled(int(fault.seconds))
            case "unavailable":
                return Response(503, {"content-type": "text/html"}, b"<html><h1>Service Unavailable</h1></html>")
            case "drop_before_apply":
                raise _DroppedError
        response = self.target.handle(request)
        match fault.kind:
            case "timeout_after_apply":
                time.sleep(fault.seconds)
                raise _DroppedError
            case "drop_after_apply":
                raise _DroppedError
            case "html_200":
                return Response(200, {"content-type": "text/html"}, b"<html><body>Welcome back</body></html>")
        return Response(response.status, response.headers, response.content[: len(response.content) // 2])

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def __enter__(self) -> "SimulatorServer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _handler(server: SimulatorServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = SimRequest.parse(self.command, self.path, dict(self.headers.items()), body)
            try:
                response = server.answer(request)
            except _DroppedError:
                self.close_connection = True
                return
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: the demo owns the terminal."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True

    return Handler
