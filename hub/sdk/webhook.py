"""Webhook authenticity: schemes a manifest declares and the hub runs over the raw bytes. No plugin code runs here.

Constant-time comparison; several secrets may be valid at once (rotation).
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

#: Why a signature by another secret is refused.
MISMATCH = "signature does not match"

Part = Literal["url", "body", "timestamp", "id"]


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """HMAC of the concatenated ``over`` parts; or, `static`, the secret itself in a header.

    Attributes:
        header: lower-case header that carries the signature.
        type: ``hmac``, or ``static``: whoever knows the secret sends it (the body is then vouched for by TLS alone).
        algorithm: ``sha256``, ``sha1`` or ``sha512``.
        encoding: ``base64`` or ``hex``.
        over: the parts, in order; ``url`` is the notification URL exactly as registered with the vendor.
        separator: text between the parts.
        format: ``plain``; ``pairs`` (``t=1700000000,v1=…``, several v1 while a secret is rotated); ``list`` (``v1,… v1,…``).
        prefix: what stands before a plain signature, for example ``sha256=``.
        key_encoding: ``text``, or ``base64`` (after ``whsec_``, if it begins so).
        timestamp_header: where ``timestamp`` comes from, if it is a part and not in the pairs.
        id_header: where ``id`` comes from, if it is a part.
        tolerance_seconds: how far a timestamp may be off.
    """

    header: str
    type: Literal["hmac", "static"] = "hmac"
    algorithm: Literal["sha256", "sha1", "sha512"] = "sha256"
    encoding: Literal["base64", "hex"] = "base64"
    over: tuple[Part, ...] = ("body",)
    separator: str = ""
    format: Literal["plain", "pairs", "list"] = "plain"
    prefix: str = ""
    key_encoding: Literal["text", "base64"] = "text"
    timestamp_header: str = ""
    id_header: str = ""
    tolerance_seconds: int = 300


def sign(scheme: SignatureScheme, secret: str, body: bytes, url: str = "", timestamp: str = "", identity: str = "") -> str:
    """What a sender puts into ``scheme.header``."""
    if scheme.type == "static":
        return secret
    signature = _digest(scheme, secret, body, url, timestamp, identity)
    match scheme.format:
        case "pairs":
            return f"t={timestamp},v1={signature}"
        case "list":
            return f"v1,{signature}"
    return f"{scheme.prefix}{signature}"


def _digest(scheme: SignatureScheme, secret: str, body: bytes, url: str, timestamp: str, identity: str) -> str:
    parts = {"url": url.encode(), "body": body, "timestamp": timestamp.encode(), "id": identity.encode()}
    key = secret.encode()
    if scheme.key_encoding == "base64":
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    digest = hmac.new(key, scheme.separator.encode().join(parts[part] for part in scheme.over), scheme.algorithm).digest()
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
    signatures, stamped = _read(scheme, given)
    timestamp = stamped or (headers.get(scheme.timestamp_header, "") if scheme.timestamp_header else "")
    if "timestamp" in scheme.over:
        try:
            skew = abs(now - float(timestamp))
        except ValueError:
            return f"{scheme.timestamp_header or scheme.header} carries no unix timestamp"
        if not skew <= scheme.tolerance_seconds:  # what is no number is not near
            return f"timestamp is {skew:.0f} s off; at most {scheme.tolerance_seconds} s"
    known = list(secrets)
    if not known:
        return "the connection has no webhook secret"
    if scheme.type == "static":
        wanted = [secret.encode() for secret in known]
    else:
        identity = headers.get(scheme.id_header, "") if scheme.id_header else ""
        try:
            wanted = [_digest(scheme, secret, body, url, timestamp, identity).encode() for secret in known]
        except ValueError:
            return "the connection's webhook secret is not base64"
    if scheme.type == "hmac" and scheme.encoding == "hex":  # both cases are in use
        signatures = [signature.lower() for signature in signatures]
    matches = [hmac.compare_digest(one, signature.encode()) for one in wanted for signature in signatures]
    return None if any(matches) else MISMATCH


def _read(scheme: SignatureScheme, given: str) -> tuple[list[str], str]:
    """(signatures, timestamp) of a header's value; at most ten are looked at."""
    if scheme.type == "static" or scheme.format == "plain":
        return ([given.removeprefix(scheme.prefix)] if given.startswith(scheme.prefix) else []), ""
    if scheme.format == "list":
        return [item.removeprefix("v1,") for item in given.split(" ")[:10] if item.startswith("v1,")], ""
    pairs = [item.strip().partition("=") for item in given.split(",")[:11]]
    return [value for name, _, value in pairs if name == "v1"], next((value for name, _, value in pairs if name == "t"), "")


def body_digest(body: bytes) -> str:
    """Stand-in event id of a webhook that carries none (or cannot be read): the digest of its bytes."""
    return hashlib.sha256(body).hexdigest()
