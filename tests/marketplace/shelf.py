"""A catalogue with its people, and plugins to put into it."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hub.marketplace.client import Catalogue, chosen
from hub.marketplace.installed import Installed
from hub.marketplace.keys import make_key
from hub.marketplace.repository import Repository, sign_release
from hub.marketplace.review import assess, decided
from hub.marketplace.wheel import Wheel, build
from hub.sdk.scaffold import scaffold

FENCES = ("files", "calls")


class Shelf:
    """A catalogue in a folder, its owner, a publisher of `acme` and `globex`, a reviewer, and a hub's plugins folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys, self.home = folder / "catalogue", folder / "keys", folder / "plugins"
        self.now = datetime.now(UTC)
        self.repository = Repository.create(self.folder, self.keys, lambda: self.now)
        self.publisher, self.reviewer = make_key(folder / "publisher.key"), make_key(folder / "reviewer.key")
        self.repository.add_publisher("acme-inc", self.publisher.public_key, ["acme", "globex"])
        self.repository.add_reviewer(self.reviewer.public_key)
        self._folder = folder

    def plugin(
        self, name: str = "acme", kind: str = "stock", version: str = "0.1.0", edit: Callable[[Path], None] | None = None
    ) -> Path:
        """A plugin's folder, as `hub plugin new` writes it, under another version."""
        folder = self._folder / f"{name}-{version}-{len(list(self._folder.iterdir()))}"
        scaffold(name, kind, "", folder)
        for path in (folder / "pyproject.toml", folder / f"hub_{name}/connector.yaml"):
            path.write_text(path.read_text().replace("0.1.0", version))
        if edit is not None:
            edit(folder / f"hub_{name}")
        return folder

    def submit(self, folder: Path) -> Wheel:
        wheel = build(folder)
        role, _ = self.repository.published("acme-inc")
        metadata = sign_release(role, wheel, self.publisher, self.now + timedelta(days=365))
        self.repository.submit("acme-inc", metadata, wheel.content, wheel.filename)
        return wheel

    def assessed(self, wheel: Wheel) -> dict[str, Any]:
        return assess(wheel, "acme-inc", self.repository.records(), self.home, FENCES)

    def list(self, folder: Path) -> Wheel:
        """Submitted and approved."""
        wheel = self.submit(folder)
        self.repository.decide(decided(self.assessed(wheel), "listed", "fine", "grace", self.now), self.reviewer)
        return wheel

    def mark(self, connector: str, version: str, state: str) -> None:
        self.repository.mark(connector, version, state, "because", "grace", self.reviewer)

    def fingerprint(self) -> str:
        return hashlib.sha256((self.folder / "metadata/1.root.json").read_bytes()).hexdigest()

    def catalogue(self, url: str = "", **arguments: Any) -> Catalogue:
        """Trusted."""
        found = Catalogue(self.home, url or str(self.folder), **arguments)
        if not found.trusted:
            found.trust(self.fingerprint())
        return found

    def install(self, connector: str, version: str = "", **arguments: Any) -> None:
        source = self.catalogue()
        records = source.refresh()
        Installed(self.home).install(source, chosen(records, connector, version), **arguments)
