"""Budget around requests: every request of a connection takes a slot, whoever makes it, in whichever process."""

from typing import Any

from hub.errors import ThrottledError
from hub.flow.context import Context
from hub.policies import rate_limit
from hub.runtime.session import Session
from hub.sdk.errors import AmbiguousWriteError, ConnectorError, RateLimitedError, TargetUnavailableError
from hub.sdk.steps import Request
from hub.store import UnitOfWork, new_id

#: What another process was told by the target (429) reaches this one with this delay at most, where no rate is declared.
_CALM_SECONDS = 0.05
#: So many slots are missed before a request is put off.
_SLOTS_MISSED = 5


class Budget:
    """A connection's budget as a boundary sees it. ``trial``: this is the one that finds out whether the target is back."""

    def __init__(self, ctx: Context, session: Session, trial: bool = False) -> None:
        self._ctx, self._session, self._trial = ctx, session, trial
        self._counted = rate_limit.counted(session.limits)
        paced = rate_limit.pacing(session.limits)
        self._tolerance = paced.tolerance if paced else None
        self._slot = 0.0
        self._troubled = False

    async def reserve(self, holder: str = "", missed: float = 0.0) -> None:
        """Take the next slot and wait until it comes near (`on_time` waits for the rest). With ``holder``, take a place among
        the concurrent requests too (until `answered`).
        """
        if holder or self._counted:
            await self._ctx.alone(lambda uow: self._reserve(uow, holder, missed))
            wait = self._slot - self._now() - (0.0 if self._tolerance is None else rate_limit.LEAD_SECONDS)
        elif self._session.calm_until < self._ctx.loop.time():
            wait = await self._ctx.loop.in_store(self._look)
        else:
            wait = 0.0
        if wait > 0:
            await self._ctx.loop.sleep(wait)

    async def on_time(self) -> None:
        """Right before the bytes leave: at the slot. One that was missed would come too close to the next: it is taken anew.

        Raises ThrottledError if this machine is too busy to be on time.
        """
        if self._tolerance is None:
            return
        for _ in range(_SLOTS_MISSED):
            if (wait := self._slot - self._now()) > 0:
                await self._ctx.loop.sleep(wait)
            if self._now() - self._slot <= self._tolerance:
                return
            await self.reserve(missed=self._slot)
        raise ThrottledError(1.0)

    def _now(self) -> float:
        return self._ctx.clock().timestamp()

    def _look(self) -> float:
        """Nothing to count: the row is only locked when it says something is wrong."""
        session, now = self._session, self._ctx.clock().timestamp()
        with self._ctx.store.read() as uow:
            row = uow.budgets.get(session.tenant_id, session.connection_id)
        self._troubled = rate_limit.troubled(row, session.limits, now)
        if not self._troubled:
            calm(self._ctx, session)
            return 0.0
        with self._ctx.store.begin() as uow:
            return self._reserve(uow, "", 0.0)

    def _reserve(self, uow: UnitOfWork, holder: str, missed: float) -> float:
        session, now = self._session, self._ctx.clock().timestamp()
        row = uow.budgets.lock(session.tenant_id, session.connection_id)
        self._troubled = rate_limit.troubled(row, session.limits, now)
        in_hand = 0
        if holder or session.limits.get("error_budget"):
            deliveries = uow.deliveries.in_hand(session.tenant_id, session.connection_id, self._ctx.clock())
            if holder:
                rate_limit.hold(row, session.limits, holder, now, deliveries)
            in_hand = max(0, deliveries + rate_limit.held(row, now) - 1)
        longest = self._ctx.settings.lease_seconds / 3
        wait = rate_limit.reserve(row, session.limits, now, in_hand, longest, self._trial, missed)
        uow.budgets.save(row)
        self._slot = now + wait
        return wait

    async def answered(self, error: ConnectorError | None, holder: str = "") -> None:
        """Learn from an answer; writes only if there is something to write."""
        bad = isinstance(error, RateLimitedError | TargetUnavailableError | AmbiguousWriteError)
        if bad:
            self._session.calm_until = 0.0
        erred = error is not None and bool(self._session.limits.get("error_budget"))
        if bad or erred or holder or self._troubled or self._trial:
            await self._ctx.alone(lambda uow: self._learn(uow, error, holder))
            self._troubled = bad

    def _learn(self, uow: UnitOfWork, error: ConnectorError | None, holder: str) -> None:
        session, now = self._session, self._ctx.clock().timestamp()
        row = uow.budgets.lock(session.tenant_id, session.connection_id)
        if error is not None:
            rate_limit.erred(row, session.limits, now)
        if isinstance(error, RateLimitedError):
            rate_limit.throttled(row, session.limits, now, 1.0 if error.retry_after is None else error.retry_after)
        if isinstance(error, TargetUnavailableError | AmbiguousWriteError):
            rate_limit.failed(row, session.limits, now)
        else:
            rate_limit.alive(row)
        if holder:
            rate_limit.release(row, holder)
        uow.budgets.save(row)


def calm(ctx: Context, session: Session) -> None:
    """The connection's budget was just read and nothing is wrong: for a moment nobody in this process looks again."""
    session.calm_until = ctx.loop.time() + _CALM_SECONDS


class ReadBoundary:
    """For reads outside a delivery: each takes a slot and a place. Effects are refused: only a delivery may write."""

    def __init__(self, ctx: Context, session: Session) -> None:
        self._budget = Budget(ctx, session)
        self._holder = ""

    async def before_request(self, request: Request) -> None:
        self._holder = self._holder or new_id()  # a login within a request keeps the request's place
        await self._budget.reserve(self._holder)
        await self._budget.on_time()

    async def before_effect(self, request: Request) -> None:
        raise RuntimeError(f"{request.method} {request.path} would change the target; only a delivery may write")

    async def after_request(self, error: ConnectorError | None) -> None:
        holder, self._holder = self._holder, ""
        await self._budget.answered(error, holder)


def limits_of(ctx: Context, connection: Any) -> dict[str, Any] | None:
    """The limits of a connection's row: its manifest's with its own overrides; None if its connector is not installed."""
    connector = ctx.plugins.connectors.get(connection["connector"])
    return {**connector.manifest.limits, **connection["settings"].get("limits", {})} if connector else None
