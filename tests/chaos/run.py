"""One chaos run: roles as processes, load, a nemesis that follows a seed, then every invariant against the referee's books."""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from chaos.proxy import TOXICS, Proxy
from chaos.referee import Referee
from chaos.services import WallClock, free_port, running
from hub.identity.api_keys import SCOPES, create_key
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.runtime.plugins import load_plugins
from hub.store import Store

PLUGIN = Path(__file__).parent / "plugin"
VAULT_KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
START = datetime(2026, 11, 21, tzinfo=UTC)
INTEGRATION = """
integration: chaos
connections:
  find: {{connector: referee_find, base_url: {url}}}
  native: {{connector: referee_native, base_url: {url}, limits: {{concurrency: {concurrency}, timeout_seconds: {patience}}}}}
  bulk: {{connector: referee_bulk, base_url: {url}}}
flows:
  - name: products
    on: product.v1
    to: [{to}]
"""


@dataclass
class Plan:
    """How much of everything; the same seed gives the same schedule."""

    events: int = 300
    kills: int = 10
    broker_kills: int = 1
    database_kills: int = 1
    pauses: int = 2
    toxics: int = 4
    storms: int = 1
    disk_fulls: int = 0
    clock_steps: int = 0
    fail_overs: int = 0
    brokers: int = 1
    seed: int = 1
    entities: int = 200
    targets: str = "find,native,bulk"
    folder: Path = Path("/tmp/crossdock-chaos")


@dataclass
class Report:
    """What was injected and what was found."""

    plan: Plan
    injected: Counter[str] = field(default_factory=Counter)
    invariants: list[tuple[str, str, int, str]] = field(default_factory=list)
    seconds: float = 0.0
    drained: float = 0.0

    def note(self, name: str, what: str, violations: int, figure: str) -> None:
        self.invariants.append((name, what, violations, figure))

    @property
    def violations(self) -> int:
        return sum(item[2] for item in self.invariants)

    def text(self) -> str:
        lines = [
            f"seed {self.plan.seed} · {self.plan.events} events · {self.seconds:.0f} s, drained {self.drained:.0f} s after",
            "",
        ]
        lines += [
            "| fault injected | times |",
            "|---|---|",
            *(f"| {name} | {n} |" for name, n in sorted(self.injected.items())),
        ]
        lines += ["", "| invariant | checked | violations | figure |", "|---|---|---|---|"]
        lines += [f"| {name} | {what} | {bad} | {figure} |" for name, what, bad, figure in self.invariants]
        return "\n".join(lines)


class Role:
    """One process of the hub, killed, paused and started again."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name, self._arguments, self._environment = name, arguments, environment
        self._log = (folder / f"{name}.log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hub", *self._arguments], env=self._environment, stdout=self._log, stderr=self._log
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def watch(self) -> None:
        """Start it again if it ended by itself (its database was away when it started)."""
        if self.process is not None and self.process.poll() is not None:
            self.start()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()


class Load:
    """Sends every event until it is answered 202, in an order of the seed, some of them twice."""

    def __init__(self, plan: Plan, ports: list[int], key: str) -> None:
        chance = random.Random(plan.seed)
        versions = -(-plan.events // plan.entities) if plan.events > plan.entities else 1
        entities = -(-plan.events // versions)
        each = [[f"E{n}@{v}" for v in range(versions)] for n in range(entities)]
        order: list[str] = []
        # Entities are interleaved at random; within one, neighbours change places now and then, and some come twice.
        for row in each:
            for n in range(len(row) - 1):
                if chance.random() < 0.1:
                    row[n], row[n + 1] = row[n + 1], row[n]
        while each:
            row = chance.choice(each)
            order.append(row.pop(0))
            if not row:
                each.remove(row)
        self.names = set(order[: plan.events])
        self._queue = order[: plan.events]
        self._queue += [name for name in self._queue if chance.random() < 0.05]
        self._ports, self._key, self._chance = ports, key, chance
        self._lock = threading.Lock()
        self.accepted: set[str] = set()
        self.answers: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.stop = threading.Event()
        self.rate = 0.0
        self.share = 1.0  # of the faults that are injected: the load lasts as long as they do
        self._next = time.monotonic()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(4)]

    def start(self, rate: float) -> None:
        """Send ``rate`` events a second."""
        self.rate = rate
        self._next = time.monotonic()
        for thread in self._threads:
            thread.start()

    def done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def left(self) -> int:
        return len(self._queue)

    def _work(self) -> None:
        while not self.stop.is_set():
            with self._lock:
                if not self._queue:
                    return
                name = self._queue.pop(0)
                self._next = max(self._next + 1 / self.rate, time.monotonic() - 1.0)
                wait = self._next - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            while 1 - self.left / len(self.names) > self.share + 0.03 and not self.stop.is_set():
                time.sleep(0.05)
            self._send(name)

    def _send(self, name: str) -> None:
        entity, _, version = name.partition("@")
        at = (START + timedelta(seconds=int(version))).isoformat()
        data = {"id": entity, "sku": entity, "name": f"{entity} {version}", "active": True, "updated_at": at}
        envelope = {"specversion": "1.0", "id": name, "source": "/chaos", "type": "product.v1", "time": at, "data": data}
        body = json.dumps(envelope)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        while not self.stop.is_set():
            started, status = time.monotonic(), 0
            try:
                connection = http.client.HTTPConnection("127.0.0.1", random.choice(self._ports), timeout=20)
                connection.request("POST", "/v1/events", body, headers)
                status = connection.getresponse().status
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            with self._lock:
                self.answers[status] += 1
                if status == 202:
                    self.accepted.add(name)
                    self.latencies.append(time.monotonic() - started)
                    return
            time.sleep(0.2)


class Chaos:
    """Services, roles, load and nemesis of one run."""

    def __init__(self, plan: Plan, postgres: Any, rabbit: Any, say: Any = print) -> None:
        self.plan, self.postgres, self.rabbit, self.say = plan, postgres, rabbit, say
        self.report = Report(plan)
        self.referee = Referee(plan.seed)
        base = free_port(26000)
        self.proxies = {
            "database": Proxy(free_port(base), postgres.port, plan.seed),
            "broker": Proxy(free_port(base + 1), rabbit.port, plan.seed),
            "target": Proxy(free_port(base + 2), self.referee.port, plan.seed),
        }
        self.store = Store(postgres.url)
        self.store.upgrade()
        self.key = configure(self.store, f"http://127.0.0.1:{self.proxies['target'].port}", plan.targets)
        self.http = [free_port(base + 10), free_port(base + 20)]
        environment = environment_of(
            plan.folder, postgres.url.replace(str(postgres.port), str(self.proxies["database"].port)),
            rabbit.url.replace(str(rabbit.port), str(self.proxies["broker"].port)), HUB_LEASE_SECONDS="5",
            HUB_RETRY_BASE_SECONDS="0.2", HUB_SWEEP_SECONDS="0.5", HUB_DRAIN_SECONDS="3", HUB_MAX_ATTEMPTS="1000",
        )  # fmt: skip
        commands = {"serve-1": ["serve", "--port", str(self.http[0])], "serve-2": ["serve", "--port", str(self.http[1])],
                    "work-1": ["work"], "work-2": ["work"], "work-3": ["work"], "work-4": ["work"],
                    "schedule-1": ["schedule"], "schedule-2": ["schedule"]}  # fmt: skip
        self.clock = WallClock(plan.folder)
        # Half of them reach database and broker through the fault proxies, as if those stood in another network.
        direct = {**environment, "HUB_DATABASE_URL": postgres.url, "HUB_BROKER_URL": rabbit.url}
        self.roles = {
            name: Role(name, command, environment | self.clock.environment if name[-1] in "13" else direct, plan.folder)
            for name, command in commands.items()
        }
        self.load = Load(plan, self.http, self.key)
        self._stop = threading.Event()
        self.imbalances = 0
        self.looks = 0

    def start(self) -> None:
        for role in self.roles.values():
            role.start()
        for port in self.http:
            wait_ready(port)

    def schedule(self) -> list[tuple[str, str]]:
        """(kind, whom) in the order in which they happen."""
        chance, plan = random.Random(plan_seed(self.plan)), self.plan
        names = sorted(self.roles)
        faults = [("kill", chance.choice(names)) for _ in range(plan.kills)]
        faults += [("pause", chance.choice(names)) for _ in range(plan.pauses)]
        faults += [("broker kill", "")] * plan.broker_kills + [("database kill", "")] * plan.database_kills
        faults += [("storm", "")] * plan.storms + [("database fail-over", "")] * plan.fail_overs
        faults += [("disk full", "")] * (plan.disk_fulls if self.postgres.disk else 0)
        faults += [
            ("clock step", chance.choice(("3600", "-3600", "30", "-30")))
            for _ in range(plan.clock_steps * self.clock.available)
        ]
        faults += [(TOXICS[n % len(TOXICS)], chance.choice(sorted(self.proxies))) for n in range(plan.toxics)]
        chance.shuffle(faults)
        return faults

    def nemesis(self) -> None:
        """Inject the schedule while the load lasts, spread over it."""
        chance, faults = random.Random(self.plan.seed + 1), self.schedule()
        for number, (kind, whom) in enumerate(faults):
            if self._stop.is_set():
                return
            self.say(f"  {number + 1}/{len(faults)} {kind} {whom}  (accepted {len(self.load.accepted)}/{len(self.load.names)})")
            self.report.injected[f"{kind} {whom}".strip() if kind not in ("kill", "pause") else kind] += 1
            self._inject(kind, whom, chance)
            for role in self.roles.values():
                role.watch()
            time.sleep(chance.uniform(0.1, 0.8))
            # the load lasts as long as the faults do
            self.load.share = share_faults = (number + 1) / len(faults)
            while (
                share_faults > 1 - self.load.left / len(self.load.names) + 0.03
                and not self.load.done()
                and not self._stop.is_set()
            ):
                time.sleep(0.1)

    def _inject(self, kind: str, whom: str, chance: random.Random) -> None:
        if kind == "kill":
            self.roles[whom].kill()
            time.sleep(chance.uniform(0, 0.5))
            self.roles[whom].start()
        elif kind == "pause":
            role = self.roles[whom]
            assert role.process is not None
            role.process.send_signal(signal.SIGSTOP)
            process = role.process
            threading.Timer(
                chance.uniform(4.0, 9.0), lambda: process.poll() is None and process.send_signal(signal.SIGCONT)
            ).start()
        elif kind == "broker kill":
            self.rabbit.kill()
            time.sleep(chance.uniform(0, 2))
            self.rabbit.start()
        elif kind == "database kill":
            self.postgres.kill()
            time.sleep(chance.uniform(0, 1))
            self.postgres.start()
        elif kind == "database fail-over":
            self.postgres.fail_over()
        elif kind == "storm":
            self.referee.storm(3.0)
        elif kind == "clock step":
            self.clock.step(int(whom))
        elif kind == "disk full":
            self.postgres.disk.fill()
            time.sleep(chance.uniform(1.0, 3.0))
            self.postgres.disk.empty()
            if not self.postgres.alive:
                self.postgres.start()
        else:
            self.proxies[whom].toxic(kind)
            time.sleep(chance.uniform(1.0, 3.0))
            self.proxies[whom].toxic("")

    def observe(self) -> None:
        """D2, every second: each message has its deliveries, in one look."""
        while not self._stop.wait(1.0):
            with contextlib.suppress(Exception), self.store.read() as uow:
                text = ("SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM delivery), "
                        "(SELECT count(*) FROM audit WHERE action = 'message.accepted')")  # fmt: skip
                messages, deliveries, accepted = uow._connection.execute(sa.text(text)).one()
                self.looks += 1
                self.imbalances += deliveries != messages * len(self.plan.targets.split(",")) or accepted != messages

    def run(self, rate: float = 60.0) -> Report:
        """The whole run; the report."""
        self.start()
        started = time.monotonic()
        observer = threading.Thread(target=self.observe, daemon=True)
        observer.start()
        self.load.share = 0.0 if self.schedule() else 1.0
        self.load.start(rate)
        try:
            self.nemesis()
            while not self.load.done():
                for role in self.roles.values():
                    role.watch()
                time.sleep(0.2)
            self.report.seconds = time.monotonic() - started
            self.drain()
            self.report.drained = time.monotonic() - started - self.report.seconds
        finally:
            self._stop.set()
            self.load.stop.set()
            observer.join(5)
        self.judge()
        return self.report

    def drain(self, seconds: float = 900.0) -> None:
        """Until nothing is open."""
        until = time.monotonic() + seconds
        while True:
            for role in self.roles.values():
                role.watch()
            with self.store.read() as uow:
                states: Counter[str] = Counter()
                for row in uow.deliveries.counts("acme"):
                    states[row["state"]] += row["count"]
                unannounced = uow.messages.unpublished(1)
            if not unannounced and not any(states[state] for state in ("pending", "claimed", "sending", "ambiguous")):
                return
            assert time.monotonic() < until, f"not drained: {states}; see {self.plan.folder}"
            time.sleep(0.3)

    def judge(self) -> None:
        """Every invariant, from the store and the referee's books."""
        report, referee = self.report, self.referee
        for name, n in referee.injected.items():
            report.injected[f"target: {name}"] += n
        report.injected["events sent twice"] += sum(self.load.answers.values()) - len(self.load.names)
        with self.store.read() as uow:
            run = uow._connection.execute
            stored = {row[0] for row in run(sa.text("SELECT source_id FROM message"))}
            deliveries = list(run(sa.text("SELECT connection_id, state, key, subject, event_at, cause_code FROM delivery")))
            unended = run(sa.text("SELECT count(*) FROM attempt WHERE ended_at IS NULL")).scalar_one()
            attempts = run(sa.text("SELECT count(*) FROM attempt")).scalar_one()
            broken = uow.audit.verify("acme")
            audited = run(sa.text("SELECT count(*) FROM audit")).scalar_one()
        lost = self.load.names - stored if self.load.accepted == self.load.names else self.load.accepted - stored
        report.note("D1", "answered 202 and not stored", len(lost), f"{len(self.load.accepted)} accepted")
        report.note(
            "D2", "imbalance of messages, deliveries and audit, looked at every second", self.imbalances, f"{self.looks} looks"
        )
        states = Counter(row[1] for row in deliveries)
        report.note("D2", "not in a final state, or dead", sum(n for s, n in states.items() if s not in ("applied", "skipped")),
                    ", ".join(f"{n} {s}" for s, n in sorted(states.items())))  # fmt: skip
        doubled = {
            kind: sum(n > 1 for (k, _), n in referee.documents.items() if k == kind) for kind in ("find", "native", "bulk")
        }
        report.note("D3", "doubled at the target that dedupes (native key, bulk)", doubled["native"] + doubled["bulk"],
                    f"{sum(1 for k, _ in referee.documents if k != 'find')} documents")  # fmt: skip
        report.note("D3", "doubled at the target that must be searched", doubled["find"],
                    f"{sum(1 for k, _ in referee.documents if k == 'find')} documents")  # fmt: skip
        lied = set(referee.lies)
        missing = [row for row in deliveries if row[1] == "applied" and not referee.documents.get((row[0], row[2]))]
        unexplained = [row for row in missing if (row[0], row[2]) not in lied]
        report.note("D2", "said to be applied and is not at the target, without a lie of the target's", len(unexplained),
                    f"{len(missing)} lies, each found by comparing the books")  # fmt: skip
        report.note(
            "D4", "states of an entity applied out of order", self._disorder(), f"{len(referee.applications)} applications"
        )
        report.note("audit", "chain broken or attempts without an end", (broken is not None) + unended,
                    f"{audited} records, {attempts} attempts")  # fmt: skip
        server_errors = sum(n for status, n in self.load.answers.items() if status == 500)
        report.note("edge", "answers 500", server_errors, f"{dict(sorted(self.load.answers.items()))} (0: no answer)")

    def _disorder(self) -> int:
        """First application of each state per entity and connection goes forward in its own time."""
        seen: dict[tuple[str, str], str] = {}
        applied: set[tuple[str, str, str]] = set()
        bad = 0
        for kind, entity, at, _, _ in self.referee.applications:
            if (kind, entity, at) in applied:
                continue
            applied.add((kind, entity, at))
            bad += seen.get((kind, entity), "") > at
            seen[kind, entity] = max(seen.get((kind, entity), ""), at)
        return bad

    def close(self) -> None:
        self._stop.set()
        for role in self.roles.values():
            role.stop()
        for proxy in self.proxies.values():
            proxy.close()
        self.referee.close()
        self.store.close()


def wait_ready(port: int, seconds: float = 60.0) -> None:
    """Until the HTTP edge is ready."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        assert time.monotonic() < until, "the HTTP edge does not start"
        time.sleep(0.1)


def environment_of(folder: Path, database_url: str, broker_url: str, **settings: str) -> dict[str, str]:
    """What a role of a run is started with."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    path = os.pathsep.join([str(PLUGIN), kept.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return kept | settings | {
        "HUB_DATABASE_URL": database_url, "HUB_BROKER_URL": broker_url, "HUB_VAULT_KEY": VAULT_KEY, "PYTHONPATH": path,
        "HUB_EGRESS_PRIVATE_HOSTS": "127.0.0.1", "HUB_DATA_DIR": str(folder / "data"),
    }  # fmt: skip


def configure(store: Store, url: str, targets: str, concurrency: int = 8, tenant: str = "acme", patience: float = 1.0) -> str:
    """A tenant whose products go to the fake ERP at ``url`` by each of ``targets``; an API key of it."""
    sys.path.insert(0, str(PLUGIN))
    try:
        plugins = load_plugins()
    finally:
        sys.path.remove(str(PLUGIN))
    to = ", ".join(f"{{connection: {name}}}" for name in targets.split(","))
    text = INTEGRATION.format(url=url, to=to, concurrency=concurrency, patience=patience)
    with store.begin() as uow:
        now = datetime.now(UTC)
        uow.tenants.add(tenant, tenant, now)
        apply_integration(uow, plugins, tenant, parse_integration(text, "chaos.yaml", plugins), "chaos", "", now)
        return create_key(uow, tenant, "chaos", SCOPES, now)


def plan_seed(plan: Plan) -> int:
    return plan.seed * 7919


def run(plan: Plan, say: Any = print, rate: float = 60.0) -> Report:
    """Start everything, run, judge, stop everything."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    services = running(plan.folder, small_disk=plan.disk_fulls > 0, brokers=plan.brokers, standby=plan.fail_overs > 0)
    with services as (postgres, rabbit):
        chaos = Chaos(plan, postgres, rabbit, say)
        try:
            return chaos.run(rate)
        finally:
            chaos.close()
