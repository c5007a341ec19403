"""Small verbs every repository shares: rows in, plain dicts out, conflicts ignored, pages by key."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from hub.store.direct import Direct
from hub.store.prepared import Answer, Prepared

Row = dict[str, Any]
#: Largest page a list may ask for.
MAX_PAGE = 200


def given(column: sa.Column[Any], name: str | None = None) -> sa.BindParameter[Any]:
    """A parameter (``of_…``, a column's own name means its new value) of a statement that is built once: building one costs
    more than running it.
    """
    return sa.bindparam(name or f"of_{column.name}", type_=column.type)


class Answered:
    """Rows that are there already; what `Answer` is where statements are not collected."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def rows(self) -> list[Row]:
        return self._rows


class Fixed:
    """A statement that is always the same but for its parameters; it goes to the driver itself."""

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._prepared: Prepared | None = None
        self._direct: Direct | None = None

    def run(self, connection: sa.Connection, **values: Any) -> list[Row]:
        """The rows as dicts, if it returns any."""
        return self.later(connection, **values).rows()

    def later(self, connection: sa.Connection, **values: Any) -> Answer | Answered:
        """As `Prepared.later`; on SQLite at once."""
        if connection.dialect.name == "postgresql":
            if self._prepared is None:
                self._prepared = Prepared(self._statement, connection.dialect)
            return self._prepared.later(connection, values)
        if self._direct is None:
            self._direct = Direct(self._statement, connection.dialect)
        return Answered(self._direct.run(connection, values))


class Repository:
    """A set of verbs over one unit of work's connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection
        self._postgres = connection.dialect.name == "postgresql"

    def _one(self, statement: sa.Select[Any] | Fixed, **parameters: Any) -> Row | None:
        if isinstance(statement, Fixed):
            return next(iter(statement.run(self._c, **parameters)), None)
        found = self._c.execute(statement, parameters)
        row = found.first()
        return None if row is None else dict(zip(_names(found), row, strict=True))

    def _all(self, statement: Any, **parameters: Any) -> list[Row]:
        if isinstance(statement, Fixed):
            return statement.run(self._c, **parameters)
        return plain(self._c.execute(statement, parameters))

    def _insert_or_ignore(self, table: sa.Table, rows: Sequence[Mapping[str, Any]], returning: Sequence[str]) -> list[Row]:
        """Insert ``rows``; those that break a unique key are left out. Returns ``returning`` of the inserted ones."""
        if not rows:
            return []
        insert = postgresql.insert if self._postgres else sqlite.insert
        statement = insert(table).on_conflict_do_nothing().returning(*(table.c[name] for name in returning))
        # Rows as parameters, not in the statement: it is compiled once.
        return plain(self._c.execute(statement, [dict(row) for row in rows]))

    def _upsert(self, table: sa.Table, row: Mapping[str, Any], update: Sequence[str]) -> None:
        insert = postgresql.insert if self._postgres else sqlite.insert
        statement = insert(table).values(dict(row))
        self._c.execute(
            statement.on_conflict_do_update(
                index_elements=[column.name for column in table.primary_key.columns],
                set_={name: statement.excluded[name] for name in update},
            )
        )

    def _update(self, table: sa.Table, where: Sequence[Any], values: Mapping[str, Any]) -> int:
        return self._c.execute(sa.update(table).where(*where).values(dict(values))).rowcount

    def _page(
        self, table: sa.Table, tenant_id: str, where: Sequence[Any], after: str | None, limit: int,
        columns: Sequence[Any] | None = None,
    ) -> list[Row]:  # fmt: skip
        """Newest first by id; ``after`` is the last id of the previous page. Returns up to ``limit`` + 1 rows."""
        statement = sa.select(*(columns or [table])).where(table.c.tenant_id == tenant_id, *where)
        if after is not None:
            statement = statement.where(table.c.id < after)
        return self._all(statement.order_by(table.c.id.desc()).limit(min(limit, MAX_PAGE) + 1))


def plain(found: sa.CursorResult[Any]) -> list[Row]:
    """The rows of a result as dicts."""
    names = _names(found)
    return [dict(zip(names, row, strict=True)) for row in found]


def _names(found: sa.CursorResult[Any]) -> list[str]:
    """Plain str: SQLAlchemy's own names are a subclass that JSON encoders refuse."""
    return [str(name) for name in found.keys()]  # noqa: SIM118
