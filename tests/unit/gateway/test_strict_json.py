"""Hostile bodies each get their own code, in linear time."""

import time

import pytest

from hub.errors import HubError
from hub.gateway.strict_json import check


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"), (b"{", "malformed_json"), (b'{"a":1}x', "malformed_json"), (b"\xff\xfe", "malformed_json"),
        (b'"\\ud800"', "malformed_json"), (b'{"a":NaN}', "number_not_finite"), (b"[Infinity]", "number_not_finite"),
        (b"[-Infinity]", "number_not_finite"), (b'{"a":1,"a":1}', "duplicate_key"), (b'[{"x":{"b":1,"b":2}}]', "duplicate_key"),
        (b"[" * 10_000 + b"]" * 10_000, "nesting_too_deep"), (b'{"a":' * 40 + b"1" + b"}" * 40, "nesting_too_deep"),
    ],
)  # fmt: skip
def test_a_hostile_body_gets_its_code(body: bytes, code: str) -> None:
    with pytest.raises(HubError) as caught:
        check(body, 32)

    assert caught.value.code == code


@pytest.mark.parametrize("body", [b"{}", b'{"NaN":"[[[[{{{{"}', b'{"a":"\\"[","b":[1,2.5,null,true]}', b"[" * 32 + b"]" * 32])
def test_a_good_body_passes(body: bytes) -> None:
    check(body, 32)


def test_a_body_of_brackets_inside_strings_is_judged_quickly() -> None:
    body = b'["' + b'\\"[{' * 250_000 + b'"]'
    started = time.process_time()

    check(body, 32)

    assert time.process_time() - started < 5
