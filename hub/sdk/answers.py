"""What an answer means: the manifest's error rules first, HTTP's own meaning otherwise. Used by the hub and by tests alike."""

from datetime import UTC, datetime
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
)
from hub.sdk.manifest import Manifest
from hub.sdk.mapping import evaluate
from hub.sdk.steps import Request, Response

#: After this long the hub asks again, even if it was told to wait longer: a day's budget may be raised meanwhile.
MAX_RETRY_AFTER_SECONDS = 3600.0
#: No system's limit lasts longer than a day or two: what says so is a mistake, and is asked again after a minute.
_BELIEVED_SECONDS, _MISTAKE_SECONDS = 2 * 86400.0, 60.0


def classify(manifest: Manifest, request: Request, response: Response, now: datetime) -> ConnectorError | None:
    """The error an answer stands for, or None if it is an answer to work with.

    Order: the manifest's rules, then ``request.expect``, then HTTP: 401/403 pauses the connection, 429 waits, 5xx to a
    mutating request is ambiguous (it may have been applied), 5xx otherwise retries, other 4xx is a rejection.
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
    status = response.status
    if 200 <= status < 300 or status in request.expect:
        return None
    message = f"{request.method} {request.path} answered {status}: {response.content[:200].decode('utf-8', 'replace')}"
    if status in (401, 403):
        return AuthenticationError(message, remedy="renew the connection's credentials")
    if status == 429:
        return RateLimitedError(message, retry_after=retry_after(response.headers.get("retry-after", ""), now))
    if status >= 500:
        if request.mutates:
            return AmbiguousWriteError(message)
        return TargetUnavailableError(message, retry_after=retry_after(response.headers.get("retry-after", ""), now))
    return RejectedByTargetError(message, remedy="correct the document or the target's data, then replay")


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
            return AmbiguousWriteError(message, code=code)
        case "rejected":
            where = str(evaluate(rule["field"], context) or "") if rule["field"] else ""
            return RejectedByTargetError(message, code=code, remedy=rule["remedy"], field=where)
    return PermanentError(message, code=code, remedy=rule["remedy"])


def said_at(response: Response, now: datetime) -> datetime:
    """When an answer was written by the target's own clock: its dates are to be read against that one, not against ours."""
    try:
        when = parsedate_to_datetime(response.headers.get("date", ""))
    except (TypeError, ValueError):
        return now
    return when.replace(tzinfo=when.tzinfo or UTC)


def retry_after(value: Any, now: datetime) -> float | None:
    """Seconds to wait, from a Retry-After in seconds or as an HTTP date; None if absent or unreadable; capped.

    Source: RFC 9110 10.2.3.
    """
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        try:
            when = parsedate_to_datetime(str(value))
        except (TypeError, ValueError):
            return None
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds()
    if seconds != seconds:
        return None
    if seconds > _BELIEVED_SECONDS:
        return _MISTAKE_SECONDS
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _body(response: Response) -> Any:
    try:
        return response.data()
    except ConnectorError:
        return response.content[:2000].decode("utf-8", "replace")
