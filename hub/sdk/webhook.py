"""Webhook authenticity: schemes a manifest declares and the hub runs over the raw bytes. No plugin code runs here.

Constant-time comparison; several secrets may be valid at once (rotation).
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Part = Literal["url", "body", "timestamp"]


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """HMAC of the concatenated ``over`` parts.

    Attributes:
        header: lower-case header that carries the signature.
        algorithm: ``sha256`` or ``sha1``.
        encoding: ``base64`` or ``hex``.
        over: the parts, in order; ``url`` is the notification URL exactly as registered with the vendor.
        timestamp_header: where ``timestamp`` comes from, if it is a part.
        tolerance_seconds: how far a timestamp may be off.
    """

    header: str
    algorithm: Literal["sha256", "sha1"] = "sha256"
    encoding: Literal["base64", "hex"] = "base64"
    over: tuple[Part, ...] = ("body",)
    timestamp_header: str = ""
    tolerance_seconds: int = 300


def sign(scheme: SignatureScheme, secret: str, body: bytes, url: str = "", timestamp: str = "") -> str:
    """The signature a sender puts into ``scheme.header``."""
    parts = {"url": url.encode(), "body": body, "timestamp": timestamp.encode()}
    digest = hmac.new(secret.encode(), b"".join(parts[part] for part in scheme.over), scheme.algorithm).digest()
    return base64.b64encode(digest).decode() if scheme.encoding == "base64" else digest.hex()


def verify(
    scheme: SignatureScheme,
    secrets: Iterable[str],
    body: bytes,
    headers: Mapping[str, str],
    url: str = "",
    now: float = 0.0,
) -> str | None:
    """None if the webhook is authentic, else the reason it is not (for the audit line; the sender learns only 401)."""
    given = headers.get(scheme.header, "")
    if not given:
        return f"header {scheme.header} is missing"
    timestamp = headers.get(scheme.timestamp_header, "") if scheme.timestamp_header else ""
    if "timestamp" in scheme.over:
        try:
            skew = abs(now - float(timestamp))
        except ValueError:
            return f"header {scheme.timestamp_header} is not a unix timestamp"
        if skew > scheme.tolerance_seconds:
            return f"timestamp is {skew:.0f} s off; at most {scheme.tolerance_seconds} s"
    known = list(secrets)
    if not known:
        return "the connection has no webhook secret"
    matches = [hmac.compare_digest(sign(scheme, secret, body, url, timestamp).encode(), given.encode())
               for secret in known]  # fmt: skip
    return None if any(matches) else "signature does not match"


def body_digest(body: bytes) -> str:
    """Stand-in event id of a webhook that carries none (or cannot be read): the digest of its bytes."""
    return hashlib.sha256(body).hexdigest()
