"""One process of an isolated connector: frames to it and from it, what it may use, and how it ends.

It works on one frame at a time, so a step that never ends, or ends the process, is the fault of the oldest unanswered frame;
whatever else was under way is tried again and costs no try.
"""

import asyncio
import logging
import re
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hub.runtime.environments import Environment
from hub.sdk.errors import TargetUnavailableError
from hub.sdk.guest import wire
from hub.sdk.steps import Request

log = logging.getLogger(__name__)
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from hub.sdk.guest.serve import main; main()"
_START_SECONDS = 30.0
_OUTPUT_BYTES, _OUTPUT_SECONDS = 256 * 1024, 60.0


@dataclass(frozen=True)
class Limits:
    """What a guest may use: bytes of memory, descriptors, processor seconds in its life, seconds per step; how many guests
    there are at most, how long an idle one is kept, and the kernel's fences without which none is started.
    """

    memory: int = 512 * 1024 * 1024
    files: int = 32
    cpu: int = 600
    step_seconds: float = 10.0
    processes: int = 64
    idle_seconds: float = 300.0
    fences: tuple[str, ...] = ("files", "calls")


@dataclass(frozen=True)
class Incident:
    """Something a connector did that it may not, or that ended its process. ``kind`` is a word, ``detail`` a line."""

    connector: str
    version: str
    tenant_id: str
    connection_id: str
    kind: str
    detail: str


class PluginRestingError(TargetUnavailableError):
    """The connector's process died too often: it is left alone for a while. Nothing was sent."""

    code = "plugin_resting"


class PluginRestartedError(TargetUnavailableError):
    """The connector's process ended by the fault of another call."""

    code = "plugin_restarted"


class PluginDiedError(wire.BugError):
    """The call that ended the connector's process, or did not end in time."""


@dataclass(frozen=True)
class Done:
    """A capability's result."""

    value: Any


@dataclass(frozen=True)
class Plan:
    """What a process is to load: the connector's name, where its code is, and its settings."""

    connector: str
    environment: Environment
    settings: Mapping[str, Any]


class Owner(Protocol):
    """Who hears of a guest."""

    limits: Limits

    def incident(self, kind: str, detail: str) -> None:
        """It did what it may not."""

    def died(self, kind: str, detail: str) -> None:
        """It ended, unasked."""


class Guest(asyncio.SubprocessProtocol):
    """One process. Frames go out at once and are answered in turn; what comes is bounded before it is read."""

    def __init__(self, owner: Owner, plan: Plan) -> None:
        self._owner, self._plan = owner, plan
        self._transport: asyncio.SubprocessTransport | None = None
        self._pipe: Any = None
        self._buffer = bytearray()
        self._turns: deque[int] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._output, self._output_since, self._last_words = 0, 0.0, b""
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._numbers, self._reason, self._wanted = 0, "", False
        self.calls: dict[int, asyncio.Future[Request | Done]] = {}
        self.started: asyncio.Task[None] = None  # type: ignore[assignment]
        self.used, self.ended, self.hello = 0.0, False, False

    async def start(self) -> None:
        """Start the process and wait until it has loaded the connector."""
        environment, limits = self._plan.environment, self._owner.limits
        command = [str(environment.folder / "bin/python"), "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT, str(environment.door)]
        loop = asyncio.get_running_loop()
        try:
            await loop.subprocess_exec(lambda: self, *command, env={}, cwd="/", start_new_session=True)
            self._send(["setup", 0, {
                "entry": environment.entry, "connector": self._plan.connector,
                "settings": dict(self._plan.settings), "paths": [str(environment.site)],
                "readable": environment.readable, "required": list(limits.fences),
                "limits": {"memory": limits.memory, "files": limits.files, "cpu": limits.cpu},
            }])  # fmt: skip
            await asyncio.wait_for(self._greeted, _START_SECONDS)
            self.hello = True
        except (OSError, TimeoutError, PluginDiedError, wire.WireError) as error:
            why = str(error) or type(error).__name__
            self.end()
            self._owner.died("start", why)
            raise PluginRestartedError(f"{self._plan.connector} did not start: {why}", retry_after=5.0) from error

    def new_call(self) -> int:
        self._numbers += 1
        return self._numbers

    async def ask(self, call: int, message: list[Any], blob: bytes) -> Request | Done:
        """Send a frame about ``call``; its answer."""
        if self.ended:
            raise PluginRestartedError(f"{self._plan.connector} was restarted", retry_after=0.5)
        frame = wire.pack(message, blob)
        answer: asyncio.Future[Request | Done] = asyncio.get_running_loop().create_future()
        self.calls[call] = answer
        self._turns.append(call)
        self._pipe.write(frame)
        if self._timer is None:
            self._watch()
        return await answer

    def forget(self, call: int) -> None:
        if call in self.calls and not self.ended:
            self.calls.pop(call)
            self._send(["close", call])

    def end(self) -> None:
        """Kill it, wanted."""
        self._wanted = True
        self._kill("ended by the hub")

    # -- asyncio ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._pipe = transport.get_pipe_transport(0)  # type: ignore[attr-defined]

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        if self.ended:
            return
        if fd == 2:
            self._heard(data)
            return
        self._buffer += data
        try:
            while len(self._buffer) >= wire.HEAD.size:
                text, blob = wire.size(bytes(self._buffer[: wire.HEAD.size]))
                end = wire.HEAD.size + text + blob
                if len(self._buffer) < end:
                    return
                frame = bytes(self._buffer[wire.HEAD.size : end])
                del self._buffer[:end]
                self._take(wire.unpack(frame[:text]), frame[text:])
        except (wire.WireError, IndexError, TypeError, ValueError) as error:
            self._kill(f"protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """The process has ended, and every pipe to it is closed."""
        if not self.gone.done():
            self.gone.set_result(None)

    def process_exited(self) -> None:
        assert self._transport is not None
        code = self._transport.get_returncode() or 0
        words = one_line(self._last_words.decode("utf-8", "replace")[-300:])
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._over(self._reason or f"crash: {name}{f' ({words})' if words else ''}")

    # -- frames -------------------------------------------------------------------------------------------------

    def _take(self, message: list[Any], blob: bytes) -> None:
        kind, call = message[0], message[1]
        if kind == "hello":
            if message[2] != wire.VERSION:
                raise wire.WireError(f"speaks version {message[2]} of the protocol, this hub {wire.VERSION}")
            if not self._greeted.done():
                problems = "; ".join(str(item) for item in message[3])[:2000]
                self._greeted.set_exception(PluginDiedError(problems)) if problems else self._greeted.set_result(None)
            return
        if kind == "incident":
            self._owner.incident(str(message[2])[:40], str(message[3]))
            return
        if not self._turns or self._turns[0] != call:
            raise wire.WireError(f"an answer to nothing that was asked ({kind} {call})")
        self._turns.popleft()
        self._watch()
        answer = self.calls.get(call)
        result: Request | Done = wire.request_of(message[2], blob) if kind == "request" else Done(message[2])
        if kind != "request":
            self.calls.pop(call, None)
        if answer is None or answer.done():  # dropped meanwhile
            return
        if kind in ("request", "result"):
            answer.set_result(result)
            return
        if incident := _told_by(message[2]):
            self._owner.incident(*incident)
        answer.set_exception(wire.raised(message[2]))

    def _send(self, message: list[Any], blob: bytes = b"") -> None:
        if not self.ended:
            self._pipe.write(wire.pack(message, blob))

    def _watch(self) -> None:
        """One timer, for the frame whose turn it is: one that waited behind others has its time from when its turn came."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._turns:
            self._timer = asyncio.get_running_loop().call_later(self._owner.limits.step_seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._kill(f"time: a step took longer than {self._owner.limits.step_seconds:.1f} s")

    def _heard(self, data: bytes) -> None:
        """What it printed: into the log, escaped; a flood ends it."""
        now = time.monotonic()
        if now - self._output_since > _OUTPUT_SECONDS:
            self._output, self._output_since = 0, now
        self._output += len(data)
        if self._output > _OUTPUT_BYTES:
            self._kill(f"output: more than {_OUTPUT_BYTES} bytes printed in {_OUTPUT_SECONDS:.0f} s")
            return
        self._last_words = (self._last_words + data)[-2000:]
        for line in data.decode("utf-8", "replace").splitlines()[:20]:
            log.info("plugin %s prints: %s", self._plan.connector, one_line(line))

    def _kill(self, reason: str) -> None:
        self._reason = self._reason or reason
        if self._transport is not None:
            try:
                self._transport.kill()
            except ProcessLookupError:
                pass
        self._over(self._reason)

    def _over(self, reason: str) -> None:
        """Everything that was under way ends: the oldest unanswered frame is what ended the guest."""
        if self.ended:
            return
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
        name = self._plan.connector
        culprit = self._turns[0] if self._turns and not self._wanted else None
        if not self._greeted.done():
            self._greeted.set_exception(PluginDiedError(reason))
            self._greeted.exception()
        elif not self._wanted:
            kind, _, detail = reason.partition(": ")
            self._owner.died(kind, detail)
        for call, answer in self.calls.items():
            if not answer.done():
                answer.set_exception(
                    PluginDiedError(f"{name}: {reason}") if call == culprit
                    else PluginRestartedError(f"{name} was restarted: {reason}", retry_after=0.5)
                )  # fmt: skip
        self.calls.clear()
        if self._transport is not None:
            self._transport.close()


def _told_by(error: Any) -> tuple[str, str] | None:
    """(kind, detail) of an error that says a limit was met."""
    if not isinstance(error, Mapping):
        return None
    bug, number = str(error.get("bug", "")), str(error.get("errno", ""))
    first = str(error.get("message", "")).partition("\n")[0]
    if bug == "MemoryError":
        return "memory", "its memory limit was met"
    if bug == "SystemExit":
        return "exit", "it called sys.exit"
    if "can't start new thread" in first:
        return "thread", first
    if number in ("1", "13", "24", "27"):  # EPERM, EACCES, EMFILE, EFBIG
        return ("descriptors" if number == "24" else "refused"), first
    return None


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def one_line(text: str) -> str:
    """One printable line: what a plugin says can break no log."""
    return _CONTROL.sub(" ", text).strip()[:500]
