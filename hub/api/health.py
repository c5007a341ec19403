"""Tag `health`: for load balancers."""

from typing import Any

from hub.flow.context import Context


def live(ctx: Context) -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


def ready(ctx: Context) -> Any:
    """The store can be used and has the schema this hub needs.

    A queue that the broker refused is named, with status `degraded`: this process serves everything else.
    """
    state = ctx.store.reachable_schema()
    if state is None:
        return {"status": "failed", "checks": {"store": "unreachable"}}, 503
    current, newest = state
    if current != newest:
        return {"status": "failed", "checks": {"store": "ok", "schema": f"{current}, needs {newest}"}}, 503
    checks = {"store": "ok", "schema": str(current)}
    if refused := ctx.broker.refused:
        return {"status": "degraded", "checks": {**checks, "broker": "; ".join(refused[name] for name in sorted(refused))}}
    return {"status": "ok", "checks": checks}
