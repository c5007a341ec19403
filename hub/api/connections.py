"""Tag `connections`. Credentials go in and never come out."""

from typing import Any

from hub.api.messages import moment, reason
from hub.errors import HubError, NotFoundError
from hub.flow.context import Context
from hub.flow.relay import queue_trouble
from hub.identity import connections
from hub.identity.api_keys import Client
from hub.identity.oauth import Tokens
from hub.identity.vault import is_former
from hub.policies import redaction
from hub.runtime.plugins import NotInstalledError
from hub.runtime.session import Session
from hub.store import UnitOfWork
from hub.sync import versions


def list_connections(ctx: Context, client: Client) -> dict[str, Any]:
    """By name."""
    with ctx.store.read() as uow:
        items = [_public(ctx, uow, row) for row in uow.connections.all(client.tenant_id)]
    return {"items": items, "next_cursor": None}


def get_connection(ctx: Context, client: Client, connection_id: str) -> dict[str, Any]:
    """One connection."""
    with ctx.store.read() as uow:
        row = uow.connections.get(client.tenant_id, connection_id)
        if row is None:
            raise NotFoundError("connection", connection_id)
        return _public(ctx, uow, row)


def put_credentials(
    ctx: Context, client: Client, connection_id: str, body: Any, try_first: bool = False,
    former_hours: float = connections.FORMER_HOURS,
) -> dict[str, Any]:  # fmt: skip
    """Set credentials and resume. ``try_first``: those that the system refuses are not stored."""
    get_connection(ctx, client, connection_id)
    trial = _tried(ctx, client, connection_id, body) if try_first else None
    try:
        with ctx.store.begin() as uow:
            connections.set_credentials(
                uow, ctx.plugins, ctx.vault, client.tenant_id, connection_id, body, ctx.clock(), f"key/{client.name}",
                former_hours,
            )  # fmt: skip
            if trial is not None and isinstance(trial.tokens, Tokens):
                trial.tokens.adopt(uow, connection_id)
    except ValueError as error:
        entry = {"code": "unknown_field", "field": "", "message": str(error)}
        raise HubError("invalid_document", str(error), [entry]) from None
    finally:
        if trial is not None and isinstance(trial.tokens, Tokens):
            trial.tokens.forget()
    ctx.due.add(client.tenant_id, connection_id)
    return get_connection(ctx, client, connection_id)


def _tried(ctx: Context, client: Client, connection_id: str, values: Any) -> Session | None:
    """Try credentials that are not stored; None if they cannot be. Raises HubError (`wrong_state`) if they are refused."""
    with ctx.store.read() as uow:
        try:
            session = ctx.sessions.trial(uow, client.tenant_id, connection_id, values)
        except NotInstalledError as error:
            raise HubError("wrong_state", str(error)) from None
    if set(values) - set(session.manifest.data["credentials"]) or connections.untriable(session):
        return None
    found = connections.check(ctx.loop, session)
    if not found["ok"]:
        if isinstance(session.tokens, Tokens):
            session.tokens.forget()
        detail = redaction.text(found["detail"], session.secrets)
        raise HubError("wrong_state", f"not stored, the credentials of before stay in force: {detail}")
    return session


def resume(ctx: Context, client: Client, connection_id: str, body: Any = None) -> dict[str, Any]:
    """Let a paused connection go on."""
    get_connection(ctx, client, connection_id)
    with ctx.store.begin() as uow:
        connections.resume(uow, client.tenant_id, connection_id, ctx.clock(), f"key/{client.name}", reason(body))
    ctx.due.add(client.tenant_id, connection_id)
    return get_connection(ctx, client, connection_id)


def check(ctx: Context, client: Client, connection_id: str) -> dict[str, Any]:
    """Ask the system."""
    return connections.check(ctx.loop, _session(ctx, client, connection_id))


def list_fields(ctx: Context, client: Client, connection_id: str) -> dict[str, Any]:
    """Ask the system for the account's fields, and say which of those that flows set are not among them."""
    found = connections.described(ctx.loop, _session(ctx, client, connection_id))
    names = {field["name"] for field in found}
    with ctx.store.read() as uow:
        targets = [(name, target) for entry in ctx.routes.in_force(uow, client.tenant_id)
                   for name, flow in entry.flows() for target in flow.targets]  # fmt: skip
    unknown = [{"flow": flow, "field": field} for flow, target in targets if target.connection_id == connection_id
               for field in target.map if field not in names]  # fmt: skip
    return {"items": found, "unknown": unknown, "next_cursor": None}


def compare_versions(
    ctx: Context, client: Client, connection_id: str, limit: int = 20, since: str | None = None, until: str | None = None
) -> dict[str, Any]:  # fmt: skip
    """What another version of its connector would send."""
    asked = {"since": since, "until": until}
    return versions.compare(ctx, client.tenant_id, connection_id, limit, moment(asked, "since"), moment(asked, "until"))


def _session(ctx: Context, client: Client, connection_id: str) -> Session:
    get_connection(ctx, client, connection_id)
    with ctx.store.read() as uow:
        try:
            return ctx.sessions.get(uow, client.tenant_id, connection_id)
        except NotInstalledError as error:
            raise HubError("wrong_state", str(error)) from None


def _public(ctx: Context, uow: UnitOfWork, row: dict[str, Any]) -> dict[str, Any]:
    keys = ("connection_id", "connector", "environment", "base_url", "state", "state_reason", "updated_at")
    kept = uow.connections.credentials(row["tenant_id"], row["connection_id"])
    names = sorted(item["name"] for item in kept if not is_former(item["name"]))
    inner = row["settings"]
    return {
        **{key: row[key] for key in keys}, "state_reason": row["state_reason"] or queue_trouble(ctx, row["connector"]),
        "settings": inner.get("settings", {}), "limits": inner.get("limits", {}),
        "credentials": names,
    }  # fmt: skip
