"""Rules about reading: nothing is missed, nothing is made up, and what cannot be understood is said to be so."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from canonical.errors import InvalidDocumentError
from canonical.registry import type_named, validate
from hub.sdk.errors import ConnectorError, UntranslatableError
from hub.sdk.kit.rules import GOLD, PLATINUM, InapplicableError, rule
from hub.sdk.kit.subject import JSON, Subject, Trial, crash_of
from hub.sdk.steps import Change, Document, Gone, Ignored, Refused, Webhook

_MOST_PAGES, _MOST_CURSOR = 200, 4096
_JUNK: tuple[Any, ...] = (None, [], {}, "", "x", -1, [None], {"x": []})


@rule("maps-are-valid", GOLD, "has-samples")
def maps_are_valid(subject: Subject) -> Iterator[str]:
    """What happened becomes documents that keep the rules of their types."""
    trial = subject.trial()
    for change in _changes(trial):
        for document in _translated(trial, change):
            if isinstance(document, Document):
                try:
                    validate(document.type, document.data)
                except InvalidDocumentError as error:
                    yield f"{change.object}: {error}"


@rule("stable-source-id", GOLD, "maps-are-valid")
def stable_source_id(subject: Subject) -> Iterator[str]:
    """The same fact has the same source id and document whenever it is told; two facts have two."""
    trial = subject.trial()
    seen: dict[tuple[str, str], Any] = {}
    for change in _changes(trial):
        first, again = ([(d.type, d.source_id, dict(d.data)) for d in _translated(trial, change) if isinstance(d, Document)]
                        for _ in range(2))  # fmt: skip
        if first != again:
            yield f"{change.object}: {change.ref!r} told twice is two things; take nothing from the clock or from chance"
        for type_name, source_id, data in first:
            if not source_id or len(source_id) > 255:
                yield f"{change.object}: source id {source_id[:40]!r}: 1 to 255 characters"
            elif seen.setdefault((type_name, source_id), data) != data:
                yield f"{change.object}: {source_id!r} stands for two different facts"


@rule("junk-records", PLATINUM, "maps-are-valid")
def junk_records(subject: Subject) -> Iterator[str]:
    """A record that makes no sense is untranslatable, never a crash."""
    trial = subject.trial()
    for change in _changes(trial):
        if change.record is None:
            continue
        for what, spoiled in _spoiled(change.record):
            told = Change(change.object, change.ref, spoiled, change.detail)
            if error := crash_of(partial(_translated, trial, told), ConnectorError):
                yield f"{change.object} with {what}: {type(error).__name__}: {str(error)[:80]}; raise UntranslatableError"
                break


@rule("reads-everything", GOLD, "manifest-agrees")
def reads_everything(subject: Subject) -> Iterator[str]:
    """Reading from the beginning sees every record, page by page, and ends."""
    for name, trial in _readable(subject):
        refs, _, problem = _read(trial, name, {})
        listed = trial.system.listed[name]()
        if problem:
            yield f"{name}: {problem}"
        elif missed := sorted(listed - refs):
            yield f"{name}: {len(missed)} of {len(listed)} records were not seen, {missed[0]!r} the first"


@rule("misses-no-change", GOLD, "reads-everything")
def misses_no_change(subject: Subject) -> Iterator[str]:
    """Reading on sees what changed since, also in the same instant."""
    for name, trial in _readable(subject):
        if name not in trial.system.touch:
            continue
        _, cursor, _ = _read(trial, name, {})
        for turn in range(3):
            changed = trial.system.touch[name]()
            refs, cursor, problem = _read(trial, name, cursor)
            if problem or changed not in refs:
                yield f"{name}: change {turn + 1} ({changed!r}) was not seen: {problem or 'make the bound inclusive'}"
                break


@rule("deleted-is-tombstone", GOLD, "misses-no-change", "maps-are-valid")
def deleted_is_tombstone(subject: Subject) -> Iterator[str]:
    """A record that was deleted is seen once more: as `Gone`, or as a document that says so (`active` false)."""
    found = [(name, trial) for name, trial in _readable(subject) if name in trial.system.delete]
    if not found:
        raise InapplicableError("System.delete says of nothing how it is deleted")
    for name, trial in found:
        _, cursor, _ = _read(trial, name, {})
        deleted = trial.system.delete[name]()
        records: list[Any] = []
        _read(trial, name, cursor, records)
        changes = [trial.connector.change_of(name, record) for record in records]
        told = [item for change in changes if change.ref == deleted for item in _translated(trial, change)]
        last = next((item for item in reversed(told) if not isinstance(item, Ignored)), None)
        if last is None:
            yield f"{name}: {deleted!r} was deleted, and nobody is told"
        elif isinstance(last, Document) and type_named(last.type).withdrawn(last.data) is not last.data:
            yield f"{name}: {deleted!r} was deleted, and is told as if it were there"


@rule("small-cursor", GOLD, "reads-everything")
def small_cursor(subject: Subject) -> Iterator[str]:
    """A cursor is JSON of a few kilobytes, and reading on from it is reading on."""
    for name, trial in _readable(subject):
        _, cursor, _ = _read(trial, name, {})
        try:
            text = json.dumps(cursor)
        except TypeError as error:
            yield f"{name}: {error}"
            continue
        if len(text) > _MOST_CURSOR:
            yield f"{name}: the cursor has {len(text)} characters"
        elif json.loads(text) != cursor:
            yield f"{name}: the cursor is another one after it was stored"


@rule("webhooks-understood", GOLD, "has-samples")
def webhooks_understood(subject: Subject) -> Iterator[str]:
    """A sample webhook becomes changes, or is ignored with a reason."""
    for body in _webhooks(subject):
        for item in subject.trial().connector.receive(Webhook(body)):
            if isinstance(item, Ignored) and not item.reason:
                yield f"{body[:40]!r} is ignored without a reason"
            if isinstance(item, Change | Gone) and (not item.ref or item.object not in subject.connector.manifest.objects):
                yield f"{body[:40]!r}: {item.object!r} {item.ref!r} is no object of the manifest, or has no id"


@rule("junk-webhooks", PLATINUM, "webhooks-understood")
def junk_webhooks(subject: Subject) -> Iterator[str]:
    """A webhook that makes no sense is untranslatable, never a crash."""
    for body in _webhooks(subject):
        parsed = json.loads(body)
        for what, spoiled in [("no JSON", None), *_spoiled(parsed)]:
            content = b"{" if spoiled is None else json.dumps(spoiled).encode()
            if error := crash_of(partial(_received, subject.trial(), content), UntranslatableError, ValueError):
                yield f"{what}: {type(error).__name__}: {str(error)[:80]}; raise UntranslatableError"
                break


def _changes(trial: Trial) -> Sequence[Change]:
    if not trial.system.changes:
        raise InapplicableError("System.changes is empty: nothing is read")
    return trial.system.changes


def _translated(trial: Trial, change: Change | Gone) -> Sequence[Document | Gone | Ignored | Refused]:
    return [change] if isinstance(change, Gone) else trial.perform(trial.connector.translate(change))


def _received(trial: Trial, body: bytes) -> list[Change | Gone | Ignored | Refused]:
    return list(trial.connector.receive(Webhook(body)))


def _webhooks(subject: Subject) -> Sequence[bytes]:
    found = subject.system().webhooks
    if not found:
        raise InapplicableError("no webhooks")
    return found


def _readable(subject: Subject) -> Iterator[tuple[str, Trial]]:
    """Objects that are read and whose system says what there is."""
    manifest = subject.connector.manifest
    names = [name for name, declared in manifest.objects.items() if declared["read"]]
    found = [(name, trial) for name in names if name in (trial := subject.trial()).system.listed]
    if not found:
        raise InapplicableError("nothing is read, or System.listed does not say what there is")
    yield from found


def _read(trial: Trial, name: str, cursor: JSON, records: list[Any] | None = None) -> tuple[set[str], JSON, str]:
    """(refs seen, the cursor after them, what went wrong); ``records`` takes them in."""
    refs: set[str] = set()
    for _ in range(_MOST_PAGES):
        page = trial.perform(trial.connector.read(name, cursor))
        (records if records is not None else []).extend(page.records)
        refs |= {trial.connector.change_of(name, record).ref for record in page.records}
        if page.more and page.cursor == cursor:
            return refs, cursor, "a page says there is more and leads to itself"
        cursor = page.cursor
        if not page.more:
            return refs, cursor, ""
    return refs, cursor, f"no end after {_MOST_PAGES} pages"


def _spoiled(value: Any) -> Iterator[tuple[str, Any]]:
    """A JSON object with one thing wrong, in many ways, at its first two levels."""
    yield from (("an empty object", {}), ("a list", []), ("null", None), ("a text", "x"))
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        yield f"no {key}", {name: item for name, item in value.items() if name != key}
        for junk in _JUNK:
            yield f"{key} {json.dumps(junk)}", {**value, key: junk}
        if isinstance(inner, dict):
            for below in inner:
                yield f"{key}/{below} null", {**value, key: {**inner, below: None}}
                yield f"{key}/{below} {{}}", {**value, key: {**inner, below: {}}}
