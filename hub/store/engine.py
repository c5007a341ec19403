"""Engines: SQLite (WAL, FULL sync, one writer) and PostgreSQL behind one `Store`. Schema by Alembic migrations only."""

import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.types.string import TextLoader

from hub.errors import HubError
from hub.store import prepared, statistics
from hub.store.uow import UnitOfWork

#: After this long unused a connection is asked whether it still lives; asking every time would cost a round trip each.
_IDLE_SECONDS = 1.0
_UNAVAILABLE = (
    sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, psycopg.OperationalError, psycopg.InterfaceError,
    sqlite3.OperationalError,
)  # fmt: skip
_NOT_DURABLE = (b"SET LOCAL synchronous_commit TO OFF",)
_GROWN = sa.text(
    "SELECT relid::regclass::text FROM pg_stat_user_tables JOIN pg_class ON pg_class.oid = relid"
    " WHERE n_live_tup > 200 + 3 * greatest(reltuples, 0) AND schemaname = current_schema()"
)
#: Documents are compressed by lz4 where the server was built with it: pglz takes longer than all else that is done to a row.
_QUICK_COMPRESSION = (
    "SELECT set_config(name, 'lz4', false) FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)"
)
#: Every statement of the hub stays prepared (its driver keeps 128 by default).
_SQLITE = {"timeout": 30, "check_same_thread": False, "cached_statements": 512}
_MIGRATIONS = Path(__file__).parent / "migrations"


class StoreUnavailableError(HubError):
    """The database does not answer, ended the transaction (a deadlock, a restart) or is full; nothing was committed, or it is
    not known whether the commit arrived: whoever tries again must be safe to repeat.
    """

    def __init__(self, error: sa.exc.SQLAlchemyError | psycopg.Error | sqlite3.Error) -> None:
        super().__init__("unavailable", "the store cannot be used now; nothing is lost by trying again")
        self.why = str(error.args[0] if error.args else error).strip()
        #: A deadlock or a serialisation failure ended this transaction; the next one may go through at once.
        self.transient = getattr(getattr(error, "orig", error), "sqlstate", "") in ("40P01", "40001")


class Store:
    """The store's face: `begin()` for a unit of work, `upgrade()` for the schema, `schema_state()` for the doctor."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sqlite = url.startswith("sqlite")
        # SQLite has one writer: waiting for it here is fair and never meets SQLITE_BUSY within a process.
        self._writer = threading.Lock()
        if self.sqlite:
            self.engine = sa.create_engine(url, connect_args=_SQLITE, pool_size=32)
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        else:
            connect = {
                # A server that vanished without a word (half-open TCP) is noticed within half a minute.
                "connect_timeout": 5, "application_name": "crossdock", "keepalives_idle": 10, "keepalives_interval": 5,
                "keepalives_count": 3, "tcp_user_timeout": 25000,
                # Every hot statement looks few rows up by an index, whatever the statistics of a young table say: so one plan
                # does for all parameters, and is made once per connection. Planning costs several times what running does.
                "options": "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off "
                           "-c plan_cache_mode=force_generic_plan -c timezone=UTC",
                # `hub.store.prepared` does that; after a rollback the driver would forget all that was prepared.
                "prepare_threshold": None,
            }  # fmt: skip
            # The connection that was used last is used next: it knows its plans, and need not be asked whether it lives.
            self.engine = sa.create_engine(
                url, pool_size=24, max_overflow=8, pool_timeout=10, pool_use_lifo=True, connect_args=connect
            )
            sa.event.listen(self.engine, "connect", _prepare_postgres)
            sa.event.listen(self.engine, "checkin", _note_use)
            sa.event.listen(self.engine, "checkout", _ping_idle)
            sa.event.listen(self.engine, "before_cursor_execute", _send_before)
            self._reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def begin(self, durable: bool = True) -> Iterator[UnitOfWork]:
        """A transaction that commits when the block ends and rolls back when it raises. Raises StoreUnavailableError.

        Not ``durable``: a crash of the database may undo it after it was committed, as long as no later durable transaction has
        been. For marks only that are made anew when they are missing, by somebody who notices that his were lost.
        """
        try:
            if self.sqlite:
                with self._writer, self.engine.connect() as connection:
                    connection = connection.execution_options(hub_write=True)
                    with connection.begin():
                        yield from self._work(connection)
            else:
                with self.engine.begin() as connection:
                    line = prepared.line_of(connection)
                    line.opening = () if durable else _NOT_DURABLE
                    yield from self._work(connection)
                    if line.asked:
                        line.send(commit=True)
        except _UNAVAILABLE as error:
            raise StoreUnavailableError(error) from error

    def _work(self, connection: sa.Connection) -> Iterator[UnitOfWork]:
        uow = UnitOfWork(connection)
        yield uow
        uow.flush()

    @contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """A read-only view, statement by statement; never waits for the writer. Raises StoreUnavailableError."""
        try:
            with (self.engine if self.sqlite else self._reader).connect() as connection:
                yield UnitOfWork(connection)
        except _UNAVAILABLE as error:
            raise StoreUnavailableError(error) from error

    def now(self) -> datetime:
        """The time by the store's clock, which every process of a hub shares."""
        if self.sqlite:
            return datetime.now(UTC)
        with self.read() as uow:
            return uow.now()

    def leadership(self, name: str) -> "Leadership":
        """A seat that one process at a time holds (PostgreSQL advisory lock); on SQLite there is only one process."""
        return Leadership(None if self.sqlite else self.engine, name)

    def upgrade(self) -> None:
        """Bring the schema to the newest migration."""
        # A process that only looks whether the schema is the one it needs does not load what changes it.
        from alembic import command
        from alembic.config import Config

        with self.engine.connect() as connection:
            configuration = Config()
            configuration.set_main_option("script_location", str(_MIGRATIONS))
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
        if self.sqlite:
            with self.engine.begin() as connection:
                statistics.tell(connection)

    def schema_state(self) -> tuple[str | None, str | None]:
        """(revision in the database, newest revision)."""
        newest = max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
        with self.engine.connect() as connection:
            known = sa.inspect(connection).has_table("alembic_version")
            return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() if known else None, newest

    def reachable_schema(self) -> tuple[str | None, str | None] | None:
        """`schema_state`, or None if the database does not answer."""
        try:
            return self.schema_state()
        except sa.exc.SQLAlchemyError:
            return None

    def analyze(self) -> int:
        """Let the planner look at tables that are three times what they were when it did; returns how many.

        Autovacuum comes round once a minute: a young table would be read by whatever index begins with the tenant until then.
        """
        if self.sqlite:
            return 0
        with self._reader.connect() as connection:
            found = [row[0] for row in connection.execute(_GROWN)]
            for name in found:
                connection.exec_driver_sql(f"ANALYZE {name}")  # quoted by regclass
        return len(found)

    def close(self) -> None:
        self.engine.dispose()


class Leadership:
    """Held as long as its own database connection lives: a process that dies, or loses the database, has lost it."""

    def __init__(self, engine: sa.Engine | None, name: str) -> None:
        self._engine, self._key = engine, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        self._connection: sa.Connection | None = None

    def held(self) -> bool:
        """Whether this process leads; tries to take the seat if it is free."""
        if self._engine is None:
            return True
        try:
            if self._connection is not None:
                self._connection.execute(sa.text("SELECT 1"))
                return True
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if connection.execute(sa.select(sa.func.pg_try_advisory_lock(self._key))).scalar():
                self._connection = connection
                return True
            connection.close()
        except sa.exc.SQLAlchemyError:
            self.release()
        return False

    def release(self) -> None:
        """Leave the seat."""
        if self._connection is not None:
            self._connection.invalidate()  # the lock belongs to the session: it must not go back into the pool with it
            self._connection.close()
            self._connection = None


def _note_use(_connection: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()
    if line := record.info.get(prepared.Line):
        line.forget()


def _send_before(connection: sa.Connection, *_: Any) -> None:
    """What was asked before is done before."""
    if line := connection.info.get(prepared.Line):
        line.send()


def _ping_idle(connection: Any, record: Any, _proxy: Any) -> None:
    """A connection that lay idle may have lost its server: asked first, and replaced if it does not answer."""
    if time.monotonic() - record.info.get("used", time.monotonic()) > _IDLE_SECONDS and not prepared.alive(connection):
        raise sa.exc.DisconnectionError


def _prepare_postgres(connection: Any, _record: Any) -> None:
    connection.adapters.register_loader("uuid", TextLoader)  # ids are text here
    connection.execute(_QUICK_COMPRESSION)
    connection.commit()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # IMMEDIATE takes the write lock at once: a read that later writes can then never fail half-way.
    write = connection.get_execution_options().get("hub_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
