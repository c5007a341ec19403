"""Transactional outbox: the relay is the only publisher. It selects by state, so what a crash left behind is found again.

Publishing twice is harmless (a claim decides), publishing never is not: a row counts as published only until ``STALE``.
"""

from datetime import timedelta

import orjson

from hub.broker import DELIVERIES, EVENTS, queue_name
from hub.flow.context import Context
from hub.policies import redaction, tracing
from hub.store.rows import Row

#: After this long without an outcome a delivery id is published again.
STALE = timedelta(seconds=60)
_BATCH = 500


class Relay:
    """Publishes ids of deliveries that are due, and announces messages on the event exchange."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def sweep(self) -> int:
        """Publish what is due; returns how many deliveries."""
        ctx, now = self._ctx, self._ctx.clock()
        with ctx.store.read() as uow:
            tenants = uow.tenants.ids()
            due = uow.deliveries.due(tenants, now, now - STALE, _BATCH)
            events = uow.messages.unpublished(tenants, _BATCH)
        if due:
            self._publish_deliveries(due)
        if events:
            self._publish_events(events)
        return len(due)

    def _publish_deliveries(self, due: list[Row]) -> None:
        ctx = self._ctx
        messages = [
            (queue_name(row["connector"], row["lane"]), {"tenant_id": row["tenant_id"], "delivery_id": row["id"]})
            for row in due
        ]
        with ctx.telemetry.span(tracing.RELAY, messaging_batch=len(messages)):
            # Marked first: a worker may have claimed, tried and postponed it before a later mark would arrive. A crash in
            # between costs STALE at most.
            keys = [(row["tenant_id"], row["id"]) for row in due]
            with ctx.store.begin() as uow:
                uow.deliveries.mark_published(keys, ctx.clock())
            try:
                ctx.broker.publish(DELIVERIES, messages)
            except BaseException:
                with ctx.store.begin() as uow:
                    uow.deliveries.mark_published(keys, None)
                raise

    def _publish_events(self, events: list[Row]) -> None:
        ctx = self._ctx
        messages = []
        for row in events:
            envelope = orjson.loads(row["body"])
            envelope["data"] = redaction.document(row["type"], envelope["data"])
            messages.append((f"{row['tenant_id']}.{row['type']}", envelope))
        ctx.broker.publish(EVENTS, messages)
        with ctx.store.begin() as uow:
            uow.messages.mark_published([(row["tenant_id"], row["id"]) for row in events], ctx.clock())
