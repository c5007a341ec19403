"""Keeps a running hub true to its lock file and catalogue: what was revoked stops, what fails after an upgrade goes back."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from hub.identity.connections import resume
from hub.marketplace.client import Catalogue, StaleError
from hub.marketplace.installed import Installed
from hub.marketplace.repository import CatalogueError
from hub.policies import audit
from hub.runtime.conduct import FAULT
from hub.runtime.plugins import NotInstalledError, Plugins
from hub.store import Store, UnitOfWork

log = logging.getLogger(__name__)
_PARKED = "plugin: "
#: A new version goes back when at least so many tries were made, and so many of them ended by its own fault (or dead).
_TRIES, _SHARE = 10, 0.2
_REVIVED = 1000
#: A try that was under way when its version went back may die so much later.
_LATE_SECONDS = 10.0


@dataclass
class _Back:
    """A version that went back: what died of it since ``since`` tries again, each once, until ``until`` (monotonic)."""

    name: str
    since: datetime
    reason: str
    until: float
    tried: set[str] = field(default_factory=set)


@dataclass
class Upkeep:
    """Run every few seconds by every process of a hub. ``changed`` is told the connectors that are not what they were;
    ``replay`` lets a dead letter (tenant, delivery, reason) try again.
    """

    installed: Installed
    catalogue: Catalogue | None
    plugins: Plugins
    store: Store
    clock: Callable[[], datetime]
    every_seconds: float
    changed: Callable[[set[str]], None] = lambda names: None
    replay: Callable[[str, str, str], object] = lambda tenant_id, delivery_id, reason: None
    _stamp: tuple[int, int] = (-1, -1)
    _asked: float = field(default=-1e9)
    _refused: dict[str, str] = field(default_factory=dict)
    _back: list[_Back] = field(default_factory=list)

    def run(self) -> int:
        """Ask the catalogue if it is time, judge new versions, and take up what the lock file says."""
        if self.catalogue is not None and self.catalogue.trusted and time.monotonic() - self._asked >= self.every_seconds:
            self._asked = time.monotonic()
            self._poll(self.catalogue)
        if self.plugins.adopted:
            self._judge()
        if self.installed.stamp() != self._stamp:
            self.load()
        for back in self._back:  # after the older version was taken up: what tries again must not meet the newer one
            self._revive(back)
        self._back = [back for back in self._back if time.monotonic() < back.until]
        return 0

    def load(self) -> None:
        """Adopt what the lock file names and the catalogue vouches for."""
        self._stamp = self.installed.stamp()
        adopted, refused = self.installed.adopted(self.catalogue)
        if refused:  # looked at again: another process may just have been writing what we read
            self._stamp = (-1, -1)
        for name, why in refused.items():
            if self._refused.get(name) != why:
                log.error("plugin %s is not run: %s", name, why)
        self._refused = refused
        names = self.plugins.adopt(adopted)
        self.plugins.quarantined |= refused
        if names:
            self.changed(names)
            with self.store.begin() as uow:
                self._park(uow, names)
                for name in names:
                    if (held := self.plugins.adopted.get(name)) is None or held.canary is None:
                        uow.recordings.forget(name)

    def _poll(self, catalogue: Catalogue) -> None:
        try:
            for name, why in self.installed.heed(catalogue.refresh()).items():
                log.error("plugin %s is disabled: %s", name, why)
        except StaleError as error:
            log.error("%s", error)
        except CatalogueError as error:
            log.warning("the catalogue cannot be asked now: %s", error)

    def _judge(self) -> None:
        """Roll back a version that fails where the one before it did not."""
        for name, held in self.installed.read().items():
            newer, older = (held["canary"], held["current"]) if held["canary"] else (held["current"], held["previous"])
            if not newer or not older or held["state"] != "installed":
                continue
            since = datetime.fromisoformat(newer["at"])
            with self.store.read() as uow:
                rows = uow.plugins.outcomes(name, since=since)
            tries, failed = _share([row for row in rows if row["version"] == newer["version"]])
            before, bad = _share([row for row in rows if row["version"] == older["version"]])
            usual = bad / before if before else 0.0
            if tries < _TRIES or failed / tries < max(_SHARE, 2 * usual):
                continue
            reason = f"{failed} of {tries} tries of {newer['version']} failed by its own fault"
            back = self.installed.rollback(name, reason)
            log.error("plugin %s goes back to %s: %s", name, back, reason)
            with self.store.begin() as uow:
                for tenant_id in uow.tenants.ids():
                    if any(row["connector"] == name for row in uow.connections.all(tenant_id)):
                        audit.record(uow, tenant_id, self.clock(), "upkeep", "plugin.rolled_back", f"connector/{name}",
                                     left=newer["version"], to=back, reason=reason)  # fmt: skip
            why = f"{name} {newer['version']} was rolled back"
            self._back.append(_Back(name, since, why, time.monotonic() + _LATE_SECONDS))

    def _revive(self, back: _Back) -> None:
        """What used up its tries on a version that was rolled back tries again; at most so many that a person may decide."""
        with self.store.read() as uow:
            rows = [row for tenant_id in uow.tenants.ids() for row in uow.deliveries.page(
                tenant_id, None, 200, state="dead", connector=back.name, cause_code="attempts_exhausted")]  # fmt: skip
        died = [row for row in rows if row["settled_at"] >= back.since and row["id"] not in back.tried]
        for row in died[: _REVIVED - len(back.tried)]:
            back.tried.add(row["id"])
            self.replay(row["tenant_id"], row["id"], back.reason)

    def _park(self, uow: UnitOfWork, names: set[str]) -> None:
        """Connections of these connectors pause where theirs may not run, with what waits for them, and go on when it may."""
        now = self.clock()
        for tenant_id in uow.tenants.ids():
            for row in uow.connections.all(tenant_id):
                name, connection = row["connector"], row["connection_id"]
                if name not in names:
                    continue
                try:
                    self.plugins.get(name, tenant_id)
                except NotInstalledError as error:
                    why = f"{_PARKED}{error}"
                    if row["state"] == "active" and uow.connections.set_state(tenant_id, connection, "paused", why, now):
                        audit.record(uow, tenant_id, now, "upkeep", "connection.paused", f"connection/{connection}", reason=why)
                    continue
                if row["state"] == "paused" and row["state_reason"].startswith(_PARKED):
                    resume(uow, tenant_id, connection, now, "upkeep", f"{name} may run again")


def _share(rows: list[dict[str, object]]) -> tuple[int, int]:
    """(tries that came to an end, those that failed)."""
    counted = {str(row["outcome"]): int(str(row["count"])) for row in rows}
    return sum(counted.values()), counted.get(FAULT, 0) + counted.get("dead", 0)
