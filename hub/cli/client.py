"""The API as a command-line caller sees it: JSON in, JSON out, one clear line when something is wrong."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

import click


def fail(code: int, message: str) -> NoReturn:
    """End with one line on standard error."""
    print(f"hub: {message}", file=sys.stderr)
    raise SystemExit(code)


def show(result: Any, as_json: bool, text: Callable[[Any], str]) -> None:
    """Print a result for people or for programs."""
    print(json.dumps(result, indent=2, default=str) if as_json else text(result))


def api_options(command: Any) -> Any:
    """The options of every command that calls a hub: url, key, as_json."""
    options = (
        click.option("--json", "as_json", is_flag=True, help="Machine-readable output."),
        click.option("--key", envvar="CROSSDOCK_KEY", default="", help="API key (or CROSSDOCK_KEY)."),
        click.option(
            "--url", envvar="CROSSDOCK_URL", default="http://127.0.0.1:8700", show_default=True, help="The hub."
        ),
    )  # fmt: skip
    for option in options:
        command = option(command)
    return command


class Api:
    """Calls a hub; ends the process with one line when it refuses (4) or cannot be reached (3)."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url.rstrip("/"), key

    def call(self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """The parsed answer."""
        status, content = self.request(method, path, body, query)
        if status == 0 or status >= 400:
            self.refuse(status, content)
        return content

    def refuse(self, status: int, content: Any) -> NoReturn:
        """End with the hub's reason, field by field."""
        if status == 0:
            fail(3, f"cannot reach the hub at {self._url} ({content['detail']}); start it with `hub up`")
        lines = [f"{content.get('code', status)}: {content.get('detail', '')}"]
        lines += [f"  {item.get('field') or '/'}: {item['message']}" for item in content.get("errors", [])[:20]]
        fail(4, "\n".join(lines))

    def request(self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """(status, parsed answer), whatever the status; status 0 if the hub cannot be reached."""
        given = {key: value for key, value in (query or {}).items() if value is not None}
        url = self._url + path + (f"?{urlencode(given)}" if given else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            try:
                return error.code, json.loads(error.read())
            except ValueError:
                return error.code, {"code": str(error.code), "detail": error.reason}
        except (urllib.error.URLError, OSError, ValueError) as error:
            return 0, {"code": "unreachable", "detail": str(getattr(error, "reason", error))}


def read_json(file: Path) -> Any:
    """The JSON in a file; ends with one line if it is none."""
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        fail(2, f"{file}: not JSON: {error}")


def example_event(type_name: str) -> dict[str, Any]:
    """An envelope around the type's example, under a new id."""
    from canonical.examples import EXAMPLES

    if type_name not in EXAMPLES:
        fail(2, f"unknown type {type_name!r}; one of {', '.join(sorted(EXAMPLES))}")
    now = datetime.now(UTC).isoformat()
    document = {**EXAMPLES[type_name], "id": f"example-{now}"}
    return {
        "specversion": "1.0", "id": document["id"], "source": "/hub/send", "type": type_name, "time": now, "data": document,
    }  # fmt: skip
