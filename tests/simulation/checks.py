"""Single invariants as functions that raise AssertionError; the tests run them, and the planted bugs must break them."""

import asyncio
import json
import random
import threading
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import sqlalchemy as sa

from hub.errors import MisconfiguredError
from hub.flow import recover
from hub.identity.vault import open_vault
from hub.policies import rate_limit
from hub.policies.dead_letter import backoff_seconds
from hub.runtime.egress import Egress
from hub.runtime.loop import Loop
from hub.runtime.performer import NoBoundary, Run
from hub.runtime.session import Session
from hub.sdk.connector import Connector
from hub.sdk.errors import RetryableError, TargetUnavailableError
from hub.sdk.manifest import parse_manifest
from hub.sdk.steps import Request, Response
from hub.sdk.webhook import SignatureScheme, sign, verify
from hub.settings import Settings
from hub.store import GroupCommit, Store, new_id
from hub.store.ledger import FRESH_BUDGET
from hub.store.tables import audit
from hub.telemetry import Telemetry
from simulation.flows import FLOWS
from simulation.invariants import check
from simulation.test_crash_points import sweep
from simulation.world import START, TENANT, SimHub, World, crashing


def swept(*names: str) -> None:
    """Every single crash point of these flows."""
    for name in names:
        sweep(FLOWS[name], pairs=False)


def a_paused_worker_sends_nothing() -> None:
    """C3: a worker is stopped between its look-up and its write; another takes over; the first goes on."""
    world, others = World("finder"), []
    crashing(world, 0, lambda hub: hub.publish("P", 1))

    def take_over() -> None:
        other = world.incarnation()
        recover.recover(other.ctx)
        other.run()
        other.end()
        others.append(len(world.target.documents))

    def paused() -> None:
        world.now += timedelta(seconds=60)
        thread = threading.Thread(target=take_over)  # the first one's loop is running on this thread
        thread.start()
        thread.join()

    world.target.on_read = paused
    crashing(world, 0, SimHub.run)
    assert others == [1], "the other worker did not take over"
    check(world)


def a_claim_that_was_taken_back_sends_nothing() -> None:
    """A look-up takes some seconds, well within the lease, and somebody takes the claim back: the store says so before the write."""
    world = World("finder")
    crashing(world, 0, lambda hub: hub.publish("P", 1))

    def run(hub: SimHub) -> None:
        def taken_back() -> None:
            world.target.on_read = None
            world.now += timedelta(seconds=3)
            with hub.ctx.store.begin() as uow:
                (row,) = uow.deliveries.page(TENANT, None, 10)
                again = {"state": "pending", "published_at": None, "lease_owner": None, "fence": row["fence"] + 1}
                assert uow.deliveries.change_state(TENANT, row["id"], ["sending"], again)

        world.target.on_read = taken_back
        hub.run()
        lost = [row for row in hub.rows("attempt") if row["outcome"] == "lost"]
        assert [row["effects"] for row in lost] == [0], f"it sent all the same: {lost}"

    crashing(world, 0, run)
    check(world)


def what_comes_later_waits_for_its_sibling() -> None:
    """Of two deliveries about one entity one may go, whoever asks: the relay, or a worker that was told of both."""
    world = World("native")
    hub = world.incarnation()
    for version in (1, 2):
        hub.publish("P", version)
    with hub.ctx.store.begin() as uow:
        rows = uow.deliveries.page(TENANT, None, 10)[::-1]
        taken = uow.deliveries.take_due(TENANT, rows[0]["connection_id"], "live", world.now, 10)
        assert [row["id"] for row in taken] == [rows[0]["id"]], "the relay published the second, too"
        until = world.now + timedelta(seconds=60)
        claimed = uow.deliveries.claim(TENANT, [row["id"] for row in rows], "one", world.now, until)
        assert [row["id"] for row in claimed] == [rows[0]["id"]], "the second was claimed, too"
    hub.end()


def a_worker_that_was_overtaken_does_not_settle() -> None:
    """The fence: what a late worker says about a delivery that another one has is not recorded."""
    world = World("native")
    hub = world.incarnation()
    hub.publish("P", 1)
    with hub.ctx.store.begin() as uow:
        (row,) = uow.deliveries.page(TENANT, None, 10)
        (first,) = uow.deliveries.claim(TENANT, [row["id"]], "one", world.now, world.now + timedelta(seconds=1))
        uow.deliveries.change_state(TENANT, row["id"], ["claimed"], {"state": "pending"})
        (second,) = uow.deliveries.claim(TENANT, [row["id"]], "two", world.now, world.now + timedelta(seconds=60))
        assert not uow.deliveries.settle([(first, {"state": "applied"})]), "an overtaken worker settled"
        assert not uow.deliveries.intend([first], world.now, world.now), "an overtaken worker may send"
        assert uow.deliveries.settle([(second, {"state": "applied"})])
    hub.end()


def tries_end() -> None:
    """A target that fails for ever costs ``max_attempts`` tries and one dead letter."""
    world = World("native", max_attempts=4)
    world.target.unwell = RetryableError("500 and counting")
    crashing(world, 0, lambda hub: (hub.publish("P", 1), hub.run()))
    hub = world.incarnation()
    (row,) = hub.rows("delivery")
    hub.end()
    # Each try left an effect whose outcome no look-up told, so the dead letter says that it is unknown.
    assert (row["state"], row["cause_code"]) == ("dead", "outcome_unknown"), row
    assert row["failures"] == 4, row


def an_outage_kills_nothing_and_is_probed_rarely() -> None:
    """R5: an hour without an answer; at most one try per 30 s after the first few; all is applied half a minute after it ends."""
    world = World("native")
    world.target.unwell = TargetUnavailableError("connection refused")

    def hour(hub: SimHub) -> None:
        for n in range(20):
            hub.publish(f"P{n}", 1)
        ends = world.now + timedelta(hours=1)
        while world.now < ends:
            hub.step()
            recover.recover(hub.ctx)
            world.now += timedelta(seconds=5)
        assert world.target.requests <= 2 * 8 + 3600 / 30 + 2, f"{world.target.requests} requests in an hour"
        world.target.unwell = None
        back = world.now
        hub.run()
        assert (world.now - back).total_seconds() <= 60, "it took too long to notice that the target is back"

    crashing(world, 0, hour)
    check(world)


def poison_costs_one_entry_each_and_delays_nobody() -> None:
    """D7: one document in ten is refused; the others are applied, as if it were not there."""
    world = World("native")

    def day(hub: SimHub) -> None:
        for n in range(30):
            world.target.faults = ["reject"] if n % 10 == 3 else []
            hub.publish(f"P{n}", 1)
            before = world.now
            hub.step()
            hub.step()
            assert (world.now - before).total_seconds() <= 1.0
        hub.run()

    crashing(world, 0, day)
    check(world, expected_dead=3)


def a_refused_publish_is_due_at_once() -> None:
    """D8: what the broker had no queue for is published again by the next sweep, not after a minute."""
    world = World("native")
    hub = world.incarnation()
    hub.publish("P", 1)
    taken = hub.ctx.broker.publish
    hub.ctx.broker.publish = lambda exchange, messages: list(range(len(messages)))  # type: ignore[method-assign]
    hub.relay.sweep()
    hub.ctx.broker.publish = taken  # type: ignore[method-assign]
    assert hub.relay.sweep() == 1, "a refused publish counts as published"
    hub.end()


def what_was_published_and_lost_comes_again() -> None:
    """The broker loses everything; the store has it."""
    world = World("native")

    def act(hub: SimHub) -> None:
        hub.publish("P", 1)
        hub.relay.sweep()
        world.messages.clear()
        world.now += timedelta(seconds=61)
        hub.run()

    crashing(world, 0, act)
    check(world)


def tenants_are_apart() -> None:
    """One tenant's rows are nobody else's."""
    world = World("native")
    hub = world.incarnation()
    hub.publish("P", 1)
    (row,) = hub.rows("delivery")
    with hub.ctx.store.begin() as uow:
        other = uow.deliveries.page("other", None, 10)
        mine = uow.deliveries.page(TENANT, None, 10)
        assert (other, len(mine)) == ([], 1), "another tenant sees it"
        assert uow.deliveries.get("other", mine[0]["id"]) is None, "another tenant reads it"
        assert uow.deliveries.claim("other", [mine[0]["id"]], "w", world.now, world.now) == [], "another tenant claims it"
        assert not uow.deliveries.change_state("other", mine[0]["id"], ["pending"], {"state": "dead"}), "another tenant ends it"
    assert row["state"] == "pending"
    hub.end()


def answers_follow_the_commit() -> None:
    """D1: whoever waits for a group commit hears of it when it is committed, or that it failed."""

    class Failing(Store):
        def __init__(self) -> None:
            super().__init__("sqlite://")
            sa.event.listen(self.engine, "commit", self._fail)

        def _fail(self, _connection: Any) -> None:
            raise OSError("disk full")

    store = Failing()
    group = GroupCommit(store)
    future = group.submit(lambda uow: "stored")
    failed = future.exception(10)
    group.close()
    store.close()
    assert failed is not None, "it was answered before it was committed"


def retries_are_spread() -> None:
    """R4: a hundred retries of one moment do not come back in one moment."""
    source = random.Random(2)
    waits = [backoff_seconds(Settings(), 5, source) for _ in range(100)]
    assert len({round(wait, 1) for wait in waits}) > 50, "they come back together"


def limits_are_kept() -> None:
    """R1: the exact referee of the unit tests."""
    from unit.test_rate_limit import DEFAULTS, PROFILES, simulate

    referee = simulate({**DEFAULTS, **PROFILES["xero"]}, 1200.0, 1)
    assert referee.violations == []
    row = {"tenant_id": "a", "connection_id": "c", **FRESH_BUDGET}
    limits = {**DEFAULTS, **PROFILES["lexoffice"]}
    waits = [rate_limit.reserve(row, limits, 1000.0, 0, 100.0) for _ in range(10)]
    assert waits[-1] > 4.0, "a slot was given twice"


def forgetting_sooner_than_retrying_is_refused() -> None:
    """D6."""
    try:
        Settings(dedupe_days=1, retry_horizon_days=7)
    except MisconfiguredError:
        return
    raise AssertionError("a hub that forgets before it stops retrying was allowed to start")


_SCHEME = SignatureScheme(
    header="x-signature", algorithm="sha256", encoding="hex", over=("timestamp", "body"), timestamp_header="x-time",
    tolerance_seconds=300,
)  # fmt: skip


def signatures_are_over_the_bytes_as_they_came() -> None:
    """S2."""
    for body in (b'{"b": 1,  "a": 2.50}', b'{"a":"\\u00e9"}', b"not json"):
        headers = {"x-signature": sign(_SCHEME, "s", body, "", "1000"), "x-time": "1000"}
        assert verify(_SCHEME, ["s"], body, headers, "", 1000.0) is None, "a good signature was refused"
        assert verify(_SCHEME, ["s"], body + b" ", headers, "", 1000.0) is not None, "other bytes were accepted"


def old_signatures_are_refused() -> None:
    """S2: ±300 s."""
    headers = {"x-signature": sign(_SCHEME, "s", b"{}", "", "1000"), "x-time": "1000"}
    assert verify(_SCHEME, ["s"], b"{}", headers, "", 1299.0) is None
    assert verify(_SCHEME, ["s"], b"{}", headers, "", 1301.0) is not None, "a replay was accepted"


def amounts_keep_every_digit() -> None:
    """A2."""
    body = Response(200, {}, b'{"amount": 1234567890123456.78}').json()
    assert body["amount"] == Decimal("1234567890123456.78"), body
    assert json.loads(Request("POST", "/", json=body).body() or b"")["amount"] == "1234567890123456.78"


def the_audit_chain_shows_swapped_records() -> None:
    """S14."""
    world = World("native")
    hub = world.incarnation()
    for n in range(4):
        hub.publish(f"P{n}", 1)
    with hub.ctx.store.begin() as uow:
        connection = uow._connection
        first, second = (
            dict(connection.execute(sa.select(audit).where(audit.c.sequence == n)).mappings().one()) for n in (4, 5)
        )
        for sequence, row in ((4, second), (5, first)):
            content = {name: row[name] for name in ("at", "actor", "action", "subject", "detail", "digest")}
            connection.execute(sa.update(audit).where(audit.c.sequence == sequence).values(content))
    with hub.ctx.store.read() as uow:
        assert uow.audit.verify(TENANT) is not None, "two records were swapped and nobody noticed"
    hub.end()


def secrets_are_sealed_for_their_place() -> None:
    """S3: a sealed credential cannot be opened as another connection's."""
    from hub.identity.vault import load_credentials, save_credentials

    world = World("native")
    hub = world.incarnation()
    vault = open_vault(world.settings)
    with hub.ctx.store.begin() as uow:
        save_credentials(uow, vault, TENANT, "till", {"secret": "mine"}, START)
        (row,) = uow.connections.credentials(TENANT, "till")
        uow.connections.put_credential({**row, "connection_id": "erp"})
        try:
            opened = load_credentials(uow, vault, TENANT, "erp")
        except Exception:
            opened = {}
    hub.end()
    assert "mine" not in opened.values(), "another connection's secret could be opened"


LOGIN = """
connector: login
name: Login
version: 1.0.0
kind: erp
summary: Sessions.
canonical: 1
self_hosted: true
auth: {login: {request: {method: POST, path: /login, json: {}}, header: Authorization, value: "= body.token"}}
"""


class _Web:
    """A little HTTP server: /login, /slow, /away (redirects to another server)."""

    def __init__(self, elsewhere: str = "") -> None:
        self.logins, self.hits, self.lock = 0, 0, threading.Lock()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with web.lock:
                    web.hits += 1
                away = self.path == "/away"
                self.send_response(302 if away else 200)
                if away:
                    self.send_header("location", f"{elsewhere}/target")
                self.end_headers()
                self.wfile.write(b"{}")

            def do_POST(self) -> None:
                with web.lock:
                    web.logins += 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"token": "t"}')

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _perform(url: str, paths: list[str]) -> list[Any]:
    connector = type("Login", (Connector,), {"manifest": parse_manifest(LOGIN, "login.yaml")})({})
    loop = Loop(Egress("127.0.0.1"), Telemetry(sample_ratio=0.0))
    session = Session("a", "c", connector, url, {}, {**connector.manifest.limits})

    def steps(path: str) -> Any:
        response = yield Request("GET", path, expect=(302,))
        return response.status

    async def all_() -> list[Any]:
        work = (loop.performer.perform(steps(path), session, NoBoundary(), Run()) for path in paths)
        return list(await asyncio.gather(*work))

    try:
        return list(loop.submit(all_()).result(20))
    finally:
        loop.close()


def redirects_are_not_followed() -> None:
    """S1."""
    elsewhere = _Web()
    web = _Web(elsewhere.url)
    statuses = _perform(web.url, ["/away"])
    web.close()
    elsewhere.close()
    assert (statuses, elsewhere.hits) == ([302], 0), "a redirect led to another host"


def many_callers_log_in_once() -> None:
    """S6: one log-in for all who need the session at once."""
    web = _Web()
    _perform(web.url, ["/slow"] * 20)
    web.close()
    assert web.logins == 1, f"{web.logins} log-ins"


def nothing_committed_is_skipped_by_the_sweep() -> None:
    """D14: a row whose id is older than one already published is published all the same."""
    world = World("native")
    hub = world.incarnation()
    hub.publish("P1", 1)
    with hub.ctx.store.begin() as uow:
        early = new_id()
        message = uow.messages.get(TENANT, hub.world.acknowledged["P1@1"])
        (row,) = uow.deliveries.page(TENANT, None, 10)
    hub.publish("P2", 1)
    assert hub.relay.sweep() == 2
    with hub.ctx.store.begin() as uow:
        assert message is not None
        late = {**message, "id": early, "source_id": "P0@1", "subject": "product/P0"}
        uow.messages.add([late])
        uow.deliveries.add([{**row, "corrected": None, "id": early, "message_id": early, "subject": "product/P0"}])
    assert hub.relay.sweep() == 1, "a row that was committed late is never published"
    hub.end()
