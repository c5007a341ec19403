"""What SQLite's planner is told about the tables: that they are large, and how much each column of an index narrows.

Without statistics it takes whatever index begins with the tenant for a good one, and reads through a tenant's history to find
what another index leads to at once. Statistics of a young database say the same. So it is told what a database looks like that
has been used for years: one plan does for all, on every machine, as on PostgreSQL.
Source: SQLite, The Query Optimizer Overview, "Manual Control Of Query Plans Using SQLITE_STAT Tables".
"""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from hub.store.tables import metadata

_ROWS, _OPEN_ROWS = 1_000_000, 100
#: By how much a column narrows that says which of a few kinds a row is of (who asks for a state asks for one that few rows are
#: in); of any other column, how many rows share a value.
_KINDS = {
    **dict.fromkeys(("connection_id", "entity", "flow", "kind", "lane", "object", "operation", "source", "type"), 10),
    "state": 1_000,
}
_FEW = 10


def tell(connection: sa.Connection) -> None:
    """Write the statistics; this connection goes by them from now on, and each that is opened."""
    connection.exec_driver_sql("ANALYZE sqlite_schema")  # makes the table
    connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    rows = [{"tbl": table, "idx": index, "stat": stat} for table, index, stat in _statistics(connection)]
    connection.execute(sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)"), rows)
    connection.exec_driver_sql("ANALYZE sqlite_schema")  # reads it


def _statistics(connection: sa.Connection) -> Iterator[tuple[str, str, str]]:
    """(table, index, rows of the table and how many of them share the first column, the first two …)."""
    for table in metadata.tables:
        for _, index, unique, _, partial in connection.exec_driver_sql(f'PRAGMA index_list("{table}")'):
            columns = [row[2] for row in connection.exec_driver_sql(f'PRAGMA index_info("{index}")')]
            # The planner takes what a column narrows as a share of the table's rows, those of a partial index too.
            shared = _shared(columns, _OPEN_ROWS if partial else _ROWS, bool(unique))
            yield table, index, " ".join(map(str, [_ROWS, *shared]))


def _shared(columns: Sequence[str], rows: int, unique: bool) -> Iterator[int]:
    for place, column in enumerate(columns, 1):
        if unique and place == len(columns):
            rows = 1
        elif column in _KINDS:
            rows = max(1, rows // _KINDS[column])
        elif column != "tenant_id":  # most databases are one tenant's
            rows = min(rows, _FEW)
        yield rows
