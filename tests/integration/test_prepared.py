"""Statements that go to libpq: what they send arrives as it was, what is wrong is said as the driver says it, and plans are kept."""

import random
import time
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from hub.store import Store, StoreUnavailableError
from hub.store.prepared import Blobs, Prepared
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
        (mine,) = Fixed(sa.text("SELECT pg_backend_pid() AS pid")).run(uow._connection)
        with store.engine.connect() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": mine["pid"]})
        time.sleep(0.2)
        _FAILS.run(uow._connection, by=1)
    with store.begin() as uow:
        assert _FAILS.run(uow._connection, by=1) == [{"found": 1}]


def test_a_transaction_that_need_not_be_durable_is_one_all_the_same(store: Store) -> None:
    shown = Fixed(sa.text("SELECT current_setting('synchronous_commit') AS durable"))
    with store.begin(durable=False) as uow:
        assert shown.run(uow._connection) == [{"durable": "off"}]
    with store.begin() as uow:
        assert shown.run(uow._connection) == [{"durable": "on"}]
