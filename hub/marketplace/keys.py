"""Keys of people and roles: ed25519, a private file that only its owner reads and a public one to hand over."""

import json
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, Key, SSlibKey


class KeyFileError(ValueError):
    """A key file that cannot be used."""


def make_key(path: Path) -> CryptoSigner:
    """A new key: ``path`` (private, mode 0600) and ``path`` + `.pub`."""
    if path.exists():
        raise KeyFileError(f"{path} is there already; a key is never written over")
    signer = CryptoSigner.generate_ed25519()
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(signer.private_bytes)
    public = {"keyid": signer.public_key.keyid, **signer.public_key.to_dict()}
    path.with_name(f"{path.name}.pub").write_text(f"{json.dumps(public, indent=2)}\n")
    return signer


def read_key(path: Path) -> CryptoSigner:
    """A private key; raises KeyFileError."""
    try:
        private: Any = load_pem_private_key(path.read_bytes(), None)
        return CryptoSigner(private)
    except (OSError, ValueError, TypeError) as error:
        raise KeyFileError(f"{path}: no private key of ours ({error})") from None


def read_public(path: Path) -> Key:
    """A public key, from its `.pub` file; raises KeyFileError."""
    try:
        data = json.loads(path.read_text("utf-8"))
        return SSlibKey.from_dict(data.pop("keyid"), data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeyFileError(f"{path}: no public key ({error})") from None
