"""Statements for PostgreSQL, prepared once per connection and run through libpq itself (`psycopg.pq`).

What a statement says and what it gives is the same every time; SQLAlchemy and the driver's cursor work it out anew for every
execution, which costs several times what the execution does. Connections, transactions, types of results and errors stay
psycopg's. Parameters travel as text, but for bytes.
"""

import re
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
import psycopg
import sqlalchemy as sa
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

_PARAMETER = re.compile(r"%\((\w+)\)s|%%")
_BYTEA = 17


class Blobs(list["bytes | None"]):
    """Bytes as one parameter: an array of them."""


class Prepared:
    """A statement with its parameters by name. Raises psycopg's errors, as its cursors do."""

    def __init__(self, statement: Any, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        self.literals = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        places: dict[str, int] = {}

        def placed(found: re.Match[str]) -> str:
            return f"${places.setdefault(found[1], len(places) + 1)}" if found[1] else "%"

        self._sql = _PARAMETER.sub(placed, self.text).encode()
        self._parameters = list(places)
        self._name = f"hub_{id(self):x}".encode()
        self._columns: list[str] = []

    def run(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows as dicts, if it returns any."""
        driver: Any = connection.connection.driver_connection
        link = driver.pgconn
        if not driver.autocommit and link.transaction_status == TransactionStatus.IDLE:
            _checked(link, link.exec_(b"BEGIN"))
        known = connection.info.setdefault(Prepared, {})
        reader = known.get(self)
        if reader is None:
            _checked(link, link.prepare(self._name, self._sql))
            reader = known[self] = Transformer(driver)
        literals = self.literals
        sent = [_encoded(values[name] if name in values else literals[name]) for name in self._parameters]
        result = _checked(link, link.exec_prepared(self._name, [value for value, _ in sent], [form for _, form in sent], 0))
        if not result.nfields:
            return []
        if not self._columns:
            self._columns = [(result.fname(n) or b"").decode() for n in range(result.nfields)]
        reader.set_pgresult(result)
        columns = self._columns
        return [dict(zip(columns, row, strict=True)) for row in reader.load_rows(0, result.ntuples, tuple)]


def begin(connection: sa.Connection, what: bytes) -> None:
    """Begin the transaction with ``what``: several commands in one round trip."""
    link = connection.connection.driver_connection.pgconn  # type: ignore[union-attr]
    _checked(link, link.exec_(what))


def alive(driver: Any) -> bool:
    """Whether the server still answers. Not through the driver: that would end with a rollback."""
    try:
        return bool(driver.pgconn.exec_(b"SELECT 1").status == ExecStatus.TUPLES_OK)
    except psycopg.Error:  # closed on our side
        return False


def _checked(link: Any, result: Any) -> Any:
    if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return result
    if link.status != ConnStatus.OK:
        raise psycopg.OperationalError(result.get_error_message() or "the connection is lost")
    raise psycopg.errors.error_from_result(result)


def _encoded(value: Any) -> tuple[bytes | None, int]:
    """(as libpq takes it, 0: text or 1: bytes)."""
    if value is None:
        return None, 0
    if isinstance(value, str):
        text = value.encode()
        if b"\0" in text:  # libpq takes it for the end
            raise psycopg.DataError("PostgreSQL text cannot contain NUL (0x00) bytes")
        return text, 0
    if isinstance(value, bool):
        return (b"t" if value else b"f"), 0
    if isinstance(value, datetime):
        return value.isoformat().encode(), 0
    if isinstance(value, bytes):
        return value, 1
    if isinstance(value, Blobs):
        return _array(value), 1
    if isinstance(value, dict | list):
        return orjson.dumps(value), 0
    return str(value).encode(), 0


def _array(items: Blobs) -> bytes:
    """PostgreSQL's binary form of a bytea[]."""
    if not items:
        return struct.pack("!iii", 0, 0, _BYTEA)
    parts = [struct.pack("!iiiii", 1, int(None in items), _BYTEA, len(items), 1)]
    for item in items:
        parts += [b"\xff\xff\xff\xff"] if item is None else [struct.pack("!i", len(item)), item]
    return b"".join(parts)
