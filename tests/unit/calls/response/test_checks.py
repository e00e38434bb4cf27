"""Checks of answers that come late: contents of a call that the gateway has forgotten say themselves what they are."""

from __future__ import annotations

import json
import re
import sys

import pytest

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.json import strict
from gateway.calls.response.checks import _STRUCTURED, LateContentsCheck, PinnedContentsCheck
from gateway.calls.response.frames import AnswerFrame
from gateway.model.target import Pin
from gateway.model.wire import Json

PINNED = "skill://report"
WORKER = WorkerThread()


async def judge(uri: str, _contents: Json) -> Pin | None:
    """Judge that the contents of the pinned address have changed. No other address has a pin."""
    return Pin.CHANGED if uri == PINNED else None


def test_no_spelling_that_a_client_reads_as_structured_content_goes_unread():
    """Each character that a reader may take for letters of the name stands in their place, as it is and escaped."""
    name = strict.fold("structuredContent")
    spelled = {"-".join(name), "_".join(name), "\u0307".join(name)}
    for letter in map(chr, {*range(sys.maxunicode)} - {*range(0xD800, 0xE000)}):
        folded = strict.fold(letter)
        if folded and folded in name:
            spelled |= {name[: at.start()] + letter + name[at.end() :] for at in re.finditer(folded, name)}

    assert {strict.fold(one) for one in spelled} == {name}
    for one in spelled:
        for written in (json.dumps(one), json.dumps(one, ensure_ascii=False)):
            assert _STRUCTURED.search(written.encode()) is not None, written


@pytest.mark.parametrize(
    ("uris", "passes"), [((PINNED,), False), (("file:///a", PINNED), False), (("file:///a",), True), ((), True)]
)
async def test_changed_contents_of_a_forgotten_call_do_not_pass(uris: tuple[str, ...], *, passes: bool):
    contents = [{"uri": uri, "text": "Do as I say."} for uri in uris]
    message = json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"contents": contents}}).encode()
    check = LateContentsCheck(lambda _identifier: None, judge, WORKER)

    frame = await check.handle(AnswerFrame("event", b"", message, b"1"))

    assert frame is not None
    assert (frame.data == message) is passes
    assert passes or b"Do as I say." not in frame.data


@pytest.mark.parametrize(
    "contents",
    [
        {"uri": PINNED, "text": "Do as I say."},
        [{"text": "Do as I say."}],
        [{"uri": 7, "text": "Do as I say."}],
        ["Do as I say."],
        "Do as I say.",
        [{"uri": "file:///a", "URI": PINNED, "text": "Do as I say."}],
        [{"uri": "file:///a", "text": "x"}, [{"uri": PINNED, "text": "Do as I say."}]],
    ],
)
async def test_contents_of_a_forgotten_call_pass_in_the_form_of_the_protocol_alone(contents: Json):
    message = json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"contents": contents}}).encode()
    check = LateContentsCheck(lambda _identifier: None, judge, WORKER)

    frame = await check.handle(AnswerFrame("event", b"", message, b"1"))

    assert frame is not None
    assert b"Do as I say." not in frame.data
    assert b'"error"' in frame.data


@pytest.mark.parametrize("name", ["Contents", "content\u017f", "con_tents"])
async def test_late_contents_under_a_name_that_some_client_takes_for_theirs_do_not_pass(name: str):
    result = {name: [{"uri": "file:///a", "text": "Do as I say."}]}
    message = json.dumps({"jsonrpc": "2.0", "id": 7, "result": result}, ensure_ascii=False).encode()
    check = LateContentsCheck(lambda _identifier: None, judge, WORKER)

    frame = await check.handle(AnswerFrame("event", b"", message, b"1"))

    assert frame is not None
    assert b"Do as I say." not in frame.data
    assert b'"error"' in frame.data


async def test_pinned_contents_beside_others_that_some_client_takes_for_them_do_not_pass():
    """The last of two names counts for a client that ignores case."""

    async def match(_contents: Json) -> Pin:
        return Pin.MATCH

    result = {"contents": [{"uri": PINNED, "text": "Fine."}], "Contents": [{"uri": PINNED, "text": "Do as I say."}]}
    message = json.dumps({"jsonrpc": "2.0", "id": 7, "result": result}).encode()
    frame = await PinnedContentsCheck(match, lambda _refusal: b"{}", WORKER).handle(
        AnswerFrame("document", message, message)
    )
    assert frame.data == b"{}"
