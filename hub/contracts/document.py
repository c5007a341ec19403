"""The governed OpenAPI document, bundled with the generated canonical components into one."""

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml

from hub.contracts.api_versions import NEWEST, OLDEST, derived
from hub.errors import MisconfiguredError

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_CANONICAL = "./schemas/canonical.json#"


def contract_folder() -> Path:
    """Where `openapi/` is: beside the packages in a checkout, under share/ in an installation."""
    for folder in (Path(__file__).resolve().parents[2] / "openapi", Path(sys.prefix) / "share/crossdock/openapi"):
        if (folder / "hub.yaml").exists():
            return folder
    raise MisconfiguredError("openapi/hub.yaml", "is not part of this installation")


@cache
def document() -> dict[str, Any]:
    """The whole document, every version of the API in it, with every reference inside it."""
    folder = contract_folder()
    loaded = first_version()
    for version in range(OLDEST + 1, NEWEST + 1):
        newer = _read(folder / f"hub.v{version}.yaml")
        loaded["paths"] |= newer["paths"]
        loaded["components"]["schemas"] |= newer["components"]["schemas"]
    canonical = orjson.loads((folder / "schemas/canonical.json").read_bytes())
    loaded["components"]["schemas"] |= canonical["components"]["schemas"]
    bundled: dict[str, Any] = _relinked(loaded)
    return bundled


def first_version() -> dict[str, Any]:
    """`openapi/hub.yaml` alone, as it is written."""
    return _read(contract_folder() / "hub.yaml")


def derived_files() -> dict[str, str]:
    """The documents of the newer versions, by file name, as they are written for the first."""
    first, found = first_version(), {}
    for version in range(OLDEST + 1, NEWEST + 1):
        head = f"# Version {version} of the API, derived from hub.yaml by hub/contracts/api_versions.py (make generate).\n"
        text = yaml.dump(derived(first, version), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
        found[f"hub.v{version}.yaml"] = head + text
    return found


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(path.read_text("utf-8"), Loader=_loader())  # noqa: S506 - the safe loader, in C
    return loaded


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _relinked(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: item.replace(_CANONICAL, "#", 1) if key == "$ref" and isinstance(item, str) else _relinked(item)
            for key, item in value.items()
        }
    return [_relinked(item) for item in value] if isinstance(value, list) else value


def short_name(operation_id: str) -> str:
    """The name under which an operation's use is counted and its idempotency keys are kept, e.g. ``dead_letters.replay``."""
    return operation_id.replace("hub.api.", "", 1)


@cache
def _methods() -> list[tuple["re.Pattern[str]", str]]:
    return [
        (re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\{[^}]*\}", path))),
         ", ".join(sorted(method.upper() for method in item if method in METHODS)))
        for path, item in document()["paths"].items()
    ]  # fmt: skip


def allowed(path: str) -> str:
    """The methods that a path takes, for `Allow` (RFC 9110)."""
    return next((methods for pattern, methods in _methods() if pattern.fullmatch(path)), "GET")


def operations() -> dict[str, dict[str, Any]]:
    """OperationId → operation, with its ``method`` and ``path``."""
    return {
        operation["operationId"]: {**operation, "method": method, "path": path}
        for path, item in document()["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict) and "operationId" in operation
    }
