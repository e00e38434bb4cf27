"""The task of a request: the declared task named by the request, else the implicit task of its caller."""

from __future__ import annotations

from gateway.model.decision import Reason, Refusal
from gateway.model.task import Task
from gateway.model.wire import Message, UpstreamRequest
from gateway.pipeline.context import Gateway, Visit
from gateway.protocol.error_codes import REFUSED
from gateway.tasks.selection import select_task
from gateway.tasks.tokens import is_token


def task_of(
    gateway: Gateway, visit: Visit, request: UpstreamRequest, message: Message | None, now: float
) -> Task | Refusal:
    """The task of a request at `now`, in seconds since the epoch. A refusal (403) for a task that is not the caller's, or that
    is over."""
    named = select_task(message, visit.exchange.fields)
    if named is None:
        return gateway.history.task(request.principal, now)
    found: str | Task | Reason = named
    if isinstance(found, str) and is_token(found):
        found = gateway.task_tokens.task_of(found, request.principal, now)
    if isinstance(found, str):
        found = gateway.history.select(request.principal, found, now)
    return Refusal(403, found, REFUSED) if isinstance(found, Reason) else found
