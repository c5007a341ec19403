"""The only room that speaks SQL. `Store.begin()` opens a unit of work; its repositories are the tables' verbs."""

from hub.store.clock import StoreClock
from hub.store.configured import Configured
from hub.store.engine import Leadership, Store, StoreUnavailableError
from hub.store.group import GroupCommit
from hub.store.ids import new_id
from hub.store.memory import InlineGroup, Memory, MemoryStore
from hub.store.uow import UnitOfWork

__all__ = [
    "Configured",
    "GroupCommit",
    "InlineGroup",
    "Leadership",
    "Memory",
    "MemoryStore",
    "Store",
    "StoreClock",
    "StoreUnavailableError",
    "UnitOfWork",
    "new_id",
]
