"""The governed OpenAPI document, bundled with the generated canonical components into one."""

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml

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
    """The whole document with every reference inside it."""
    folder = contract_folder()
    text = (folder / "hub.yaml").read_text("utf-8")
    loaded = yaml.load(text, Loader=_loader())  # noqa: S506 - it is the safe loader, in C where there is one
    canonical = orjson.loads((folder / "schemas/canonical.json").read_bytes())
    loaded["components"]["schemas"] |= canonical["components"]["schemas"]
    bundled: dict[str, Any] = _relinked(loaded)
    return bundled


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
    return operation_id.removeprefix("hub.api.")


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
