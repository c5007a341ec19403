"""Tag `contracts`: the workflow of whoever governs the contract. Hub-wide, behind scopes of its own."""

from datetime import timedelta
from typing import Any

import flask

from canonical.registry import TYPES
from hub.api.paging import after, after_id, page
from hub.contracts import review as steps
from hub.contracts.document import document
from hub.contracts.impact import Touched, touched
from hub.contracts.lifecycle import endings, icalendar
from hub.contracts.releases import digest_of, numbers, versions, working
from hub.errors import NotFoundError
from hub.flow.context import Context
from hub.identity.api_keys import Client
from hub.integrations.files import parse_integration
from hub.sdk.errors import ManifestError
from hub.store import UnitOfWork

_BRIEF = ("id", "version", "base", "state", "owner", "reason", "digest", "score", "created_at", "released_by", "released_at")


def propose(ctx: Context, client: Client, body: Any) -> tuple[dict[str, Any], int]:
    """Lint it, compare it with the newest release, keep it for review."""
    with ctx.store.begin() as uow:
        identity = steps.propose(uow, client, body, working(ctx.plugins.connectors), ctx.clock())
    return get_proposal(ctx, client, identity), 201


def list_proposals(ctx: Context, client: Client, cursor: str | None = None, limit: int = 50) -> dict[str, Any]:
    """Newest first."""
    with ctx.store.read() as uow:
        rows = uow.governance.page(after_id(cursor), limit)
    return page(rows, limit, lambda row: [row["id"]], _brief)


def get_proposal(ctx: Context, client: Client, id_: str, days: int = 30) -> dict[str, Any]:
    """Findings, changes with callers and verdicts, what they touch, and what keeps it from being released."""
    with ctx.store.read() as uow:
        row = uow.governance.get(id_)
        if row is None:
            raise NotFoundError("proposal", id_)
        found = steps.review(uow, row, (ctx.clock() - timedelta(days=days)).date().isoformat())
        return _brief(row) | {
            "days": days, "findings": row["findings"], "changes": found.changes(), "obstacles": list(found.obstacles),
            "touches": [vars(item) for item in _touched(ctx, uow, found)],
        }  # fmt: skip


def decide(ctx: Context, client: Client, id_: str, body: Any) -> dict[str, Any]:
    """Approve of, or reject, single changes."""
    with ctx.store.begin() as uow:
        steps.decide(uow, client, id_, body["fingerprints"], body["verdict"], body["reason"], ctx.clock())
    return get_proposal(ctx, client, id_)


def withdraw(ctx: Context, client: Client, id_: str, body: Any) -> dict[str, Any]:
    """End it without a release."""
    with ctx.store.begin() as uow:
        steps.withdraw(uow, client, id_, body["reason"], ctx.clock())
    return get_proposal(ctx, client, id_)


def release(ctx: Context, client: Client, id_: str) -> dict[str, Any]:
    """Make it the newest version; refused while anything stands against it."""
    with ctx.store.begin() as uow:
        steps.release(uow, client, id_, ctx.clock())
    return get_proposal(ctx, client, id_)


def evidence(ctx: Context, client: Client, id_: str) -> dict[str, Any]:
    """Everything about a decision in one document: who proposed what, what it broke for whom, who agreed, the records."""
    with ctx.store.read() as uow:
        row = uow.governance.get(id_)
        if row is None:
            raise NotFoundError("proposal", id_)
        days = int(row["evidence"].get("days", 30))
        found = steps.review(uow, row, (ctx.clock() - timedelta(days=days)).date().isoformat())
        records = []
        for tenant_id in uow.tenants.ids():
            for record in uow.audit.page(tenant_id, None, 1000, steps.subject(row["version"])):
                if record["detail"].get("proposal") == id_:
                    shown = ("sequence", "at", "actor", "action", "detail", "previous", "digest")
                    records.append({"tenant_id": tenant_id} | {name: record[name] for name in shown})
        told = uow.governance.told(row["version"]) if row["state"] == "released" else []
        return _brief(row) | {
            "findings": row["findings"], "changes": row["evidence"].get("changes") or found.changes(), "days": days,
            "obstacles": list(found.obstacles), "told": [f"{item['tenant_id']}/{item['client']}" for item in told],
            "audit": sorted(records, key=lambda record: (record["at"], record["tenant_id"], record["sequence"])),
        }  # fmt: skip


def list_releases(ctx: Context, client: Client) -> dict[str, Any]:
    """Released versions, newest first: those of this installation and those released here; the trend of the lint score."""
    with ctx.store.read() as uow:
        here = {row["version"]: row for row in uow.governance.released()}
    items = [
        {"version": name, "digest": here[name]["digest"] if name in here else digest_of(name),
         "score": here[name]["score"] if name in here else None, "proposal_id": here[name]["id"] if name in here else None,
         "released_at": here[name]["released_at"] if name in here else None}
        for name in sorted({*versions(), *here}, key=numbers, reverse=True)
    ]  # fmt: skip
    return {"items": items}


def get_release(ctx: Context, client: Client, version: str) -> dict[str, Any]:
    """A released contract, whole."""
    with ctx.store.read() as uow:
        return {"version": version} | vars(steps.released(uow, version))


def calendar(ctx: Context, client: Client) -> Any:
    """Deprecated operations and until when they work, soonest first; as JSON or, if that is preferred, as an iCalendar."""
    found = endings(document())
    if flask.request.accept_mimetypes.best_match(["application/json", "text/calendar"]) == "text/calendar":
        return flask.Response(icalendar(found), 200, {"Content-Type": "text/calendar; charset=utf-8"})
    items = [
        {"operation": f"{ending.method} {ending.path}", "deprecated_at": ending.deprecated_at, "sunset": ending.sunset,
         "successor": ending.successor or None}
        for ending in found
    ]  # fmt: skip
    return {"items": items}


def notices(ctx: Context, client: Client, cursor: str | None = None, limit: int = 50) -> dict[str, Any]:
    """What released versions mean for this tenant's clients."""
    key = after(cursor, 2)
    with ctx.store.read() as uow:
        rows = uow.governance.notices(client.tenant_id, tuple(map(str, key)) if key else None, limit)
    shown = ("client", "version", "changes", "at")
    return page(rows, limit, lambda row: [row["client"], row["version"]], lambda row: {name: row[name] for name in shown})


def _brief(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in _BRIEF}


def _touched(ctx: Context, uow: UnitOfWork, found: steps.Review) -> list[Touched]:
    """The flows, connectors and dead letters of all tenants that changes of event types and connectors meet."""
    flows, connections = [], []
    for tenant_id in uow.tenants.ids():
        connections += [(tenant_id, row["connection_id"], row["connector"]) for row in uow.connections.all(tenant_id)]
        for row in uow.integrations.in_force(tenant_id):
            try:
                declared = parse_integration(row["source"], row["integration"]).flows
            except ManifestError:  # in force since it could be read: whatever changes may concern it
                name = f"{row['integration']} (cannot be read any more)"
                flows.append((tenant_id, name, tuple(TYPES), "", ""))
                continue
            for flow in declared:
                for target in flow.targets:
                    fields = " ".join([flow.where, target.where, *target.map.values()])
                    flows.append(
                        (
                            tenant_id,
                            f"{row['integration']}/{flow.name} to {target.connection_id}",
                            flow.types,
                            target.connection_id,
                            fields,
                        )
                    )
    connectors = {name: frozenset(item.manifest.writes) for name, item in ctx.plugins.connectors.items()}
    return touched([item.change for item in found.impact], flows, connections, connectors, uow.governance.dead_letters())
