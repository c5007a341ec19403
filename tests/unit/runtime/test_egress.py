"""No request leaves to where a connection may not go, however the address is written."""

import asyncio

import pytest

from hub.runtime.egress import Egress, EgressRefusedError

BASE = "https://api.acme.example"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x", "https://api.acme.example:8443/x", "http://api.acme.example/x", "https://api.acme.example.evil.example/",
        "https://user:pw@api.acme.example/x", "file:///etc/passwd", "gopher://api.acme.example/x", "https://api.acme.example@evil.example/",
        "//evil.example/x", "https://[::1]/x", "",
    ],
)  # fmt: skip
def test_another_host_port_scheme_or_userinfo_is_refused(url: str) -> None:
    with pytest.raises(EgressRefusedError):
        Egress("").check(BASE, url)


@pytest.mark.parametrize(
    "base",
    [
        "https://127.0.0.1", "https://10.1.2.3", "https://192.168.0.1", "https://172.16.9.9", "https://169.254.169.254",
        "https://0.0.0.0", "https://[::1]", "https://[::ffff:169.254.169.254]", "https://[fe80::1]", "https://[fc00::1]",
        "https://[64:ff9b::7f00:1]", "https://[2002:7f00:1::]", "https://100.64.0.1", "https://224.0.0.1", "https://255.255.255.255",
    ],
)  # fmt: skip
def test_private_and_special_addresses_are_refused_unless_an_operator_allowed_them(base: str) -> None:
    with pytest.raises(EgressRefusedError):
        Egress("").check(base, f"{base}/x")


def test_an_allowed_private_host_may_be_reached_and_only_on_its_port() -> None:
    egress = Egress("127.0.0.1:8000, erp.internal")

    egress.check("http://127.0.0.1:8000", "http://127.0.0.1:8000/x")
    egress.check("http://erp.internal:9000", "http://erp.internal:9000/x")
    with pytest.raises(EgressRefusedError):
        egress.check("http://127.0.0.1:8001", "http://127.0.0.1:8001/x")


@pytest.mark.parametrize("name", ["localhost", "2130706433", "0x7f.1", "0177.0.0.1"])
def test_a_name_that_resolves_to_a_private_address_is_refused_when_it_is_connected(name: str) -> None:
    async def resolve() -> None:
        await Egress("").resolver().resolve(name, 443)

    with pytest.raises((EgressRefusedError, OSError)):
        asyncio.run(resolve())


def test_the_public_host_itself_passes() -> None:
    Egress("").check(BASE, f"{BASE}/v2/orders?x=1")
