"""Two versions of a connector side by side: what each would send for the same deliveries, and make of the same input.

The other version is the canary's; for a tenant that has the canary, the one that everybody else has. Nothing that changes
anything leaves.

- A delivery that was recorded (`hub.flow.recording`) is compared whole: the other version gets the document that was given, and
  the answers that were had; every request that changes something, and the result, must be the same.
- One that was not, or of which the other version asks something that nobody has answered, is compared by the first effect:
  both versions ask the system now. It has what was delivered, so both find it there.
- What came in (webhooks and records) becomes documents by both.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
from yarl import URL

from hub.errors import HubError, NotFoundError, ThrottledError
from hub.flow import aside, recording, withdraw
from hub.flow.budget import ReadBoundary
from hub.flow.causes import describe
from hub.flow.claim import Claim, claims_of, effective, linked
from hub.flow.context import Context
from hub.integrations.plan import differences
from hub.policies import redaction, schema_version
from hub.runtime.isolation import IsolatedConnector
from hub.runtime.performer import NoBoundary, Outgoing, Performer, Run
from hub.runtime.plugins import NotInstalledError
from hub.runtime.session import Session
from hub.sdk.connector import Connector
from hub.sdk.errors import PermanentError
from hub.sdk.steps import Document, Gone, Ignored, Refused, Request, Response, Skipped, Webhook
from hub.store.ids import first_id
from hub.store.rows import Row

_SECONDS, _MOST_FIELDS, _MOST_TEXT = 60.0, 50, 10_000
_WORDS = ("same", "changed", "failing")


class _WithheldError(Exception):
    """An effect that would have left."""

    def __init__(self, request: Request) -> None:
        super().__init__(request.path)
        self.request = request


class _NoEffects(ReadBoundary):
    """Reads take their slots; the first effect ends it."""

    async def before_effect(self, request: Request) -> None:
        await self.give_back()
        raise _WithheldError(request)


class _UnansweredError(Exception):
    """A request that changes nothing and that nobody has answered."""


class _Replayer(Performer):
    """Answers from a recording; nothing leaves. ``effects``: what would have."""

    def __init__(self, ctx: Context, exchanges: Sequence[recording.Exchange]) -> None:
        self._telemetry, self._clock = ctx.telemetry, ctx.clock
        self._left = list(exchanges)
        self.effects: list[dict[str, Any]] = []

    async def _authenticate(
        self, session: Session, boundary: Any, refused: Mapping[str, str] | None = None
    ) -> dict[str, str]:  # fmt: skip
        return {}

    def _outgoing(self, request: Request, session: Session) -> Outgoing:
        return Outgoing(request=request, target=URL(), body=None, headers={})

    async def _exchange(
        self, outgoing: Outgoing, session: Session, headers: Mapping[str, str], traceparent: str
    ) -> Response:  # fmt: skip
        request = outgoing.request
        asked = recording.shown(request)
        if request.mutates:
            self.effects.append(asked)
        found = [item for item in self._left if item.request == asked]
        if not found:
            raise _WithheldError(request) if request.mutates else _UnansweredError(request.path)
        if request.mutates or len(found) > 1:  # what was read once may be read again
            self._left.remove(found[0])
        return found[0].response


def compare(
    ctx: Context, tenant_id: str, connection_id: str, limit: int, since: datetime | None = None, until: datetime | None = None
) -> dict[str, Any]:  # fmt: skip
    """The newest ``limit`` deliveries (of those accepted between two times), and as many inputs, by both versions: `counts` of
    same, changed and failing, and those that are not the same.

    Raises NotFoundError, or HubError (`wrong_state`) where there is one version only, or the budget is used up.
    """
    with ctx.store.read() as uow:
        if uow.connections.get(tenant_id, connection_id) is None:
            raise NotFoundError("connection", connection_id)
        try:
            session = ctx.sessions.get(uow, tenant_id, connection_id)
        except NotInstalledError as error:
            raise HubError("wrong_state", str(error)) from None
        name = session.manifest.connector
        other = ctx.plugins.other(name, tenant_id)
        if other is None:
            raise HubError("wrong_state", f"{name} is here in one version only; `hub plugin install {name} --canary TENANT` "
                           "puts another one beside it, for some tenants")  # fmt: skip
        first, last = first_id(since) if since else "", first_id(until) if until else None
        kept = uow.recordings.newest(tenant_id, connection_id, session.manifest.data["version"], limit, first, last)
        known = {row["id"]: row for row in uow.deliveries.page(tenant_id, last, limit, connection_id=connection_id)[:limit]
                 if row["id"] >= first}  # fmt: skip
        recordings = [recording.recorded(row) for row in kept]
        for delivery_id in {name for item in recordings for name in item.deliveries} - known.keys():
            if (row := uow.deliveries.get(tenant_id, delivery_id)) is not None:
                known[delivery_id] = row
        # As it is mapped: a person's correction is no version's work.
        rows = [{**row, "corrected": None} for row in sorted(known.values(), key=lambda row: str(row["id"]), reverse=True)]
        messages = uow.messages.many(tenant_id, [row["message_id"] for row in rows])
        claims = claims_of(ctx, uow, session, rows, messages, ctx.routes.in_force(uow, tenant_id), ctx.clock())
        inputs = [row for row in uow.raws.page(tenant_id, last, limit, connection_id=connection_id)[:limit]
                  if row["id"] >= first and row["state"] != "received" and row["event_type"] != withdraw.GONE
                  and row["kind"] != aside.KIND]  # fmt: skip
    second = _session_of(session, other)
    by_id = {claim.row["id"]: claim for claim in claims}
    counts, whole, items = Counter[str](), 0, []
    for item in recordings:
        if not by_id.keys() >= set(item.deliveries) or counts.total() + len(item.deliveries) > limit:
            continue
        if (found := _replayed(ctx, item, by_id[item.deliveries[0]], second)) is not None:
            whole += len(item.deliveries)
            counts[found["change"]] += len(item.deliveries)
            items.append(found)
            for delivery_id in item.deliveries:
                del by_id[delivery_id]
    for claim in list(by_id.values())[: limit - counts.total()]:
        items.append(_compared(ctx, claim, session, second))
        counts[items[-1]["change"]] += 1
    return {
        "connector": name, "version": session.manifest.data["version"], "other_version": other.manifest.data["version"],
        "examined": counts.total(), "whole": whole, "counts": {word: counts[word] for word in _WORDS},
        "items": [item for item in items if item["change"] != "same"],
        "inputs": _inputs(ctx, tenant_id, [row["id"] for row in inputs], session, second),
    }  # fmt: skip


def _session_of(session: Session, other: type[Connector]) -> Session:
    """The same connection, by another version of its connector."""
    connector = other(dict(session.connector.settings))
    if isinstance(connector, IsolatedConnector):
        connector.owner = (session.tenant_id, session.connection_id)
    return replace(session, connector=connector)


def _compared(ctx: Context, claim: Claim, one: Session, other: Session) -> dict[str, Any]:
    """By the first effect."""
    now, problem = _asked(ctx, claim, one)
    then, trouble = _asked(ctx, claim, other)
    return _item(claim, "first_effect", _difference(now, then, problem, trouble))


def _replayed(ctx: Context, item: recording.Recording, claim: Claim, other: Session) -> dict[str, Any] | None:
    """The whole of a recording by the other version; None if it asks what nobody has answered, or writes another type."""
    if schema_version.spoken(other.manifest.writes, claim.message["type"]) != item.type:
        return None
    many = len(item.items) > 1
    if many and other.manifest.writes[item.type]["batch"] < len(item.items):
        return None
    replayer, loop = _Replayer(ctx, item.exchanges), ctx.loop
    before = [exchange.request for exchange in item.exchanges if exchange.effect]
    results: list[dict[str, Any]] | None = None
    problem = ""
    try:
        steps: Any = (
            other.connector.write_many(item.type, item.items) if many else other.connector.write(item.type, *item.items[0])
        )
        answered = loop.submit(replayer.perform(steps, other, NoBoundary(), Run())).result(_SECONDS)
        results = [recording.result_of(result) for result in (answered if many else [answered])]
    except _UnansweredError:
        return None
    except _WithheldError:  # what would follow depends on an answer that nobody gave
        before = before[: len(replayer.effects)]
    except Exception as error:  # whatever a version does wrong is what is looked for
        code, cause, _ = describe(error)
        results = [{"error": code}] * len(item.items)
        if results != item.results:
            problem = redaction.text(f"{code}: {cause}", other.secrets)[:500]
    now = _numbered(before, item.results if results is not None else None)
    return _item(claim, "whole", _difference(now, _numbered(replayer.effects, results), "", problem))


def _numbered(requests: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Effects by their number, from 1 on, and what the write answered."""
    found: dict[str, Any] = {str(number): request for number, request in enumerate(requests, 1)}
    return found if results is None else {**found, "result": results[0] if len(results) == 1 else list(results)}


def _difference(now: Any, then: Any, problem: str, trouble: str) -> dict[str, Any]:
    fields = [{name: value[:_MOST_TEXT] if isinstance(value, str) else value for name, value in item.items()}
              for item in differences(now, then)]  # fmt: skip
    change = "failing" if trouble and trouble != problem else "changed" if fields else "same"
    return {"change": change, "fields": fields[:_MOST_FIELDS], "problem": trouble}


def _item(claim: Claim, compared: str, found: Mapping[str, Any]) -> dict[str, Any]:
    row = claim.row
    return {
        "delivery_id": row["id"], "message_id": row["message_id"], "subject": row["subject"], "type": row["type"],
        "compared": compared, **found,
    }  # fmt: skip


def _inputs(ctx: Context, tenant_id: str, ids: Sequence[str], one: Session, other: Session) -> dict[str, Any]:
    """What both versions make of input that was; a thin webhook is completed by each of them, by reads."""
    counts, items = Counter[str](), []
    for raw_id in ids:
        with ctx.store.read() as uow:
            row = uow.raws.get(tenant_id, raw_id)
        if row is None:
            continue
        now, problem = _understood(ctx, row, one)
        then, trouble = _understood(ctx, row, other)
        found = _difference(now, then, problem, trouble)
        counts[found["change"]] += 1
        if found["change"] != "same":
            items.append({"raw_id": raw_id, "object": row["object"], **found})
    return {"examined": counts.total(), "counts": {word: counts[word] for word in _WORDS}, "items": items}


def _understood(ctx: Context, row: Row, session: Session) -> tuple[Mapping[str, Any] | None, str]:
    """The documents that this version makes of an input, numbered, and what is wrong with it instead."""
    loop, boundary = ctx.loop, _NoEffects(ctx, session)
    webhook = Webhook(row["body"], row["headers"])
    try:
        steps = session.connector.interpret(webhook, row["object"] if row["kind"] == "poll" else "")
        documents = loop.submit(loop.performer.perform(steps, session, boundary, Run())).result(_SECONDS)
        return _numbered([_told(document) for document in documents]), ""
    except Exception as error:  # whatever a version does wrong is what is looked for
        return _wrong(error, session)


def _told(document: Document | Gone | Ignored | Refused) -> dict[str, Any]:
    match document:
        case Document():
            return {
                "type": document.type,
                "source_id": document.source_id,
                "data": orjson.loads(orjson.dumps(document.data, default=str)),
            }
        case Gone():
            return {"gone": document.object, "ref": document.ref}
        case Refused():
            return {"refused": document.code, "source_id": document.source_id}
    return {"ignored": document.reason}


def _wrong(error: Exception, session: Session) -> tuple[None, str]:
    if isinstance(error, ThrottledError):
        wait = f"{error.wait_seconds:.0f} s"
        raise HubError("wrong_state", f"the connection's budget is used up; try again in {wait}") from None
    code, cause, _ = describe(error)
    return None, redaction.text(f"{code}: {cause}", session.secrets)[:500]


def _asked(ctx: Context, claim: Claim, session: Session) -> tuple[Mapping[str, Any] | None, str]:
    """The first effect that this version would send, and what is wrong with it instead."""
    loop, boundary = ctx.loop, _NoEffects(ctx, session)
    try:
        type_name, document = _document(claim, session)
        steps = session.connector.write(type_name, document, claim.row["key"])
        result = loop.submit(loop.performer.perform(steps, session, boundary, Run())).result(_SECONDS)
    except _WithheldError as withheld:
        return _numbered([recording.shown(withheld.request)]), ""
    except Exception as error:  # whatever a version does wrong is what is looked for
        return _wrong(error, session)
    return {"skipped": result.reason} if isinstance(result, Skipped) else {"nothing": "it is there already"}, ""


def _document(claim: Claim, session: Session) -> tuple[str, Mapping[str, Any]]:
    """In the major that this version writes."""
    spoken = schema_version.spoken(session.manifest.writes, claim.message["type"])
    if spoken is None:
        raise PermanentError(f"{session.manifest.data['version']} does not write {claim.row['type']}", code="version_refused")
    if spoken == claim.row["type"]:
        return spoken, claim.document()
    found = effective(spoken, claim.message, claim.target, claim.row["connector"], None, claim.data, claim.known)
    return spoken, linked(found, claim.link)
