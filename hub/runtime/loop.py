"""The one asyncio loop on which targets are called, in a thread of its own. Store calls leave it for a small pool."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import uvloop

from hub.runtime.egress import Egress
from hub.runtime.performer import Performer
from hub.telemetry import Telemetry

T = TypeVar("T")


class Inbox:
    """Calls from other threads for one event loop: what comes together wakes it once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._waking = loop, False
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def call(self, work: Callable[..., object], *arguments: Any) -> None:
        """Run a plain function on the loop, from any thread."""
        self._calls.append((work, arguments))
        if not self._waking:
            self._waking = True
            self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._waking = False  # before the first is taken: who comes from now on wakes again
        while self._calls:
            work, arguments = self._calls.popleft()
            self._loop.call_soon(work, *arguments)

    async def result(self, future: "Future[T]") -> T:
        """What another thread makes; whoever stops waiting cancels it."""
        if future.done():
            return future.result()
        waiting: asyncio.Future[T] = self._loop.create_future()
        waiting.add_done_callback(lambda _: waiting.cancelled() and future.cancel())
        future.add_done_callback(lambda _: None if self._loop.is_closed() else self.call(_pass_on, future, waiting))
        return await waiting


def _pass_on(future: "Future[T]", waiting: "asyncio.Future[T]") -> None:
    if waiting.done():
        return
    if future.cancelled():
        waiting.cancel()
    elif error := future.exception():
        waiting.set_exception(error)
    else:
        waiting.set_result(future.result())


class Loop:
    """`submit` coroutines from any thread; inside them, `in_store(f)` runs blocking store work off the loop."""

    def __init__(
        self, egress: Egress, telemetry: Telemetry, clock: Callable[[], datetime] | None = None, store_threads: int = 8
    ) -> None:  # fmt: skip
        self._loop = uvloop.new_event_loop()
        self._inbox = Inbox(self._loop)
        self._pool = ThreadPoolExecutor(store_threads, thread_name_prefix="store")
        self._thread = threading.Thread(target=self._loop.run_forever, name="runtime-loop", daemon=True)
        self._thread.start()
        self.performer: Performer = asyncio.run_coroutine_threadsafe(self._start(egress, telemetry, clock), self._loop).result()

    async def _start(self, egress: Egress, telemetry: Telemetry, clock: Callable[[], datetime] | None) -> Performer:
        return Performer(egress, telemetry, clock)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, work: Callable[..., object], *arguments: Any) -> None:
        """Run a plain function on the loop, from any thread."""
        self._inbox.call(work, *arguments)

    def time(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait; a simulation has its own idea of time."""
        await asyncio.sleep(seconds)

    async def in_store(self, work: Callable[..., T], *arguments: Any) -> T:
        return await self._inbox.result(self._pool.submit(work, *arguments))

    def close(self) -> None:
        """Cancel what runs, close connections, end the thread."""

        async def stop() -> None:
            current = asyncio.current_task()
            others = [task for task in asyncio.all_tasks() if task is not current]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self.performer.close()

        self.submit(stop()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._pool.shutdown(wait=False)
