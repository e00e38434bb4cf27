"""`opagate connect stdio` by the real command: a client's standard input and output on one side, a real gateway on the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import mcp_types as types
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.conformance.run import Node
from tests.gateway_process import ROOT, GatewayProcess, free_port, open_config, open_policy, running_gateway
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess

TIME = [sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"]
NOON = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def configure(folder: Path, upstreams: Mapping[str, str | list[str]]) -> str:
    """Return a configuration that takes development tokens."""
    return open_config(open_policy(folder), upstreams).replace("kind: anonymous", "kind: development")


@pytest.fixture(scope="module")
def gateway(echo_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(configure(folder, {"echo": echo_server.mcp, "time": TIME}), folder) as running:
        yield running


def command(folder: Path, upstream: str) -> list[str]:
    return [
        "-m",
        "gateway",
        "connect",
        "stdio",
        upstream,
        "--agent",
        "tester",
        "--config",
        str(folder / "gateway.yaml"),
    ]


def bridged(folder: Path, upstream: str) -> Any:
    """Return the transport of the SDK to an upstream behind the bridge."""
    words = command(folder, upstream)
    return stdio_client(StdioServerParameters(command=sys.executable, args=words, env={"PYTHONPATH": str(ROOT)}))


@dataclass
class RawClient:
    """A client that writes and reads lines."""

    process: subprocess.Popen[bytes]

    def send(self, method: str, id_: int | str | None = None, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self.write(json.dumps(message if id_ is None else {**message, "id": id_}).encode())

    def write(self, line: bytes) -> None:
        stdin = cast("IO[bytes]", self.process.stdin)
        stdin.write(line + b"\n")
        stdin.flush()

    def read(self) -> dict[str, Any]:
        line = cast("IO[bytes]", self.process.stdout).readline()
        assert line, cast("IO[bytes]", self.process.stderr).read().decode()
        return json.loads(line)

    def open(self) -> dict[str, Any]:
        info = {"name": "test", "version": "1"}
        self.send("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo=info)
        found = self.read()
        self.send("notifications/initialized")
        return found


@contextmanager
def bridge(folder: Path, upstream: str) -> Generator[RawClient]:
    """Run the bridge. It has to end by itself once its input has ended."""
    with subprocess.Popen(
        [sys.executable, *command(folder, upstream)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield RawClient(process)
            cast("IO[bytes]", process.stdin).close()
            assert process.wait(30) == 0
        finally:
            process.kill()


async def seen(client: Client) -> dict[str, Any]:
    async with client:
        tools = (await client.list_tools()).tools
        result = await client.call_tool("convert_time", NOON)
        version = client.protocol_version
    assert isinstance(result, types.CallToolResult)
    assert not result.is_error
    return {"version": version, "tools": [tool.model_dump() for tool in tools], "result": result.model_dump()}


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_a_client_sees_the_same_server_as_without_the_bridge(mode: str, gateway: GatewayProcess):
    direct = await seen(Client(stdio_client(StdioServerParameters(command=TIME[0], args=TIME[1:])), mode=mode))

    assert await seen(Client(bridged(gateway.folder, "time"), mode=mode)) == direct


@pytest.mark.node
async def test_a_server_asks_its_client_through_the_bridge(node: Node, tmp_path: Path):
    script = node.modules / "@modelcontextprotocol/server-everything/dist/index.js"

    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        said = types.TextContent(text=f"at most {params.max_tokens} words")
        return types.CreateMessageResult(role="assistant", content=said, model="none")

    with running_gateway(configure(tmp_path, {"all": [str(node.program), str(script)]}), tmp_path):
        client = Client(bridged(tmp_path, "all"), mode="legacy", elicitation_callback=elicit, sampling_callback=sample)
        async with client:
            elicited = await client.call_tool("trigger-elicitation-request", {})
            sampled = await client.call_tool("trigger-sampling-request", {"prompt": "hi", "maxTokens": 5})

    assert "Ada" in str(elicited)
    assert "at most 5 words" in str(sampled)


@pytest.mark.parametrize("sse", [False, True])
def test_large_messages_pass_both_ways(*, sse: bool, gateway: GatewayProcess, recorder: Recorder):
    with bridge(gateway.folder, "echo") as client:
        client.open()
        client.send("tools/call", "big", name="big", arguments={"mib": 5, "sse": sse})
        large = client.read()
        client.send("tools/call", "long", name="echo", arguments={"text": "y" * 200_000})
        back = client.read()

    assert (large["id"], len(large["result"]["content"][0]["text"])) == ("big", 5 * 2**20)
    assert len(back["result"]["content"][0]["text"]) == 200_000


def test_progress_comes_before_the_result_and_a_slow_call_holds_up_no_other(
    gateway: GatewayProcess, recorder: Recorder
):
    with bridge(gateway.folder, "echo") as client:
        client.open()
        client.send("tools/call", 1, name="hold", arguments={"key": "slow"}, _meta={"progressToken": 1})
        assert client.read()["method"] == "notifications/progress"
        client.send("tools/call", 2, name="echo", arguments={"text": "fast"})
        assert client.read()["id"] == 2
        recorder.release("slow")
        assert client.read()["id"] == 1


def test_a_cancelled_stateless_call_ends_at_the_server(gateway: GatewayProcess, recorder: Recorder):
    with bridge(gateway.folder, "echo") as client:
        client.send("tools/call", 1, name="hold", arguments={"key": "never"}, _meta={**META, "progressToken": 1})
        assert client.read()["method"] == "notifications/progress"
        client.send("notifications/cancelled", requestId=1, _meta=META)
        assert "never" in recorder.wait("disconnect", "never")["body"]


def test_an_answer_that_breaks_off_becomes_an_error_of_its_request(gateway: GatewayProcess, recorder: Recorder):
    with bridge(gateway.folder, "echo") as client:
        client.open()
        client.send("tools/call", "x", name="die", arguments={"after": 0})
        answer = client.read()

    assert answer["id"] == "x"
    assert "error" in answer


def test_a_refusal_without_an_id_becomes_the_answer_to_its_request(gateway: GatewayProcess):
    with bridge(gateway.folder, "time") as client:
        client.send("tools/list", 5, _meta={**META, "io.modelcontextprotocol/protocolVersion": "1999-01-01"})
        answer = client.read()

    assert answer["id"] == 5
    assert "error" in answer


def test_no_gateway_is_an_error_for_the_client_and_a_line_for_its_user(tmp_path: Path):
    config = f"listen: 127.0.0.1:{free_port()}\n{configure(tmp_path, {'time': TIME})}"
    (tmp_path / "gateway.yaml").write_text(config, "utf-8")
    with bridge(tmp_path, "time") as client:
        info = {"name": "test", "version": "1"}
        client.send("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo=info)
        answer = client.read()
        cast("IO[bytes]", client.process.stdin).close()
        told = cast("IO[bytes]", client.process.stderr).read().decode()

    assert answer["id"] == 0
    assert "start it with `opagate up`" in answer["error"]["message"]
    assert "no opagate gateway answers" in told
    assert "Traceback" not in told


def test_a_session_is_renewed_after_a_restart_of_the_gateway(tmp_path: Path):
    config, port = configure(tmp_path, {"time": TIME}), free_port()
    with ExitStack() as life:
        life.enter_context(running_gateway(config, tmp_path, port=port))
        with bridge(tmp_path, "time") as client:
            client.open()
            client.send("tools/call", 1, name="convert_time", arguments=NOON)
            before = client.read()
            life.close()
            client.send("tools/list", 2)
            absent = client.read()
            life.enter_context(running_gateway(config, tmp_path, port=port))
            client.send("tools/call", 3, name="convert_time", arguments=NOON)
            after = client.read()

    assert "no opagate gateway answers" in absent["error"]["message"]
    assert after["result"] == before["result"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["connect", "stdio", "none"], "there is no upstream none"),
        (["connect", "stdio", "time", "--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_a_bridge_that_cannot_work_says_so_at_once(words: list[str], told: str, tmp_path: Path):
    (tmp_path / "gateway.yaml").write_text(configure(tmp_path, {"time": TIME}), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        input=b"",
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 2
    assert told in done.stderr.decode()
    assert done.stdout == b""
