"""`POST /tasks`, `GET /tasks/{id}`, `POST /tasks/{id}/hand-over`, `POST /tasks/{id}/complete` and `POST /tasks/{id}/cancel`, for known callers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from gateway.calls.pipeline.asking import task_id_of
from gateway.history.tasks.endpoints import End, RefusalReply, refuse_task
from gateway.model import reasons
from gateway.model.decision import Refusal
from gateway.model.error_codes import REFUSED
from gateway.model.errors import GatewayError
from gateway.surfaces.pages.responses import KnownCaller, KnownCallers, ReplyResponse, allowed_methods, known_caller
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from gateway.calls.composition import Gateway
    from gateway.history.tasks.endpoints import TaskEndpoints


def task_routes(gateway: Gateway) -> list[Route]:
    """Return the routes to the pages of tasks. The caller is verified before anything else is looked at."""
    handlers = {404: _refuse_path, 405: _refuse_method, GatewayError: _refuse_failure}
    pages = ExceptionMiddleware(Router(_inner_routes(gateway.tasks), redirect_slashes=False), handlers)
    verified = KnownCallers(pages, gateway, "tasks")
    return [Route("/tasks", verified), Route("/tasks/{rest:path}", verified)]


def _inner_routes(tasks: TaskEndpoints) -> list[Route]:
    async def open_task(request: Request) -> Response:
        caller = await _enter(request)
        body = await caller.read_body()
        if isinstance(body, Refusal):
            return await caller.refuse(body)
        refusal = tasks.find_refusal(caller.principal, body, caller.arrived)
        if refusal is not None:
            return await _answer(request, refusal)
        approval = await caller.gateway.task_approvals.approve_task(caller.context.id, caller.principal, body)
        if isinstance(approval, Reply):
            return await _answer(request, approval)
        task_id = None
        try:
            reply = await tasks.open(caller.principal, body, caller.arrived, approval)
            task_id = task_id_of(reply)
        finally:
            await caller.gateway.task_approvals.settle_task(approval, task_id)
        return await _answer(request, reply)

    async def show_task(request: Request) -> Response:
        caller = await _enter(request)
        return await _answer(request, tasks.report(caller.principal, request.path_params["id"], caller.arrived))

    async def end_task(how: End, request: Request) -> Response:
        caller = await _enter(request)
        return await _answer(request, await tasks.end(caller.principal, request.path_params["id"], how, caller.arrived))

    async def hand_over(request: Request) -> Response:
        caller = await _enter(request)
        body = await caller.read_body()
        if isinstance(body, Refusal):
            return await caller.refuse(body)
        return await _answer(
            request, tasks.hand_over(caller.principal, request.path_params["id"], body, caller.arrived)
        )

    return [
        Route("/tasks", open_task, methods=["POST"]),
        Route("/tasks/{id}", show_task),
        Route("/tasks/{id}/hand-over", hand_over, methods=["POST"]),
        Route("/tasks/{id}/complete", partial(end_task, "completed"), methods=["POST"]),
        Route("/tasks/{id}/cancel", partial(end_task, "cancelled"), methods=["POST"]),
    ]


async def _enter(request: Request) -> KnownCaller:
    """Return the caller of a request, after all that other gateways know of its tasks is known here."""
    caller = known_caller(request)
    await caller.gateway.history.ledger.log.catch_up(caller.principal.job)
    return caller


async def _answer(request: Request, reply: Reply) -> Response:
    """Record a refusal, or the end of a successful request."""
    caller = known_caller(request)
    if isinstance(reply, RefusalReply):
        await caller.note_refusal(Refusal(reply.status, reply.reason, REFUSED))
    else:
        caller.end()
    return ReplyResponse(reply)


async def _refuse_path(request: Request, _error: Exception) -> Response:
    return await _answer(request, refuse_task(reasons.TASK_NOT_FOUND.reason()))


async def _refuse_method(request: Request, error: Exception) -> Response:
    return await _answer(request, refuse_task(reasons.TASK_METHOD.reason(), None, allowed_methods(error)))


async def _refuse_failure(request: Request, error: Exception) -> Response:
    """Refuse a request after a failure outside of the gateway: the journal cannot be written, or there is no more
    room."""
    failure = cast("GatewayError", error)
    return await _answer(request, refuse_task(reasons.reason_of(failure), 503))
