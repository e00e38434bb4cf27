"""The true outcome of a sent call."""

from __future__ import annotations

import json

import pytest

from gateway.calls.response.frames import OBJECT
from gateway.calls.response.outcomes import Response, name_late_end, name_outcome, name_response
from gateway.calls.response.stream import EndedAs, StreamEnd


@pytest.mark.parametrize(
    ("response", "named"),
    [
        ({"result": {"content": []}}, "result"),
        ({"result": {"content": [], "isError": False}}, "result"),
        ({"result": {"content": [], "isError": True}}, "error"),
        ({"result": {"content": [{"type": "text", "text": '"isError":true'}]}}, "result"),
        ({"result": {"structuredContent": {"isError": True, "taskId": "t", "inputRequests": {}}}}, "result"),
        ({"result": None}, "result"),
        ({"error": {"code": -32602, "message": "no such tool"}}, "error"),
        ({"error": {"code": -32042, "message": "open a page first"}}, "error"),
        ({"error": {"code": -32603, "message": "it died meanwhile"}}, "fault"),
        ({"result": {"inputRequests": {"a": {}}, "requestState": "s"}}, "input"),
        ({"result": {"taskId": "t", "status": "working"}}, "deferred"),
        ({"result": {"task": {"taskId": "t", "status": "working"}}}, "deferred"),
    ],
)
def test_a_response_says_what_its_call_did(response: dict[str, object], named: str):
    assert name_response(OBJECT.decode(json.dumps(response))) == named


def test_a_member_in_another_spelling_is_the_same_member():
    assert name_response(OBJECT.decode(b'{"result":{"\\u0069sError":true}}')) == "error"


@pytest.mark.parametrize("ended", ["completed", "cancelled", "failed", "limited"])
def test_a_whole_response_counts_however_its_way_to_the_caller_ended(ended: EndedAs):
    lost = None if ended == "completed" else ended
    assert name_outcome(StreamEnd(ended, 200), "result") == ("completed", lost)
    assert name_outcome(StreamEnd(ended, 200), "error") == ("error", lost)


@pytest.mark.parametrize("ended", ["cancelled", "failed", "limited"])
@pytest.mark.parametrize("status", [None, 200, 404, 500])
def test_without_a_whole_response_nobody_knows_what_a_sent_call_did(ended: EndedAs, status: int | None):
    assert name_outcome(StreamEnd(ended, status), None) == ("unknown", ended)


@pytest.mark.parametrize(
    ("end", "response", "outcome"),
    [
        (StreamEnd("failed", sent=False), None, ("upstream-failed", None)),
        (StreamEnd("completed", 200), None, ("unknown", "failed")),
        (StreamEnd("completed", 202), None, ("unknown", "failed")),
        (StreamEnd("completed", 404), None, ("error", None)),
        (StreamEnd("completed", 408), None, ("unknown", "failed")),
        (StreamEnd("completed", 502), None, ("unknown", "failed")),
        (StreamEnd("completed", 500), "result", ("unknown", "failed")),
        (StreamEnd("completed", 500), "error", ("error", None)),
        (StreamEnd("completed", 200), "fault", ("unknown", None)),
        (StreamEnd("completed", 200), "deferred", ("unknown", "deferred")),
        (StreamEnd("completed", 200), "input", ("completed", None)),
    ],
)
def test_the_end_of_an_answer_names_the_outcome(
    end: StreamEnd, response: Response | None, outcome: tuple[str, str | None]
):
    assert name_outcome(end, response) == outcome


@pytest.mark.parametrize(
    ("asked", "message", "end"),
    [
        ("tasks/get", {"result": {"taskId": "t", "status": "working"}}, None),
        ("tasks/get", {"result": {"taskId": "t", "status": "completed"}}, "done"),
        ("tasks/get", {"result": {"taskId": "t", "status": "failed"}}, "failed"),
        ("tasks/get", {"error": {"code": -32602, "message": "no such task"}}, None),
        ("tasks/result", {"result": {"content": []}}, "done"),
        ("tasks/result", {"result": {"content": [], "isError": True}}, "failed"),
        ("tasks/result", {"error": {"code": -32602, "message": "no such task"}}, None),
        ("tasks/cancel", {"result": {"taskId": "t", "status": "cancelled"}}, None),
        (None, {"result": {"content": []}}, "done"),
        (None, {"error": {"code": -32602, "message": "no"}}, "failed"),
        (None, {"error": {"code": -32603, "message": "it died"}}, None),
        (None, {"method": "notifications/progress", "params": {}}, None),
    ],
)
def test_a_late_response_tells_what_its_call_did(asked: str | None, message: dict[str, object], end: str | None):
    assert name_late_end(asked, json.dumps(message).encode()) == end


def test_an_unreadable_late_response_tells_nothing():
    assert name_late_end(None, b"{") is None
