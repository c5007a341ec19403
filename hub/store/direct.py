"""Statements for SQLite, compiled once and given to its driver itself: SQLAlchemy would cost more than they do."""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa


class Direct:
    """A statement with its parameters by name. Raises the driver's errors (`sqlite3`)."""

    def __init__(self, statement: Any, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        binds = [(name, compiled.binds[name]) for name in compiled.positiontup or ()]
        self._given = [(name, bind.value, bind.type.dialect_impl(dialect).bind_processor(dialect)) for name, bind in binds]
        shown = statement.exported_columns if hasattr(statement, "exported_columns") else ()
        self._columns = [(column.key, _reader(column.type, dialect)) for column in shown]

    def run(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows as dicts, if it returns any."""
        given = [
            value if write is None else write(value)
            for name, literal, write in self._given for value in (values.get(name, literal),)
        ]  # fmt: skip
        rows = connection.connection.driver_connection.execute(self.text, given).fetchall()  # type: ignore[union-attr]
        return [
            {key: value if read is None else read(value) for (key, read), value in zip(self._columns, row, strict=True)}
            for row in rows
        ]


def _reader(type_: Any, dialect: sa.Dialect) -> Callable[[Any], Any] | None:
    found: Callable[[Any], Any] | None = type_.dialect_impl(dialect).result_processor(dialect, None)
    return found
