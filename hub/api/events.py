"""Tag `events`: canonical events in."""

from typing import Any

import flask

from hub.errors import HubError
from hub.flow.context import Context
from hub.flow.ingest import accept_event
from hub.flow.route import Admitted
from hub.identity.api_keys import Client
from hub.telemetry import incoming


def publish(ctx: Context, client: Client, body: Any) -> tuple[dict[str, Any], int]:
    """One event; answered after it is committed."""
    return _accepted(accept_event(ctx, client, body, _traceparent())), 202


def publish_batch(ctx: Context, client: Client, body: Any) -> dict[str, Any]:
    """Many events, each accepted or rejected on its own."""
    results = []
    for index, event in enumerate(body["events"]):
        try:
            results.append({"index": index, **_accepted(accept_event(ctx, client, event, _traceparent()))})
        except HubError as error:
            results.append({"index": index, "status": "rejected", "problem": error.document()})
    return {"results": results}


def _accepted(admitted: Admitted) -> dict[str, Any]:
    return {
        "message_id": admitted.message_id, "status": "duplicate" if admitted.duplicate else "accepted",
        "duplicate": admitted.duplicate, "suspect_of": admitted.suspect_of, "deliveries": list(admitted.deliveries),
    }  # fmt: skip


def _traceparent() -> str:
    headers = {key.lower(): value for key, value in flask.request.headers.items()}
    return incoming(headers) if "traceparent" in headers else ""
