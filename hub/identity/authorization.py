"""A person agrees, in a browser, that the hub may use an account: OAuth 2 by code, with PKCE.

A state is used once, within ten minutes, by the browser that began; it tells tenant and connection, so neither is taken from
what comes back. Source: RFC 6749 4.1, RFC 7636, RFC 9700; RELIABILITY 3.4 (S8).
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from hub.errors import HubError
from hub.identity.connections import resume
from hub.identity.sessions import Sessions
from hub.identity.vault import Vault
from hub.policies import audit
from hub.runtime.loop import Loop
from hub.runtime.session import Session
from hub.sdk.errors import ConnectorError
from hub.store import Store

LASTS = timedelta(minutes=10)


@dataclass(frozen=True)
class Begun:
    """Where the browser goes, and the cookie that it shows when it comes back."""

    url: str
    browser: str


@dataclass(frozen=True)
class Authorization:
    """Begins and ends what a person does in between. ``redirect_uri``: where the vendor sends the browser, exactly."""

    store: Store
    sessions: Sessions
    vault: Vault
    loop: Loop
    redirect_uri: str

    def begin(self, tenant_id: str, connection_id: str, actor: str, now: datetime) -> Begun:
        """A new state for a connection; raises HubError if its connector asks for no agreement or a credential is missing."""
        with self.store.begin() as uow:
            session = self.sessions.get(uow, tenant_id, connection_id)
            declared = _declared(session)
            client_id = session.credentials.get(declared["client_id"], "")
            if not client_id:
                raise HubError("wrong_state", f"connection {connection_id} has no {declared['client_id']}; set it first")
            state, verifier, browser = (secrets.token_urlsafe(32) for _ in range(3))
            digest = _digest(state)
            uow.tokens.begin({
                "tenant_id": tenant_id, "digest": digest, "connection_id": connection_id, "browser": _digest(browser),
                "verifier": self.vault.seal(verifier, tenant_id, connection_id, "pkce", digest), "actor": actor[:128],
                "expires_at": now + LASTS, "used_at": None,
            }, now)  # fmt: skip
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {"response_type": "code", "client_id": client_id, "redirect_uri": self.redirect_uri, "state": state,
                 "code_challenge": challenge, "code_challenge_method": "S256"}  # fmt: skip
        if declared["scopes"]:
            asked["scope"] = " ".join(declared["scopes"])
        where = str(declared["authorize_url"]).format_map(dict(session.connector.settings))
        return Begun(f"{where}{'&' if '?' in where else '?'}{urlencode(asked)}", browser)

    def end(self, given: Mapping[str, str], browser: str, now: datetime) -> tuple[str, str]:
        """(tenant, connection) that may now use the account; raises HubError that says why not. The state is used up by it."""
        with self.store.begin() as uow:
            row = uow.tokens.redeem(_digest(given.get("state", "")), now)
        if row is None:
            raise HubError("invalid_request", "this page was opened without being asked for, or twice; begin again")
        tenant_id, connection_id = row["tenant_id"], row["connection_id"]
        why = ""
        if not secrets.compare_digest(row["browser"], _digest(browser)):
            why = "another browser began this"
        elif row["expires_at"] < now:
            why = "it took longer than ten minutes"
        elif given.get("error") or not given.get("code"):
            why = f"the vendor said {given.get('error') or 'nothing'}"[:200]
        else:
            try:
                self._redeem(row, given["code"])
            except (ConnectorError, HubError) as error:
                why = str(error)[:500]
        subject = f"connection/{connection_id}"
        with self.store.begin() as uow:
            if why:
                audit.record(uow, tenant_id, now, row["actor"], "connection.authorization_refused", subject, reason=why)
            else:
                audit.record(uow, tenant_id, now, row["actor"], "connection.authorized", subject)
                resume(uow, tenant_id, connection_id, now, row["actor"], "a person agreed")
        if why:
            raise HubError("invalid_request", f"connection {connection_id} may not use the account: {why}; begin again")
        return tenant_id, connection_id

    def _redeem(self, row: Mapping[str, Any], code: str) -> None:
        tenant_id, connection_id = row["tenant_id"], row["connection_id"]
        verifier = self.vault.open(row["verifier"], tenant_id, connection_id, "pkce", row["digest"])
        with self.store.begin() as uow:
            session = self.sessions.get(uow, tenant_id, connection_id)
        _declared(session)
        tokens = self.sessions.tokens_of(session)
        self.loop.submit(tokens.redeem(self.loop.performer.ask, code, verifier, self.redirect_uri)).result(60)


def _declared(session: Session) -> Mapping[str, Any]:
    declared: Mapping[str, Any] | None = session.manifest.data["auth"]["oauth2"]
    if declared is None or declared["grant"] != "authorization_code":
        raise HubError("wrong_state", f"connector {session.manifest.connector} is not connected by a person's agreement")
    return declared


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
