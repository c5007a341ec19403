"""How much of the time a history gets: a little beside live work, most of it where there is none."""

import math
import time
from datetime import timedelta

from hub.flow.context import Context
from hub.store.ids import first_id

#: Live work that came so long ago counts as going on, and how often that is looked up.
_LATELY, _LOOK_SECONDS = timedelta(seconds=10), 2.0


class Share:
    """What histories may take now, of whichever tenant they are: all live work of a hub feels them."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._beside, self._looked_at = True, -math.inf

    def beside(self) -> bool:
        """Whether live work goes on; reads the store now and then, so not for the loop."""
        ctx, now = self._ctx, time.monotonic()
        if now - self._looked_at > _LOOK_SECONDS:
            with ctx.store.read() as uow:
                self._beside = uow.deliveries.any_live(first_id(ctx.clock() - _LATELY))
            self._looked_at = now
        return self._beside

    def rest(self, spent: float, beside: bool) -> float:
        """Seconds that are others' after so many were a history's."""
        settings = self._ctx.settings
        share = settings.backfill_share if beside else max(settings.backfill_share, settings.backfill_alone_share)
        return max(0.0, spent * (1 / share - 1))
