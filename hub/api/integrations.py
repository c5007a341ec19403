"""Tag `integrations`: flows as code."""

import re
from typing import Any

from hub.errors import HubError
from hub.flow.context import Context
from hub.identity.api_keys import Client
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.sdk.errors import ManifestError


def list_integrations(ctx: Context, client: Client) -> dict[str, Any]:
    """Those in force."""
    keys = ("integration", "revision", "digest", "author", "reason", "created_at", "in_force", "source")
    with ctx.store.read() as uow:
        rows = uow.integrations.in_force(client.tenant_id)
    return {"items": [{key: row[key] for key in keys} for row in rows], "next_cursor": None}


def apply(ctx: Context, client: Client, body: Any) -> dict[str, Any]:
    """Put a file in force as a new revision."""
    try:
        wanted = parse_integration(body["source"], body.get("name") or "integration.yaml", ctx.plugins, client.tenant_id)
    except ManifestError as error:
        raise HubError("invalid_integration", errors=[_entry(line) for line in str(error).splitlines()]) from None
    with ctx.store.begin() as uow:
        applied = apply_integration(
            uow, ctx.plugins, client.tenant_id, wanted, f"key/{client.name}", body.get("reason", ""), ctx.clock()
        )
    return {
        "integration": applied.integration, "revision": applied.revision, "changed": applied.changed,
        "connections": list(applied.connections),
    }  # fmt: skip


def _entry(line: str) -> dict[str, str]:
    match = re.match(r"[^:]*:\d+: (?P<field>[^:]+): ", line)
    return {"code": "invalid_field", "field": match["field"] if match else "", "message": line}
