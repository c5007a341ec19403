"""A connection made ready to run: connector instance, base URL, limits and credentials. Connectors see none of the latter."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from hub.sdk.connector import Connector
from hub.sdk.errors import AuthenticationError
from hub.sdk.manifest import Manifest


@dataclass
class Session:
    """One connection at run time.

    Attributes:
        tenant_id, connection_id: whose.
        connector: the connector instance (settings only).
        base_url: where its system is.
        credentials: secrets by name; never passed to the connector, never logged.
        limits: the manifest's limits with the connection's overrides.
        version: what the connection and its credentials were when this session was made.
        login_value: header value of the current login, for systems with sessions.
        took: seconds until the answer, of the last requests in a short window.
        calm_until: until then (loop time) nothing has to be asked before a request: its budget was just seen to be free.
    """

    tenant_id: str
    connection_id: str
    connector: Connector
    base_url: str
    credentials: Mapping[str, str] = field(repr=False)
    limits: Mapping[str, Any]
    version: Any = None
    login_value: str = field(default="", repr=False)
    calm_until: float = 0.0
    took: deque[float] = field(default_factory=lambda: deque(maxlen=32), repr=False)
    login_lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def manifest(self) -> Manifest:
        return self.connector.manifest

    def base_path(self, path: str) -> str:
        """A declared path with `{setting}` names filled in from the connection's settings."""
        return path.format_map({name: quote(str(value), safe="") for name, value in self.connector.settings.items()})

    def auth_headers(self) -> dict[str, str]:
        """The declared authentication headers, filled in; raises AuthenticationError naming a credential that is missing."""
        try:
            declared = self.manifest.data["auth"]["headers"]
            return {name: value.format_map(dict(self.credentials)) for name, value in declared.items()}
        except KeyError as missing:
            raise AuthenticationError(
                f"connection {self.connection_id} has no credential {missing}",
                code="credential_missing",
                remedy=f"set it with `hub connect {self.tenant_id} {self.connection_id}`",
            ) from None
