"""The fixture server itself: what other tests conclude from it is only worth as much as it is."""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from mcp.client import Client

from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess


@contextmanager
def calling(server: ServerProcess, name: str, **arguments: object) -> Generator[http.client.HTTPResponse]:
    """A raw `tools/call`, whose answer is read by the test."""
    connection = http.client.HTTPConnection(server.origin.removeprefix("http://"), timeout=300)
    params = {"name": name, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    connection.request("POST", "/mcp", json.dumps(message), {"x-token": "kept"})
    answer = connection.getresponse()
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_a_client_of_either_era_can_call_it(echo_server: ServerProcess, mode: str) -> None:
    async with Client(echo_server.mcp, mode=mode) as client:
        result = await client.call_tool("echo", {"text": mode})
    assert [block.model_dump()["text"] for block in result.content] == [mode]


def test_it_records_headers_and_body_as_they_came(echo_server: ServerProcess, recorder: Recorder) -> None:
    with calling(echo_server, "echo", text="ü") as answer:
        assert json.load(answer)["result"]["content"][0]["text"] == "ü"
    (record,) = recorder.requests()
    assert ["x-token", "kept"] in record["headers"]
    assert json.loads(record["body"])["params"]["arguments"] == {"text": "ü"}


@pytest.mark.parametrize("sse", [True, False])
def test_a_big_result_is_as_big_as_asked(echo_server: ServerProcess, sse: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    with calling(echo_server, "big", mib=3, sse=sse) as answer:
        body = answer.read().removeprefix(b"event: message\ndata: ")
    assert len(json.loads(body)["result"]["content"][0]["text"]) == 3 * 2**20


def test_a_held_call_answers_when_it_is_released(echo_server: ServerProcess, recorder: Recorder) -> None:
    with calling(echo_server, "hold", key="released-once") as answer:
        assert b"event" in answer.readline()
        recorder.release("released-once")
        assert b"released" in answer.read()


def test_a_client_that_goes_away_is_recorded(echo_server: ServerProcess, recorder: Recorder) -> None:
    with calling(echo_server, "hold", key="never-released") as answer:
        answer.readline()
    assert recorder.wait("disconnect", "never-released")["event"] == "disconnect"


def test_a_dying_server_breaks_the_connection(echo_server: ServerProcess) -> None:
    with calling(echo_server, "die", after=2) as answer, pytest.raises(http.client.IncompleteRead) as broken:
        answer.read()
    assert broken.value.partial.count(b"notifications/progress") == 2


def test_another_id_than_the_one_asked_for(echo_server: ServerProcess) -> None:
    with calling(echo_server, "wrong_id") as answer:
        assert json.load(answer)["id"] == "not-7"
