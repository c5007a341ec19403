"""Tag `integrations`: flows as code, planned before they are applied, and returned to."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hub.api.messages import moment, reason
from hub.errors import HubError, NotFoundError
from hub.flow.context import Context
from hub.flow.forecast import Window, forecast
from hub.identity.api_keys import Client
from hub.integrations.apply import Applied, apply_integration, consequences, digest_of, examine
from hub.integrations.files import Integration, parse_integration
from hub.integrations.plan import changes
from hub.integrations.routes import InForce
from hub.policies import audit
from hub.sdk.errors import ManifestError
from hub.store import UnitOfWork
from hub.store.rows import Row
from hub.sync import preview as records

_SHOWN = ("integration", "revision", "digest", "environment", "author", "reason", "created_at", "in_force", "source")


def list_integrations(ctx: Context, client: Client) -> dict[str, Any]:
    """Those in force."""
    with ctx.store.read() as uow:
        rows = uow.integrations.in_force(client.tenant_id)
    return {"items": [{key: row[key] for key in _SHOWN} for row in rows], "next_cursor": None}


def list_revisions(ctx: Context, client: Client, integration: str) -> dict[str, Any]:
    """All of one integration, oldest first."""
    with ctx.store.read() as uow:
        rows = uow.integrations.revisions(client.tenant_id, integration)
    if not rows:
        raise NotFoundError("integration", integration)
    return {"items": [{key: row[key] for key in _SHOWN} for row in rows], "next_cursor": None}


def apply(ctx: Context, client: Client, body: Any) -> dict[str, Any]:
    """Put a file in force as a new revision."""
    wanted = _parsed(ctx, client, body)
    if body.get("expect_digest", digest_of(wanted.text)) != digest_of(wanted.text):
        raise _wrong("/expect_digest", f"the file is {digest_of(wanted.text)}: it is not what was promoted")
    with ctx.store.begin() as uow:
        return _applied(
            _put_in_force(
                ctx, uow, client, wanted, body.get("environment", ""), body.get("reason", ""), body.get("accept", ())
            ),
            wanted,
        )


def roll_back(ctx: Context, client: Client, integration: str, body: Any) -> dict[str, Any]:
    """Put an earlier revision in force again, as a new one."""
    with ctx.store.begin() as uow:
        rows = uow.integrations.revisions(client.tenant_id, integration)
        if not rows:
            raise NotFoundError("integration", integration)
        old = next((row for row in rows if row["revision"] == body["revision"]), None)
        if old is None:
            raise _wrong("/revision", f"{integration} has the revisions 1 to {rows[-1]['revision']}")
        wanted = _parsed(ctx, client, {**old, "name": f"{integration} revision {old['revision']}"})
        why = f"back to revision {old['revision']}: {reason(body)}".removesuffix(": ")
        return _applied(_put_in_force(ctx, uow, client, wanted, old["environment"], why, body.get("accept", ())), wanted)


def plan(ctx: Context, client: Client, body: Any) -> dict[str, Any]:
    """What applying a file would change, and the writes it would make of messages that were. Nothing is changed or sent."""
    wanted = _parsed(ctx, client, body)
    with ctx.store.read() as uow:
        return _planned(ctx, uow, client, wanted, body.get("environment", ""), _window(body))


def preview(ctx: Context, client: Client, connection_id: str, body: Any) -> dict[str, Any]:
    """Real records side by side, by what is in force or by a file. Nothing is stored or sent."""
    routes = None
    if body.get("source"):
        wanted = _parsed(ctx, client, body)
        with ctx.store.read() as uow:
            now = ctx.routes.in_force(uow, client.tenant_id)
        routes = [*(entry for entry in now if entry.integration.name != wanted.name), InForce(0, wanted)]
    items = records.preview(ctx, client.tenant_id, connection_id, body["object"], int(body.get("count") or 5), routes)
    return {"items": items, "next_cursor": None}


def start_shadow(ctx: Context, client: Client, integration: str, body: Any) -> dict[str, Any]:
    """Let a file run beside what is in force, without sending."""
    wanted = _parsed(ctx, client, body)
    if wanted.name != integration:
        raise _wrong("/source", f"this file is the integration {wanted.name!r}")
    now, actor = ctx.clock(), f"key/{client.name}"
    row = {
        "tenant_id": client.tenant_id, "integration": integration, "digest": digest_of(wanted.text), "source": wanted.text,
        "environment": body.get("environment", ""), "author": actor, "reason": reason(body), "created_at": now,
    }  # fmt: skip
    with ctx.store.begin() as uow:
        uow.integrations.put_shadow(row)
        audit.record(uow, client.tenant_id, now, actor, "integration.shadowed", f"integration/{integration}",
                     digest=row["digest"], reason=row["reason"])  # fmt: skip
    return _shadow(row)


def get_shadow(
    ctx: Context, client: Client, integration: str, limit: int = 500, since: str | None = None, until: str | None = None,
    instead: str = "",
) -> dict[str, Any]:  # fmt: skip
    """What the shadow would have given to connectors instead, since it runs or in the time asked for."""
    pairs = dict(pair.split(":") for pair in instead.split(",") if pair)
    with ctx.store.read() as uow:
        row = _shadow_row(uow, client, integration)
        wanted = _parsed(ctx, client, {**row, "name": f"shadow of {integration}"})
        window = _window({"messages": limit, "since": since or row["created_at"].isoformat(), "until": until})
        report = _planned(ctx, uow, client, wanted, row["environment"], window, pairs)
    return {"shadow": _shadow(row), "report": report}


def end_shadow(ctx: Context, client: Client, integration: str) -> dict[str, Any]:
    """Forget the shadow; nothing that is in force changes."""
    with ctx.store.begin() as uow:
        row = _shadow_row(uow, client, integration)
        uow.integrations.end_shadow(client.tenant_id, integration)
        audit.record(uow, client.tenant_id, ctx.clock(), f"key/{client.name}", "integration.unshadowed",
                     f"integration/{integration}", digest=row["digest"])  # fmt: skip
    return _shadow(row)


def cut_over(ctx: Context, client: Client, integration: str, body: Any = None) -> dict[str, Any]:
    """Put the shadow in force; `roll_back` returns to what was."""
    with ctx.store.begin() as uow:
        row = _shadow_row(uow, client, integration)
        wanted = _parsed(ctx, client, {**row, "name": f"shadow of {integration}"})
        accept = (body or {}).get("accept", ())
        applied = _put_in_force(ctx, uow, client, wanted, row["environment"], reason(body) or row["reason"], accept)
        uow.integrations.end_shadow(client.tenant_id, integration)
        return _applied(applied, wanted)


def _planned(
    ctx: Context, uow: UnitOfWork, client: Client, wanted: Integration, environment: str, window: Window,
    instead: Mapping[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    now = ctx.routes.in_force(uow, client.tenant_id)
    before = next((entry for entry in now if entry.integration.name == wanted.name), None)
    row = next((row for row in uow.integrations.in_force(client.tenant_id) if row["integration"] == wanted.name), None)
    revision = before.revision + 1 if before else 1
    then = [*(entry for entry in now if entry is not before), InForce(revision, wanted)]
    same = row is not None and (row["digest"], row["environment"]) == (digest_of(wanted.text), environment)
    return {
        "integration": wanted.name, "digest": digest_of(wanted.text), "changed": not same, "revision": revision - same,
        "changes": changes(before.integration if before else None, wanted),
        "consequences": [] if same else consequences(
            uow, client.tenant_id, examine(uow, ctx.plugins, client.tenant_id, wanted, ctx.clock())
        ),
        "forecast": forecast(ctx, uow, client.tenant_id, now, then, window, instead or {}),
    }  # fmt: skip


def _put_in_force(
    ctx: Context, uow: UnitOfWork, client: Client, wanted: Integration, environment: str, why: str,
    accept: Sequence[str] = (),
) -> Applied:  # fmt: skip
    return apply_integration(
        uow, ctx.plugins, client.tenant_id, wanted, f"key/{client.name}", why, ctx.clock(), environment, accept
    )  # fmt: skip


def _applied(applied: Applied, wanted: Integration) -> dict[str, Any]:
    return {
        "integration": applied.integration, "revision": applied.revision, "changed": applied.changed,
        "connections": list(applied.connections), "digest": digest_of(wanted.text),
    }  # fmt: skip


def _shadow_row(uow: UnitOfWork, client: Client, integration: str) -> Row:
    row = uow.integrations.shadow(client.tenant_id, integration)
    if row is None:
        raise NotFoundError("shadow", integration)
    return row


def _shadow(row: Row) -> dict[str, Any]:
    keys = ("integration", "digest", "environment", "author", "reason", "created_at", "source")
    return {key: row[key] for key in keys}


def _window(body: Any) -> Window:
    return Window(int(body.get("messages") or 500), moment(body, "since"), moment(body, "until"))


def _wrong(field: str, message: str) -> HubError:
    return HubError("invalid_integration", errors=[{"code": "invalid_field", "field": field, "message": message}])


def _parsed(ctx: Context, client: Client, body: Any) -> Integration:
    try:
        name = body.get("name") or "integration.yaml"
        return parse_integration(body["source"], name, ctx.plugins, client.tenant_id, body.get("environment", ""))
    except ManifestError as error:
        raise HubError("invalid_integration", errors=[_entry(line) for line in str(error).splitlines()]) from None


def _entry(line: str) -> dict[str, str]:
    match = re.match(r"[^:]*:\d+: (?P<field>[^:]+): ", line)
    return {"code": "invalid_field", "field": match["field"] if match else "", "message": line}
