"""The routes in force, per tenant: the flows of every integration's current revision, parsed once per revision."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from hub.integrations.files import Flow, Integration, Target, parse_integration
from hub.policies.ownership import Rules
from hub.store import Configured, UnitOfWork


@dataclass(frozen=True)
class InForce:
    """An integration and the revision that is in force."""

    revision: int
    integration: Integration

    def flows(self) -> Iterator[tuple[str, Flow]]:
        """(qualified name `integration/flow`, flow)."""
        for flow in self.integration.flows:
            yield f"{self.integration.name}/{flow.name}", flow

    @cached_property
    def _about(self) -> dict[str, list[tuple[str, Flow]]]:
        found: dict[str, list[tuple[str, Flow]]] = {}
        for name, flow in self.flows():
            for entity in dict.fromkeys(type_name.rpartition(".v")[0] for type_name in flow.types):
                found.setdefault(entity, []).append((name, flow))
        return found

    @cached_property
    def targets(self) -> dict[tuple[str, str], Target]:
        """(qualified name of a flow, connection) → what is said of it there."""
        return {(name, target.connection_id): target for name, flow in self.flows() for target in flow.targets}

    def about(self, entity: str) -> Sequence[tuple[str, Flow]]:
        """The flows that name any major of an entity: with a thousand integrations, few look at an event."""
        return self._about.get(entity, ())


class Routes:
    """Cache of parsed revisions; revisions are immutable, so an entry is never stale."""

    def __init__(self, configured: Configured) -> None:
        self._configured = configured
        self._parsed: dict[tuple[str, str, int], InForce] = {}
        self._lock = threading.Lock()

    def in_force(self, uow: UnitOfWork, tenant_id: str) -> list[InForce]:
        """What routes a tenant's messages now."""
        return self._configured.get(uow, tenant_id, "routes", lambda: self._in_force(uow, tenant_id))

    def ownership(self, uow: UnitOfWork, tenant_id: str, entity: str) -> Rules | None:
        """The rules for an entity's fields, of the one integration that has any; None if nobody owns anything."""

        def look() -> Rules | None:
            found = (entry.integration.ownership.get(entity) for entry in self.in_force(uow, tenant_id))
            return next((rules for rules in found if rules), None)

        return self._configured.get(uow, tenant_id, ("ownership", entity), look)

    def _in_force(self, uow: UnitOfWork, tenant_id: str) -> list[InForce]:
        found = []
        for row in uow.integrations.in_force(tenant_id):
            key = (tenant_id, row["integration"], row["revision"])
            with self._lock:
                entry = self._parsed.get(key)
                if entry is None:
                    name = f"{row['integration']} revision {row['revision']}"
                    parsed = parse_integration(row["source"], name, None, tenant_id, row["environment"])
                    entry = self._parsed[key] = InForce(row["revision"], parsed)
            found.append(entry)
        return found
