"""The hub's own errors. Every code an API caller can meet is in `PROBLEMS`; the error reference is generated from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """What a code means: HTTP status, a title that never changes, and the remedy."""

    status: int
    title: str
    hint: str


PROBLEMS: dict[str, Problem] = {
    "malformed_json": Problem(400, "The body is not JSON", "Send one UTF-8 JSON document."),
    "duplicate_key": Problem(400, "A JSON object has a key twice", "Send each key once; the hub will not guess."),
    "nesting_too_deep": Problem(400, "The JSON is nested too deep", "Flatten it; the limit is in the detail."),
    "number_not_finite": Problem(400, "NaN and Infinity are not JSON", "Send amounts as decimal strings."),
    "invalid_request": Problem(400, "A parameter or header is invalid", "Correct the fields named in errors."),
    "invalid_cursor": Problem(400, "The cursor is not one of ours", "Use next_cursor of the previous page unchanged."),
    "unauthorized": Problem(401, "No valid API key", "Send Authorization: Bearer <key>; `hub tenant key` makes one."),
    "invalid_signature": Problem(401, "The webhook's signature does not match", "Check signing secret and URL."),
    "forbidden": Problem(403, "The key lacks a scope", "Use a key with the scope named in the detail."),
    "not_found": Problem(404, "Not found", "Check the id; things of other tenants are not found either."),
    "method_not_allowed": Problem(405, "The path does not take this method", "See the API documentation at /docs."),
    "not_acceptable": Problem(406, "No representation is acceptable", "Accept application/json."),
    "idempotency_conflict": Problem(409, "The same key is being processed", "Wait for the first answer and retry."),
    "wrong_state": Problem(409, "Not possible in this state", "Read it again; someone or something was faster."),
    "body_too_large": Problem(413, "The body is too large", "Split it; the limit is in the detail."),
    "unsupported_media_type": Problem(415, "The body is not application/json", "Set Content-Type: application/json."),
    "invalid_document": Problem(422, "The document breaks its schema or rules", "Correct the fields in errors."),
    "unknown_type": Problem(422, "The canonical type is unknown", "Use a type from /v1/contracts/types."),
    "idempotency_mismatch": Problem(422, "The key was used with another body", "Use a new Idempotency-Key."),
    "invalid_integration": Problem(422, "The integration file cannot be applied", "Correct the lines in errors."),
    "internal": Problem(500, "The hub failed", "Retry with the same Idempotency-Key; report the trace id."),
    "unavailable": Problem(503, "The hub cannot serve now", "Retry after Retry-After seconds; nothing was lost."),
}


class HubError(Exception):
    """An answer that is not success. ``code`` is a key of `PROBLEMS`; ``errors`` has one entry per bad field."""

    def __init__(self, code: str, detail: str = "", errors: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(detail or PROBLEMS[code].title)
        self.code = code
        self.problem = PROBLEMS[code]
        self.detail = detail or self.problem.hint
        self.errors = list(errors)

    def document(self, trace_id: str = "") -> dict[str, Any]:
        """The problem+json document (RFC 9457)."""
        return {
            "type": f"urn:crossdock:problem:{self.code}",
            "title": self.problem.title,
            "status": self.problem.status,
            "detail": self.detail,
            "code": self.code,
            "hint": self.problem.hint,
            "trace_id": trace_id,
            "errors": self.errors,
        }


class NotFoundError(HubError):
    """No such thing for this tenant."""

    def __init__(self, what: str, identity: str) -> None:
        super().__init__("not_found", f"no {what} {identity!r}")


class MisconfiguredError(Exception):
    """The hub refuses to start; says which setting and why."""

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(f"{setting}: {why}")
        self.setting = setting


class LeaseLostError(Exception):
    """The claim on a delivery has expired or passed to another worker: no byte may leave."""


class ThrottledError(Exception):
    """The connection's budget has no slot now; ``wait_seconds`` until the one that was reserved."""

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(f"no slot for {wait_seconds:.1f} s")
        self.wait_seconds = wait_seconds
