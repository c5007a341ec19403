"""The vault: credentials sealed with AES-256-GCM, bound to tenant, connection, name and version."""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hub.errors import MisconfiguredError
from hub.settings import Settings
from hub.store import UnitOfWork


class Vault:
    """Seals and opens secrets. Each secret has its own data key, wrapped by the hub's key."""

    def __init__(self, key: bytes) -> None:
        self._key, self._raw = AESGCM(key), key

    def derive(self, purpose: str) -> bytes:
        """32 bytes for ``purpose``, the same in every process of the hub; they tell nothing of the vault's key (HKDF)."""
        return HKDF(SHA256(), 32, None, purpose.encode()).derive(self._raw)

    def seal(self, secret: str, *bound_to: str) -> bytes:
        """Nonce + wrapped data key + nonce + ciphertext."""
        associated = "\x1f".join(bound_to).encode()
        data_key = AESGCM.generate_key(256)
        wrap_nonce, nonce = os.urandom(12), os.urandom(12)
        wrapped = self._key.encrypt(wrap_nonce, data_key, associated)
        return wrap_nonce + wrapped + nonce + AESGCM(data_key).encrypt(nonce, secret.encode(), associated)

    def open(self, sealed: bytes, *bound_to: str) -> str:
        """The secret; raises MisconfiguredError if the key is not the one that sealed it or the row was moved."""
        associated = "\x1f".join(bound_to).encode()
        try:
            data_key = self._key.decrypt(sealed[:12], sealed[12:60], associated)
            return AESGCM(data_key).decrypt(sealed[60:72], sealed[72:], associated).decode()
        except InvalidTag:
            raise MisconfiguredError("HUB_VAULT_KEY", "does not open the stored credentials (or a row was moved)") from None


def open_vault(settings: Settings) -> Vault:
    """The vault by HUB_VAULT_KEY, or by a key file that is made on first use (embedded engine only)."""
    if settings.vault_key:
        try:
            key = base64.urlsafe_b64decode(settings.vault_key)
        except ValueError:
            key = b""
        if len(key) != 32:
            raise MisconfiguredError("HUB_VAULT_KEY", "must be 32 bytes in base64 (44 characters)")
        return Vault(key)
    if not settings.embedded:
        raise MisconfiguredError("HUB_VAULT_KEY", "is required with a shared database: all processes need the same key")
    return Vault(_key_file(settings.data_dir / "vault.key"))


def _key_file(path: Path) -> bytes:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.urlsafe_b64encode(AESGCM.generate_key(256)))
    return base64.urlsafe_b64decode(path.read_bytes())


def save_credentials(
    uow: UnitOfWork, vault: Vault, tenant_id: str, connection_id: str, values: Mapping[str, str], now: datetime
) -> None:
    """Seal and store credentials by name; an existing one gets the next version."""
    known = {row["name"]: row["version"] for row in uow.connections.credentials(tenant_id, connection_id)}
    for name, secret in values.items():
        version = known.get(name, 0) + 1
        uow.connections.put_credential({
            "tenant_id": tenant_id, "connection_id": connection_id, "name": name, "version": version,
            "sealed": vault.seal(secret, tenant_id, connection_id, name, str(version)), "created_at": now,
        })  # fmt: skip


def load_credentials(uow: UnitOfWork, vault: Vault, tenant_id: str, connection_id: str) -> dict[str, str]:
    """The connection's credentials in clear; only the runtime and the webhook check ask for them."""
    return {
        row["name"]: vault.open(row["sealed"], tenant_id, connection_id, row["name"], str(row["version"]))
        for row in uow.connections.credentials(tenant_id, connection_id)
        if not is_former(row["name"])
    }


@dataclass(frozen=True, kw_only=True)
class FormerSecret:
    """A webhook secret that was replaced: its version, and until when it is still accepted."""

    value: str
    version: int
    until: datetime


def is_former(name: str) -> bool:
    """Tell a replaced webhook secret from a credential that a manifest declares (whose names are identifiers)."""
    return name.startswith("~")


def keep_former(
    uow: UnitOfWork, vault: Vault, tenant_id: str, connection_id: str, name: str, value: str, until: datetime, now: datetime
) -> bool:
    """Keep the secret that ``value`` is about to replace until ``until``; False if there is none, or it is the same one."""
    rows = {row["name"]: row for row in uow.connections.credentials(tenant_id, connection_id)}
    row = rows.get(name)
    if row is None:
        return False
    secret = vault.open(row["sealed"], tenant_id, connection_id, name, str(row["version"]))
    if secret == value:
        return False
    told = json.dumps({"value": secret, "version": row["version"], "until": until.isoformat()})
    save_credentials(uow, vault, tenant_id, connection_id, {f"~{name}": told}, now)
    return True


def former_secret(uow: UnitOfWork, vault: Vault, tenant_id: str, connection_id: str, name: str) -> FormerSecret | None:
    """Return the webhook secret that the present one replaced, ended or not; None if there was none."""
    for row in uow.connections.credentials(tenant_id, connection_id):
        if row["name"] == f"~{name}":
            found = json.loads(vault.open(row["sealed"], tenant_id, connection_id, row["name"], str(row["version"])))
            return FormerSecret(
                value=found["value"], version=found["version"], until=datetime.fromisoformat(found["until"])
            )  # fmt: skip
    return None
