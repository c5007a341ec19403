"""Control Bus: how many are where, what waits and why, how long it takes."""

from typing import Any

from hub.flow.context import Context


def status(ctx: Context, tenant_id: str) -> dict[str, Any]:
    """Counts per step of one tenant, connection states, polls, and latency from receipt to applied."""
    with ctx.store.read() as uow:
        latencies = sorted(uow.deliveries.latencies(tenant_id))
        connections = uow.connections.all(tenant_id)
        cursors = uow.cursors.all(tenant_id)
        return {
            "tenant_id": tenant_id,
            "raw": uow.raws.counts(tenant_id),
            "messages": uow.messages.counts(tenant_id),
            "deliveries": uow.deliveries.counts(tenant_id),
            "latency_seconds": {
                "p50": _quantile(latencies, 0.5), "p99": _quantile(latencies, 0.99), "count": len(latencies),
            },
            "connections": [
                {key: row[key] for key in ("connection_id", "state", "state_reason")} for row in connections
            ],
            "polls": [
                {"connection_id": row["connection_id"], "object": row["object"], "run": row["run"]} for row in cursors
            ],
        }  # fmt: skip


def _quantile(ordered: list[float], share: float) -> float:
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 3) if ordered else 0.0
