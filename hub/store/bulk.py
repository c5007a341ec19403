"""Many rows by one statement with one parameter: the rows as JSON, read by json_to_recordset (PostgreSQL) or json_each.

A statement is built and compiled once, whatever the number of rows; one by one costs five to twenty times as much. Bytes are
given beside the JSON on PostgreSQL (a document as text in JSON is written and read three times over); SQLite gets them as the
UTF-8 text that they must be.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import Grouping

from hub.store.direct import Direct
from hub.store.prepared import Answer, Blobs, Prepared
from hub.store.rows import Answered, Row

#: The given rows, as a table in a statement.
GIVEN = "given"


def inserted(table: sa.Table, names: Sequence[str], given: Any, insert: Any = sa.insert, **computed: Any) -> Any:
    """INSERT of the given rows, with columns that are ``computed`` from them. The WHERE lets SQLite see where a conflict's
    clause begins.
    """
    values = sa.select(*(given.c[name] for name in names), *computed.values()).select_from(given).where(sa.true())
    return insert(table).from_select([*names, *computed], values, include_defaults=False)


class Bulk:
    """A statement over given rows. ``columns`` are the table columns that a row gives; ``build`` makes the statement.

    ``build`` is called with the rows as a FROM clause (columns by name) and the dialect's INSERT, and returns the statement;
    further parameters are its own `bindparam`s.
    """

    def __init__(self, columns: Sequence[sa.Column[Any]], build: Any) -> None:
        self._columns, self._build = columns, build
        self._names = [str(column.name) for column in columns]  # not their subclass of str: JSON encoders refuse it
        self._bytes = [
            name for name, column in zip(self._names, columns, strict=True) if isinstance(column.type, sa.LargeBinary)
        ]
        self._made: dict[str, tuple[Any, list[tuple[str, Any]]]] = {}

    def run(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]], **parameters: Any) -> list[Row]:
        """The rows that the statement returns, if it returns any."""
        return self.later(connection, rows, **parameters).rows()

    def later(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]], **parameters: Any) -> Answer | Answered:
        """As `Prepared.later`; on SQLite at once."""
        made = self._made.get(connection.dialect.name)
        if made is None:
            made = self._made[connection.dialect.name] = self._make(connection.dialect)
        statement, stored_as = made
        picked = [{name: row[name] for name in self._names} for row in rows]
        for name, processor in stored_as:
            for row in picked:
                row[name] = processor(row[name])
        if isinstance(statement, Prepared):
            beside: dict[str, Any] = {}
            for name in self._bytes:
                beside[_beside(name)] = Blobs(row[name] for row in picked)
                for place, row in enumerate(picked, 1):
                    row[name] = place
            return statement.later(
                connection, {GIVEN: orjson.dumps(picked).decode(), "how_many": len(rows), **beside, **parameters}
            )
        for name in self._bytes:
            for row in picked:
                row[name] = None if row[name] is None else row[name].decode()
        values = {GIVEN: orjson.dumps(picked).decode(), "how_many": len(rows), **parameters}
        return Answered(statement.run(connection, values))

    def _make(self, dialect: sa.Dialect) -> tuple[Any, list[tuple[str, Any]]]:
        """(statement, how SQLite stores a column: its driver sees text only; PostgreSQL reads JSON by the columns' types)."""
        text = sa.bindparam(GIVEN, type_=sa.Text())
        if dialect.name == "postgresql":
            columns = [sa.column(c.name, sa.Integer() if c.name in self._bytes else c.type) for c in self._columns]
            rows = sa.func.json_to_recordset(sa.cast(text, sa.JSON)).table_valued(*columns)
            rows = rows.render_derived(name="rows", with_types=True)
            beside = {
                name: Grouping(sa.bindparam(_beside(name), type_=postgresql.ARRAY(sa.LargeBinary))) for name in self._bytes
            }
            shown = (beside[c.name][c].label(c.name) if c.name in beside else c for c in rows.c)
            # The limit tells the planner that they are few: it looks them up by an index, whatever it knows of the table.
            few = sa.select(*shown).limit(sa.bindparam("how_many"))
            statement = self._build(few.subquery(GIVEN), postgresql.insert)
            return Prepared(statement, dialect), []
        each = sa.func.json_each(text).table_valued("value")
        # Labelled with the column's type, so that what is read back is what the table would give.
        fields = (
            sa.type_coerce(
                sa.cast(found, sa.LargeBinary) if column.name in self._bytes else found, column.type
            ).label(column.name)
            for column in self._columns
            for found in [sa.func.json_extract(each.c.value, f"$.{column.name}")]
        )  # fmt: skip
        processors = (
            (str(c.name), c.type.dialect_impl(dialect).bind_processor(dialect))
            for c in self._columns if c.name not in self._bytes
        )  # fmt: skip
        few = sa.select(*fields).limit(sa.bindparam("how_many"))
        statement = self._build(few.subquery(GIVEN), sqlite.insert)
        return Direct(statement, dialect), [item for item in processors if item[1] is not None]


def _beside(name: str) -> str:
    """The parameter that holds the bytes of a column; the rows give their places in it."""
    return f"{GIVEN}_{name}"
