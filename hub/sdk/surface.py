"""The SDK's public surface: what a plugin may rely on. Its digest stands in the changelog, so it never changes silently."""

import hashlib
import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

#: What a plugin imports: the door, what its tests need, the kit.
DOORS = ("hub.sdk", "hub.sdk.testing", "hub.sdk.kit")


def surface() -> list[tuple[str, str, str]]:
    """(door, ``name(signature)``, first line of its docstring), in order; members of classes under their class."""
    return [(door, *line) for door in DOORS for name in import_module(door).__all__
            for line in _lines(name, getattr(import_module(door), name))]  # fmt: skip


def digest() -> str:
    """Eight hexadecimal digits of the surface, docstrings aside."""
    text = "\n".join(f"{door}.{said}" for door, said, _ in surface())
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _lines(name: str, value: Any) -> Iterator[tuple[str, str]]:
    said = (inspect.getdoc(value) or "").split("\n")[0] if inspect.isclass(value) or callable(value) else ""
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"{name}({bases})" if bases else name, said
        for member, inner in sorted(vars(value).items()):
            method = inspect.isfunction(inner) or isinstance(inner, classmethod | staticmethod | property)
            if not member.startswith("_") and method:
                plain = inner.fget if isinstance(inner, property) else getattr(inner, "__func__", inner)
                shown = "" if isinstance(inner, property) else _signature(plain)
                yield f"{name}.{member}{shown}", (inspect.getdoc(plain) or "").split("\n")[0]
        for field in getattr(value, "__dataclass_fields__", {}):
            if not field.startswith("_"):
                yield f"{name}.{field}", ""
    elif callable(value):
        yield f"{name}{_signature(value)}", said
    else:
        yield name, ""


def _signature(value: Any) -> str:
    """Names and order of the parameters; annotations and defaults are told by the docstrings."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return "(…)"
    stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return f"({', '.join(stars.get(p.kind, '') + p.name + ('' if p.default is p.empty else '=…') for p in parameters)})"
