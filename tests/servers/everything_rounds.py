"""Tools and a prompt that need more than one round: an input-required result, then a retry with answers (SEP-2322).

The state that they hand out is sealed by the SDK's `RequestStateBoundary`; what they read here is what they wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import mcp_types as types

from tests.servers.everything_tools import TOOLS, Context, Outcome, text


def ask(message: str, name: str, kind: str = "string") -> types.ElicitRequest:
    """A form with one required field."""
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(message: str, max_tokens: int) -> types.CreateMessageRequest:
    messages = [types.SamplingMessage(role="user", content=text(message))]
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=messages, max_tokens=max_tokens))


def answered(answers: types.InputResponses | None, key: str, name: str) -> object | None:
    """The value of a form's field, or `None` if that question has not been answered with one."""
    answer = (answers or {}).get(key)
    return (answer.content or {}).get(name) if isinstance(answer, types.ElicitResult) else None


@TOOLS.add("test_input_required_result_elicitation")
async def one_elicitation(_context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Asks for a name."""
    name = answered(call.input_responses, "user_name", "name")
    if name is None:
        return types.InputRequiredResult(input_requests={"user_name": ask("What is your name?", "name")})
    return f"Hello, {name}!"


@TOOLS.add("test_streaming_elicitation")
async def elicitation_after_progress(context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Reports progress on its stream and then asks, by its result and never by a request of its own."""
    await context.session.report_progress(1, 2, "about to ask")
    return await one_elicitation(context, call)


@TOOLS.add("test_input_required_result_sampling")
async def one_sampling(_context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Asks the client's model."""
    answer = (call.input_responses or {}).get("capital_question")
    if not isinstance(answer, types.CreateMessageResult):
        return types.InputRequiredResult(
            input_requests={"capital_question": sample("What is the capital of France?", 100)}
        )
    return f"Model said: {answer.content.text if isinstance(answer.content, types.TextContent) else ''}"


@TOOLS.add("test_input_required_result_list_roots")
async def one_list_roots(_context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Asks for the client's roots."""
    answer = (call.input_responses or {}).get("client_roots")
    if not isinstance(answer, types.ListRootsResult):
        return types.InputRequiredResult(input_requests={"client_roots": types.ListRootsRequest()})
    return f"The client has {len(answer.roots)} roots."


@TOOLS.add("test_input_required_result_request_state")
async def with_state(_context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Needs its state back with the answer."""
    if call.request_state == "first-round" and answered(call.input_responses, "confirm", "ok") is not None:
        return "state-ok: confirmed"
    return types.InputRequiredResult(
        input_requests={"confirm": ask("Please confirm", "ok", "boolean")}, request_state="first-round"
    )


@TOOLS.add("test_input_required_result_tampered_state")
async def with_tampered_state(_context: Context, call: types.CallToolRequestParams) -> Outcome:
    """A state that was changed on the way never gets here."""
    if call.request_state is not None:
        return f"state-ok: {call.request_state}"
    return types.InputRequiredResult(
        input_requests={"confirm": ask("Please confirm", "ok", "boolean")}, request_state="first-round"
    )


@TOOLS.add("test_input_required_result_multiple_inputs")
async def three_at_once(_context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Asks the user, the model and for roots in one round."""
    if {"user_name", "greeting", "client_roots"} <= (call.input_responses or {}).keys():
        return "All inputs received."
    return types.InputRequiredResult(
        input_requests={
            "user_name": ask("What is your name?", "name"),
            "greeting": sample("Generate a greeting", 50),
            "client_roots": types.ListRootsRequest(),
        },
        request_state="asked",
    )


@TOOLS.add("test_input_required_result_multi_round")
async def two_rounds(_context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Asks for a name, then for a colour; its memory is the state."""
    state: Mapping[str, Any] = json.loads(call.request_state) if call.request_state else {}
    name = answered(call.input_responses, "step1", "name")
    colour = answered(call.input_responses, "step2", "color")
    if state.get("round") == 2 and colour is not None:
        return f"{state['name']} likes {colour}."
    if state.get("round") == 1 and name is not None:
        return types.InputRequiredResult(
            input_requests={"step2": ask("Step 2: What is your favorite color?", "color")},
            request_state=json.dumps({"round": 2, "name": name}),
        )
    return types.InputRequiredResult(
        input_requests={"step1": ask("Step 1: What is your name?", "name")}, request_state=json.dumps({"round": 1})
    )


@TOOLS.add("test_input_required_result_capabilities")
async def only_what_the_client_can(context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Asks only for what the client declared that it can do."""
    capabilities = context.session.client_capabilities
    requests: types.InputRequests = {}
    if capabilities is not None and capabilities.sampling is not None:
        requests["sample"] = sample("Say hello", 50)
    if capabilities is not None and capabilities.elicitation is not None:
        requests["ask"] = ask("What is your name?", "name")
    return types.InputRequiredResult(input_requests=requests, request_state="asked")


async def prompt_in_rounds(call: types.GetPromptRequestParams) -> types.GetPromptResult | types.InputRequiredResult:
    """A prompt that asks for its context first."""
    context = answered(call.input_responses, "user_context", "context")
    if context is None:
        question = ask("What context should the prompt use?", "context")
        return types.InputRequiredResult(input_requests={"user_context": question})
    return types.GetPromptResult(
        messages=[types.PromptMessage(role="user", content=text(f"Use the following context: {context}"))]
    )
