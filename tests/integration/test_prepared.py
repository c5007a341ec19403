"""Statements that go to libpq: what they send arrives as it was, what is wrong is said as the driver says it, and plans are kept."""

import random
import threading
import time
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from hub.store import Store, StoreUnavailableError, UnitOfWork
from hub.store.prepared import Blobs, Line, Prepared, line_of
from hub.store.rows import Fixed

_ECHO = sa.select(
    sa.cast(sa.bindparam("a_text", type_=sa.Text), sa.Text).label("a_text"),
    sa.cast(sa.bindparam("number", type_=sa.BigInteger), sa.BigInteger).label("number"),
    sa.cast(sa.bindparam("flag", type_=sa.Boolean), sa.Boolean).label("flag"),
    sa.cast(sa.bindparam("at", type_=sa.DateTime(timezone=True)), sa.DateTime(timezone=True)).label("at"),
    sa.cast(sa.bindparam("blobs", type_=postgresql.ARRAY(sa.LargeBinary)), postgresql.ARRAY(sa.LargeBinary)).label("blobs"),
    sa.cast(sa.bindparam("data", type_=sa.JSON), sa.JSON).label("data"),
    sa.literal("100%").label("literal"),
)
_FAILS = Fixed(sa.select((sa.literal(1) / sa.bindparam("by", type_=sa.Integer)).label("found")))
_WRITE = Fixed(sa.text("INSERT INTO noted (what) VALUES (:what)"))
_NOTED = Fixed(sa.text("SELECT what FROM noted ORDER BY number"))
_HELD = Fixed(sa.text("SELECT count(*) AS plans FROM pg_prepared_statements"))


@pytest.fixture
def store(postgres_url: str) -> Any:
    store = Store(postgres_url)
    yield store
    store.close()


def _echo(store: Store, **given: Any) -> dict[str, Any]:
    values = {"a_text": None, "number": None, "flag": None, "at": None, "blobs": None, "data": None, **given}
    with store.engine.connect() as connection:
        (row,) = Prepared(_ECHO, connection.dialect).run(connection, values)
    return row


def _end_server(store: Store, uow: UnitOfWork) -> None:
    """The server's side of this transaction's connection goes away."""
    (mine,) = Fixed(sa.text("SELECT pg_backend_pid() AS pid")).run(uow._connection)
    with store.engine.connect() as other:
        other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": mine["pid"]})
    time.sleep(0.2)


def test_what_is_sent_arrives_as_it_was(store: Store) -> None:
    chance = random.Random(7)
    for _ in range(200):
        text = "".join(chr(chance.choice([*range(1, 127), 0xE9, 0x20AC, 0x1F600])) for _ in range(chance.randrange(40)))
        blobs = [None if chance.random() < 0.2 else chance.randbytes(chance.randrange(50)) for _ in range(chance.randrange(4))]
        given: dict[str, Any] = {
            "a_text": text, "number": chance.randrange(-(2**63), 2**63), "flag": chance.random() < 0.5,
            "at": datetime(2026, 11, 28, 12, 0, 0, chance.randrange(10**6), UTC), "data": {"é%": [text, None, 1.5]},
        }  # fmt: skip
        row = _echo(store, **given, blobs=Blobs(blobs))
        assert {name: row[name] for name in given} == given
        assert row["blobs"] == blobs
        assert row["literal"] == "100%"
    assert _echo(store)["blobs"] is None


def test_text_that_the_database_cannot_hold_is_refused_and_not_cut_off(store: Store) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        _echo(store, a_text="before\0after")


def test_what_is_prepared_outlives_a_rollback_and_a_rest(store: Store) -> None:
    """The driver's own would be forgotten after each, and every statement planned anew."""
    with pytest.raises(psycopg.errors.DivisionByZero), store.begin() as uow:
        assert _FAILS.run(uow._connection, by=1) == [{"found": 1}]
        _FAILS.run(uow._connection, by=0)
    with store.begin() as uow:
        assert _FAILS.run(uow._connection, by=1) == [{"found": 1}]
        assert _HELD.run(uow._connection)[0]["plans"] == 2
    time.sleep(1.1)
    with store.begin() as uow:
        assert _HELD.run(uow._connection)[0]["plans"] == 2


def test_a_connection_that_the_server_has_ended_is_an_unavailable_store_and_is_replaced(store: Store) -> None:
    with pytest.raises(StoreUnavailableError), store.begin() as uow:
        _end_server(store, uow)
        _FAILS.run(uow._connection, by=1)
    with store.begin() as uow:
        assert _FAILS.run(uow._connection, by=1) == [{"found": 1}]


def test_a_transaction_that_need_not_be_durable_is_one_all_the_same(store: Store) -> None:
    shown = Fixed(sa.text("SELECT current_setting('synchronous_commit') AS durable"))
    with store.begin(durable=False) as uow:
        assert shown.run(uow._connection) == [{"durable": "off"}]
    with store.begin() as uow:
        assert shown.run(uow._connection) == [{"durable": "on"}]


@pytest.fixture
def noted(store: Store) -> Any:
    with store.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS noted"))
        connection.execute(sa.text("CREATE TABLE noted (number serial PRIMARY KEY, what text UNIQUE)"))
    yield store
    with store.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE noted"))


def _what(store: Store) -> list[str]:
    with store.read() as uow:
        return [row["what"] for row in _NOTED.run(uow._connection)]


def test_what_is_asked_later_is_done_in_order_before_what_comes_after_it_and_with_the_commit(noted: Store) -> None:
    with noted.begin() as uow:
        _WRITE.later(uow._connection, what="a")
        first = _NOTED.later(uow._connection)
        _WRITE.later(uow._connection, what="b")
        assert [row["what"] for row in _NOTED.run(uow._connection)] == ["a", "b"]
        assert [row["what"] for row in first.rows()] == ["a"], "it was asked between the two"
        _WRITE.later(uow._connection, what="c")
        assert uow._connection.execute(sa.text("SELECT count(*) FROM noted")).scalar() == 3, "the driver's own see it, too"
        _WRITE.later(uow._connection, what="d")
        asked = _NOTED.later(uow._connection)
    assert [row["what"] for row in asked.rows()] == ["a", "b", "c", "d"], "told after the commit"
    assert _what(noted) == ["a", "b", "c", "d"]


def test_a_transaction_goes_in_as_few_round_trips_as_its_questions_need(noted: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    trips: list[list[bytes]] = []
    send = Line.send

    def counted(line: Line, commit: bool = False) -> None:
        if line.asked:
            trips.append([item.name for item in line.asked])
        send(line, commit)

    with noted.begin() as uow:  # every statement is known to the connection from here on
        _WRITE.run(uow._connection, what="a")
        _NOTED.run(uow._connection)
    monkeypatch.setattr(Line, "send", counted)
    with noted.begin() as uow:
        for what in "bcd":
            _WRITE.later(uow._connection, what=what)
        assert len(_NOTED.run(uow._connection)) == 4
        _WRITE.later(uow._connection, what="e")
    assert [len(trip) for trip in trips] == [4, 1], "and the BEGIN and the COMMIT with them"
    assert _what(noted) == [*"abcde"]


def test_what_fails_later_undoes_all_of_it_and_is_said_by_the_driver_s_error(noted: Store) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation), noted.begin() as uow:
        _WRITE.later(uow._connection, what="a")
        _WRITE.later(uow._connection, what="a")
        after = _NOTED.later(uow._connection)
    with noted.begin() as uow:  # the same connection, and somebody else's
        _WRITE.later(uow._connection, what="not yet")
        with pytest.raises(psycopg.Error, match="not executed"):
            after.rows()
        assert len(line_of(uow._connection).asked) == 1, "whoever asks too late sends nothing of theirs"
        line_of(uow._connection).forget()
    with pytest.raises(ZeroDivisionError), noted.begin() as uow:
        _WRITE.later(uow._connection, what="b")
        raise ZeroDivisionError
    assert _what(noted) == [], "neither what failed nor what was never sent"
    with noted.begin() as uow:
        _WRITE.later(uow._connection, what="c")
    assert _what(noted) == ["c"]


def test_more_than_fits_on_the_way_arrives(noted: Store) -> None:
    """Both sides write more than the other has read: who only wrote would wait for ever."""
    echo = Fixed(sa.select(sa.cast(sa.bindparam("a_text", type_=sa.Text), sa.Text).label("a_text")))
    texts = [str(n) * 400_000 for n in range(10)]
    with noted.begin() as uow:
        asked = [echo.later(uow._connection, a_text=text) for text in texts]
    assert [answer.rows()[0]["a_text"] for answer in asked] == texts


def test_a_server_that_goes_away_while_much_is_asked_is_an_unavailable_store(noted: Store) -> None:
    with pytest.raises(StoreUnavailableError), noted.begin() as uow:
        _end_server(noted, uow)
        for what in "abc":
            _WRITE.later(uow._connection, what=what)
    assert _what(noted) == []


def test_who_waits_for_the_server_leaves_the_interpreter_to_others(noted: Store) -> None:
    slow = Fixed(sa.text("SELECT pg_sleep(0.5) IS NULL AS slept"))
    seen: list[float] = []
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            seen.append(time.monotonic())
            time.sleep(0.001)

    with noted.begin() as uow:
        _NOTED.run(uow._connection)
        slow.later(uow._connection)
        thread = threading.Thread(target=work)
        thread.start()
        began = time.monotonic()
        slow.run(uow._connection)
        ended = time.monotonic()
        done.set()
        thread.join()
    assert ended - began > 0.9
    assert sum(began < at < ended for at in seen) > 50
