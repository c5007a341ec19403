"""Runs `hub up` until the process that started it is gone, however that ended.

The parent holds the other end of standard input and writes nothing. The end of it means that the parent is gone: a kill -9 of
the demo runs no handler there. The hub then ends as on SIGTERM, and after `_LAST_SECONDS` in any case.
"""

import os
import signal
import sys
import threading
import time

_LAST_SECONDS = 10.0


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LAST_SECONDS)
    os._exit(1)


def main() -> None:
    """Run the hub."""
    threading.Thread(target=_watch, daemon=True).start()
    from hub.cli import main as hub

    hub(["up"])


if __name__ == "__main__":
    main()
