"""Signatures over raw bytes: one changed bit refuses, both secrets of a rotation are accepted."""

import re

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


@pytest.mark.parametrize(
    "scheme",
    [
        SignatureScheme("x-signature", encoding="hex"),
        SignatureScheme("x-signature", encoding="hex", prefix="sha256="),
        SignatureScheme("x-signature", encoding="hex", format="pairs", over=("timestamp", "body"), separator="."),
        SignatureScheme("x-signature", encoding="hex", format="list"),
        SignatureScheme("x-signature", encoding="hex", over=("timestamp", "body"), timestamp_header="x-time"),
    ],
)
def test_a_signature_in_hex_is_accepted_when_it_is_upper_case(scheme: SignatureScheme) -> None:
    signed = sign(scheme, "secret", BODY, timestamp="1000")
    digest = max(re.findall("[0-9a-f]{64}", signed), key=len)
    headers = {"x-signature": signed.replace(digest, digest.upper()), "x-time": "1000"}

    assert verify(scheme, ["secret"], BODY, headers, now=1000) is None
    assert verify(scheme, ["other"], BODY, headers, now=1000) is not None


@pytest.mark.parametrize("scheme", [SCHEME, SignatureScheme("x-signature", type="static")])
def test_a_signature_that_is_not_hex_is_refused_when_its_case_differs(scheme: SignatureScheme) -> None:
    headers = {"x-signature": sign(scheme, "secret", BODY, URL).swapcase()}

    assert verify(scheme, ["secret"], BODY, headers, URL) is not None


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
