"""What token endpoints answer: absurd lifetimes, errors with 200, pages, and tokens that cannot be used or stored."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.identity.oauth import Tokens
from hub.identity.vault import Vault
from hub.sdk.errors import AuthenticationError, RateLimitedError, TargetUnavailableError
from hub.sdk.steps import Response
from hub.store import Store

HTML = b"<html>Please wait</html>"


class World:
    """A clock, a store, and an endpoint that answers what it is told to."""

    def __init__(self, store: Store) -> None:
        self.store, self.now = store, datetime(2026, 11, 30, 12, tzinfo=UTC)
        self.answers: list[Response] = []
        self.forms: list[dict[str, str]] = []

    def tokens(self, grant: str = "refresh_token", refresh: str = "r0") -> Tokens:
        declared = {
            "grant": grant, "token_url": "https://v.example/t", "client_auth": "post", "client_id": "client_id",
            "client_secret": "client_secret", "params": {}, "scopes": [],
        }  # fmt: skip
        given = {"client_id": "i", "client_secret": "s", **({"refresh_token": refresh} if refresh else {})}
        return Tokens(self.store, Vault(b"k" * 32), "t", "c", declared, given, {}, lambda: self.now)

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append(Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content))

    async def _ask(self, url: str, form: Any, headers: Any) -> Response:
        self.forms.append(dict(form))
        return self.answers.pop(0)

    def access(self, tokens: Tokens, refused: str = "") -> str:
        return asyncio.run(tokens.access(self._ask, refused))

    def redeem(self, tokens: Tokens) -> None:
        asyncio.run(tokens.redeem(self._ask, "code", "v", "https://hub.example/cb"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store(f"sqlite:///{tmp_path / 'tokens.sqlite'}")
    store.upgrade()
    yield World(store)
    store.close()


@pytest.mark.parametrize(
    "lasts",
    [315360000000, 9223372036854775807, 10**400, 1e400, "NaN", "inf", "3600", "soon", None, -1, 0, True, {"a": 1}, [1], float("nan")],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_a_token_is_used_and_the_refresh_token_kept_when_its_lifetime_is_absurd(world: World, lasts: Any) -> None:
    tokens = world.tokens()
    world.answer(200, {"access_token": "a1", "expires_in": lasts, "refresh_token": "r1"})
    world.answer(200, {"access_token": "a2", "expires_in": 3600})

    assert world.access(tokens) == world.access(tokens) == "a1"
    assert world.access(tokens, refused="a1") == "a2", "a 401 ends it, whatever was said"
    assert [form["refresh_token"] for form in world.forms] == ["r0", "r1"]


@pytest.mark.parametrize("said", [{}, {"expires_in": None}, {"expires_in": 0}, {"expires_in": -1}, {"expires_in": "never"}])
def test_a_token_is_used_until_a_401_when_it_never_expires_and_cannot_be_renewed(world: World, said: dict[str, Any]) -> None:
    tokens = world.tokens("authorization_code", refresh="")
    world.answer(200, {"access_token": "forever", **said})
    world.redeem(tokens)

    world.now += timedelta(days=4000)
    assert world.access(tokens) == "forever"
    assert world.access(world.tokens("authorization_code", refresh="")) == "forever"
    with pytest.raises(AuthenticationError) as refused:
        world.access(tokens, refused="forever")
    assert refused.value.code == "reauthorisation_required"


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, {"error": "bad_refresh_token"}, "reauthorisation_required"), (400, {"error": "invalid_grant"}, "reauthorisation_required"),
        (401, {"error": "invalid_client"}, "authentication_failed"), (403, {"error": "unauthorized_client"}, "authentication_failed"),
        (400, b"", "authentication_failed"), (401, b"", "authentication_failed"),
    ],
)  # fmt: skip
def test_credentials_are_refused_when_the_provider_says_so(world: World, status: int, body: Any, code: str) -> None:
    world.answer(status, body)
    with pytest.raises(AuthenticationError) as refused:
        world.access(world.tokens())
    assert refused.value.code == code
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "temporarily_unavailable"}), (200, {"error": "server_error"}), (408, b""), (425, b""), (423, b""), (302, b""),
        (403, HTML), (404, HTML), (404, b""), (405, b""), (400, HTML), (200, HTML), (200, b""), (200, b"[" * 100_000), (503, b""),
        (200, {"access_token": ""}), (200, {"access_token": 7}),
    ],
    ids=lambda value: ascii(value)[:30],
)  # fmt: skip
def test_credentials_are_not_refused_when_an_answer_is_no_word_of_the_provider(world: World, status: int, body: Any) -> None:
    world.answer(status, body)
    with pytest.raises(TargetUnavailableError):
        world.access(world.tokens())


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("Mon, 30 Nov 2026 12:30:00 GMT", 1800.0), ("inf", 60.0), ("1e12", 60.0), ("-3", 0.0), ("soon", 60.0), ("7200", 3600.0)],
)
def test_the_endpoints_wait_is_bounded_when_it_throttles(world: World, said: str, seconds: float) -> None:
    world.answer(429, retry_after=said)
    with pytest.raises(RateLimitedError) as throttled:
        world.access(world.tokens())
    assert throttled.value.retry_after == seconds


def test_a_token_is_refused_and_the_rotated_refresh_token_kept_when_no_header_can_carry_it(world: World) -> None:
    tokens = world.tokens()
    world.answer(200, {"access_token": "a\r\nX-Evil: 1", "expires_in": 3600, "refresh_token": "r1"})
    world.answer(200, {"access_token": "a2", "expires_in": 3600})

    with pytest.raises(TargetUnavailableError) as refused:
        world.access(tokens)
    assert refused.value.code == "token_unusable"
    assert "access_token" in refused.value.message
    assert "Evil" not in refused.value.message
    assert world.access(world.tokens()) == "a2"
    assert [form["refresh_token"] for form in world.forms] == ["r0", "r1"]


def test_rotated_tokens_are_stored_at_the_next_try_when_the_store_was_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = world.tokens()
    world.answer(200, {"access_token": "a1", "expires_in": 3600, "refresh_token": "r1"})

    def away(self: Tokens, owner: str, found: Any) -> bool:
        raise ConnectionError("the database restarts")

    with monkeypatch.context() as patch:
        patch.setattr(Tokens, "_commit", away)
        for _ in range(2):
            with pytest.raises(TargetUnavailableError) as failed:
                world.access(tokens)
            assert failed.value.code == "token_not_stored"
            assert "keeps them" in failed.value.message

    assert world.access(tokens) == "a1"
    assert world.access(world.tokens()) == "a1", "it is stored for other processes, too"
    assert [form["refresh_token"] for form in world.forms] == ["r0"], "the provider was asked once"


def test_rotated_tokens_are_used_when_their_lease_ran_out_before_they_could_be_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = world.tokens()
    world.answer(200, {"access_token": "a1", "expires_in": 3600, "refresh_token": "r1"})
    world.answer(200, {"access_token": "a2", "expires_in": 3600, "refresh_token": "r2"})
    with monkeypatch.context() as patch:
        patch.setattr(Tokens, "_commit", lambda self, owner, found: False)
        with pytest.raises(TargetUnavailableError, match="longer than its lease"):
            world.access(tokens)

    world.now += timedelta(seconds=31)
    with world.store.begin() as uow:
        uow.tokens.take("t", "c", "another process, which died", world.now, world.now)
    assert world.access(tokens) == "a2"
    assert [form["refresh_token"] for form in world.forms] == ["r0", "r1"]
