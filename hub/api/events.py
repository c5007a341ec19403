"""Tag `events`: canonical events in."""

from collections.abc import Sequence
from typing import Any

import flask

from hub.errors import HubError
from hub.flow.context import Context
from hub.flow.ingest import accept_event, accepted, submit_event
from hub.flow.route import Admitted
from hub.identity.api_keys import Client
from hub.telemetry import incoming


def publish(ctx: Context, client: Client, body: Any) -> tuple[dict[str, Any], int]:
    """One event; answered after it is committed."""
    return answer(accept_event(ctx, client, body, _traceparent())), 202


def publish_batch(ctx: Context, client: Client, body: Any) -> dict[str, Any]:
    """Many events, each accepted or rejected on its own; they share group commits."""
    traceparent = _traceparent()
    pending: list[Any] = []
    for event in body["events"]:
        try:
            pending.append(submit_event(ctx, client, event, traceparent))
        except HubError as error:
            pending.append(error)
    results: list[Admitted | HubError] = []
    for item in pending:
        try:
            results.append(item if isinstance(item, HubError) else accepted(ctx, client, item.result()))
        except HubError as error:
            results.append(error)
    return batch_answer(results)


def batch_answer(results: Sequence[Admitted | HubError]) -> dict[str, Any]:
    """What the contract says about the events of a batch."""
    return {
        "results": [
            {"index": index, "status": "rejected", "problem": item.document()} if isinstance(item, HubError)
            else {"index": index, **answer(item)}
            for index, item in enumerate(results)
        ]
    }  # fmt: skip


def answer(admitted: Admitted) -> dict[str, Any]:
    """What the contract says about an accepted event."""
    return {
        "message_id": admitted.message_id, "status": "duplicate" if admitted.duplicate else "accepted",
        "suspect_of": admitted.suspect_of, "deliveries": list(admitted.deliveries),
    }  # fmt: skip


def _traceparent() -> str:
    headers = {key.lower(): value for key, value in flask.request.headers.items()}
    return incoming(headers) if "traceparent" in headers else ""
