"""Values that cross the pipe between a connector's process and the hub."""

import json

import pytest

from hub.sdk import Document, Ignored, Refused
from hub.sdk.guest import wire


def carried(value: object) -> object:
    """``value`` as the other side of the pipe has it."""
    frame = wire.pack(["result", 1, value])
    text, _ = wire.size(frame[: wire.HEAD.size])
    return wire.unpack(frame[wire.HEAD.size :][:text])[2]


def test_refused_crosses_the_pipe_beside_its_siblings() -> None:
    items = [Document("sale.completed.v1", "S1", {"id": "S1"}), Refused("S2", "edited_sale", "was edited"), Ignored("draft")]

    assert carried(items) == items


def test_refused_is_no_frame_when_its_code_is_no_text() -> None:
    text = json.dumps(["result", 1, {"\0": "Refused", "source_id": "S2", "code": 7, "message": ""}]).encode()

    with pytest.raises(wire.WireError, match=r"Refused\.code is not str"):
        wire.unpack(text)
