"""Errors a connector raises. Each one is an instruction to the hub, grouped by what the hub must do.

| raise | the hub |
|---|---|
| `RetryableError` (and `RateLimitedError`, `TargetUnavailableError`) | retries with backoff and jitter, honours `retry_after` |
| `AmbiguousWriteError` | waits out the quiesce window, probes, never resends before the probe answered |
| `PermanentError` (and `RejectedByTargetError`, `UntranslatableError`) | dead letter or quarantine, with cause and remedy |
| `AuthenticationError` | pauses the connection, keeps its messages |
| anything else | retries, capped, flags it as a bug in the connector and keeps the traceback |
"""

import math
from decimal import Decimal

#: After this many seconds the hub asks again, even if it was told to wait longer: a day's budget may be raised meanwhile.
MAX_RETRY_AFTER_SECONDS = 3600.0
#: No system's limit lasts longer than two days: a longer wait is a mistake, and the hub asks again after a minute.
_BELIEVED_SECONDS, _MISTAKE_SECONDS = 2 * 86400.0, 60.0


def bounded_wait(seconds: object) -> float | None:
    """Bound a wait in seconds: 0 to an hour, a minute where it is absurd (infinity, years); None where it is no number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | Decimal):
        return None
    try:
        number = float(seconds)
    except OverflowError:  # an integer beyond every float
        return _MISTAKE_SECONDS
    except ValueError:  # a signalling NaN
        return None
    if math.isnan(number):
        return None
    if number > _BELIEVED_SECONDS:
        return _MISTAKE_SECONDS
    return min(max(number, 0.0), MAX_RETRY_AFTER_SECONDS)


#: What reading something that a vendor said can raise, besides errors of our own. JSON and Unicode errors are ValueErrors;
#: decimal.InvalidOperation and OverflowError are ArithmeticErrors; RecursionError is what nests too deep.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class Unreadable(str):
    """The text of a value that no reader of JSON can hold: a number of a million digits, NaN, what nests too deep."""

    __slots__ = ()


class ConnectorError(Exception):
    """Root of what a connector may raise. ``code`` is stable and machine-readable, ``remedy`` tells a person what to do."""

    code = "connector_error"
    _wait: float | None = None

    def __init__(self, message: str, *, code: str | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message if isinstance(message, str) else str(message)
        self.code = code or type(self).code
        self.remedy = remedy


class RetryableError(ConnectorError):
    """Try again later; ``retry_after`` in seconds if the target said so."""

    code = "retryable"

    def __init__(self, message: str, *, retry_after: float | None = None, code: str | None = None, remedy: str = "") -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.retry_after = retry_after

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, if the target said so; whatever is set is bounded (`bounded_wait`)."""
        return self._wait

    @retry_after.setter
    def retry_after(self, seconds: float | None) -> None:
        self._wait = bounded_wait(seconds)


class RateLimitedError(RetryableError):
    """The target's limit was hit; nothing was applied."""

    code = "rate_limited"


class TargetUnavailableError(RetryableError):
    """The target could not be reached or is down; nothing was applied."""

    code = "target_unavailable"


class AmbiguousWriteError(ConnectorError):
    """Bytes of a mutating request left and no readable answer came: it may or may not have been applied.

    ``retry_after``: seconds that the target asked to be left alone for; it is not looked up before either.
    """

    code = "ambiguous_write"

    def __init__(self, message: str, *, retry_after: float | None = None, code: str | None = None, remedy: str = "") -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.retry_after = retry_after

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, if the target said so; whatever is set is bounded (`bounded_wait`)."""
        return self._wait

    @retry_after.setter
    def retry_after(self, seconds: float | None) -> None:
        self._wait = bounded_wait(seconds)


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
