"""Managed OAuth 2 for connections: one refresh per expiry, whichever process notices it first.

The refreshed tokens are committed before they are used, so that a rotated refresh token is never only in memory. Whoever
refreshes holds a lease; the others wait for what it commits. A refresh that the provider refuses pauses the connection.
Source: RFC 6749, RFC 7523, RFC 9700; RELIABILITY 3.4 (S6, S7).
"""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from hub.identity.vault import Vault
from hub.sdk.errors import AuthenticationError, RateLimitedError, TargetUnavailableError
from hub.sdk.steps import Response
from hub.store import Store

#: A token is renewed this long before it expires, so that a request under way does not meet the moment.
_EARLY = timedelta(seconds=60)
_LEASE = timedelta(seconds=30)
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
Ask = Callable[[str, Mapping[str, str], Mapping[str, str]], Awaitable[Response]]


@dataclass
class _Held:
    version: int
    access: str
    refresh: str
    expires_at: datetime


class Tokens:
    """The tokens of one connection, for the runtime. ``clock`` tells UTC."""

    def __init__(
        self, store: Store, vault: Vault, tenant_id: str, connection_id: str, declared: Mapping[str, Any],
        credentials: Mapping[str, str], settings: Mapping[str, Any], clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        base_url: str = "",
    ) -> None:  # fmt: skip
        self._base_url = base_url
        self._store, self._vault, self._key = store, vault, (tenant_id, connection_id)
        self._declared, self._credentials, self._settings, self._clock = declared, credentials, settings, clock
        self._held: _Held | None = None
        self._lock = asyncio.Lock()

    async def access(self, ask: Ask, refused: str = "") -> str:
        """An access token that is good now and is not ``refused``; refreshed by ``ask`` (URL, form, headers) if need be.

        Raises AuthenticationError when the provider refuses, RetryableErrors when it cannot be asked.
        """
        async with self._lock:
            if self._held is not None and self._good(self._held, refused):
                return self._held.access
            owner = uuid.uuid4().hex
            deadline = time.monotonic() + _LEASE.total_seconds() + 5
            while True:
                taken, held = await asyncio.get_running_loop().run_in_executor(None, self._take, owner)
                if held is not None and self._good(held, refused):
                    if taken:
                        await asyncio.get_running_loop().run_in_executor(None, self._give_back, owner)
                    self._held = held
                    return held.access
                if taken:
                    self._held = await self._refreshed(ask, owner, held)
                    return self._held.access
                if time.monotonic() > deadline:
                    raise TargetUnavailableError(
                        "another process refreshes this connection's token and does not end", retry_after=5.0
                    )
                await asyncio.sleep(0.05)

    async def redeem(self, ask: Ask, code: str, verifier: str, redirect_uri: str) -> None:
        """Tokens for the code that a person's agreement gave, in place of whatever was had before. Raises as `access`."""
        async with self._lock:
            loop, owner = asyncio.get_running_loop(), uuid.uuid4().hex
            form, headers = self._client({
                "grant_type": "authorization_code", "code": code, "code_verifier": verifier, "redirect_uri": redirect_uri,
            })  # fmt: skip
            found = self._understood(await ask(self.token_url, form, headers), None)
            found.version = await loop.run_in_executor(None, self._take_over, owner) + 1
            await loop.run_in_executor(None, self._commit, owner, found)
            self._held = found

    def _take_over(self, owner: str) -> int:
        """The lease, from whoever refreshes now: what they get is worth nothing any more. Returns the version before."""
        now = self._clock()
        with self._store.begin() as uow:
            row = uow.tokens.get(*self._key)
            uow.tokens.forget(*self._key)
            uow.tokens.take(*self._key, owner, now, now + _LEASE)
        return int(row["version"]) if row else 0

    @property
    def token_url(self) -> str:
        """Where tokens are had, filled in from the connection's settings; a path is the system's own."""
        url = str(self._declared["token_url"]).format_map(dict(self._settings))
        return f"{self._base_url.rstrip('/')}{url}" if url.startswith("/") else url

    def _good(self, held: _Held, refused: str) -> bool:
        return bool(held.access) and held.access != refused and held.expires_at - _EARLY > self._clock()

    def _take(self, owner: str) -> tuple[bool, _Held | None]:
        """(whether we refresh, what is held now)."""
        now = self._clock()
        with self._store.read() as uow:
            row = uow.tokens.get(*self._key)
        held = self._opened(row)
        if held is not None and self._held is not None and held.version > self._held.version:
            return False, held  # somebody has refreshed since
        if held is not None and self._held is None and self._good(held, ""):
            return False, held
        with self._store.begin() as uow:
            taken = uow.tokens.take(*self._key, owner, now, now + _LEASE)
        return taken is not None, self._opened(taken) if taken is not None else held

    def _opened(self, row: Mapping[str, Any] | None) -> _Held | None:
        if row is None or not row["sealed"]:
            return None
        found = json.loads(self._vault.open(row["sealed"], *self._key, "oauth2", str(row["version"])))
        return _Held(row["version"], found["access"], found["refresh"], row["expires_at"])

    def _give_back(self, owner: str) -> None:
        with self._store.begin() as uow:
            uow.tokens.settle(*self._key, owner, {"refreshing_until": self._clock(), "refreshing_by": ""})

    async def _refreshed(self, ask: Ask, owner: str, held: _Held | None) -> _Held:
        loop = asyncio.get_running_loop()
        try:
            form, headers = self._request(held)
            found = self._understood(await ask(self.token_url, form, headers), held)
        except BaseException:
            await loop.run_in_executor(None, self._give_back, owner)
            raise
        await loop.run_in_executor(None, self._commit, owner, found)
        return found

    def _commit(self, owner: str, found: _Held) -> None:
        text = json.dumps({"access": found.access, "refresh": found.refresh})
        values = {
            "version": found.version, "sealed": self._vault.seal(text, *self._key, "oauth2", str(found.version)),
            "expires_at": found.expires_at, "refreshing_until": self._clock(), "refreshing_by": "",
        }  # fmt: skip
        with self._store.begin() as uow:
            if not uow.tokens.settle(*self._key, owner, values):
                raise TargetUnavailableError("the refresh took longer than its lease; it is made again", retry_after=1.0)

    # -- the protocol -------------------------------------------------------------------------------------------

    def _request(self, held: _Held | None) -> tuple[dict[str, str], dict[str, str]]:
        """(form, headers) of the token request."""
        declared = self._declared
        form = {
            name: str(value).format_map({**self._settings, **self._credentials}) for name, value in declared["params"].items()
        }
        if declared["scopes"]:
            form["scope"] = " ".join(declared["scopes"])
        if declared["grant"] in ("refresh_token", "authorization_code"):
            refresh = held.refresh if held is not None else self._credentials.get("refresh_token", "")
            if not refresh:
                raise AuthenticationError("there is no refresh token", code="reauthorisation_required", remedy=self._remedy)
            form |= {"grant_type": "refresh_token", "refresh_token": refresh}
        elif declared["grant"] == "jwt_bearer":
            form |= {"grant_type": _JWT_BEARER, "assertion": self._assertion()}
        else:
            form["grant_type"] = "client_credentials"
        return self._client(form)

    def _client(self, form: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """The form with whatever tells who asks, and the headers that do."""
        declared, secret = self._declared, self._secret
        headers: dict[str, str] = {}
        match declared["client_auth"]:
            case "basic":
                pair = f"{quote(secret(declared['client_id']), safe='')}:{quote(secret(declared['client_secret']), safe='')}"
                headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            case "post":
                form |= {"client_id": secret(declared["client_id"]), "client_secret": secret(declared["client_secret"])}
            case "jwt":
                form |= {"client_assertion_type": _ASSERTION, "client_assertion": self._assertion()}
            case "none":
                if declared["grant"] != "jwt_bearer":
                    form["client_id"] = secret(declared["client_id"])
        return form, headers

    def _assertion(self) -> str:
        declared, now = self._declared["assertion"], int(self._clock().timestamp())
        context = {**self._settings, **self._credentials}
        claims: dict[str, Any] = {name: str(value).format_map(context) for name, value in declared["claims"].items()}
        claims |= {"iat": now, "exp": now + 300, "jti": uuid.uuid4().hex}
        algorithm, pem = declared["algorithm"], self._secret(declared["private_key"])
        header = {
            "alg": algorithm,
            "typ": "JWT",
            **{name: str(value).format_map(context) for name, value in declared["header"].items()},
        }
        try:
            key = ECKey.import_key(pem) if algorithm.startswith("ES") else RSAKey.import_key(pem)
            return str(jwt.encode(header, claims, key, algorithms=[algorithm]))
        except (JoseError, ValueError) as error:
            raise AuthenticationError(f"the private key cannot sign {algorithm}: {error}", remedy=self._remedy) from None

    def _secret(self, name: str) -> str:
        if name not in self._credentials:
            raise AuthenticationError(f"no credential {name!r}", code="credential_missing", remedy=self._remedy)
        return self._credentials[name]

    @property
    def _remedy(self) -> str:
        return f"set it with `hub connect {self._key[1]} …`"

    def _understood(self, answer: Response, held: _Held | None) -> _Held:
        try:
            found = json.loads(answer.content)
        except ValueError:
            found = {}
        found = found if isinstance(found, dict) else {}
        if answer.status == 429:
            raise RateLimitedError(
                "the token endpoint is throttled", retry_after=_seconds(answer.headers.get("retry-after"), 60.0)
            )
        if answer.status >= 500 or (answer.status < 400 and not isinstance(found.get("access_token"), str)):
            raise TargetUnavailableError(f"the token endpoint answered {answer.status} without a token")
        if answer.status >= 400:
            code = found.get("error")
            raise AuthenticationError(
                f"the token endpoint answered {answer.status} {code or ''}".strip(),
                code="reauthorisation_required" if code == "invalid_grant" else "authentication_failed", remedy=self._remedy,
            )  # fmt: skip
        lasts = timedelta(seconds=_seconds(found.get("expires_in"), 3600.0))
        before = held.refresh if held is not None else self._credentials.get("refresh_token", "")
        refresh = str(found.get("refresh_token") or before)
        return _Held((held.version if held else 0) + 1, found["access_token"], refresh, self._clock() + max(lasts, 2 * _EARLY))


def _seconds(value: Any, otherwise: float) -> float:
    try:
        return max(float(value), 0.0)
    except (TypeError, ValueError):
        return otherwise
