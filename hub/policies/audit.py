"""Audit policy: who did what, append-only, hash-chained, in the transaction of the change itself."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hub.policies import redaction
from hub.store import UnitOfWork

#: Actions that are recorded; an unknown one is a bug and raises.
ACTIONS = frozenset({
    "webhook.refused", "raw.repeated", "raw.translated", "raw.quarantined", "raw.ignored", "raw.discarded", "raw.replayed",
    "message.accepted", "message.changed", "message.suspected", "message.released", "message.dropped",
    "delivery.applied", "delivery.skipped", "delivery.dead", "delivery.replayed", "delivery.discarded",
    "delivery.corrected", "connection.paused", "connection.resumed", "connection.saved", "credential.saved",
    "plugin.rolled_back", "webhook.challenged", "connection.authorized", "connection.authorization_refused",
    "connection.drifted", "connection.agrees", "connection.moved", "connection.retired", "credential.rotated",
    "webhook.former_secret",
    "run.started", "run.paused", "run.resumed", "run.cancelled", "flow.released",
    "subscription.created", "subscription.repaired", "subscription.ended", "subscription.refused",
    "gap.found", "gap.accepted", "alias.linked", "alias.imported", "alias.merged", "alias.split",
    "entity.conflict", "entity.tripped", "entity.resolved",
    "integration.applied", "integration.shadowed", "integration.unshadowed", "tenant.created", "key.created", "key.revoked",
    "history.forgotten", "cursor.set", "read.begun_again",
    "contract.proposed", "contract.approved", "contract.rejected", "contract.withdrawn", "contract.released",
})  # fmt: skip


def record(uow: UnitOfWork, tenant_id: str, at: datetime, actor: str, action: str, subject: str, **detail: Any) -> None:
    """Append one record; strings in ``detail`` are redacted."""
    if action not in ACTIONS:
        raise ValueError(f"unknown audit action {action!r}")
    uow.audit.append(tenant_id, at, actor, action, subject, _safe(detail))


def _safe(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {key: redaction.text(value)[:1000] if isinstance(value, str) else value for key, value in detail.items()}
