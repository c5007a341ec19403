"""Rules about answers: a refusal, a limit, an outage, a page and nonsense are each taken for what they are."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

from hub.sdk.errors import (
    AmbiguousWriteError,
    AuthenticationError,
    ConnectorError,
    PermanentError,
    RateLimitedError,
    RetryableError,
)
from hub.sdk.kit.rules import PLATINUM, SILVER, InapplicableError, rule
from hub.sdk.kit.subject import Spoil, Subject, crash_of, instead
from hub.sdk.kit.writes import KEY, MOST_REQUESTS, each
from hub.sdk.steps import Request, Response, Written


class _EndlessError(Exception):
    """It asks and asks."""


def _told(subject: Subject, response: Response, effects_only: bool = True, applied: bool = False) -> Iterator[tuple[str, Any]]:
    """(type, what came of a write whose effects are answered with ``response``)."""
    for name, document in each(subject):
        trial = subject.trial()
        try:
            yield name, trial.write(name, document, KEY, instead(response, effects_only, applied))
        except ConnectorError as error:
            yield name, error


@rule("throttled-waits", SILVER, "is-applied", "effects-declared")
def throttled_waits(subject: Subject) -> Iterator[str]:
    """429 with Retry-After means: not before then, and nothing was applied."""
    soon = datetime.now(UTC) + timedelta(seconds=90)
    for said, least, most in (("7", 7.0, 7.0), (format_datetime(soon, usegmt=True), 60.0, 95.0)):
        response = Response(429, {"retry-after": said, "content-type": "application/json"}, b'{"detail":"slow down"}')
        for name, result in _told(subject, response):
            if not isinstance(result, RateLimitedError):
                yield f"{name}: 429 became {_called(result)}"
            elif result.retry_after is None or not least <= result.retry_after <= most:
                yield f"{name}: Retry-After {said} became {result.retry_after}"


@rule("outage-waits", SILVER, "is-applied", "effects-declared")
def outage_waits(subject: Subject) -> Iterator[str]:
    """503 is an outage: tried again, never for good."""
    for effects_only in (True, False):
        for name, result in _told(subject, Response(503, {}, b"<html>Service Unavailable</html>"), effects_only):
            if not isinstance(result, RetryableError | AmbiguousWriteError):
                yield f"{name}: 503 became {_called(result)}"


@rule("unclear-is-ambiguous", SILVER, "is-applied", "effects-declared")
def unclear_is_ambiguous(subject: Subject) -> Iterator[str]:
    """500 to an effect may have been applied: it is looked for, not repeated blindly."""
    for name, result in _told(subject, Response(500, {}, b"Internal Server Error"), applied=True):
        if not isinstance(result, AmbiguousWriteError):
            yield f"{name}: 500 became {_called(result)}"


@rule("refused-credentials", SILVER, "is-applied")
def refused_credentials(subject: Subject) -> Iterator[str]:
    """401 pauses the connection."""
    for name, result in _told(subject, Response(401, {}, b'{"detail":"token"}'), effects_only=False):
        if not isinstance(result, AuthenticationError):
            yield f"{name}: 401 became {_called(result)}"


@rule("page-is-no-success", SILVER, "is-applied", "effects-declared")
def page_is_no_success(subject: Subject) -> Iterator[str]:
    """An HTML page with status 200 is not taken for an answer."""
    for name, result in _told(subject, Response(200, {"content-type": "text/html"}, b"<html><body>Welcome</body></html>")):
        if not isinstance(result, ConnectorError):
            yield f"{name}: an HTML page became {_called(result)}"


@rule("half-is-no-success", SILVER, "page-is-no-success")
def half_is_no_success(subject: Subject) -> Iterator[str]:
    """An answer that stops half-way is not taken for one."""
    for name, document in each(subject):
        genuine: list[Response] = []

        def keep(
            _: int, request: Request, answer: Callable[[], Response], genuine: list[Response] = genuine
        ) -> Response:  # fmt: skip
            response = answer()
            if request.mutates:
                genuine.append(response)
            return response

        subject.trial().write(name, document, KEY, keep)
        for response in genuine[:1]:
            if len(response.content) < 2:
                continue
            half = Response(response.status, response.headers, response.content[: len(response.content) // 2])
            try:
                result = subject.trial().write(name, document, KEY, instead(half, applied=False))
            except ConnectorError:
                continue
            if isinstance(result, Written):
                yield f"{name}: half an answer became {_called(result)}, and nothing was applied"


@rule("refusal-is-final", SILVER, "is-applied")
def refusal_is_final(subject: Subject) -> Iterator[str]:
    """What the target refuses says code, cause and remedy, and changes nothing."""
    if not subject.refused:
        raise InapplicableError("no sample that the target refuses")
    for name, document in subject.refused:
        trial = subject.trial()
        before = trial.system.applied()
        try:
            result = trial.write(name, document, KEY)
        except PermanentError as error:
            if not (error.code and error.message and error.remedy):
                yield f"{name}: refused as {error.code!r} without a remedy; say what a person has to do"
        except ConnectorError as error:
            yield f"{name}: refused as {_called(error)}; it would be tried again for ever"
        else:
            yield f"{name}: {_called(result)}, though the target refuses it"
        if trial.system.applied() != before:
            yield f"{name}: refused, and something was applied all the same"


_HOSTILE: tuple[bytes, ...] = (
    b"null", b"[]", b"{}", b'"x"', b"7", b"[[]]", b'{"id":null}', b'{"items":null,"results":null,"data":null,"id":{}}',
    b'{"items":[null],"results":[null],"data":[1],"id":[]}', b'{"id":1e999}', b"[" * 500 + b"]" * 500,
    b'{"id":"' + b"x" * 100_000 + b'"}', b"\xff\xfe", b'{"id":"\\ud800"}',
)  # fmt: skip


@rule("hostile-answers", PLATINUM, "is-applied")
def hostile_answers(subject: Subject) -> Iterator[str]:
    """Whatever a target answers, the connector ends with a result or an error of the SDK."""
    for name, document in each(subject):
        for content in _HOSTILE:
            for effects_only in (True, False):
                trial = subject.trial()
                response = Response(200, {"content-type": "application/json"}, content)
                spoil = _bounded(instead(response, effects_only, applied=False))
                error = crash_of(partial(trial.write, name, document, KEY, spoil), ConnectorError)
                if isinstance(error, _EndlessError):
                    yield f"{name}: {content[:40]!r} keeps it asking for ever"
                elif error is not None:
                    yield f"{name}: {content[:40]!r} raises {type(error).__name__}: {str(error)[:80]}"


def _bounded(spoil: Spoil) -> Spoil:
    def counted(number: int, request: Request, answer: Callable[[], Response]) -> Response | None:
        if number >= MOST_REQUESTS:
            raise _EndlessError
        return spoil(number, request, answer)

    return counted


def _called(result: Any) -> str:
    return f"{type(result).__name__} ({result.code})" if isinstance(result, ConnectorError) else type(result).__name__
