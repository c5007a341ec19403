"""Performs a connector's steps: one place for authentication, budget, time-outs, egress, error rules, tracing and redaction.

What went wrong is told by where it went wrong: before any byte left nothing was applied; after bytes of an effect left
and no readable answer came, the write is ambiguous.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from http.cookies import SimpleCookie
from typing import Any, Protocol, TypeVar

import aiohttp
from yarl import URL

from hub.policies import redaction, tracing
from hub.runtime.egress import Egress, connector_for
from hub.runtime.guest import Done
from hub.runtime.isolation import RemoteSteps
from hub.runtime.session import Session
from hub.sdk.answers import classify, of_status
from hub.sdk.encoding import check_header, check_target, is_text, refused, unsendable_header
from hub.sdk.errors import (
    AmbiguousWriteError,
    AuthenticationError,
    ConnectorError,
    PermanentError,
    RejectedByTargetError,
    TargetUnavailableError,
)
from hub.sdk.mapping import evaluate, render
from hub.sdk.steps import Request, Response, Steps
from hub.telemetry import SpanKind, Telemetry, fail, traceparent_of

T = TypeVar("T")
#: A credential shorter than this is not looked for in answers: it would be found everywhere.
_SECRET_LENGTH = 8
#: Fields that hold one value, and whose value may have a comma in it.
_SINGLE = (
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "retry-after",
    "set-cookie",
)


class Boundary(Protocol):
    """What the caller does around requests; each may raise to stop before anything leaves."""

    async def before_request(self, request: Request) -> None:
        """Reserve budget; raises ThrottledError."""

    async def before_read(self, request: Request) -> None:
        """Right before a request leaves that changes nothing; raises ThrottledError."""

    async def before_effect(self, request: Request) -> None:
        """Right before one leaves that may change something: commit the intent, check the lease; raises LeaseLostError."""

    async def after_request(self, error: ConnectorError | None) -> None:
        """What the target answered: None is success. Called once for every `before_request` whose request was tried."""


class NoBoundary:
    """For reads outside the flow (checks): no budget, no lease."""

    async def before_request(self, request: Request) -> None:
        return None

    async def before_read(self, request: Request) -> None:
        return None

    async def before_effect(self, request: Request) -> None:
        return None

    async def after_request(self, error: ConnectorError | None) -> None:
        return None


@dataclass
class Run:
    """What happened while steps ran: each request as data, and how many effects left.

    Attributes:
        exchanges: each request that was answered, with its answer; None: they are not kept.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    effects: int = 0
    exchanges: list[tuple[Request, Response]] | None = None


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A request that has been built and checked, without the connection's credentials."""

    request: Request
    target: URL
    body: bytes | None
    headers: Mapping[str, str]


class Performer:
    """Performs steps on the loop it was started on. `close` it there too."""

    def __init__(
        self, egress: Egress, telemetry: Telemetry, clock: Callable[[], datetime] | None = None, pool: int = 200
    ) -> None:
        self._egress, self._telemetry = egress, telemetry
        self._clock = clock or (lambda: datetime.now(UTC))
        self._http = aiohttp.ClientSession(
            connector=connector_for(egress, pool), auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "crossdock"},
        )  # fmt: skip

    async def close(self) -> None:
        await self._http.close()

    async def perform(self, steps: Steps[T], session: Session, boundary: Boundary, run: Run, parent: str = "") -> T:
        """The generator's result. Errors are thrown into it first; what it does not handle is raised here."""
        remote = steps if isinstance(steps, RemoteSteps) else None
        response: Response | None = None
        error: ConnectorError | None = None
        try:
            while True:
                following = _advance(steps, response, error) if remote is None else await remote.advance(response, error)
                if isinstance(following, Done):
                    result: T = following.value
                    return result
                response = error = None
                try:
                    response = await self._step(following, session, boundary, run, parent)
                except ConnectorError as caught:
                    error = caught
                if remote is not None and response is not None:
                    response = without_secrets(response, session)
        finally:
            steps.close()

    async def _step(self, request: Request, session: Session, boundary: Boundary, run: Run, parent: str) -> Response:
        record: dict[str, Any] = {
            "n": len(run.steps) + 1, "method": request.method, "path": request.path, "effect": request.mutates,
            "at": self._clock().isoformat(), **({"label": request.label} if request.label else {}),
        }  # fmt: skip
        try:
            outgoing = self._outgoing(request, session)
        except PermanentError as unbuilt:  # no byte left: it is no effect, and tells nothing about the target
            unbuilt.message = redaction.text(f"step {record['n']}: {unbuilt.message}", session.secrets)
            run.steps.append({**record, "error": unbuilt.code, "detail": unbuilt.message[:500]})
            raise
        await boundary.before_request(request)
        run.steps.append(record)
        started = time.perf_counter()
        attributes = {
            "http_request.method": request.method, "url_path": request.path, "hub_effect": request.mutates,
            "hub_connection": session.connection_id, "hub_label": request.label or None,
        }  # fmt: skip
        with self._telemetry.span(tracing.STEP, parent, SpanKind.CLIENT, **attributes) as span:
            try:
                response = self._dated(await self._send(outgoing, session, boundary, run, traceparent_of(span)))
                record["status"] = response.status
                if run.exchanges is not None:
                    run.exchanges.append((request, response))
                span.set_attribute("http.response.status_code", response.status)
                if error := classify(session.manifest, request, response, self._clock()):
                    raise error
                await boundary.after_request(None)
                return response
            except ConnectorError as error:
                await boundary.after_request(error)
                error.message = redaction.text(error.message, session.secrets)
                record["error"] = error.code
                record["detail"] = error.message[:500]
                fail(span, error.code)
                raise
            finally:
                record["ms"] = round((time.perf_counter() - started) * 1000, 1)

    def _outgoing(self, request: Request, session: Session) -> Outgoing:
        """Build a request before anything is recorded or sent. Raises PermanentError (`request_invalid`) naming the field."""
        check_target(request.method, request.path)
        url = session.base_url.rstrip("/") + request.path
        self._egress.check(session.base_url, url)
        body = request.body()
        if body is not None and not isinstance(body, bytes):
            raise refused("the content", f"is {type(body).__name__}, not bytes")
        for name, value in request.headers.items():
            check_header(name, value)
        headers = dict(request.headers)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        given = {key: value for key, value in request.params.items() if value is not None}
        params = {key: [*map(_text, v)] if isinstance(v, list | tuple) else _text(v) for key, v in given.items()}
        for key, text in params.items():
            if not is_text(f"{key}{''.join(text)}"):
                raise refused(f"parameter {key!a}", "holds half a character (a lone surrogate)")
        try:
            target = URL(url, encoded=True).update_query(params) if params else URL(url, encoded=True)
        except (ValueError, TypeError) as error:
            raise refused("the address", str(error)[:200]) from error
        return Outgoing(request=request, target=target, body=body, headers=headers)

    def _dated(self, response: Response) -> Response:
        """The answer with the time at which it came, if it says none itself (RFC 9110 6.6.1)."""
        if "date" in response.headers:
            return response
        return replace(response, headers={**response.headers, "date": format_datetime(self._clock(), usegmt=True)})

    async def _send(
        self, outgoing: Outgoing, session: Session, boundary: Boundary, run: Run, traceparent: str
    ) -> Response:  # fmt: skip
        """Authenticate first; the lease is checked last, right before the bytes of an effect leave."""
        headers = await self._authenticate(session, boundary)
        await self._intend(outgoing.request, boundary, run)
        response = await self._exchange(outgoing, session, headers, traceparent)
        if self._expired(session, response):  # refused before anything was applied: session or token ran out
            headers = await self._authenticate(session, boundary, refused=headers)
            await self._intend(outgoing.request, boundary, run)
            response = await self._exchange(outgoing, session, headers, traceparent)
        return response

    async def _authenticate(
        self, session: Session, boundary: Boundary, refused: Mapping[str, str] | None = None
    ) -> dict[str, str]:  # fmt: skip
        """The headers that a request carries. ``refused``: those that were not taken any more.

        Raises AuthenticationError naming a header whose value cannot be sent: nothing leaves.
        """
        return _sendable(await self._credentials(session, boundary, refused), session)

    async def _credentials(
        self, session: Session, boundary: Boundary, refused: Mapping[str, str] | None
    ) -> dict[str, str]:  # fmt: skip
        auth = session.manifest.data["auth"]
        if auth["login"] is not None:
            return {**await self._login(session, boundary, refused), **session.auth_headers()}
        declared = session.oauth2
        if declared is None:
            return session.auth_headers()
        if session.tokens is None:
            raise AuthenticationError(f"connection {session.connection_id} has nobody to get its tokens")
        before = (refused or {}).get(declared["header"], "").removeprefix(f"{declared['scheme']} ")
        session.access_token = await session.tokens.access(self.ask, before)
        return {**session.auth_headers(), declared["header"]: f"{declared['scheme']} {session.access_token}".strip()}

    @staticmethod
    def _expired(session: Session, response: Response) -> bool:
        auth = session.manifest.data["auth"]
        if auth["login"] is not None and auth["login"]["expired"]:
            context = {"status": response.status, "headers": dict(response.headers)}
            return bool(evaluate(auth["login"]["expired"], context))
        return response.status == 401 and (auth["login"] is not None or session.oauth2 is not None)

    async def ask(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Response:
        """Post a form to a token endpoint."""
        self._egress.check(url, url)
        sent = {"Accept": "application/json", **headers}
        timeout = aiohttp.ClientTimeout(total=20, sock_connect=10)
        try:
            async with self._http.post(url, data=dict(form), headers=sent, timeout=timeout, allow_redirects=False) as answer:
                content = await _bounded(answer, 1024 * 1024)
                return Response(answer.status, {k.lower(): v for k, v in answer.headers.items()}, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TargetUnavailableError(f"the token endpoint cannot be asked: {type(error).__name__} {error}") from error
        except (ValueError, TypeError) as error:  # a credential that no form or header can hold
            raise AuthenticationError(
                f"the token request cannot be built: {type(error).__name__}; nothing was sent", code="credential_invalid",
                remedy="set the connection's credentials again",
            ) from error  # fmt: skip

    @staticmethod
    async def _intend(request: Request, boundary: Boundary, run: Run) -> None:
        if request.mutates:
            await boundary.before_effect(request)
            run.effects += 1
        else:
            await boundary.before_read(request)

    async def _login(self, session: Session, boundary: Boundary, refused: Mapping[str, str] | None) -> dict[str, str]:
        declared = session.manifest.data["auth"]["login"]
        async with session.login_lock:
            stale = refused is not None and all(refused.get(name) == value for name, value in session.login_headers.items())
            if not session.login_headers or stale:
                context = {"credentials": dict(session.credentials), "settings": dict(session.connector.settings)}
                wanted = render({key: declared["request"][key] for key in ("json", "params", "headers")}, context)
                path = session.base_path(declared["request"]["path"])
                request = Request(declared["request"]["method"], path, wanted.get("params") or {}, json=wanted.get("json"),
                                  headers=wanted.get("headers") or {}, effect=False)  # fmt: skip
                try:
                    outgoing = self._outgoing(request, session)
                except PermanentError as unbuilt:  # the credentials are at fault, and no document
                    raise AuthenticationError(f"login: {unbuilt.message}", code="credential_invalid",
                                              remedy="set the connection's credentials again") from unbuilt  # fmt: skip
                own = _sendable(session.auth_headers(), session)
                await boundary.before_request(request)  # it counts like any other
                await boundary.before_read(request)
                response = await self._exchange(outgoing, session, own, "")
                if error := _login_error(request, response, self._clock()):
                    raise error
                session.login_headers = _logged_in(declared, context, response)
            return dict(session.login_headers)

    async def _exchange(
        self, outgoing: Outgoing, session: Session, headers: Mapping[str, str], traceparent: str
    ) -> Response:  # fmt: skip
        request, target = outgoing.request, outgoing.target
        sent = {**outgoing.headers, **headers}
        if traceparent:
            sent["traceparent"] = traceparent
        timeout = aiohttp.ClientTimeout(total=float(session.limits["timeout_seconds"]), sock_connect=10)
        if session.manifest.data["auth"]["oauth1"] is not None:  # each request is signed, and each try of it anew
            sent["Authorization"] = session.oauth1_header(request.method, str(target))
        try:
            async with self._http.request(
                request.method, target, data=outgoing.body, headers=sent, timeout=timeout, allow_redirects=False
            ) as answer:
                content = await _bounded(answer, int(session.limits["max_response_bytes"]))
                answered = _headers(answer.headers.items())
                if answer.cookies:  # each came in a header of its own
                    answered["set-cookie"] = "; ".join(f"{item.key}={item.value}" for item in answer.cookies.values())
                return Response(answer.status, answered, content)
        except aiohttp.InvalidURL as error:  # noticed before a connection is made
            raise refused("the address", "is no URL") from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise TargetUnavailableError(f"cannot connect to {session.base_url}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            what = f"{request.method} {request.path}: {type(error).__name__} {error}".strip()
            if request.mutates:
                raise AmbiguousWriteError(f"{what}; it may have been applied") from error
            raise TargetUnavailableError(what) from error


def _advance(steps: Steps[Any], response: Response | None, error: ConnectorError | None) -> Request | Done:
    try:
        return steps.throw(error) if error is not None else steps.send(response)  # type: ignore[arg-type]
    except StopIteration as done:
        return Done(done.value)


def _sendable(headers: dict[str, str], session: Session) -> dict[str, str]:
    """The headers made of credentials. Raises AuthenticationError naming one whose value cannot be sent."""
    for name, value in headers.items():
        if why := unsendable_header(value):
            raise AuthenticationError(
                f"the credentials make a header {name} that {why}; nothing was sent", code="credential_invalid",
                remedy=f"set the credential again with `hub connect {session.connection_id} …`",
            )  # fmt: skip
    return headers


def without_secrets(response: Response, session: Session) -> Response:
    """For who may not see credentials (an isolated connector, a table): a system may echo what it was sent."""
    secrets = [secret for secret in session.secrets if len(secret) >= _SECRET_LENGTH]
    content = response.content
    for secret in secrets:
        content = content.replace(secret.encode(), b"***")
    return Response(
        response.status, {name: redaction.text(value, secrets) for name, value in response.headers.items()}, content
    )


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _headers(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By lower-case name. Lines of one name are one list (RFC 9110 5.3); of a field that is no list, the last one counts."""
    found: dict[str, str] = {}
    for name, value in items:
        key = name.lower()
        found[key] = f"{found[key]}, {_header(value)}" if key in found and key not in _SINGLE else _header(value)
    return found


def _header(value: str) -> str:
    """Bytes that are no UTF-8 are Latin-1, as RFC 9112 has it of old; they come as lone surrogates, which nothing can write."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def _logged_in(declared: Mapping[str, Any], context: Mapping[str, Any], response: Response) -> dict[str, str]:
    """What requests carry after a login; expressions see body, headers and cookies of its answer."""
    try:
        body = response.data()
    except ConnectorError:
        body = response.content.decode("utf-8", "replace")
    cookies = {item.key: item.value for item in SimpleCookie(response.headers.get("set-cookie", "")).values()}
    seen = {**context, "body": body, "headers": dict(response.headers), "cookies": cookies}
    named = {**declared["headers"], **({declared["header"]: declared["value"]} if declared["header"] else {})}
    found = {name: evaluate(text[1:].strip(), seen) if text.startswith("=") else text for name, text in named.items()}
    if not all(found.values()):
        lacking = ", ".join(name for name, value in found.items() if not value)
        raise AuthenticationError(f"the login answered without {lacking}", remedy="check the credentials")
    return {name: str(value) for name, value in found.items()}


def _login_error(request: Request, response: Response, now: datetime) -> ConnectorError | None:
    """What keeps a log-in from being one, by the table of statuses; None if its answer has to be looked into.

    A refusal of the request itself (400, 422) is told by what the answer lacks, and so is a redirect: forms answer by one.
    """
    error = of_status(request, response, now)
    if error is None or isinstance(error, RejectedByTargetError) or 300 <= response.status <= 399:
        return None
    error.message = f"login answered {response.status}"
    return error


async def _bounded(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    content = bytearray()
    async for chunk in answer.content.iter_chunked(65536):
        content += chunk
        if len(content) > limit:
            raise aiohttp.ClientPayloadError(f"answer is larger than {limit} bytes")
    return bytes(content)
