"""How connectors behaved: incidents of isolated ones, outcomes by version and day."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from hub.store.rows import Repository, Row
from hub.store.tables import plugin_incident, plugin_outcome


class PluginRecords(Repository):
    """Counters: adding to one that is there raises it."""

    def add_incidents(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows with ``count``, ``first_at``, ``last_at`` and the last ``detail``."""
        self._add(plugin_incident, rows, ("last_at", "detail"))

    def add_outcomes(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._add(plugin_outcome, rows, ())

    def incidents(self, tenant_id: str, connector: str, limit: int = 100) -> list[Row]:
        """A tenant's, newest first."""
        where = (plugin_incident.c.tenant_id == tenant_id, plugin_incident.c.connector == connector)
        return self._all(sa.select(plugin_incident).where(*where).order_by(plugin_incident.c.last_at.desc()).limit(limit))

    def outcomes(self, connector: str, tenant_id: str | None = None, since: datetime | None = None) -> list[Row]:
        """Tries by version and outcome, with their ``count``; of one tenant, or of all."""
        where: list[Any] = [plugin_outcome.c.connector == connector]
        if tenant_id is not None:
            where.append(plugin_outcome.c.tenant_id == tenant_id)
        if since is not None:
            where.append(plugin_outcome.c.day >= since.date().isoformat())
        by = (plugin_outcome.c.version, plugin_outcome.c.outcome)
        total = sa.cast(sa.func.sum(plugin_outcome.c.count), sa.BigInteger).label("count")
        return self._all(sa.select(*by, total).where(*where).group_by(*by).order_by(*by))

    def _add(self, table: sa.Table, rows: Sequence[Mapping[str, Any]], newest: Sequence[str]) -> None:
        insert = postgresql.insert if self._postgres else sqlite.insert
        keys = [column.name for column in table.primary_key.columns]
        # In one order, whoever adds: two that add to the same counters must not wait for each other in a circle.
        for row in sorted(rows, key=lambda row: [str(row[key]) for key in keys]):
            statement = insert(table).values(dict(row))
            raised = {
                "count": table.c.count + statement.excluded["count"],
                **{name: statement.excluded[name] for name in newest},
            }
            self._c.execute(statement.on_conflict_do_update(index_elements=keys, set_=raised))
