"""Our ids: UUIDv7, time-ordered (random keys quadruple WAL at 10^7 rows) and increasing within a process."""

import hashlib
import threading
from datetime import datetime

import uuid6

from canonical.fields import UNSTORABLE

_lock = threading.Lock()
#: Characters of a foreign id that are kept in front of its digest.
_PREFIX = 150


def new_id() -> str:
    """A new id; later calls in one process sort after earlier ones."""
    with _lock:  # uuid6 keeps the last timestamp in a global without a lock of its own
        return str(uuid6.uuid7())


def first_id(at: datetime) -> str:
    """No id that is made from then on is smaller (by the clock of whoever makes it)."""
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"


def bounded(text: str, longest: int = 255) -> str:
    """A foreign id as a column of ``longest`` characters keeps it: as it is if it fits, else its beginning and its SHA-256.

    It is never cut alone: two ids that begin alike stay two. ``longest`` is more than a digest has (65).
    """
    if len(text) <= longest and not UNSTORABLE.search(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{UNSTORABLE.sub(chr(0xFFFD), text)[: min(_PREFIX, longest - len(digest) - 1)]}#{digest}"
