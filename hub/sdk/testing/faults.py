"""Faults on request, the same for every simulator and for a real system behind `Forward`.

| kind | what the caller sees |
|---|---|
| throttle | the vendor's rate-limit answer with Retry-After ``seconds`` |
| unavailable | 503 with an HTML body |
| timeout_after_apply | the request is applied; no answer comes for ``seconds``, then the connection closes |
| drop_after_apply | the request is applied; the connection closes at once |
| drop_before_apply | the connection closes, nothing is applied |
| truncate | the answer's body stops half-way |
| html_200 | 200 with an HTML page instead of the answer, applied |
"""

import re
import threading
from dataclasses import dataclass, field

from hub.sdk.testing.simulator import SimRequest

KINDS = (
    "throttle", "unavailable", "timeout_after_apply", "drop_after_apply", "drop_before_apply", "truncate", "html_200",
)  # fmt: skip


@dataclass
class Fault:
    """``kind`` for the next ``count`` requests whose method is ``method`` ('' any) and whose path + body match ``pattern``."""

    kind: str
    pattern: str = ".*"
    method: str = ""
    count: int = 1
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; one of {', '.join(KINDS)}")


@dataclass
class FaultPlan:
    """The faults that are still to come, and ``fired``: what was injected so far, by kind."""

    pending: list[Fault] = field(default_factory=list)
    fired: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        with self._lock:
            self.pending.append(fault)

    def take(self, request: SimRequest) -> Fault | None:
        """The fault for this request, if one is due; its count goes down."""
        subject = f"{request.path} {request.body.decode('utf-8', 'replace')}"
        with self._lock:
            for fault in self.pending:
                if fault.method in ("", request.method) and re.search(fault.pattern, subject):
                    fault.count -= 1
                    if fault.count <= 0:
                        self.pending.remove(fault)
                    self.fired[fault.kind] = self.fired.get(fault.kind, 0) + 1
                    return fault
        return None
