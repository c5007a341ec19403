"""Our ids: UUIDv7, time-ordered (random keys quadruple WAL at 10^7 rows) and increasing within a process."""

import threading

import uuid6

_lock = threading.Lock()


def new_id() -> str:
    """A new id; later calls in one process sort after earlier ones."""
    with _lock:  # uuid6 keeps the last timestamp in a global without a lock of its own
        return str(uuid6.uuid7())
