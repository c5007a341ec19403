"""Secrets open only where they belong."""

import base64
from pathlib import Path

import pytest

from hub.errors import MisconfiguredError
from hub.identity.vault import Vault, open_vault
from hub.settings import Settings


def test_a_secret_opens_only_under_what_it_was_bound_to() -> None:
    vault = Vault(b"k" * 32)
    sealed = vault.seal("s3cr3t", "acme", "erp", "password", "1")

    assert b"s3cr3t" not in sealed
    assert vault.open(sealed, "acme", "erp", "password", "1") == "s3cr3t"
    for other in (("evil", "erp", "password", "1"), ("acme", "pos", "password", "1"), ("acme", "erp", "password", "2")):
        with pytest.raises(MisconfiguredError):
            vault.open(sealed, *other)
    with pytest.raises(MisconfiguredError):
        Vault(b"x" * 32).open(sealed, "acme", "erp", "password", "1")


def test_the_same_secret_is_never_sealed_the_same_way() -> None:
    vault = Vault(b"k" * 32)

    assert vault.seal("s", "a") != vault.seal("s", "a")


def test_the_key_comes_from_the_setting_or_a_private_file(tmp_path: Path) -> None:
    key = base64.urlsafe_b64encode(b"z" * 32).decode()
    assert open_vault(Settings(vault_key=key)).open(Vault(b"z" * 32).seal("s", "a"), "a") == "s"

    first = open_vault(Settings(data_dir=tmp_path))
    assert (tmp_path / "vault.key").stat().st_mode & 0o077 == 0
    assert open_vault(Settings(data_dir=tmp_path)).open(first.seal("s", "a"), "a") == "s"


def test_a_shared_database_without_a_key_refuses_to_start() -> None:
    with pytest.raises(MisconfiguredError, match="HUB_VAULT_KEY"):
        open_vault(Settings(database_url="postgresql+psycopg://x"))
    with pytest.raises(MisconfiguredError, match="HUB_VAULT_KEY"):
        open_vault(Settings(vault_key="short"))
