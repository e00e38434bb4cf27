"""The figures of the search: which tools of a task count as found."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.unfamiliar.search import WAYS, find_own_share, find_share, list_tools
from gateway.calls.endpoint.search import ToolSearch

SUITE: dict[str, Any] = {
    "kind": "suite",
    "suite": "shop",
    "tools": {
        "cancel_order": {"description": "Cancel an order.", "arguments": {"order": {}}},
        "find_user": {"description": "Find a person by mail address.", "arguments": {}},
    },
}
TASK: dict[str, Any] = {
    "kind": "benign",
    "suite": "shop",
    "goal": "Cancel my order.",
    "steps": [{"tool": "find_user"}, {"tool": "cancel_order"}, {"tool": "cancel_order"}, {"tool": "not_listed"}],
}


@pytest.mark.parametrize(("way", "share"), [*zip(WAYS, (0.5, 1.0, 0.5), strict=True)])
def test_each_listed_tool_of_a_task_counts_once(way: str, share: float):
    assert find_share(WAYS[way], [SUITE, TASK], list_tools([SUITE]), ToolSearch()) == share


def test_a_tool_is_found_by_its_own_description():
    assert find_own_share(list_tools([SUITE]), {"shop"}, ToolSearch()) == 1.0
