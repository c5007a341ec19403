"""Our ids: UUIDv7, time-ordered (random keys quadruple WAL at 10^7 rows) and increasing within a process."""

import threading
from datetime import datetime

import uuid6

_lock = threading.Lock()


def new_id() -> str:
    """A new id; later calls in one process sort after earlier ones."""
    with _lock:  # uuid6 keeps the last timestamp in a global without a lock of its own
        return str(uuid6.uuid7())


def first_id(at: datetime) -> str:
    """No id that is made from then on is smaller (by the clock of whoever makes it)."""
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"
