"""Commit of translated inputs: each document becomes a message, or waits alone in quarantine (ADR 32).

Messages, deliveries, audit, quarantined documents and the inputs' ends are written in one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from canonical.errors import InvalidDocumentError, Violation
from canonical.fields import parse_timestamp
from canonical.registry import TYPES, type_named
from hub.errors import LeaseLostError
from hub.flow import aside, withdraw
from hub.flow.aside import Origin, Refusal, refusal
from hub.flow.context import Context
from hub.flow.recipients import NewMessage
from hub.flow.route import Admitted, admit_many
from hub.policies import audit, schema_version
from hub.policies.dead_letter import remedy_for
from hub.policies.text import clean, cleaned
from hub.runtime.session import Session
from hub.sdk.steps import Document, Gone, Ignored, Refused
from hub.store import UnitOfWork
from hub.store.ids import bounded
from hub.store.rows import Row

Item = Document | Gone | Ignored | Refused
#: A return waits this long for its sale, if the source sent something before it that is not translated yet.
_SALE_FIRST = timedelta(seconds=60)


class EarlierFirstError(Exception):
    """The fact that a document refers to may be among the inputs that arrived before it."""


@dataclass(frozen=True)
class Read:
    """A raw input that has become documents; they are committed with what else is at hand, in the order of receipt."""

    ctx: Context
    row: Row
    session: Session
    documents: Sequence[Item]
    traceparent: str
    origin: Origin | None = None


@dataclass
class _Result:
    """Result of one input: its messages, its refused documents, and the reasons of what was ignored."""

    admitted: list[Admitted] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    documents: int = 0


def commit(uow: UnitOfWork, reads: Sequence[Read]) -> list[list[Admitted]]:
    """Messages, deliveries, audit and the inputs' ends, of inputs that came together.

    A document that is refused waits alone. Raises what concerns a whole input (its claim is lost, its turn has not come).
    """
    ctx, now = reads[0].ctx, reads[0].ctx.clock()
    results = [_Result() for _ in reads]
    checked = [_checked(read, result) for read, result in zip(reads, results, strict=True)]
    waiting: list[tuple[int, int, Document]] = []

    def admit_waiting() -> None:
        messages = [_message(reads[place], item) for place, _, item in waiting]
        written = []
        for (place, index, item), result in zip(waiting, admit_many(ctx, uow, messages, at_once=True), strict=True):
            if isinstance(result, Exception):
                results[place].refused.append(refusal(index, item, result))
                continue
            results[place].admitted.append(result)
            written.append((reads[place].row, item, result.message_id))
        withdraw.note(uow, written)
        waiting.clear()

    gone = withdraw.gone_before(uow, [(read.row, _items(items)) for read, items in zip(reads, checked, strict=True)])
    for place, (read, result, items) in enumerate(zip(reads, results, checked, strict=True)):
        row = read.row
        if ending := any(isinstance(item, Gone) for _, item in items):
            admit_waiting()  # what was said of a record before comes before its end
        documents = [(index, told) for index, item in items for told in withdraw.told(uow, row, [item], gone)]
        documents = _with_their_facts(uow, read, documents, {_source(reads[of], item) for of, _, item in waiting})
        result.ignored += [clean(item.reason) for _, item in documents if isinstance(item, Ignored)]
        real = [(place, index, item) for index, item in documents if isinstance(item, Document)]
        result.documents = len(real) + len(result.refused)
        if any(item.data.get("original") for _, _, item in real):
            admit_waiting()
            committed_with = {str(item.row["id"]) for item in reads[:place]}
            _require_sale_first(uow, now, row, [item for _, _, item in real], committed_with)
        waiting += real
        if ending:  # and what comes after it sees it
            admit_waiting()
            rest = zip(reads[place + 1 :], checked[place + 1 :], strict=True)
            gone = withdraw.gone_before(uow, [(item.row, _items(items)) for item, items in rest])
    admit_waiting()
    _end(uow, reads, results, now)
    return [result.admitted for result in results]


def _source(read: Read, document: Document) -> tuple[str, str, str]:
    return read.row["tenant_id"], f"connection/{read.session.connection_id}", document.source_id


def _with_their_facts(
    uow: UnitOfWork, read: Read, items: Sequence[tuple[int, Document | Ignored]], waiting: set[tuple[str, str, str]]
) -> list[tuple[int, Document | Ignored]]:
    """Items with each document ignored that follows a fact which is neither known nor about to be admitted."""
    found: list[tuple[int, Document | Ignored]] = []
    told = set(waiting)
    for index, item in items:
        if isinstance(item, Document):
            fact = (*_source(read, item)[:2], item.follows)
            if item.follows and fact not in told and not uow.messages.by_source([fact]):
                found.append((index, Ignored(f"{item.source_id} is about {item.follows}, which was not told")))
                continue
            told.add(_source(read, item))
        found.append((index, item))
    return found


def _items(items: Sequence[tuple[int, Document | Gone | Ignored]]) -> list[Document | Gone | Ignored]:
    return [item for _, item in items]


def _checked(read: Read, result: _Result) -> list[tuple[int, Document | Gone | Ignored]]:
    """The items of an input that may be admitted, each with its place; the others are refused in ``result``."""
    found: list[tuple[int, Document | Gone | Ignored]] = []
    bad: set[str] = set()
    for index, item in enumerate(read.documents):
        if isinstance(item, Refused):
            result.refused.append(refusal(index, item))
        elif not isinstance(item, Document):
            found.append((index, item))
        else:
            document, error = _judged(item)
            if error is not None:
                result.refused.append(refusal(index, document, error))
                bad |= _subject(document)
            elif not bad.isdisjoint(_subject(document)) and type_named(document.type).history is not None:
                cause = "an earlier document of the same input and subject is refused"
                result.refused.append(Refusal(index=index, item=document, code=aside.BEHIND, cause=cause))
            else:
                found.append((index, aside.as_admitted(read.origin, document)))
    return found


def _judged(item: Document) -> tuple[Document, InvalidDocumentError | None]:
    """A document and what is wrong with it; if something is, its text for people is cut and cleaned first."""
    try:
        found = schema_version.violations(item.type, item.data)
        if found and (data := cleaned(item.type, item.data)) is not item.data:
            item = replace(item, data=data)
            found = schema_version.violations(item.type, item.data)
    except InvalidDocumentError as error:  # a type that is not known
        return item, error
    if not isinstance(item.source_id, str) or clean(item.source_id) != item.source_id:
        found = [Violation("not_text", "/source_id", "must be a text without NUL and lone surrogates"), *found]
    return item, InvalidDocumentError(item.type, found) if found else None


def _subject(item: Document) -> set[str]:
    """The subject of a document, if it says so much."""
    try:
        return {TYPES[item.type].subject(item.data)}
    except (LookupError, TypeError, AttributeError):
        return set()


def _end(uow: UnitOfWork, reads: Sequence[Read], results: Sequence[_Result], now: datetime) -> None:
    """End the inputs and set their refused documents aside; raises LeaseLostError if one of the inputs is not ours any more."""
    whole, ends = [], []
    for read, result in zip(reads, results, strict=True):
        row = read.row
        values = {
            "state": "translated" if result.documents else "ignored", "ignored": result.ignored, "settled_at": now,
        }  # fmt: skip
        waiting: dict[str, str] = {}
        if result.refused:
            values |= _refused(uow, read, result, now, waiting)
            whole.append(uow.raws.settle(row["tenant_id"], row["id"], read.ctx.instance, values))
        else:
            ends.append({"tenant_id": row["tenant_id"], "id": row["id"], "lease_owner": read.ctx.instance, **values})
        if values["state"] == "quarantined":
            audit.record(uow, row["tenant_id"], now, "translate", "raw.quarantined", f"raw/{row['id']}",
                         code=values["cause_code"], cause=values["cause"])  # fmt: skip
            if not result.admitted:
                continue
        audit.record(
            uow, row["tenant_id"], now, "translate", f"raw.{'translated' if result.documents else 'ignored'}",
            f"raw/{row['id']}", ignored=result.ignored, messages=[item.message_id for item in result.admitted],
            known=sum(item.duplicate for item in result.admitted), **({"quarantined": list(waiting)} if waiting else {}),
        )  # fmt: skip
    if len(uow.raws.end(ends)) < len(ends) or not all(whole):
        raise LeaseLostError


def _refused(uow: UnitOfWork, read: Read, result: _Result, now: datetime, waiting: dict[str, str]) -> Row:
    """Set refused documents aside; what the input's row says of it. ``waiting`` takes (id in quarantine, source id)."""
    row, refused = read.row, sorted(result.refused, key=lambda item: item.index)
    if len(refused) == result.documents == 1 and not (refused[0].is_entry and row["kind"] != aside.KIND):
        return _quarantined(refused[0])
    decided = []
    for item in refused:
        found = aside.set_aside(uow, row, read.origin, item, now)
        if found.raw_id == row["id"]:
            return _quarantined(item)
        if found.state == "quarantined" or found.created:
            waiting[found.raw_id] = clean(str(item.item.source_id), 100)
        else:
            decided.append(
                f"{clean(str(item.item.source_id))} waited in quarantine before and is {found.state}: raw/{found.raw_id}"
            )
    said: Row = {"ignored": [*result.ignored, *decided]}
    if waiting:
        named = ", ".join(f"{source_id} as raw/{raw_id}" for raw_id, source_id in list(waiting.items())[:10])
        cause = f"{len(waiting)} of {result.documents} documents quarantined: {named}"
        said |= {"cause_code": aside.PARTLY, "cause": cause, "remedy": remedy_for(aside.PARTLY)}
    return said


def _quarantined(item: Refusal) -> Row:
    remedy = remedy_for(item.code, item.remedy)
    return {"state": "quarantined", "cause_code": item.code, "cause": item.cause, "remedy": remedy}


def _require_sale_first(
    uow: UnitOfWork, now: datetime, row: Row, documents: Sequence[Document], committed_with: set[str]
) -> None:
    """Workers translate side by side: a return may be read before the sale that arrived first."""
    if now - row["received_at"] > _SALE_FIRST:
        return
    for document in documents:
        if not document.data.get("original"):
            continue
        subject = type_named(document.type).subject(document.data)
        known = any(item["type"].startswith("sale.") for item in uow.messages.about(row["tenant_id"], subject))
        if not known and uow.raws.unfinished_before(row["tenant_id"], row["connection_id"], row["id"], committed_with):
            raise EarlierFirstError


def _message(read: Read, document: Document) -> NewMessage:
    row, session, origin = read.row, read.session, read.origin
    occurred = document.data.get("occurred_at") or document.data.get("updated_at")
    read_at = origin.read_at if origin else row["received_at"] if row["kind"] == "poll" else None
    return NewMessage(
        row["tenant_id"], document.type, f"connection/{session.connection_id}", bounded(document.source_id),
        document.data, parse_timestamp(occurred) if occurred else row["received_at"], read.traceparent,
        f"connection/{session.connection_id}", session.connection_id, origin.input_id if origin else row["id"],
        lane=row["lane"], read_at=read_at, causation_id=origin.causation_id if origin else None,
    )  # fmt: skip
