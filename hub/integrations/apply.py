"""Applying an integration file: connections saved, a revision recorded and put in force, all in one transaction."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hub.errors import HubError
from hub.identity.connections import missing_credentials
from hub.integrations.disputes import Dispute, disputes, is_moved, open_disputes
from hub.integrations.files import Integration, parse_integration
from hub.policies import audit
from hub.runtime.plugins import Plugins
from hub.store import UnitOfWork
from hub.store.rows import Row


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


def _row(plugins: Plugins, tenant_id: str, connection_id: str, wanted: Integration, now: datetime) -> dict[str, Any]:
    """Make the row of a connection as the file declares it."""
    declared = wanted.connections[connection_id]
    environments = plugins.get(declared["connector"], tenant_id).manifest.data["environments"]
    return {
        "tenant_id": tenant_id, "connection_id": connection_id, "connector": declared["connector"],
        "environment": declared["environment"],
        "base_url": declared["base_url"] or environments[declared["environment"]]["base_url"],
        "settings": {"settings": declared["settings"], "limits": declared["limits"]},
        "state": "active", "state_reason": "", "created_at": now, "updated_at": now,
    }  # fmt: skip


def _moved_away(old: Row, now: datetime) -> dict[str, Any]:
    """Return the cause by which what waited for the former system becomes a dead letter."""
    return {
        "settled_at": now, "available_at": now, "cause_code": "connection_moved",
        "cause": f"the connection moved to another system; this delivery was for {old['connector']} at {old['base_url']}, "
                 "and it may be there already if an attempt was sent",
        "remedy": "replay sends it to the system of now; discard it if only the former system should have it",
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Examination:
    """A file against the connections and files of its tenant.

    Attributes:
        rows, kept: connections by id as the file would save them, and as they are stored.
        disputes: reasons for which it is not applied unless a person accepts them.
        retired: connections that no file would name any more.
    """

    rows: Mapping[str, dict[str, Any]]
    kept: Mapping[str, Row]
    disputes: Sequence[Dispute]
    retired: Sequence[str]


def examine(uow: UnitOfWork, plugins: Plugins, tenant_id: str, wanted: Integration, now: datetime) -> Examination:
    """Compare a file with the connections and files of its tenant; nothing is changed."""
    others, named_before = [], set[str]()
    for row in uow.integrations.in_force(tenant_id):
        parsed = parse_integration(row["source"], row["integration"], None, tenant_id, row["environment"])
        if row["integration"] == wanted.name:
            named_before = set(parsed.connections)
        else:
            others.append(parsed)
    kept = {row["connection_id"]: row for row in uow.connections.all(tenant_id)}
    rows = {name: _row(plugins, tenant_id, name, wanted, now) for name in sorted(wanted.connections)}
    named = set(rows).union(*(other.connections for other in others))
    found = disputes(wanted, others, rows, kept)
    return Examination(rows=rows, kept=kept, disputes=found, retired=sorted((named_before - named) & kept.keys()))


def consequences(uow: UnitOfWork, tenant_id: str, found: Examination) -> list[dict[str, str]]:
    """Say what an application would do besides its changes: `field`, `message`, and `accept`, the name that permits it."""
    waiting: Counter[str] = Counter()
    for row in uow.deliveries.counts(tenant_id):
        if row["state"] in ("pending", "claimed", "sending", "ambiguous"):
            waiting[row["connection_id"]] += row["count"]
    told = []
    for item in found.disputes:
        moved = (
            f"; {waiting[item.connection]} waiting deliveries become dead letters" if item.accept.startswith("moved-") else ""
        )
        told.append({"field": item.field, "message": item.message + moved, "accept": item.accept})
    for name in found.retired:
        message = (
            f"connection {name!r} is named by no file any more: it stops, its webhooks are refused, and its "
            f"{waiting[name]} waiting deliveries wait until a file names it again or a person discards them"
        )
        told.append({"field": f"/connections/{name}", "message": message, "accept": ""})
    return told


@dataclass(frozen=True)
class Applied:
    """What applying did. ``changed`` is False when the same file is in force already."""

    integration: str
    revision: int
    changed: bool
    connections: tuple[str, ...]


def apply_integration(
    uow: UnitOfWork, plugins: Plugins, tenant_id: str, wanted: Integration, author: str, reason: str, now: datetime,
    environment: str = "", accept: Collection[str] = (),
) -> Applied:  # fmt: skip
    """Put ``wanted`` in force for a tenant, in one of its file's environments.

    ``accept``: what a person accepts by name (`moved-connection:t`, `shared-connection:t`, `same-target:t`); audited.

    Raises HubError (`invalid_integration`) if it doubles a flow or moves a connection that nobody accepted,
    or if another file in force says who owns the fields of the same entity.
    """
    digest = digest_of(wanted.text)
    saved = tuple(sorted(wanted.connections))
    for row in uow.integrations.in_force(tenant_id):
        if (row["integration"], row["digest"], row["environment"]) == (wanted.name, digest, environment):
            return Applied(wanted.name, row["revision"], False, saved)
        if wanted.ownership and row["integration"] != wanted.name:
            _one_decides(wanted, parse_integration(row["source"], row["integration"], None, tenant_id, row["environment"]))
    found = examine(uow, plugins, tenant_id, wanted, now)
    if wrong := open_disputes(found.disputes, accept):
        errors = [{"code": "not_accepted", "field": item.field, "message": item.message} for item in wrong]
        raise HubError("invalid_integration", errors[0]["message"], errors)
    for connection_id, row in found.rows.items():
        old = found.kept.get(connection_id)
        moved = old is not None and is_moved(old, row)
        if old is not None and moved:
            removed = uow.connections.forget_system(tenant_id, connection_id, now)
            stranded = uow.deliveries.strand(tenant_id, connection_id, row["connector"], _moved_away(old, now))
            audit.record(
                uow, tenant_id, now, author, "connection.moved", f"connection/{connection_id}", accepted=sorted(accept),
                before=f"{old['connector']} {old['base_url']}", removed=removed, deliveries=stranded,
            )  # fmt: skip
        if missing := missing_credentials(uow, plugins, row):
            row |= {"state": "paused", "state_reason": f"credentials missing: {', '.join(missing)}"}
        uow.connections.put(row)
        if moved or (old is not None and old["state"] == "retired"):
            uow.connections.set_state(tenant_id, connection_id, row["state"], row["state_reason"], now)
        audit.record(
            uow, tenant_id, now, author, "connection.saved", f"connection/{connection_id}",
            connector=row["connector"], base_url=row["base_url"],
        )  # fmt: skip
    for connection_id in found.retired:
        if uow.connections.set_state(tenant_id, connection_id, "retired", "no integration in force names it", now):
            audit.record(
                uow, tenant_id, now, author, "connection.retired", f"connection/{connection_id}", integration=wanted.name
            )  # fmt: skip
    number = uow.integrations.record({
        "tenant_id": tenant_id, "integration": wanted.name, "digest": digest, "source": wanted.text, "author": author,
        "reason": reason, "created_at": now, "environment": environment,
    })  # fmt: skip
    told = {"accepted": [item.accept for item in found.disputes]} if found.disputes else {}
    audit.record(
        uow, tenant_id, now, author, "integration.applied", f"integration/{wanted.name}", revision=number,
        digest=digest, reason=reason,
        **told,
        **({"environment": environment} if environment else {}),
    )  # fmt: skip
    return Applied(wanted.name, number, True, saved)
