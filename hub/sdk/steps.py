"""The step protocol: what a connector yields, receives and returns. A connector describes I/O and never performs it.

A connector method is a generator. It yields `Request`s; the hub performs each one and sends the `Response` back in (or
throws a `ConnectorError` in, by the manifest's error rules). What the generator returns is the method's result. The hub
may drop a generator at any yield and start the method again from its beginning, so a write of several requests looks
first and continues from what it finds. Same shape as `httpx.Auth.auth_flow`.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hub.sdk.encoding import encoded
from hub.sdk.errors import UNREADABLE, ConnectorError
from hub.sdk.json_values import parse_json
from hub.sdk.xml import parse_xml

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to the connection's system.

    Attributes:
        method: HTTP verb.
        path: path below the connection's base URL, beginning with ``/``. The host is never the connector's to choose.
        params: query parameters; values are written with `str`, None is left out, a list repeats the parameter.
        json: body, encoded as JSON (Decimals as JSON strings). Mutually exclusive with ``content``.
        content: raw body bytes.
        headers: extra headers; credentials are added by the hub and never seen here.
        effect: True if it may change something at the target. Default: any verb but GET, HEAD, OPTIONS. Before an
            effect leaves the hub commits the intent and checks its lease; say False for searches by POST.
        expect: statuses that are answers and not errors, besides 2xx (for example 404 of a look-up).
        label: what it is for people, where the path does not tell (one RPC endpoint for everything).
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    effect: bool | None = None
    expect: tuple[int, ...] = ()
    label: str = ""

    @property
    def mutates(self) -> bool:
        return self.method.upper() not in ("GET", "HEAD", "OPTIONS") if self.effect is None else self.effect

    def body(self) -> bytes | None:
        """The bytes that are sent. Raises PermanentError (`request_invalid`) naming the field that cannot be encoded."""
        if self.content is not None or self.json is None:
            return self.content
        return encoded(self.json)


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a `Request`. ``headers`` has lower-case names."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    def json(self) -> Any:
        """The parsed body; numbers with a fraction arrive as Decimal, never as float. Raises ConnectorError if not JSON.

        A value that cannot be held (`1e9999999999`, `NaN`, what nests too deep) arrives as its text, an `Unreadable`.
        """
        try:
            return parse_json(self.content)
        except ValueError as error:
            start = self.content[:80].decode("utf-8", "replace")
            raise ConnectorError(f"answer {self.status} is not JSON: {start!r}", code="unreadable_answer") from error

    def data(self) -> Any:
        """What the body stands for: JSON, or XML if it says so (`hub.sdk.xml.parse_xml`). Raises ConnectorError if neither."""
        if not self.is_xml:
            return self.json()
        try:
            return parse_xml(self.content)
        except UNREADABLE as error:
            raise ConnectorError(f"answer {self.status}: {error}", code="unreadable_answer") from error

    @property
    def is_xml(self) -> bool:
        """Whether the answer says that it is XML."""
        return "xml" in self.headers.get("content-type", "")


Steps = Generator[Request, Response, T]


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened at the source, as `receive` or `read` report it.

    Attributes:
        object: the manifest's object it is about, for example ``order``.
        ref: the source's id of that object.
        record: the record itself, or None for a thin change that `fetch` completes.
        detail: whatever else `fetch` needs (small, JSON).
    """

    object: str
    ref: str
    record: Mapping[str, Any] | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """A canonical document a connector made.

    Attributes:
        type: canonical type name.
        source_id: stable id of the fact at the source; the same fact seen twice (webhook and poll) has the same one.
        data: the document (see `canonical.generated.types`).
        object, ref: the record that it was made of; set by `Connector.interpret`.
        follows: source id of the fact that this one is about, for example that it proved false. If the hub does not know that
            fact, it ignores this document.
    """

    type: str
    source_id: str
    data: Mapping[str, Any]
    object: str = ""
    ref: str = ""
    follows: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """A record that the source has no more. The hub tells what it last said once again, withdrawn (`active` false).

    Attributes:
        object: the manifest's object.
        ref: the source's id of the record.
    """

    object: str
    ref: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """A change that is understood and means nothing to the hub, with the reason shown in lineage."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """One document that cannot be made of a change, while its siblings can. It alone waits in quarantine under ``code``.

    Raise `UntranslatableError` instead if nothing can be said of the whole input.

    Attributes:
        source_id: the source id that the document would have.
        code: stable code of the reason, for example ``edited_sale``.
        message: the reason for a person, with the values that matter.
    """

    source_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a read: raw records and the cursor to continue from (None: no more for now).

    ``cursor`` is saved with the records in one transaction; ``more`` says whether to read on at once.
    """

    records: Sequence[Mapping[str, Any]]
    cursor: Mapping[str, Any]
    more: bool


@dataclass(frozen=True, slots=True)
class Written:
    """A write that is applied at the target, under the target's own id."""

    external_id: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A write that was rightly not done, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class AccountField:
    """A field of the account's own system, as `describe` reports it.

    Attributes:
        object: the system's object that has it, by the system's name.
        name: its name there: what an integration's `map` may set.
        type: the system's own word for what it holds.
        label: its name for people.
        required, custom: whether the system refuses a record without it; whether the account added it.
    """

    object: str
    name: str
    type: str = ""
    label: str = ""
    required: bool = False
    custom: bool = False


@dataclass(frozen=True, slots=True)
class Subscription:
    """A webhook subscription as the system lists it.

    Attributes:
        id: its id there.
        topic: what it tells about, by the system's name.
        url: where it is sent.
        active: False if the system keeps it and sends nothing.
        expires_at: when it ends by itself (RFC 3339); empty: never.
    """

    id: str
    topic: str
    url: str
    active: bool = True
    expires_at: str = ""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A verified webhook: ``body`` as received, ``headers`` with lower-case names."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The parsed body (fractions as Decimal); raises ValueError if it is not JSON."""
        return parse_json(self.body)


__all__ = [
    "AccountField",
    "Change",
    "Document",
    "Gone",
    "Ignored",
    "Page",
    "Refused",
    "Request",
    "Response",
    "Skipped",
    "Steps",
    "Subscription",
    "Webhook",
    "Written",
]
