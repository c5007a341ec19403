"""The gateway: an ASGI application in front of Connexion's.

Webhooks are answered here, over the bytes as they came, and so are events that are in order (`fast_lane`).
Bodies for the API are bounded and checked here, then replayed to
it unchanged, so that no parser behind ever meets a hostile one. It never runs plugin code.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import orjson

from hub.api.app import problem
from hub.contracts.document import document
from hub.contracts.lifecycle import endings
from hub.errors import HubError
from hub.flow.context import Context
from hub.flow.ingest import challenge_work, stored, webhook_work
from hub.gateway import fast_lane, strict_json
from hub.policies.schema_version import text_violations

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)
_WEBHOOK = re.compile(r"/webhooks/([^/]+)/([^/]+)(/?)")
#: Paths whose bodies may be as large as a batch.
_LARGE = frozenset({f"/v{n}/{name}" for n in (1, 2) for name in ("events/batch", "contracts/proposals")})
#: What is read and thrown away of a body that is too large, so that the sender gets to read the answer.
_DRAIN = 64 * 1024 * 1024


class Gateway:
    """The application uvicorn serves. ``console`` and ``api`` are the applications behind."""

    def __init__(self, ctx: Context, api: App, console: App, contract: Mapping[str, Any] | None = None) -> None:
        self._ctx, self._api, self._console = ctx, api, console
        self._events = {path: fast_lane.FastLane(ctx, path) for path in fast_lane.PATHS}
        found = endings(document() if contract is None else contract)
        self._endings = [(ending.method, ending.pattern, ending.headers()) for ending in found]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._api(scope, receive, send)
            return
        scope["hub"] = self._ctx
        for method, pattern, headers in self._endings:
            if scope["method"] == method and pattern.fullmatch(scope["path"]):
                send = _with_headers(send, headers)
        try:
            await self._http(scope, receive, send)
        except HubError as error:
            await self._answer(scope, send, error)
        except Exception:  # the edge: a caller gets a problem document, never a dropped connection
            log.exception("unexpected error at the edge")
            await self._answer(scope, send, HubError("internal"))

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, settings = scope["path"], self._ctx.settings
        if "\n" in path:  # the routers behind do not agree about it
            raise HubError("not_found", "no path has a line break")
        if "\0" in path or b"%00" in (scope.get("query_string") or b""):
            raise HubError("invalid_request", "NUL is no text: leave %00 out of the path and the query")
        match = _WEBHOOK.fullmatch(path)
        if match is not None:
            if scope["method"] not in ("GET", "POST"):
                raise HubError("method_not_allowed", "webhooks are sent by POST")
            query = (scope.get("query_string") or b"").decode("latin-1")
            if scope["method"] == "GET":
                work = challenge_work(self._ctx, match[1], match[2], query)
            else:
                body = await _read(scope, receive, settings.max_body_bytes)
                work = webhook_work(self._ctx, match[1], match[2], _headers(scope), body, query, match[3])
            received = stored(self._ctx, await self._ctx.commit(work))
            if received.challenge is not None:
                plain = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
                await _send(send, 200, plain, received.challenge.encode())
                return
            content = orjson.dumps({"id": received.raw_id, "duplicate": received.duplicate})
            await _send(send, 200, {"Content-Type": "application/json"}, content)
        elif path == "/" or path.startswith("/console"):
            await self._console(scope, receive, send)
        elif scope["method"] in ("POST", "PUT", "PATCH"):
            limit = settings.max_batch_bytes if path in _LARGE else settings.max_body_bytes
            body = await _read(scope, receive, limit)
            headers = _headers(scope)
            if body and "json" in headers.get("content-type", ""):
                value = strict_json.read(body, settings.max_depth)
                if path in self._events and scope["method"] == "POST" and not scope.get("query_string"):
                    answer = await self._events[path].accept(headers, body, value)
                    if answer is not None:
                        await _send(send, self._events[path].status, {"Content-Type": "application/json"}, answer)
                        return
                if path not in self._events and b"\\u0000" in body and (found := text_violations(value)):
                    raise HubError("invalid_document", "the body holds NUL", [item.as_dict() for item in found])
            await self._api(scope, _replay(body, receive), send)
        else:
            await self._api(scope, receive, send)

    async def _answer(self, scope: Scope, send: Send, error: HubError) -> None:
        status, headers, body = problem(error, _headers(scope).get("traceparent", ""), scope["path"])
        await _send(send, status, headers, body)


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body; raises `body_too_large` once it is longer than ``limit``."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HubError("malformed_json", "the connection closed before the body was complete")
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        elif size > _DRAIN:
            break
        more = message.get("more_body", False)
    if size > limit:
        raise HubError("body_too_large", f"the body has more than {limit} bytes")
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    """``send`` that adds headers to the answer."""

    async def extended(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return extended


async def _send(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    encoded.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
