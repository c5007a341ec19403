"""What people configure: tenants, API keys, connections and their credentials, integrations."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hub.store.rows import Fixed, Repository, Row, given
from hub.store.tables import (
    alias,
    api_key,
    connection,
    credential,
    cursor,
    entity,
    gap,
    integration_revision,
    integration_shadow,
    link,
    oauth_state,
    oauth_token,
    record,
    record_document,
    recording,
    subscription,
    sync_run,
    tenant,
)

_KEY_BY_DIGEST = Fixed(sa.select(api_key).where(api_key.c.digest == given(api_key.c.digest), api_key.c.revoked_at.is_(None)))
_VERSION = Fixed(sa.select(tenant.c.version).where(tenant.c.tenant_id == given(tenant.c.tenant_id)))
_VERSIONS = Fixed(sa.select(tenant.c.tenant_id, tenant.c.version).order_by(tenant.c.tenant_id))


class Configuring(Repository):
    """What processes remember of a tenant's configuration is good as long as the tenant's version stays."""

    def __init__(self, connection: sa.Connection, on_change: Callable[[str], None]) -> None:
        super().__init__(connection)
        self._on_change = on_change

    def _changed(self, tenant_id: str) -> None:
        self._update(tenant, (tenant.c.tenant_id == tenant_id,), {"version": tenant.c.version + 1})
        self._on_change(tenant_id)


class Tenants(Configuring):
    """Retailers, and the keys their systems use."""

    def add(self, tenant_id: str, name: str, now: datetime) -> bool:
        row = {"tenant_id": tenant_id, "name": name, "created_at": now, "version": 1}
        return bool(self._insert_or_ignore(tenant, [row], ["tenant_id"]))

    def ids(self) -> list[str]:
        return [row["tenant_id"] for row in self._all(sa.select(tenant.c.tenant_id).order_by(tenant.c.tenant_id))]

    def get(self, tenant_id: str) -> Row | None:
        columns = (tenant.c.tenant_id, tenant.c.name, tenant.c.created_at)
        return self._one(sa.select(*columns).where(tenant.c.tenant_id == tenant_id))

    def add_key(self, row: Mapping[str, Any]) -> None:
        self._c.execute(sa.insert(api_key).values(dict(row)))

    def key_by_digest(self, digest: str) -> Row | None:
        """The one look-up without a tenant: the key is what tells the tenant."""
        return self._one(_KEY_BY_DIGEST, of_digest=digest)

    def asking_version(self, tenant_id: str) -> Callable[[], int | None]:
        """Rises with every change of the tenant's configuration; None if there is no such tenant. Asked with the next."""
        asked = _VERSION.later(self._c, of_tenant_id=tenant_id)
        return lambda: next((row["version"] for row in asked.rows()), None)

    def versions(self) -> dict[str, int]:
        """Of every tenant."""
        rows = self._all(_VERSIONS)
        return {row["tenant_id"]: row["version"] for row in rows}

    def revoke_key(self, tenant_id: str, prefix: str, now: datetime) -> bool:
        """End the key that begins with ``prefix`` (its first 12 characters); False if there is none in use."""
        where = (api_key.c.tenant_id == tenant_id, api_key.c.prefix == prefix, api_key.c.revoked_at.is_(None))
        self._changed(tenant_id)
        return self._update(api_key, where, {"revoked_at": now}) == 1


class Connections(Configuring):
    """A tenant's authorised uses of connectors. States: active, paused (with the reason), retired (no file names it)."""

    def put(self, row: Mapping[str, Any]) -> None:
        changed = ("connector", "environment", "base_url", "settings", "updated_at")
        self._upsert(connection, row, changed)
        self._changed(row["tenant_id"])

    def get(self, tenant_id: str, connection_id: str) -> Row | None:
        where = (connection.c.tenant_id == tenant_id, connection.c.connection_id == connection_id)
        return self._one(sa.select(connection).where(*where))

    def all(self, tenant_id: str) -> list[Row]:
        statement = sa.select(connection).where(connection.c.tenant_id == tenant_id)
        return self._all(statement.order_by(connection.c.connection_id))

    def set_state(self, tenant_id: str, connection_id: str, state: str, reason: str, now: datetime) -> bool:
        """False if it is in that state already."""
        where = (
            connection.c.tenant_id == tenant_id, connection.c.connection_id == connection_id, connection.c.state != state,
        )  # fmt: skip
        values = {"state": state, "state_reason": reason[:1000], "updated_at": now}
        self._changed(tenant_id)
        return self._update(connection, where, values) == 1

    def forget_system(self, tenant_id: str, connection_id: str, now: datetime) -> dict[str, int]:
        """Remove all that belongs to the system behind a connection; returns the count of rows by table."""
        counts: dict[str, int] = {}
        for table in (
            credential, oauth_token, oauth_state, link, cursor, record, record_document, recording, subscription
        ):  # fmt: skip
            where = (table.c.tenant_id == tenant_id, table.c.connection_id == connection_id)
            counts[str(table.name)] = self._c.execute(sa.delete(table).where(*where)).rowcount
        left = {"state": "accepted", "ended_at": now, "actor": "hub", "reason": "the connection leads to another system"}
        for table, ended in ((alias, {"ended_at": now}), (gap, left)):
            open_rows = (table.c.tenant_id == tenant_id, table.c.connection_id == connection_id, table.c.ended_at.is_(None))
            counts[str(table.name)] = self._update(table, open_rows, ended)
        counts["entity"] = self._forget_said(tenant_id, connection_id)
        mine = (sync_run.c.tenant_id == tenant_id, sync_run.c.connection_id == connection_id, sync_run.c.ended_at.is_(None))
        ended = {"state": "cancelled", "error": "the connection leads to another system", "updated_at": now, "ended_at": now}
        counts["sync_run"] = self._update(sync_run, mine, ended)
        self._changed(tenant_id)
        return counts

    def _forget_said(self, tenant_id: str, connection_id: str) -> int:
        """Forget what the system behind a connection told and was told of entities; returns how many it knew."""
        count = 0
        for row in self._all(sa.select(entity.c.subject, entity.c.state).where(entity.c.tenant_id == tenant_id)):
            said = row["state"].get("said", {})
            if connection_id in said:
                state = {**row["state"], "said": {name: words for name, words in said.items() if name != connection_id}}
                where = (entity.c.tenant_id == tenant_id, entity.c.subject == row["subject"])
                count += self._update(entity, where, {"state": state, "version": entity.c.version + 1})
        return count

    def put_credential(self, row: Mapping[str, Any]) -> None:
        self._upsert(credential, row, ("version", "sealed", "created_at"))
        self._changed(row["tenant_id"])

    def credentials(self, tenant_id: str, connection_id: str) -> list[Row]:
        where = (credential.c.tenant_id == tenant_id, credential.c.connection_id == connection_id)
        return self._all(sa.select(credential).where(*where))


class Integrations(Configuring):
    """Revisions of integration files; one per integration is in force."""

    def in_force(self, tenant_id: str) -> list[Row]:
        where = (integration_revision.c.tenant_id == tenant_id, integration_revision.c.in_force)
        return self._all(sa.select(integration_revision).where(*where).order_by(integration_revision.c.integration))

    def revisions(self, tenant_id: str, integration: str) -> list[Row]:
        where = (integration_revision.c.tenant_id == tenant_id, integration_revision.c.integration == integration)
        return self._all(sa.select(integration_revision).where(*where).order_by(integration_revision.c.revision))

    def record(self, row: Mapping[str, Any]) -> int:
        """Add a revision and put it in force; returns its number."""
        known = self.revisions(row["tenant_id"], row["integration"])
        number = known[-1]["revision"] + 1 if known else 1
        where = (
            integration_revision.c.tenant_id == row["tenant_id"],
            integration_revision.c.integration == row["integration"],
        )
        self._update(integration_revision, where, {"in_force": False})
        self._c.execute(sa.insert(integration_revision).values({**row, "revision": number, "in_force": True}))
        self._changed(row["tenant_id"])
        return number

    def put_shadow(self, row: Mapping[str, Any]) -> None:
        """Let a candidate run beside what is in force; another one of the integration ends."""
        self._upsert(integration_shadow, row, ("digest", "source", "environment", "author", "reason", "created_at"))

    def shadow(self, tenant_id: str, integration: str) -> Row | None:
        where = (integration_shadow.c.tenant_id == tenant_id, integration_shadow.c.integration == integration)
        return self._one(sa.select(integration_shadow).where(*where))

    def end_shadow(self, tenant_id: str, integration: str) -> bool:
        where = (integration_shadow.c.tenant_id == tenant_id, integration_shadow.c.integration == integration)
        return self._c.execute(sa.delete(integration_shadow).where(*where)).rowcount == 1
