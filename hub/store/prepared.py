"""Statements for PostgreSQL, prepared once per connection and run through libpq itself (`psycopg.pq`).

What a statement says and what it gives is the same every time; SQLAlchemy and the driver's cursor work it out anew for every
execution, which costs several times what the execution does. And each would wait for the one before it to be answered: here,
what is not asked for its rows yet waits until something is, or until the commit, and all of it goes in one round trip.
Connections, transactions, types of results and errors stay psycopg's. Parameters travel as text, but for bytes.
"""

import re
import select
import struct
from collections.abc import Mapping, Sequence
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

        self.sql = _PARAMETER.sub(placed, self.text).encode()
        self._parameters = list(places)
        self.name = f"hub_{id(self):x}".encode()
        self._columns: list[str] = []

    def run(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows as dicts, if it returns any."""
        return self.later(connection, values).rows()

    def later(self, connection: sa.Connection, values: Mapping[str, Any]) -> "Answer":
        """To be executed when its rows are asked for, before the next statement, or with the commit, whichever comes first.

        What is wrong with it is said there, and then nothing that was to follow it has happened.
        """
        line, literals = line_of(connection), self.literals
        sent = [_encoded(values[name] if name in values else literals[name]) for name in self._parameters]
        answer = Answer(line, self, line.reader(self), [value for value, _ in sent], [form for _, form in sent])
        line.asked.append(answer)
        return answer

    def read(self, reader: Any, result: Any) -> list[dict[str, Any]]:
        """The rows of a result."""
        if not result.nfields:
            return []
        if not self._columns:
            self._columns = [(result.fname(n) or b"").decode() for n in range(result.nfields)]
        reader.set_pgresult(result)
        columns = self._columns
        return [dict(zip(columns, row, strict=True)) for row in reader.load_rows(0, result.ntuples, tuple)]


class Answer:
    """What a statement will have returned."""

    def __init__(
        self, line: "Line", statement: Prepared, reader: Any, values: list[bytes | None], forms: list[int]
    ) -> None:  # fmt: skip
        self._line, self._statement, self._reader = line, statement, reader
        self.name, self.values, self.forms = statement.name, values, forms
        self.result: Any = None

    def rows(self) -> list[dict[str, Any]]:
        """Its rows as dicts; all that was asked before it, and after it, is sent with it."""
        if self.result is None and self in self._line.asked:  # else its transaction is over, and the line may be another's
            self._line.send()
        if self.result is None:
            raise psycopg.errors.InFailedSqlTransaction("it was not executed: what was asked before it failed")
        return self._statement.read(self._reader, self.result)


class Line:
    """A connection to the server, and what was asked on it and is not sent yet."""

    def __init__(self, driver: Any) -> None:
        self._driver, self._link = driver, driver.pgconn
        self._readers: dict[Prepared, Any] = {}
        self.asked: list[Answer] = []
        #: With what the next transaction begins, after its BEGIN.
        self.opening: tuple[bytes, ...] = ()

    def reader(self, statement: Prepared) -> Any:
        """What reads its results; a statement that this connection does not know yet is prepared."""
        found = self._readers.get(statement)
        if found is None:
            _checked(self._link, self._link.prepare(statement.name, statement.sql))
            found = self._readers[statement] = Transformer(self._driver)
        return found

    def forget(self) -> None:
        """What was not sent will not be: its transaction has ended."""
        self.asked.clear()
        self.opening = ()

    def send(self, commit: bool = False) -> None:
        """All that was asked, in one round trip; with ``commit``, its transaction ends by it. Raises psycopg's errors."""
        link, asked = self._link, self.asked
        begins = not self._driver.autocommit and link.transaction_status == TransactionStatus.IDLE
        before = (b"BEGIN", *self.opening) if begins and (asked or self.opening) else ()
        if not asked and not before:
            return
        self.asked, self.opening = [], ()
        if len(asked) == 1 and not before and not commit:
            asked[0].result = _checked(link, link.exec_prepared(asked[0].name, asked[0].values, asked[0].forms, 0))
            return
        whole = False
        try:
            link.enter_pipeline_mode()
            for text in before:
                link.send_query_params(text, None)
            for item in asked:
                link.send_query_prepared(item.name, item.values, item.forms, 0)
            if commit:
                link.send_query_params(b"COMMIT", None)
            results = _answers(link)
            link.exit_pipeline_mode()
            whole = True
        finally:
            if not whole:  # what was left in the midst of an answer cannot be talked to any more
                link.finish()
        for result in results:
            _checked(link, result)
        for item, result in zip(asked, results[len(before) :], strict=False):
            item.result = result


def line_of(connection: sa.Connection) -> Line:
    """The one of a connection; it lives as long as the server's side."""
    found: Line | None = connection.info.get(Line)
    if found is None:
        found = connection.info[Line] = Line(connection.connection.driver_connection)
    return found


def _answers(link: Any) -> Sequence[Any]:
    """The result of each statement in the pipeline, in their order. Whoever waits leaves the interpreter to others."""
    link.pipeline_sync()
    poller = select.poll()
    poller.register(link.socket, select.POLLIN)
    while link.flush():  # more than fits on the way: the server may be waiting for us to take what it says
        poller.modify(link.socket, select.POLLIN | select.POLLOUT)
        poller.poll()
        link.consume_input()
    poller.modify(link.socket, select.POLLIN)
    found: list[Any] = []
    while True:
        while link.is_busy():
            poller.poll()
            link.consume_input()
        result = link.get_result()
        if result is None:  # the end of one statement's results
            if link.status != ConnStatus.OK:
                raise psycopg.OperationalError("the connection is lost")
            continue
        if result.status == ExecStatus.PIPELINE_SYNC:
            return found
        found.append(result)


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
