"""Drift: an account's own fields change without a word. What hurts a map in use is told; what nobody uses is nobody's business.

Maps are compared with the account when a file is applied; here they are compared again, at a cadence.
"""

import logging
from datetime import timedelta
from typing import Any

from hub.errors import HubError
from hub.flow.context import Context
from hub.identity.connections import described
from hub.policies import audit, redaction
from hub.sdk.connector import Connector
from hub.store import StoreUnavailableError, UnitOfWork

log = logging.getLogger(__name__)
#: How far it has come is kept where reads keep it, under a name that no object of a connector has.
_STREAM = "#fields"


class Drift:
    """Looks whether the fields that maps set are still there."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._every = timedelta(seconds=ctx.settings.drift_seconds)

    def run_due(self) -> int:
        """Ask the accounts that are due; returns how many were."""
        ctx, now = self._ctx, self._ctx.clock()
        with ctx.store.read() as uow:
            due = []
            for tenant_id in uow.tenants.ids():
                for connection_id, mapped in self._mapped(uow, tenant_id).items():
                    row = uow.cursors.get(tenant_id, connection_id, _STREAM)
                    if row is None or row["next_run_at"] <= now:
                        due.append((tenant_id, connection_id, mapped))
        for item in due:
            self._look(*item)
        return len(due)

    def _mapped(self, uow: UnitOfWork, tenant_id: str) -> dict[str, set[tuple[str, str]]]:
        """By active connection that can tell its fields, (flow, field) of every map that leads there."""
        found: dict[str, set[tuple[str, str]]] = {}
        for entry in self._ctx.routes.in_force(uow, tenant_id):
            for name, flow in entry.flows():
                for target in flow.targets:
                    found.setdefault(target.connection_id, set()).update((name, field) for field in target.map)
        return {key: mapped for key, mapped in found.items() if mapped and self._tells(uow, tenant_id, key)}

    def _tells(self, uow: UnitOfWork, tenant_id: str, connection_id: str) -> bool:
        row = self._ctx.connection(uow, tenant_id, connection_id)
        if row is None or row["state"] != "active" or row["connector"] not in self._ctx.plugins.connectors:
            return False
        connector = self._ctx.plugins.connectors[row["connector"]]
        return connector.manifest.data["describe"] is not None or connector.describe is not Connector.describe

    def _look(self, tenant_id: str, connection_id: str, mapped: set[tuple[str, str]]) -> None:
        ctx = self._ctx
        with ctx.store.read() as uow:
            row = uow.cursors.get(tenant_id, connection_id, _STREAM)
        before = row["value"].get("unknown", []) if row else []
        unknown, problem = before, ""
        try:
            with ctx.store.read() as uow:
                session = ctx.sessions.get(uow, tenant_id, connection_id)
            names = {field["name"] for field in described(ctx.loop, session)}
            unknown = [f"{flow}: {field}" for flow, field in sorted(mapped) if field not in names]
        except StoreUnavailableError:
            raise
        except Exception as error:  # whatever an account or its connector does is told here, and is nobody else's business
            problem = error.detail if isinstance(error, HubError) else f"{type(error).__name__}: {error}"
        now = ctx.clock()
        state: dict[str, Any] = {"state": "failed" if problem else "complete", "error": redaction.text(problem)[:500]}
        with ctx.store.begin() as uow:
            uow.cursors.put({
                "tenant_id": tenant_id, "connection_id": connection_id, "object": _STREAM, "value": {"unknown": unknown},
                "updated_at": now, "next_run_at": now + self._every, "run": state,
            })  # fmt: skip
            if unknown != before:
                action = "connection.drifted" if set(unknown) - set(before) else "connection.agrees"
                audit.record(uow, tenant_id, now, "drift", action, f"connection/{connection_id}", unknown=unknown)
                log.warning("%s/%s: fields that maps set and the account has not: %s", tenant_id, connection_id,
                            ", ".join(unknown) or "none any more")  # fmt: skip
