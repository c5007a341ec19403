"""Recorded exchanges: what a connector asked and what a system answered, as a file that a test replays without either network
or simulator. Secrets are masked before anything is written.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hub.sdk.errors import ConnectorError
from hub.sdk.steps import Response
from hub.sdk.testing.simulator import SimRequest

_KEPT_HEADERS = ("content-type", "retry-after", "link", "date", "etag", "location", "x-request-id")


class CassetteError(ConnectorError):
    """The connector asks for something else than was recorded."""

    code = "cassette_mismatch"


class Cassette:
    """Exchanges in their order. ``secrets``: texts that are written as ``***``."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self._secrets = [secret for secret in secrets if secret]
        self.exchanges: list[dict[str, Any]] = []
        self._next = 0
        self._name = "cassette"

    @classmethod
    def load(cls, path: Path, secrets: Sequence[str] = ()) -> "Cassette":
        """A recorded one; raises ValueError for a file that is none."""
        found = cls(secrets)
        data = json.loads(path.read_text("utf-8"))
        if not isinstance(data, dict) or data.get("cassette") != 1 or not isinstance(data.get("exchanges"), list):
            raise ValueError(f"{path} is no cassette; record one with `hub plugin run … --record {path}`")
        found.exchanges, found._name = data["exchanges"], path.name
        return found

    def save(self, path: Path) -> None:
        """Write what was recorded."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cassette": 1, "exchanges": self.exchanges}, indent=1, ensure_ascii=False) + "\n", "utf-8")

    def record(self, request: SimRequest, response: Response) -> None:
        """Keep an exchange, without the headers of the request: credentials travel there."""
        headers = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
        answer = {"status": response.status, "headers": headers, "body": _shown(response.content)}
        self.exchanges.append(self._masked({"request": _asked(request), "response": answer}))

    def handle(self, request: SimRequest) -> Response:
        """The recorded answer to the next request; raises CassetteError if that is another one."""
        place = f"{self._name}, exchange {self._next + 1}"
        if self._next >= len(self.exchanges):
            raise CassetteError(f"{place}: nothing more was recorded, the connector asks for {request.method} {request.path}")
        exchange = self.exchanges[self._next]
        self._next += 1
        asked = self._masked(_asked(request))
        for name, wanted in exchange["request"].items():
            if wanted != asked[name]:
                raise CassetteError(f"{place}: {name} was {wanted!r}, the connector asks with {asked[name]!r}")
        answer = exchange["response"]
        return Response(int(answer["status"]), dict(answer["headers"]), _bytes(answer["body"]))

    @property
    def left(self) -> int:
        """Recorded exchanges that were not asked for yet."""
        return len(self.exchanges) - self._next

    def _masked(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, "***")
            return value
        if isinstance(value, dict):
            return {key: self._masked(inner) for key, inner in value.items()}
        return [self._masked(inner) for inner in value] if isinstance(value, list) else value


def _asked(request: SimRequest) -> dict[str, Any]:
    return {"method": request.method, "path": request.path, "params": dict(request.params), "body": _shown(request.body)}


def _shown(body: bytes) -> Any:
    """Text as text, anything else in base64."""
    if not body:
        return None
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
    return {"text": text}


def _bytes(shown: Any) -> bytes:
    if shown is None:
        return b""
    return base64.b64decode(shown["base64"]) if "base64" in shown else str(shown["text"]).encode()
