"""A plugin is judged where it can do no harm: the kit, the connector and its simulator together behind the fence."""

import os
import re
import sys
from importlib import import_module
from typing import Any

from hub.sdk.guest import fence, wire
from hub.sdk.kit import Subject, judge
from hub.sdk.steps import Request

_KEY = "XD0123456789ABCDEF01234567"


def traffic(subject: Subject) -> list[str]:
    """What the writes of the kit's samples send, without what differs each time: one line per kind of request."""
    lines = set()
    for name, document in subject.writes():
        trial = subject.trial()
        trial.deliver(name, document, _KEY)
        lines |= {f"{name}: {_shape(request)}" for request in trial.requests}
    return sorted(lines)


def _shape(request: Request) -> str:
    path = re.sub(r"[^/]*\d[^/]*", "*", request.path)
    names = sorted({*(f"?{name}" for name in request.params), *_fields(request.json)})
    return f"{request.method} {path} {' '.join(names)}".rstrip()


def _fields(value: Any, at: str = "") -> set[str]:
    if isinstance(value, dict):
        return {place for key, inner in value.items() for place in (_fields(inner, f"{at}.{key}") or {f"{at}.{key}"})}
    if isinstance(value, list):
        return {place for inner in value for place in _fields(inner, f"{at}[]")}
    return set()


def main() -> None:
    """Setup frame in, one frame with the verdict out."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    text, _ = wire.size(source.read(wire.HEAD.size))
    setup = wire.unpack(source.read(text))[2]
    fence.limit(setup["limits"])
    tried: list[str] = []
    lacking = fence.raise_fence(setup["readable"], lambda kind, detail: tried.append(f"{kind}: {detail}"))
    if missing := [name for name in setup["required"] if name in lacking]:
        verdict: dict[str, Any] = {"error": f"this machine cannot fence a plugin in ({', '.join(missing)} missing)"}
    else:
        verdict = _verdict(setup)
    sink.write(wire.pack(["examined", 0, {**verdict, "incidents": tried[:20]}]))
    sink.flush()


def _verdict(setup: dict[str, Any]) -> dict[str, Any]:
    sys.path[:0] = setup["paths"]
    try:
        module, _, attribute = setup["kit"].partition(":")
        found: Any = getattr(import_module(module), attribute or "subject")
        subject: Subject = found() if callable(found) else found
        report = judge(subject)
        results = [[item.rule.id, item.outcome, [str(line) for line in item.lines[:5]]] for item in report.results]
        return {"tier": report.tier, "waivers": dict(subject.waivers), "results": results, "traffic": traffic(subject)}
    except (Exception, SystemExit) as error:  # whatever a plugin does wrong
        return {"error": wire.described(error)["message"]}
