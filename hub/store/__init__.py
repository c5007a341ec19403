"""The only room that speaks SQL. `Store.begin()` opens a unit of work; its repositories are the tables' verbs."""

from hub.store.engine import Store
from hub.store.ids import new_id
from hub.store.uow import UnitOfWork

__all__ = ["Store", "UnitOfWork", "new_id"]
