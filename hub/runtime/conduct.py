"""How connectors behave: incidents of isolated ones and outcomes of every version, counted here until they are stored."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from hub.errors import LeaseLostError, ThrottledError
from hub.runtime.guest import Incident
from hub.runtime.session import Session
from hub.sdk.errors import ConnectorError

#: An outcome that is the connector's own fault: its code raised what is no ConnectorError, or its process ended.
FAULT = "fault"


class Conduct:
    """Counts from any thread; `take` hands over what has come together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._incidents: dict[tuple[str, ...], list[Any]] = {}
        self._outcomes: dict[tuple[str, ...], int] = {}

    def incident(self, incident: Incident, now: datetime) -> None:
        key = (incident.tenant_id, incident.connector, incident.version, incident.connection_id, incident.kind)
        with self._lock:
            known = self._incidents.setdefault(key, [0, now, now, ""])
            known[0] += 1
            known[2:] = [now, incident.detail]

    def outcome(self, session: Session, state: str, result: object, now: datetime) -> None:
        """One try of a delivery: the ``state`` it led to, and what came of the connector's code."""
        data = session.manifest.data
        word = FAULT if at_fault(result) else state
        key = (session.tenant_id, data["connector"], data["version"], now.date().isoformat(), word)
        with self._lock:
            self._outcomes[key] = self._outcomes.get(key, 0) + 1

    def take(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """(incidents, outcomes) since the last time, as rows."""
        with self._lock:
            incidents, self._incidents = self._incidents, {}
            outcomes, self._outcomes = self._outcomes, {}
        names = ("tenant_id", "connector", "version", "connection_id", "kind")
        rows = [dict(zip(names, key, strict=True)) | dict(zip(("count", "first_at", "last_at", "detail"), found, strict=True))
                for key, found in incidents.items()]  # fmt: skip
        named = ("tenant_id", "connector", "version", "day", "outcome")
        return rows, [dict(zip(named, key, strict=True)) | {"count": count} for key, count in outcomes.items()]

    def flush(self, write: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None]) -> int:
        """Store what has come together; what cannot be stored now is kept. Returns how many rows."""
        incidents, outcomes = self.take()
        if not incidents and not outcomes:
            return 0
        try:
            write(incidents, outcomes)
        except BaseException:
            self._put_back(incidents, outcomes)
            raise
        return len(incidents) + len(outcomes)

    def _put_back(self, incidents: list[dict[str, Any]], outcomes: list[dict[str, Any]]) -> None:
        with self._lock:
            for row in incidents:
                key = (row["tenant_id"], row["connector"], row["version"], row["connection_id"], row["kind"])
                known = self._incidents.setdefault(key, [0, row["first_at"], row["last_at"], row["detail"]])
                known[0] += row["count"]
                known[1] = min(known[1], row["first_at"])
            for row in outcomes:
                key = (row["tenant_id"], row["connector"], row["version"], row["day"], row["outcome"])
                self._outcomes[key] = self._outcomes.get(key, 0) + row["count"]


def at_fault(result: object) -> bool:
    """Whether a result says that the connector's code is wrong."""
    return isinstance(result, Exception) and not isinstance(result, ConnectorError | LeaseLostError | ThrottledError)
