"""A TCP fault proxy with Toxiproxy's toxics: latency, bandwidth, slow_close, timeout, reset_peer, slicer, limit_data, down."""

import asyncio
import random
import threading

TOXICS = ("latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "down")


class Proxy:
    """Listens on ``port``, forwards to ``upstream``; `toxic` changes what new and open connections suffer."""

    def __init__(self, port: int, upstream: int, seed: int) -> None:
        self.port, self._upstream = port, upstream
        self._chance = random.Random(seed)
        self._toxic = ""
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()

    def toxic(self, name: str) -> None:
        """Use a toxic from now on ('' none); `reset_peer` and `down` cut what is open."""
        assert name in ("", *TOXICS)
        self._loop.call_soon_threadsafe(self._set, name)

    def _set(self, name: str) -> None:
        self._toxic = name
        if name in ("reset_peer", "down"):
            for writer in list(self._writers):
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._toxic == "down":
            writer.transport.abort()
            return
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, upstream_writer}
        try:
            await asyncio.gather(self._pump(reader, upstream_writer, False), self._pump(upstream_reader, writer, True))
        except OSError:
            pass
        finally:
            for side in (writer, upstream_writer):
                self._writers.discard(side)
                side.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bool) -> None:
        passed = 0
        while data := await reader.read(65536):
            toxic = self._toxic
            if toxic == "latency":
                await asyncio.sleep(self._chance.uniform(0.05, 0.3))
            elif toxic == "bandwidth":
                await asyncio.sleep(len(data) / 20_000)
            elif toxic == "timeout":  # half-open: the connection stays and nothing comes through
                while self._toxic == "timeout":
                    await asyncio.sleep(0.1)
                writer.transport.abort()
                raise ConnectionAbortedError
            elif toxic == "limit_data" and answer:
                data = data[: max(0, 300 - passed)]
                if not data:
                    writer.transport.abort()
                    return
            passed += len(data)
            pieces = [data]
            if toxic == "slicer":
                cuts = sorted(self._chance.randrange(len(data) + 1) for _ in range(4))
                pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if toxic == "slicer":
                    await asyncio.sleep(0.005)
        if self._toxic == "slow_close":
            await asyncio.sleep(1.0)
        if writer.can_write_eof():
            writer.write_eof()

    def close(self) -> None:
        async def stop() -> None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0.05)  # aborted transports close their sockets in the next rounds

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
