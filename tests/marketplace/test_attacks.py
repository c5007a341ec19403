"""S10: eight attacks on a repository, each against a hub that trusts it; nothing is installed by any of them."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, TargetFile, Targets

from hub.marketplace.client import Catalogue, StaleError, chosen
from hub.marketplace.installed import Installed
from hub.marketplace.keys import make_key, read_key
from hub.marketplace.repository import CatalogueError, Repository, path_of, sign_release
from hub.marketplace.review import decided
from hub.marketplace.wheel import build
from hub.runtime.download import MAX_BYTES, Download
from marketplace.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """With one listed version, which a hub has seen."""
    shelf = Shelf(tmp_path)
    shelf.list(shelf.plugin())
    assert [item["version"] for item in shelf.catalogue().refresh()] == ["0.1.0"]
    return shelf


def refused(shelf: Shelf, words: str, version: str = "", catalogue: Catalogue | None = None) -> None:
    source = catalogue or shelf.catalogue()
    with pytest.raises(CatalogueError, match=words):
        Installed(shelf.home).install(source, chosen(source.refresh(), "acme", version))
    assert Installed(shelf.home).read() == {}


def poison(folder: Path) -> None:
    (folder / "connector.py").write_text((folder / "connector.py").read_text() + "\nPOISON = True\n")


def test_without_an_attack_it_is_installed(shelf: Shelf) -> None:
    shelf.install("acme")

    assert Installed(shelf.home).read()["acme"]["current"]["version"] == "0.1.0"


def test_arbitrary_software(shelf: Shelf, tmp_path: Path) -> None:
    (wheel,) = (shelf.folder / "targets/plugins").rglob("*.whl")
    wheel.write_bytes(build(shelf.plugin(edit=poison)).content)
    refused(shelf, "LengthOrHashMismatch|DownloadLengthMismatch")

    # A whole catalogue of the attacker's own, in place of the one that is trusted.
    (tmp_path / "evil").mkdir()
    evil = Shelf(tmp_path / "evil")
    evil.list(evil.plugin(edit=poison))
    evil.repository.renew()
    evil.repository.renew()
    shutil.rmtree(shelf.folder)
    shutil.copytree(evil.folder, shelf.folder)
    refused(shelf, "UnsignedMetadata|not signed|signed by")


def test_rollback(shelf: Shelf, tmp_path: Path) -> None:
    shutil.copytree(shelf.folder, tmp_path / "old")
    shelf.mark("acme", "0.1.0", "revoked")
    assert shelf.catalogue().refresh()[0]["state"] == "revoked"
    shutil.rmtree(shelf.folder)
    shutil.copytree(tmp_path / "old", shelf.folder)

    refused(shelf, "BadVersionNumber")


def test_freeze(shelf: Shelf) -> None:
    with pytest.MonkeyPatch.context() as patch:
        import tuf.ngclient._internal.trusted_metadata_set as inside

        class Later(inside.datetime.datetime):  # type: ignore[name-defined,misc]
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return super().now(tz) + timedelta(days=2)

        patch.setattr(inside.datetime, "datetime", Later)
        with pytest.raises(StaleError, match="nothing can be said about what is new"):
            shelf.catalogue().refresh()
        refused(shelf, "expired")


def test_mix_and_match(shelf: Shelf) -> None:
    """Yesterday's reviews under today's snapshot: the revocation in between would be gone."""
    before = {path.name: path.read_bytes() for path in (shelf.folder / "metadata").iterdir()}
    newest = max(path.name for path in (shelf.folder / "metadata").glob("*.reviewers.json"))
    shelf.mark("acme", "0.1.0", "revoked")
    renewed = max(path.name for path in (shelf.folder / "metadata").glob("*.reviewers.json"))
    assert newest != renewed
    (shelf.folder / "metadata" / renewed).write_bytes(before[newest])

    refused(shelf, "LengthOrHashMismatch|BadVersionNumber")


def test_wrong_software(shelf: Shelf) -> None:
    """Signed, but another connector's; or signed by somebody whose connector it is not, with the online key in their hands."""
    globex = shelf.list(shelf.plugin("globex"))
    (place,) = (shelf.folder / "targets/plugins/acme").rglob("*.whl")
    (other,) = (shelf.folder / "targets/plugins/globex").rglob("*.whl")
    shutil.copy(other, place)
    refused(shelf, "LengthOrHashMismatch|DownloadLengthMismatch")
    assert globex.connector == "globex"

    mallory = make_key(shelf.folder.parent / "mallory.key")
    shelf.repository.add_publisher("mallory", mallory.public_key, ["vandelay"])
    wheel = build(shelf.plugin(version="0.9.0", edit=poison))
    role, _ = shelf.repository.published("mallory")
    metadata = sign_release(role, wheel, mallory, shelf.now + timedelta(days=1))
    with pytest.raises(CatalogueError, match="own connectors"):
        shelf.repository.submit("mallory", metadata, wheel.content, wheel.filename)
    # Past the door: mallory's role is published with acme's path in it, and a reviewer was deceived.
    _inject(shelf, "publisher-mallory", metadata, wheel)
    refused(shelf, "no publisher who may has signed it", "0.9.0")


def test_endless_data(shelf: Shelf) -> None:
    sent = []

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent.append(connection.send(b"0" * 65536))

    with _server(endless) as url, pytest.raises(CatalogueError, match=r"DownloadError|DownloadLengthMismatch"):
        _elsewhere(shelf, url).refresh()
    assert sum(sent) < 2 * MAX_BYTES


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-"], ids=["body", "headers"])
def test_slow_retrieval(shelf: Shelf, head: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.send(b"0")
            time.sleep(0.05)

    with _server(drip) as url, pytest.raises(CatalogueError, match="not here after 1 s"):
        _elsewhere(shelf, url, seconds=1.0).refresh()


def test_one_role_compromised_the_publisher(shelf: Shelf) -> None:
    """A stolen publisher's key, and the online key: what no reviewer has signed is not there."""
    wheel = build(shelf.plugin(version="0.2.0", edit=poison))
    role, _ = shelf.repository.published("acme-inc")
    metadata = sign_release(role, wheel, shelf.publisher, shelf.now + timedelta(days=1))
    _inject(shelf, "publisher-acme-inc", metadata, wheel, record=False)

    refused(shelf, "has no version 0.2.0", "0.2.0")


def test_one_role_compromised_the_reviewer(shelf: Shelf) -> None:
    """A stolen reviewer's key, and the online key: a wheel that no publisher has signed is not installed."""
    wheel = build(shelf.plugin(version="0.2.0", edit=poison))
    _inject(shelf, "", b"", wheel)

    refused(shelf, "no publisher who may has signed it", "0.2.0")


@pytest.mark.parametrize("stolen", ["online", "targets"])
def test_one_role_compromised_of_the_owner(shelf: Shelf, stolen: str) -> None:
    """The online key, or the targets key, alone: neither signs wheels or reviews that a hub takes."""
    mallory = make_key(shelf.folder.parent / "mallory.key")
    wheel = build(shelf.plugin(version="0.2.0", edit=poison))
    thief = Repository(shelf.folder, shelf.keys)
    if stolen == "online":
        role, _ = thief.published("acme-inc")
        role.signatures.clear()
        role.signed.targets[path_of(wheel)] = TargetFile.from_data(path_of(wheel), wheel.content)
        role.signed.version += 1
        role.sign(mallory)
        _inject(shelf, "publisher-acme-inc", role.to_bytes(), wheel, record=False)
        refused(shelf, "has no version 0.2.0|UnsignedMetadata", "0.2.0")
    else:
        # Another delegation for acme's path, in the very version that the snapshot names.
        targets = thief._targets()
        targets.signed.add_key(mallory.public_key, "publisher-acme-inc")
        targets.signatures.clear()
        targets.sign(read_key(shelf.keys / "targets.key"))
        newest = max((shelf.folder / "metadata").glob("*.targets.json"), key=lambda path: int(path.name.partition(".")[0]))
        newest.write_bytes(targets.to_bytes())
        shutil.rmtree(shelf.home)  # a hub that has seen nothing yet
        refused(shelf, "LengthOrHashMismatch|DownloadLengthMismatch")


def _inject(shelf: Shelf, role: str, metadata: bytes, wheel: Any, record: bool = True) -> None:
    """What somebody can do who holds the online key (and a reviewer's, for the record) and writes into the folder."""
    repository = shelf.repository
    place = shelf.folder / "targets" / Path(path_of(wheel)).parent
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{wheel.sha256}.{wheel.filename}").write_bytes(wheel.content)
    if role:
        version = Metadata[Targets].from_bytes(metadata).signed.version
        (shelf.folder / f"metadata/{version}.{role}.json").write_bytes(metadata)
    if record:
        known = repository.records()[0]
        forged = decided({**known, "version": wheel.version, "sha256": wheel.sha256, "filename": wheel.filename, "since": None},
                         "listed", "fine", "grace", shelf.now)  # fmt: skip
        repository._sign_records([known, forged], shelf.reviewer)
    else:
        repository._publish()


def _elsewhere(shelf: Shelf, url: str, seconds: float = 20.0) -> Catalogue:
    return Catalogue(shelf.home, url, Download(seconds))


@contextmanager
def _server(work: Callable[[socket.socket], None]) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    work(connection)
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def test_the_lock_file_is_readable_by_people(shelf: Shelf) -> None:
    shelf.install("acme")

    held = json.loads((shelf.home / "plugins.lock.json").read_text())["plugins"]["acme"]
    assert held["current"]["sha256"] == shelf.repository.records()[0]["sha256"]


def test_a_stolen_publishers_key_changes_nothing_that_was_reviewed(shelf: Shelf) -> None:
    """With the online key too: another wheel under the path and version that a reviewer has listed."""
    poisoned = build(shelf.plugin(edit=poison))
    role, _ = shelf.repository.published("acme-inc")
    role.signed.targets[path_of(poisoned)] = TargetFile.from_data(path_of(poisoned), poisoned.content)
    role.signed.version += 1
    role.signatures.clear()
    role.sign(shelf.publisher)
    _inject(shelf, "publisher-acme-inc", role.to_bytes(), poisoned, record=False)

    refused(shelf, "is not the wheel that was reviewed")


def test_a_release_takes_nothing_back_and_changes_nothing(shelf: Shelf) -> None:
    wheel, poisoned = build(shelf.plugin(version="0.2.0")), build(shelf.plugin(edit=poison))
    for change in ("changed", "gone"):
        role, _ = shelf.repository.published("acme-inc")
        Metadata[Targets].from_bytes(sign_release(role, wheel, shelf.publisher, shelf.now + timedelta(days=1)))
        if change == "changed":
            role.signed.targets[path_of(poisoned)] = TargetFile.from_data(path_of(poisoned), poisoned.content)
        else:
            del role.signed.targets[path_of(poisoned)]
        role.signatures.clear()
        role.sign(shelf.publisher)
        with pytest.raises(CatalogueError, match="is released and cannot be changed or taken away"):
            shelf.repository.submit("acme-inc", role.to_bytes(), wheel.content, wheel.filename)
    assert shelf.repository.queue() == []
