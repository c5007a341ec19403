"""What people configured, remembered per tenant for as long as the tenant's version stays: one short read instead of many."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from hub.store.uow import UnitOfWork

T = TypeVar("T")


class Configured:
    """The memory of this process. The version is read in every transaction, so a change counts at once, everywhere."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, dict[Hashable, Any]]] = {}
        self._lock = threading.Lock()

    def forget(self) -> None:
        """What is remembered was made from something that has changed in this process."""
        with self._lock:
            self._known = {}

    def get(self, uow: UnitOfWork, tenant_id: str, name: Hashable, read: Callable[[], T]) -> T:
        """What ``read`` returned since the tenant's configuration changed last. The result is shared: change nothing in it."""
        version = uow.version_of(tenant_id)
        if version is None:
            return read()
        with self._lock:
            known = self._known.get(tenant_id)
            if known is None or known[0] != version:
                known = self._known[tenant_id] = (version, {})
        if name not in known[1]:
            known[1][name] = read()  # read after the version: it may be newer than that says, never older
        found: T = known[1][name]
        return found
