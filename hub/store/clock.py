"""One clock for all processes of a hub: the store's, carried on by the monotonic clock between looks at it.

Leases, budgets and due times of different processes are compared with each other, so a machine whose clock is set must not
expire another's lease. A step of the local clock changes nothing; a pause of the process (SIGSTOP) is seen, as it must be.
"""

import time
from datetime import UTC, datetime

from hub.store.engine import Store, StoreUnavailableError


class StoreClock:
    """Callable: the time now, aware, UTC. `anchor` again now and then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._offset = time.time() - time.monotonic()
        self.anchor()

    def anchor(self) -> None:
        """Look at the store's clock; keeps the last look if the store is away."""
        before = time.monotonic()
        try:
            now = self._store.now().timestamp()
        except StoreUnavailableError:
            return
        self._offset = now - (before + time.monotonic()) / 2

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self._offset + time.monotonic(), UTC)
