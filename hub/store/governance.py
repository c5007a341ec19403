"""The contract's workflow: proposals, what people decided about single changes, notices. Hub-wide: no tenant is asked for."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from hub.store.rows import Repository, Row
from hub.store.tables import contract_decision, contract_notice, contract_proposal, delivery

_BLOBS = ("contract", "changes", "findings", "evidence")
_BRIEF = tuple(column for column in contract_proposal.c if column.name not in _BLOBS)


class Governance(Repository):
    """Versions of the contract under review, and those that were released here."""

    def add(self, row: Mapping[str, Any]) -> None:
        """A proposal; an open one of the same version is superseded by it."""
        where = (contract_proposal.c.version == row["version"], contract_proposal.c.state == "open")
        self._update(contract_proposal, where, {"state": "superseded"})
        self._c.execute(sa.insert(contract_proposal).values(dict(row)))

    def lock(self, proposal_id: str) -> Row | None:
        """A proposal, whole; nobody else decides about, or releases, any open one until this transaction ends."""
        if self._postgres:
            opened = sa.select(contract_proposal.c.id).where(contract_proposal.c.state == "open")
            self._c.execute(opened.order_by(contract_proposal.c.id).with_for_update())
        return self.get(proposal_id)

    def get(self, proposal_id: str) -> Row | None:
        return self._one(sa.select(contract_proposal).where(contract_proposal.c.id == proposal_id))

    def page(self, after: str | None, limit: int) -> list[Row]:
        """Newest first, without their contracts."""
        statement = sa.select(*_BRIEF)
        if after is not None:
            statement = statement.where(contract_proposal.c.id < after)
        return self._all(statement.order_by(contract_proposal.c.id.desc()).limit(limit + 1))

    def released(self) -> list[Row]:
        """What was released by this hub, without the contracts."""
        return self._all(sa.select(*_BRIEF).where(contract_proposal.c.state == "released"))

    def close(self, proposal_id: str, values: Mapping[str, Any]) -> bool:
        """End an open proposal; False if it is not open any more."""
        where = (contract_proposal.c.id == proposal_id, contract_proposal.c.state == "open")
        return self._update(contract_proposal, where, values) == 1

    def decide(self, row: Mapping[str, Any]) -> None:
        """One person's verdict on one change; a later one takes the place of the earlier."""
        self._upsert(contract_decision, row, ("verdict", "reason", "at"))

    def decisions(self, base: str) -> list[Row]:
        """All verdicts on changes since a version, in order of time: they hold for every proposal with the same change."""
        statement = sa.select(contract_decision).where(contract_decision.c.base == base)
        return self._all(statement.order_by(contract_decision.c.at, contract_decision.c.person))

    def notify(self, row: Mapping[str, Any]) -> None:
        self._upsert(contract_notice, row, ("changes", "at"))

    def notices(self, tenant_id: str, after: tuple[str, ...] | None, limit: int) -> list[Row]:
        """A tenant's, by client and version."""
        keys = (contract_notice.c.client, contract_notice.c.version)
        where: list[Any] = [contract_notice.c.tenant_id == tenant_id]
        if after is not None:
            where.append(sa.tuple_(*keys) > sa.tuple_(*(sa.literal(part) for part in after)))
        return self._all(sa.select(contract_notice).where(*where).order_by(*keys).limit(limit + 1))

    def told(self, version: str) -> list[Row]:
        """Who was told of a version."""
        keys = (contract_notice.c.tenant_id, contract_notice.c.client)
        return self._all(sa.select(*keys).where(contract_notice.c.version == version).order_by(*keys))

    def dead_letters(self) -> list[Row]:
        """Over all tenants, open dead letters by tenant_id, connection_id and type."""
        by = (delivery.c.tenant_id, delivery.c.connection_id, delivery.c.type)
        statement = sa.select(*by, sa.func.count().label("dead_letters")).where(delivery.c.state == "dead").group_by(*by)
        return self._all(statement.order_by(*by))
