"""The only composition root: settings in, a `Hub` out. Two hubs can live in one process; nothing happens at import."""

import fcntl
import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from opentelemetry.sdk.trace.export import SpanExporter

from hub.api.app import create_app
from hub.broker import Broker, topology_for
from hub.console.pages import create_console
from hub.errors import MisconfiguredError
from hub.flow import deliver
from hub.flow.context import Context
from hub.flow.relay import Relay
from hub.flow.translate import Translator
from hub.gateway.edge import Gateway
from hub.identity.sessions import Sessions
from hub.identity.vault import open_vault
from hub.integrations.routes import Routes
from hub.runtime.egress import Egress
from hub.runtime.loop import Loop
from hub.runtime.plugins import Plugins, load_plugins
from hub.settings import Settings
from hub.store import Store, new_id
from hub.sync.poll import Poller
from hub.telemetry import Telemetry

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The clock of a hub that is not under test."""
    return datetime.now(UTC)


class Hub:
    """A hub's parts, wired. `start` runs the embedded engine's workers in this process; `close` ends everything."""

    def __init__(
        self, settings: Settings, plugins: Plugins | None = None, clock: Callable[[], datetime] = utc_now,
        exporter: SpanExporter | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        store = Store(settings.store_url)
        vault = open_vault(settings)
        telemetry = Telemetry(settings.otlp_endpoint, settings.trace_sample_ratio, exporter)
        plugins = plugins or load_plugins()
        instance = f"{os.getpid()}-{new_id()[-12:]}"
        broker = Broker(settings.broker_url, instance if settings.broker_url.startswith("memory:") else "")
        self.ctx = Context(
            settings, store, broker, plugins, vault, Sessions(plugins, vault), Routes(), telemetry,
            Loop(Egress(settings.egress_private_hosts), telemetry), clock, instance,
        )  # fmt: skip
        self.relay, self.translator = Relay(self.ctx), Translator(self.ctx)
        self.deliverer, self.poller = deliver.Deliverer(self.ctx), Poller(self.ctx)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock_file: IO[str] | None = None

    def start(self) -> None:
        """Recover what a crash left behind, then run every worker. Raises MisconfiguredError if the folder is in use."""
        current, newest = self.ctx.store.schema_state()
        if current != newest:
            raise MisconfiguredError("database", f"schema is {current}, this hub needs {newest}: run `hub db upgrade`")
        if self.settings.embedded:
            self._lock_file = _lock(self.settings.data_dir / "hub.lock")
        topology = topology_for(self.ctx.plugins.connectors)
        self.ctx.broker.declare(topology)
        recovered = deliver.recover(self.ctx, others_are_dead=self.settings.embedded)
        if recovered:
            log.info("took back %d deliveries of a worker that died", recovered)
        names = [queue.name for queue in topology.queues]
        sweep = self.settings.sweep_seconds
        self._run("translate", self.translator.run_once, self.ctx.raw_arrived, sweep)
        self._run("relay", self.relay.sweep, self.ctx.delivery_due, sweep)
        self._run("schedule", self._schedule, threading.Event(), sweep)
        if names:
            self._run("deliver", lambda: self._consume(names), threading.Event(), sweep)

    def _consume(self, queues: list[str]) -> int:
        """Returns only to stop; a broken connection raises, and `_run` consumes anew."""
        self.ctx.broker.consume(queues, self.deliverer.on_message, self._stop)
        return 0

    def _schedule(self) -> int:
        deliver.recover(self.ctx)
        return self.poller.run_due()

    def _run(self, name: str, work: Callable[[], int], bell: threading.Event, every: float) -> None:
        """Repeat ``work`` whenever the bell rings, and every ``every`` seconds; at once while it finds something."""

        def loop() -> None:
            while not self._stop.is_set():
                bell.clear()
                try:
                    found = work()
                except Exception:  # the worker loop: a failing database must not end it
                    if not self._stop.is_set():
                        log.exception("%s failed; trying again", name)
                        self._stop.wait(1.0)
                    continue
                if not found or name == "schedule":
                    bell.wait(every)

        thread = threading.Thread(target=loop, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def web(self) -> Gateway:
        """The ASGI application: gateway, API and console of this hub."""
        return Gateway(self.ctx, create_app(self.ctx), create_console(self.ctx))

    def close(self) -> None:
        """Stop taking work, let the workers end, release everything."""
        self._stop.set()
        self.ctx.raw_arrived.set()
        self.ctx.delivery_due.set()
        for thread in self._threads:
            thread.join(10)
        self.ctx.loop.close()
        self.ctx.broker.close()
        self.ctx.telemetry.close()
        self.ctx.store.close()
        if self._lock_file is not None:
            self._lock_file.close()

    def __enter__(self) -> "Hub":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _lock(path: Path) -> Any:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise MisconfiguredError(
            "HUB_DATA_DIR", f"{path.parent} is in use by another hub; the embedded engine runs once per folder"
        ) from None
    return file
