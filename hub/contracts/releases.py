"""The governed contract and its released versions: the REST API, the event types, the connectors' manifests.

`openapi/releases/<version>/` is written once and never again; `SHA256SUMS` says so. `since` compares what is in the working
tree with a release; `approvals.yaml` says which of its breaking changes two people have agreed to.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from canonical.json_schema import standalone
from canonical.registry import TYPES
from hub.contracts.changes import ERR, SEVERITIES, Change
from hub.contracts.connectors import compare_connectors, described
from hub.contracts.diff import compare, compare_schemas
from hub.contracts.document import contract_folder, document
from hub.contracts.impact import impact
from hub.errors import HubError
from hub.sdk.connector import Connector

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_SUMS = "SHA256SUMS"
REMOVALS = ("operation-removed", "operation-removed-after-sunset")
#: So many people agree to a change that breaks somebody.
PEOPLE = 2


@dataclass(frozen=True)
class Contract:
    """Everything that others rely on, at one time."""

    openapi: Mapping[str, Any]
    events: Mapping[str, Any]
    connectors: Mapping[str, Any]

    def files(self) -> dict[str, bytes]:
        """What a release consists of."""
        option = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
        parts = {"openapi.json": self.openapi, "events.json": self.events, "connectors.json": self.connectors}
        return {name: orjson.dumps(part, option=option) + b"\n" for name, part in parts.items()}


@dataclass(frozen=True)
class Approval:
    """An agreement to one change, by its fingerprint."""

    fingerprint: str
    by: tuple[str, ...]
    reason: str


def working(connectors: Mapping[str, type[Connector]]) -> Contract:
    """The contract as it is in this tree, with the connectors that are installed."""
    events = {name: standalone(definition) for name, definition in TYPES.items()}
    return Contract(document(), events, {name: described(item.manifest) for name, item in connectors.items()})


def versions(folder: Path | None = None) -> list[str]:
    """Released versions, oldest first."""
    root = (folder or contract_folder()) / "releases"
    found = [path.name for path in root.iterdir() if _VERSION.fullmatch(path.name)] if root.is_dir() else []
    return sorted(found, key=numbers)


def follows(version: str, known: Sequence[str]) -> bool:
    """Whether a version may be the next after those (oldest first)."""
    return bool(_VERSION.fullmatch(version)) and (not known or numbers(version) > numbers(known[-1]))


def numbers(version: str) -> tuple[int, ...]:
    """For comparing versions."""
    return tuple(int(part) for part in version.split("."))


def load(version: str, folder: Path | None = None) -> Contract:
    """A released contract. Raises HubError `not_found`."""
    root = (folder or contract_folder()) / "releases" / version
    if not _VERSION.fullmatch(version) or not root.is_dir():
        raise HubError("not_found", f"no release {version}; there is {', '.join(versions(folder)) or 'none'}")
    parts = [orjson.loads((root / name).read_bytes()) for name in ("openapi.json", "events.json", "connectors.json")]
    return Contract(*parts)


def digest_of(version: str) -> str:
    """The digest of a release that came with this installation, as of a proposal."""
    return hashlib.sha256(b"".join(load(version).files().values())).hexdigest()


def tampered(folder: Path | None = None) -> list[str]:
    """Files of releases that are not what was released, or are missing."""
    root = (folder or contract_folder()) / "releases"
    wrong = []
    listed = set()
    for line in (root / _SUMS).read_text().splitlines() if (root / _SUMS).exists() else ():
        digest, _, name = line.partition("  ")
        listed.add(name)
        path = root / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            wrong.append(name)
    present = {str(path.relative_to(root)) for path in root.glob("*/*.json")} if root.is_dir() else set()
    return sorted([*wrong, *(present - listed)])


def since(old: Contract, new: Contract) -> list[Change]:
    """Every change between two contracts, worst first."""
    found = compare(old.openapi, new.openapi)
    for name in sorted(old.events.keys() | new.events.keys()):
        pointer = f"events#/{name}"
        if name not in new.events:
            found.append(Change("event-type-removed", ERR, name, pointer, name, None))
        elif name not in old.events:
            found.append(Change("event-type-added", "INFO", name, pointer, None, name))
        else:
            found += compare_schemas(old.events[name], new.events[name], name)
    found += compare_connectors(old.connectors, new.connectors)
    return sorted(found, key=lambda change: (SEVERITIES.index(change.severity), change.place, change.rule))


def approvals(folder: Path | None = None) -> dict[str, Approval]:
    """By fingerprint, what was agreed to. Raises HubError `invalid_document` that names the entry."""
    path = (folder or contract_folder()) / "approvals.yaml"
    loaded = yaml.safe_load(path.read_text("utf-8")) if path.exists() else None
    found = {}
    for index, entry in enumerate((loaded or {}).get("approvals") or ()):
        try:
            people = tuple(dict.fromkeys(str(person) for person in entry["by"]))
            approval = Approval(str(entry["fingerprint"]), people, str(entry["reason"]))
        except (KeyError, TypeError):
            raise HubError(
                "invalid_document", f"{path.name}: /approvals/{index}: needs fingerprint, by (a list), reason"
            ) from None
        found[approval.fingerprint] = approval
    return found


def unapproved(changes: list[Change], agreed: Mapping[str, Approval]) -> list[Change]:
    """Breaking changes to which fewer than two people have agreed."""
    return [
        change
        for change in changes
        if change.severity == ERR and len(agreed[change.fingerprint].by if change.fingerprint in agreed else ()) < PEOPLE
    ]


def release(
    version: str, contract: Contract, folder: Path | None = None, usage: Iterable[Mapping[str, Any]] = ()
) -> list[Change]:  # fmt: skip
    """Write a version for ever, with its changelog; returns what changed since the one before.

    ``usage``: who called what lately (rows of `Usage.callers`). Raises HubError `wrong_state` if the version does not follow
    the last one, a breaking change is not agreed to, or an operation would go that somebody still calls, agreed or not.
    """
    root = folder or contract_folder()
    known = versions(root)
    if not follows(version, known):
        raise HubError("wrong_state", f"{version} does not come after {known[-1] if known else '0.0.0'}")
    older = load(known[-1], root) if known else None
    changes = since(older, contract) if older else []
    for item in impact(changes, older.openapi, usage) if older else ():
        if item.callers and item.change.rule in REMOVALS:
            who = ", ".join(f"{caller.tenant_id} / {caller.client} (last on {caller.last_day})" for caller in item.callers)
            raise HubError("wrong_state", f"{item.change.place} is still called by {who}; keep it until they have moved")
    if missing := unapproved(changes, approvals(root)):
        names = ", ".join(change.fingerprint for change in missing)
        raise HubError("wrong_state", f"{len(missing)} breaking change(s) are not agreed to by {PEOPLE} people: {names}")
    write(version, contract, changes, root)
    return changes


def write(version: str, contract: Contract, changes: list[Change], folder: Path | None = None) -> None:
    """Write a version's files, their digests and its part of the changelog, after `release` or another hub has agreed to it."""
    root = folder or contract_folder()
    first = not versions(root)
    target = root / "releases" / version
    target.mkdir(parents=True)
    lines = []
    for name, content in contract.files().items():
        (target / name).write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {version}/{name}\n")
    with (root / "releases" / _SUMS).open("a") as sums:
        sums.writelines(lines)
    _write_changelog(root, version, changes, first)


def _write_changelog(root: Path, version: str, changes: list[Change], first: bool) -> None:
    path = root / "CHANGELOG.md"
    head = "# Changelog of the contract\n\nWritten by `hub contracts release`; newest first.\n"
    older = path.read_text("utf-8").removeprefix(head) if path.exists() else ""
    body = [f"\n## {version}\n"]
    if first:
        body.append("\nThe first governed version.\n")
    for severity, title in zip(SEVERITIES, ("Breaking, agreed to", "May concern you", "Compatible"), strict=True):
        lines = [
            f"- {change.text} [`{change.rule}`, {change.fingerprint}]\n" for change in changes if change.severity == severity
        ]
        body += [f"\n{title}:\n\n", *lines] if lines else []
    path.write_text(head + "".join(body) + older, "utf-8")
