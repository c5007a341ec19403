"""Budget around requests: every request of a connection takes a slot, whoever makes it."""

import asyncio

from hub.flow.context import Context
from hub.policies import rate_limit
from hub.runtime.session import Session
from hub.sdk.steps import Request


class ReadBoundary:
    """Reserves budget for reads. Effects are refused: only a delivery may write."""

    def __init__(self, ctx: Context, session: Session) -> None:
        self._ctx, self._session = ctx, session

    async def before_request(self, request: Request) -> None:
        wait = await self._ctx.loop.in_store(self._reserve)
        if wait:
            await asyncio.sleep(wait)

    async def before_effect(self, request: Request) -> None:
        raise RuntimeError(f"{request.method} {request.path} would change the target; only a delivery may write")

    async def throttled(self, seconds: float) -> None:
        await self._ctx.loop.in_store(self._close, seconds)

    def _reserve(self) -> float:
        session, now = self._session, self._ctx.clock().timestamp()
        if not session.limits["requests_per_second"]:
            with self._ctx.store.read() as uow:
                return rate_limit.closed_for(uow, session.tenant_id, session.connection_id, now)
        with self._ctx.store.begin() as uow:
            return rate_limit.reserve(uow, session.tenant_id, session.connection_id, session.limits, now)

    def _close(self, seconds: float) -> None:
        session = self._session
        with self._ctx.store.begin() as uow:
            rate_limit.close(uow, session.tenant_id, session.connection_id, self._ctx.clock().timestamp(), seconds)
