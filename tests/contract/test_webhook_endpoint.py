"""Webhooks as vendors send them: challenges by GET, two secrets while one is rotated, a BOM, a slash at the end."""

import codecs
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support import VAULT_KEY, Web

from hub.bootstrap import Hub, utc_now
from hub.identity.api_keys import SCOPES, create_key
from hub.identity.connections import set_credentials
from hub.runtime.plugins import Plugins
from hub.sdk import Connector
from hub.sdk.manifest import parse_manifest
from hub.sdk.webhook import SignatureScheme, sign
from hub.settings import Settings

MANIFEST = """\
connector: {name}
name: Hook
version: 1.0.0
kind: erp
summary: Test.
canonical: 1
self_hosted: true
credentials: {{secret: {{description: Secret}}}}
webhooks: {{signature: {signature}, secret: secret, event_id: id{more}}}
"""
#: Connection → (its scheme as the manifest declares it, the same scheme to sign with).
SCHEMES = {
    "hexed": ("{header: x-sig, encoding: hex}", SignatureScheme("x-sig", encoding="hex")),
    "based": ("{header: x-sig, encoding: base64, over: [url, body]}", SignatureScheme("x-sig", over=("url", "body"))),
    "paired": (
        "{header: x-sig, encoding: hex, format: pairs, over: [timestamp, body], separator: '.'}",
        SignatureScheme("x-sig", encoding="hex", format="pairs", over=("timestamp", "body"), separator="."),
    ),
    "standard": (
        "{header: webhook-signature, format: list, over: [id, timestamp, body], separator: '.', key_encoding: base64, "
        "timestamp_header: webhook-timestamp, id_header: webhook-id}",
        SignatureScheme(
            "webhook-signature", format="list", over=("id", "timestamp", "body"), separator=".", key_encoding="base64",
            timestamp_header="webhook-timestamp", id_header="webhook-id",
        ),
    ),
    "fixed": ("{header: x-sig, type: static}", SignatureScheme("x-sig", type="static")),
}  # fmt: skip
FIRST, SECOND, THIRD = "whsec_Zmlyc3Q=", "whsec_c2Vjb25k", "whsec_dGhpcmQ="


def _connector(name: str, signature: str, more: str = "") -> type[Connector]:
    manifest = parse_manifest(MANIFEST.format(name=name, signature=signature, more=more), "hook.yaml")
    return type(name.title(), (Connector,), {"manifest": manifest})


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    found = {name: _connector(name, signature) for name, (signature, _) in SCHEMES.items()}
    found["asked"] = _connector("asked", SCHEMES["hexed"][0], ", handshake: {query: hub.challenge}")
    found["told"] = _connector("told", SCHEMES["hexed"][0], ", handshake: {body: challenge}")
    plugins = Plugins(found)
    with Hub(Settings(data_dir=tmp_path, vault_key=VAULT_KEY, public_url="http://hub.test"), plugins) as hub:
        hub.ctx.store.upgrade()
        with hub.ctx.store.begin() as uow:
            uow.tenants.add("acme", "Acme", utc_now())
            key = create_key(uow, "acme", "ops", SCOPES, utc_now())
            for name in plugins.connectors:
                uow.connections.put({
                    "tenant_id": "acme", "connection_id": name, "connector": name, "environment": "", "base_url": "https://x.test",
                    "settings": {}, "state": "active", "state_reason": "", "created_at": utc_now(), "updated_at": utc_now(),
                })  # fmt: skip
                set_credentials(uow, plugins, hub.ctx.vault, "acme", name, {"secret": FIRST}, utc_now(), "test")
        web = Web(hub, key)
        web.hub = hub  # type: ignore[attr-defined]
        yield web
        web.close()


def _rotate(web: Web, name: str, secret: str, ago_hours: float = 0) -> None:
    ctx = web.hub.ctx  # type: ignore[attr-defined]
    with ctx.store.begin() as uow:
        at = utc_now() - timedelta(hours=ago_hours)
        set_credentials(uow, ctx.plugins, ctx.vault, "acme", name, {"secret": secret}, at, "test")


def _send(web: Web, name: str, secret: str, event: str, body: bytes = b"", slash: str = "", signed_slash: str = "") -> int:
    body = body or json.dumps({"id": event}).encode()
    now = str(int(utc_now().timestamp()))
    scheme = SCHEMES[name][1]
    url = f"http://hub.test/webhooks/acme/{name}{signed_slash}"
    headers = {scheme.header: sign(scheme, secret, body, url, now, event), "webhook-timestamp": now, "webhook-id": event}
    return web.call("POST", f"/webhooks/acme/{name}{slash}", headers={**headers, "Content-Type": "application/json"}, raw=body)[
        0
    ]


def _audited(web: Web, action: str) -> list[dict[str, Any]]:
    return [row["detail"] for row in web.call("GET", "/v1/audit?limit=100")[1]["items"] if row["action"] == action]


def test_a_former_secret_is_accepted_until_its_end_when_it_was_rotated(web: Web) -> None:
    for name in SCHEMES:
        _rotate(web, name, SECOND)
        known = [_send(web, name, FIRST, "E-1"), _send(web, name, SECOND, "E-2"), _send(web, name, THIRD, "E-3")]
        assert known == [200, 200, 401], name
        assert _audited(web, "webhook.former_secret")[0]["version"] == 1
        _rotate(web, name, THIRD, ago_hours=25)
        known = [_send(web, name, FIRST, "E-4"), _send(web, name, SECOND, "E-5"), _send(web, name, THIRD, "E-6")]
        assert known == [401, 401, 200], name
    assert len(_audited(web, "webhook.former_secret")) == len(SCHEMES)
    assert "former secret (version 2), which ended" in _audited(web, "webhook.refused")[0]["reason"]


def test_a_former_secret_ends_at_once_when_no_hours_are_given_to_it(web: Web) -> None:
    assert web.call("PUT", "/v1/connections/hexed/credentials?former_hours=0", {"secret": SECOND})[0] == 200

    assert [_send(web, "hexed", FIRST, "E-1"), _send(web, "hexed", SECOND, "E-2")] == [401, 200]


def test_a_secret_that_is_given_again_ends_no_other_when_it_is_the_same(web: Web) -> None:
    _rotate(web, "hexed", SECOND)
    _rotate(web, "hexed", SECOND)

    assert [_send(web, "hexed", FIRST, "E-1"), _send(web, "hexed", SECOND, "E-2")] == [200, 200]
    assert web.call("GET", "/v1/connections/hexed")[1]["credentials"] == ["secret"]


def test_a_challenge_by_get_is_answered_when_the_manifest_declares_it(web: Web) -> None:
    status, answer, headers = web.call("GET", "/webhooks/acme/asked/?hub.mode=subscribe&hub.challenge=1158201444")

    assert (status, str(answer)) in ((200, "1158201444"), (200, "b'1158201444'"))
    assert headers["content-type"].startswith("text/plain")
    assert _audited(web, "webhook.challenged") == [{"challenge": "1158201444"}]


def test_a_get_is_refused_when_it_is_no_declared_challenge(web: Web) -> None:
    for target in ("asked", "asked?hub.challenge=", "told?challenge=x", "hexed?hub.challenge=x"):
        assert web.call("GET", f"/webhooks/acme/{target}")[0] == 405, target
    assert web.call("GET", "/webhooks/acme/none?hub.challenge=x")[0] == 404


def test_a_body_is_read_behind_its_bom_when_its_bytes_are_signed(web: Web) -> None:
    first, again = codecs.BOM_UTF8 + b'{"id": "E-1"}', codecs.BOM_UTF8 + b'{"id":  "E-1"}'

    assert [_send(web, "hexed", FIRST, "E-1", first), _send(web, "hexed", FIRST, "E-1", again)] == [200, 200]
    assert web.call("GET", "/v1/status")[1]["raw"] == {"received": 1}


def test_a_webhook_is_taken_when_its_url_ends_with_a_slash(web: Web) -> None:
    for name in SCHEMES:
        for signed in ("", "/"):
            assert _send(web, name, FIRST, f"E-{signed}", slash="/", signed_slash=signed) == 200, name
            assert _send(web, name, SECOND, f"F-{signed}", slash="/", signed_slash=signed) == 401, name
