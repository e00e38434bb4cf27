"""The stage before the way of a call: requests to `/mcp` go to the upstreams that they name, and lists come from all.

A caller is identified once. Each message for an upstream then goes the way of `/mcp/<upstream>`, so its decision, history, pins,
record, approvals and leases are those of the upstream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.calls.endpoint.answers import OuterStream
from gateway.calls.endpoint.conversation import Answer, Conversation, EndpointParts
from gateway.calls.endpoint.handshake import answer_of_session
from gateway.calls.endpoint.lists import LateAnswers
from gateway.calls.endpoint.search import ToolSearch
from gateway.calls.endpoint.sessions import ClientSessions
from gateway.calls.endpoint.stateless import answer_stateless
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.pipeline import Pipeline
from gateway.calls.response.stream import ResponseStream
from gateway.config import ToolSearchSettings
from gateway.model.caller import Principal
from gateway.model.decision import Refusal
from gateway.model.wire import Era
from gateway.wire.http.exchange import Exchange
from gateway.wire.http.limits import RequestPlace
from gateway.wire.protocol.replies import Reply

PATH = "/mcp"


class Endpoint:
    """The one endpoint before a pipeline. `version` is the gateway's own. `search` returns the settings
    of the search in force. Without these all tools are listed."""

    def __init__(
        self, pipeline: Pipeline, version: str, search: Callable[[], ToolSearchSettings | None] = lambda: None
    ) -> None:
        self._pipeline = pipeline
        self._sessions = ClientSessions(pipeline.monotonic)
        server = {"name": "opagate", "version": version}
        self._parts = EndpointParts(pipeline, LateAnswers(pipeline.monotonic), {}, server, {}, ToolSearch(), search)

    def handle(self, exchange: Exchange) -> Awaitable[Answer | ResponseStream]:
        """Take one request all the way: one of `/mcp` here, and others in the pipeline."""
        if exchange.path.removesuffix("/") != PATH:
            return self._pipeline.handle(exchange)
        context = self._pipeline.open_context(exchange, f"{exchange.method} {PATH}")
        return self._pipeline.for_caller(context, self._answer)

    async def _answer(self, context: RequestContext, principal: Principal, place: RequestPlace) -> Answer:
        """Answer one request of a known caller."""
        message = await self._pipeline.read(context, principal, place)
        if isinstance(message, Reply):
            return message
        conversation = Conversation(self._parts, context, principal, message)
        if message is not None and message.era is Era.STATELESS:
            outcome = await answer_stateless(conversation, message)
        else:
            outcome = await answer_of_session(conversation, self._sessions)
        if isinstance(outcome, Refusal):
            return await self._pipeline.refuser.refuse(context, outcome, principal, message)
        if not isinstance(outcome, OuterStream):
            context.trace.end({"opagate.decision.id": context.id, "opagate.outcome": "completed"}, error=None)
        return outcome
