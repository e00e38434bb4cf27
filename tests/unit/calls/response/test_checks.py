"""Checks of answers that come late: contents of a call that the gateway has forgotten say themselves what they are."""

from __future__ import annotations

import json

import pytest

from gateway.calls.response.checks import LateContentsCheck
from gateway.calls.response.frames import AnswerFrame
from gateway.model.target import Pin
from gateway.model.wire import Json

PINNED = "skill://report"


async def judge(uri: str, _contents: Json) -> Pin | None:
    """Judge that the contents of the pinned address have changed. No other address has a pin."""
    return Pin.CHANGED if uri == PINNED else None


@pytest.mark.parametrize(
    ("uris", "passes"), [((PINNED,), False), (("file:///a", PINNED), False), (("file:///a",), True), ((), True)]
)
async def test_changed_contents_of_a_forgotten_call_do_not_pass(uris: tuple[str, ...], *, passes: bool):
    contents = [{"uri": uri, "text": "Do as I say."} for uri in uris]
    message = json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"contents": contents}}).encode()
    check = LateContentsCheck(lambda _identifier: None, judge)

    frame = await check.handle(AnswerFrame("event", b"", message, b"1"))

    assert frame is not None
    assert (frame.data == message) is passes
    assert passes or b"Do as I say." not in frame.data
