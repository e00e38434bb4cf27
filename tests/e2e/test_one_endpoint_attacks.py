"""The one endpoint among upstreams that are down, slow or forgetful, or speak of what is not theirs."""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import policy
from tests.e2e.wire import Answer, Caller, Sent, caller, entries, legacy, stateless
from tests.gateway_process import GatewayProcess, free_port, open_config, running_gateway
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess, running

if TYPE_CHECKING:
    from pathlib import Path

GREETING: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"sampling": {}},
    "clientInfo": {"name": "raw", "version": "1"},
}


@pytest.fixture
def meddler(tmp_path: Path) -> Generator[ServerProcess]:
    with running("tests.servers.meddling", tmp_path / "meddling.log") as server:
        yield server


@pytest.fixture
def gateway(meddler: ServerProcess, echo_server: ServerProcess, tmp_path: Path) -> Generator[GatewayProcess]:
    """A gateway before a sound upstream, one that meddles, and one that is down."""
    upstreams = {"echo": echo_server.mcp, "meddler": meddler.mcp, "down": f"http://127.0.0.1:{free_port()}/mcp"}
    config = open_config(policy(tmp_path), upstreams).replace("[{kind: anonymous}]", "[{kind: development}]")
    with running_gateway(config, tmp_path) as found:
        yield found


@dataclass(frozen=True, slots=True)
class Session:
    """A client with a session at the endpoint."""

    client: Caller
    greeting: Any = field(default=None)

    @classmethod
    def open(cls, gateway: GatewayProcess, agent: str = "alice") -> Session:
        client = caller(gateway, agent, "")
        answer = client.ask(legacy("initialize", **GREETING))
        headers = {**client.headers, "mcp-session-id": answer.headers["mcp-session-id"]}
        return cls(replace(client, headers=headers), answer.json["result"])

    def ask(self, method: str, identifier: int | None = 7, **params: Any) -> Answer:
        return self.client.ask(legacy(method, identifier, **params))

    def call(self, name: str, **more: Any) -> Answer:
        return self.ask("tools/call", name=name, arguments={}, **more)

    def tools(self, *awaited: str) -> set[str]:
        """The names in the list once it has these: on a busy machine an upstream may come late."""
        names = set[str]()
        for _ in range(10):
            names = {tool["name"] for tool in self.ask("tools/list").json["result"]["tools"]}
            if names.issuperset(awaited):
                break
        return names


def events(answer: Answer) -> list[Any]:
    return [json.loads(line[5:]) for line in answer.body.splitlines() if line.startswith(b"data:") and line[5:].strip()]


def read_news(stream: http.client.HTTPResponse, text: str) -> list[Any]:
    """The messages of a stream up to the first with this text."""
    seen: list[Any] = []
    while True:
        line = stream.readline()
        assert line, seen
        if line.startswith(b"data:") and line[5:].strip():
            seen.append(json.loads(line[5:]))
            if text in line.decode():
                return seen


def test_an_upstream_that_is_down_hides_its_own_tools_only(gateway: GatewayProcess):
    session = Session.open(gateway)
    session.tools()
    names = session.tools("echo__echo", "meddler__meddle")
    assert {name.partition("__")[0] for name in names} == {"echo", "meddler"}
    assert session.call("down__x").json["error"]["code"] < 0


def test_a_slow_upstream_is_listed_by_its_pins_and_announced_later(gateway: GatewayProcess, meddler: ServerProcess):
    recorder = Recorder(meddler.origin)
    recorder.release("slow-on")
    session = Session.open(gateway)
    with session.client.open("GET") as stream:
        # The meddler answers nothing before it is released.
        assert {name.partition("__")[0] for name in session.tools()} == {"echo", "meddler"}
        recorder.release("slow-off")
        read_news(stream, "notifications/tools/list_changed")
    assert "meddler__meddle" in session.tools("meddler__meddle")


def test_an_upstream_reports_no_progress_and_answers_no_request_of_another(gateway: GatewayProcess):
    session = Session.open(gateway)
    session.call("echo__echo", _meta={"progressToken": "victim"})
    answer = session.call("meddler__meddle")
    assert [event.get("method", event.get("id")) for event in events(answer)] == [7]
    session.ask("tools/call", 99, name="echo__echo", arguments={})
    with session.client.open("GET") as stream:
        seen = read_news(stream, "notifications/resources/updated")
    assert [event["params"]["uri"] for event in seen if event.get("method") == "notifications/resources/updated"] == [
        "opagate:meddler:test://x"
    ]
    assert not [event for event in seen if "forged" in str(event) or "victim" in str(event)]


def test_progress_of_its_own_request_passes(gateway: GatewayProcess):
    session = Session.open(gateway)
    seen = events(session.call("meddler__meddle", _meta={"progressToken": "victim"}))
    assert seen[0]["params"]["progressToken"] == "victim"


def test_an_answer_to_a_question_goes_to_the_server_that_asked(
    gateway: GatewayProcess, meddler: ServerProcess, echo_server: ServerProcess
):
    session = Session.open(gateway)
    question = events(session.call("meddler__ask"))[0]
    assert question["id"] == "meddler:5"
    others = Recorder(echo_server.origin)
    others.take()
    answer = Sent(json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": {"role": "assistant"}}).encode())
    assert session.client.ask(answer).status == 202
    received = [json.loads(record["body"]) for record in Recorder(meddler.origin).take() if record["body"]]
    assert {"jsonrpc": "2.0", "id": 5, "result": {"role": "assistant"}} in received
    assert not [record for record in others.take() if "assistant" in record["body"]]


@pytest.mark.parametrize("identifier", [5, "5", "nowhere:5", "meddler:", "meddler:true"])
def test_an_answer_to_no_question_goes_nowhere(gateway: GatewayProcess, identifier: object):
    session = Session.open(gateway)
    answer = session.client.ask(Sent(json.dumps({"jsonrpc": "2.0", "id": identifier, "result": {}}).encode()))
    assert answer.status == 400


def test_an_ended_session_is_opened_again_at_its_upstream_alone(gateway: GatewayProcess, meddler: ServerProcess):
    session = Session.open(gateway)
    assert session.call("meddler__forget").text == "called forget"
    recorder = Recorder(meddler.origin)
    recorder.take()
    assert session.call("meddler__ask__deep").text == "called ask__deep"
    assert sum('"initialize"' in record["body"] for record in recorder.take()) == 1


def test_strange_names_are_called_by_the_names_of_the_list(gateway: GatewayProcess):
    session = Session.open(gateway)
    names = session.tools("meddler__meddle")
    long = next(name for name in names if "xxxx" in name)
    assert len(long) == 64
    assert session.call(long).text == f"called {'x' * 90}"
    homoglyph = next(name for name in names if "cret" in name)
    assert homoglyph.isascii()
    assert session.call(homoglyph).text == "called sеcret"


def test_a_session_is_of_one_caller_and_ends_with_its_client(gateway: GatewayProcess):
    session = Session.open(gateway)
    other = replace(
        session.client,
        headers={**session.client.headers, "authorization": caller(gateway, "bob", "").headers["authorization"]},
    )
    assert other.ask(legacy("tools/list")).status == 404
    assert other.ask(None, "DELETE").status == 404
    assert session.ask("ping").status == 200
    assert session.client.ask(None, "DELETE").status == 200
    assert session.ask("ping").status == 404


def test_a_request_without_a_session_is_refused(gateway: GatewayProcess):
    client = caller(gateway, "alice", "")
    assert client.ask(legacy("tools/list")).status == 400
    # A client of a session may send a request of the other era: it stands for itself.
    session = Session.open(gateway)
    assert session.client.ask(stateless("tools/list")).status == 200


def test_a_cancellation_goes_to_the_upstream_of_the_request(gateway: GatewayProcess, meddler: ServerProcess):
    session = Session.open(gateway)
    session.ask("tools/call", 31, name="echo__echo", arguments={})
    session.ask("tools/call", 32, name="meddler__ask", arguments={})
    recorder = Recorder(meddler.origin)
    recorder.take()
    assert session.ask("notifications/cancelled", None, requestId=31).status == 202
    assert session.ask("notifications/cancelled", None, requestId=32).status == 202
    assert session.ask("notifications/cancelled", None, requestId=33).status == 202
    cancelled = [record["body"] for record in recorder.take() if "cancelled" in record["body"]]
    assert [json.loads(body)["params"]["requestId"] for body in cancelled] == [32]


@pytest.mark.parametrize("cursor", ["", "x", "e30=", "eyJub3doZXJlIjoiMSJ9", "W10=", "eyJlY2hvIjoxfQ=="])
def test_a_cursor_of_another_make_is_refused(gateway: GatewayProcess, cursor: str):
    assert caller(gateway, "alice", "").ask(stateless("tools/list", cursor=cursor)).status == 400


def test_the_record_has_the_upstream_and_its_own_names(gateway: GatewayProcess):
    Session.open(gateway).call("meddler__ask__deep")
    recorded = json.dumps(entries(gateway.folder))
    assert "ask__deep" in recorded
    assert "meddler__" not in recorded


def test_a_caller_without_a_grant_makes_the_gateway_ask_nobody(gateway: GatewayProcess, meddler: ServerProcess):
    recorder = Recorder(meddler.origin)
    recorder.take()
    stranger = Session.open(gateway, "stranger")
    assert stranger.tools() == set()
    assert not [record for record in recorder.take() if record["body"]]


def test_pages_of_all_upstreams_come_whole(handles_server: ServerProcess, echo_server: ServerProcess, tmp_path: Path):
    config = open_config(policy(tmp_path), {"a": handles_server.mcp, "b": handles_server.mcp, "c": echo_server.mcp})
    with running_gateway(config.replace("[{kind: anonymous}]", "[{kind: development}]"), tmp_path) as gateway:
        client = caller(gateway, "alice", "")
        found: list[str] = []
        params: dict[str, Any] = {}
        for _ in range(3):
            result = client.ask(stateless("tools/list", **params)).json["result"]
            found += [tool["name"] for tool in result["tools"]]
            params = {"cursor": result["nextCursor"]} if "nextCursor" in result else {}
        assert not params
    assert len(found) == len(set(found))
    for upstream in "ab":
        own = [name.partition("__")[2] for name in found if name.startswith(upstream)]
        assert own == ["open_a", "shut_b", "shut_c", "open_d", "task", "ask", "odd"]


@pytest.mark.parametrize("sse", [False, True])
@pytest.mark.parametrize("mib", [1, 9])
def test_a_large_result_comes_whole(gateway: GatewayProcess, mib: int, *, sse: bool):
    client = caller(gateway, "alice", "")
    answer = client.ask(stateless("tools/call", name="echo__big", arguments={"mib": mib, "sse": sse}))
    assert len(answer.text) == mib * 2**20


# --- the search among tools ---


@pytest.fixture
def searching(meddler: ServerProcess, echo_server: ServerProcess, tmp_path: Path) -> Generator[GatewayProcess]:
    """A gateway that lists three tools at most."""
    config = open_config(policy(tmp_path), {"echo": echo_server.mcp, "meddler": meddler.mcp})
    config = config.replace("[{kind: anonymous}]", "[{kind: development}]")
    settings = "tool_search: {above: 3, pinned: [echo/die]}\n"
    with running_gateway(f"{config}{settings}", tmp_path) as found:
        yield found


def found_by(answer: Answer) -> set[str]:
    return {tool["name"] for tool in json.loads(answer.text)["tools"]}


def test_many_tools_become_a_search(searching: GatewayProcess):
    session = Session.open(searching)
    assert session.tools() == {"search_tools", "call_tool", "echo__die"}
    found = session.ask("tools/call", name="search_tools", arguments={"query": "forget it"})
    assert found_by(found) == {"meddler__forget"}
    wrapped = {"name": "echo__echo", "arguments": {"text": "hello"}}
    assert session.ask("tools/call", name="call_tool", arguments=wrapped).text == "hello"
    assert session.ask("tools/call", name="echo__echo", arguments={"text": "direct"}).text == "direct"
    recorded = json.dumps(entries(searching.folder))
    assert "echo/echo" in recorded
    assert "call_tool" not in recorded


def test_a_search_works_in_both_eras_and_a_wrong_one_is_refused(searching: GatewayProcess):
    client = caller(searching, "alice", "")
    found = client.ask(stateless("tools/call", name="search_tools", arguments={"query": "forgets"}))
    assert found_by(found) == {"meddler__forget"}
    wrapped = {"name": "echo__echo", "arguments": {"text": "hello"}}
    assert client.ask(stateless("tools/call", name="call_tool", arguments=wrapped)).text == "hello"
    for name, arguments in (("search_tools", {}), ("call_tool", {}), ("call_tool", {"name": "call_tool"})):
        assert (
            "isError" in str(refused := client.ask(stateless("tools/call", name=name, arguments=arguments)).json)
            or "error" in refused
        )


def test_a_search_finds_only_what_the_caller_may_see(searching: GatewayProcess):
    bob = Session.open(searching, "bob")
    assert found_by(
        bob.ask("tools/call", name="search_tools", arguments={"query": "ask meddle echo die", "limit": 20})
    ) == {
        "meddler__ask",
        "echo__echo",
    }
    wrapped: dict[str, Any] = {"name": "meddler__meddle", "arguments": {}}
    assert "grant" in str(bob.ask("tools/call", name="call_tool", arguments=wrapped).json)
