"""A claimed delivery and the boundary around its requests: budget, intent, lease."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import orjson

from canonical.registry import type_named
from hub.errors import LeaseLostError
from hub.flow import outcome
from hub.flow.budget import Budget
from hub.flow.context import Context
from hub.flow.names import Names, Said, canonical, canonical_id, leading, names, own_key
from hub.flow.translate import envelope_data
from hub.integrations.files import Target
from hub.integrations.routes import InForce
from hub.policies import schema_version
from hub.runtime.session import Session
from hub.sdk.errors import ConnectorError, PermanentError
from hub.sdk.steps import Request
from hub.store import UnitOfWork, new_id
from hub.store.rows import Row


@dataclass(frozen=True)
class Claim:
    """A claimed delivery with everything its steps need."""

    row: Row
    session: Session
    message: Row
    target: Target | None
    revision: int
    attempt_id: str
    worker: str
    at: datetime
    known: Names = field(default_factory=dict)
    link: str = ""

    @cached_property
    def data(self) -> Any:
        """The document of the message."""
        return envelope_data(self.message["body"])

    def attempt(self) -> dict[str, Any]:
        """The row of this try, as it is when its first effect leaves."""
        row = self.row
        return {
            "tenant_id": row["tenant_id"], "id": self.attempt_id, "delivery_id": row["id"], "number": row["attempts"] + 1,
            "kind": "probe" if row["probe"] else "write", "worker": self.worker, "started_at": self.at, "ended_at": None,
            "outcome": "sending", "code": "", "detail": "", "steps": [], "effects": 1, "external_id": None,
            "traceparent": self.message["traceparent"], "revision": self.revision, "document": "",
            "correction": row["correction"],
        }  # fmt: skip

    @property
    def write(self) -> outcome.Write:
        """The manifest's word on this write, with the connection's quiesce window."""
        declared = self.session.manifest.writes.get(self.row["type"])
        window = self.session.limits.get("max_in_flight_seconds")
        return outcome.Write(
            declared["idempotency"] if declared else "none",
            float(window if window is not None else declared["max_in_flight_seconds"] if declared else 0),
            declared["object"] if declared else "",
        )

    def document(self) -> Mapping[str, Any]:
        """The document to write; see `effective`."""
        corrected = self.row["corrected"] or self.row["merged"]
        data = self.data if not corrected else None
        document = effective(self.row["type"], self.message, self.target, self.row["connector"], corrected, data, self.known)
        return linked(document, self.link)

    @property
    def canonical_id(self) -> str:
        """The id by which the target's own id is remembered."""
        return canonical_id(self.row["type"], self.data, self.row["subject"])


def claims_of(
    ctx: Context, uow: UnitOfWork, session: Session, rows: Sequence[Row], messages: Mapping[str, Row],
    routes: Sequence[InForce], now: datetime,
) -> list[Claim]:  # fmt: skip
    """Deliveries of a connection with everything that their steps need."""
    known, links = _known(ctx, uow, session, rows, messages)
    return [
        Claim(row, session, messages[row["message_id"]], *_target(routes, row), new_id(), ctx.instance, now,
              known.get(row["id"], {}), links.get(row["id"], ""))
        for row in rows
    ]  # fmt: skip


def _known(
    ctx: Context, uow: UnitOfWork, session: Session, rows: Sequence[Row], messages: Mapping[str, Row]
) -> tuple[dict[str, Names], dict[str, str]]:
    """By delivery: whom its document means, and the target's own id of the record that it is."""
    if not (leading(ctx, uow, session.tenant_id) or any(type_named(row["type"]).supersedes for row in rows)):
        return {}, {}
    links: dict[str, str] = {}
    said, records = [], dict[str, dict[str, str]]()
    for row in rows:
        message = messages[row["message_id"]]
        data = envelope_data(message["body"])
        said.append(Said(row["tenant_id"], message["connection_id"] or "", message["type"], data, row["connection_id"]))
        if type_named(row["type"]).supersedes and row["type"] in session.manifest.writes:
            kind = session.manifest.writes[row["type"]]["object"]
            records.setdefault(kind, {})[row["id"]] = canonical_id(row["type"], data, row["subject"])
    for kind, ids in records.items():
        found = uow.aliases.linked(session.tenant_id, session.connection_id, kind, sorted(set(ids.values())))
        for delivery, identity in ids.items():
            links[delivery] = found.get(identity) or own_key(session.connection_id, identity)
    return dict(zip((row["id"] for row in rows), names(ctx, uow, said), strict=True)), links


def _target(routes: Sequence[InForce], row: Row) -> tuple[Target | None, int]:
    """The flow's target as it is in force now, and in which revision: a corrected map applies to what still waits."""
    for entry in routes:
        if (target := entry.targets.get((row["flow"], row["connection_id"]))) is not None:
            return target, entry.revision
    return None, row["revision"]


def effective(
    type_name: str, message: Row, target: Target | None, connector: str, corrected: bytes | str | None = None,
    said: Mapping[str, Any] | None = None, known: Names | None = None,
) -> Mapping[str, Any]:  # fmt: skip
    """What a connector is given: as a person corrected it or owners merged it, else cast to the major that it writes; mapped.

    ``said``: the message's document, where it has been read already. ``known``: who it means (`hub.flow.names`).

    Raises PermanentError (`version_refused`) or UntranslatableError (`map_failed`).
    """
    if corrected:
        data = orjson.loads(corrected)
    else:
        data = schema_version.cast(message["type"], envelope_data(message["body"]) if said is None else said, type_name)
    if data is None:
        raise PermanentError(
            f"{connector} writes {type_name} and no caster leads there from {message['type']}", code="version_refused"
        )
    document = dict(canonical(type_name, data, known or {}, message["subject"]))
    if target is not None and target.map:
        document["extensions"] = {**document.get("extensions", {}), "target": target.fields(data)}
    return document


def linked(document: Mapping[str, Any], external_id: str) -> Mapping[str, Any]:
    """A document with the target's own id of what it is about, where it is known."""
    if not external_id:
        return document
    return {**document, "extensions": {**document.get("extensions", {}), "link": {"id": external_id}}}


def digest_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of a document: what was sent is compared by it. How the target calls it is no part of it."""
    if "link" in document.get("extensions", {}):
        left = {name: value for name, value in document["extensions"].items() if name != "link"}
        document = {**document, "extensions": left} if left else {k: v for k, v in document.items() if k != "extensions"}
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()


@dataclass(frozen=True)
class _Hold:
    """Claims that must all be ours still, at a time."""

    claims: Sequence[Claim]
    now: datetime
    until: datetime


def _renew(uow: UnitOfWork, holds: Sequence[_Hold]) -> list[None]:
    """Renew leases. LeaseLostError unless each claim is still ours: then nothing is written, and each hold is tried alone."""
    return _held(uow.deliveries.renew, holds)


def _intend(uow: UnitOfWork, holds: Sequence[_Hold]) -> list[None]:
    """Record the intent to send, and renew the leases. LeaseLostError as in `_renew`."""
    _held(uow.deliveries.intend, holds)
    uow.attempts.intend([claim.attempt() for hold in holds for claim in hold.claims])
    return [None] * len(holds)


def _held(keep: Callable[..., set[tuple[str, str]]], holds: Sequence[_Hold]) -> list[None]:
    rows = [claim.row for hold in holds for claim in hold.claims]
    # One time for all of them: a lease counts as running out when the first was asked, and is renewed until the first's end.
    kept = keep(rows, max(hold.now for hold in holds), min(hold.until for hold in holds))
    if len(kept) < len(rows):
        raise LeaseLostError
    return [None] * len(holds)


#: So long a claim that was made to be the intent to send is one.
_INTENDED_SECONDS = 2.0


class Guard:
    """The boundary around the requests of claimed deliveries: budget, intent, lease."""

    def __init__(self, ctx: Context, claims: Sequence[Claim], trial: bool) -> None:
        self._ctx, self._claims = ctx, claims
        self._budget = Budget(ctx, claims[0].session, trial)
        self._renewed = min(claim.at for claim in claims)
        self._intended = all(claim.row["state"] == "sending" for claim in claims)

    async def before_request(self, request: Request) -> None:
        """Waiting for a slot must not cost the lease."""
        if not self._fresh():
            await self._held(_renew)
        await self._budget.reserve()

    async def before_read(self, request: Request) -> None:
        await self._budget.depart()

    async def before_effect(self, request: Request) -> None:
        """A claim that was made to be the intent is the first effect's, for a moment; else the store is asked whether the claim
        is still ours (somebody may have taken it back: a look-up took long, or the database's clock was set), and so it is for
        each further effect.
        """
        if not self._intended or (self._ctx.clock() - self._renewed).total_seconds() > _INTENDED_SECONDS:
            await self._held(_intend)
        self._intended = False
        await self._budget.depart()
        self._check_lease()

    async def after_request(self, error: ConnectorError | None) -> None:
        await self._budget.answered(error)

    async def _held(self, hold: Callable[[UnitOfWork, Sequence[_Hold]], list[None]]) -> None:
        """One transaction for all claims; LeaseLostError unless each is still ours."""
        at, session = self._ctx.clock(), self._claims[0].session
        until = at + timedelta(seconds=self._ctx.settings.lease_seconds)
        await self._ctx.commit_each(hold, _Hold(self._claims, at, until), session.tenant_id, session.connection_id)
        self._renewed = at
        self._check_lease()

    def _fresh(self) -> bool:
        return (self._ctx.clock() - self._renewed).total_seconds() <= self._ctx.settings.lease_seconds / 3

    def _check_lease(self) -> None:
        """Looked at again after the commit: a worker that was stopped in between must not send."""
        if (self._ctx.clock() - self._renewed).total_seconds() > self._ctx.settings.lease_seconds / 2:
            raise LeaseLostError
