"""Messages at the one endpoint: names change, all else stays, and no upstream speaks for another."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gateway.calls.endpoint.messages import (
    Address,
    Directory,
    Outward,
    build_edits,
    find_address,
    rewrite_message,
)
from gateway.calls.endpoint.names import resolve_name
from gateway.model.wire import Message, RequestId
from gateway.wire.protocol.classify import classify

DIRECTORY = Directory(["a", "b"], lambda _sort, outer: resolve_name(outer, ["a", "b"], lambda _: ()))


def read(method: str, **params: Any) -> Message:
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).encode()
    message = classify(body, {})
    assert isinstance(message, Message)
    return message


def told(message: object, *, owned: object = None, open_ids: set[RequestId] | None = None) -> Any:
    """What a client gets of a message of the upstream `a`."""
    ids: set[RequestId | None] = {*(open_ids or ())}
    outward = Outward(
        "a", build_edits("a"), lambda token: token == owned, None if open_ids is None else ids.__contains__
    )
    seen = outward.rewrite(json.dumps(message).encode())
    return None if seen is None else json.loads(seen)


def result(**members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "result": members}


def notification(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


# --- from the client ---


@pytest.mark.parametrize(
    ("message", "upstream", "changes"),
    [
        (read("tools/call", name="a__x", arguments={"name": "b__x"}), "a", {("name",): "x"}),
        (read("prompts/get", name="b__p"), "b", {("name",): "p"}),
        (read("resources/read", uri="opagate:b:file:///x"), "b", {("uri",): "file:///x"}),
        (read("resources/subscribe", uri="opagate:a:x"), "a", {("uri",): "x"}),
        (read("tasks/get", taskId="a:1"), "a", {("taskId",): "1"}),
        (
            read(
                "completion/complete", ref={"type": "ref/prompt", "name": "a__p"}, argument={"name": "x", "value": ""}
            ),
            "a",
            {("ref", "name"): "p"},
        ),
        (
            read(
                "tools/call",
                name="a__x",
                requestState="a:s",
                _meta={"io.modelcontextprotocol/related-task": {"taskId": "a:1"}},
            ),
            "a",
            {("name",): "x", ("requestState",): "s", ("_meta", "io.modelcontextprotocol/related-task", "taskId"): "1"},
        ),
    ],
)
def test_a_request_goes_to_the_upstream_that_it_names(message: Message, upstream: str, changes: dict[Any, Any]):
    assert find_address(message, DIRECTORY) == Address(upstream, changes)


@pytest.mark.parametrize(
    "message",
    [
        read("tools/call", name="x"),
        read("tools/call", name="c__x"),
        read("tools/call", name="a__x", requestState="b:s"),
        read("tools/call", name="a__x", requestState="s"),
        read("tools/call", name="a__x", uri="opagate:b:x"),
        read("resources/read", uri="file:///x"),
        read("tasks/get", taskId="1"),
        read("completion/complete", ref={"type": "ref/prompt", "name": "p"}, argument={"name": "x", "value": ""}),
    ],
)
def test_a_request_that_names_no_upstream_or_two_goes_nowhere(message: Message):
    assert find_address(message, DIRECTORY) is None


def test_all_other_bytes_of_a_request_stay():
    body = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a__x","arguments":{"n":1.50e1,"t":"\\u00e9"}}}'
    sent = rewrite_message(body, Address("a", {("name",): "x"}))
    assert sent == body.replace(b"a__x", b"x")


# --- from an upstream ---


def test_uris_and_handles_in_a_result_get_their_upstream():
    seen = told(
        result(
            content=[
                {"type": "resource_link", "uri": "x"},
                {"type": "resource", "resource": {"uri": "y"}},
                {"type": "text", "text": "uri"},
            ],
            contents=[{"uri": "z"}],
            messages=[{"content": {"type": "resource_link", "uri": "w"}}],
            structuredContent={"uri": "kept", "taskId": "kept"},
            taskId="1",
            requestState="s",
            _meta={"io.modelcontextprotocol/related-task": {"taskId": "1"}, "other": 1},
            inputRequests={"k": {"method": "elicitation/create", "params": {"elicitationId": "e"}}},
        )
    )["result"]
    assert [item.get("uri") or item.get("resource", {}).get("uri") for item in seen["content"]] == [
        "opagate:a:x",
        "opagate:a:y",
        None,
    ]
    assert seen["contents"] == [{"uri": "opagate:a:z"}]
    assert seen["messages"][0]["content"]["uri"] == "opagate:a:w"
    assert seen["structuredContent"] == {"uri": "kept", "taskId": "kept"}
    assert (seen["taskId"], seen["requestState"]) == ("a:1", "a:s")
    assert seen["_meta"] == {"io.modelcontextprotocol/related-task": {"taskId": "a:1"}, "other": 1}
    assert seen["inputRequests"]["k"]["params"]["elicitationId"] == "a:e"


def test_a_result_without_names_is_the_same_object():
    data = json.dumps(result(content=[{"type": "text", "text": "hello"}])).encode()
    assert Outward("a", build_edits("a"), bool).rewrite(data) is data


def test_a_question_of_a_server_has_the_name_of_its_upstream():
    question = {
        "jsonrpc": "2.0",
        "id": 3,
        "method": "sampling/createMessage",
        "params": {"_meta": {"progressToken": "t"}},
    }
    seen = told(question)
    assert (seen["id"], seen["params"]["_meta"]["progressToken"]) == ("a:3", 'a:"t"')


def test_progress_comes_from_the_upstream_of_its_request_alone():
    progress = notification("notifications/progress", progressToken="t", progress=1)
    assert told(progress, owned="t") == progress
    assert told(progress, owned="other") is None
    assert told(notification("notifications/progress", progress=1), owned="t") is None
    hidden = json.dumps(progress).replace('"method"', '"m\\u0065thod"').encode()
    assert Outward("a", build_edits("a"), lambda _: False).rewrite(hidden) is None


def test_news_names_the_upstream():
    assert told(notification("notifications/resources/updated", uri="x"))["params"] == {"uri": "opagate:a:x"}
    assert told(notification("notifications/elicitation/complete", elicitationId="e"))["params"] == {
        "elicitationId": "a:e"
    }
    assert told(notification("notifications/tasks/status", taskId="1", status="working"))["params"]["taskId"] == "a:1"
    assert told(notification("notifications/cancelled", requestId=3))["params"] == {"requestId": "a:3"}


def test_a_response_on_a_session_stream_is_for_a_request_to_this_upstream():
    assert told(result(content=[]), open_ids={7}) == result(content=[])
    assert told(result(content=[]), open_ids={8}) is None


def test_an_error_names_elicitations_of_its_upstream():
    error = {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {"code": -32042, "message": "m", "data": {"elicitations": [{"elicitationId": "e"}]}},
    }
    assert told(error)["error"]["data"] == {"elicitations": [{"elicitationId": "a:e"}]}


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (result(content=[]), result(resultType="complete", content=[])),
        (result(taskId="1", resultType="task"), result(taskId="a:1", resultType="task")),
        ({"jsonrpc": "2.0", "id": 7, "error": {"code": 1}}, {"jsonrpc": "2.0", "id": 7, "error": {"code": 1}}),
        (notification("notifications/message", data="x"), notification("notifications/message", data="x")),
        ({"jsonrpc": "2.0", "id": 7, "result": [1]}, {"jsonrpc": "2.0", "id": 7, "result": [1]}),
    ],
)
def test_a_result_without_a_type_is_completed(answer: dict[str, Any], whole: dict[str, Any]):
    outward = Outward("a", build_edits("a"), lambda _: False, missing={"resultType": msgspec.Raw(b'"complete"')})
    seen = outward.rewrite(json.dumps(answer).encode())
    assert seen is not None
    assert json.loads(seen) == whole
