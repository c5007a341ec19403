"""Egress: the one door out. Resolves once and connects to that address; private networks only where an operator allowed it.

Source: RELIABILITY 3.2 (S1); OWASP API7 SSRF. Redirects are never followed.
"""

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from hub.sdk.errors import PermanentError


class EgressRefusedError(PermanentError):
    """The request would leave to where this connection may not go; nothing was sent."""

    code = "egress_refused"


class Egress:
    """Decides where a request may go. ``private_hosts``: `host` or `host:port` that may resolve to private addresses."""

    def __init__(self, private_hosts: str) -> None:
        self._judged: set[str] = set()
        self._private = {item.strip().lower() for item in private_hosts.split(",") if item.strip()}

    def check(self, base_url: str, url: str) -> None:
        """Raise EgressRefusedError unless ``url`` is below ``base_url`` and its host may be reached."""
        origin = base_url.rstrip("/")
        if origin in self._judged and url.startswith(f"{origin}/"):
            return
        self._judge(base_url, url)
        if url.startswith(f"{origin}/") and not urlsplit(origin).query and not urlsplit(origin).fragment:
            self._judged.add(origin)

    def _judge(self, base_url: str, url: str) -> None:
        base, target = urlsplit(base_url), urlsplit(url)
        if target.scheme not in ("http", "https") or target.username or target.password:
            raise EgressRefusedError(f"only plain http(s) URLs may be called, not {target.scheme}://…")
        if (target.scheme, target.hostname, target.port) != (base.scheme, base.hostname, base.port):
            raise EgressRefusedError(f"{target.netloc} is not this connection's host {base.netloc}")
        host, port = (target.hostname or "").rstrip("."), target.port or (443 if target.scheme == "https" else 80)
        if target.scheme == "http" and not self.may_be_private(host, port):
            raise EgressRefusedError(f"http:// to {host} would send credentials in clear; use https")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return  # a name: `resolver` judges what it resolves to
        if not _public(address) and not self.may_be_private(host, port):
            raise EgressRefusedError(f"{host} is not a public address", remedy=_REMEDY)

    def may_be_private(self, host: str, port: int) -> bool:
        return host.lower() in self._private or f"{host.lower()}:{port}" in self._private

    def resolver(self) -> AbstractResolver:
        """The resolver aiohttp connects by: it returns only addresses that may be reached."""
        return _Guarded(self)


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REMEDY = "name it in HUB_EGRESS_PRIVATE_HOSTS if the hub may reach it"


class _Guarded(AbstractResolver):
    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if self._egress.may_be_private(host, port):
            return found
        allowed = [item for item in found if _public(ipaddress.ip_address(item["host"]))]
        if not allowed:
            raise EgressRefusedError(f"{host} resolves to no public address", remedy=_REMEDY)
        return allowed

    async def close(self) -> None:
        await self._inner.close()


def _public(address: Any) -> bool:
    mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    if mapped is not None:
        address = mapped
    if address.version == 6 and address in _NAT64:
        address = ipaddress.ip_address(int(address) & 0xFFFFFFFF)
    return bool(address.is_global and not address.is_multicast)


def connector_for(egress: Egress, limit: int) -> aiohttp.TCPConnector:
    """A connection pool that goes through the guard."""
    return aiohttp.TCPConnector(resolver=egress.resolver(), limit=limit, use_dns_cache=False)
