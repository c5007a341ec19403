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
#: So long a request waits, beyond its slot, for those that left before it to have arrived.
_LONGEST_SECONDS = 3.0
_ANSWERS_TO_COMPARE = 3


class Budget:
    """A connection's budget as a boundary sees it. ``trial``: this is the one that finds out whether the target is back."""

    def __init__(self, ctx: Context, session: Session, trial: bool = False) -> None:
        self._ctx, self._session, self._trial = ctx, session, trial
        self._counted = rate_limit.counted(session.limits)
        self._logged = bool(rate_limit.logged(session.limits))
        self._departed: tuple[str, float, float] | None = None
        self._troubled = False

    async def reserve(self, holder: str = "") -> None:
        """Take the next slot and wait for it. With ``holder``, take a place among the concurrent requests too (until
        `answered`).
        """
        if holder or self._counted:
            wait = await self._ctx.alone(lambda uow: self._reserve(uow, holder))
        elif self._session.calm_until < self._ctx.loop.time():
            wait = await self._ctx.loop.in_store(self._look)
        else:
            wait = 0.0
        if wait > 0:
            await self._ctx.loop.sleep(wait)

    async def depart(self) -> None:
        """Right before the bytes leave. In short windows: only when enough of those before it have arrived long ago.

        Raises ThrottledError if they are that slow.
        """
        if not self._logged:
            return
        until = self._ctx.loop.time() + _LONGEST_SECONDS
        while (wait := await self._ctx.alone(self._depart)) > 0:
            if self._ctx.loop.time() + wait > until:
                raise ThrottledError(wait)
            await self._ctx.loop.sleep(wait)

    def _depart(self, uow: UnitOfWork) -> float:
        now, started, request = self._now(), self._ctx.loop.time(), new_id()
        row = uow.budgets.lock(self._session.tenant_id, self._session.connection_id)
        if self._departed:  # its answer led to this request: a login
            rate_limit.arrived(row, self._departed[0], now)
        if (wait := rate_limit.depart(row, self._session.limits, now, request)) == 0.0:
            self._departed = (request, now, started)
        uow.budgets.save(row)
        return wait

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
            return self._reserve(uow, "")

    def _reserve(self, uow: UnitOfWork, holder: str) -> float:
        session, now = self._session, self._now()
        row = uow.budgets.lock(session.tenant_id, session.connection_id)
        self._troubled = rate_limit.troubled(row, session.limits, now)
        in_hand = 0
        if holder or session.limits.get("error_budget"):
            deliveries = uow.deliveries.in_hand(session.tenant_id, session.connection_id, self._ctx.clock()).total()
            if holder:
                rate_limit.hold(row, session.limits, holder, now, deliveries)
            in_hand = max(0, deliveries + rate_limit.held(row, now) - 1)
        longest = self._ctx.settings.lease_seconds / 3
        wait = rate_limit.reserve(row, session.limits, now, in_hand, longest, self._trial)
        uow.budgets.save(row)
        return wait

    async def give_back(self, holder: str) -> None:
        """The place of a request that is not made now."""
        await self._ctx.alone(lambda uow: self._give_back(uow, holder))

    def _give_back(self, uow: UnitOfWork, holder: str) -> None:
        row = uow.budgets.lock(self._session.tenant_id, self._session.connection_id)
        rate_limit.release(row, holder)
        uow.budgets.save(row)

    async def answered(self, error: ConnectorError | None, holder: str = "") -> None:
        """Learn from an answer; writes only if there is something to write."""
        bad = isinstance(error, RateLimitedError | TargetUnavailableError | AmbiguousWriteError)
        if bad:
            self._session.calm_until = 0.0
        erred = error is not None and bool(self._session.limits.get("error_budget"))
        departed, self._departed = self._departed, None
        arrived = departed and (departed[0], self._arrival(*departed[1:]))
        if bad or erred or holder or arrived or self._troubled or self._trial:
            await self._ctx.alone(lambda uow: self._learn(uow, error, holder, arrived))
            self._troubled = bad

    def _arrival(self, left: float, started: float) -> float:
        """When a request that is answered now had arrived at the latest: what others did not need was all its way there."""
        took, before = self._ctx.loop.time() - started, self._session.took
        at = left + max(0.0, took - (min(before) if len(before) >= _ANSWERS_TO_COMPARE else 0.0))
        before.append(took)
        return at

    def _learn(
        self, uow: UnitOfWork, error: ConnectorError | None, holder: str, arrived: tuple[str, float] | None
    ) -> None:  # fmt: skip
        session, now = self._session, self._now()
        row = uow.budgets.lock(session.tenant_id, session.connection_id)
        if arrived:
            rate_limit.arrived(row, *arrived)
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

    async def before_read(self, request: Request) -> None:
        try:
            await self._budget.depart()
        except ThrottledError:
            await self.give_back()
            raise

    async def give_back(self) -> None:
        """The slot and the place of a request that is not sent after all."""
        holder, self._holder = self._holder, ""
        await self._budget.give_back(holder)

    async def before_effect(self, request: Request) -> None:
        raise RuntimeError(f"{request.method} {request.path} would change the target; only a delivery may write")

    async def after_request(self, error: ConnectorError | None) -> None:
        holder, self._holder = self._holder, ""
        await self._budget.answered(error, holder)


def limits_of(ctx: Context, connection: Any) -> dict[str, Any] | None:
    """The limits of a connection's row: its manifest's with its own overrides; None if its connector is not installed."""
    connector = ctx.plugins.connectors.get(connection["connector"])
    return {**connector.manifest.limits, **connection["settings"].get("limits", {})} if connector else None
