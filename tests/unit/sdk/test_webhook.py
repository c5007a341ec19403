"""Signatures over raw bytes: one changed bit refuses, both secrets of a rotation are accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.sdk.webhook import SignatureScheme, sign, verify

SCHEME = SignatureScheme("x-signature", over=("url", "body"))
STAMPED = SignatureScheme("x-signature", encoding="hex", over=("timestamp", "body"), timestamp_header="x-time")
BODY, URL = b'{"type":"order.updated"}', "https://hub.example/webhooks/acme/pos"


def test_the_right_signature_is_accepted_and_a_rotation_accepts_both() -> None:
    headers = {"x-signature": sign(SCHEME, "old", BODY, URL)}

    assert verify(SCHEME, ["new", "old"], BODY, headers, URL) is None
    assert verify(SCHEME, ["new"], BODY, headers, URL) == "signature does not match"


@given(st.integers(0, len(BODY) * 8 - 1))
def test_a_body_changed_by_one_bit_is_refused(bit: int) -> None:
    changed = bytearray(BODY)
    changed[bit // 8] ^= 1 << bit % 8
    headers = {"x-signature": sign(SCHEME, "secret", BODY, URL)}

    assert verify(SCHEME, ["secret"], bytes(changed), headers, URL) is not None


def test_another_url_is_refused_when_the_url_is_signed() -> None:
    headers = {"x-signature": sign(SCHEME, "secret", BODY, URL)}

    assert verify(SCHEME, ["secret"], BODY, headers, URL + "x") is not None


@pytest.mark.parametrize(("now", "accepted"), [(1000, True), (1299, True), (1301, False), (699, False)])
def test_a_timestamp_outside_the_window_is_refused(now: int, accepted: bool) -> None:
    headers = {"x-signature": sign(STAMPED, "s", BODY, timestamp="1000"), "x-time": "1000"}

    assert (verify(STAMPED, ["s"], BODY, headers, now=now) is None) is accepted


@pytest.mark.parametrize("headers", [{}, {"x-signature": ""}, {"x-signature": "ü"}])
def test_a_missing_or_strange_signature_is_refused(headers: dict[str, str]) -> None:
    assert verify(SCHEME, ["secret"], BODY, headers, URL) is not None


def test_no_secret_refuses_everything() -> None:
    assert verify(SCHEME, [], BODY, {"x-signature": sign(SCHEME, "", BODY, URL)}, URL) is not None
