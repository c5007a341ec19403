"""A database in memory that outlives who uses it, and a store on it that says when it is about to commit: for rehearsals."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from hub.store.engine import Store, _begin_sqlite, _prepare_sqlite
from hub.store.uow import UnitOfWork

_NEXT_DUE = sa.text(
    "SELECT min(t) FROM (SELECT available_at AS t FROM delivery WHERE state IN ('pending', 'ambiguous') UNION ALL"
    " SELECT lease_until FROM delivery WHERE state IN ('claimed', 'sending') UNION ALL"
    " SELECT max(available_at, coalesce(lease_until, available_at)) FROM raw_input WHERE state = 'received')"
    " WHERE t > :now"
)


class Memory:
    """What a crash leaves: an in-memory SQLite."""

    def __init__(self) -> None:
        self.raw: Any = sqlite3.connect(":memory:", check_same_thread=False)
        _prepare_sqlite(self.raw, None)
        self.engine = sa.create_engine("sqlite://", creator=lambda: self.raw, poolclass=sa.pool.StaticPool)
        sa.event.listen(self.engine, "begin", _begin_sqlite)

    def copy(self) -> Any:
        """What is in it now, for `restore`."""
        kept = sqlite3.connect(":memory:", check_same_thread=False)
        self.raw.backup(kept)
        return kept

    def restore(self, kept: Any) -> None:
        """As it was."""
        kept.backup(self.raw)

    def crash(self) -> None:
        """What was not committed is gone with the process."""
        self.raw.rollback()

    def rows(self, table: str) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(sa.text("*")).select_from(sa.table(table))).mappings()]

    def next_due(self, now: datetime) -> datetime | None:
        """The nearest lease or time of availability after ``now``."""
        with self.engine.connect() as connection:
            text = now.replace(tzinfo=None).strftime("%Y-%m-%d %H:%M:%S.%f")
            found = connection.execute(_NEXT_DUE, {"now": text}).scalar()
        return datetime.fromisoformat(found).replace(tzinfo=UTC) if found else None


class MemoryStore(Store):
    """The store on a `Memory`; calls ``committing`` right before each commit that changes something."""

    def __init__(self, memory: Memory, committing: Callable[[], None]) -> None:
        self.url, self.sqlite = "sqlite://", True
        self._writer = contextlib.nullcontext()  # type: ignore[assignment]
        self.engine, self._memory, self._committing = memory.engine, memory, committing

    @contextlib.contextmanager
    def begin(self, durable: bool = True) -> Iterator[UnitOfWork]:
        before = self._memory.raw.total_changes
        with super().begin() as uow:
            yield uow
            uow.flush()
            if self._memory.raw.total_changes != before:  # a transaction that changed nothing is no effect
                self._committing()

    def close(self) -> None:
        """The memory stays."""


class InlineGroup:
    """Group commit of one, in the caller's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, work: Any, *key: str) -> "Future[Any]":
        return self.submit_each(lambda uow, works: [work(uow) for work in works], work, *key)

    def submit_each(self, many: Any, item: Any, *key: str, weight: int = 1) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            with self._store.begin() as uow:
                (result,) = many(uow, [item])
            future.set_result(result)
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing runs."""
