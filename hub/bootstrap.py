"""The only composition root: settings in, a `Hub` out. Two hubs can live in one process; nothing happens at import."""

import fcntl
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from opentelemetry.sdk.trace.export import SpanExporter

from hub.broker import (
    DEAD,
    INPUTS,
    LANES,
    UNROUTED,
    BrokerUnavailableError,
    OnMessage,
    open_broker,
    queue_name,
    topology_for,
)  # fmt: skip
from hub.errors import MisconfiguredError
from hub.flow import deliver, heal, pace, recover
from hub.flow.context import Context
from hub.flow.relay import Relay, SecondNet
from hub.flow.replay import replay_delivery
from hub.flow.retention import Retention
from hub.flow.translate import Translator
from hub.identity.api_keys import Clients
from hub.identity.sessions import Sessions
from hub.identity.vault import open_vault
from hub.integrations.routes import Routes
from hub.marketplace.client import Catalogue
from hub.marketplace.installed import Installed
from hub.marketplace.upkeep import Upkeep
from hub.runtime.egress import Egress
from hub.runtime.guest import Limits
from hub.runtime.isolation import Guests
from hub.runtime.loop import Loop
from hub.runtime.plugins import Isolation, Plugins, load_plugins
from hub.settings import Settings
from hub.store import Configured, GroupCommit, Store, StoreClock, StoreUnavailableError, new_id
from hub.sync.drift import Drift
from hub.sync.gaps import GapFinder
from hub.sync.poll import Poller
from hub.sync.subscriptions import Subscriber
from hub.telemetry import Telemetry

if TYPE_CHECKING:
    from hub.gateway.edge import Gateway

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The clock of a hub that is not under test."""
    return datetime.now(UTC)


#: What a process can be: the HTTP edge, a worker, the scheduler (one leads, the others wait). `hub up` is all three.
ROLES = ("serve", "work", "schedule")
#: Under load the relay publishes what has come together in this time; without load it publishes at once.
_GATHER_SECONDS = 0.01
#: How often queues that the broker refused are declared again.
_MEND_SECONDS = 3.0
#: So long a scheduler counts as leading after it asked; two that lead for a moment do nothing twice that may not be.
_LEAD_SECONDS = 1.0


class Hub:
    """A hub's parts, wired. `start` runs the workers of its roles in this process; `close` drains and ends everything."""

    def __init__(
        self, settings: Settings, plugins: Plugins | None = None, clock: Callable[[], datetime] | None = None,
        exporter: SpanExporter | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        store = Store(settings.store_url)
        vault = open_vault(settings)
        telemetry = Telemetry(settings.otlp_endpoint, settings.trace_sample_ratio, exporter)
        plugins = plugins or load_plugins(isolation=isolation_of(settings))
        instance = f"{socket.gethostname()[:24]}-{os.getpid()}-{new_id()[-12:]}"
        prefix = settings.broker_prefix or (instance if settings.broker_url.startswith("memory:") else "")
        broker = open_broker(settings.broker_url, prefix, settings.confirm_seconds)
        self._clock = StoreClock(store) if clock is None else None
        configured = Configured()
        now = clock or self._clock or utc_now
        self.ctx = Context(
            settings, store, GroupCommit(store), broker, plugins, vault, configured, Clients(configured),
            Sessions(plugins, vault, configured, store), Routes(configured), telemetry,
            Loop(Egress(settings.egress_private_hosts), telemetry, now), now, instance,
        )  # fmt: skip
        if plugins.guests is not None:
            plugins.guests.tell = lambda incident: plugins.conduct.incident(incident, now())
        self.relay, self.translator, self.net = Relay(self.ctx), Translator(self.ctx), SecondNet(self.ctx)
        self.deliverer, self.poller = deliver.Deliverer(self.ctx), Poller(self.ctx)
        self.subscriber, self.drift, self.gaps = Subscriber(self.ctx), Drift(self.ctx), GapFinder(self.ctx)
        self.retention = Retention(self.ctx)
        self.upkeep = Upkeep(
            Installed(settings.plugins_home), catalogue_of(settings), plugins, store, now, settings.catalogue_seconds,
            self._plugins_changed, self._replay,
        )  # fmt: skip
        self._lanes: Sequence[str] = ()
        self._consuming: set[str] = set()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._bells: list[threading.Event] = []
        self._leadership, self._leading = store.leadership("hub.schedule"), threading.Lock()
        self._leads, self._asked_at = False, -math.inf
        self._lock_file: IO[str] | None = None
        self._closed = False

    def start(self, roles: Collection[str] = ROLES, connectors: Collection[str] = (), lanes: Sequence[str] = LANES) -> None:
        """Recover what a crash left behind, then run the workers of ``roles``.

        ``connectors`` and ``lanes`` narrow what a worker takes ((): every connector). Raises MisconfiguredError if the schema
        is old, the folder in use, or the roles cannot be apart.
        """
        self._require_schema()
        settings, sweep = self.settings, self.settings.sweep_seconds
        if set(roles) != set(ROLES) and (settings.embedded or settings.broker_url.startswith("memory:")):
            raise MisconfiguredError(
                "HUB_DATABASE_URL, HUB_BROKER_URL",
                "roles that run apart share a PostgreSQL and a broker; set both, or run `hub up`",
            )
        self.upkeep.load()
        if unknown := sorted(set(connectors) - set(self.ctx.plugins.connectors)):
            raise MisconfiguredError("--connector", f"{', '.join(unknown)} is not installed")
        if settings.embedded:
            self._lock_file = _lock(settings.data_dir / "hub.lock")
            recovered = recover.recover(self.ctx, others_are_dead=True)
            if recovered:
                log.info("took back %d deliveries of a worker that died", recovered)
        if "schedule" not in roles:
            self.relay.lanes = tuple(lane for lane in LANES if lane in (lanes if "work" in roles else ("live",)))
        if lanes == ("bulk",):  # nobody waits for it: what comes together costs less
            self.ctx.group.gather_seconds = _GATHER_SECONDS
        self._declare()
        self._run("relay", self.relay.run_due, self.ctx.due.bell, sweep, _GATHER_SECONDS)
        self._run("topology", self._mend, threading.Event(), _MEND_SECONDS)
        self._run("upkeep", self.upkeep.run, threading.Event(), 2.0)
        self._run("conduct", self._record_conduct, threading.Event(), 1.0)
        if self._clock is not None:
            self._run("clock", self._anchor, threading.Event(), 15.0)
        if "work" in roles:
            self.translator.lanes = lanes
            self._run("translate", self.translator.run_once, self.ctx.raw_arrived, sweep)
            chosen = sorted(connectors or self.ctx.plugins.connectors)
            self._lanes = lanes if not connectors else ()  # a worker for certain connectors takes up no others
            self._consume_deliveries("", chosen, lanes)
            if "live" in lanes:  # a bell wakes one worker: bulk work can wait for its sweep, what happens now cannot
                self._consume("inputs", [INPUTS], self._on_input)
        if "schedule" in roles:
            self._lead("sweep", self.relay.sweep, sweep)
            self._lead("announce", self.relay.announce, sweep)
            self._lead("recover", lambda: recover.recover(self.ctx) and 0, sweep)
            self._lead("stale", self.relay.give_back_stale, 5.0)
            self._lead("promote", self.relay.promote, 2.0)
            self._lead("statistics", self.ctx.store.analyze, 2.0)
            self._lead("poll", self.poller.run_due, lambda: min(sweep, self.poller.rest))
            self._lead("subscriptions", self.subscriber.run_due, min(10.0, settings.subscription_seconds))
            self._lead("gaps", lambda: self.gaps.run_due() and 0, 10.0)
            self._lead("drift", self.drift.run_due, min(30.0, settings.drift_seconds))
            self._lead("heal", lambda: heal.heal(self.ctx), 1.0)
            self._lead("retention", lambda: self.retention.run_due() and 0, lambda: self.retention.rest)
            self._lead("closures", lambda: pace.release_closed(self.ctx), 2.0)
            if not settings.broker_url.startswith("memory:"):
                self._consume("second-net", [UNROUTED, DEAD], self.net.on_message)

    def _consume_deliveries(self, name: str, connectors: Collection[str], lanes: Collection[str]) -> None:
        self._consuming |= set(connectors)
        for lane in lanes:
            if names := [queue_name(connector, lane) for connector in sorted(connectors)]:
                self._consume(f"deliver-{lane}{name}", names, self.deliverer.on_message)

    def _replay(self, tenant_id: str, delivery_id: str, reason: str) -> None:
        replay_delivery(self.ctx, tenant_id, delivery_id, "upkeep", reason)

    def _plugins_changed(self, names: set[str]) -> None:
        """What was made from a connector's class is made anew; a new one gets its queues, and somebody who listens to them."""
        ctx = self.ctx
        ctx.configured.forget()
        if ctx.plugins.guests is not None:
            ctx.loop.call(ctx.plugins.guests.end, lambda connector: not ctx.plugins.current(connector))
        self._declare()
        if new := (names & ctx.plugins.connectors.keys()) - self._consuming:
            self._consume_deliveries(f"-{min(new)}", new, self._lanes)

    def _require_schema(self) -> None:
        state = self.ctx.store.reachable_schema()
        if state is None:
            raise MisconfiguredError("HUB_DATABASE_URL", "the database cannot be reached")
        if state[0] != state[1]:
            raise MisconfiguredError("database", f"schema is {state[0]}, this hub needs {state[1]}: run `hub db upgrade`")

    def _declare(self) -> None:
        """The topology; a broker that is away is no reason not to start: consumers declare it when they reach it."""
        try:
            self.ctx.broker.declare(topology_for(self.ctx.plugins.connectors))
        except BrokerUnavailableError as error:
            log.warning("the broker cannot be used now, work goes on when it is back: %s", error)

    def _mend(self) -> int:
        """Look whether a queue that the broker refused has been mended; what waited for it goes on without a restart."""
        if refused := set(self.ctx.broker.refused):
            self._declare()
            if refused - set(self.ctx.broker.refused):
                self.ctx.due.bell.set()
        return 0

    def _anchor(self) -> int:
        assert self._clock is not None
        self._clock.anchor()
        return 0

    def _record_conduct(self) -> int:
        """Store how connectors behaved since the last time."""

        def write(incidents: list[dict[str, Any]], outcomes: list[dict[str, Any]]) -> None:
            with self.ctx.store.begin() as uow:
                uow.plugins.add_incidents(incidents)
                uow.plugins.add_outcomes(outcomes)

        self.ctx.plugins.conduct.flush(write)
        return 0

    def _on_input(self, _payload: Any, acknowledge: Callable[[], None]) -> None:
        self.ctx.raw_arrived.set()
        acknowledge()

    def _consume(self, name: str, queues: list[str], on_message: OnMessage) -> None:
        """A thread that consumes until the hub stops; a broken connection is made anew."""
        settings = self.settings

        def work() -> int:
            self.ctx.broker.consume(queues, on_message, self._stop, settings.prefetch, settings.drain_seconds)
            return 0

        self._run(name, work, threading.Event(), settings.sweep_seconds)

    def _lead(self, name: str, work: Callable[[], int], every: float | Callable[[], float]) -> None:
        """A thread that works while this process is the leading scheduler."""

        def led() -> int:
            with self._leading:
                if time.monotonic() - self._asked_at > _LEAD_SECONDS:
                    self._leads, self._asked_at = self._leadership.held(), time.monotonic()
            if self._leads:
                return work() and 0
            self._stop.wait(1.0)
            return 0

        self._run(name, led, threading.Event(), every)

    def _run(
        self, name: str, work: Callable[[], int], bell: threading.Event, every: float | Callable[[], float],
        gather_seconds: float = 0.0,
    ) -> None:  # fmt: skip
        """Repeat ``work`` whenever the bell rings, and every ``every`` seconds (a function: asked after each time); at once
        while it finds something.

        ``gather_seconds``: when the bell rings sooner than that after the last time, it waits for more to come together.
        """

        def loop() -> None:
            last = 0.0
            while not self._stop.is_set():
                if gather_seconds and time.monotonic() - last < gather_seconds:
                    self._stop.wait(gather_seconds)
                last = time.monotonic()
                bell.clear()
                try:
                    found = work()
                except Exception as error:  # the worker loop: a failing database or broker must not end it
                    if not self._stop.is_set():
                        expected = isinstance(error, StoreUnavailableError | BrokerUnavailableError)
                        log.warning("%s failed, trying again: %s", name, error, exc_info=None if expected else error)
                        self._stop.wait(0.5)
                    continue
                if not found:
                    bell.wait(every() if callable(every) else every)

        thread = threading.Thread(target=loop, name=name, daemon=True)
        self._bells.append(bell)
        thread.start()
        self._threads.append(thread)

    def web(self) -> "Gateway":
        """The ASGI application: gateway, API and console of this hub. A role without it does not load what they are made of."""
        from hub.api.app import create_app
        from hub.console.pages import create_console
        from hub.gateway.edge import Gateway

        return Gateway(self.ctx, create_app(self.ctx), create_console(self.ctx))

    def close(self) -> None:
        """Take nothing new, finish what is in hand (at most ``drain_seconds``), release everything. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        self.ctx.due.close()
        self._stop.set()
        for bell in self._bells:
            bell.set()
        try:
            self.ctx.loop.submit(self.deliverer.drain()).result(self.settings.drain_seconds)
        except TimeoutError:
            log.warning("stopping with deliveries under way; their leases run out and they are taken back")
        for thread in self._threads:
            thread.join(10)
        if self._threads:
            try:
                self._record_conduct()
            except StoreUnavailableError as error:
                log.warning("how connectors behaved lately could not be stored: %s", error)
        if self.ctx.plugins.guests is not None:
            self.ctx.loop.submit(self.ctx.plugins.guests.close()).result(10)
        self.ctx.loop.close()
        self.ctx.group.close()
        try:
            self.relay.end()
        except StoreUnavailableError as error:
            log.warning("some deliveries are published again in a minute: %s", error)
        self._leadership.release()
        self.ctx.broker.close()
        self.ctx.telemetry.close()
        self.ctx.store.close()
        if self._lock_file is not None:
            self._lock_file.close()

    def __enter__(self) -> "Hub":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def catalogue_of(settings: Settings) -> Catalogue | None:
    """The catalogue that the settings name."""
    return Catalogue(settings.plugins_home, settings.catalogue) if settings.catalogue else None


def isolation_of(settings: Settings) -> Isolation:
    """How plugins that are not the hub's own are run, from the settings."""
    limits = Limits(
        memory=settings.plugin_memory_mb * 1024 * 1024, step_seconds=settings.plugin_step_seconds,
        processes=settings.plugin_processes, fences=_listed(settings.plugin_fences),
    )  # fmt: skip
    return Isolation(settings.plugins_home, _listed(settings.in_process_plugins), Guests(limits))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


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
