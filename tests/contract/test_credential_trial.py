"""Credentials are tried before they replace those that work: by the check, by a read, or by a token request."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from click.testing import CliRunner
from support import VAULT_KEY, Web

from hub.bootstrap import Hub, utc_now
from hub.cli import main
from hub.identity.api_keys import SCOPES, create_key
from hub.identity.connections import check
from hub.identity.vault import load_credentials
from hub.runtime.plugins import Plugins
from hub.sdk import Connector
from hub.sdk.manifest import parse_manifest
from hub.settings import Settings

HEAD = """\
connector: NAME
name: Trial
version: 1.0.0
kind: erp
summary: Test.
canonical: 1
self_hosted: true
"""
TOKEN = "credentials: {token: {description: Token}}\nauth: {headers: {Authorization: 'Bearer {token}'}}\n"
CHECK = "check: {request: {method: GET, path: /me}}\n"
OAUTH = (
    "credentials: {client_id: {description: C}, client_secret: {description: S}, refresh_token: {description: R}}\n"
    "auth: {headers: {Authorization: 'Bearer {access_token}'}, oauth2: {grant: refresh_token, token_url: /token}}\n"
)
CONNECTORS = {"checked": TOKEN + CHECK, "granted": OAUTH + CHECK, "mute": TOKEN}


class Vendor(http.server.BaseHTTPRequestHandler):
    """Knows one token; a refresh token is good once."""

    refresh = "refresh-0"

    def do_GET(self) -> None:
        given = self.headers["Authorization"]
        is_good = given in ("Bearer right-token", "Bearer access-1")
        self._answer(200 if is_good else 401, {"items": []} if is_good else {"error": f"not {given}"})

    def do_POST(self) -> Any:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if form["refresh_token"] != [Vendor.refresh]:
            return self._answer(400, {"error": "invalid_grant"})
        Vendor.refresh = "refresh-1"
        return self._answer(200, {"access_token": "access-1", "refresh_token": "refresh-1", "expires_in": 3600})

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    Vendor.refresh = "refresh-0"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    plugins = Plugins({
        name: type(name.title(), (Connector,), {"manifest": parse_manifest(HEAD.replace("NAME", name) + text, "m")})
        for name, text in CONNECTORS.items()
    })  # fmt: skip
    with Hub(Settings(data_dir=tmp_path, vault_key=VAULT_KEY, egress_private_hosts="127.0.0.1"), plugins) as hub:
        hub.ctx.store.upgrade()
        with hub.ctx.store.begin() as uow:
            uow.tenants.add("acme", "Acme", utc_now())
            key = create_key(uow, "acme", "ops", SCOPES, utc_now())
            for name in plugins.connectors:
                uow.connections.put({
                    "tenant_id": "acme", "connection_id": name, "connector": name, "environment": "",
                    "base_url": f"http://127.0.0.1:{server.server_port}", "settings": {}, "state": "active",
                    "state_reason": "", "created_at": utc_now(), "updated_at": utc_now(),
                })  # fmt: skip
        web = Web(hub, key)
        web.hub = hub  # type: ignore[attr-defined]
        yield web
        web.close()
    server.shutdown()
    server.server_close()


def _put(web: Web, name: str, query: str = "?try_first=true", **values: str) -> tuple[int, str]:
    status, body, _ = web.call("PUT", f"/v1/connections/{name}/credentials{query}", values)
    return status, json.dumps(body)


def _stored(web: Web, name: str) -> dict[str, str]:
    hub: Hub = web.hub  # type: ignore[attr-defined]
    with hub.ctx.store.read() as uow:
        return load_credentials(uow, hub.ctx.vault, "acme", name)


def test_a_refused_credential_is_not_stored_when_it_is_tried_first(web: Web) -> None:
    assert _put(web, "checked", token="right-token")[0] == 200

    refused = _put(web, "checked", token="wrong-token")

    assert refused[0] == 409
    assert "the credentials of before stay in force" in refused[1]
    assert "wrong-token" not in refused[1]
    assert _stored(web, "checked") == {"token": "right-token"}


def test_a_credential_is_stored_untried_when_nobody_asks_for_a_trial(web: Web) -> None:
    assert _put(web, "checked", "", token="wrong-token")[0] == 200
    assert _stored(web, "checked") == {"token": "wrong-token"}


def test_a_connector_without_check_says_that_nothing_was_tried(web: Web) -> None:
    assert _put(web, "mute", token="anything")[0] == 200
    _, answer, _ = web.call("POST", "/v1/connections/mute/check")
    assert answer["detail"] == "not tried: this connector has no check"


def test_an_oauth_credential_is_tried_by_a_token_request(web: Web) -> None:
    client = {"client_id": "the client", "client_secret": "the secret"}

    refused = _put(web, "granted", **client, refresh_token="another-one")
    assert (refused[0], _stored(web, "granted")) == (409, {})

    assert _put(web, "granted", **client, refresh_token="refresh-0")[0] == 200
    hub: Hub = web.hub  # type: ignore[attr-defined]
    with hub.ctx.store.read() as uow:
        session = hub.ctx.sessions.get(uow, "acme", "granted")
        row = uow.tokens.get("acme", "granted")
    assert row is not None
    assert check(hub.ctx.loop, session) == {"ok": True, "detail": "answered 200"}, "refresh-0 is used up: its tokens were kept"


def test_hours_of_a_former_secret_are_refused_when_they_are_negative(web: Web) -> None:
    assert _put(web, "checked", "?former_hours=-1", token="right-token")[0] == 400
    assert _put(web, "checked", "?former_hours=0", token="right-token")[0] == 200


@pytest.mark.parametrize(("token", "option", "code", "kept"), [
    ("wrong-token", [], 1, "right-token"), ("right-token", [], 0, "right-token"), ("wrong-token", ["--untried"], 0, "wrong-token"),
])  # fmt: skip
def test_connect_keeps_the_credential_that_works_when_the_vendor_refuses_the_other(
    web: Web, token: str, option: list[str], code: int, kept: str
) -> None:
    assert _put(web, "checked", token="right-token")[0] == 200
    arguments = ["connect", "checked", f"token={token}", *option, "--url", f"http://127.0.0.1:{web.port}", "--key", web.key]

    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == code, result.output
    assert "wrong-token" not in result.output
    assert _stored(web, "checked") == {"token": kept}
