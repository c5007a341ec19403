"""The unit of work: one transaction and the repositories that write in it."""

from collections.abc import Callable
from datetime import datetime
from functools import cached_property

import sqlalchemy as sa

from hub.store.aliases import Aliases
from hub.store.attempts import Attempts
from hub.store.control import Connections, Integrations, Tenants
from hub.store.corrections import Corrections
from hub.store.deliveries import Deliveries
from hub.store.entities import Conflicts, Entities
from hub.store.gaps import Gaps
from hub.store.governance import Governance
from hub.store.ledger import Audit, Budgets, Idempotency, Links, Usage
from hub.store.messages import Messages, RawInputs
from hub.store.plugins import PluginRecords
from hub.store.recordings import Recordings
from hub.store.records import Records
from hub.store.retention import History
from hub.store.sync import Cursors, Runs, Subscriptions
from hub.store.tokens import Tokens


class UnitOfWork:
    """Repositories over one transaction; `Store.begin` commits it."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._versions: dict[str, int | None] = {}
        self._asked: dict[str, Callable[[], int | None]] = {}

    def flush(self) -> None:
        """Write what was collected; `Store.begin` calls it last, so that the audit chain's head is locked for moments only."""
        if "usage" in self.__dict__:
            self.usage.flush()
        if "audit" in self.__dict__:
            self.audit.flush()

    def now(self) -> datetime:
        """The database's clock (PostgreSQL)."""
        now: datetime = self._connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return now

    def version_of(self, tenant_id: str) -> int | None:
        """The version of a tenant's configuration, asked once per transaction; None: remember nothing of what is read here
        (there is no such tenant, or this transaction has changed its configuration and may yet be rolled back).
        """
        if tenant_id not in self._versions:
            self.ask_version(tenant_id)
            self._versions[tenant_id] = self._asked.pop(tenant_id)()
        return self._versions[tenant_id]

    def ask_version(self, tenant_id: str) -> None:
        """It will be needed: it is asked with whatever is asked next."""
        if tenant_id not in self._versions and tenant_id not in self._asked:
            self._asked[tenant_id] = self.tenants.asking_version(tenant_id)

    def all_tenants(self) -> list[str]:
        """Every tenant, with the versions of their configurations: one read for a thousand of them."""
        found = self.tenants.versions()
        self._versions = {**found, **self._versions}
        return list(found)

    def _configured(self, tenant_id: str) -> None:
        self._versions[tenant_id] = None

    @cached_property
    def entities(self) -> Entities:
        return Entities(self._connection)

    @cached_property
    def conflicts(self) -> Conflicts:
        return Conflicts(self._connection)

    @cached_property
    def records(self) -> Records:
        return Records(self._connection)

    @cached_property
    def aliases(self) -> Aliases:
        return Aliases(self._connection, self._configured)

    @cached_property
    def recordings(self) -> Recordings:
        return Recordings(self._connection)

    @cached_property
    def gaps(self) -> Gaps:
        return Gaps(self._connection)

    @cached_property
    def subscriptions(self) -> Subscriptions:
        return Subscriptions(self._connection)

    @cached_property
    def runs(self) -> Runs:
        return Runs(self._connection)

    @cached_property
    def raws(self) -> RawInputs:
        return RawInputs(self._connection)

    @cached_property
    def messages(self) -> Messages:
        return Messages(self._connection)

    @cached_property
    def deliveries(self) -> Deliveries:
        return Deliveries(self._connection)

    @cached_property
    def corrections(self) -> Corrections:
        return Corrections(self._connection)

    @cached_property
    def attempts(self) -> Attempts:
        return Attempts(self._connection)

    @cached_property
    def tenants(self) -> Tenants:
        return Tenants(self._connection, self._configured)

    @cached_property
    def connections(self) -> Connections:
        return Connections(self._connection, self._configured)

    @cached_property
    def integrations(self) -> Integrations:
        return Integrations(self._connection, self._configured)

    @cached_property
    def audit(self) -> Audit:
        return Audit(self._connection)

    @cached_property
    def idempotency(self) -> Idempotency:
        return Idempotency(self._connection)

    @cached_property
    def governance(self) -> Governance:
        return Governance(self._connection)

    @cached_property
    def tokens(self) -> Tokens:
        return Tokens(self._connection)

    @cached_property
    def plugins(self) -> PluginRecords:
        return PluginRecords(self._connection)

    @cached_property
    def usage(self) -> Usage:
        return Usage(self._connection)

    @cached_property
    def links(self) -> Links:
        return Links(self._connection)

    @cached_property
    def cursors(self) -> Cursors:
        return Cursors(self._connection)

    @cached_property
    def history(self) -> History:
        return History(self._connection)

    @cached_property
    def budgets(self) -> Budgets:
        return Budgets(self._connection)
