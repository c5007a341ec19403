"""Tag `health`: for load balancers."""

from typing import Any

from hub.flow.context import Context


def live(ctx: Context) -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


def ready(ctx: Context) -> Any:
    """The store can be used and has the schema this hub needs."""
    state = ctx.store.reachable_schema()
    if state is None:
        return {"status": "failed", "checks": {"store": "unreachable"}}, 503
    current, newest = state
    if current != newest:
        return {"status": "failed", "checks": {"store": "ok", "schema": f"{current}, needs {newest}"}}, 503
    return {"status": "ok", "checks": {"store": "ok", "schema": str(current)}}
