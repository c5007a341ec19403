"""What an answer means: the manifest's error rules first, HTTP's own meaning otherwise. Used by the hub and by tests alike."""

from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from hub.sdk.errors import (
    AmbiguousWriteError,
    AuthenticationError,
    ConnectorError,
    PermanentError,
    RateLimitedError,
    RejectedByTargetError,
    TargetUnavailableError,
    bounded_wait,
)
from hub.sdk.manifest import Manifest
from hub.sdk.mapping import evaluate
from hub.sdk.statuses import meaning_of
from hub.sdk.steps import Request, Response


def classify(manifest: Manifest, request: Request, response: Response, now: datetime) -> ConnectorError | None:
    """The error an answer stands for, or None if it is an answer to work with.

    Order: the manifest's rules, then `of_status`.
    """
    now = said_at(response, now)
    rules = manifest.data["errors"]
    if rules:
        context = {
            "status": response.status, "headers": dict(response.headers), "body": _body(response),
            "path": request.path, "effect": request.mutates,
        }  # fmt: skip
        for rule in rules:
            if evaluate(rule["when"], context):
                return _by_rule(rule, context, response, now)
    return of_status(request, response, now)


def of_status(request: Request, response: Response, now: datetime) -> ConnectorError | None:
    """The error that an answer's status stands for, by `hub.sdk.statuses` alone; None if it is an answer to work with."""
    meaning, rule = meaning_of(request, response)
    if meaning == "accepted":
        return None
    message = f"{request.method} {request.path} answered {response.status}: {_beginning(response)}"
    wait = retry_after(response.headers.get("retry-after", ""), said_at(response, now))
    code, remedy = rule.code or None, rule.remedy
    match meaning:
        case "authentication":
            return AuthenticationError(message, code=code, remedy=remedy)
        case "rate_limited":
            return RateLimitedError(message, retry_after=wait, code=code, remedy=remedy)
        case "ambiguous":
            return AmbiguousWriteError(message, retry_after=wait, code=code, remedy=remedy)
        case "retry":
            if (location := response.headers.get("location")) and 300 <= response.status < 400:
                message = f"{request.method} {request.path} answered {response.status}, to {location[:200]}"
            return TargetUnavailableError(message, retry_after=wait, code=code, remedy=remedy)
    return RejectedByTargetError(message, code=code, remedy=remedy)


def _by_rule(rule: Any, context: Any, response: Response, now: datetime) -> ConnectorError | None:
    text = evaluate(rule["message"], context) if rule["message"] else None
    message = str(text or f"answered {response.status}")[:500]
    code = rule["code"] or None
    wait = retry_after(
        evaluate(rule["retry_after"], context) if rule["retry_after"] else response.headers.get("retry-after", ""), now
    )
    match rule["then"]:
        case "accept":
            return None
        case "retry":
            return TargetUnavailableError(message, retry_after=wait, code=code)
        case "rate_limited":
            return RateLimitedError(message, retry_after=wait, code=code)
        case "authentication":
            return AuthenticationError(message, code=code, remedy=rule["remedy"])
        case "ambiguous":
            return AmbiguousWriteError(message, retry_after=wait, code=code)
        case "rejected":
            where = str(evaluate(rule["field"], context) or "") if rule["field"] else ""
            return RejectedByTargetError(message, code=code, remedy=rule["remedy"], field=where)
    return PermanentError(message, code=code, remedy=rule["remedy"])


def said_at(response: Response, now: datetime) -> datetime:
    """When an answer was written by the target's own clock: its dates are to be read against that one, not against ours."""
    return _date(response.headers.get("date", "")) or now


def retry_after(value: Any, now: datetime) -> float | None:
    """Seconds to wait, from a Retry-After in seconds or as an HTTP date; None if absent or unreadable; bounded.

    The only reader of this header. Source: RFC 9110 10.2.3.
    """
    if value is None or value == "":
        return None
    try:
        return bounded_wait(value if isinstance(value, int | Decimal) else float(value))
    except (TypeError, ValueError):
        when = _date(str(value))
        return None if when is None else bounded_wait((when - now).total_seconds())


def _date(text: str) -> datetime | None:
    """An HTTP date; None if it is none (a year of twenty digits overflows)."""
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return when.replace(tzinfo=when.tzinfo or UTC)


def _beginning(response: Response) -> str:
    return response.content[:200].decode("utf-8", "replace")


def _body(response: Response) -> Any:
    try:
        return response.data()
    except ConnectorError:
        return response.content[:2000].decode("utf-8", "replace")
