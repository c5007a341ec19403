"""What the kit is told about a connector: how to make a fresh system for it, and samples that the system takes or refuses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from hub.sdk.answers import classify
from hub.sdk.connector import Connector
from hub.sdk.errors import AmbiguousWriteError, ConnectorError, RetryableError, TargetUnavailableError
from hub.sdk.steps import Change, Request, Response, Skipped, Steps, Written
from hub.sdk.testing.simulator import SimRequest

T = TypeVar("T")
JSON = Mapping[str, Any]
#: An answer (None: it never came), from the request and what would have answered it.
Spoil = Callable[[int, Request, Callable[[], Response]], Response | None]
_TRIES = 6


@dataclass(frozen=True)
class System:
    """A target of its own for one trial, seeded so that the subject's samples are taken.

    Attributes:
        handle: answers a request, as the vendor's system would.
        headers: what the hub would add to authenticate (lower-case names).
        settings: of the connection.
        applied: how many documents (sales, movements, …) its own books hold; one write of a sample adds ``per_write``.
        secrets: credentials that must never be seen by the connector.
        webhooks: bodies of webhooks about what happened in it, as the vendor sends them.
        changes: what happened in it, as `receive` or `read` would report it.
        listed: object → the refs of all records of it now.
        touch: object → changes one record, returns its ref.
        delete: object → deletes one record, returns its ref.
        stored: (id of a write, field) → what the record has in a field of the account's own.
    """

    handle: Callable[[SimRequest], Response]
    headers: Mapping[str, str]
    settings: JSON
    applied: Callable[[], int]
    secrets: Sequence[str] = ()
    webhooks: Sequence[bytes] = ()
    changes: Sequence[Change] = ()
    listed: Mapping[str, Callable[[], set[str]]] = field(default_factory=dict)
    touch: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    delete: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    stored: Callable[[str, str], Any] | None = None


@dataclass(frozen=True)
class Subject:
    """A connector and what the kit needs to judge it.

    Attributes:
        connector: the class.
        system: makes a fresh `System`.
        documents: canonical type → documents that a fresh system takes.
        refused: (canonical type, document) that it refuses for good.
        custom: canonical type → field of the account's own → a value for it, as an integration's ``map`` sets them.
        waivers: rule → why it need not hold; one without a reason, or that is no longer needed, costs every tier.
    """

    connector: type[Connector]
    system: Callable[[], System]
    documents: Mapping[str, Sequence[JSON]] = field(default_factory=dict)
    refused: Sequence[tuple[str, JSON]] = ()
    custom: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    waivers: Mapping[str, str] = field(default_factory=dict)

    def trial(self) -> "Trial":
        """A connector beside a fresh system."""
        system = self.system()
        return Trial(self.connector(system.settings), system)

    def writes(self) -> list[tuple[str, JSON]]:
        """Every sample that is written: (type, document)."""
        return [(name, document) for name in self.connector.manifest.writes for document in self.documents.get(name, ())]

    def effect_once(self) -> list[tuple[str, JSON]]:
        """Those whose declared idempotency excludes a second effect."""
        writes = self.connector.manifest.writes
        return [(name, document) for name, document in self.writes() if writes[name]["idempotency"] != "none"]


class Trial:
    """One connector instance beside its own system; keeps the requests it made."""

    def __init__(self, connector: Connector, system: System) -> None:
        self.connector, self.system = connector, system
        self.requests: list[Request] = []

    def perform(self, steps: Steps[T], spoil: Spoil | None = None, headers: Mapping[str, str] | None = None) -> T:
        """The generator's result; answers mean what the manifest says, as in the hub. ``spoil`` is asked for each answer."""
        sent = self.system.headers if headers is None else headers
        number = 0
        try:
            request = next(steps)
            while True:
                self.requests.append(request)
                request = self._next(steps, request, number, spoil, sent)
                number += 1
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            steps.close()

    def _next(
        self, steps: Steps[T], request: Request, number: int, spoil: Spoil | None, headers: Mapping[str, str]
    ) -> Request:  # fmt: skip
        def answer() -> Response:
            return self.system.handle(SimRequest.of(request, headers))

        error: ConnectorError | None
        try:
            response = answer() if spoil is None else spoil(number, request, answer)
        except ConnectorError as raised:
            return steps.throw(raised)
        if response is None:  # no answer came: what the hub makes of a time-out
            error = AmbiguousWriteError("no answer") if request.mutates else TargetUnavailableError("no answer")
        else:
            error = classify(self.connector.manifest, request, response, datetime.now(UTC))
        return steps.send(response) if error is None and response is not None else steps.throw(error or ConnectorError(""))

    def write(self, name: str, document: JSON, key: str, spoil: Spoil | None = None) -> Written | Skipped:
        return self.perform(self.connector.write(name, document, key), spoil)

    def find(self, name: str, document: JSON, key: str) -> str | None:
        return self.perform(self.connector.find(name, document, key))

    def deliver(self, name: str, document: JSON, key: str, spoil: Spoil | None = None) -> Written | Skipped | None:
        """As the hub delivers: what may have been applied is looked for first (or sent again under the same key); the rest is
        tried again. None: a person would be asked. ``spoil`` spoils the first try only.
        """
        idempotency = self.connector.manifest.writes[name]["idempotency"]
        for attempt in range(_TRIES):
            try:
                return self.write(name, document, key, spoil if attempt == 0 else None)
            except AmbiguousWriteError:
                if idempotency == "none":
                    return None
                if idempotency == "find" and (found := self.find(name, document, key)) is not None:
                    return Written(found)
            except RetryableError:
                continue
        return None


def crash_of(work: Callable[[], object], *allowed: type[Exception]) -> Exception | None:
    """What a connector's code raises that it may not raise."""
    try:
        work()
    except allowed:
        return None
    except Exception as error:  # whatever a plugin does wrong is what is looked for
        return error
    return None


def lose(place: int, applied: bool) -> Spoil:
    """The answer to the request at ``place`` is lost, after or before it was applied."""

    def spoil(number: int, request: Request, answer: Callable[[], Response]) -> Response | None:
        if number != place:
            return answer()
        if applied:
            answer()
        elif request.mutates:
            raise TargetUnavailableError("the connection was refused")
        return None

    return spoil


def instead(response: Response, effects_only: bool = True, applied: bool = True) -> Spoil:
    """Every effect (or every request) is answered with ``response`` instead."""

    def spoil(_: int, request: Request, answer: Callable[[], Response]) -> Response | None:
        if effects_only and not request.mutates:
            return answer()
        if applied:
            answer()
        return response

    return spoil
