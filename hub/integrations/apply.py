"""Applying an integration file: connections saved, a revision recorded and put in force, all in one transaction."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from hub.errors import HubError
from hub.identity.connections import missing_credentials
from hub.integrations.files import Integration, parse_integration
from hub.policies import audit
from hub.runtime.plugins import Plugins
from hub.store import UnitOfWork


def digest_of(text: str) -> str:
    """What a revision is known by, in every tenant and environment: the SHA-256 of its file."""
    return hashlib.sha256(text.encode()).hexdigest()


def _one_decides(wanted: Integration, other: Integration) -> None:
    """Who may write a field is said in one place, or nobody knows it."""
    if shared := sorted(wanted.ownership.keys() & other.ownership.keys()):
        errors = [
            {"code": "owned_elsewhere", "field": f"/ownership/{entity}",
             "message": f"integration {other.name!r} says who owns the fields of {entity}; say it in one file"}
            for entity in shared
        ]  # fmt: skip
        raise HubError("invalid_integration", errors[0]["message"], errors)


@dataclass(frozen=True)
class Applied:
    """What applying did. ``changed`` is False when the same file is in force already."""

    integration: str
    revision: int
    changed: bool
    connections: tuple[str, ...]


def apply_integration(
    uow: UnitOfWork, plugins: Plugins, tenant_id: str, wanted: Integration, author: str, reason: str, now: datetime,
    environment: str = "",
) -> Applied:  # fmt: skip
    """Put ``wanted`` in force for a tenant, in one of its file's environments.

    Raises HubError (`invalid_integration`) if another file in force says who owns the fields of the same entity.
    """
    digest = digest_of(wanted.text)
    saved = tuple(sorted(wanted.connections))
    for row in uow.integrations.in_force(tenant_id):
        if (row["integration"], row["digest"], row["environment"]) == (wanted.name, digest, environment):
            return Applied(wanted.name, row["revision"], False, saved)
        if row["integration"] != wanted.name and wanted.ownership:
            _one_decides(wanted, parse_integration(row["source"], row["integration"], None, tenant_id, row["environment"]))
    for connection_id in saved:
        declared = wanted.connections[connection_id]
        environments = plugins.get(declared["connector"], tenant_id).manifest.data["environments"]
        base_url = declared["base_url"] or environments[declared["environment"]]["base_url"]
        row = {
            "tenant_id": tenant_id, "connection_id": connection_id, "connector": declared["connector"],
            "environment": declared["environment"], "base_url": base_url,
            "settings": {"settings": declared["settings"], "limits": declared["limits"]},
            "state": "active", "state_reason": "", "created_at": now, "updated_at": now,
        }  # fmt: skip
        if missing := missing_credentials(uow, plugins, row):
            row |= {"state": "paused", "state_reason": f"credentials missing: {', '.join(missing)}"}
        uow.connections.put(row)
        audit.record(
            uow, tenant_id, now, author, "connection.saved", f"connection/{connection_id}",
            connector=declared["connector"], base_url=base_url,
        )  # fmt: skip
    number = uow.integrations.record({
        "tenant_id": tenant_id, "integration": wanted.name, "digest": digest, "source": wanted.text, "author": author,
        "reason": reason, "created_at": now, "environment": environment,
    })  # fmt: skip
    audit.record(
        uow, tenant_id, now, author, "integration.applied", f"integration/{wanted.name}", revision=number,
        digest=digest, reason=reason, **({"environment": environment} if environment else {}),
    )  # fmt: skip
    return Applied(wanted.name, number, True, saved)
