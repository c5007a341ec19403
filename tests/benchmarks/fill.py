"""A history that was: rows as the hub writes them, made from its own by the database itself, so that a million takes minutes.

Ids are UUIDv7 of years ago, in order; every row of a kind is its own (source id, subject, fingerprint, key), its document is that
of the row that was copied. The audit chain is as long as it would be, and not whole: nobody verifies it here.
"""

from collections.abc import Mapping

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
    },
    "delivery": {"id": _id(2), "message_id": _id(1), "subject": "'sale/fill-' || g", "key": "md5(g::text)"},
    "attempt": {"id": _id(3), "delivery_id": _id(2)},
    "link": {"canonical_id": "'fill-' || g", "external_id": "'fill-' || g"},
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
    """Events that came and were delivered: one was, and is copied. The numbers ``first`` to ``last`` are new."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit TO off")
        for table, changed in _OF_ONE_EVENT.items():
            where = "state = 'applied'" if table == "delivery" else "true"
            _copy(connection, table, changed, where, first, last)
        audited = 2 * (last - first)
        connection.execute(
            "INSERT INTO audit (tenant_id, sequence, at, actor, action, subject, detail, previous, digest) "
            "SELECT t.tenant_id, h.sequence + g, t.at, t.actor, t.action, 'message/fill-' || (h.sequence + g), t.detail, "
            "md5(g::text) || md5(g::text), md5(g::text) || md5((-g)::text) FROM audit_head h, "
            "(SELECT * FROM audit WHERE action = 'delivery.applied' LIMIT 1) t, generate_series(1, %s) g "
            "WHERE h.tenant_id = t.tenant_id", (audited,),
        )  # fmt: skip
        connection.execute("UPDATE audit_head SET sequence = sequence + %s", (audited,))
        settle(connection)


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
