"""The store's behaviour, the same on SQLite and PostgreSQL."""

import random
import re
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from hub.broker import LANES
from hub.store import GroupCommit, Store, StoreUnavailableError, UnitOfWork, new_id
from hub.store.prepared import Prepared
from hub.store.tables import audit, metadata

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)


def _delivery(tenant: str = "a", subject: str = "sale/1", **values: Any) -> dict[str, Any]:
    return {
        "tenant_id": tenant, "id": new_id(), "message_id": new_id(), "connection_id": "erp", "flow": "f", "revision": 1,
        "connector": "tryton", "type": "sale.completed.v1", "lane": "live", "subject": subject, "key": "K", "state": "pending",
        "available_at": NOW, "published_at": None, "lease_until": None, "lease_owner": None, "fence": 0, "attempts": 0,
        "failures": 0, "event_at": NOW, "probe": False, "cause_code": "", "cause": "", "remedy": "", "external_id": None, "created_at": NOW,
        "settled_at": None, "corrected": None, "waits_for": None, "merged": None, **values,
    }  # fmt: skip


def _add(uow: UnitOfWork, *deliveries: dict[str, Any]) -> None:
    """Deliveries with the messages they belong to."""
    for row in deliveries:
        uow.messages.add([{
            "tenant_id": row["tenant_id"], "id": row["message_id"], "type": row["type"], "source": "t", "source_id": row["id"],
            "subject": row["subject"], "digest": "", "fingerprint": None, "event_at": NOW, "business_date": None,
            "correlation_id": "c", "causation_id": None, "traceparent": "", "raw_id": None, "connection_id": None, "body": b"{}",
            "state": "routed", "suspect_of": None, "received_at": NOW,
        }])  # fmt: skip
    uow.deliveries.add(deliveries)


def _raw(event: str = "e1", **values: Any) -> dict[str, Any]:
    return {
        "tenant_id": "a", "id": new_id(), "connection_id": "pos", "kind": "webhook", "object": "", "source_event_id": event,
        "event_type": "t", "headers": {}, "body": b"{}", "state": "received", "cause_code": "", "cause": "", "remedy": "",
        "ignored": [], "attempts": 0, "available_at": NOW, "lease_until": None, "lease_owner": None, "traceparent": "",
        "received_at": NOW, "settled_at": None, "repeats": 0, "lane": "live", "run_id": None, **values,
    }  # fmt: skip


def test_the_migrations_make_exactly_the_declared_tables(store: Store) -> None:
    with store.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)

    assert differences == []
    assert store.schema_state()[0] == store.schema_state()[1]


def test_tenant_leads_every_key_and_index() -> None:
    for table in metadata.sorted_tables:
        keys = [*table.indexes, *[c for c in table.constraints if isinstance(c, sa.UniqueConstraint | sa.PrimaryKeyConstraint)]]
        for key in keys:
            assert next(iter(key.columns)).name == "tenant_id", f"{table.name}: {key.name}"


def test_a_delivery_of_no_message_cannot_be_stored(store: Store) -> None:
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)), store.begin() as uow:
        uow.deliveries.add([_delivery()])


def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.begin() as uow:
        uow.tenants.add("a", "A", NOW)
        raise RuntimeError

    with store.read() as uow:
        assert uow.tenants.ids() == []


def test_times_come_back_aware_and_equal(store: Store) -> None:
    with store.begin() as uow:
        uow.tenants.add("a", "A", NOW)
    with store.read() as uow:
        row = uow.tenants.get("a")

    assert row is not None
    assert row["created_at"] == NOW
    assert row["created_at"].tzinfo is not None


def test_the_same_source_event_is_stored_once_and_counted(store: Store) -> None:
    with store.begin() as uow:
        first = uow.raws.add(_raw())
        again = uow.raws.add(_raw())
        other = uow.raws.add(_raw("e2"))
        row = uow.raws.get("a", first[0])

    assert (first[1], again, other[1]) == (True, (first[0], False), True)
    assert row is not None
    assert row["repeats"] == 1


def test_a_claimed_raw_input_is_not_claimed_twice_until_its_lease_ends(store: Store) -> None:
    with store.begin() as uow:
        uow.raws.add(_raw())
        mine = uow.raws.claim_due("a", "one", NOW, LATER, 10, 10, LANES)
        theirs = uow.raws.claim_due("a", "two", NOW, LATER, 10, 10, LANES)
        after = uow.raws.claim_due("a", "two", LATER + timedelta(seconds=1), LATER + timedelta(seconds=9), 10, 10, LANES)
        settled_by_the_first = uow.raws.settle("a", mine[0]["id"], "one", {"state": "translated"})

    assert (len(mine), len(theirs), len(after), settled_by_the_first) == (1, 0, 1, False)


def test_a_later_sibling_waits_and_no_other(store: Store) -> None:
    first, second, other = _delivery(), _delivery(), _delivery(subject="sale/2")
    with store.begin() as uow:
        _add(uow, first, second, other)
        due = {row["id"] for row in uow.deliveries.take_due("a", "erp", "live", NOW, 10)}
        again = uow.deliveries.take_due("a", "erp", "live", NOW, 10)
        claimed = uow.deliveries.claim("a", [first["id"], second["id"], other["id"]], "w", NOW, LATER)

    assert (due, again) == ({first["id"], other["id"]}, [])
    assert {row["id"] for row in claimed} == {first["id"], other["id"]}


@pytest.mark.parametrize("state", ["pending", "held", "claimed", "sending", "ambiguous", "dead"])
def test_an_open_sibling_holds_back_and_a_settled_one_lets_go(store: Store, state: str) -> None:
    first, second = _delivery(state=state), _delivery()
    with store.begin() as uow:
        _add(uow, first, second)
        blocked = uow.deliveries.claim("a", [second["id"]], "w", NOW, LATER)
        uow.deliveries.change_state("a", first["id"], [state], {"state": "discarded"})
        free = uow.deliveries.claim("a", [second["id"]], "w", NOW, LATER)

    assert (len(blocked), len(free)) == (0, 1)


def test_nothing_of_a_paused_connection_is_due(store: Store) -> None:
    row = {
        "tenant_id": "a", "connection_id": "erp", "connector": "tryton", "environment": "", "base_url": "", "settings": {},
        "state": "paused", "state_reason": "401", "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    delivery = _delivery()
    with store.begin() as uow:
        uow.connections.put(row)
        _add(uow, delivery)
        paused = [*uow.deliveries.due_connections(NOW), *uow.deliveries.take_due("a", "erp", "live", NOW, 10)]
        uow.connections.set_state("a", "erp", "active", "", NOW)
        assert [row["connection_id"] for row in uow.deliveries.due_connections(NOW)] == ["erp"]
        active = uow.deliveries.take_due("a", "erp", "live", NOW, 10)

    assert (len(paused), len(active)) == (0, 1)


def test_a_worker_whose_lease_ran_out_may_not_send(store: Store) -> None:
    delivery = _delivery()
    with store.begin() as uow:
        _add(uow, delivery)
        (mine,) = uow.deliveries.claim("a", [delivery["id"]], "one", NOW, LATER)
        in_time = uow.deliveries.intend([mine], NOW, LATER)
        too_late = uow.deliveries.intend([mine], LATER + timedelta(seconds=1), LATER + timedelta(seconds=9))
        renewed_too_late = uow.deliveries.renew([mine], LATER + timedelta(seconds=1), LATER + timedelta(seconds=9))

    assert (in_time, too_late, renewed_too_late) == ({("a", delivery["id"])}, set(), set())


def test_a_worker_that_was_overtaken_may_neither_send_nor_settle(store: Store) -> None:
    delivery = _delivery()
    with store.begin() as uow:
        _add(uow, delivery)
        (mine,) = uow.deliveries.claim("a", [delivery["id"]], "one", NOW, LATER)
        uow.deliveries.change_state("a", delivery["id"], ["claimed"], {"state": "pending"})
        (theirs,) = uow.deliveries.claim("a", [delivery["id"]], "two", NOW, LATER)
        sent = uow.deliveries.intend([mine], NOW, LATER)
        settled = uow.deliveries.settle([(mine, {"state": "applied"})])
        theirs_settled = uow.deliveries.settle([(theirs, {"state": "applied"})])

    assert (sent, settled, theirs_settled) == (set(), set(), {("a", delivery["id"])})


def test_claims_of_many_are_settled_together_and_each_by_its_own_fence(store: Store) -> None:
    """One statement for all: what each says of itself is kept apart, and who waits behind an ended one may go."""
    rows = [_delivery(subject=f"sale/{n}") for n in range(5)]
    following = [_delivery(subject=f"sale/{n}") for n in (0, 1, 1)]
    with store.begin() as uow:
        _add(uow, *rows, *following)
        mine = uow.deliveries.claim("a", [row["id"] for row in rows], "one", NOW, LATER)
        lost = {**mine[4], "fence": mine[4]["fence"] - 1}
        settled = uow.deliveries.settle([
            (mine[0], {"state": "applied", "external_id": "X-1", "settled_at": NOW, "attempts": 1}),
            (mine[1], {"state": "pending", "cause": 'said "no"\n', "cause_code": "busy", "available_at": LATER}),
            (mine[2], {"state": "ambiguous", "probe": True, "available_at": LATER}),
            (lost, {"state": "applied"}),
        ])  # fmt: skip
        after = [uow.deliveries.get("a", row["id"]) for row in rows]
        waiting = [uow.deliveries.get("a", row["id"]) for row in following]

    assert settled == {("a", row["id"]) for row in rows[:3]}
    found = [(row["state"], row["cause"], row["external_id"], row["probe"], row["available_at"]) for row in after if row]
    assert found == [
        ("applied", "", "X-1", False, NOW), ("pending", 'said "no"\n', None, False, LATER), ("ambiguous", "", None, True, LATER),
        ("claimed", "", None, False, NOW), ("claimed", "", None, False, NOW),
    ]  # fmt: skip
    assert [row["behind"] for row in waiting if row] == [False, True, True]


def test_what_comes_behind_a_sibling_in_the_same_transaction_is_marked_so(store: Store) -> None:
    first, second, other = _delivery(), _delivery(), _delivery(subject="sale/2")
    with store.begin() as uow:
        _add(uow, first, second, other)
        marks = [row["behind"] for row in (uow.deliveries.get("a", item["id"]) for item in (first, second, other)) if row]

    assert marks == [False, True, False]


def test_a_newer_applied_state_of_the_same_entity_and_type_is_found(store: Store) -> None:
    def at(seconds: int, **more: Any) -> dict[str, Any]:
        return _delivery(event_at=NOW + timedelta(seconds=seconds), type="product.v1", **more)

    rows = [at(1), at(9), at(1, subject="sale/2"), at(1, subject="sale/3")]
    with store.begin() as uow:
        _add(uow, at(5, state="applied"), at(7, state="applied"), at(8, state="dead", subject="sale/2"),
             _delivery(event_at=LATER, type="price.v1", subject="sale/3", state="applied"), *rows)  # fmt: skip
        assert uow.deliveries.newest_applied(rows) == {rows[0]["id"]: NOW + timedelta(seconds=7)}


def test_two_workers_never_claim_the_same_delivery(store: Store) -> None:
    rows = [_delivery(subject=f"sale/{n}") for n in range(40)]
    with store.begin() as uow:
        _add(uow, *rows)
    claimed: list[str] = []

    def work(owner: str) -> None:
        for row in rows:
            with store.begin() as uow:
                claimed.extend(found["id"] for found in uow.deliveries.claim("a", [row["id"]], owner, NOW, LATER))

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == sorted(row["id"] for row in rows)


def test_the_audit_chain_is_whole_under_concurrent_writers_and_shows_tampering(store: Store) -> None:
    def write(n: int) -> None:
        for _ in range(10):
            with store.begin() as uow:
                uow.audit.append("a", NOW, f"w{n}", "delivery.applied", "delivery/x", {"n": n})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with store.read() as uow:
        assert uow.audit.verify("a") is None
    with store.begin() as uow:
        uow._connection.execute(sa.update(audit).where(audit.c.sequence == 17).values(actor="somebody else"))
    with store.read() as uow:
        assert uow.audit.verify("a") == 17


def test_a_cut_audit_tail_is_noticed(store: Store) -> None:
    with store.begin() as uow:
        for _ in range(3):
            uow.audit.append("a", NOW, "w", "delivery.applied", "x", {})
        uow.flush()
        uow._connection.execute(sa.delete(audit).where(audit.c.sequence == 3))
        assert uow.audit.verify("a") == 3


def test_pages_go_through_everything_once(store: Store) -> None:
    rows = [_delivery(subject=f"s/{n}") for n in range(25)]
    with store.begin() as uow:
        _add(uow, *rows)
    seen, after = [], None
    with store.read() as uow:
        while True:
            page = uow.deliveries.page("a", after, 10)
            seen += [row["id"] for row in page[:10]]
            if len(page) <= 10:
                break
            after = page[9]["id"]

    assert seen == sorted((row["id"] for row in rows), reverse=True)


def test_one_tenant_never_sees_another(store: Store) -> None:
    mine, theirs = _delivery("a"), _delivery("b")
    with store.begin() as uow:
        _add(uow, mine, theirs)
        assert [row["id"] for row in uow.deliveries.page("a", None, 10)] == [mine["id"]]
        assert uow.deliveries.get("a", theirs["id"]) is None
        assert uow.deliveries.claim("a", [theirs["id"]], "w", NOW, LATER) == []
        assert uow.deliveries.change_state("a", theirs["id"], ["pending"], {"state": "discarded"}) is False


def test_what_was_published_and_never_claimed_is_due_again(store: Store) -> None:
    delivery = _delivery()
    with store.begin() as uow:
        _add(uow, delivery)
        uow.deliveries.take_due("a", "erp", "live", NOW, 10)
        assert uow.deliveries.under_way("a", "erp", NOW) == {"live": 1, "due": 0}
        assert uow.deliveries.forget_published(NOW) == 0
        assert uow.deliveries.forget_published(LATER) == 1
        assert uow.deliveries.under_way("a", "erp", NOW) == {"due": 0}
        assert len(uow.deliveries.take_due("a", "erp", "live", NOW, 10)) == 1


def test_what_has_begun_ends_before_something_older_that_was_committed_later_begins(store: Store) -> None:
    older, newer = _delivery(), _delivery()
    with store.begin() as uow:
        _add(uow, newer)
        (mine,) = uow.deliveries.claim("a", [newer["id"]], "w", NOW, LATER)
        _add(uow, older)
        assert uow.deliveries.claim("a", [older["id"]], "w", NOW, LATER) == []
        uow.deliveries.settle([(mine, {"state": "ambiguous", "available_at": NOW, "probe": True})])
        assert uow.deliveries.claim("a", [older["id"]], "w", NOW, LATER) == []
        (mine,) = uow.deliveries.claim("a", [newer["id"]], "w", NOW, LATER)
        uow.deliveries.settle([(mine, {"state": "applied"})])
        assert len(uow.deliveries.claim("a", [older["id"]], "w", NOW, LATER)) == 1


def test_what_waits_behind_a_late_sibling_is_marked_and_what_stands_after_it_goes(store: Store) -> None:
    """Rows that may not go must not fill the window of those that may, however many they are."""
    older = [_delivery(subject=f"sale/{n}") for n in range(60)]
    younger = [_delivery(subject=f"sale/{n}", available_at=NOW - timedelta(hours=1)) for n in range(60)]
    other = _delivery(subject="sale/other")
    with store.begin() as uow:  # committed before their older siblings: nothing marks them as behind
        _add(uow, *younger)
    with store.begin() as uow:
        _add(uow, *[{**row, "available_at": LATER} for row in older], other)

    with store.begin() as uow:
        taken = uow.deliveries.take_due("a", "erp", "live", NOW, 2)
    assert [row["id"] for row in taken] == [other["id"]]

    with store.begin() as uow:
        uow.deliveries.promote_all()
        first = uow.deliveries.take_due("a", "erp", "live", LATER, 100)
    assert {row["id"] for row in first} == {row["id"] for row in older}


@pytest.mark.parametrize("surprised", [False, True])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_looking_for_what_is_due_reads_the_next_and_not_the_backlog(
    store: Store, monkeypatch: pytest.MonkeyPatch, surprised: bool
) -> None:
    """Whatever the statistics say: with a backlog the planner once read and sorted all of it, for each look."""
    many = "FROM generate_series(1, 20000) n"
    with store.engine.begin() as connection:
        connection.execute(sa.text(
            "INSERT INTO message (tenant_id, id, type, source, source_id, subject, digest, event_at, correlation_id, traceparent,"
            " body, state, received_at) SELECT 'a', md5('m' || n)::uuid, 'product.v1', 't', 's' || n, 'p/' || n, '', now(), 'c',"
            f" '', '{{}}', 'routed', now() {many}"
        ))  # fmt: skip
        connection.execute(sa.text(
            "INSERT INTO delivery (tenant_id, id, message_id, connection_id, flow, revision, connector, type, lane, subject, key,"
            " state, available_at, fence, attempts, failures, event_at, probe, cause_code, cause, remedy, created_at, behind) "
            "SELECT 'a', md5('d' || n)::uuid, md5('m' || n)::uuid, 'erp', 'f', 1, 'x', 'product.v1', 'live', 'p/' || n, 'k',"
            " CASE WHEN n <= 18000 THEN 'applied' ELSE 'dead' END, now(), 0, 0, 0, now(), false, '', '', '', now(), false "
            + many
        ))  # fmt: skip
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
        connection.execute(sa.text("UPDATE delivery SET state = 'pending' WHERE state = 'dead'"))
        if not surprised:  # else the planner has not heard of the backlog yet
            connection.execute(sa.text("ANALYZE"))
    asked: list[tuple[str, Any]] = []
    later = Prepared.later

    def noted(prepared: Prepared, connection: sa.Connection, values: Any) -> Any:
        asked.append((prepared.text, {**prepared.literals, **values}))
        return later(prepared, connection, values)

    monkeypatch.setattr(Prepared, "later", noted)
    with store.begin() as uow:
        assert len(uow.deliveries.take_due("a", "erp", "live", datetime.now(UTC), 16)) == 16
    (text, parameters) = next(item for item in asked if "looked_at" in item[0])
    with store.engine.connect() as connection:
        plan = connection.exec_driver_sql("EXPLAIN (ANALYZE, TIMING OFF) " + text, parameters).scalars().all()

    read = [int(found[1]) * int(found[2]) for line in plan if (found := re.search(r"actual rows=(\d+) loops=(\d+)", line))]
    assert read, plan
    assert max(read) < 500, "\n".join(plan)


def test_the_sweep_by_state_skips_nothing_that_concurrent_writers_commit(store: Store) -> None:
    """D14: ids are made before their transactions commit, in whatever order those end."""
    writers, each, chance = 8, 40, random.Random(5)
    pauses = [[chance.uniform(0, 0.004) for _ in range(each)] for _ in range(writers)]
    taken: list[str] = []
    done = threading.Event()

    def write(n: int) -> None:
        for k in range(each):
            with store.begin() as uow:
                _add(uow, _delivery(subject=f"s/{n}/{k}"))
                time.sleep(pauses[n][k])

    def sweep() -> None:
        while True:
            last = done.is_set()
            with store.begin() as uow:
                found = uow.deliveries.take_due("a", "erp", "live", LATER, 50)
            taken.extend(row["id"] for row in found)
            if last and not found:
                return

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads + sweepers:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    for thread in sweepers:
        thread.join()

    assert len(taken) == len(set(taken)) == writers * each


def test_work_that_arrives_together_shares_commits_and_each_gets_its_own_answer(store: Store) -> None:
    commits: list[int] = []
    sa.event.listen(store.engine, "commit", lambda _: commits.append(1))
    group = GroupCommit(store)
    with store.begin() as uow:
        uow.tenants.add("a", "A", NOW)
    commits.clear()

    def work(n: int) -> Any:
        def run(uow: UnitOfWork) -> int:
            uow.audit.append("a", NOW, "w", "delivery.applied", f"delivery/{n}", {})
            if n == 13:
                raise ZeroDivisionError
            return n

        return run

    futures = [group.submit(work(n)) for n in range(60)]
    with pytest.raises(ZeroDivisionError):
        futures[13].result(30)
    answers = [future.result(30) for n, future in enumerate(futures) if n != 13]
    shared = [group.submit(work(n)) for n in range(100, 200)]
    before = len(commits)
    assert [future.result(30) for future in shared] == list(range(100, 200))
    assert len(commits) - before < 50, "they were committed one by one"
    group.close()

    assert answers == [n for n in range(60) if n != 13]
    with store.read() as uow:
        assert uow.audit.verify("a") is None
        subjects = [row["subject"] for row in uow.audit.page("a", None, 500)]
    assert len(subjects) == len(set(subjects)) == 159, "one failed and is not there, the others are there once"


def test_one_process_leads_until_it_leaves_or_loses_its_database(postgres_url: str) -> None:
    one, two = Store(postgres_url), Store(postgres_url)
    first, second = one.leadership("seat"), two.leadership("seat")
    assert (first.held(), second.held(), first.held()) == (True, False, True)
    with two.begin() as uow:
        mine = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        uow._connection.execute(sa.text(mine))
    until = time.monotonic() + 5.0  # the server ends a session a moment after it was told to
    while not second.held():
        assert time.monotonic() < until
    assert not first.held()
    second.release()
    assert first.held()
    first.release()
    one.close()
    two.close()


def test_a_database_that_is_away_is_unavailable_not_an_error_of_the_caller() -> None:
    store = Store("postgresql+psycopg://nobody@127.0.0.1:9/none")
    with pytest.raises(StoreUnavailableError) as caught, store.begin():
        pass
    assert (caught.value.code, caught.value.problem.status) == ("unavailable", 503)
    store.close()


def test_an_idempotency_key_is_taken_once(store: Store) -> None:
    taken = []

    def take() -> None:
        with store.begin() as uow:
            taken.append(uow.idempotency.open("a", "publish", "k", "f", NOW) is None)

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert taken.count(True) == 1


def test_a_key_whose_request_died_unanswered_may_run_again_later(store: Store) -> None:
    with store.begin() as uow:
        assert uow.idempotency.open("a", "publish", "k", "f", NOW) is None
        assert uow.idempotency.open("a", "publish", "k", "f", NOW + timedelta(seconds=60)) is not None
        assert uow.idempotency.open("a", "publish", "k", "other", NOW + timedelta(seconds=300)) is not None
        assert uow.idempotency.open("a", "publish", "k", "f", NOW + timedelta(seconds=300)) is None
        uow.idempotency.close("a", "publish", "k", 202, b"{}")
        assert uow.idempotency.open("a", "publish", "k", "f", NOW + timedelta(seconds=900)) is not None


def test_a_caller_that_hangs_up_ends_no_commits_but_its_own(store: Store) -> None:
    group = GroupCommit(store)
    begun, go_on = threading.Event(), threading.Event()

    def slow(uow: UnitOfWork) -> str:
        begun.set()
        assert go_on.wait(10)
        return "slow"

    under_way = group.submit(slow)
    assert begun.wait(10)
    waiting, after = group.submit(lambda uow: "waiting"), group.submit(lambda uow: "after")
    assert waiting.cancel()
    assert not under_way.cancel(), "what is being committed cannot be taken back"
    go_on.set()

    assert (under_way.result(10), after.result(10), group.submit(lambda uow: "later").result(10)) == ("slow", "after", "later")
    group.close()
