"""A connection's real records, side by side: as its system has them, in canonical words, as each target would be given them.

Nothing is stored and nothing is sent: reads only, through the connection's own budget.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from hub.errors import HubError, NotFoundError, ThrottledError
from hub.flow.budget import ReadBoundary
from hub.flow.causes import describe
from hub.flow.context import Context
from hub.flow.forecast import intended
from hub.integrations.routes import InForce
from hub.policies import schema_version
from hub.runtime.performer import Run
from hub.runtime.session import Session
from hub.sdk.steps import Document, Gone, Ignored, Refused, Steps, Webhook

T = TypeVar("T")
_MOST_UNMAPPED, _MOST_PAGES = 200, 5


@dataclass(frozen=True)
class _Asking:
    ctx: Context
    session: Session

    def perform(self, steps: Steps[T]) -> T:
        """What the steps end with; HubError in words where the system does not answer."""
        loop, boundary = self.ctx.loop, ReadBoundary(self.ctx, self.session)
        try:
            return loop.submit(loop.performer.perform(steps, self.session, boundary, Run())).result(120)
        except ThrottledError as error:
            raise HubError(
                "wrong_state", f"the connection's budget is used up; try again in {error.wait_seconds:.0f} s"
            ) from None


def preview(
    ctx: Context, tenant_id: str, connection_id: str, name: str, count: int, routes: Sequence[InForce] | None = None
) -> list[dict[str, Any]]:  # fmt: skip
    """The first ``count`` records of an object, by the integrations in force or by ``routes``. Raises HubError, NotFoundError.

    `record`: as the system has it; `documents`: type, source_id, data and problems of each, or `ignored`; `targets`: what each
    would be given, or why not; `unmapped`: where the record holds a value that none of its documents does.
    """
    with ctx.store.read() as uow:
        if uow.connections.get(tenant_id, connection_id) is None:
            raise NotFoundError("connection", connection_id)
        session = ctx.sessions.get(uow, tenant_id, connection_id)
        routes = ctx.routes.in_force(uow, tenant_id) if routes is None else routes
    declared = session.manifest.objects
    if name not in declared or not declared[name]["read"]:
        readable = ", ".join(sorted(key for key, item in declared.items() if item["read"])) or "nothing"
        entry = {"code": "invalid_field", "field": "/object", "message": f"{name!r} cannot be read; {readable} can"}
        raise HubError("invalid_request", errors=[entry])
    asking = _Asking(ctx, session)
    try:
        records = list(_records(asking, name, count))
    except HubError:
        raise
    except Exception as error:  # whatever reading raises is what is looked for
        code, cause, _ = describe(error)
        raise HubError("wrong_state", f"{code}: {cause}") from None
    return [_shown(asking, name, record, routes) for record in records]


def _records(asking: _Asking, name: str, count: int) -> Iterator[Any]:
    cursor: Any = {}
    for _ in range(_MOST_PAGES):
        page = asking.perform(asking.session.connector.read(name, cursor))
        yield from page.records[:count]
        count -= len(page.records)
        if count <= 0 or not page.more:
            return
        cursor = page.cursor


def _shown(asking: _Asking, name: str, record: Any, routes: Sequence[InForce]) -> dict[str, Any]:
    body = orjson.dumps(record, default=str)
    shown: dict[str, Any] = {"record": orjson.loads(body), "documents": [], "targets": [], "unmapped": [], "problem": ""}
    try:
        found = asking.perform(asking.session.connector.interpret(Webhook(body), name))
    except HubError:
        raise
    except Exception as error:  # whatever translating raises is what is looked for
        code, cause, _ = describe(error)
        return {**shown, "problem": f"{code}: {cause}"}
    for item in found:
        if isinstance(item, Ignored):
            shown["documents"].append({"ignored": item.reason})
            continue
        if isinstance(item, Gone):
            shown["documents"].append({"ignored": "the record is not there any more: what it last said is withdrawn"})
            continue
        if isinstance(item, Refused):
            shown["problem"] = shown["problem"] or f"{item.code}: {item.message}"
            continue
        data = json.loads(json.dumps(item.data, default=str))
        problems = [f"{wrong.field or '/'}: {wrong.message}" for wrong in schema_version.violations(item.type, item.data)]
        shown["documents"].append({"type": item.type, "source_id": item.source_id, "data": data, "problems": problems})
        if not problems:
            shown["targets"] += _targets(asking, item, data, routes)
    told = {text for document in shown["documents"] for _, text in _leaves(document.get("data", {}))}
    shown["unmapped"] = [place for place, text in _leaves(shown["record"]) if text not in told][:_MOST_UNMAPPED]
    return shown


def _targets(asking: _Asking, item: Document, data: Any, routes: Sequence[InForce]) -> list[dict[str, Any]]:
    ctx, session = asking.ctx, asking.session
    row = {
        "tenant_id": session.tenant_id, "type": item.type, "source": f"connection/{session.connection_id}",
        "source_id": item.source_id, "body": orjson.dumps({"data": data}), "event_at": ctx.clock(),
        "connection_id": session.connection_id, "subject": "",
    }  # fmt: skip
    with ctx.store.read() as uow:
        found = intended(ctx, uow, row, routes)
    return [
        {"connection_id": connection_id, "flow": flow, "type": mine.type, "document": mine.document, "problem": mine.problem}
        for (connection_id, flow), mine in found.items()
    ]  # fmt: skip


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(pointer, text) of each value that says something."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}/{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{place}/{index}")
    elif value not in (None, "", False):
        yield place, str(value)
