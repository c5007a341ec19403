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

    ``now`` in epoch seconds; ``limits`` has ``requests_per_second`` and ``burst``.
    """
    interval = 1.0 / limits["requests_per_second"]
    row = uow.budgets.lock(tenant_id, connection_id)
    arrival = max(row["tat"], now)
    wait: float = max(0.0, row["blocked_until"] - now, arrival - (limits["burst"] - 1) * interval - now)
    if wait > MAX_WAIT_SECONDS:
        raise ThrottledError(wait)
    uow.budgets.save(tenant_id, connection_id, tat=max(arrival, now + wait) + interval)
    return wait


def closed_for(uow: UnitOfWork, tenant_id: str, connection_id: str, now: float) -> float:
    """Seconds until a connection without a rate of its own may be called; raises ThrottledError when that is far off."""
    wait = max(0.0, uow.budgets.blocked_until(tenant_id, connection_id) - now)
    if wait > MAX_WAIT_SECONDS:
        raise ThrottledError(wait)
    return wait


def close(uow: UnitOfWork, tenant_id: str, connection_id: str, now: float, seconds: float) -> None:
    """The target said to stay away for ``seconds``."""
    row = uow.budgets.lock(tenant_id, connection_id)
    uow.budgets.save(tenant_id, connection_id, blocked_until=max(row["blocked_until"], now + seconds))
