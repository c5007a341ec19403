"""`python -m chaos.limits --seconds 240 --kills 6`: R1 and R2 with real processes. Four workers share the limits of five systems
while workers are killed; the target notes every request, and the referee counts afterwards.
"""

import argparse
import contextlib
import http.client
import json
import random
import sys
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from chaos.rig import Rig, judged
from chaos.run import PLUGIN, Role, environment_of
from chaos.services import free_port
from hub.integrations.apply import apply_integration
from hub.integrations.files import parse_integration
from hub.runtime.plugins import load_plugins
from hub.store import new_id

#: RELIABILITY 5.1, as far as a window fits into a run (a day's budget is shown in virtual time by the unit tests).
PROFILES: dict[str, dict[str, Any]] = {
    "xero": {"rates": [{"requests": 60, "seconds": 60}], "concurrency": 5},
    "quickbooks": {"rates": [{"requests": 500, "seconds": 60}], "concurrency": 10},
    "business_central": {"rates": [{"requests": 600, "seconds": 60}, {"requests": 6000, "seconds": 300}], "concurrency": 5},
    "exact": {"rates": [{"requests": 60, "seconds": 60}], "concurrency": 4},
    "lexoffice": {"rates": [{"requests": 2, "seconds": 1}], "concurrency": 2},
}  # fmt: skip
WORKERS = 4


def permitted(name: str) -> float:
    """Requests a second that all of a system's rates allow."""
    return min(float(rate["requests"]) / float(rate["seconds"]) for rate in PROFILES[name]["rates"])


def judge(name: str, arrivals: Sequence[tuple[float, int]], seconds: float) -> tuple[int, float, int]:
    """(violations of any sliding window or of the concurrency, share of the permitted rate that was used, most at once)."""
    violations = 0
    for rate in PROFILES[name]["rates"]:
        seen: deque[float] = deque()
        for at, _ in arrivals:
            seen.append(at)
            while seen[0] <= at - rate["seconds"]:
                seen.popleft()
            violations += len(seen) > rate["requests"]
    most = max((n for _, n in arrivals), default=0)
    violations += sum(n > PROFILES[name]["concurrency"] for _, n in arrivals)
    begun = arrivals[0][0] if arrivals else 0.0
    return violations, sum(at <= begun + seconds for at, _ in arrivals) / (permitted(name) * seconds), most


class Limits(Rig):
    """One run: a backlog for every connection, four workers, kills."""

    def __init__(self, folder: Path, postgres: Any, rabbit: Any, seconds: float, latency: float) -> None:
        super().__init__(postgres)
        self._seconds, self._port = seconds, free_port(26700)
        self._fill()
        environment = environment_of(folder, postgres.url, rabbit.url, HUB_LEASE_SECONDS="10")
        self.target(self._port, latency)
        self.roles = {f"work-{n}": Role(f"work-{n}", ["work"], environment, folder) for n in range(WORKERS)}
        self.roles["schedule"] = Role("schedule", ["schedule"], environment, folder)

    def _fill(self) -> None:
        """More deliveries for each connection than it may take in the time."""
        sys.path.insert(0, str(PLUGIN))
        try:
            plugins = load_plugins()
        finally:
            sys.path.remove(str(PLUGIN))
        connections = {
            name: {"connector": "referee_native", "base_url": f"http://127.0.0.1:{self._port}/{name}", "limits": limits}
            for name, limits in PROFILES.items()
        }
        flows = [{"name": name, "on": "product.v1", "to": [{"connection": name}]} for name in PROFILES]
        text = json.dumps({"integration": "limits", "connections": connections, "flows": flows})  # JSON is YAML
        now = datetime.now(UTC)
        with self.store.begin() as uow:
            uow.tenants.add("acme", "Acme", now)
            apply_integration(uow, plugins, "acme", parse_integration(text, "limits.yaml", plugins), "chaos", "", now)
        for name in PROFILES:
            wanted = int(permitted(name) * self._seconds * 1.3) + 50
            for start in range(0, wanted, 500):
                with self.store.begin() as uow:
                    self._add(uow, name, range(start, min(wanted, start + 500)), now)

    @staticmethod
    def _add(uow: Any, name: str, numbers: range, now: datetime) -> None:
        """Messages and deliveries as admission writes them; one connection each."""
        rows = []
        for number in numbers:
            subject, message_id = f"product/{name}-{number}", new_id()
            data = {"id": subject, "sku": subject, "name": subject, "active": True, "updated_at": now.isoformat()}
            uow.messages.add([{
                "tenant_id": "acme", "id": message_id, "type": "product.v1", "source": "/limits", "source_id": subject,
                "subject": subject, "digest": "", "fingerprint": None, "event_at": now, "business_date": None,
                "correlation_id": message_id, "causation_id": None, "traceparent": "", "raw_id": None, "connection_id": None,
                "body": orjson.dumps({"data": data}), "state": "routed", "suspect_of": None, "received_at": now,
            }])  # fmt: skip
            rows.append({
                "tenant_id": "acme", "id": new_id(), "message_id": message_id, "connection_id": name, "flow": f"limits/{name}",
                "revision": 1, "connector": "referee_native", "type": "product.v1", "lane": "live", "subject": subject,
                "key": f"{name}-{number}", "state": "pending", "available_at": now, "published_at": None, "lease_until": None,
                "lease_owner": None, "fence": 0, "attempts": 0, "failures": 0, "probe": False, "event_at": now, "cause_code": "",
                "cause": "", "remedy": "", "external_id": None, "created_at": now, "settled_at": None, "waits_for": None, "merged": None,
            })  # fmt: skip
        uow.deliveries.add(rows)

    def arrivals(self) -> dict[str, list[tuple[float, int]]]:
        """The target's books."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("GET", "/arrivals")
        found: dict[str, list[tuple[float, int]]] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def _begun(self) -> bool:
        with contextlib.suppress(OSError):
            return set(self.arrivals()) >= set(PROFILES)
        return False

    def run(self, kills: int, seed: int, share: float) -> tuple[list[str], int]:
        """The report's lines, and how many things were wrong."""
        chance = random.Random(seed)
        for role in self.roles.values():
            role.start()
        until = time.monotonic() + 60
        while not self._begun():
            assert time.monotonic() < until, "the workers do not start"
            time.sleep(0.2)
        for _ in range(kills):
            time.sleep(self._seconds / (kills + 1))
            whom = self.roles[f"work-{chance.randrange(WORKERS)}"]
            whom.kill()
            whom.start()
        time.sleep(self._seconds / (kills + 1) + 1.0)
        lines = [f"{WORKERS} workers, {kills} of them killed, {self._seconds:.0f} s", ""]
        lines += ["| system | calls | violations | most at once | of the permitted rate |", "|---|---|---|---|---|"]
        bad = 0
        for name, arrivals in self.arrivals().items():
            violations, used, most = judge(name, arrivals, self._seconds)
            bad += violations + (used < share)
            most_allowed = PROFILES[name]["concurrency"]
            lines.append(f"| {name} | {len(arrivals)} | {violations} | {most} of {most_allowed} | {used:.1%} |")
        return lines, bad


def main() -> int:
    """Parse, run, print; 1 if something was found, 3 if a service is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=240.0, help="how long it is counted")
    parser.add_argument("--kills", type=int, default=6, help="workers killed meanwhile")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds until the target answers")
    parser.add_argument("--share", type=float, default=0.95, help="least share of the permitted rate")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    return judged(
        24400,
        lambda folder, postgres, rabbit: Limits(folder, postgres, rabbit, given.seconds, given.latency),
        lambda limits: limits.run(given.kills, given.seed, given.share),
    )


if __name__ == "__main__":
    sys.exit(main())
