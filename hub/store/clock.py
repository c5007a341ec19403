"""One clock for all processes of a hub: the store's, carried on by the monotonic clock between looks at it.

Leases, budgets and due times of different processes are compared with each other, so a machine whose clock is set must not
expire another's lease. A step of the local clock changes nothing; a pause of the process (SIGSTOP) is seen, as it must be.
"""

import time
from datetime import UTC, datetime

from hub.store.engine import Store, StoreUnavailableError

_LOOKS = 4


class StoreClock:
    """Callable: the time now, aware, UTC. `anchor` again now and then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._offset = time.time() - time.monotonic()
        self.anchor()

    def anchor(self) -> None:
        """Look at the store's clock; keeps what is known if the store is away.

        The answer was given somewhere between asking and hearing it: the offset is moved as far as that proves it wrong and no
        further, so one slow look (the first opens a connection) spoils nothing, and the quickest of a few decides.
        """
        for _ in range(_LOOKS):
            asked = time.monotonic()
            try:
                now = self._store.now().timestamp()
            except StoreUnavailableError:
                return
            self._offset = min(max(self._offset, now - time.monotonic()), now - asked)

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self._offset + time.monotonic(), UTC)
