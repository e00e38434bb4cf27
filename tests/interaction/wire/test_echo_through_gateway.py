"""Bytes on the wire, both ways, with a real gateway between a raw client and a server that records and misbehaves."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.gateway_process import GatewayProcess, open_config, open_policy, running_gateway
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess

ACCEPT = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def gateway(echo_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    config = open_config(open_policy(folder), {"echo": echo_server.mcp})
    with running_gateway(config, folder) as running:
        yield running


def message(name: str, **arguments: object) -> bytes:
    """A tool call of the handshake era, spelled in a way that re-encoding would change."""
    params = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f'{{ "method":"tools/call",\n\t"params": {params}, "id": 7,"jsonrpc":"2.0" }}'.encode()


@contextmanager
def posting(
    gateway: GatewayProcess, body: bytes, headers: Mapping[str, str] | None = None
) -> Generator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(gateway.origin.removeprefix("http://"), timeout=300)
    fields = ACCEPT | {"mcp-protocol-version": "2025-11-25"} | dict(headers or {})
    connection.request("POST", "/mcp/echo", body, fields)
    answer = connection.getresponse()
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def called(recorder: Recorder, tool: str) -> dict[str, Any]:
    """The one `tools/call` of that tool that reached the server."""
    (record,) = [r for r in recorder.requests() if "tools/call" in r["body"] and f'"{tool}"' in r["body"]]
    return record


def test_an_allowed_call_arrives_as_the_same_bytes(gateway: GatewayProcess, recorder: Recorder) -> None:
    body = message("echo", text="Grüße, \u2028 1e3", extra={"z": 1.0, "a": [None]})
    with posting(gateway, body) as answer:
        assert answer.status == 200
        assert "Grüße" in json.load(answer)["result"]["content"][0]["text"]
    assert called(recorder, "echo")["sha256"] == hashlib.sha256(body).hexdigest()


def test_what_is_between_the_agent_and_the_gateway_never_arrives(gateway: GatewayProcess, recorder: Recorder) -> None:
    secrets = {"cookie": "sid=agent-secret-1", "proxy-authorization": "Basic agent-secret-2"}
    with posting(gateway, message("echo", text="hello"), secrets) as answer:
        assert answer.status == 200
    assert "agent-secret" not in json.dumps(called(recorder, "echo")["headers"])


@pytest.mark.parametrize("headers", [{"authorization": "Bearer agent-secret-3"}, {"dpop": "agent-secret-4"}])
def test_credentials_that_prove_nothing_are_not_taken_for_none(
    gateway: GatewayProcess, recorder: Recorder, headers: dict[str, str]
) -> None:
    with posting(gateway, message("echo", text="hello"), headers) as answer:
        assert answer.status == 401
        assert "agent-secret" not in answer.read().decode()
    assert recorder.requests() == []
    assert "agent-secret" not in gateway.printed()


@pytest.mark.parametrize("sse", [False, True])
def test_a_big_result_comes_through_whole(gateway: GatewayProcess, sse: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    with posting(gateway, message("big", mib=8, sse=sse)) as answer:
        body = answer.read().removeprefix(b"event: message\ndata: ")
    assert len(json.loads(body)["result"]["content"][0]["text"]) == 8 * 2**20


def test_events_arrive_while_the_call_is_still_open(gateway: GatewayProcess, recorder: Recorder) -> None:
    with posting(gateway, message("hold", key="wire-held")) as answer:
        assert answer.readline() == b"event: message\n"
        assert b"notifications/progress" in answer.readline()
        recorder.release("wire-held")
        assert b'"released"' in answer.read()


def test_a_client_of_the_stateless_era_that_goes_away_cancels_the_call(
    gateway: GatewayProcess, recorder: Recorder
) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "hold", "arguments": {"key": "wire-abandoned"}, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params}).encode()
    routing = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "hold"}
    with posting(gateway, body, routing) as answer:
        assert answer.status == 200, answer.read()
        answer.readline()
    assert recorder.wait("disconnect", "wire-abandoned")["event"] == "disconnect"


@pytest.mark.parametrize("tool", ["die", "wrong_id"])
def test_a_server_that_breaks_the_protocol_is_answered_for(gateway: GatewayProcess, tool: str) -> None:
    with posting(gateway, message(tool)) as answer:
        body = answer.read()
    answers = [json.loads(line.removeprefix(b"data: ")) for line in body.splitlines() if b'"error"' in line]
    assert [(reply["id"], "error" in reply) for reply in answers] == [(7, True)], body
    assert b"somebody else" not in body


@pytest.mark.parametrize("code", [401, 403])
def test_what_the_server_thinks_of_the_gateways_credential_is_no_challenge_to_the_agent(
    gateway: GatewayProcess, code: int
) -> None:
    challenge = {"www-authenticate": "Bearer resource_metadata=https://elsewhere.invalid", "set-cookie": "a=b"}
    with posting(gateway, message("status", code=code, headers=challenge, body="no")) as answer:
        answer.read()
        assert answer.getheader("www-authenticate") is None
        assert answer.getheader("set-cookie") is None
        assert answer.status not in {401, 403}


def test_a_call_with_a_key_given_twice_is_refused_before_the_server_hears_of_it(
    gateway: GatewayProcess, recorder: Recorder
) -> None:
    body = message("echo", text="innocent").replace(b'"id": 7', b'"id": 7, "id": 8')
    with posting(gateway, body) as answer:
        assert answer.status == 400
        assert "request/" in json.load(answer)["error"]["data"]["io.opagate/decision"]["reasons"][0]["code"]
    assert [r for r in recorder.requests() if "tools/call" in r["body"]] == []
