"""S8: a person agrees in a browser. State once, ten minutes, the same browser; PKCE; the redirect exact; attacks refused."""

import base64
import hashlib
import http.client
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from support import VAULT_KEY, Web

from hub.bootstrap import Hub, utc_now
from hub.identity.api_keys import SCOPES, create_key
from hub.identity.connections import set_credentials
from hub.runtime.plugins import Plugins
from hub.sdk import Connector, Response
from hub.sdk.manifest import parse_manifest
from hub.sdk.testing import SimRequest, Simulator, SimulatorServer, answer
from hub.settings import Settings

MANIFEST = """\
connector: {name}
name: Vendor
version: 1.0.0
kind: erp
summary: Test.
canonical: 1
self_hosted: true
credentials: {{client_id: {{description: Id}}, client_secret: {{description: Secret}}, refresh_token: {{description: Token, required: false}}}}
auth: {auth}
check: {{request: {{path: /me}}}}
"""
CODE = "{{oauth2: {{grant: authorization_code, authorize_url: '{url}/agree?brand=x', token_url: '{url}/token', scopes: [a.read, a.write]}}}}"


class Vendor(Simulator):
    """Gives codes to whoever agrees, and tokens for a code to whoever can show what its challenge was made from."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens = 0

    def agree(self, location: str) -> dict[str, str]:
        """What the browser brings back when the person says yes."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def handle(self, request: SimRequest) -> Response:
        if request.path != "/token":
            good = request.headers.get("authorization", "").removeprefix("Bearer ") == f"access-{self.tokens}"
            return answer(200 if good else 401, {})
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        asked = self.codes.pop(form.get("code", ""), None)
        made = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if asked is None or made != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return answer(400, {"error": "invalid_grant"})
        self.tokens += 1
        return answer(
            200, {"access_token": f"access-{self.tokens}", "refresh_token": f"refresh-{self.tokens}", "expires_in": 3600}
        )


class Place:
    """A hub on a port, a vendor beside it, and browsers."""

    def __init__(self, folder: Any) -> None:
        self.vendor = Vendor()
        self.server = SimulatorServer(self.vendor)
        plain = "{headers: {Authorization: '{client_id}'}}"
        manifests = {"vendor": CODE.format(url=self.server.url), "plain": plain}
        plugins = Plugins({name: type(name.title(), (Connector,), {"manifest": parse_manifest(MANIFEST.format(name=name, auth=auth), f"{name}.yaml")})
                           for name, auth in manifests.items()})  # fmt: skip
        settings = Settings(
            data_dir=folder, vault_key=VAULT_KEY, egress_private_hosts="127.0.0.1", public_url="https://hub.example"
        )
        self.hub = Hub(settings, plugins)
        self.hub.ctx.store.upgrade()
        self.keys = {}
        with self.hub.ctx.store.begin() as uow:
            for tenant in ("acme", "rival"):
                uow.tenants.add(tenant, tenant, utc_now())
                self.keys[tenant] = create_key(uow, tenant, "ops", SCOPES, utc_now())
                for name in ("vendor", "plain"):
                    uow.connections.put({
                        "tenant_id": tenant, "connection_id": f"{tenant}-{name}", "connector": name, "environment": "", "base_url": self.server.url,
                        "settings": {}, "state": "paused", "state_reason": "new", "created_at": utc_now(), "updated_at": utc_now(),
                    })  # fmt: skip
                set_credentials(uow, plugins, self.hub.ctx.vault, tenant, f"{tenant}-vendor", {"client_id": "the-id", "client_secret": "the-secret"},
                                utc_now(), "test")  # fmt: skip
            self.readers = create_key(uow, "acme", "reader", ["messages:read"], utc_now())
        self.web = Web(self.hub, self.keys["acme"])

    def browser(self, key: str) -> "Browser":
        browser = Browser(self.web.port)
        assert browser.go("POST", "/console/sign-in", {"key": key})[0] == 302
        return browser

    def audited(self) -> list[str]:
        with self.hub.ctx.store.read() as uow:
            return [
                row["detail"].get("reason", "")
                for row in uow.audit.page("acme", None, 100)
                if row["action"] == "connection.authorization_refused"
            ]

    def close(self) -> None:
        self.web.close()
        self.hub.close()
        self.server.close()


class Browser:
    """Keeps cookies by path, as browsers do."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cookies: dict[str, tuple[str, str]] = {}
        self.flags: dict[str, Any] = {}

    def go(self, method: str, target: str, form: dict[str, str] | None = None, host: str = "") -> tuple[int, str, str]:
        """(status, location, text)."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        sent = "; ".join(f"{name}={value}" for name, (value, path) in self.cookies.items() if target.startswith(path))
        headers = {"Cookie": sent, "Content-Type": "application/x-www-form-urlencoded", **({"Host": host} if host else {})}
        connection.request(method, target, urlencode(form or {}), headers)
        response = connection.getresponse()
        text = response.read().decode()
        for line in response.headers.get_all("set-cookie") or []:
            for name, item in SimpleCookie(line).items():
                self.cookies[name] = (item.value, item["path"] or "/")
                self.flags[name] = item
        connection.close()
        return response.status, response.headers.get("location") or "", text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("authorization"))
    yield place
    place.close()


def begin(place: Place, browser: Browser, connection: str = "acme-vendor") -> str:
    status, location, text = browser.go("POST", f"/console/connections/{connection}/authorize")
    assert status == 302, text
    return location


def back(browser: Browser, given: dict[str, str]) -> tuple[int, str]:
    status, _, text = browser.go("GET", f"/console/authorized?{urlencode(given)}")
    return status, text


def test_a_person_agrees_and_the_connection_works(place: Place) -> None:
    browser = place.browser(place.keys["acme"])
    assert "Connect account" in browser.go("GET", "/console")[2]

    location = begin(place, browser)

    asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
    assert location.startswith(f"{place.server.url}/agree?brand=x&")
    assert asked["redirect_uri"] == "https://hub.example/console/authorized"
    assert (asked["scope"], asked["response_type"], asked["code_challenge_method"]) == ("a.read a.write", "code", "S256")
    assert len(asked["state"]) > 40
    flags = browser.flags["crossdock-authorization"]
    assert (flags["httponly"], flags["samesite"], flags["secure"], flags["path"]) == (True, "Lax", True, "/console/authorized")
    status, text = back(browser, place.vendor.agree(location))
    assert (status, "may use the account" in text) == (200, True)
    assert place.web.call("POST", "/v1/connections/acme-vendor/check")[1]["ok"] is True
    with place.hub.ctx.store.read() as uow:
        row = uow.connections.get("acme", "acme-vendor")
    assert row is not None
    assert row["state"] == "active"


Attack = Callable[[Place, Browser, str], tuple[int, str]]


def replayed(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    given = place.vendor.agree(location)
    kept = dict(browser.cookies)
    assert back(browser, given)[0] == 200
    browser.cookies = kept
    return back(browser, given | {"code": place.vendor.agree(location)["code"]})


def forged(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    return back(browser, place.vendor.agree(location) | {"state": secrets.token_urlsafe(32)})


def another_browser(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    return back(place.browser(place.keys["acme"]), place.vendor.agree(location))


def anothers_flow(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    """The victim's browser is led to come back with the attacker's state: the attacker's cookie is not there."""
    attacker = place.browser(place.keys["rival"])
    return back(browser, place.vendor.agree(begin(place, attacker, "rival-vendor")))


def injected_code(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    """A code stolen from another flow: its challenge was made from another verifier."""
    stolen = place.vendor.agree(begin(place, place.browser(place.keys["rival"]), "rival-vendor"))["code"]
    return back(browser, place.vendor.agree(location) | {"code": stolen})


def late(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    clock = place.hub.ctx.clock
    place.hub.ctx.clock = lambda: clock() + timedelta(minutes=11)
    try:
        return back(browser, place.vendor.agree(location))
    finally:
        place.hub.ctx.clock = clock


def refused(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    return back(browser, {"state": place.vendor.agree(location)["state"], "error": "access_denied"})


def error_and_code(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    return back(browser, place.vendor.agree(location) | {"error": "access_denied"})


def no_code(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    return back(browser, {"state": place.vendor.agree(location)["state"]})


def no_state(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    return back(browser, {"code": place.vendor.agree(location)["code"]})


def spent_code(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    given = place.vendor.agree(location)
    place.vendor.codes.clear()
    return back(browser, given)


def script(place: Place, browser: Browser, location: str) -> tuple[int, str]:
    status, text = back(browser, {"state": place.vendor.agree(location)["state"], "error": "<script>alert(1)</script>"})
    assert "<script>" not in text
    return status, text


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (replayed, "twice"), (forged, "without being asked for"), (another_browser, "another browser"), (anothers_flow, "another browser"),
        (injected_code, "invalid_grant"), (late, "ten minutes"), (refused, "access_denied"), (error_and_code, "access_denied"),
        (no_code, "the vendor said nothing"), (no_state, "without being asked for"), (spent_code, "invalid_grant"), (script, "the vendor said"),
    ],
)  # fmt: skip
def test_an_attack_is_refused(place: Place, attack: Attack, words: str) -> None:
    browser = place.browser(place.keys["acme"])
    location = begin(place, browser)
    before = place.vendor.tokens

    status, text = attack(place, browser, location)

    assert status == 400
    assert words in text
    assert place.vendor.tokens - before == (1 if attack is replayed else 0)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/console/connections/acme-vendor/authorize", 405), ("POST", "/console/connections/rival-vendor/authorize", 409),
        ("POST", "/console/connections/acme-plain/authorize", 409), ("POST", "/console/connections/nothing/authorize", 409),
        ("POST", "/console/authorized", 405),
    ],
)  # fmt: skip
def test_what_cannot_be_begun(place: Place, method: str, target: str, status: int) -> None:
    browser = place.browser(place.keys["acme"])

    assert browser.go(method, target)[0] == status
    assert "crossdock-authorization" not in browser.cookies


def test_who_may_not_begin(place: Place) -> None:
    assert Browser(place.web.port).go("POST", "/console/connections/acme-vendor/authorize")[0] == 403
    assert place.browser(place.readers).go("POST", "/console/connections/acme-vendor/authorize")[0] == 403


def test_the_redirect_is_not_the_callers_to_choose(place: Place) -> None:
    browser = place.browser(place.keys["acme"])
    _, location, _ = browser.go(
        "POST", "/console/connections/acme-vendor/authorize?redirect_uri=https://evil.example", host="evil.example"
    )

    assert parse_qs(urlsplit(location).query)["redirect_uri"] == ["https://hub.example/console/authorized"]


def test_what_was_refused_is_in_the_audit(place: Place) -> None:
    reasons = place.audited()

    assert any("another browser" in reason for reason in reasons)
    assert any("invalid_grant" in reason for reason in reasons)
