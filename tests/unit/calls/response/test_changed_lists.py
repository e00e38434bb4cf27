"""Who is told that lists may show something else, and in which words."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from gateway.calls.response.build import changed_lists
from gateway.model.wire import Disposition, Era, Kind, Message

ALL = frozenset({"tools", "prompts", "resources", "logging"})


def told(
    method: Literal["GET", "POST", "DELETE"] = "GET",
    message: Message | None = None,
    announced: frozenset[str] = ALL,
    *,
    begun: bool = True,
) -> list[Any]:
    events = changed_lists(method, message, announced, begun=begun)
    assert not events or events.endswith(b"\n\n")
    return [json.loads(event.removeprefix(b"data: ")) for event in events.split(b"\n\n")[:-1]]


def post(method: str, **params: Any) -> Message:
    return Message(Kind.REQUEST, Era.STATELESS, Disposition.PASS, b"", method, 7, params)


def test_a_stream_of_a_session_tells_of_each_sort_that_the_server_tells_of_from_the_beginning():
    both: list[Any] = [
        {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}},
        {"jsonrpc": "2.0", "method": "notifications/prompts/list_changed", "params": {}},
    ]
    announced = frozenset({"prompts", "tools", "logging"})

    assert told(announced=announced) == both
    assert told(announced=announced, begun=False) == both
    assert told(announced=frozenset()) == []


def test_a_subscription_tells_of_what_it_asked_for_under_its_own_id():
    asked = {"toolsListChanged": True, "promptsListChanged": False, "resourcesListChanged": True}
    params = {"_meta": {"io.modelcontextprotocol/subscriptionId": 7}}

    assert told("POST", post("subscriptions/listen", notifications=asked)) == [
        {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": params},
        {"jsonrpc": "2.0", "method": "notifications/resources/list_changed", "params": params},
    ]
    assert told("POST", post("subscriptions/listen", notifications=asked), frozenset({"prompts"})) == []


def test_nothing_comes_before_what_a_server_says_to_a_subscription():
    assert told("POST", post("subscriptions/listen", notifications={"toolsListChanged": True}), begun=False) == []


@pytest.mark.parametrize(
    "asked", [None, [], "toolsListChanged", {"toolsListChanged": "yes"}, {"toolsListChanged": 1}, {}]
)
def test_a_subscription_that_asks_for_no_changes_of_lists_is_told_of_none(asked: Any):
    assert told("POST", post("subscriptions/listen", notifications=asked)) == []


def test_nobody_else_is_told():
    assert told("POST", post("tools/call", notifications={"toolsListChanged": True})) == []
    assert told("DELETE") == []
