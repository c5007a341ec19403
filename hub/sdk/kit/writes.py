"""Rules about writing: what was declared idempotent is applied once, whatever is lost; answers mean what they say."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from hub.sdk.errors import (
    ConnectorError,
)
from hub.sdk.kit import declared  # noqa: F401 - its rules come first
from hub.sdk.kit.rules import BRONZE, GOLD, PLATINUM, SILVER, InapplicableError, rule
from hub.sdk.kit.subject import JSON, Spoil, Subject, Trial, lose
from hub.sdk.numbers import Number
from hub.sdk.steps import Request, Response, Skipped, Written

KEY = "XD0123456789ABCDEF01234567"
#: As long as a key can be, and with every character it can have.
LONG_KEY = "XDABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789z"
MOST_REQUESTS = 50


def _effects(subject: Subject, name: str, document: JSON) -> tuple[list[int], int]:
    """(places of the effects among a write's requests, how many documents one write adds)."""
    trial = subject.trial()
    before = trial.system.applied()
    trial.write(name, document, KEY)
    places = [place for place, request in enumerate(trial.requests) if request.mutates]
    return places, trial.system.applied() - before


def each(subject: Subject, once: bool = False) -> Iterator[tuple[str, JSON]]:
    """Every sample, or those that are declared to be applied once. Raises InapplicableError if there is none."""
    found = subject.effect_once() if once else subject.writes()
    if not found:
        raise InapplicableError("no writes" if not once else "no write is declared to be applied once")
    yield from found


@rule("is-applied", BRONZE, "has-samples")
def is_applied(subject: Subject) -> Iterator[str]:
    """A sample is applied, under an id of the target's own."""
    for name, document in each(subject):
        trial = subject.trial()
        before = trial.system.applied()
        try:
            result = trial.write(name, document, KEY)
        except ConnectorError as error:
            yield f"{name}: {error.code}: {error.message}"
            continue
        if isinstance(result, Written):
            if not result.external_id or len(result.external_id) > 255:
                yield f"{name}: external id {result.external_id[:40]!r}: 1 to 255 characters"
            if trial.system.applied() <= before:
                yield f"{name}: said to be written, and the target's books hold nothing new"
        if len(trial.requests) > MOST_REQUESTS:
            yield f"{name}: {len(trial.requests)} requests for one document"


@rule("skips-with-reason", BRONZE, "is-applied")
def skips_with_reason(subject: Subject) -> Iterator[str]:
    """What is rightly not written says why."""
    for name, document in each(subject):
        result = subject.trial().write(name, document, KEY)
        if isinstance(result, Skipped) and not result.reason.strip():
            yield f"{name}: skipped without a reason; lineage would show nothing"


@rule("paths-below-base", BRONZE, "is-applied")
def paths_below_base(subject: Subject) -> Iterator[str]:
    """Every path stays below the connection's base URL."""
    for name, document in each(subject):
        trial = subject.trial()
        trial.write(name, document, KEY)
        for request in trial.requests:
            parts = request.path.split("?")[0].split("/")
            if not request.path.startswith("/") or request.path.startswith("//") or ".." in parts or "://" in request.path:
                yield f"{name}: path {request.path!r}"


@rule("exact-amounts", BRONZE, "is-applied")
def exact_amounts(subject: Subject) -> Iterator[str]:
    """No number with a fraction is sent as a binary float."""
    for name, document in each(subject):
        trial = subject.trial()
        trial.write(name, document, KEY)
        for request in trial.requests:
            for place in _floats(request.json):
                yield f"{name}: {request.method} {request.path} {place} is a plain float; send a Decimal, or number(…)"


def _floats(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, float) and not isinstance(value, Number):
        yield place or "the body"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _floats(item, f"{place}/{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _floats(item, f"{place}/{index}")


@rule("effects-declared", BRONZE, "is-applied")
def effects_declared(subject: Subject) -> Iterator[str]:
    """A request that is declared harmless changes nothing."""
    for name, document in each(subject):
        trial = subject.trial()
        changed: list[str] = []

        def watch(
            _: int, request: Request, answer: Callable[[], Response], trial: Trial = trial, changed: list[str] = changed
        ) -> Response:  # fmt: skip
            before = trial.system.applied()
            response = answer()
            if not request.mutates and trial.system.applied() != before:
                changed.append(f"{request.method} {request.path}")
            return response

        trial.write(name, document, KEY, watch)
        yield from (f"{name}: {request} has an effect; leave `effect` out or say true" for request in changed)


@rule("same-requests", SILVER, "is-applied")
def same_requests(subject: Subject) -> Iterator[str]:
    """The same document under the same key makes the same requests."""
    for name, document in each(subject):
        seen = []
        for _ in range(2):
            trial = subject.trial()
            trial.write(name, json.loads(json.dumps(document)), KEY)
            seen.append([(r.method, r.path, dict(r.params), r.body(), dict(r.headers)) for r in trial.requests])
        if seen[0] != seen[1]:
            place = next((n for n, pair in enumerate(zip(*seen, strict=False)) if pair[0] != pair[1]), "the last")
            yield f"{name}: request {place} differs between two runs; take nothing from the clock or from chance"


@rule("not-found-before", SILVER, "is-applied")
def not_found_before(subject: Subject) -> Iterator[str]:
    """A look-up finds nothing before anything was written."""
    for name, document in _looked_up(subject):
        found = subject.trial().find(name, document, KEY)
        if found is not None:
            yield f"{name}: found {found!r} in an empty system; the hub would take it for applied"


@rule("found-after", SILVER, "not-found-before")
def found_after(subject: Subject) -> Iterator[str]:
    """A look-up finds what was written, under the same id."""
    for name, document in _looked_up(subject):
        trial = subject.trial()
        result = trial.write(name, document, KEY)
        if isinstance(result, Written) and (found := trial.find(name, document, KEY)) != result.external_id:
            yield f"{name}: written as {result.external_id!r}, found {found!r}"


def _looked_up(subject: Subject) -> Iterator[tuple[str, JSON]]:
    writes = subject.connector.manifest.writes
    found = [(name, document) for name, document in subject.writes() if writes[name]["idempotency"] == "find"]
    if not found:
        raise InapplicableError("no write is resolved by a look-up")
    yield from found


@rule("applied-once", SILVER, "is-applied", "found-after", "effects-declared")
def applied_once(subject: Subject) -> Iterator[str]:
    """The same delivery twice is applied once, and both times has the same id."""
    for name, document in each(subject, once=True):
        _, per_write = _effects(subject, name, document)
        trial = subject.trial()
        before = trial.system.applied()
        first = trial.write(name, document, KEY)
        again = _again(trial, name, document)
        if trial.system.applied() - before > per_write:
            yield f"{name}: written again under the same key, it was applied again"
        elif isinstance(first, Written) and again != first.external_id:
            yield f"{name}: {first.external_id!r} the first time, {again!r} the second"


def _again(trial: Trial, name: str, document: JSON) -> str | None:
    """What the hub does when it does not know: look first where that is declared, else send again."""
    if trial.connector.manifest.writes[name]["idempotency"] == "find":
        found = trial.find(name, document, KEY)
        if found is not None:
            return found
    result = trial.write(name, document, KEY)
    return result.external_id if isinstance(result, Written) else None


def _recovers(subject: Subject, spoils: Callable[[int], Spoil], what: str) -> Iterator[str]:
    for name, document in each(subject, once=True):
        places, per_write = _effects(subject, name, document)
        for place in places:
            trial = subject.trial()
            before = trial.system.applied()
            try:
                result = trial.deliver(name, document, KEY, spoils(place))
            except ConnectorError as error:
                yield f"{name}: {what} request {place}: {error.code}: {error.message}"
                continue
            added = trial.system.applied() - before
            if result is None or added != per_write:
                yield f"{name}: {what} request {place}: applied {added} instead of {per_write}"


@rule("lost-answer", SILVER, "applied-once")
def lost_answer(subject: Subject) -> Iterator[str]:
    """An answer that is lost after the effect doubles nothing."""
    return _recovers(subject, lambda place: lose(place, applied=True), "answer lost to")


@rule("lost-request", SILVER, "applied-once")
def lost_request(subject: Subject) -> Iterator[str]:
    """A request that never arrived is made up for."""
    return _recovers(subject, lambda place: lose(place, applied=False), "nothing came of")


class _CrashError(Exception):
    """The process ends here."""


@rule("restarts-anywhere", SILVER, "lost-answer")
def restarts_anywhere(subject: Subject) -> Iterator[str]:
    """A worker that dies between any two requests doubles and loses nothing."""
    for name, document in each(subject, once=True):
        _, per_write = _effects(subject, name, document)
        rehearsal = subject.trial()
        rehearsal.write(name, document, KEY)
        for place in range(len(rehearsal.requests)):
            trial = subject.trial()
            before = trial.system.applied()

            def crash(number: int, _: Request, answer: Callable[[], Response], place: int = place) -> Response:
                response = answer()
                if number == place:
                    raise _CrashError
                return response

            try:
                trial.write(name, document, KEY, crash)
            except _CrashError:
                trial = _revived(subject, trial)
            _again(trial, name, document)
            if (added := trial.system.applied() - before) != per_write:
                yield f"{name}: died after request {place}, started again: applied {added} instead of {per_write}"


def _revived(subject: Subject, trial: Trial) -> Trial:
    """Another process beside the same system."""
    return Trial(subject.connector(trial.system.settings), trial.system)


@rule("two-keys", SILVER, "applied-once")
def two_keys(subject: Subject) -> Iterator[str]:
    """Two deliveries of their own are two, unless the target keeps one state per entity."""
    writes = subject.connector.manifest.writes
    found = [(name, document) for name, document in subject.effect_once() if writes[name]["idempotency"] != "upsert"]
    if not found:
        raise InapplicableError("every write keeps one state per entity")
    for name, document in found:
        _, per_write = _effects(subject, name, document)
        trial = subject.trial()
        before = trial.system.applied()
        results = [trial.write(name, document, key) for key in (KEY, f"{KEY[:-1]}8")]
        if all(isinstance(result, Written) for result in results) and trial.system.applied() - before != 2 * per_write:
            yield f"{name}: two keys that differ in their last character were taken for one"


@rule("long-key", SILVER, "applied-once", "two-keys")
def long_key(subject: Subject) -> Iterator[str]:
    """A key of 40 characters is kept whole."""
    for name, document in each(subject, once=True):
        _, per_write = _effects(subject, name, document)
        if subject.connector.manifest.writes[name]["idempotency"] == "upsert":
            continue
        trial = subject.trial()
        before = trial.system.applied()
        keys = (LONG_KEY, f"{LONG_KEY[:-1]}y")
        results = [trial.write(name, document, key) for key in keys]
        if all(isinstance(result, Written) for result in results) and trial.system.applied() - before != 2 * per_write:
            yield f"{name}: two keys of {len(LONG_KEY)} characters that differ in their last were taken for one"


@rule("keeps-nothing", PLATINUM, "applied-once", "two-keys")
def keeps_nothing(subject: Subject) -> Iterator[str]:
    """Two writes at once on one instance do not mix."""
    for name, document in each(subject):
        _, per_write = _effects(subject, name, document)
        if subject.connector.manifest.writes[name]["idempotency"] == "upsert":
            continue
        trial = subject.trial()
        before = trial.system.applied()
        inner: list[Any] = []

        def nested(
            number: int, _: Request, answer: Callable[[], Response], trial: Trial = trial, inner: list[Any] = inner,
            name: str = name, document: JSON = document,
        ) -> Response:  # fmt: skip
            response = answer()
            if number == 0 and not inner:
                inner.append(trial.write(name, document, f"{KEY[:-1]}8"))
            return response

        result = trial.write(name, document, KEY, nested)
        both = isinstance(result, Written) and isinstance(inner[0], Written)
        if both and trial.system.applied() - before != 2 * per_write:
            yield f"{name}: another write in between changed this one; keep nothing on self"


@rule("secrets-stay-secret", PLATINUM, "is-applied")
def secrets_stay_secret(subject: Subject) -> Iterator[str]:
    """No credential is in a request that the connector makes, or in what it says."""
    for name, document in each(subject):
        trial = subject.trial()
        trial.write(name, document, KEY)
        said = [repr(trial.connector), repr(vars(trial.connector)), *(repr(request) for request in trial.requests)]
        if any(secret in text for secret in trial.system.secrets for text in said):
            yield f"{name}: a credential is where the connector can see it; declare it under auth.headers"


@rule("custom-fields", GOLD, "applied-once")
def custom_fields(subject: Subject) -> Iterator[str]:
    """A field of the account's own that an integration sets is in the target's record afterwards."""
    if not subject.custom:
        raise InapplicableError("no samples of fields of the account's own (Subject.custom)")
    for name, values in subject.custom.items():
        for document in subject.documents.get(name, ())[:1]:
            trial = subject.trial()
            if trial.system.stored is None:
                yield "System.stored does not say what a record has"
                return
            target = {**document.get("extensions", {}), "target": dict(values)}
            result = trial.write(name, {**document, "extensions": target}, KEY)
            if not isinstance(result, Written):
                continue
            for field, value in values.items():
                if (found := trial.system.stored(result.external_id, field)) != value:
                    yield f"{name}: {field} should be {value!r} and is {found!r}"


@rule("tells-its-fields", GOLD)
def tells_its_fields(subject: Subject) -> Iterator[str]:
    """The account's fields are told, each by object and name, and those that samples set are among them."""
    trial = subject.trial()
    if not trial.connector.describes:
        raise InapplicableError("it describes no fields")
    found = trial.perform(trial.connector.describe())
    if any(request.mutates for request in trial.requests):
        yield "asking for fields is declared an effect"
    if unnamed := [field for field in found if not field.object or not field.name]:
        yield f"{len(unnamed)} fields without object or name"
    names = {field.name for field in found}
    for name, values in subject.custom.items():
        if missing := sorted(set(values) - names):
            yield f"{name}: {', '.join(missing)} is set and not told"
