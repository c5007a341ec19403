"""Judging a plugin by the kit in a process that can do no harm (`hub.sdk.guest.examine`)."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from hub.runtime.environments import Environment
from hub.sdk.guest import fence, wire

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from hub.sdk.guest.examine import main; main()"
_PROBE = "import sys; from hub.sdk.guest import fence; print(*fence.raise_fence(sys.path, lambda *_: None))"
_LIMITS = {"memory": 1024 * 1024 * 1024, "files": 64, "cpu": 300}


def missing_fences() -> list[str]:
    """The fences that this machine's kernel does not have, tried in a process that ends behind them."""
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.split() if done.returncode == 0 else list(fence.FENCES)


def examine(environment: Environment, kit: str, fences: Sequence[str], seconds: float = 300.0) -> dict[str, Any]:
    """`tier`, `results` (rule, outcome, lines), `waivers`, `traffic` and `incidents`; or `error`, when there is no verdict.

    The simulator is the plugin's own, so a plugin can deceive the kit about its system; it cannot reach anything by that.
    """
    setup = {
        "kit": kit, "paths": [str(environment.site)], "readable": environment.readable, "required": list(fences),
        "limits": _LIMITS,
    }  # fmt: skip
    command = [str(environment.folder / "bin/python"), "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT, str(environment.door)]
    try:
        done = subprocess.run(
            command, input=wire.pack(["setup", 0, setup]), capture_output=True, timeout=seconds, env={}, cwd="/", check=False
        )
        head, rest = done.stdout[: wire.HEAD.size], done.stdout[wire.HEAD.size :]
        if len(head) < wire.HEAD.size:
            words = done.stderr.decode("utf-8", "replace").strip().splitlines()
            return {"error": f"its examination ended with {done.returncode}: {words[-1][:300] if words else 'no word'}"}
        verdict: dict[str, Any] = wire.unpack(rest[: wire.size(head)[0]])[2]
        return verdict
    except subprocess.TimeoutExpired:
        return {"error": f"its examination took longer than {seconds:.0f} s"}
    except (wire.WireError, IndexError) as error:
        return {"error": f"its examination answered what is no verdict: {error}"}
