"""A vendor that asks whether we are there gets its answer; nothing is stored, the audit knows; nobody else gets an echo."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import VAULT_KEY, Web

from hub.bootstrap import Hub, utc_now
from hub.identity.api_keys import SCOPES, create_key
from hub.identity.connections import set_credentials
from hub.runtime.plugins import Plugins
from hub.sdk import Connector
from hub.sdk.manifest import parse_manifest
from hub.settings import Settings

MANIFEST = """\
connector: {name}
name: Asks
version: 1.0.0
kind: erp
summary: Test.
canonical: 1
self_hosted: true
credentials: {{code: {{description: Code}}}}
webhooks: {{signature: {{header: x-auth, type: static}}, secret: code, event_id: id, handshake: {handshake}}}
"""


def _connector(name: str, handshake: str) -> type[Connector]:
    manifest = parse_manifest(MANIFEST.format(name=name, handshake=handshake), "asks.yaml")
    return type(name.title(), (Connector,), {"manifest": manifest})


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    plugins = Plugins(
        {"query": _connector("query", "{query: validationToken}"), "body": _connector("body", "{body: challenge}")}
    )
    folder: Path = tmp_path_factory.mktemp("asks")
    with Hub(Settings(data_dir=folder, vault_key=VAULT_KEY), plugins) as hub:
        hub.ctx.store.upgrade()
        with hub.ctx.store.begin() as uow:
            uow.tenants.add("acme", "Acme", utc_now())
            key = create_key(uow, "acme", "ops", SCOPES, utc_now())
            for name in plugins.connectors:
                uow.connections.put({
                    "tenant_id": "acme", "connection_id": name, "connector": name, "environment": "", "base_url": "https://x.test",
                    "settings": {}, "state": "active", "state_reason": "", "created_at": utc_now(), "updated_at": utc_now(),
                })  # fmt: skip
            set_credentials(uow, plugins, hub.ctx.vault, "acme", "body", {"code": "the-code"}, utc_now(), "test")
        web = Web(hub, key)
        yield web
        web.close()


def _post(web: Web, target: str, body: bytes = b"{}") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    connection.request("POST", target, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    found = response.status, response.getheader("content-type") or "", response.read()
    connection.close()
    return found


def test_a_challenge_is_answered_as_plain_text(web: Web) -> None:
    status, kind, body = _post(web, "/webhooks/acme/query?validationToken=a%3Cb%3E%20c")

    assert (status, kind, body) == (200, "text/plain; charset=utf-8", b"a<b> c")
    assert _post(web, "/webhooks/acme/body", b'{"challenge": "3eZbrw1aB"}')[2] == b"3eZbrw1aB"
    records = web.call("GET", "/v1/audit?limit=50")[1]["items"]
    assert [row["detail"]["challenge"] for row in records if row["action"] == "webhook.challenged"] == ["3eZbrw1aB", "a<b> c"]
    assert web.call("GET", "/v1/status")[1]["raw"] == {}


def test_a_signed_event_that_resembles_a_challenge_is_answered_and_stored(web: Web) -> None:
    before = web.call("GET", "/v1/status")[1]["raw"]
    signed = {"Content-Type": "application/json", "x-auth": "the-code"}

    status, answer, _ = web.call("POST", "/webhooks/acme/body", headers=signed, raw=b'{"id": "E-1", "challenge": "abc"}')

    assert (status, answer) == (200, b"abc")
    assert sum(web.call("GET", "/v1/status")[1]["raw"].values()) == sum(before.values()) + 1


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/webhooks/acme/query", b'{"validationToken": "x"}'), ("/webhooks/acme/query?validationToken=", b"{}"),
        ("/webhooks/acme/query?other=x", b"{}"), ("/webhooks/acme/query?validationToken=" + "x" * 1001, b"{}"),
        ("/webhooks/acme/query?validationToken=a%0d%0ab", b"{}"), ("/webhooks/acme/body?challenge=x", b"{}"),
        ("/webhooks/acme/body", b'{"challenge": 7}'), ("/webhooks/acme/body", b"no json"), ("/webhooks/other/query?validationToken=x", b"{}"),
    ],
)  # fmt: skip
def test_what_is_no_challenge_is_judged_as_a_webhook(web: Web, target: str, body: bytes) -> None:
    status, kind, _ = _post(web, target, body)

    assert status in (401, 404)
    assert "problem+json" in kind
