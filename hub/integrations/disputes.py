"""Reasons for which a file is not applied unless a person accepts each by name: flows that double, connections that move."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hub.integrations.files import Flow, Integration

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Dispute:
    """One reason: where in the file, what would happen, and the name by which a person accepts it."""

    field: str
    message: str
    accept: str
    connection: str


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port; a path or a slash at the end makes no other origin."""
    parts = urlsplit(url)
    return parts.scheme.lower(), (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme.lower())


def is_moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Tell whether two rows of a connection mean different systems: by connector, environment and origin."""
    same = all(old[name] == new[name] for name in ("connector", "environment"))
    return not same or origin(old["base_url"]) != origin(new["base_url"])


def disputes(
    wanted: Integration,
    others: Sequence[Integration],
    rows: Mapping[str, Mapping[str, Any]],
    kept: Mapping[str, Mapping[str, Any]],
) -> list[Dispute]:
    """List the reasons. ``rows``: the connections as the file would save them; ``kept``: as they are stored."""
    found = [*_doubled(wanted, others), *_declared_otherwise(wanted, others)]
    for name, row in rows.items():
        if name in kept and is_moved(kept[name], row):
            old = kept[name]
            message = (
                f"connection {name!r} of {wanted.name!r} would move from {old['connector']} at {old['base_url']} to "
                f"{row['connector']} at {row['base_url']}: its credentials, links, cursors and known records would be removed, "
                f"and it waits for `hub connect {name}`; accept it with --accept moved-connection:{name}, or use a new name"
            )
            accept = f"moved-connection:{name}"
            found.append(Dispute(field=f"/connections/{name}", message=message, accept=accept, connection=name))
    return found


def open_disputes(found: Sequence[Dispute], accepted: Collection[str]) -> list[Dispute]:
    """List those that nobody has accepted."""
    return [item for item in found if item.accept not in accepted]


def _declared_otherwise(wanted: Integration, others: Sequence[Integration]) -> Iterator[Dispute]:
    for other in others:
        for name in sorted(wanted.connections.keys() & other.connections.keys()):
            if wanted.connections[name] != other.connections[name]:
                message = (
                    f"connection {name!r} of {wanted.name!r} is declared otherwise by integration {other.name!r}; "
                    "declare it alike in both files or use another name; to change it in both, accept it here with "
                    f"--accept shared-connection:{name} and apply the other file with the same declaration next"
                )
                accept = f"shared-connection:{name}"
                yield Dispute(field=f"/connections/{name}", message=message, accept=accept, connection=name)


def _doubled(wanted: Integration, others: Sequence[Integration]) -> Iterator[Dispute]:
    elsewhere = [(other.name, flow) for other in others for flow in other.flows]
    for place, flow in enumerate(wanted.flows):
        here = [(wanted.name, before) for before in wanted.flows[:place]]
        for owner, other in (*here, *elsewhere):
            for name in _shared(flow, other):
                message = (
                    f"flow {wanted.name}/{flow.name} and flow {owner}/{other.name} both lead to connection {name!r}: a message "
                    "that fits both goes there once, by the flow whose name sorts first; make one flow of them, "
                    f"or accept it with --accept same-target:{name}"
                )
                yield Dispute(field=f"/flows/{place}/to", message=message, accept=f"same-target:{name}", connection=name)


def _shared(one: Flow, other: Flow) -> list[str]:
    """List the connections that both flows can lead the same message to."""
    entities = {name.rpartition(".v")[0] for name in one.types} & {name.rpartition(".v")[0] for name in other.types}
    if not entities or (one.source and other.source and one.source != other.source):
        return []
    return sorted({target.connection_id for target in one.targets} & {target.connection_id for target in other.targets})
