"""Who breaks: the changes of a contract beside who called what, from the usage that is counted from the first request on."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.contracts.changes import Change
from hub.contracts.diff import METHODS, template
from hub.contracts.document import short_name


@dataclass(frozen=True)
class Caller:
    """One API client of one tenant that called an operation: how often in the time asked for, and on which day last."""

    tenant_id: str
    client: str
    operation: str
    calls: int
    last_day: str


@dataclass(frozen=True)
class Impact:
    """A change and whom it meets. ``operations`` are those among the change's that somebody calls."""

    change: Change
    callers: tuple[Caller, ...]


def names(openapi: Mapping[str, Any]) -> dict[str, str]:
    """The name under which usage is counted → the operation as changes write it (``GET /v1/messages/{}``)."""
    found = {}
    for path, item in openapi["paths"].items():
        for method in METHODS:
            if method in item and "operationId" in item[method]:
                found[short_name(item[method]["operationId"])] = f"{method.upper()} {template(path)}"
    return found


def impact(changes: Iterable[Change], openapi: Mapping[str, Any], usage: Iterable[Mapping[str, Any]]) -> list[Impact]:
    """Each change with the callers of the operations it concerns; ``usage``: rows of `Usage.callers`.

    ``openapi`` is the older document: it is the one that they call.
    """
    called: defaultdict[str, list[Caller]] = defaultdict(list)
    known = names(openapi)
    for row in usage:
        operation = known.get(row["operation"])
        if operation is not None:
            called[operation].append(Caller(row["tenant_id"], row["client"], operation, int(row["calls"]), row["last_day"]))
    return [
        Impact(change, tuple(caller for operation in _concerned(change) for caller in called.get(operation, ())))
        for change in changes
    ]


def _concerned(change: Change) -> Sequence[str]:
    return change.operations
