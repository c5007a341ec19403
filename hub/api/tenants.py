"""Tag `tenants`: the retailer behind a key."""

from typing import Any

from hub.errors import NotFoundError
from hub.flow import status as control
from hub.flow.context import Context
from hub.identity.api_keys import Client


def current(ctx: Context, client: Client) -> dict[str, Any]:
    """The tenant of this key."""
    with ctx.store.read() as uow:
        row = uow.tenants.get(client.tenant_id)
    if row is None:
        raise NotFoundError("tenant", client.tenant_id)
    return row


def status(ctx: Context, client: Client) -> dict[str, Any]:
    """Counts per step, latency, what waits and why."""
    return control.status(ctx, client.tenant_id)
