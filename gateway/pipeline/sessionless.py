"""Rules for answers, cancellations and news of tasks outside of a session. An upstream without sessions cannot tell its
clients apart. The servers of the SDKs keep nothing between requests. Another server could take an answer for the answer
of another caller, and a cancellation for a cancellation of another's request."""

from __future__ import annotations

from typing import Final

from gateway import reasons
from gateway.binding.sessionless_exchanges import SessionlessExchanges
from gateway.model.decision import Refusal
from gateway.model.wire import Era, Kind, UpstreamRequest
from gateway.protocol.methods import OWN_TASK

_NOT_ASKED: Final = reasons.SESSION_FOREIGN_ANSWER.refusal()
_NOT_UNDER_WAY: Final = reasons.SESSION_NOT_UNDER_WAY.refusal()
_TASK_WITHOUT_OWNER: Final = reasons.SESSION_NOT_UNDER_WAY_TASK.refusal()


def refuse_unowned(exchanges: SessionlessExchanges, upstream: str, request: UpstreamRequest) -> Refusal | None:
    """Refuse an answer, a cancellation or news of a task that the gateway must not send; `None` for all other messages.
    It refuses an answer to a question that the caller was not asked, and messages about requests of unknown owners.
    From 2026-07-28 on, a caller cancels a request by closing its connection. It changes nothing."""
    message, owner = request.message, request.principal.key
    if message is None or request.session is not None:
        return None
    if message.kind is Kind.RESPONSE:
        return None if exchanges.is_asked(upstream, owner, message.id) else _NOT_ASKED
    if message.method == OWN_TASK:
        return _TASK_WITHOUT_OWNER
    if message.method != "notifications/cancelled":
        return None
    named = message.params.get("requestId")
    own = message.era is Era.HANDSHAKE and exchanges.is_open(upstream, owner, named)
    return None if own else _NOT_UNDER_WAY
