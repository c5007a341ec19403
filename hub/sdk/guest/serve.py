"""The connector's side of the pipe: load one connector, answer one frame after the other. The hub trusts nothing here."""

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Generator
from typing import Any, BinaryIO

from hub.sdk.connector import Connector
from hub.sdk.errors import ManifestError
from hub.sdk.guest import fence, wire
from hub.sdk.steps import Response, Webhook

_INCIDENTS = 20
_METHODS = (
    "read",
    "find",
    "write",
    "write_many",
    "check",
    "describe",
    "interpret",
    "subscriptions",
    "subscribe",
    "unsubscribe",
)


class Server:
    """One connector instance and the capabilities that are under way."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._connector: Connector | None = None
        self._calls: dict[int, Generator[Any, Any, Any]] = {}
        self._told: set[tuple[str, str]] = set()

    def run(self) -> None:
        """Until the pipe ends."""
        setup = self._next()
        if setup is None:
            return
        self._say(["hello", 0, wire.VERSION, self._prepare(setup[0][2])])
        while (frame := self._next()) is not None:
            self._answer(*frame)

    def _answer(self, message: list[Any], blob: bytes) -> None:
        kind, call, *rest = message
        if kind == "start":
            self._begin(call, rest[0], rest[1], blob)
        elif kind == "response":
            self._advance(call, lambda steps: steps.send(Response(rest[0], rest[1], blob)))
        elif kind == "throw":
            self._advance(call, lambda steps: steps.throw(wire.raised(rest[0])))
        elif kind == "close":
            steps = self._calls.pop(call, None)
            if steps is not None:
                with contextlib.suppress(Exception, SystemExit):  # it was dropped; nobody listens
                    steps.close()

    def _prepare(self, setup: dict[str, Any]) -> list[str]:
        """Fence, then load; what is wrong, in words."""
        fence.limit(setup["limits"])
        lacking = fence.raise_fence(setup["readable"], self._incident)
        if missing := [name for name in setup["required"] if name in lacking or name not in fence.FENCES]:
            return [f"this machine cannot fence a connector in ({', '.join(missing)} missing)"]
        sys.path[:0] = setup["paths"]
        try:
            self._connector = _load(setup["entry"], setup["connector"])(setup["settings"])
        except (Exception, SystemExit) as error:  # whatever a plugin's import does wrong
            return [wire.described(error)["message"]]
        return self._connector.disagreements()

    def _begin(self, call: int, method: str, arguments: list[Any], blob: bytes) -> None:
        connector = self._connector
        assert connector is not None
        assert method in _METHODS
        if method == "interpret":
            arguments = [Webhook(blob, arguments[0]), arguments[1]]

        def first(_: Any) -> Any:
            self._calls[call] = steps = getattr(connector, method)(*arguments)
            return next(steps)

        self._advance(call, first)

    def _advance(self, call: int, work: Callable[[Generator[Any, Any, Any]], Any]) -> None:
        steps = self._calls.get(call)
        try:
            try:
                request, body = wire.request_data(work(steps))  # type: ignore[arg-type]
                frame = wire.pack(["request", call, request], body)
            except StopIteration as done:
                self._calls.pop(call, None)
                frame = wire.pack(["result", call, done.value])
        except (Exception, SystemExit) as error:  # whatever a plugin does wrong ends this capability, and no other
            self._calls.pop(call, None)
            frame = wire.pack(["raise", call, wire.described(error)])
        self._sink.write(frame)
        self._sink.flush()

    def _incident(self, kind: str, detail: str) -> None:
        if (kind, detail) not in self._told and len(self._told) < _INCIDENTS:
            self._told.add((kind, detail))
            self._say(["incident", 0, kind, detail[:300]])

    def _say(self, message: list[Any]) -> None:
        self._sink.write(wire.pack(message))
        self._sink.flush()

    def _next(self) -> tuple[list[Any], bytes] | None:
        head = self._source.read(wire.HEAD.size)
        if len(head) < wire.HEAD.size:
            return None
        text, blob = wire.size(head)
        return wire.unpack(self._source.read(text)), self._source.read(blob)


def _load(entry: str, name: str) -> type[Connector]:
    module, _, attribute = entry.partition(":")
    found: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        found = getattr(found, part)
    for connector in found.hub_connectors():
        if connector.manifest.connector == name:
            kind: type[Connector] = connector
            return kind
    raise ManifestError(f"{entry} carries no connector {name!r}")


def main() -> None:
    """The process `hub.runtime.isolation` starts: frames on stdin and stdout, which a plugin's own prints do not reach."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    Server(source, sink).run()
