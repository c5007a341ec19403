"""Environments of isolated connectors: each a virtual environment with the door (SDK and language) and nothing of the hub."""

import compileall
import hashlib
import importlib.util
import shutil
import sysconfig
import tempfile
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

#: What the door is made of: packages of ours, and the base dependencies (see pyproject.toml).
_OURS = ("hub/sdk", "canonical")
_DEPENDENCIES = ("jmespath", "marshmallow", "pluggy", "yaml", "typing_extensions", "backports")
_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime", "/dev/null",
           "/dev/urandom")  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """Where an isolated connector's code is.

    Attributes:
        distribution: name and version, for people.
        entry: module (and attribute) that has `hub_connectors`.
        folder: the virtual environment.
        door: folder with the SDK and what it needs.
        digest: SHA-256 of the code, hexadecimal.
    """

    distribution: str
    entry: str
    folder: Path
    door: Path
    digest: str

    @property
    def site(self) -> Path:
        """Its site-packages."""
        return _site(self.folder)

    @property
    def manifest(self) -> Path:
        """Its connector.yaml, which the hub reads itself."""
        return self.site.joinpath(*self.entry.partition(":")[0].split("."), "connector.yaml")

    @property
    def readable(self) -> list[str]:
        """All that its process may read."""
        standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
        return [str(self.site), str(self.door), *sorted(standard), *_SYSTEM]


def of_package(home: Path, distribution: str, entry: str) -> Environment:
    """The environment of a package that is installed beside the hub: a copy, named by its content. Its code is not run."""
    package = entry.partition(":")[0].partition(".")[0]
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"{entry}: no package {package}")
    source = Path(next(iter(found.submodule_search_locations)))
    return of_files(home, distribution, entry, {f"{package}/{name}": content for name, content in _files(source)})


def of_files(home: Path, distribution: str, entry: str, files: Mapping[str, bytes]) -> Environment:
    """The environment that has exactly these ``files`` (path below site-packages → content); made unless it is there whole."""
    digest = digest_of(files)
    folder = home / f"{entry.partition(':')[0].partition('.')[0]}-{digest[:16]}"
    environment = Environment(distribution, entry, folder, door(home), digest)
    if not folder.is_dir():
        _whole(folder, lambda made: _furnish(made, files))
    return environment


def digest_of(files: Mapping[str, bytes]) -> str:
    """One SHA-256 of names and contents."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0{len(files[name])}\0".encode())
        total.update(files[name])
    return total.hexdigest()


def content_of(environment: Environment) -> dict[str, bytes]:
    """The files of an environment as they are now."""
    return dict(_files(environment.site))


def door(home: Path) -> Path:
    """The folder with the SDK of this hub, the language and the base dependencies; made unless it is there."""
    ours = Path(str(resources.files("hub"))).parent
    files = {f"{part}/{name}": content for part in _OURS for name, content in _files(ours / part)}
    files["hub/__init__.py"] = (ours / "hub/__init__.py").read_bytes()
    folder = home / f"door-{digest_of(files)[:16]}"
    if not folder.is_dir():
        for package in _DEPENDENCIES:
            found = importlib.util.find_spec(package)
            for place in (found.submodule_search_locations or ()) if found else ():
                files |= {f"{package}/{name}": content for name, content in _files(Path(place))}
            if found and found.origin and not found.submodule_search_locations:
                files[f"{package}.py"] = Path(found.origin).read_bytes()

        def furnish(made: Path) -> None:
            _write(made, files)
            compileall.compile_dir(made, quiet=2)

        _whole(folder, furnish)
    return folder


def _furnish(made: Path, files: Mapping[str, bytes]) -> None:
    venv.create(made, with_pip=False, symlinks=True)
    _write(_site(made), files)
    # Compiled now, to be found valid by content: its process writes nothing, and times mean nothing.
    compileall.compile_dir(_site(made), quiet=2)


def _site(folder: Path) -> Path:
    return next((folder / "lib").glob("python*/site-packages"), folder)


def _whole(folder: Path, furnish: Callable[[Path], None]) -> None:
    """Make ``folder`` completely or not at all, whoever else makes it at the same time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        made.chmod(0o755)
        furnish(made)
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(root: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below ``root`` but what Python makes by itself."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(root).as_posix(), path.read_bytes()
