"""Simulators are sans-I/O too: a request in, a response out, state inside. `SimulatorServer` puts one on a port.

Write a simulator from the vendor's documents, never from the connector: what both agree on must come from the vendor.
"""

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hub.sdk.steps import Request, Response


@dataclass(frozen=True)
class SimRequest:
    """A request as a server sees it. ``params`` has the first value of each query parameter, ``headers`` lower-case names."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """The parsed body; numbers with a fraction as Decimal. Raises ValueError."""
        return json.loads(self.body, parse_float=Decimal)

    @classmethod
    def of(cls, request: Request, headers: Mapping[str, str]) -> "SimRequest":
        """What a connector's request looks like on the wire."""
        first = {key: value[0] if isinstance(value, list) and value else value for key, value in request.params.items()}
        params = {key: str(value) for key, value in first.items() if value is not None}
        return cls(request.method, request.path, params, {**headers, **_lower(request.headers)}, request.body() or b"")

    @classmethod
    def parse(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> "SimRequest":
        url = urlsplit(target)
        params = {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
        return cls(method, url.path, params, _lower(headers), body)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in headers.items()}


def answer(status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response; Decimals are written as JSON numbers, exactly."""
    content = b"" if body is None else json.dumps(body, default=_number).encode()
    return Response(status, {"content-type": "application/json", **(headers or {})}, content)


def _number(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{type(value).__name__} in a simulator's answer")


Handler = Callable[..., Response]


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    """Mark a method as the handler of ``method`` and a path pattern with named groups."""

    def mark(handler: Handler) -> Handler:
        handler.sim_route = (method, re.compile(pattern))  # type: ignore[attr-defined]
        return handler

    return mark


class Simulator:
    """Base: dispatches to methods marked with `route`; one request at a time, as a database transaction would."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.requests: list[SimRequest] = []
        self._routes = [
            (*handler.sim_route, handler) for name in dir(type(self)) if hasattr(handler := getattr(self, name), "sim_route")
        ]

    def handle(self, request: SimRequest) -> Response:
        """Answer one request: authentication first, then the matching route, else the vendor's own 404."""
        with self.lock:
            self.requests.append(request)
            refused = self.authenticate(request)
            if refused is not None:
                return refused
            for method, pattern, handler in self._routes:
                if method == request.method and (match := pattern.fullmatch(request.path)):
                    response: Response = handler(request, **match.groupdict())
                    return response
            return self.not_found(request)

    def authenticate(self, request: SimRequest) -> Response | None:
        """None if the request may pass, else the vendor's refusal."""
        return None

    def not_found(self, request: SimRequest) -> Response:
        return answer(404, {"detail": "Not found."})

    def throttled(self, seconds: int) -> Response:
        """The vendor's answer when its rate limit is hit."""
        return answer(429, {"detail": "Request was throttled."}, {"retry-after": str(seconds)})
