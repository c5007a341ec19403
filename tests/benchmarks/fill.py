"""A history that was: rows as the hub writes them, made from its own by the database itself, so that a million takes minutes.

Ids are UUIDv7 of years ago, in order; every row of a kind is its own (source id, subject, fingerprint, key), its document is that
of the row that was copied. The audit chain is as long as it would be, and not whole: nobody verifies it here.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg

_BEGAN = 1_500_000_000_000  # milliseconds, 2017
_PIECE = 200_000


def _id(kind: int, n: str = "g") -> str:
    """SQL: the id of the n-th row of a kind."""
    digits = f"lpad(to_hex({_BEGAN} + {n}), 12, '0')"
    return f"(substr({digits}, 1, 8) || '-' || substr({digits}, 9) || '-7000-8000-{kind:012x}')::uuid"


_OF_ONE_EVENT: dict[str, Mapping[str, str]] = {
    "message": {
        "id": _id(1), "source_id": "'fill-' || g", "subject": "'sale/fill-' || g", "digest": "md5(g::text) || md5((-g)::text)",
        "fingerprint": "md5(g::text) || md5(g::text)", "correlation_id": "'fill-' || g",
        "raw_id": "NULL::uuid",  # else all would be of one run
    },
    "delivery": {"id": _id(2), "message_id": _id(1), "subject": "'sale/fill-' || g", "key": "md5(g::text)"},
    "attempt": {"id": _id(3), "delivery_id": _id(2)},
    "link": {"canonical_id": "'fill-' || g", "external_id": "'fill-' || g"},
    "raw_input": {"id": _id(6), "source_event_id": "'fill-' || g", "run_id": "NULL::uuid"},  # where one came so
}  # fmt: skip


def _copy(connection: psycopg.Connection, table: str, changed: Mapping[str, str], where: str, first: int, last: int) -> None:
    columns = [row[0] for row in connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND table_schema = current_schema()", (table,)
    )]  # fmt: skip
    values = ", ".join(changed.get(name, f"t.{name}") for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    for start in range(first, last, _PIECE):
        connection.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM (SELECT * FROM {table} WHERE {where} LIMIT 1) t, "  # type: ignore[arg-type]
            f"generate_series({start}, {min(last, start + _PIECE) - 1}) g"
        )


def events(url: str, first: int, last: int) -> None:
    """Events that came and were delivered: one was, and is copied. The numbers ``first`` to ``last`` are new.

    Whatever works on that database meanwhile is slow: indexes that are not part of a constraint are made again afterwards.
    """

    def copy(table: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            _quickly(connection)
            if table == "audit":
                _audited(connection, 2 * (last - first))
            else:
                where = {"delivery": "state = 'applied'", "raw_input": "state = 'translated'"}.get(table, "true")
                _copy(connection, table, _OF_ONE_EVENT[table], where, first, last)

    tables = [*_OF_ONE_EVENT, "audit"]
    with psycopg.connect(url, autocommit=True) as connection:
        side_by_side = 2 if _quickly(connection) else 1  # else each after what it refers to
        with _without_indexes(connection, tables), ThreadPoolExecutor(side_by_side) as pool:
            list(pool.map(copy, tables))
        settle(connection)


def _quickly(connection: psycopg.Connection) -> bool:
    """Whether references need not be looked up (who may turn that off): what is copied refers to what is copied."""
    connection.execute("SET synchronous_commit TO off")
    connection.execute("SET maintenance_work_mem TO '1GB'")
    free = "SELECT set_config('session_replication_role', 'replica', false) FROM pg_roles WHERE rolname = current_user AND rolsuper"
    return connection.execute(free).fetchone() is not None


@contextmanager
def _without_indexes(connection: psycopg.Connection, tables: list[str]) -> Iterator[None]:
    """An index that is made anew is many times faster than one that grows (and a third smaller)."""
    found = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid::regclass::text = ANY(%s) "
        "AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)", (tables,),
    ).fetchall()  # fmt: skip
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}")  # type: ignore[call-overload]
    yield
    for _, definition in found:
        connection.execute(definition)


def _audited(connection: psycopg.Connection, count: int) -> None:
    connection.execute(
        "INSERT INTO audit (tenant_id, sequence, at, actor, action, subject, detail, previous, digest) "
        "SELECT t.tenant_id, h.sequence + g, t.at, t.actor, t.action, 'message/fill-' || (h.sequence + g), t.detail, "
        "md5(g::text) || md5(g::text), md5(g::text) || md5((-g)::text) FROM audit_head h, "
        "(SELECT * FROM audit WHERE action = 'delivery.applied' LIMIT 1) t, generate_series(1, %s) g "
        "WHERE h.tenant_id = t.tenant_id", (count,),
    )  # fmt: skip
    connection.execute("UPDATE audit_head SET sequence = sequence + %s", (count,))


def dead_letters(url: str, first: int, last: int) -> None:
    """Deliveries that wait for a person, each of another entity."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit TO off")
        changed = {**_OF_ONE_EVENT["message"], "id": _id(4), "source_id": "'dead-' || g", "subject": "'sale/dead-' || g"}
        _copy(connection, "message", changed, "true", first, last)
        dead = {"id": _id(5), "message_id": _id(4), "subject": "'sale/dead-' || g", "key": "md5(g::text)", "state": "'dead'",
                "cause_code": "'refused'", "cause": "'no such SKU'"}  # fmt: skip
        _copy(connection, "delivery", dead, "state = 'applied'", first, last)
        settle(connection)


def records(url: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """What the polled system's records look like, as if each had been read before; some were."""
    with psycopg.connect(url) as connection:
        names = [row[0] for row in connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'record' AND table_schema = current_schema()"
        )]  # fmt: skip
        found = connection.execute("SELECT * FROM record LIMIT 1").fetchone()
        assert found is not None
        known = dict(zip(names, found, strict=True))
        there = {row[0] for row in connection.execute("SELECT ref FROM record")}
        with connection.cursor().copy(f"COPY record ({', '.join(names)}) FROM STDIN") as copy:  # type: ignore[arg-type]
            for row in (row for row in rows if row["id"] not in there):
                digest = hashlib.sha256(orjson.dumps(row, option=orjson.OPT_SORT_KEYS)).hexdigest()
                copy.write_row([{**known, "ref": row["id"], "digest": digest}[name] for name in names])
        connection.commit()
        connection.autocommit = True
        settle(connection)


def connections(url: str, first: int, last: int) -> None:
    """Connections like the one there is, that nobody sends anything."""
    with psycopg.connect(url, autocommit=True) as connection:
        _copy(connection, "connection", {"connection_id": "'c' || g"}, "true", first, last)
        _copy(connection, "budget", {"connection_id": "'c' || g"}, "true", first, last)
        connection.execute("UPDATE tenant SET version = version + 1")
        settle(connection)


def settle(connection: psycopg.Connection) -> None:
    """As it would be after a while: statistics taken, pages written."""
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")
