"""A plugin as one file: built reproducibly from its folder, and looked into before anything of it is believed or unpacked.

A wheel of the marketplace is narrow on purpose: one package, connector.yaml in it, no native code, nothing that Python runs by
itself, and no dependency but the SDK, so that what is reviewed is what runs.
"""

import base64
import csv
import hashlib
import io
import re
import stat
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from hub.sdk.errors import ManifestError
from hub.sdk.manifest import Manifest, parse_manifest

MAX_BYTES, MAX_UNPACKED, MAX_FILES = 5 * 1024 * 1024, 20 * 1024 * 1024, 500
#: All that a plugin may depend on: what its process finds beside it.
SDK = "crossdock"
_GROUPS = ("hub.connectors", "hub.kits", "hub.simulators")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]*")
_FORBIDDEN = re.compile(r"\.(pth|so|pyd|dll|dylib|pyc|exe|egg-link)$|(^|/)(sitecustomize|usercustomize)\.py$", re.IGNORECASE)


class WheelRefusedError(ValueError):
    """A wheel, or a plugin's folder, that the marketplace does not take: one line per reason."""


@dataclass(frozen=True)
class Wheel:
    """A wheel that was looked into.

    Attributes:
        filename, content: as it is published.
        distribution, version: of the package; the version is the connector's too.
        package: the one top-level package.
        kit: entry point of its kit, '' without one.
        requires: what it asks of the SDK (a version specifier, '' for any).
        maintainers: who answers for it.
        manifest: its connector.yaml, checked.
        files: every file of the package.
    """

    filename: str
    content: bytes
    distribution: str
    version: str
    package: str
    kit: str
    requires: str
    maintainers: tuple[str, ...]
    manifest: Manifest
    files: Mapping[str, bytes]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def connector(self) -> str:
        return self.manifest.connector


def build(folder: Path) -> Wheel:
    """The wheel of a plugin's folder (as `hub plugin new` lays it out): the same bytes from the same files, everywhere."""
    try:
        project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        name, version = str(project["name"]), str(project["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise WheelRefusedError(f"{folder}/pyproject.toml: no [project] with name and version ({error})") from None
    points = project.get("entry-points", {})
    packages = {value.partition(":")[0].partition(".")[0] for value in points.get("hub.connectors", {}).values()}
    if len(packages) != 1:
        raise WheelRefusedError(f'{folder}/pyproject.toml: name one package under [project.entry-points."hub.connectors"]')
    (package,) = packages
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / package).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    if not files:
        raise WheelRefusedError(f"{folder}/{package}: no such package")
    info = f"{_escaped(name)}-{version}.dist-info"
    files[f"{info}/METADATA"] = _metadata(project).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: crossdock\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in sorted(points[group].items())) + "\n"
        for group in _GROUPS if group in points
    ).encode()  # fmt: skip
    record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in sorted(files.items()))
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    packed = io.BytesIO()
    # Stored, not compressed: another version of zlib would make other bytes.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(files.items()):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr, entry.create_system = (stat.S_IFREG | 0o644) << 16, 3
            archive.writestr(entry, content)
    return inspect(packed.getvalue(), f"{_escaped(name)}-{version}-py3-none-any.whl")


def inspect(content: bytes, filename: str) -> Wheel:
    """What is in a wheel; raises WheelRefusedError with every reason to refuse it. Nothing of it is unpacked or run."""
    if len(content) > MAX_BYTES:
        raise WheelRefusedError(f"{filename}: {len(content)} bytes; at most {MAX_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = _read(archive)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise WheelRefusedError(f"{filename}: not a wheel: {error}") from None
    infos = {path.partition("/")[0] for path in files if path.partition("/")[0].endswith(".dist-info")}
    packages = {path.partition("/")[0] for path in files} - infos
    if len(infos) != 1 or len(packages) != 1:
        raise WheelRefusedError(
            f"{filename}: one package and its dist-info, not {', '.join(sorted(packages | infos)) or 'nothing'}"
        )
    (info,), (package,) = infos, packages
    return _judged(filename, content, files, info, package)


def _judged(filename: str, content: bytes, files: Mapping[str, bytes], info: str, package: str) -> Wheel:
    head = BytesParser().parsebytes(files.get(f"{info}/METADATA", b""))
    name, version = str(head.get("Name", "")), str(head.get("Version", ""))
    points = _points(files.get(f"{info}/entry_points.txt", b"").decode("utf-8", "replace"))
    problems = [*_record_problems(files, info), *_name_problems(files)]
    connectors = points.get("hub.connectors", {})
    requires, alien = "", []
    for line in head.get_all("Requires-Dist", []):
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            alien.append(line)
            continue
        if canonicalize_name(wanted.name) == SDK and not wanted.url:
            requires = str(wanted.specifier)
        elif "extra ==" not in line:
            alien.append(line)
    if alien:
        problems.append(f"depends on {', '.join(alien)}: a plugin finds nothing but the SDK beside it; take it into {package}/")
    if set(connectors.values()) != {package} or len(connectors) != 1:
        problems.append(f"entry points hub.connectors: exactly one, and it is {package}")
    manifest: Manifest | None = None
    try:
        manifest = parse_manifest(files[f"{package}/connector.yaml"].decode("utf-8"), f"{package}/connector.yaml")
        if set(connectors) != {manifest.connector} or package != f"hub_{manifest.connector}":
            problems.append(f"{manifest.connector}: connector, entry point and package hub_{manifest.connector} have one name")
        if manifest.data["version"] != version:
            problems.append(
                f"connector.yaml is version {manifest.data['version']}, the package {version or 'none'}; make them one"
            )
    except KeyError:
        problems.append(f"{package}/connector.yaml is missing")
    except (ManifestError, UnicodeDecodeError) as error:
        problems.append(str(error))
    if f"{_escaped(name)}-{version}-py3-none-any.whl" != filename:
        problems.append(f"{filename} holds {name} {version}")
    if problems or manifest is None:
        raise WheelRefusedError("\n".join(f"{filename}: {line}" for line in problems))
    maintainers = [str(head[key]) for key in ("Author", "Author-email", "Maintainer", "Maintainer-email") if head[key]]
    code = {path: body for path, body in files.items() if path.startswith(f"{package}/")}
    kit = points.get("hub.kits", {}).get(manifest.connector, "")
    return Wheel(filename, content, name, version, package, kit, requires, tuple(maintainers), manifest, code)


def _read(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Every file, before which every name, kind and size was looked at."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_UNPACKED:
        raise WheelRefusedError(f"more than {MAX_FILES} files or {MAX_UNPACKED} bytes unpacked")
    seen: set[str] = set()
    files = {}
    for entry in entries:
        name, mode = entry.filename, entry.external_attr >> 16
        if not _PLAIN.fullmatch(name) or ".." in name.split("/") or "" in name.split("/"):
            raise WheelRefusedError(f"{name!r} is no path below a site-packages folder")
        if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
            raise WheelRefusedError(f"{name}: a link or device, not a file")
        if name.lower() in seen:
            raise WheelRefusedError(f"{name} is in there twice")
        seen.add(name.lower())
        with archive.open(entry) as file:
            files[name] = file.read(entry.file_size + 1)
        if len(files[name]) != entry.file_size:
            raise WheelRefusedError(f"{name} is not as long as it says")
    return files


def _name_problems(files: Mapping[str, bytes]) -> Iterator[str]:
    for path in files:
        if _FORBIDDEN.search(path):
            yield f"{path}: native code, and what Python runs by itself, cannot be reviewed; leave it out"


def _record_problems(files: Mapping[str, bytes], info: str) -> Iterator[str]:
    rows = {row[0]: row for row in csv.reader(io.StringIO(files.get(f"{info}/RECORD", b"").decode("utf-8", "replace"))) if row}
    for path, content in files.items():
        if path == f"{info}/RECORD":
            continue
        if path not in rows or len(rows[path]) < 2 or rows[path][1] != f"sha256={_digest(content)}":
            yield f"{path} is not what RECORD says"
    for path in sorted(rows.keys() - files.keys()):
        yield f"{path} is in RECORD and not there"


def _points(text: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    group = ""
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if line.startswith("["):
            group = line.strip("[]")
        else:
            key, _, value = line.partition("=")
            found.setdefault(group, {})[key.strip()] = value.strip()
    return found


def _metadata(project: Mapping[str, Any]) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Summary: {' '.join(str(project['description']).split())}"] if project.get("description") else []
    for role in ("author", "maintainer"):
        for person in project.get(f"{role}s", []):
            shown = (
                f"{person['name']} <{person['email']}>"
                if {"name", "email"} <= person.keys()
                else str(next(iter(person.values())))
            )
            lines.append(f"{role.title()}-email: {shown}" if "email" in person else f"{role.title()}: {shown}")
    lines += [f"Requires-Python: {project['requires-python']}"] if project.get("requires-python") else []
    lines += [f"Requires-Dist: {item}" for item in project.get("dependencies", [])]
    return "\n".join(lines) + "\n"


def _escaped(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
