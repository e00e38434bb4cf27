"""What is done with messages on a stream: late responses, and questions of the server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.calls.response.test_filter import CALL, Asked, response


@pytest.mark.parametrize("identifier", [7.0, 7e300, True, [7], {"a": 7}, None])
async def test_a_late_response_under_an_id_that_no_request_has_is_dropped(identifier: Any):
    """`JSON.parse` reads `7.0` as `7`, so that a client would take the answer."""
    stream = Asked(None)
    assert await stream.see(response({"contents": []}, identifier)) is None
    assert await stream.see(response({"contents": []}, 7)) is not None
    assert await stream.see({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}}) is not None


@pytest.mark.parametrize(
    ("method", "waits"),
    [("elicitation/create", 1), ("sampling/createMessage", 1), ("ping", 0), ("roots/list", 0), ("made/up", 0)],
)
async def test_questions_for_people_alone_make_the_gateway_wait(method: str, waits: int):
    asked = Asked(CALL)
    await asked.see({"jsonrpc": "2.0", "id": 9, "method": method, "params": {}})
    await asked.see({"jsonrpc": "2.0", "method": method, "params": {}})
    assert asked.waits == waits
