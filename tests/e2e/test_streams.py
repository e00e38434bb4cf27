"""Streams that wait for news, as many as may be open: the calls of everybody go on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.faults import problems
from tests.e2e.wire import Caller, caller, metric, stateless, until
from tests.gateway_process import GatewayProcess, open_config, open_policy, running_gateway
from tests.requirements import requirement
from tests.servers.serving import ServerProcess

LISTEN = stateless("subscriptions/listen", notifications={})
LIMITS = "limits: {in_flight: 12, in_flight_per_caller: 6, streams: 40, streams_per_caller: 10}\n"


@pytest.fixture
def narrow(echo_server: ServerProcess, handles_server: ServerProcess, tmp_path: Path) -> Generator[GatewayProcess]:
    """Room for 12 requests, and for 40 streams, 10 of each caller."""
    config = open_config(open_policy(tmp_path), {"echo": echo_server.mcp, "handles": handles_server.mcp})
    with running_gateway(config.replace("[{kind: anonymous}]", "[{kind: development}]") + LIMITS, tmp_path) as found:
        yield found


@requirement("operations/streams", "operations/in-flight")
def test_streams_of_a_few_callers_leave_room_for_the_calls_of_all(narrow: GatewayProcess):
    few = [caller(narrow, name, "handles") for name in ("ada", "bob", "cyd", "dan")]
    other = caller(narrow, "eve", "handles")
    with ExitStack() as stack:
        for each in few:
            for _ in range(10):
                answer = stack.enter_context(each.open("POST", LISTEN))
                assert answer.status == 200
                answer.readline()
        assert metric(narrow, "opagate_streams") == 40
        assert metric(narrow, "opagate_in_flight") == 0

        assert problems(narrow) == {}
        assert few[0].ask(LISTEN).codes == ["limit/streams-per-caller"]
        refused = other.ask(LISTEN)
        assert (refused.status, refused.codes) == (503, ["limit/streams"])
        for each in (*few, other):
            echo = Caller(narrow, "echo", each.headers)
            assert echo.call("echo", text="served").text == "served"
    until(lambda: metric(narrow, "opagate_streams") == 0)
    with other.open("POST", LISTEN) as answer:
        assert answer.status == 200
