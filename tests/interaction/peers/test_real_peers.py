"""Servers and clients that other people wrote, with the gateway in between.

Servers over stdio: the reference servers of the MCP project (everything and filesystem in TypeScript, git and time in
Python). Clients: the Python SDK's in each of its modes, the Go SDK's, and the Inspector's command line. What a client sees through
the gateway is compared with what it sees when it starts the server itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, cast

import mcp_types as types
import pytest
from mcp.client import Client, Transport
from mcp.client.stdio import StdioServerParameters, stdio_client

from gateway.upstreams.catalogue import lockfile
from tests.conformance.run import Node
from tests.gateway_process import GatewayProcess, open_config, open_policy, running_gateway
from tests.interaction.peers.inspector import Inspector

pytestmark = pytest.mark.node

CALLS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "everything": ("get-sum", {"a": 2, "b": 40}),
    "filesystem": ("read_text_file", {"path": "{folder}/greeting.txt"}),
    "git": ("git_log", {"repo_path": "{folder}"}),
    "time": ("convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}),
}
BOTH_ERAS = ("git", "time")
"""The others know the handshake only."""
THREE_SYSTEMS = "audiences: {soft: 3, hard: 5}"
"""More are asked about, by the settings of `open_policy`."""

MODES = [
    *((name, mode) for name in CALLS for mode in ("auto", "legacy")),
    *((name, "2026-07-28") for name in BOTH_ERAS),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with one file and one commit."""
    repository = tmp_path_factory.mktemp("repository").resolve()
    (repository / "greeting.txt").write_text("good morning\n", "utf-8")
    identity = {f"GIT_{who}_{what}": "peer" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Say good morning"]):
        subprocess.run(["git", *command], cwd=repository, env=os.environ | identity, check=True)
    return repository


@pytest.fixture(scope="module")
def commands(node: Node, folder: Path) -> Mapping[str, list[str]]:
    """How each server is started."""
    packages = node.modules / "@modelcontextprotocol"
    return {
        "everything": [str(node.program), str(packages / "server-everything/dist/index.js")],
        "filesystem": [str(node.program), str(packages / "server-filesystem/dist/index.js"), str(folder)],
        "git": [sys.executable, "-m", "mcp_server_git", "--repository", str(folder)],
        "time": [sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"],
    }


@pytest.fixture(scope="module")
def gateway(commands: Mapping[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """One gateway before all four servers, of which one task may use all."""
    home = tmp_path_factory.mktemp("gateway")
    policy = open_policy(home)
    settings = policy / "gateway/settings/data.yaml"
    text = settings.read_text("utf-8")
    assert THREE_SYSTEMS in text
    settings.write_text(text.replace(THREE_SYSTEMS, "audiences: {soft: 4, hard: 5}", 1), "utf-8")
    with running_gateway(open_config(policy, commands), home) as running:
        yield running


def arguments(call: tuple[str, Mapping[str, Any]], folder: Path) -> tuple[str, dict[str, Any]]:
    tool, given = call
    return tool, {
        key: value.replace("{folder}", str(folder)) if isinstance(value, str) else value for key, value in given.items()
    }


async def seen(client: Client, name: str, folder: Path) -> dict[str, Any]:
    """What a client can tell of a server: its version of the protocol, its tools, and the answer to one call."""
    tool, given = arguments(CALLS[name], folder)
    async with client:
        tools = (await client.list_tools()).tools
        result = await client.call_tool(tool, given)
        version = client.protocol_version
    assert isinstance(result, types.CallToolResult)
    assert not result.is_error, result.content
    return {
        "version": version,
        "tools": [listed.model_dump(by_alias=True) for listed in tools],
        "result": result.model_dump(by_alias=True),
    }


def started(command: list[str], folder: Path) -> Transport:
    """The server itself, started by the client."""
    return stdio_client(StdioServerParameters(command=command[0], args=command[1:], cwd=folder))


@pytest.mark.parametrize(("name", "mode"), MODES)
async def test_a_client_sees_the_same_server_through_the_gateway(
    name: str, mode: str, commands: Mapping[str, list[str]], folder: Path, gateway: GatewayProcess
) -> None:
    direct = await seen(Client(started(commands[name], folder), mode=mode), name, folder)
    assert direct["tools"]
    through = await seen(Client(gateway.mcp(name), mode=mode), name, folder)
    assert through == direct


ASKING = {
    "trigger-elicitation-request": {},
    "trigger-sampling-request": {"prompt": "good morning", "maxTokens": 5},
    "get-roots-list": {},
}
"""Tools of server-everything that ask the client something. It lists each only to a client that can answer."""


async def asked(transport: Transport | str, plain: Transport | str) -> dict[str, Any]:
    """What these tools answer to a client that can answer them, after one that cannot has listed what it is shown."""

    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        said = types.TextContent(text=f"at most {params.max_tokens} words")
        return types.CreateMessageResult(role="assistant", content=said, model="none")

    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult.model_validate({"roots": [{"uri": "file:///project", "name": "project"}]})

    client = Client(
        transport, mode="legacy", elicitation_callback=elicit, sampling_callback=sample, list_roots_callback=roots
    )
    async with client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        assert ASKING.keys() <= listed
        async with Client(plain, mode="legacy") as other:
            assert ASKING.keys().isdisjoint(tool.name for tool in (await other.list_tools()).tools)
        return {name: str(await client.call_tool(name, given)) for name, given in ASKING.items()}


async def test_a_server_that_lists_a_tool_only_to_a_client_that_it_can_ask_can_ask_it(
    commands: Mapping[str, list[str]], folder: Path, gateway: GatewayProcess
) -> None:
    direct = await asked(started(commands["everything"], folder), started(commands["everything"], folder))
    assert "Ada" in direct["trigger-elicitation-request"]
    assert "at most 5 words" in direct["trigger-sampling-request"]
    assert "file:///project" in direct["get-roots-list"]
    assert await asked(gateway.mcp("everything"), gateway.mcp("everything")) == direct
    assert ASKING.keys() <= lockfile.load(gateway.folder / "catalogue.lock").of("everything", "tool").keys()


@pytest.mark.parametrize("name", ["everything", "filesystem"])
async def test_a_client_that_insists_on_a_revision_that_the_server_lacks_fails_in_the_same_way(
    name: str, commands: Mapping[str, list[str]], folder: Path, gateway: GatewayProcess
) -> None:
    with pytest.raises(BaseExceptionGroup) as direct:
        await seen(Client(started(commands[name], folder), mode="2026-07-28"), name, folder)
    with pytest.raises(BaseExceptionGroup) as through:
        await seen(Client(gateway.mcp(name), mode="2026-07-28"), name, folder)
    assert causes(through.value) == causes(direct.value)


def causes(error: BaseException) -> list[str]:
    """The types and first lines of the errors that a group holds."""
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return [cause for one in inner for cause in causes(one)]
    return [f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"]


@pytest.mark.parametrize("name", sorted(CALLS))
def test_the_inspector_lists_and_calls_through_the_gateway(
    name: str, node: Node, folder: Path, gateway: GatewayProcess, tmp_path: Path
) -> None:
    tool, given = arguments(CALLS[name], folder)
    inspect = Inspector(node, tmp_path)
    listed = printed(inspect, gateway.mcp(name), "tools/list")
    assert tool in [entry["name"] for entry in listed["tools"]]
    values = [f"{key}={value}" for key, value in given.items()]
    called = printed(inspect, gateway.mcp(name), "tools/call", "--tool-name", tool, "--tool-arg", *values)
    assert not called.get("isError")
    assert called["content"]


def printed(inspect: Inspector, url: str, method: str, *more: str) -> dict[str, Any]:
    """What the Inspector prints for one method that goes well."""
    done = inspect(url, method, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


GO_CALLS = {
    **CALLS,
    "everything": ("trigger-long-running-operation", {"duration": 0.1, "steps": 3}),
    "filesystem": ("read_text_file", {"path": "{folder}/not-there.txt"}),
}


@pytest.mark.parametrize("name", sorted(GO_CALLS))
def test_the_go_sdk_sees_the_same_server_through_the_gateway(
    name: str, gosdk_path: Path, commands: Mapping[str, list[str]], folder: Path, gateway: GatewayProcess
) -> None:
    tool, given = arguments(GO_CALLS[name], folder)
    direct = with_go(gosdk_path, tool, given, *commands[name])
    assert tool in [listed["name"] for listed in direct["tools"]]
    assert direct["result"]["content"]
    assert direct["progress"] == ([1, 2, 3] if name == "everything" else None)
    assert with_go(gosdk_path, tool, given, gateway.mcp(name)) == direct


def test_the_go_sdk_answers_a_question_of_the_server_through_the_gateway(
    gosdk_path: Path, gateway: GatewayProcess
) -> None:
    answered = with_go(gosdk_path, "trigger-elicitation-request", {}, gateway.mcp("everything"))["result"]
    assert "- Name: Ada" in str(answered["content"])


def test_a_refusal_reaches_the_user_of_the_go_sdk_with_its_reason(gosdk_path: Path, gateway: GatewayProcess) -> None:
    refused = with_go(gosdk_path, "no-such-tool", {}, gateway.mcp("time"))["result"]
    assert refused["isError"]
    assert "[catalogue/unknown]" in refused["content"][0]["text"]
    assert [reason["code"] for reason in refused["_meta"]["io.opagate/decision"]["reasons"]] == ["catalogue/unknown"]


def with_go(program: Path, tool: str, given: Mapping[str, Any], *server: str) -> dict[str, Any]:
    """What the client in `tools/gosdk` sees of a server, at a URL or started by it."""
    command = [str(program), tool, json.dumps(given), *server]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
