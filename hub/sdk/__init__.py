"""The door: all that a plugin may import, besides `canonical`. What is listed here is the public surface."""

from hub.sdk.connector import Connector
from hub.sdk.errors import (
    UNREADABLE,
    AmbiguousWriteError,
    AuthenticationError,
    ConnectorError,
    PermanentError,
    RateLimitedError,
    RejectedByTargetError,
    RetryableError,
    TargetUnavailableError,
    UntranslatableError,
)
from hub.sdk.hookspecs import hookimpl
from hub.sdk.manifest import Manifest, load_manifest
from hub.sdk.mapping import linked_id
from hub.sdk.numbers import Number, number
from hub.sdk.paging import furthest, listed
from hub.sdk.steps import (
    AccountField,
    Change,
    Document,
    Gone,
    Ignored,
    Page,
    Refused,
    Request,
    Response,
    Skipped,
    Steps,
    Subscription,
    Webhook,
    Written,
)

__all__ = [
    "UNREADABLE",
    "AccountField",
    "AmbiguousWriteError",
    "AuthenticationError",
    "Change",
    "Connector",
    "ConnectorError",
    "Document",
    "Gone",
    "Ignored",
    "Manifest",
    "Number",
    "Page",
    "PermanentError",
    "RateLimitedError",
    "Refused",
    "RejectedByTargetError",
    "Request",
    "Response",
    "RetryableError",
    "Skipped",
    "Steps",
    "Subscription",
    "TargetUnavailableError",
    "UntranslatableError",
    "Webhook",
    "Written",
    "furthest",
    "hookimpl",
    "linked_id",
    "listed",
    "load_manifest",
    "number",
]
