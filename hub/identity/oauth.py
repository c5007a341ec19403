"""Managed OAuth 2 for connections: one refresh per expiry, whichever process notices it first.

The refreshed tokens are committed before they are used, so that a rotated refresh token is never only in memory. Whoever
refreshes holds a lease; the others wait for what it commits. A refresh that the provider refuses pauses the connection.
Source: RFC 6749, RFC 7523, RFC 9700; RELIABILITY 3.4 (S6, S7).
"""

import asyncio
import base64
import json
import logging
import math
import re
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
from hub.sdk.answers import retry_after, said_at
from hub.sdk.errors import AuthenticationError, ConnectorError, RateLimitedError, TargetUnavailableError
from hub.sdk.statuses import is_page
from hub.sdk.steps import Response
from hub.store import Store, UnitOfWork

log = logging.getLogger(__name__)
#: A token is renewed this long before it expires, so that a request under way does not meet the moment.
_EARLY = timedelta(seconds=60)
_LEASE = timedelta(seconds=30)
#: A lifetime that was not said; and the longest that is believed (a 401 ends it sooner): milliseconds are taken for seconds.
_UNSAID_SECONDS, _LONGEST_SECONDS = 3600.0, 365 * 86400.0
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
#: What a token may consist of (RFC 6749 appendix A.12, A.17).
_TOKEN = re.compile(r"[\x20-\x7e]+")
#: Words of a provider: try again later; and: a person has to agree anew. Any other word is a refusal.
_TRANSIENT = frozenset({"temporarily_unavailable", "server_error", "authorization_pending", "timeout", "internal_error"})
_REAUTHORISE = frozenset({
    "invalid_grant", "bad_refresh_token", "invalid_refresh_token", "expired_token", "token_expired", "token_revoked",
    "bad_verification_code", "access_denied", "consent_required", "interaction_required", "login_required",
})  # fmt: skip
#: Statuses that say nothing about credentials, whatever the body says.
_NOT_NOW = frozenset({404, 405, 407, 408, 421, 423, 425})
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
        #: Tokens that were had and could not be stored yet, and who had them: the refresh token may be the only valid one.
        self._unsaved: tuple[str, _Held] | None = None
        self._lock = asyncio.Lock()

    async def access(self, ask: Ask, refused: str = "") -> str:
        """An access token that is good now and is not ``refused``; refreshed by ``ask`` (URL, form, headers) if need be.

        Raises AuthenticationError when the provider refuses, RetryableErrors when it cannot be asked.
        """
        async with self._lock:
            if self._held is not None and self._good(self._held, refused):
                return self._held.access
            loop = asyncio.get_running_loop()
            if self._unsaved is not None:
                await self._save(*self._unsaved)
                if self._held is not None and self._good(self._held, refused):
                    return self._held.access
            owner = uuid.uuid4().hex
            deadline = time.monotonic() + _LEASE.total_seconds() + 5
            while True:
                taken, held = await loop.run_in_executor(None, self._take, owner)
                if held is not None and self._good(held, refused):
                    if taken:
                        await loop.run_in_executor(None, self._give_back, owner)
                    self._held, self._unsaved = held, None
                    return held.access
                if taken:
                    held = self._newest(held)
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
            if not found.access:
                raise _unusable_token()
            found.version = await loop.run_in_executor(None, self._take_over, owner) + 1
            await loop.run_in_executor(None, self._commit, owner, found)
            self._held = found

    def adopt(self, uow: UnitOfWork, connection_id: str) -> None:
        """Store the tokens that a trial was given as those of ``connection_id``; its refresh token may be used up."""
        if self._held is None:
            return
        (tenant_id, _), now, owner = self._key, self._clock(), uuid.uuid4().hex
        real = Tokens(
            self._store, self._vault, tenant_id, connection_id, self._declared, self._credentials, self._settings, self._clock
        )  # fmt: skip
        uow.tokens.take(tenant_id, connection_id, owner, now, now + _LEASE)
        uow.tokens.settle(tenant_id, connection_id, owner, real._row(self._held))

    def forget(self) -> None:
        """Remove the stored tokens."""
        with self._store.begin() as uow:
            uow.tokens.forget(*self._key)

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
        """New tokens, stored. Raises TargetUnavailableError (`token_not_stored`, `token_unusable`) where they cannot be used.

        A rotated refresh token is never lost: tokens that cannot be stored are kept for the next try in this process, and one
        that came with an unusable access token is stored.
        """
        loop = asyncio.get_running_loop()
        try:
            form, headers = self._request(held)
            found = self._understood(await ask(self.token_url, form, headers), held)
        except BaseException:
            await loop.run_in_executor(None, self._give_back, owner)
            raise
        self._unsaved = (owner, found)
        if not await self._save(owner, found):
            raise TargetUnavailableError(
                "the refresh took longer than its lease; the new tokens are kept and stored at the next try",
                code="token_not_stored", retry_after=1.0,
            )  # fmt: skip
        if not found.access:
            raise _unusable_token()
        return found

    async def _save(self, owner: str, found: _Held) -> bool:
        """Store tokens that were had; False if somebody else refreshes now. What cannot be stored is kept in this process."""
        try:
            stored = await asyncio.get_running_loop().run_in_executor(None, self._commit, owner, found)
        except Exception as error:  # the store is away: the provider may take no other refresh token any more
            log.warning("new tokens of connection %s could not be stored (%s); this process keeps them for the next try",
                        self._key[1], type(error).__name__)  # fmt: skip
            raise TargetUnavailableError(
                f"new tokens could not be stored ({type(error).__name__}); this process keeps them and stores them at the next "
                "try", code="token_not_stored", retry_after=1.0,
            ) from error  # fmt: skip
        if stored is not False:
            self._held, self._unsaved = found, None
        return stored is not False

    def _newest(self, held: _Held | None) -> _Held | None:
        """The tokens to refresh by: those that this process could not store, if nobody has refreshed since."""
        if self._unsaved is None:
            return held
        unsaved, self._unsaved = self._unsaved[1], None
        return unsaved if held is None or held.version < unsaved.version else held

    def _commit(self, owner: str, found: _Held) -> bool:
        """False if the lease was somebody else's by then; nothing is stored."""
        with self._store.begin() as uow:
            return uow.tokens.settle(*self._key, owner, self._row(found))

    def _row(self, found: _Held) -> dict[str, Any]:
        text = json.dumps({"access": found.access, "refresh": found.refresh})
        return {
            "version": found.version, "sealed": self._vault.seal(text, *self._key, "oauth2", str(found.version)),
            "expires_at": found.expires_at, "refreshing_until": self._clock(), "refreshing_by": "",
        }  # fmt: skip

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
        """The tokens of an answer; ``access`` is empty where it cannot be sent. Raises what the answer means otherwise."""
        found = _object(answer.content)
        token = found.get("access_token")
        if not 200 <= answer.status <= 299 or not isinstance(token, str) or not token:
            raise self._refusal(answer, found.get("error"))
        before = held.refresh if held is not None else self._credentials.get("refresh_token", "")
        given = found.get("refresh_token")
        refresh = given if isinstance(given, str) and _TOKEN.fullmatch(given) else before
        access = token if _TOKEN.fullmatch(token) else ""
        is_renewable = bool(refresh) or self._declared["grant"] not in ("refresh_token", "authorization_code")
        expires_at = _expiry(found.get("expires_in"), self._clock(), is_renewable)
        return _Held((held.version if held else 0) + 1, access, refresh, expires_at)

    def _refusal(self, answer: Response, said: Any) -> ConnectorError:
        """The error of an answer without a token: only the provider's own word says that credentials are refused."""
        code = said if isinstance(said, str) else ""
        shown = f"the token endpoint answered {answer.status} {ascii(code)[1:-1][:100]}".strip()
        wait = retry_after(answer.headers.get("retry-after", ""), said_at(answer, self._clock()))
        if answer.status == 429 or code == "slow_down":
            return RateLimitedError(f"{shown}: it is throttled", retry_after=60.0 if wait is None else wait)
        if code in _TRANSIENT or answer.status >= 500:
            return TargetUnavailableError(f"{shown} without a token", retry_after=wait)
        if code and answer.status not in _NOT_NOW:
            return AuthenticationError(
                shown, code="reauthorisation_required" if code in _REAUTHORISE else "authentication_failed", remedy=self._remedy
            )
        if answer.status in (400, 401, 403) and not is_page(answer) and wait is None:
            return AuthenticationError(shown, remedy=self._remedy)
        return TargetUnavailableError(
            f"{shown} without a token", retry_after=wait,
            remedy="if it stays so, correct the token URL in the connector's manifest or the connection's settings",
        )  # fmt: skip


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _expiry(expires_in: Any, now: datetime, is_renewable: bool) -> datetime:
    """When a token ends; without a usable ``expires_in`` in an hour, or never (until a 401) where nothing could renew it."""
    seconds = _lifetime(expires_in)
    if seconds is None or (seconds <= 0 and not is_renewable):
        seconds = _UNSAID_SECONDS if is_renewable else math.inf
    if seconds == math.inf and not is_renewable:
        return _NEVER
    return now + max(timedelta(seconds=min(seconds, _LONGEST_SECONDS)), 2 * _EARLY)


def _lifetime(expires_in: Any) -> float | None:
    """Seconds; infinity for a number beyond every float; None if it is no number."""
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float | str):
        return None
    try:
        seconds = float(expires_in)
    except OverflowError:
        return math.inf
    except ValueError:
        return None
    return None if math.isnan(seconds) else seconds


def _unusable_token() -> TargetUnavailableError:
    return TargetUnavailableError(
        "the token endpoint's access_token holds a line break or another character that no header can carry; it is not used",
        code="token_unusable", remedy="report it to the system's vendor; the hub asks again",
    )  # fmt: skip
