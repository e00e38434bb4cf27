"""Tools, resources and prompts that the official conformance suite asks of a server, except multi-round-trip ones.

Names, texts and schemas are the suite's (https://github.com/modelcontextprotocol/conformance, src/scenarios/server).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged

Context: TypeAlias = ServerRequestContext[Any, Any]
Outcome: TypeAlias = (
    "str | list[types.ContentBlock] | types.CallToolResult | types.InputRequiredResult | dict[str, Any]"
)
"""A `dict` is the result of an extension, as it goes over the wire."""
Handler: TypeAlias = Callable[[Context, types.CallToolRequestParams], Awaitable[Outcome]]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQAAAAA="
NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tool's definition and what it does."""

    definition: types.Tool
    run: Handler


@dataclass(frozen=True, slots=True)
class Toolbox:
    """Tools by name, in the order in which they were added."""

    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])

    def add(self, name: str, schema: Mapping[str, Any] = NOTHING) -> Callable[[Handler], Handler]:
        def register(run: Handler) -> Handler:
            self.entries[name] = Entry(types.Tool(name=name, description=run.__doc__, input_schema=dict(schema)), run)
            return run

        return register

    def schema(self, name: str) -> Mapping[str, Any] | None:
        entry = self.entries.get(name)
        return entry.definition.input_schema if entry else None


TOOLS = Toolbox()
BUS = InMemorySubscriptionBus()


def text(value: str) -> types.TextContent:
    return types.TextContent(type="text", text=value)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri: str, mime_type: str, value: str) -> types.EmbeddedResource:
    resource = types.TextResourceContents(uri=uri, mime_type=mime_type, text=value)
    return types.EmbeddedResource(type="resource", resource=resource)


@TOOLS.add("test_simple_text")
async def simple_text(_context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """One text block."""
    return "This is a simple text response for testing."


@TOOLS.add("test_image_content")
async def image_content(_context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """One PNG image."""
    return [image()]


@TOOLS.add("test_audio_content")
async def audio_content(_context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """One WAV sound."""
    return [types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


@TOOLS.add("test_embedded_resource")
async def embedded_resource(_context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """One embedded resource."""
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@TOOLS.add("test_multiple_content_types")
async def multiple_content_types(_context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Text, image and resource in one result."""
    resource = embedded("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}')
    return [text("Multiple content types test:"), image(), resource]


@TOOLS.add("test_error_handling")
async def error_handling(_context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """A tool that fails."""
    content: list[types.ContentBlock] = [text("This tool intentionally returns an error for testing")]
    return types.CallToolResult(content=content, is_error=True)


async def _log(context: Context, message: str) -> None:
    session, request = context.session, context.request_id
    await session.send_log_message("info", message, related_request_id=request)  # pyright: ignore[reportDeprecated] - older clients are served too


@TOOLS.add("test_tool_with_logging")
async def with_logging(context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Three log messages, 50 ms apart."""
    await _log(context, "Tool execution started")
    for message in ("Tool processing data", "Tool execution completed"):
        await asyncio.sleep(0.05)
        await _log(context, message)
    return "Tool with logging executed successfully"


@TOOLS.add("test_logging_tool")
async def one_log_message(context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """One log message, which a 2026-07-28 client gets only if it asked for messages of that level."""
    await _log(context, "A message for those who asked")
    return "logged"


@TOOLS.add("test_tool_with_progress")
async def with_progress(context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Three progress reports, 50 ms apart; the result is the progress token."""
    for progress in (0, 50, 100):
        await context.session.report_progress(progress, 100, f"Completed step {progress} of 100")
        await asyncio.sleep(0.05)
    return str(cast("Mapping[str, object]", context.meta or {}).get("progress_token", 0))


@TOOLS.add("test_reconnection")
async def reconnection(context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Closes its own event stream in mid-call, so that the client has to come back (SEP-1699)."""
    await _log(context, "Before disconnect")
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
    await asyncio.sleep(0.2)
    await _log(context, "After reconnect")
    return "Reconnection test completed"


# --- requests of the server to the client (handshake era) ------------------------------------------

PROMPT = {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}
MESSAGE = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
RESPONSE = {"type": "object", "properties": {"response": {"type": "string"}}, "required": ["response"]}

DEFAULTS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}

CHOICES: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {
            "type": "string",
            "oneOf": [{"const": "value1", "title": "First Option"}, {"const": "value2", "title": "Second Option"}],
        },
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2"]}},
        "titledMulti": {
            "type": "array",
            "items": {
                "anyOf": [{"const": "value1", "title": "First Choice"}, {"const": "value2", "title": "Second Choice"}]
            },
        },
    },
}


@TOOLS.add("test_sampling", PROMPT)
async def sampling(context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Asks the client's model."""
    message = types.SamplingMessage(role="user", content=text(str((call.arguments or {})["prompt"])))
    answer = await context.session.send_request(
        types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=100)),
        types.CreateMessageResult,
        metadata=ServerMessageMetadata(related_request_id=context.request_id),
    )
    return f"LLM response: {answer.content.text if isinstance(answer.content, types.TextContent) else ''}"


async def _elicit(context: Context, message: str, schema: Mapping[str, Any]) -> str:
    answer = await context.session.elicit_form(message, dict(schema), context.request_id)
    return f"action={answer.action}, content={json.dumps(answer.content or {})}"


@TOOLS.add("test_elicitation", MESSAGE)
async def elicitation(context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Asks the user."""
    return f"User response: {await _elicit(context, str((call.arguments or {})['message']), RESPONSE)}"


@TOOLS.add("test_elicitation_sep1034_defaults")
async def elicitation_defaults(context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Asks the user, with a default for each primitive type (SEP-1034)."""
    answer = await _elicit(context, "Please review and update the form fields with defaults", DEFAULTS)
    return f"Elicitation completed: {answer}"


@TOOLS.add("test_elicitation_sep1330_enums")
async def elicitation_enums(context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Asks the user, with every form of enumeration (SEP-1330)."""
    return f"Elicitation completed: {await _elicit(context, 'Please select options from the enum fields', CHOICES)}"


# --- schemas, headers, capabilities, change notifications ------------------------------------------

EVERY_KEYWORD: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

REGION = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


@TOOLS.add("json_schema_2020_12_tool", EVERY_KEYWORD)
async def json_schema(_context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Its input schema uses the keywords of JSON Schema 2020-12 (SEP-1613, SEP-2106)."""
    return json.dumps(call.arguments)


@TOOLS.add("test_x_mcp_header", REGION)
async def custom_header(_context: Context, call: types.CallToolRequestParams) -> Outcome:
    """`region` is mirrored into the header Mcp-Param-Region (SEP-2243)."""
    return f"region={(call.arguments or {}).get('region', '<none>')}"


@TOOLS.add("test_missing_capability")
async def missing_capability(context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Needs a client that declares sampling (SEP-2575)."""
    capabilities = context.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool needs the client capability 'sampling'",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return "The client can sample."


@TOOLS.add("test_trigger_tool_change")
async def tool_change(_context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Tells subscribers that the tool list changed."""
    await BUS.publish(ToolsListChanged())
    return "tool list changed"


@TOOLS.add("test_trigger_prompt_change")
async def prompt_change(_context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Tells subscribers that the prompt list changed."""
    await BUS.publish(PromptsListChanged())
    return "prompt list changed"
