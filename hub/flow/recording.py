"""What a connector asked and was answered in a delivery, kept while another version is beside its own: for `hub.sync.versions`.

Credentials are no part of it. Kept are the newest deliveries of a connection, as long as there are two versions.
"""

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from hub.flow.claim import Claim
from hub.runtime.performer import Run, without_secrets
from hub.runtime.session import Session
from hub.sdk.errors import ConnectorError, PermanentError
from hub.sdk.steps import Request, Response, Skipped, Written
from hub.store.rows import Row

log = logging.getLogger(__name__)
_MOST_BYTES = 256 * 1024


@dataclass(frozen=True)
class Exchange:
    """A request as it is shown, whether it was an effect, and its answer."""

    request: dict[str, Any]
    effect: bool
    response: Response


@dataclass(frozen=True)
class Recording:
    """One call of a connector's `write` or `write_many`, from its documents to its results."""

    type: str
    deliveries: Sequence[str]
    items: Sequence[tuple[Mapping[str, Any], str]]
    exchanges: Sequence[Exchange]
    results: Sequence[Mapping[str, Any]]


def shown(request: Request) -> dict[str, Any]:
    """A request as people compare it: method, path, params, headers and body, which is JSON where it can be."""
    body: Any = None
    if (content := request.body()) is not None:
        try:
            body = orjson.loads(content)
        except ValueError:
            body = content.decode("utf-8", "replace")
    params = {key: str(value) for key, value in request.params.items() if value is not None}
    return {"method": request.method, "path": request.path, "params": params, "headers": dict(request.headers), "body": body}


def result_of(result: Written | Skipped | Exception) -> dict[str, Any]:
    """What a write answered, as it is compared."""
    match result:
        case Written():
            return {"external_id": result.external_id}
        case Skipped():
            return {"skipped": result.reason}
        case ConnectorError():
            return {"error": result.code}
    return {"error": type(result).__name__}


def record(
    claims: Sequence[Claim], given: Mapping[str, Mapping[str, Any]], run: Run, results: Sequence[Any], now: datetime
) -> Row | None:  # fmt: skip
    """The row to keep; None if it would tell less than all: a probe, a try that is made again, an answer that never came, a
    document that could not be made.
    """
    first, session = claims[0], claims[0].session
    ended = all(isinstance(result, Written | Skipped | PermanentError) for result in results)
    asked = run.exchanges is not None and len(run.exchanges) == len(run.steps)
    if not asked or not ended or first.row["probe"] or any(claim.attempt_id not in given for claim in claims):
        return None
    try:
        content = orjson.dumps({
            "type": first.row["type"], "deliveries": [claim.row["id"] for claim in claims],
            "items": [(given[claim.attempt_id], claim.row["key"]) for claim in claims],
            "exchanges": [_kept(*exchange, session) for exchange in run.exchanges or ()],
            "results": [result_of(result) for result in results],
        }, default=str)  # fmt: skip
    except (TypeError, ValueError) as error:  # a header that is no text, say: it must not cost the delivery its outcome
        log.warning("delivery %s is not recorded: %s", first.row["id"], error)
        return None
    if len(content) > _MOST_BYTES:
        return None
    return {
        "tenant_id": session.tenant_id, "id": first.attempt_id, "connection_id": session.connection_id,
        "connector": session.manifest.connector, "version": session.manifest.data["version"], "at": now, "content": content,
    }  # fmt: skip


def _kept(request: Request, response: Response, session: Session) -> dict[str, Any]:
    """Without credentials, and the sessions that a system opens."""
    answer = without_secrets(response, session)
    headers = {name: value for name, value in answer.headers.items() if name != "set-cookie"}
    return {
        "request": shown(request), "effect": request.mutates, "status": answer.status, "headers": headers,
        "content": base64.b64encode(answer.content).decode(),
    }  # fmt: skip


def recorded(row: Row) -> Recording:
    """What `record` kept."""
    held = orjson.loads(row["content"])
    exchanges = [
        Exchange(item["request"], item["effect"], Response(item["status"], item["headers"], base64.b64decode(item["content"])))
        for item in held["exchanges"]
    ]
    return Recording(held["type"], held["deliveries"], [(d, k) for d, k in held["items"]], exchanges, held["results"])
