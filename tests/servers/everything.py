"""An MCP server that offers all that the official conformance suite asks for, on both wires.

Run: `python -m tests.servers.everything --fd N`, where N is a listening socket.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

from tests.servers import everything_tasks
from tests.servers.everything_rounds import prompt_in_rounds
from tests.servers.everything_tools import BUS, PNG, TOOLS, Context, embedded, image, text
from tests.servers.serving import serve

if TYPE_CHECKING:
    from starlette.applications import Starlette

NAME = "opagate-everything"
STATE_KEY = b"a fixed key: this server is a fixture and protects nothing"
TEMPLATE = "test://template/{id}/data"


@dataclass
class Events(EventStore):
    """Every event of every stream, in order; an event's id is its place (SEP-1699)."""

    sent: list[tuple[str, types.JSONRPCMessage | None]] = field(
        default_factory=list[tuple[str, types.JSONRPCMessage | None]]
    )

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        self.sent.append((stream_id, message))
        return str(len(self.sent))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        if not last_event_id.isdigit() or not 0 < int(last_event_id) <= len(self.sent):
            return None
        place = int(last_event_id)
        stream, _ = self.sent[place - 1]
        for later, (owner, message) in enumerate(self.sent[place:], start=place + 1):
            if owner == stream and message is not None:
                await send_callback(EventMessage(message, str(later)))
        return stream


async def list_tools(_context: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[entry.definition for entry in TOOLS.entries.values()])


async def call_tool(
    context: Context, params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult | dict[str, Any]:
    entry = TOOLS.entries.get(params.name)
    if entry is None:
        raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}")
    outcome = await entry.run(context, params)
    if isinstance(outcome, str):
        return types.CallToolResult(content=[text(outcome)])
    return types.CallToolResult(content=outcome) if isinstance(outcome, list) else outcome


# --- resources -------------------------------------------------------------------------------------

RESOURCES = [
    types.Resource(uri="test://static-text", name="static-text", mime_type="text/plain"),
    types.Resource(uri="test://static-binary", name="static-binary", mime_type="image/png"),
    types.Resource(uri="test://watched-resource", name="watched-resource", mime_type="text/plain"),
]
TEXTS = {
    "test://static-text": "This is the content of the static text resource.",
    "test://watched-resource": "Watched resource content",
}


async def list_resources(_context: Context, _params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=RESOURCES)


async def list_templates(
    _context: Context, _params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(uri_template=TEMPLATE, name="template", mime_type="application/json")
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(_context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = params.uri
    if uri in TEXTS:
        found: Any = types.TextResourceContents(uri=uri, mime_type="text/plain", text=TEXTS[uri])
    elif uri == "test://static-binary":
        found = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
    elif match := re.fullmatch(r"test://template/([^/]+)/data", uri):
        data = {"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"}
        found = types.TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(data))
    else:
        raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri})
    return types.ReadResourceResult(contents=[found])


async def accept(_context: Context, _params: object) -> types.EmptyResult:
    """For subscribe, unsubscribe and setLevel: there is nothing to keep."""
    return types.EmptyResult()


# --- prompts and completion ------------------------------------------------------------------------


def _prompt(name: str, *arguments: str) -> types.Prompt:
    listed = [types.PromptArgument(name=argument, description=argument, required=True) for argument in arguments]
    return types.Prompt(name=name, description=name, arguments=listed)


PROMPTS = [
    _prompt("test_simple_prompt"),
    _prompt("test_prompt_with_arguments", "arg1", "arg2"),
    _prompt("test_prompt_with_embedded_resource", "resourceUri"),
    _prompt("test_prompt_with_image"),
    _prompt("test_input_required_result_prompt"),
]


async def list_prompts(_context: Context, _params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=PROMPTS)


async def get_prompt(
    _context: Context, params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    given = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            return _said(text("This is a simple prompt for testing."))
        case "test_prompt_with_arguments":
            return _said(text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"))
        case "test_prompt_with_embedded_resource":
            resource = embedded(given["resourceUri"], "text/plain", "Embedded resource content for testing.")
            return _said(resource, text("Please process the embedded resource above."))
        case "test_prompt_with_image":
            return _said(image(), text("Please analyze the image above."))
        case "test_input_required_result_prompt":
            return await prompt_in_rounds(params)
        case unknown:
            raise MCPError(types.INVALID_PARAMS, f"there is no prompt {unknown!r}")


def _said(*content: types.ContentBlock) -> types.GetPromptResult:
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=block) for block in content])


async def complete(_context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


def build() -> Starlette:
    """The ASGI application, with its endpoint at `/mcp`."""
    server: Server[Any] = Server(  # pyright: ignore[reportDeprecated] - logging is deprecated, and older clients are served too
        NAME,
        version="1.0.0",
        get_tool_input_schema=TOOLS.schema,
        on_list_tools=list_tools,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=accept,
        on_unsubscribe_resource=accept,
        on_subscriptions_listen=ListenHandler(BUS),
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=accept,
    )
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    everything_tasks.offer(server)
    server.middleware.append(RequestStateBoundary(RequestStateSecurity(keys=[STATE_KEY]), default_audience=NAME))
    return server.streamable_http_app(event_store=Events(), retry_interval=100)


if __name__ == "__main__":
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    serve(build())
