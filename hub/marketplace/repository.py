"""The catalogue as a folder that any web server can serve: TUF metadata and wheels, a queue for what waits for review.

Who may say what (`docs/explanation/trust.md`): the owner's `root` and `targets` keys name publishers and reviewers; a publisher
signs the wheels of its connectors and no others; reviewers sign `reviews.json`, the records of what was decided; one key that
stays online signs `snapshot` and `timestamp`. Nothing is installed without a publisher's and a reviewer's signature.
Source: The Update Framework 1.0.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fcntl import LOCK_EX, flock
from hashlib import sha256
from pathlib import Path
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from hub.marketplace.keys import make_key, read_key
from hub.marketplace.wheel import Wheel, inspect

REVIEWS, REVIEWERS = "reviews.json", "reviewers"
_OWNED = ("root", "targets", "online")
_EXPIRES = {
    "root": timedelta(days=730),
    "targets": timedelta(days=365),
    "snapshot": timedelta(days=7),
    "timestamp": timedelta(days=1),
}
_ROLE = timedelta(days=365)
_NAME = re.compile(r"[a-z][a-z0-9-]{1,39}")


class CatalogueError(ValueError):
    """The catalogue does not take it; the text says why and what to do."""


def path_of(wheel: Wheel) -> str:
    """Where a wheel is among the targets."""
    return f"plugins/{wheel.connector}/{wheel.version}/{wheel.filename}"


class Repository:
    """A catalogue's folder. ``keys``: folder of the owner's keys, for what needs them."""

    def __init__(self, folder: Path, keys: Path | None = None, clock: Any = None) -> None:
        self._folder, self._keys = folder, keys
        self._clock = clock or (lambda: datetime.now(UTC))

    @classmethod
    def create(cls, folder: Path, keys: Path, clock: Any = None) -> "Repository":
        """A new, empty catalogue, and its owner's keys."""
        if (folder / "metadata").exists():
            raise CatalogueError(f"{folder} is a catalogue already")
        made = cls(folder, keys, clock)
        signers = {name: make_key(keys / f"{name}.key") for name in _OWNED}
        (folder / "metadata").mkdir(parents=True)
        (folder / "targets").mkdir()
        root = Root(1, expires=made._until("root"))
        for role, name in (("root", "root"), ("targets", "targets"), ("snapshot", "online"), ("timestamp", "online")):
            root.add_key(signers[name].public_key, role)
        made._write(Metadata(root), "root", [signers["root"]])
        targets = Targets(1, expires=made._until("targets"), delegations=Delegations({}, {}))
        made._write(Metadata(targets), "targets", [signers["targets"]])
        made._write(Metadata(Snapshot(1, expires=made._until("snapshot"), meta={"targets.json": MetaFile(1)})), "snapshot",
                    [signers["online"]])  # fmt: skip
        made._write(Metadata(Timestamp(1, expires=made._until("timestamp"), snapshot_meta=MetaFile(1))), "timestamp",
                    [signers["online"]])  # fmt: skip
        return made

    # -- people -------------------------------------------------------------------------------------------------

    def add_publisher(self, name: str, key: Key, connectors: list[str], despite_likeness: bool = False) -> None:
        """Let ``key`` publish ``connectors``; more of them, or another key, for one that is known. One name, one publisher."""
        if not _NAME.fullmatch(name) or name == REVIEWERS:
            raise CatalogueError(f"{name!r}: lower-case letters, digits and -, 2 to 40 of them, a letter first")
        taken = {connector: owner for owner, owned in self.publishers().items() for connector in owned if owner != name}
        for connector in connectors:
            if not re.fullmatch(r"[a-z][a-z0-9_]{1,39}", connector):
                raise CatalogueError(f"{connector!r} is no connector's name")
            if connector in taken:
                raise CatalogueError(f"connector {connector} belongs to {taken[connector]}")
            if not despite_likeness and (like := [known for known in taken if _alike(connector, known)]):
                raise CatalogueError(f"connector {connector} could be taken for {', '.join(like)}; choose another name")
        known = self.publishers().get(name, [])
        paths = [f"plugins/{connector}/*/*" for connector in sorted({*known, *connectors})]
        self._delegate(f"publisher-{name}", key, paths)

    def add_reviewer(self, key: Key) -> None:
        """Let ``key`` decide about what is submitted."""
        self._delegate(REVIEWERS, key, [REVIEWS])

    def publishers(self) -> dict[str, list[str]]:
        """Publisher → its connectors."""
        roles = _roles(self._targets())
        return {
            name.removeprefix("publisher-"): [path.split("/")[1] for path in role.paths or []]
            for name, role in roles.items()
            if name.startswith("publisher-")
        }

    # -- submissions --------------------------------------------------------------------------------------------

    def published(self, publisher: str) -> tuple["Metadata[Targets]", list[dict[str, Any]]]:
        """What a publisher signed last, to sign the next release on top of it, and the records."""
        return self._role(f"publisher-{publisher}"), self.records()

    def submit(self, publisher: str, metadata: bytes, content: bytes, filename: str) -> Wheel:
        """Take a release into the queue: signed by the publisher, nothing of what was released before changed."""
        wheel = inspect(content, filename)
        name = f"publisher-{publisher}"
        with self._locked():
            self._verified(name, metadata)
            new = Metadata[Targets].from_bytes(metadata).signed
            old = self._role(name).signed
            if new.version != old.version + 1:
                raise CatalogueError(f"the release follows version {new.version - 1} of {publisher}, not {old.version}: "
                                     "prepare it again")  # fmt: skip
            if changed := [path for path, target in old.targets.items() if new.targets.get(path) != target]:
                raise CatalogueError(f"{changed[0]} is released and cannot be changed or taken away; publish another version")
            added = new.targets.keys() - old.targets.keys()
            if added != {path_of(wheel)} or wheel.connector not in self.publishers()[publisher]:
                raise CatalogueError(
                    f"one new wheel of {publisher}'s own connectors at a time, not {', '.join(sorted(added)) or 'none'}"
                )
            new.targets[path_of(wheel)].verify_length_and_hashes(content)
            waiting = [item for item in self.queue() if item["publisher"] == publisher]
            if waiting:
                raise CatalogueError(
                    f"{waiting[0]['connector']} {waiting[0]['version']} of {publisher} waits for review; one at a time"
                )
            place = self._folder / "queue" / f"{wheel.connector}-{wheel.version}"
            place.mkdir(parents=True)
            (place / wheel.filename).write_bytes(content)
            (place / "metadata.json").write_bytes(metadata)
            told = {"connector": wheel.connector, "version": wheel.version, "publisher": publisher, "filename": wheel.filename,
                    "sha256": wheel.sha256, "at": self._clock().isoformat()}  # fmt: skip
            (place / "submission.json").write_text(json.dumps(told, indent=2))
        return wheel

    def queue(self) -> list[dict[str, Any]]:
        """What waits for review, oldest first."""
        found = [json.loads(path.read_text()) for path in (self._folder / "queue").glob("*/submission.json")]
        return sorted(found, key=lambda item: str(item["at"]))

    def submitted(self, connector: str, version: str) -> tuple[dict[str, Any], Wheel]:
        """A submission and its wheel."""
        place = self._folder / "queue" / f"{connector}-{version}"
        if not place.is_dir():
            raise CatalogueError(f"nothing of {connector} {version} waits for review")
        told = json.loads((place / "submission.json").read_text())
        return told, inspect((place / told["filename"]).read_bytes(), told["filename"])

    def records(self) -> list[dict[str, Any]]:
        """The reviewers' records as they stand."""
        targets = self._role(REVIEWERS).signed.targets if self._newest(REVIEWERS) else {}
        if REVIEWS not in targets:
            return []
        (digest,) = targets[REVIEWS].hashes.values()
        found: list[dict[str, Any]] = json.loads((self._folder / "targets" / f"{digest}.{REVIEWS}").read_text())["records"]
        return found

    def decide(self, record: Mapping[str, Any], signer: CryptoSigner) -> None:
        """Record a verdict about what waits; with state `listed` the wheel becomes installable."""
        told, wheel = self.submitted(record["connector"], record["version"])
        place = self._folder / "queue" / f"{wheel.connector}-{wheel.version}"
        with self._locked():
            if record["sha256"] != wheel.sha256:
                raise CatalogueError(f"the record is about another wheel than the one that waits ({told['sha256'][:12]})")
            if any((item["connector"], item["version"]) == (wheel.connector, wheel.version) and item["state"] != "rejected"
                   for item in self.records()):  # fmt: skip
                raise CatalogueError(f"{wheel.connector} {wheel.version} is decided; versions are not decided twice")
            if record["state"] == "listed":
                role = f"publisher-{told['publisher']}"
                metadata = (place / "metadata.json").read_bytes()
                self._verified(role, metadata)
                folder = self._folder / "targets" / Path(path_of(wheel)).parent
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{wheel.sha256}.{wheel.filename}").write_bytes(wheel.content)
                self._file(role, Metadata.from_bytes(metadata).signed.version).write_bytes(metadata)
            self._sign_records([*self.records(), dict(record)], signer)
            for path in place.iterdir():
                path.unlink()
            place.rmdir()

    def mark(self, connector: str, version: str, state: str, reason: str, by: str, signer: CryptoSigner) -> None:
        """Change what may be done with a listed version: `yanked` (no new installs) or `revoked` (nowhere any more)."""
        with self._locked():
            records = self.records()
            found = [item for item in records if (item["connector"], item["version"]) == (connector, version)
                     and item["state"] not in ("rejected",)]  # fmt: skip
            if not found:
                raise CatalogueError(f"{connector} {version} was never listed here")
            at = self._clock().isoformat()
            found[-1]["history"] = [*found[-1].get("history", []), {"state": state, "reason": reason, "by": by, "at": at}]
            found[-1] |= {"state": state, "reason": reason}
            self._sign_records(records, signer)

    def renew(self) -> None:
        """Sign snapshot and timestamp anew: what a catalogue does at least daily, to prove that it hides nothing newer."""
        with self._locked():
            self._publish()

    # -- metadata -----------------------------------------------------------------------------------------------

    def _sign_records(self, records: list[dict[str, Any]], signer: CryptoSigner) -> None:
        content = json.dumps({"records": records}, indent=1, sort_keys=True).encode()
        target = TargetFile.from_data(REVIEWS, content)
        (digest,) = target.hashes.values()
        role = self._role(REVIEWERS)
        role.signed.targets[REVIEWS] = target
        role.signed.version += 1
        role.signed.expires = self._clock() + _ROLE
        role.signatures.clear()
        role.sign(signer)
        self._verified(REVIEWERS, role.to_bytes())
        (self._folder / "targets" / f"{digest}.{REVIEWS}").write_bytes(content)
        self._write(role, REVIEWERS, [])
        self._publish()

    def _delegate(self, name: str, key: Key, paths: list[str]) -> None:
        with self._locked():
            targets = self._targets()
            role = _roles(targets).get(name)
            if role is None:
                role = _roles(targets)[name] = DelegatedRole(name, [], 1, True, paths=paths)
                empty = Targets(1, expires=self._clock() + _ROLE)
                self._write(Metadata(empty), name, [])
            role.paths = paths
            targets.signed.add_key(key, name)
            targets.signed.version += 1
            targets.signed.expires = self._until("targets")
            targets.signatures.clear()
            self._write(targets, "targets", [self._signer("targets")])
            self._publish()

    def _publish(self) -> None:
        """A snapshot of everything that is signed, and a timestamp of that."""
        online = self._signer("online")
        snapshot: Metadata[Snapshot] = self._load("snapshot")
        names = ["targets", *(name for name in _roles(self._targets()) if self._load(name).signatures)]
        # By length and hash, too: whoever holds one key cannot put another file of the same version in place.
        snapshot.signed.meta = {f"{name}.json": self._pointer(name) for name in names}
        snapshot.signed.version += 1
        snapshot.signed.expires = self._until("snapshot")
        snapshot.signatures.clear()
        self._write(snapshot, "snapshot", [online])
        timestamp: Metadata[Timestamp] = self._load("timestamp")
        timestamp.signed.snapshot_meta = self._pointer("snapshot")
        timestamp.signed.version += 1
        timestamp.signed.expires = self._until("timestamp")
        timestamp.signatures.clear()
        self._write(timestamp, "timestamp", [online])

    def _pointer(self, role: str) -> MetaFile:
        version = self._newest(role)
        content = self._file(role, version).read_bytes()
        return MetaFile(version, len(content), {"sha256": sha256(content).hexdigest()})

    def _verified(self, role: str, metadata: bytes) -> None:
        try:
            found = Metadata[Targets].from_bytes(metadata)
            self._targets().signed.verify_delegate(role, found.signed_bytes, found.signatures)
        except (RepositoryError, DeserializationError, ValueError) as error:
            raise CatalogueError(f"not signed by a key of {role.removeprefix('publisher-')}: {error}") from None

    def _targets(self) -> "Metadata[Targets]":
        return self._load("targets")

    def _role(self, name: str) -> "Metadata[Targets]":
        if name not in _roles(self._targets()):
            raise CatalogueError(f"the catalogue knows no {name.replace('-', ' ', 1)}; its owner adds one")
        return self._load(name)

    def _load(self, role: str) -> "Metadata[Any]":
        return Metadata.from_file(str(self._file(role, self._newest(role))))

    def _newest(self, role: str) -> int:
        pattern = re.compile(rf"(\d+)\.{re.escape(role)}\.json")
        names = (pattern.fullmatch(path.name) for path in (self._folder / "metadata").iterdir())
        return max((int(found[1]) for found in names if found), default=0)

    def _file(self, role: str, version: int) -> Path:
        return self._folder / "metadata" / ("timestamp.json" if role == "timestamp" else f"{version}.{role}.json")

    def _write(self, metadata: "Metadata[Any]", role: str, signers: list[CryptoSigner]) -> None:
        for signer in signers:
            metadata.sign(signer, append=True)
        path = self._file(role, metadata.signed.version)
        made = path.with_name(f".{path.name}")
        made.write_bytes(metadata.to_bytes())
        made.rename(path)

    def _signer(self, name: str) -> CryptoSigner:
        if self._keys is None:
            raise CatalogueError(f"this needs the owner's {name} key: name the folder of keys")
        return read_key(self._keys / f"{name}.key")

    def _until(self, role: str) -> datetime:
        until: datetime = (self._clock() + _EXPIRES[role]).replace(microsecond=0)
        return until

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as file:
            flock(file, LOCK_EX)
            yield


def published_at(get: Callable[[str], bytes], publisher: str) -> tuple["Metadata[Targets]", list[dict[str, Any]]]:
    """As `Repository.published`, of a catalogue that is only read (``get``: path → content)."""
    timestamp = Metadata[Timestamp].from_bytes(get("metadata/timestamp.json")).signed
    snapshot = Metadata[Snapshot].from_bytes(get(f"metadata/{timestamp.snapshot_meta.version}.snapshot.json")).signed

    def role(name: str) -> "Metadata[Targets]":
        known = snapshot.meta.get(f"{name}.json")
        return Metadata[Targets].from_bytes(get(f"metadata/{known.version if known else 1}.{name}.json"))

    reviews = role(REVIEWERS).signed.targets.get(REVIEWS) if f"{REVIEWERS}.json" in snapshot.meta else None
    if reviews is None:
        return role(f"publisher-{publisher}"), []
    (digest,) = reviews.hashes.values()
    found: list[dict[str, Any]] = json.loads(get(f"targets/{digest}.{REVIEWS}"))["records"]
    return role(f"publisher-{publisher}"), found


def _roles(targets: "Metadata[Targets]") -> dict[str, DelegatedRole]:
    assert targets.signed.delegations is not None
    roles = targets.signed.delegations.roles
    assert roles is not None
    return roles


def sign_release(role: "Metadata[Targets]", wheel: Wheel, signer: CryptoSigner, expires: datetime) -> bytes:
    """A publisher's role with one more wheel, in its next version, signed. What is signed again was signed by the same key."""
    path = path_of(wheel)
    if role.signed.targets:
        try:
            signer.public_key.verify_signature(role.signatures[signer.public_key.keyid], role.signed_bytes)
        except (KeyError, UnverifiedSignatureError):
            raise CatalogueError("what was released before is not signed by this key") from None
    if path in role.signed.targets:
        raise CatalogueError(f"{wheel.connector} {wheel.version} is released; versions are immutable, publish another one")
    role.signed.targets[path] = TargetFile.from_data(path, wheel.content)
    role.signed.version += 1
    role.signed.expires = expires.replace(microsecond=0)
    role.signatures.clear()
    role.sign(signer)
    return role.to_bytes()


def _alike(one: str, other: str) -> bool:
    """Whether a name could be taken for another: one letter more, less, other or swapped, or look-alikes."""
    plain = [re.sub(r"[_-]", "", name).translate(str.maketrans("01358", "olesb")) for name in (one, other)]
    a, b = sorted(plain, key=len)
    if a == b:
        return True
    if len(b) - len(a) > 1:
        return False
    if len(a) == len(b):
        differs = [index for index in range(len(a)) if a[index] != b[index]]
        swapped = len(differs) == 2 and a[differs[0]] == b[differs[1]] and a[differs[1]] == b[differs[0]]
        return len(differs) == 1 or (swapped and differs[1] - differs[0] == 1)
    return any(a == b[:index] + b[index + 1 :] for index in range(len(b)))
