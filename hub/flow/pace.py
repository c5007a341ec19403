"""When a delivery may go, by its flow's cadence: at once, with the next batch, when its till is closed, or when somebody asks.

A flow that reads (`read:`) has its cadence for reading: what was read is delivered at once.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from hub.errors import NotFoundError
from hub.flow.context import Context
from hub.integrations.cadence import NEVER
from hub.integrations.files import Flow
from hub.policies import audit
from hub.store import UnitOfWork

_CLOSURE = "closure"


def when(flow: Flow, name: str, tenant_id: str, data: Mapping[str, Any], now: datetime) -> tuple[datetime, str | None]:
    """(when a document may go, what it waits for) by its flow. A document without a till does not wait for a closure."""
    cadence = flow.cadence
    if flow.read or cadence.kind == "realtime":
        return now, None
    if cadence.kind == "on_demand":
        return NEVER, f"demand/{name}"
    if cadence.kind == "on_closure":
        till, location, day = (data.get(key) for key in ("till", "location", "business_date"))
        if not (till and location and day):
            return now, None
        return NEVER, "/".join((_CLOSURE, location["code"], till["number"], day))[:255]
    return cadence.after(now, f"{tenant_id}/{name}"), None


def release_closed(ctx: Context) -> int:
    """Let go what waits for tills that are closed now; returns how many."""
    with ctx.store.read() as uow:
        waiting = uow.deliveries.waiting_for(f"{_CLOSURE}/")
    found = 0
    for tenant_id, text in waiting:
        _, location, till, day = text.split("/", 3)
        with ctx.store.begin() as uow:
            if uow.messages.closed(tenant_id, f"till/{location}/{till}/", day):
                found += _release(ctx, uow, tenant_id, text)
    return found


def release_flow(ctx: Context, tenant_id: str, flow: str, actor: str, reason: str) -> int:
    """Let go everything that waits in a flow on demand, or for its next batch; returns how many. Raises NotFoundError."""
    with ctx.store.begin() as uow:
        if flow not in {name for entry in ctx.routes.in_force(uow, tenant_id) for name, _ in entry.flows()}:
            raise NotFoundError("flow", flow)
        freed = uow.deliveries.hasten_flow(tenant_id, flow, ctx.clock())
        audit.record(uow, tenant_id, ctx.clock(), actor, "flow.released", f"flow/{flow}", deliveries=len(freed), reason=reason)
    for connection_id in set(freed):
        ctx.due.add(tenant_id, connection_id)
    return len(freed)


def _release(ctx: Context, uow: UnitOfWork, tenant_id: str, text: str) -> int:
    freed = uow.deliveries.release(tenant_id, text, ctx.clock() - timedelta(seconds=1))
    for connection_id in set(freed):
        ctx.due.add(tenant_id, connection_id)
    return len(freed)
