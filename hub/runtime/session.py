"""A connection made ready to run: connector instance, base URL, limits and credentials. Connectors see none of the latter."""

import asyncio
import base64
import hmac
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, urlsplit

from authlib.oauth1.rfc5849.signature import construct_base_string

from hub.sdk.connector import Connector
from hub.sdk.errors import AuthenticationError
from hub.sdk.manifest import Manifest
from hub.sdk.steps import Response

Ask = Callable[[str, Mapping[str, str], Mapping[str, str]], Awaitable[Response]]


class TokenSource(Protocol):
    """Access tokens of a connection, renewed when need be."""

    async def access(self, ask: Ask, refused: str = "") -> str:
        """A token that is good now and is not ``refused``; ``ask`` posts a form to a token endpoint."""


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
        login_headers: what requests of the current login carry, for systems with sessions.
        tokens: access tokens, where the manifest declares OAuth 2.
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
    login_headers: dict[str, str] = field(default_factory=dict, repr=False)
    tokens: TokenSource | None = field(default=None, repr=False)
    access_token: str = field(default="", repr=False)
    calm_until: float = 0.0
    took: deque[float] = field(default_factory=lambda: deque(maxlen=32), repr=False)
    login_lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def manifest(self) -> Manifest:
        return self.connector.manifest

    def base_path(self, path: str) -> str:
        """A declared path with `{setting}` names filled in from the connection's settings."""
        return path.format_map({name: quote(str(value), safe="") for name, value in self.connector.settings.items()})

    @property
    def secrets(self) -> list[str]:
        """Everything that must not be seen: credentials, and what was had for them."""
        return [*self.credentials.values(), *self.login_headers.values(), *filter(None, [self.access_token])]

    def oauth1_header(self, method: str, url: str) -> str:
        """The Authorization header of a request that is signed by OAuth 1 (RFC 5849, with HMAC-SHA256 where declared)."""
        declared = self.manifest.data["auth"]["oauth1"]
        try:
            key, secret, token, token_secret = (
                self.credentials[declared[name]] for name in ("consumer_key", "consumer_secret", "token", "token_secret")
            )
        except KeyError as missing:
            raise AuthenticationError(f"connection {self.connection_id} has no credential {missing}", code="credential_missing",
                                      remedy=f"set it with `hub connect {self.connection_id} …`") from None  # fmt: skip
        algorithm = declared["algorithm"]
        given = [("oauth_consumer_key", key), ("oauth_token", token), ("oauth_signature_method", f"HMAC-{algorithm.upper()}"),
                 ("oauth_timestamp", str(int(time.time()))), ("oauth_nonce", secrets.token_hex(16)),
                 ("oauth_version", "1.0")]  # fmt: skip
        parts = urlsplit(url)
        text = construct_base_string(method, url, [*parse_qsl(parts.query, keep_blank_values=True), *given])
        signing = f"{quote(secret, safe='~')}&{quote(token_secret, safe='~')}".encode()
        digest = hmac.new(signing, text.encode(), algorithm).digest()
        realm = declared["realm"].format_map({**self.connector.settings, **self.credentials})
        shown = [("realm", realm)] if realm else []
        shown += [*given, ("oauth_signature", base64.b64encode(digest).decode())]
        return "OAuth " + ", ".join(f'{name}="{quote(value, safe="~")}"' for name, value in shown)

    @property
    def oauth2(self) -> Mapping[str, Any] | None:
        """The declared OAuth 2, if this connection uses it: an optional one needs its credential."""
        declared: Mapping[str, Any] | None = self.manifest.data["auth"]["oauth2"]
        if declared is None or not declared["optional"]:
            return declared
        needed = "refresh_token" if declared["grant"] == "refresh_token" else declared["client_id"]
        return declared if needed in self.credentials else None

    def auth_headers(self) -> dict[str, str]:
        """The declared authentication headers, filled in; raises AuthenticationError naming a credential that is missing."""
        declared = self.manifest.data["auth"]["headers"]
        token = self.oauth2["header"] if self.oauth2 else None
        try:
            return {name: value.format_map(dict(self.credentials)) for name, value in declared.items() if name != token}
        except KeyError as missing:
            raise AuthenticationError(
                f"connection {self.connection_id} has no credential {missing}",
                code="credential_missing",
                remedy=f"set it with `hub connect {self.tenant_id} {self.connection_id}`",
            ) from None
