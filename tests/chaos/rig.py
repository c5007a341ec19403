"""What the measuring tools (outage, limits, fairness) share: a store, the hub's processes, targets, and a report's exit status."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from chaos.run import Role
from chaos.services import MissingServiceError, running
from hub.store import Store


class Rig:
    """A hub in processes on services of its own; `close` ends what a subclass has started."""

    def __init__(self, postgres: Any) -> None:
        self.store = Store(postgres.url)
        self.store.upgrade()
        self.roles: dict[str, Role] = {}
        self.loads: list[Any] = []
        self._targets: list[subprocess.Popen[bytes]] = []

    def target(self, port: int, latency: float = 0.0) -> int:
        """Starts a target there; its pid."""
        self._targets.append(subprocess.Popen([sys.executable, "-m", "chaos.target", str(port), str(latency)]))
        return self._targets[-1].pid

    def close(self) -> None:
        for load in self.loads:
            load.stop.set()
        for role in self.roles.values():
            role.stop()
        for target in self._targets:
            target.kill()
            target.wait()
        self.store.close()


RigT = TypeVar("RigT", bound=Rig)


def judged(
    ports: int, start: Callable[[Path, Any, Any], RigT], judge: Callable[[RigT], tuple[list[str], int]], to: Path | None = None
) -> int:
    """Print a run's report (and write it): 0, 1 if it found something (its logs stay), 3 if a service is missing.

    ``ports``: the first one of the run's own services.
    """
    folder = Path(tempfile.mkdtemp(prefix="crossdock-chaos-"))
    try:
        with running(folder, ports) as (postgres, rabbit), contextlib.closing(start(folder, postgres, rabbit)) as rig:
            lines, bad = judge(rig)
    except MissingServiceError as error:
        print(error)
        return 3
    text = "\n".join(lines)
    print(text)
    if to is not None:
        to.write_text(text + "\n")
    if bad:
        print(f"\n{bad} findings; logs in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0
