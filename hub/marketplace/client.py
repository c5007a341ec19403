"""A catalogue as a hub sees it: nothing is believed that is not signed by who may say it, and nothing that is old."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version
from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, Targets
from tuf.ngclient import FetcherInterface, Updater

from canonical.registry import TYPES
from hub import __version__
from hub.marketplace.repository import REVIEWS, CatalogueError
from hub.marketplace.review import newest
from hub.marketplace.wheel import Wheel, inspect
from hub.runtime.download import Download

#: The newest major of the canonical language that this hub speaks.
_LANGUAGE = max(item.major for item in TYPES.values())


class StaleError(CatalogueError):
    """The catalogue's newest signature is too old: something hides what is new, or nobody has signed."""


class Catalogue:
    """A catalogue at ``url`` (a folder or http…), and what is known of it in ``home``."""

    def __init__(self, home: Path, url: str, fetcher: FetcherInterface | None = None) -> None:
        self._home, self._fetcher = home / "catalogue", fetcher or Download()
        self.url = url if "://" in url else Path(url).resolve().as_uri()
        self._updater: Updater | None = None

    def trust(self, fingerprint: str) -> str:
        """Begin to trust this catalogue: its first root must have the SHA-256 that its owner told. Returns the fingerprint."""
        content = self._told(lambda: self._fetcher.download_bytes(f"{self.url.rstrip('/')}/metadata/1.root.json", 512_000))
        found = sha256(content).hexdigest()
        if found != fingerprint.strip().lower():
            raise CatalogueError(f"the root of {self.url} has fingerprint {found}, not the one given: ask its owner")
        shutil.rmtree(self._home, ignore_errors=True)
        (self._home / "targets").mkdir(parents=True)
        (self._home / "first.root.json").write_bytes(content)
        return found

    @property
    def trusted(self) -> bool:
        """Whether `trust` was called."""
        return (self._home / "first.root.json").is_file()

    def refresh(self) -> list[dict[str, Any]]:
        """The reviewers' records as they are now; raises CatalogueError, StaleError."""
        self._updater = self._open(self._home / "metadata", self.url.rstrip("/"), self._fetcher)
        self._told(self._updater.refresh)
        return self._records(self._updater)

    def wheel(self, record: Mapping[str, Any]) -> Wheel:
        """The wheel of a record, signed by its publisher too; `refresh` first."""
        assert self._updater is not None
        updater = self._updater
        path = f"plugins/{record['connector']}/{record['version']}/{record['filename']}"
        target = self._told(lambda: updater.get_targetinfo(path))
        if target is None:
            raise CatalogueError(f"{path} is reviewed, but no publisher who may has signed it")
        place = self._told(lambda: updater.download_target(target, str(self._home / "targets" / "download.whl")))
        content = Path(place).read_bytes()
        if sha256(content).hexdigest() != record["sha256"]:
            raise CatalogueError(f"{path} is not the wheel that was reviewed")
        wheel = inspect(content, str(record["filename"]))
        if (wheel.connector, wheel.version) != (record["connector"], record["version"]):
            raise CatalogueError(f"{path} holds {wheel.connector} {wheel.version}")
        return wheel

    def known(self) -> tuple[list[dict[str, Any]], bool]:
        """The records as they were last seen, all signatures verified again, without asking anybody; whether they are stale."""
        with tempfile.TemporaryDirectory() as scratch:
            seen = _Seen(self._home / "metadata", self._home / "targets")
            updater = self._open(Path(scratch), "seen://", seen)
            try:
                updater.refresh()
                return self._records(updater, Path(scratch)), False
            except ExpiredMetadataError:
                return self._unsigned_by_time(), True
            except (RepositoryError, DownloadError, ValueError, KeyError) as error:
                raise CatalogueError(f"what is kept of the catalogue cannot be verified: {error}") from error

    def _unsigned_by_time(self) -> list[dict[str, Any]]:
        """Records whose signatures were good when they were fetched, and whose time is over: to go on with, not to install."""
        role = Metadata[Targets].from_file(str(self._home / "metadata/reviewers.json"))
        content = (self._home / "targets" / REVIEWS).read_bytes()
        role.signed.targets[REVIEWS].verify_length_and_hashes(content)
        found: list[dict[str, Any]] = json.loads(content)["records"]
        return found

    def _records(self, updater: Updater, folder: Path | None = None) -> list[dict[str, Any]]:
        try:
            target = self._told(lambda: updater.get_targetinfo(REVIEWS))
        except KeyError:  # no reviewer has signed anything yet
            return []
        if target is None:
            return []
        place = (folder or self._home / "targets") / REVIEWS
        content = Path(self._told(lambda: updater.download_target(target, str(place)))).read_bytes()
        found: list[dict[str, Any]] = json.loads(content)["records"]
        return found

    def _open(self, folder: Path, base: str, fetcher: FetcherInterface) -> Updater:
        if not self.trusted:
            raise CatalogueError(f"{self.url} is not trusted yet: `hub catalogue trust {self.url} --fingerprint …`")
        folder.mkdir(parents=True, exist_ok=True)
        first = (self._home / "first.root.json").read_bytes()
        (self._home / "targets").mkdir(exist_ok=True)
        return Updater(
            str(folder), f"{base}/metadata", str(self._home / "targets"), f"{base}/targets", fetcher, bootstrap=first
        )

    def _told(self, work: Any) -> Any:
        try:
            return work()
        except ExpiredMetadataError as error:
            raise StaleError(f"{self.url}: {error}; nothing can be said about what is new") from error
        except (RepositoryError, DownloadError, OSError) as error:
            raise CatalogueError(f"{self.url}: {type(error).__name__}: {error}") from error


class _Seen(FetcherInterface):
    """Serves what was fetched before, by the names it is asked for under."""

    def __init__(self, metadata: Path, targets: Path) -> None:
        self._metadata, self._targets = metadata, targets

    def _fetch(self, url: str) -> Any:
        kind, _, name = url.partition("://")[2].lstrip("/").partition("/")
        if kind == "metadata" and name.endswith(".root.json"):
            path = self._metadata / "root_history" / name
        elif kind == "metadata":
            number, _, rest = name.partition(".")
            path = self._metadata / (rest if number.isdigit() else name)
        else:
            path = self._targets / name.partition(".")[2]
        if not path.is_file():
            raise DownloadHTTPError(f"{path}: not kept", 404)
        return iter([path.read_bytes()])


def chosen(records: list[dict[str, Any]], connector: str, version: str = "") -> dict[str, Any]:
    """The record to install: the named version, or the newest that is listed and fits this hub; raises CatalogueError."""
    mine = [item for item in records if item["connector"] == connector and item["state"] != "rejected"]
    if not mine:
        raise CatalogueError(f"the catalogue lists no connector {connector!r}")
    if version:
        named = [item for item in mine if item["version"] == version]
        if not named:
            raise CatalogueError(f"{connector} has no version {version}; it has {', '.join(item['version'] for item in mine)}")
        mine = named
    usable = [item for item in mine if not unfit(item)]
    found = newest(usable)
    if found is None:
        raise CatalogueError(f"{connector} {mine[-1]['version']}: {'; '.join(unfit(mine[-1]))}")
    return dict(found)


def unfit(record: Mapping[str, Any]) -> list[str]:
    """Why this hub cannot install a version."""
    found = []
    if record["state"] != "listed":
        found.append(f"it is {record['state']}: {record['reason']}")
    if record["canonical"] > _LANGUAGE:
        found.append(f"it speaks major {record['canonical']} of the language, this hub {_LANGUAGE}")
    if record["requires"] and Version(__version__) not in SpecifierSet(record["requires"], prereleases=True):
        found.append(f"it asks for crossdock {record['requires']}, this hub is {__version__}")
    return found
