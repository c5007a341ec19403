"""What a reviewer reads and signs: what a version is, how it did in the kit, and what differs from the version before it.

The version follows from the difference, not from its author: what breaks a retailer's integration is a major one, what adds
(a read, a write, a host, another request on the wire) at least a minor one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from packaging.version import Version

from hub.contracts.changes import ERR, WARN, Change
from hub.contracts.connectors import compare_connectors, described
from hub.marketplace.repository import CatalogueError
from hub.marketplace.wheel import Wheel
from hub.runtime.environments import of_files
from hub.runtime.examination import examine

MAJOR, MINOR, PATCH = "major", "minor", "patch"
VERDICTS = ("listed", "rejected")


def assess(
    wheel: Wheel, publisher: str, records: Iterable[Mapping[str, Any]], home: Path, fences: Sequence[str]
) -> dict[str, Any]:
    """A record without a verdict: run the kit behind the fence, compare with the newest version that is listed."""
    environment = of_files(home, f"{wheel.distribution} {wheel.version}", wheel.package, wheel.files)
    found = (
        examine(environment, wheel.kit, fences) if wheel.kit else {"error": "the plugin names no kit (entry point hub.kits)"}
    )
    results: Any = found.get("results", [])
    contract = described(wheel.manifest)
    before = newest(
        [item for item in records if item["connector"] == wheel.connector and item["state"] in ("listed", "yanked")]
    )
    changes, bump = difference(before, contract, found.get("traffic", []))
    data = wheel.manifest.data
    return {
        "connector": wheel.connector, "version": wheel.version, "filename": wheel.filename, "sha256": wheel.sha256,
        "publisher": publisher, "name": data["name"], "kind": data["kind"], "summary": data["summary"],
        "canonical": data["canonical"], "requires": wheel.requires, "maintainers": list(wheel.maintainers),
        "contract": contract, "tier": found.get("tier", ""), "error": found.get("error", ""),
        "waivers": found.get("waivers", {}), "incidents": found.get("incidents", []), "traffic": found.get("traffic", []),
        "failed": [[rule, lines] for rule, outcome, lines in results if outcome in ("failed", "not judged")],
        "since": before["version"] if before else None, "changes": changes, "bump": bump,
        "needed": needed(before["version"], bump) if before else wheel.version,
    }  # fmt: skip


def obstacles(record: Mapping[str, Any]) -> list[str]:
    """Why a version cannot be listed, whoever wants it."""
    found = []
    if record["error"]:
        found.append(f"the kit could not judge it: {record['error'].splitlines()[0]}")
    elif not record["tier"]:
        found.append("it has no tier: " + "; ".join(f"{item[0]} ({', '.join(item[1][:1])})" for item in record["failed"][:5]))
    if record["since"] and Version(record["version"]) < Version(record["needed"]):
        why = ", ".join(sorted({change["rule"] for change in record["changes"]}))
        found.append(f"version {record['version']} after {record['since']} is less than {record['needed']}, which "
                     f"its changes ask for ({why})")  # fmt: skip
    if record["incidents"]:
        found.append(f"behind the fence it tried: {record['incidents'][0]}")
    return found


def decided(record: Mapping[str, Any], verdict: str, reason: str, by: str, now: datetime) -> dict[str, Any]:
    """The record with a verdict; raises CatalogueError if it cannot be had."""
    if verdict not in VERDICTS:
        raise CatalogueError(f"{verdict!r}: {' or '.join(VERDICTS)}")
    if verdict == "listed" and (why := obstacles(record)):
        raise CatalogueError("; ".join(why))
    at = now.isoformat()
    history = [{"state": verdict, "reason": reason, "by": by, "at": at}]
    return {**record, "state": verdict, "reason": reason, "at": at, "history": history}


def difference(
    before: Mapping[str, Any] | None, contract: Mapping[str, Any], traffic: Sequence[str]
) -> tuple[list[dict[str, Any]], str]:
    """(changes since a record, the least kind of version they ask for)."""
    if before is None:
        return [], MAJOR
    name = before["connector"]
    changes = compare_connectors({name: before["contract"]}, {name: contract})
    shown = [asdict(change) for change in changes]
    for line in sorted(set(before["traffic"]) ^ set(traffic)):
        gone = line in before["traffic"]
        shown.append(
            asdict(Change("traffic-changed", WARN, line, f"connectors#/{name}", line if gone else None, None if gone else line))
        )
    if any(change.severity == ERR for change in changes):
        return shown, MAJOR
    return shown, MINOR if shown else PATCH


def needed(before: str, bump: str) -> str:
    """The least version after ``before``; below 1.0.0 a breaking change raises the second number, as is the custom."""
    major, minor, patch = Version(before).release
    if bump == MAJOR:
        return f"{major + 1}.0.0" if major else f"0.{minor + 1}.0"
    return f"{major}.{minor + 1}.0" if bump == MINOR and major else f"{major}.{minor}.{patch + 1}"


def newest(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The record of the highest version."""
    return max(records, key=lambda item: Version(item["version"]), default=None)
