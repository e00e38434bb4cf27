"""The tasks extension of 2026-07-28 (SEP-2663), and the tools that the official conformance suite calls with it.

A task is work in the background, of which its client is told when it asks. Neither side opts in to one task: a client
declares with each call that it takes tasks, and the server makes one where it wants to.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

from tests.servers.everything_rounds import answered, ask
from tests.servers.everything_tools import TOOLS, Context, Outcome, text

EXTENSION: Final = "io.modelcontextprotocol/tasks"
TTL: Final = 300
"""Seconds for which a task is kept."""
POLL_MS: Final = 50
STRINGS: Final = {"type": "string"}

JsonObject: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What the client is asked, and the answer that is waited for."""

    asked: types.ElicitRequest
    answer: asyncio.Future[types.ElicitResult]


@dataclass(eq=False)
class Job:
    """One task: what is done, what it waits for, and what came of it."""

    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: types.TaskStatus = "working"
    questions: dict[str, Question] = field(default_factory=dict[str, "Question"])
    ended: JsonObject = field(default_factory=JsonObject)
    """`result` or `error`, once there is one."""

    def state(self) -> JsonObject:
        """What is the same in the answer that makes a task and in all that tell of it."""
        return {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created.isoformat(),
            "lastUpdatedAt": self.updated.isoformat(),
            "ttlMs": TTL * 1000,
            "pollIntervalMs": POLL_MS,
        }

    def details(self) -> JsonObject:
        """What `tasks/get` answers."""
        state: JsonObject = {"resultType": "complete", **self.state(), **self.ended}
        if self.status == "input_required":
            state["inputRequests"] = {key: wire(question.asked) for key, question in self.questions.items()}
        return state

    async def asks(self, asked: types.ElicitRequest) -> types.ElicitResult:
        """Put a question to the client, and wait for its answer."""
        question = Question(asked, asyncio.get_running_loop().create_future())
        self.questions[secrets.token_urlsafe(9)] = question
        self.turn("input_required")
        return await question.answer

    def answer(self, key: str, response: JsonObject) -> None:
        """Take an answer. What was not asked, or is answered already, is not listened to."""
        if key in self.questions:
            given = types.ElicitResult.model_validate(response)
            self.questions.pop(key).answer.set_result(given)
            if not self.questions:
                self.turn("working")

    def turn(self, status: types.TaskStatus, **ended: JsonObject) -> None:
        self.status, self.ended, self.updated = status, ended, datetime.now(UTC)

    async def run(self, work: Work) -> None:
        """Do the work, and note how it ended: a tool that fails has a result, a call that fails has an error."""
        try:
            result = await work(self)
        except asyncio.CancelledError:
            self.turn("cancelled")
        except MCPError as error:
            self.turn("failed", error=wire(error.error))
        else:
            self.turn("completed", result=wire(result))
        self.questions.clear()


Work: TypeAlias = Callable[[Job], Awaitable[types.CallToolResult]]


@dataclass(frozen=True, slots=True)
class Jobs:
    """All tasks of this process, by their ids."""

    kept: dict[str, tuple[Job, asyncio.Task[None]]] = field(default_factory=dict[str, tuple[Job, "asyncio.Task[None]"]])

    def begin(self, work: Work) -> JsonObject:
        """Begin work in the background; gives the answer to the call."""
        job = Job()
        self.kept[job.id] = (job, asyncio.create_task(job.run(work)))
        asyncio.get_running_loop().call_later(TTL, self.kept.pop, job.id)
        return {"resultType": "task", **job.state()}

    def find(self, context: Context, name: str) -> tuple[Job, asyncio.Task[None]]:
        """The task that a request names, if its client may name tasks at all."""
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found")
        needs_tasks(context)
        headers: Mapping[str, str] = context.request.headers if context.request else {}
        if decode_header_value(headers.get(MCP_NAME_HEADER)) != name:
            raise MCPError(types.HEADER_MISMATCH, "Mcp-Name is not the taskId of the body")
        if name not in self.kept:
            raise MCPError(types.INVALID_PARAMS, "Task not found")
        return self.kept[name]


JOBS = Jobs()


def wire(model: BaseModel) -> JsonObject:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


def said(words: str, *, failed: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[text(words)], is_error=failed)


def takes_tasks(context: Context) -> bool:
    """Whether the client declared with this request that it takes tasks. In the handshake era there is no such extension,
    whatever a client declares there."""
    capabilities = context.session.client_capabilities
    modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
    return modern and capabilities is not None and EXTENSION in (capabilities.extensions or {})


def needs_tasks(context: Context) -> None:
    if not takes_tasks(context):
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "Missing required client capability",
            {"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
        )


# --- the methods -----------------------------------------------------------------------------------


class Named(types.RequestParams):
    task_id: str


class Update(Named):
    input_responses: dict[str, JsonObject]


async def get_task(context: Context, params: Named) -> JsonObject:
    return JOBS.find(context, params.task_id)[0].details()


async def update_task(context: Context, params: Update) -> JsonObject:
    job, _ = JOBS.find(context, params.task_id)
    for key, response in params.input_responses.items():
        job.answer(key, response)
    return {"resultType": "complete"}


async def cancel_task(context: Context, params: Named) -> JsonObject:
    JOBS.find(context, params.task_id)[1].cancel()
    return {"resultType": "complete"}


def offer(server: Server[Any]) -> None:
    """Have a server offer the extension."""
    server.extensions[EXTENSION] = {}
    server.add_request_handler("tasks/get", Named, get_task)
    server.add_request_handler("tasks/update", Update, update_task)
    server.add_request_handler("tasks/cancel", Named, cancel_task)


# --- the tools -------------------------------------------------------------------------------------


def schema(**properties: Mapping[str, Any]) -> JsonObject:
    return {"type": "object", "properties": properties, "required": list(properties)}


@TOOLS.add("greet", schema(name=STRINGS))
async def greet(_context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Never makes a task."""
    return f"Hello, {(call.arguments or {})['name']}!"


@TOOLS.add("slow_compute", schema(seconds={"type": "number"}, label=STRINGS))
async def slow_compute(context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Takes some seconds, in the background if the client takes tasks."""
    given = call.arguments or {}

    async def compute(_job: Job | None) -> types.CallToolResult:
        await asyncio.sleep(float(given["seconds"]))
        return said(f"{given['label']} took {given['seconds']} s")

    return JOBS.begin(compute) if takes_tasks(context) else await compute(None)


@TOOLS.add("failing_job")
async def failing_job(context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Works in the background only, and fails as a tool does."""
    needs_tasks(context)

    async def fail(_job: Job) -> types.CallToolResult:
        await asyncio.sleep(0.1)
        return said("This job failed", failed=True)

    return JOBS.begin(fail)


@TOOLS.add("protocol_error_job")
async def protocol_error_job(context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Works in the background only, and fails as a call does."""
    needs_tasks(context)

    async def fail(_job: Job) -> types.CallToolResult:
        raise MCPError(types.INTERNAL_ERROR, "This job broke")

    return JOBS.begin(fail)


@TOOLS.add("confirm_delete", schema(filename=STRINGS))
async def confirm_delete(context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Asks from the background whether it may go on."""
    needs_tasks(context)
    name = (call.arguments or {})["filename"]

    async def delete(job: Job) -> types.CallToolResult:
        answer = await job.asks(ask(f"Delete {name}?", "confirm", "boolean"))
        return said(f"{name}: {answer.action} {(answer.content or {}).get('confirm')}")

    return JOBS.begin(delete)


@TOOLS.add("multi_input")
async def multi_input(context: Context, _call: types.CallToolRequestParams) -> Outcome:
    """Asks two questions at once from the background."""
    needs_tasks(context)

    async def gather(job: Job) -> types.CallToolResult:
        answers = await asyncio.gather(job.asks(ask("What is your name?", "name")), job.asks(ask("And yours?", "name")))
        return said(" and ".join(str((answer.content or {}).get("name")) for answer in answers))

    return JOBS.begin(gather)


@TOOLS.add("test_tool_with_task")
async def rounds_before_a_task(context: Context, call: types.CallToolRequestParams) -> Outcome:
    """Asks for a name before it begins to work in the background."""
    needs_tasks(context)
    name = answered(call.input_responses, "user_name", "name")
    if name is None:
        return types.InputRequiredResult(input_requests={"user_name": ask("What is your name?", "name")})

    async def greeting(_job: Job) -> types.CallToolResult:
        return said(f"Hello, {name}!")

    return JOBS.begin(greeting)
