"""Hostile bodies each get their own code, in linear time."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import HubError
from hub.gateway import strict_json
from hub.gateway.strict_json import read


class _Pairs(list[Any]):
    """An object's pairs as they are written, keys that come twice too."""


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
        read(body, 32)

    assert caught.value.code == code


@pytest.mark.parametrize("body", [b"{}", b'{"NaN":"[[[[{{{{"}', b'{"a":"\\"[","b":[1,2.5,null,true]}', b"[" * 32 + b"]" * 32])
def test_a_good_body_passes(body: bytes) -> None:
    assert read(body, 32) == json.loads(body)


def test_a_body_of_brackets_inside_strings_is_judged_quickly() -> None:
    body = b'["' + b'\\"[{' * 250_000 + b'"]'
    started = time.process_time()

    read(body, 32)

    assert time.process_time() - started < 5


_TEXT = st.text(st.sampled_from('ab:"\\{}[],\u00e9\u003a'), max_size=4)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(_TEXT, inner), max_size=4).map(_Pairs),
    max_leaves=12,
)


@settings(max_examples=1000, deadline=None)
@given(_VALUES, st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_the_quick_look_never_lets_pass_what_the_close_one_refuses(value: Any, ascii_only: bool, separators: Any) -> None:
    """Objects with keys that come twice among them."""
    body = _written(value, ascii_only, separators).encode()

    quick = strict_json._plainly_fine(body, 4)

    if quick is not strict_json._UNSURE:
        assert quick == strict_json._checked(body, 4)


def _written(value: Any, ascii_only: bool, separators: tuple[str, str]) -> str:
    if isinstance(value, _Pairs):
        pairs = (f"{json.dumps(k, ensure_ascii=ascii_only)}{separators[1]}{_written(v, ascii_only, separators)}"
                 for k, v in value)  # fmt: skip
        return "{" + separators[0].join(pairs) + "}"
    if isinstance(value, list):
        return "[" + separators[0].join(_written(item, ascii_only, separators) for item in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)
