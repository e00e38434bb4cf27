"""A model that plays a script, behind the APIs of four providers: it pays once, and repeats the same call while a person thinks.

APIs: Anthropic messages, OpenAI responses and chat completions, Gemini generateContent, each with and without streaming. The script
reads the conversation in each request, so the server keeps no state but the list of results that the model has read.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeAlias, cast

from msgspec import Struct

Json: TypeAlias = dict[str, Any]
ATTEMPTS = 6


class Turn(Struct, frozen=True):
    """The next words of the model: a call of the tool with this name, or text."""

    tool: str | None
    text: str


class Script:
    """Pays `amount` to `to`, and repeats the call until it was paid. `on_result` is told of each result that the model reads."""

    def __init__(self, to: str, amount: int, on_result: Callable[[str], None]) -> None:
        self.arguments = {"to": to, "amount": amount}
        self._on_result = on_result
        self._heard = 0

    def play(self, tools: list[str], results: list[str]) -> Turn:
        """Return the next turn of a conversation with these results of tools."""
        for result in results[self._heard :]:
            self._on_result(result)
        self._heard = max(self._heard, len(results))
        tool = next((name for name in tools if name.endswith("pay")), None)
        if tool is None:
            return Turn(None, f"There is no tool to pay with among {tools}.")
        if results and "payment 1" in results[-1]:
            return Turn(None, "It is paid.")
        if len(results) >= ATTEMPTS:
            return Turn(None, "It could not be paid.")
        return Turn(tool, "")


# --- the four APIs -----------------------------------------------------------------------------------


def _texts(value: Any) -> str:
    """Return all text in a value, as a model would read it."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return _texts(list(cast("Json", value).values()))
    return "\n".join(map(_texts, cast("list[Any]", value))) if isinstance(value, list) else ""


def messages(script: Script, asked: Json) -> Iterator[tuple[str, Json]]:
    """Answer as Anthropic's messages do, in events."""
    tools = [tool["name"] for tool in asked.get("tools", ())]
    blocks = [block for said in asked["messages"] if isinstance(said["content"], list) for block in said["content"]]
    results = [_texts(block["content"]) for block in blocks if block.get("type") == "tool_result"]
    turn = script.play(tools, results)
    head: Json = {"id": "m", "type": "message", "role": "assistant", "model": asked["model"], "content": []}
    usage = {"input_tokens": 1, "output_tokens": 1}
    yield "message_start", {"message": {**head, "stop_reason": None, "stop_sequence": None, "usage": usage}}
    block: Json = {"type": "text", "text": ""}
    delta = {"type": "text_delta", "text": turn.text}
    if turn.tool is not None:
        block = {"type": "tool_use", "id": f"toolu_{len(results)}", "name": turn.tool, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(script.arguments)}
    yield "content_block_start", {"index": 0, "content_block": block}
    yield "content_block_delta", {"index": 0, "delta": delta}
    yield "content_block_stop", {"index": 0}
    reason = "end_turn" if turn.tool is None else "tool_use"
    yield "message_delta", {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 1}}
    yield "message_stop", {}


def responses(script: Script, asked: Json) -> Iterator[tuple[str, Json]]:
    """Answer as OpenAI's responses do, in events."""
    found = [(tool, None) for tool in asked.get("tools", ())]
    found += [(inner, tool["name"]) for tool, _ in found if tool.get("type") == "namespace" for inner in tool["tools"]]
    spaces = {tool["name"]: space for tool, space in found if tool.get("type") == "function"}
    results = [_texts(item["output"]) for item in asked["input"] if item.get("type") == "function_call_output"]
    turn = script.play(list(spaces), results)
    if turn.tool is None:
        content: list[Json] = [{"type": "output_text", "text": turn.text, "annotations": []}]
        item: Json = {"type": "message", "id": "msg", "role": "assistant", "status": "completed", "content": content}
    else:
        item = {"type": "function_call", "id": "fc", "call_id": f"call_{len(results)}", "name": turn.tool}
        item |= {"arguments": json.dumps(script.arguments), "status": "completed"}
        if spaces[turn.tool] is not None:
            item["namespace"] = spaces[turn.tool]
    response: Json = {
        "id": "resp",
        "object": "response",
        "model": asked["model"],
        "status": "in_progress",
        "output": [],
    }
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    yield "response.created", {"response": response}
    yield "response.output_item.added", {"output_index": 0, "item": item}
    yield "response.output_item.done", {"output_index": 0, "item": item}
    yield "response.completed", {"response": {**response, "status": "completed", "output": [item], "usage": usage}}


def completions(script: Script, asked: Json) -> Iterator[tuple[str, Json]]:
    """Answer as OpenAI's chat completions do, in chunks."""
    tools = [tool["function"]["name"] for tool in asked.get("tools", ())]
    results = [_texts(said["content"]) for said in asked["messages"] if said["role"] == "tool"]
    turn = script.play(tools, results)
    delta: Json = {"role": "assistant", "content": turn.text}
    if turn.tool is not None:
        function = {"name": turn.tool, "arguments": json.dumps(script.arguments)}
        delta = {"role": "assistant", "content": None}
        delta["tool_calls"] = [{"index": 0, "id": f"call_{len(results)}", "type": "function", "function": function}]
    head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": asked["model"]}
    yield "", {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    reason = "stop" if turn.tool is None else "tool_calls"
    yield "", {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def contents(script: Script, asked: Json) -> Iterator[tuple[str, Json]]:
    """Answer as Gemini's generateContent does, in one chunk."""
    declared = [one for tool in asked.get("tools", ()) for one in tool.get("functionDeclarations", ())]
    parts = [part for said in asked["contents"] for part in said.get("parts", ())]
    results = [_texts(part["functionResponse"]["response"]) for part in parts if "functionResponse" in part]
    turn = script.play([one["name"] for one in declared], results)
    part = {"functionCall": {"name": turn.tool, "args": script.arguments}} if turn.tool else {"text": turn.text}
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    yield "", {"candidates": [candidate], "usageMetadata": usage}


# --- the server --------------------------------------------------------------------------------------


class Model:
    """The server of a script. `seen` lists the paths that were asked for and are not an API of a provider."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, asked: Json) -> Iterator[tuple[str, Json]] | Json:
        """Return the events of an answer, or a whole document."""
        path = path.partition("?")[0]
        if path.endswith("/count_tokens"):
            return {"input_tokens": 1}
        if path.endswith(":countTokens"):
            return {"totalTokens": 1}
        for ending, api in _APIS.items():
            if path.endswith(ending):
                return api(self.script, asked)
        self.seen.append(path)
        return {}


_APIS: dict[str, Callable[[Script, Json], Iterator[tuple[str, Json]]]] = {
    "/messages": messages,
    "/responses": responses,
    "/chat/completions": completions,
    ":streamGenerateContent": contents,
    ":generateContent": contents,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, model: Model, *connection: Any) -> None:
        self._model = model
        super().__init__(*connection)

    def do_GET(self) -> None:
        self._model.seen.append(self.path)
        self._send("application/json", b'{"data": [], "models": []}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        asked: Json = json.loads(body or b"{}")
        answer = self._model.answer(self.path, asked)
        if isinstance(answer, dict):
            self._send("application/json", json.dumps(answer).encode())
        elif asked.get("stream") or ":stream" in self.path:
            self._send("text/event-stream", b"".join(map(_event, answer)) + _end(self.path))
        else:
            self._send("application/json", json.dumps(_whole(list(answer))).encode())

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the overridden parameter
        """Log nothing."""


def _event(event: tuple[str, Json]) -> bytes:
    name, data = event
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps({'type': name, **data} if name else data)}\n\n".encode()


def _end(path: str) -> bytes:
    return b"data: [DONE]\n\n" if path.endswith("/chat/completions") else b""


def _whole(events: list[tuple[str, Json]]) -> Json:
    """Return the events of an answer as one document."""
    names, datas = [name for name, _ in events], [data for _, data in events]
    if "response.completed" in names:
        return datas[names.index("response.completed")]["response"]
    if "message_start" in names:
        block, delta = dict(datas[1]["content_block"]), datas[2]["delta"]
        block |= {"text": delta["text"]} if "text" in delta else {"input": json.loads(delta["partial_json"])}
        return {**datas[0]["message"], "content": [block], "stop_reason": datas[4]["delta"]["stop_reason"]}
    if "choices" in datas[0]:
        choice = {"index": 0, "message": datas[0]["choices"][0]["delta"]}
        choice["finish_reason"] = datas[1]["choices"][0]["finish_reason"]
        return {**datas[0], "object": "chat.completion", "choices": [choice]}
    return datas[0]
