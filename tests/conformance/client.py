"""A client program for the official suite's client scenarios, with the SDK's client.

Run: `python -m tests.conformance.client URL`; the suite names the scenario, the protocol version and further values in
`MCP_CONFORMANCE_SCENARIO`, `MCP_CONFORMANCE_PROTOCOL_VERSION` and `MCP_CONFORMANCE_CONTEXT`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import mcp_types as types
from mcp.client import Client
from mcp.client.context import ClientRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

Session: TypeAlias = Callable[[Client], Awaitable[object]]

EXAMPLES: Mapping[str, Any] = {"string": "x", "integer": 1, "number": 1, "boolean": True, "object": {}, "array": []}


async def defaults(
    _context: ClientRequestContext, params: types.ElicitRequestParams
) -> types.ElicitResult | types.ErrorData:
    """A user who accepts every form as it is proposed."""
    properties: Mapping[str, Any] = (
        params.requested_schema["properties"] if isinstance(params, types.ElicitRequestFormParams) else {}
    )
    values = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    return types.ElicitResult(action="accept", content=values or {"confirmed": True})


async def sampled(
    _context: ClientRequestContext, _params: types.CreateMessageRequestParams
) -> types.CreateMessageResult | types.ErrorData:
    """A model that has nothing to say."""
    return types.CreateMessageResult(role="assistant", content=types.TextContent(type="text", text=""), model="none")


async def roots(_context: ClientRequestContext) -> types.ListRootsResult | types.ErrorData:
    return types.ListRootsResult(roots=[])


async def list_only(client: Client) -> None:
    await client.list_tools()


def call(name: str, **arguments: object) -> Session:
    """Lists the tools and calls one of them."""

    async def session(client: Client) -> None:
        await client.list_tools()
        await client.call_tool(name, arguments)

    return session


async def call_each(client: Client) -> None:
    """Calls every tool that the SDK surfaces, with the least arguments that it accepts."""
    for tool in (await client.list_tools()).tools:
        properties = tool.input_schema.get("properties", {})
        needed = {name: EXAMPLES[properties[name]["type"]] for name in tool.input_schema.get("required", [])}
        await client.call_tool(tool.name, needed)


async def call_as_told(client: Client) -> None:
    """Makes the calls that the suite lists, as far as the SDK surfaces their tools. Answers may be errors."""
    listed = {tool.name for tool in (await client.list_tools()).tools}
    for told in json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])["toolCalls"]:
        if told["name"] in listed:
            try:
                await client.call_tool(told["name"], told.get("arguments") or {})
            except MCPError as error:
                sys.stderr.write(f"{told['name']} was answered by {error}\n")


async def echo_schema(client: Client) -> None:
    """Sends back the input schema that it was given."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    await client.call_tool("json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].input_schema})


async def several_rounds(client: Client) -> None:
    """Calls that need an answer, or echo a state, or do not. The last one's result has no `resultType`, which the
    suite wants taken as complete and never retried; the SDK goes further and refuses to read it."""
    await client.list_tools()
    for name in ("test_mrtr_echo_state", "test_mrtr_unrelated", "test_mrtr_no_state"):
        await client.call_tool(name, {})
    with suppress(ValidationError):
        await client.call_tool("test_mrtr_no_result_type", {})


SESSIONS: Mapping[str, Session] = {
    "initialize": list_only,
    "json-schema-ref-no-deref": list_only,
    "tools_call": call("add_numbers", a=5, b=3),
    "request-metadata": call("add_numbers", a=5, b=3),
    "http-standard-headers": call("add_numbers", a=5, b=3),
    "sse-retry": call("test_reconnection"),
    "elicitation-sep1034-client-defaults": call("test_client_elicitation_defaults"),
    "http-invalid-tool-headers": call_each,
    "http-custom-headers": call_as_told,
    "json-schema-2020-12-preservation": echo_schema,
    "sep-2322-client-request-state": several_rounds,
}


def mode(scenario: str) -> str:
    """How the SDK's client opens the connection. One scenario claims 2026-07-28 and serves only the handshake."""
    version = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"]
    modern = version in MODERN_PROTOCOL_VERSIONS and scenario != "json-schema-ref-no-deref"
    return "auto" if modern else "legacy"


async def run(url: str) -> None:
    """Do what the scenario asks for, against the server at `url`."""
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    callbacks: dict[str, Any] = {"elicitation_callback": defaults}
    if scenario == "request-metadata":
        callbacks |= {"sampling_callback": sampled, "list_roots_callback": roots}
    async with Client(url, mode=mode(scenario), **callbacks) as client:
        await SESSIONS[scenario](client)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[-1]))
