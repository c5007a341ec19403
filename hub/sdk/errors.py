"""Errors a connector raises. Each one is an instruction to the hub, grouped by what the hub must do.

| raise | the hub |
|---|---|
| `RetryableError` (and `RateLimitedError`, `TargetUnavailableError`) | retries with backoff and jitter, honours `retry_after` |
| `AmbiguousWriteError` | waits out the quiesce window, probes, never resends before the probe answered |
| `PermanentError` (and `RejectedByTargetError`, `UntranslatableError`) | dead letter or quarantine, with cause and remedy |
| `AuthenticationError` | pauses the connection, keeps its messages |
| anything else | retries, capped, flags it as a bug in the connector and keeps the traceback |
"""

#: What reading something that a vendor said can raise, besides errors of our own. JSON and Unicode errors are ValueErrors;
#: decimal.InvalidOperation and OverflowError are ArithmeticErrors; RecursionError is what nests too deep.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class Unreadable(str):
    """The text of a value that no reader of JSON can hold: a number of a million digits, NaN, what nests too deep."""

    __slots__ = ()


class ConnectorError(Exception):
    """Root of what a connector may raise. ``code`` is stable and machine-readable, ``remedy`` tells a person what to do."""

    code = "connector_error"

    def __init__(self, message: str, *, code: str | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.remedy = remedy


class RetryableError(ConnectorError):
    """Try again later; ``retry_after`` in seconds if the target said so."""

    code = "retryable"

    def __init__(self, message: str, *, retry_after: float | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class RateLimitedError(RetryableError):
    """The target's limit was hit; nothing was applied."""

    code = "rate_limited"


class TargetUnavailableError(RetryableError):
    """The target could not be reached or is down; nothing was applied."""

    code = "target_unavailable"


class AmbiguousWriteError(ConnectorError):
    """Bytes of a mutating request left and no readable answer came: it may or may not have been applied."""

    code = "ambiguous_write"


class PermanentError(ConnectorError):
    """Trying again cannot help; a person decides."""

    code = "permanent"


class RejectedByTargetError(PermanentError):
    """The target understood and refused: ``field`` and ``value`` say what, ``remedy`` what to do about it."""

    code = "rejected_by_target"

    def __init__(self, message: str, *, code: str | None = None, remedy: str = "", field: str = "", value: str = "") -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.field = field
        self.value = value


class UntranslatableError(PermanentError):
    """Raw input that cannot become a canonical document; it waits in quarantine with this reason."""

    code = "untranslatable"


class AuthenticationError(ConnectorError):
    """The target refused the credentials: the connection pauses until someone renews them."""

    code = "authentication_failed"


class ManifestError(ValueError):
    """A connector.yaml (or integration file) that cannot be used; the message names file, line and remedy."""
