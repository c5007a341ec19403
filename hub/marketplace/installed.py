"""What a hub has from its catalogue: the lock file, which names every wheel by its hash, and what is done with it.

`plugins.lock.json` in the plugins folder is the only state: versions in use, pinned, on trial by single tenants, revoked. Every
process of the hub reads it, and verifies each wheel and each unpacked file against it and against the catalogue's signatures
before any of the code runs.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from fcntl import LOCK_EX, flock
from hashlib import sha256
from pathlib import Path
from typing import Any

from hub.marketplace.client import Catalogue, chosen
from hub.marketplace.repository import CatalogueError
from hub.marketplace.review import difference
from hub.marketplace.wheel import Wheel, WheelRefusedError, inspect
from hub.runtime.environments import Environment, content_of, digest_of, of_files
from hub.runtime.plugins import Adopted

Entry = dict[str, Any]
EVERYONE = "*"


class Installed:
    """The plugins folder of a hub. Changes are made under a file lock and put in place whole."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._file = home / "plugins.lock.json"

    def read(self) -> dict[str, Entry]:
        """Connector → its entry."""
        if not self._file.is_file():
            return {}
        found: dict[str, Entry] = json.loads(self._file.read_text("utf-8"))["plugins"]
        return found

    def stamp(self) -> tuple[int, int]:
        """Changes when the lock file does."""
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_ino)

    @contextmanager
    def changing(self) -> Iterator[dict[str, Entry]]:
        """The entries, to change; written when the block ends well."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / ".lock").open("w") as held:
            flock(held, LOCK_EX)
            entries = self.read()
            yield entries
            made = self._file.with_name(".plugins.lock.json")
            made.write_text(json.dumps({"lock": 1, "plugins": entries}, indent=1, sort_keys=True) + "\n")
            os.replace(made, self._file)

    # -- versions -----------------------------------------------------------------------------------------------

    def plan(self, records: list[Entry], connector: str, version: str = "") -> Entry:
        """What installing would do: `record`, the version `before`, the `changes` and what kind of version they ask for."""
        record = chosen(records, connector, version)
        held = self.read().get(connector)
        before = next((item for item in records if held and (item["connector"], item["version"]) ==
                       (connector, held["current"]["version"])), None)  # fmt: skip
        changes, bump = difference(before, record["contract"], record["traffic"])
        return {"record": record, "before": held["current"]["version"] if held else None, "changes": changes, "bump": bump}

    def install(
        self, catalogue: Catalogue, record: Mapping[str, Any], tenants: list[str] | None = None, canary: list[str] | None = None
    ) -> Entry:
        """Put a version in use (for ``canary``: by these tenants only); the one before is kept to go back to.

        ``tenants``: who may use a connector that is new here; None: every tenant. Raises CatalogueError.
        """
        wheel = catalogue.wheel(record)
        folder = self.home / "wheels"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{wheel.sha256}.whl").write_bytes(wheel.content)
        of_files(self.home, _distribution(wheel), wheel.package, wheel.files)
        version = {"version": wheel.version, "sha256": wheel.sha256, "filename": wheel.filename, "at": _now()}
        with self.changing() as entries:
            held = entries.get(wheel.connector)
            if held is None:
                if canary:
                    raise CatalogueError(
                        f"{wheel.connector} is not installed; a canary is a second version beside the one in use"
                    )
                held = entries[wheel.connector] = {
                    "previous": None,
                    "canary": None,
                    "pinned": False,
                    "tenants": tenants or [EVERYONE],
                }
                held["current"] = version
            elif canary:
                held["canary"] = {**version, "tenants": sorted(canary)}
            elif held["current"]["version"] != wheel.version:
                if held["pinned"]:
                    raise CatalogueError(
                        f"{wheel.connector} is pinned to {held['current']['version']}: `hub plugin unpin` first"
                    )
                held |= {"previous": held["current"], "current": version, "canary": None}
            held |= {"state": "installed", "reason": ""}
            return dict(held)

    def rollback(self, connector: str, reason: str) -> str:
        """Back to the version before, or the canary's end; returns the version that is in use now."""
        with self.changing() as entries:
            held = _entry(entries, connector)
            if held["canary"]:
                left, held["canary"] = held["canary"]["version"], None
            elif held["previous"]:
                left = held["current"]["version"]
                held |= {"current": held["previous"], "previous": None}
            else:
                raise CatalogueError(f"{connector} {held['current']['version']} has no version before it here")
            held["rolled_back"] = {"version": left, "reason": reason, "at": _now()}
            return str(held["current"]["version"])

    def promote(self, connector: str) -> str:
        """The canary's version for every tenant."""
        with self.changing() as entries:
            held = _entry(entries, connector)
            if not held["canary"]:
                raise CatalogueError(f"{connector} has no canary")
            version = {key: value for key, value in held["canary"].items() if key != "tenants"}
            held |= {"previous": held["current"], "current": {**version, "at": _now()}, "canary": None}
            return str(version["version"])

    def pin(self, connector: str, pinned: bool) -> None:
        """Keep the version that is in use, whatever is published."""
        with self.changing() as entries:
            _entry(entries, connector)["pinned"] = pinned

    def enable(self, connector: str, tenant: str, enabled: bool) -> list[str]:
        """Let a tenant use a connector, or not; returns who may."""
        with self.changing() as entries:
            held = _entry(entries, connector)
            known = set(held["tenants"])
            if enabled and tenant != EVERYONE:
                known = (known - {EVERYONE}) | {tenant}
            elif enabled:
                known = {EVERYONE}
            elif EVERYONE in known and tenant != EVERYONE:
                raise CatalogueError(
                    f"{connector} is enabled for everyone: enable the tenants that may use it one by one instead"
                )
            else:
                known = set() if tenant == EVERYONE else known - {tenant}
            held["tenants"] = sorted(known)
            return list(held["tenants"])

    def remove(self, connector: str) -> None:
        """Forget a connector; its wheel stays, for the record."""
        with self.changing() as entries:
            _entry(entries, connector)
            del entries[connector]

    def heed(self, records: list[Entry]) -> dict[str, str]:
        """Disable what was revoked (a revoked canary just ends); returns connector → why, of what is new."""
        found = {}
        states = {(item["connector"], item["version"], item["sha256"]): item for item in records}
        entries = self.read()
        if not any(self._revoked(states, name, held) for name, held in entries.items()):
            return {}
        with self.changing() as entries:
            for name, held in entries.items():
                for which, why in self._revoked(states, name, held).items():
                    if which == "canary":
                        held["canary"] = None
                    elif which == "current":
                        held |= {"state": "revoked", "reason": why}
                        found[name] = why
        return found

    @staticmethod
    def _revoked(states: Mapping[Any, Entry], name: str, held: Entry) -> dict[str, str]:
        found = {}
        for which in ("current", "canary"):
            version = held[which]
            record = states.get((name, version["version"], version["sha256"])) if version else None
            if record is not None and record["state"] == "revoked" and not (which == "current" and held["state"] == "revoked"):
                found[which] = f"{name} {version['version']} was revoked: {record['reason']}"
        return found

    # -- what runs ----------------------------------------------------------------------------------------------

    def adopted(self, catalogue: Catalogue | None) -> tuple[list[Adopted], dict[str, str]]:
        """(every connector whose files are what was signed; those that are not, with the reason)."""
        entries = self.read()
        if not entries:
            return [], {}
        if catalogue is None:
            return [], dict.fromkeys(entries, "HUB_CATALOGUE names no catalogue, so nothing here can be verified")
        try:
            records, _ = catalogue.known()
        except CatalogueError as error:
            return [], dict.fromkeys(entries, str(error))
        found, refused = [], {}
        for name, held in entries.items():
            try:
                tenants = None if EVERYONE in held["tenants"] else frozenset(held["tenants"])
                disabled = held["reason"] if held["state"] == "revoked" else ""
                canary, whose = None, frozenset[str]()
                if held["canary"]:
                    canary, whose = self._verified(name, held["canary"], records), frozenset(held["canary"]["tenants"])
                found.append(Adopted(name, self._verified(name, held["current"], records), tenants, canary, whose, disabled))
            except (CatalogueError, WheelRefusedError, OSError) as error:
                refused[name] = str(error)
        return found, refused

    def _verified(self, name: str, version: Entry, records: list[Entry]) -> Environment:
        """The environment of a version, after every byte of it was compared with what publisher and reviewer signed."""
        known = [item for item in records if (item["connector"], item["version"]) == (name, version["version"])]
        if not any(item["sha256"] == version["sha256"] and item["state"] != "rejected" for item in known):
            raise CatalogueError(f"no reviewer has signed this wheel of {name} {version['version']}")
        content = (self.home / "wheels" / f"{version['sha256']}.whl").read_bytes()
        if sha256(content).hexdigest() != version["sha256"]:
            raise CatalogueError(f"the wheel of {name} {version['version']} is not the one in the lock file: install it again")
        wheel = inspect(content, version["filename"])
        environment = of_files(self.home, _distribution(wheel), wheel.package, wheel.files)
        if digest_of(content_of(environment)) != environment.digest:
            raise CatalogueError(
                f"files of {name} {version['version']} in {environment.folder} were changed: remove that folder"
            )
        return environment


def _entry(entries: Mapping[str, Entry], connector: str) -> Entry:
    if connector not in entries:
        raise CatalogueError(
            f"{connector} is not installed from the catalogue; there is {', '.join(sorted(entries)) or 'nothing'}"
        )
    return entries[connector]


def _distribution(wheel: Wheel) -> str:
    return f"{wheel.distribution} {wheel.version}"


def _now() -> str:
    return datetime.now(UTC).isoformat()
