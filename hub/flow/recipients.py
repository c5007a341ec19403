"""Content-Based Router and Recipient List: which connections get a document, by which flow, and when."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from canonical.versions import cast
from hub.flow.pace import when
from hub.integrations.routes import InForce
from hub.sdk.mapping import evaluate


@dataclass(frozen=True)
class NewMessage:
    """A valid document on its way in. ``connection_id`` and ``raw_id`` are None for what the API published.

    ``read_at``: when it was read, if it was: so things were then; what a webhook tells may have been overtaken.
    """

    tenant_id: str
    type: str
    source: str
    source_id: str
    data: Mapping[str, Any]
    event_at: datetime
    traceparent: str
    actor: str
    connection_id: str | None = None
    raw_id: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    lane: str = "live"
    read_at: datetime | None = None


@dataclass(frozen=True)
class Recipient:
    """One connection a document goes to, and by which flow of which revision."""

    flow: str
    revision: int
    connection_id: str
    hold_suspects: bool
    lane: str
    available_at: datetime | None = None
    waits_for: str | None = None
    instead_of: tuple[str, ...] = ()  # other flows that lead the same message to the connection; they are skipped


def once(found: Iterable[Recipient]) -> list[Recipient]:
    """Keep one recipient per connection: a message is never posted twice to one, however many flows lead there.

    The flow whose qualified name (`integration/flow`) sorts first wins; it names the others.
    """
    of: dict[str, list[Recipient]] = {}
    for to in found:
        of.setdefault(to.connection_id, []).append(to)
    kept = []
    for same in of.values():
        first = min(same, key=lambda to: to.flow)
        others = tuple(sorted({to.flow for to in same} - {first.flow}))
        kept.append(replace(first, instead_of=others) if others else first)
    return kept


def recipients(routes: Iterable[InForce], message: NewMessage, now: datetime) -> list[Recipient]:
    """Who gets ``message`` by the integrations in force. Raises UntranslatableError (`map_failed`) if a `where` fails.

    A flow gets every major of the types it names; its conditions are asked of the major it names.
    """
    found, entity = [], message.type.rpartition(".v")[0]
    for entry in routes:
        for name, flow in entry.about(entity):
            if flow.source not in ("", message.connection_id):
                continue
            data = _in_a_major_of(flow.types, message)
            if data is None or (flow.where and not evaluate(flow.where, data)):
                continue
            for target in flow.targets:
                if target.where and not evaluate(target.where, data):
                    continue
                hold = entry.integration.duplicates == "hold"
                lane = "bulk" if "bulk" in (flow.lane, message.lane) else "live"
                available, waits = when(flow, name, message.tenant_id, data, now)
                found.append(Recipient(name, entry.revision, target.connection_id, hold, lane, available, waits))
    return once(found)


def _in_a_major_of(types: Iterable[str], message: NewMessage) -> Mapping[str, Any] | None:
    """The document in a major that ``types`` name: its own if they do. None if they name none of it."""
    if message.type in types:
        return message.data
    entity = message.type.rpartition(".v")[0]
    for name in types:
        named, _, major = name.rpartition(".v")
        if named == entity and (found := cast(message.type, message.data, int(major))) is not None:
            return found[1]
    return None
