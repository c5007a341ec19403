"""A wheel is looked into before anything of it is unpacked: zip-slip, links, native code, foreign dependencies."""

import base64
import hashlib
import io
import re
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.marketplace.repository import CatalogueError
from hub.marketplace.wheel import WheelRefusedError, build, inspect
from marketplace.shelf import Shelf

Files = dict[str, bytes]
INFO = "hub_acme-0.1.0.dist-info"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def files(shelf: Shelf) -> Files:
    with zipfile.ZipFile(io.BytesIO(build(shelf.plugin()).content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: Files, mode: Callable[[str], int] = lambda _: stat.S_IFREG | 0o644, twice: str = "") -> bytes:
    """A wheel of these files, with a RECORD that says so."""
    files = {name: content for name, content in files.items() if not name.endswith("RECORD")}
    lines = [f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}"
             for name, content in files.items()]  # fmt: skip
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in {**files, f"{INFO}/RECORD": "\n".join(lines).encode()}.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode(name) << 16
            archive.writestr(entry, content)
            if name == twice:
                archive.writestr(zipfile.ZipInfo(name.upper().replace("HUB_ACME", "hub_acme")), content)
    return made.getvalue()


def refused(content: bytes, words: str) -> None:
    with pytest.raises(WheelRefusedError, match=words):
        inspect(content, "hub_acme-0.1.0-py3-none-any.whl")


def test_what_was_built_is_taken_and_is_the_same_every_time(shelf: Shelf, files: Files, tmp_path: Path) -> None:
    folder = shelf.plugin()
    wheel = build(folder)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    (elsewhere / "hub_acme/__pycache__").mkdir()
    (elsewhere / "hub_acme/__pycache__/x.pyc").write_bytes(b"left over")
    for path in elsewhere.rglob("*.py"):
        path.chmod(0o600)

    assert build(elsewhere).sha256 == wheel.sha256
    assert (wheel.connector, wheel.version, wheel.kit, wheel.requires) == ("acme", "0.1.0", "hub_acme.kit:subject", "")
    assert inspect(packed(files), wheel.filename).files == wheel.files


@pytest.mark.parametrize(
    "name", ["../outside.py", "/etc/cron.d/x", "hub_acme/../../x.py", "hub_acme\\..\\x.py", "hub_acme//x.py"]
)
def test_zip_slip(files: Files, name: str) -> None:
    refused(packed({**files, name: b"x"}), "no path below")


def test_links_and_devices(files: Files) -> None:
    refused(
        packed(
            {**files, "hub_acme/x": b"/etc/passwd"}, lambda name: stat.S_IFLNK | 0o777 if name == "hub_acme/x" else 0o100644
        ),
        "link or device",
    )


@pytest.mark.parametrize(
    "name", ["hub_acme/fast.so", "hub_acme/x.pth", "hub_acme/sitecustomize.py", "hub_acme/x.pyc", "hub_acme/x.PYD"]
)
def test_what_cannot_be_reviewed(files: Files, name: str) -> None:
    refused(packed({**files, name: b"x"}), "cannot be reviewed")


def test_another_package_beside_its_own(files: Files) -> None:
    refused(packed({**files, "hub/sdk/__init__.py": b"x"}), "one package and its dist-info")


def test_two_files_of_one_name(files: Files) -> None:
    refused(packed(files, twice="hub_acme/kit.py"), "twice")


def test_a_file_that_is_not_what_record_says(files: Files) -> None:
    content = packed(files).replace(files["hub_acme/kit.py"], files["hub_acme/kit.py"].replace(b"import", b"ixport"))
    refused(content, "not a wheel|not what RECORD says")
    refused(
        packed({name: body for name, body in files.items() if name != "hub_acme/connector.yaml"}), "connector.yaml is missing"
    )


def test_a_bomb(files: Files) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("hub_acme/zeros.txt", b"0" * (30 * 1024 * 1024))
    assert len(made.getvalue()) < 100_000
    refused(made.getvalue(), "unpacked")


@pytest.mark.parametrize(
    "wanted", ["requests", "crossdock-internal-auth>=1", "crossdock @ https://evil.example/x.whl", "cross_dock"]
)
def test_dependency_confusion(files: Files, wanted: str) -> None:
    metadata = files[f"{INFO}/METADATA"] + f"Requires-Dist: {wanted}\n".encode()
    refused(packed({**files, f"{INFO}/METADATA": metadata}), "finds nothing but the SDK")


def test_the_names_and_versions_agree(files: Files) -> None:
    manifest = files["hub_acme/connector.yaml"]
    refused(
        packed({**files, "hub_acme/connector.yaml": manifest.replace(b"version: 0.1.0", b"version: 0.2.0")}), "make them one"
    )
    refused(
        packed({**files, "hub_acme/connector.yaml": manifest.replace(b"connector: acme", b"connector: square")}),
        "have one name",
    )
    points = files[f"{INFO}/entry_points.txt"].replace(b"acme = hub_acme\n", b"acme = hub_acme\nsquare = hub_acme\n", 1)
    refused(packed({**files, f"{INFO}/entry_points.txt": points}), "exactly one")
    with pytest.raises(WheelRefusedError, match="holds hub-acme"):
        inspect(packed(files), "hub_acme-9.9.9-py3-none-any.whl")


@pytest.mark.parametrize("name", ["acmme", "acm", "amce", "acm3", "a_cme", "gl0bex", "glohex"])
def test_typosquat(shelf: Shelf, name: str) -> None:
    with pytest.raises(CatalogueError, match="could be taken for"):
        shelf.repository.add_publisher("other", shelf.reviewer.public_key, [name])


def test_a_name_that_is_taken_or_none(shelf: Shelf) -> None:
    with pytest.raises(CatalogueError, match="belongs to acme-inc"):
        shelf.repository.add_publisher("other", shelf.reviewer.public_key, ["acme"])
    with pytest.raises(CatalogueError, match="no connector's name"):
        shelf.repository.add_publisher("other", shelf.reviewer.public_key, ["../reviews"])


def test_a_folder_without_what_is_needed(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(WheelRefusedError, match=re.escape("no [project]")):
        build(tmp_path)
    folder = shelf.plugin()
    (folder / "pyproject.toml").write_text('[project]\nname = "hub-acme"\nversion = "0.1.0"\n')
    with pytest.raises(WheelRefusedError, match="name one package"):
        build(folder)
