"""A new plugin, complete: an invented system and a connector for it that the kit judges platinum. The author replaces both."""

import re
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import yaml

from hub.sdk.declaration import KINDS
from hub.sdk.scaffold.proposal import propose

#: Kinds whose facts come out of the system first; the others take documents in.
SOURCES = ("pos", "shop", "payments")
_PLACES = {
    "pyproject.toml": ".", "README.md": ".", "CHANGELOG.md": ".", "check.yaml": ".github/workflows",
    "test_conformance.py": "tests",
}  # fmt: skip


def scaffold(name: str, kind: str, title: str, folder: Path, openapi: Any = None) -> list[Path]:
    """Write a plugin into ``folder`` (which must not exist): the files. Raises ValueError that says what is wrong.

    ``openapi``: a vendor's document, parsed; connector.yaml is proposed from it, UNDECIDED.md lists what it does not say, and
    simulator and kit are the author's to fill.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,39}", name):
        raise ValueError(f"{name!r}: lower-case letters, digits and _, 2 to 40 of them, a letter first")
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: one of {', '.join(KINDS)}")
    if folder.exists():
        raise ValueError(f"{folder} exists already")
    words = {"name": name, "kind": kind, "title": title or name.replace("_", " ").title(),
             "cls": "".join(part.capitalize() for part in name.split("_"))}  # fmt: skip
    proposal = propose(openapi, name, kind, words["title"]) if openapi is not None else None
    written = []
    root = resources.files(__name__)
    for family in ("both", "proposed" if proposal else "source" if kind in SOURCES else "target"):
        for template in sorted((root / family).iterdir(), key=lambda item: item.name):
            filename = template.name.removesuffix(".tmpl")
            if proposal and filename == "test_conformance.py":
                continue  # there is nothing yet that could be platinum
            path = folder / _PLACES.get(filename, f"hub_{name}") / filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(template.read_text("utf-8")).substitute(words), "utf-8")
            written.append(path)
    if proposal:
        manifest = folder / f"hub_{name}/connector.yaml"
        manifest.write_text(yaml.safe_dump(proposal.manifest, sort_keys=False, allow_unicode=True, width=120), "utf-8")
        undecided = folder / "UNDECIDED.md"
        head = "# What the OpenAPI document does not say\n\nDecide each from the vendor's documents, then delete it here.\n\n"
        undecided.write_text(head + "".join(f"- [ ] {line}\n" for line in proposal.undecided), "utf-8")
        written += [manifest, undecided]
    return written
