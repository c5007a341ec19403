"""Rate limit policy: one budget per connection, kept in the store so that every process shares it. GCRA reserves slots.

Every request counts: reads, probes, writes. What the target says (429, Retry-After) closes the budget until then.
"""

from collections.abc import Mapping
from typing import Any

from hub.errors import ThrottledError
from hub.store import UnitOfWork

#: A slot this near is waited for in place; a later one parks the delivery (nobody waits in worker memory).
MAX_WAIT_SECONDS = 2.0


def reserve(uow: UnitOfWork, tenant_id: str, connection_id: str, limits: Mapping[str, Any], now: float) -> float:
    """Reserve the next slot; returns the seconds to wait for it. Raises ThrottledError when it is too far off.

    ``now`` in epoch seconds. Without ``requests_per_second`` only the target's own closures count.
    """
    rate = limits["requests_per_second"]
    row = uow.budgets.lock(tenant_id, connection_id)
    wait = max(0.0, row["blocked_until"] - now)
    if rate:
        interval = 1.0 / rate
        arrival = max(row["tat"], now)
        wait = max(wait, arrival - (limits["burst"] - 1) * interval - now)
    if wait > MAX_WAIT_SECONDS:
        raise ThrottledError(wait)
    if rate:
        uow.budgets.save(tenant_id, connection_id, tat=max(arrival, now + wait) + interval)
    return wait


def close(uow: UnitOfWork, tenant_id: str, connection_id: str, now: float, seconds: float) -> None:
    """The target said to stay away for ``seconds``."""
    row = uow.budgets.lock(tenant_id, connection_id)
    uow.budgets.save(tenant_id, connection_id, blocked_until=max(row["blocked_until"], now + seconds))
