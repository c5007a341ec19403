"""Engines: SQLite (WAL, FULL sync, one writer) and PostgreSQL behind one `Store`. Schema by Alembic migrations only."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from hub.store.uow import UnitOfWork

_MIGRATIONS = Path(__file__).parent / "migrations"


class Store:
    """The store's face: `begin()` for a unit of work, `upgrade()` for the schema, `schema_state()` for the doctor."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sqlite = url.startswith("sqlite")
        # SQLite has one writer: waiting for it here is fair and never meets SQLITE_BUSY within a process.
        self._writer = threading.Lock()
        if self.sqlite:
            self.engine = sa.create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, pool_size=32)
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(url, pool_size=24, max_overflow=8, pool_pre_ping=True)

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        """A transaction that commits when the block ends and rolls back when it raises."""
        if self.sqlite:
            with self._writer, self.engine.connect() as connection:
                connection = connection.execution_options(hub_write=True)
                with connection.begin():
                    yield UnitOfWork(connection)
        else:
            with self.engine.begin() as connection:
                yield UnitOfWork(connection)

    @contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """A read-only view; never waits for the writer."""
        with self.engine.connect() as connection:
            yield UnitOfWork(connection)

    def upgrade(self) -> None:
        """Bring the schema to the newest migration."""
        with self.engine.connect() as connection:
            configuration = self._alembic()
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")

    def schema_state(self) -> tuple[str | None, str | None]:
        """(revision in the database, newest revision)."""
        with self.engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        return current, ScriptDirectory.from_config(self._alembic()).get_current_head()

    def reachable_schema(self) -> tuple[str | None, str | None] | None:
        """`schema_state`, or None if the database does not answer."""
        try:
            return self.schema_state()
        except sa.exc.SQLAlchemyError:
            return None

    def close(self) -> None:
        self.engine.dispose()

    @staticmethod
    def _alembic() -> Config:
        configuration = Config()
        configuration.set_main_option("script_location", str(_MIGRATIONS))
        return configuration


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # IMMEDIATE takes the write lock at once: a read that later writes can then never fail half-way.
    write = connection.get_execution_options().get("hub_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
