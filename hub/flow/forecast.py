"""The writes that other routes would make of messages that were: by the hub's own router and mapper, without sending.

What is compared is what connectors are given: (message, connection, flow) → document. A connector is a function of that and of
its target's state, which nobody knows without asking.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hub.flow.claim import digest_of, effective
from hub.flow.context import Context
from hub.flow.names import Said, names
from hub.flow.recipients import NewMessage, recipients
from hub.flow.translate import envelope_data
from hub.integrations.files import Target
from hub.integrations.plan import differences
from hub.integrations.routes import InForce
from hub.policies import schema_version
from hub.sdk.errors import ConnectorError
from hub.store import UnitOfWork
from hub.store.rows import Row

#: Differences that are listed; all are counted.
MOST_LISTED = 200
_MOST_FIELDS = 50


@dataclass(frozen=True)
class Intended:
    """What one recipient would be given: the document, or why there is none."""

    type: str
    document: Mapping[str, Any] | None
    problem: str = ""


@dataclass(frozen=True)
class Window:
    """Which messages: the newest ``limit`` since ``since`` (and before ``until``)."""

    limit: int = 500
    since: datetime | None = None
    until: datetime | None = None


def forecast(
    ctx: Context, uow: UnitOfWork, tenant_id: str, now: Sequence[InForce], then: Sequence[InForce], window: Window
) -> dict[str, Any]:
    """Compare what ``now`` and ``then`` make of the window's messages.

    `examined`: messages; `counts`: writes that are `same`, `added`, `removed`, `changed` or `failing`; `writes`: those that are
    not the same, newest first, each with the fields that differ and the digest of the document it would be.
    """
    counts: Counter[str] = Counter()
    writes: list[dict[str, Any]] = []
    examined = 0
    for row in uow.messages.window(tenant_id, window.limit, window.since, window.until):
        examined += 1
        old, new = intended(ctx, uow, row, now), intended(ctx, uow, row, then)
        for key in dict.fromkeys([*old, *new]):
            change, fields = _change(old.get(key), new.get(key))
            counts[change] += 1
            if change == "same" or len(writes) >= MOST_LISTED:
                continue
            mine = new.get(key)
            writes.append({
                "message_id": row["id"], "type": row["type"], "subject": row["subject"], "connection_id": key[0],
                "flow": key[1], "change": change, "fields": fields, "problem": mine.problem if mine else "",
                "digest": digest_of(mine.document) if mine and mine.document is not None else None,
            })  # fmt: skip
    named = ("same", "added", "removed", "changed", "failing")
    return {"examined": examined, "counts": {name: counts[name] for name in named}, "writes": writes}


def _change(old: Intended | None, new: Intended | None) -> tuple[str, list[dict[str, Any]]]:
    if new is not None and new.problem and not (old and old.problem == new.problem):
        return "failing", []
    if old is None or new is None:
        return ("added" if old is None else "removed"), []
    fields = [*differences(old.type, new.type, "/type"), *differences(old.document, new.document)][:_MOST_FIELDS]
    return ("changed" if fields else "same"), fields


def intended(ctx: Context, uow: UnitOfWork, row: Row, routes: Sequence[InForce]) -> dict[tuple[str, str], Intended]:
    """(connection, flow) → what it would be given of a stored message."""
    data = envelope_data(row["body"])
    message = NewMessage(
        row["tenant_id"], row["type"], row["source"], row["source_id"], data, row["event_at"], "", "", row["connection_id"]
    )
    found = {}
    for recipient in _each(ctx, routes, message):
        flow, connection_id, target, problem = recipient
        connector = _connector(ctx, uow, routes, row["tenant_id"], connection_id)
        known = ctx.plugins.connectors.get(connector)
        spoken = (schema_version.spoken(known.manifest.writes, row["type"]) if known else None) or row["type"]
        if problem:
            found[connection_id, flow] = Intended(spoken, None, problem)
            continue
        said = Said(row["tenant_id"], row["connection_id"] or "", row["type"], data, connection_id)
        (means,) = names(ctx, uow, [said])
        try:
            found[connection_id, flow] = Intended(spoken, effective(spoken, row, target, connector, None, data, means))
        except ConnectorError as error:
            found[connection_id, flow] = Intended(spoken, None, f"{error.code}: {error.message}")
    return found


def _each(ctx: Context, routes: Sequence[InForce], message: NewMessage) -> list[tuple[str, str, Target | None, str]]:
    """(flow, connection, target, why it cannot be said) of each recipient; a condition that fails is a problem of its flow."""
    found: list[tuple[str, str, Target | None, str]] = []
    for entry in routes:
        targets = {(name, target.connection_id): target for name, flow in entry.flows() for target in flow.targets}
        try:
            found += [
                (to.flow, to.connection_id, targets.get((to.flow, to.connection_id)), "")
                for to in recipients([entry], message, ctx.clock())
            ]
        except ConnectorError as error:
            found += [
                (name, connection, target, f"{error.code}: {error.message}") for (name, connection), target in targets.items()
            ]
    return found


def _connector(ctx: Context, uow: UnitOfWork, routes: Sequence[InForce], tenant_id: str, connection_id: str) -> str:
    """A connection's connector by the routes, which may be its first, else as it is."""
    for entry in routes:
        if connection_id in entry.integration.connections:
            return str(entry.integration.connections[connection_id]["connector"])
    row = ctx.connection(uow, tenant_id, connection_id)
    return str(row["connector"]) if row else ""
