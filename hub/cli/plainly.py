"""Turning errors that a command does not expect into one line with the remedy, for every command at once."""

import json
from typing import Any

import click
import yaml

from hub.cli.client import fail
from hub.errors import HubError, MisconfiguredError
from hub.sdk.errors import ManifestError


def line(error: Exception) -> tuple[int, str] | None:
    """Return (exit code, line) for an error of the surroundings; None for a fault of the hub itself."""
    from hub.store.errors import DatabaseError  # loaded when something is wrong only: it takes long

    match error:
        case DatabaseError():
            text = str(error.orig).splitlines()[0]
            return 1, f"the database cannot be used ({text}); run `hub db upgrade`, or check HUB_DATABASE_URL and HUB_DATA_DIR"
        case MisconfiguredError() | ManifestError():
            return 2, str(error)
        case HubError():
            return 1, f"{error.code}: {error.detail}"
        case UnicodeDecodeError():
            return 2, f"a file is not UTF-8 text ({error.reason} at byte {error.start}); give a text file"
        case json.JSONDecodeError():
            return 2, f"not JSON: {error}; correct the file"
        case yaml.YAMLError():
            return 2, f"not YAML: {' '.join(str(error).split())}; correct the file"
        case ConnectionError() | TimeoutError():
            return 1, f"cannot be reached ({error}); start it, or check the address"
        case OSError() if error.filename is not None:
            return 2, f"{error.filename}: {error.strerror}; check the path"
        case OSError():
            return 1, f"{error}; check address, path and permissions"
    return None


class PlainGroup(click.Group):
    """A group whose commands end with one line when their surroundings are wrong. Faults of the hub keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; end the process with a line for an error that `line` knows."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if (known := line(error)) is None:
                raise
            fail(*known)
