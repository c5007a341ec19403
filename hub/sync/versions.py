"""Two versions of a connector side by side: what each would send for the same deliveries. Reads are made, no effect leaves.

The other version is the canary's; for a tenant that has the canary, the one that everybody else has. Compared is each
delivery's first effect: what would follow depends on an answer that nobody gives. The system has what was delivered, so both
versions find it there; a delivery that was never applied shows how it is made.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from hub.errors import HubError, NotFoundError, ThrottledError
from hub.flow.budget import ReadBoundary
from hub.flow.claim import Claim, claims_of, effective, linked
from hub.flow.context import Context
from hub.flow.translate import describe
from hub.integrations.plan import differences
from hub.policies import redaction, schema_version
from hub.runtime.isolation import IsolatedConnector
from hub.runtime.performer import Run
from hub.runtime.plugins import NotInstalledError
from hub.runtime.session import Session
from hub.sdk.connector import Connector
from hub.sdk.errors import PermanentError
from hub.sdk.steps import Request, Skipped

_SECONDS, _MOST_FIELDS = 60.0, 50


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


def compare(ctx: Context, tenant_id: str, connection_id: str, limit: int) -> dict[str, Any]:
    """The newest ``limit`` deliveries by both versions: `counts` of same, changed and failing, and those that are not the same.

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
        rows = uow.deliveries.page(tenant_id, None, limit, connection_id=connection_id)[:limit]
        rows = [{**row, "corrected": None} for row in rows]  # as it is mapped: a person's correction is no version's work
        messages = uow.messages.many(tenant_id, [row["message_id"] for row in rows])
        claims = claims_of(ctx, uow, session, rows, messages, ctx.routes.in_force(uow, tenant_id), ctx.clock())
    second = _session_of(session, other)
    counts: Counter[str] = Counter()
    items = []
    for claim in claims:
        item = _compared(ctx, claim, session, second)
        counts[item["change"]] += 1
        if item["change"] != "same":
            items.append(item)
    return {
        "connector": name, "version": session.manifest.data["version"], "other_version": other.manifest.data["version"],
        "examined": len(claims), "counts": {word: counts[word] for word in ("same", "changed", "failing")}, "items": items,
    }  # fmt: skip


def _session_of(session: Session, other: type[Connector]) -> Session:
    """The same connection, by another version of its connector."""
    connector = other(dict(session.connector.settings))
    if isinstance(connector, IsolatedConnector):
        connector.owner = (session.tenant_id, session.connection_id)
    return replace(session, connector=connector)


def _compared(ctx: Context, claim: Claim, one: Session, other: Session) -> dict[str, Any]:
    now, problem = _asked(ctx, claim, one)
    then, trouble = _asked(ctx, claim, other)
    fields = list(differences(now, then))[:_MOST_FIELDS]
    change = "failing" if trouble and trouble != problem else "changed" if fields else "same"
    return {
        "delivery_id": claim.row["id"], "message_id": claim.row["message_id"], "subject": claim.row["subject"],
        "type": claim.row["type"], "change": change, "fields": fields, "problem": trouble,
    }  # fmt: skip


def _asked(ctx: Context, claim: Claim, session: Session) -> tuple[Mapping[str, Any] | None, str]:
    """The first effect that this version would send, and what is wrong with it instead."""
    loop, boundary = ctx.loop, _NoEffects(ctx, session)
    try:
        type_name, document = _document(claim, session)
        steps = session.connector.write(type_name, document, claim.row["key"])
        result = loop.submit(loop.performer.perform(steps, session, boundary, Run())).result(_SECONDS)
    except _WithheldError as withheld:
        return _shown(withheld.request), ""
    except ThrottledError as error:
        wait = f"{error.wait_seconds:.0f} s"
        raise HubError("wrong_state", f"the connection's budget is used up; try again in {wait}") from None
    except Exception as error:  # whatever a version does wrong is what is looked for
        code, cause, _ = describe(error)
        return None, redaction.text(f"{code}: {cause}", session.secrets)[:500]
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


def _shown(request: Request) -> dict[str, Any]:
    body: Any = None
    if (content := request.body()) is not None:
        try:
            body = orjson.loads(content)
        except ValueError:
            body = content.decode("utf-8", "replace")[:10_000]
    params = {key: str(value) for key, value in request.params.items() if value is not None}
    return {"method": request.method, "path": request.path, "params": params, "headers": dict(request.headers), "body": body}
