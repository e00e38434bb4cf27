"""Notices that people have answered a question, or connected, whose address a client was given (MCP 2025-11-25, client/elicitation, "Completion
Notifications for URL Mode Elicitation"). A notice goes to the session of the question alone, on its stream of a GET."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.authority.approvals.index import PER_CALLER
from gateway.wire.protocol import sse

if TYPE_CHECKING:
    from gateway.authority.approvals.desk import Desk
    from gateway.authority.approvals.model import Approval
    from gateway.authority.connections.model import ConnectionLink

KEPT: Final = 4096
"""Sessions without a stream whose notices are kept. Beyond it the oldest session loses its notices."""

Say = Callable[[bytes], None]


class CompletionNotices:
    """Streams of sessions, and the notices of sessions that have no stream yet. The notices do not outlive a restart."""

    def __init__(self, desk: Desk | None) -> None:
        self._streams: dict[str, list[Say]] = {}
        self._untold: dict[str, deque[bytes]] = {}
        if desk is not None:
            desk.watch(self._note)

    def listen(self, session: str, say: Say) -> Callable[[], None]:
        """Have `say` called with each notice for a session (`digest_session`), kept ones first. Returns the end of it."""
        self._streams.setdefault(session, []).append(say)
        if (kept := self._untold.pop(session, None)) is not None:
            say(b"".join(kept))
        return partial(self._leave, session, say)

    def _leave(self, session: str, say: Say) -> None:
        left = self._streams[session]
        left.remove(say)
        if not left:
            del self._streams[session]

    def note_link(self, link: ConnectionLink) -> None:
        """Tell the session of a link about the decision of its user."""
        self._send(link.session, link.id)

    def _note(self, approval: Approval) -> None:
        """Tell the session of a question about the answer of people."""
        if _is_new_answer(approval):
            self._send(approval.question.requester.session, approval.id)

    def _send(self, session: str, elicitation: str) -> None:
        """Send a notice on one stream of a session. Without a stream, keep the notice. A question without a session has none."""
        if not session:
            return
        if streams := self._streams.get(session):
            # "The server MUST send each of its JSON-RPC messages on only one of the connected streams."
            streams[-1](_notice(elicitation))
            return
        self._untold.setdefault(session, deque(maxlen=PER_CALLER)).append(_notice(elicitation))
        if len(self._untold) > KEPT:
            del self._untold[next(iter(self._untold))]


def _is_new_answer(approval: Approval) -> bool:
    """Return whether the question waits no more for people since this change."""
    return approval.state != "pending" and (approval.granted is None or approval.state == "granted")


def _notice(elicitation: str) -> bytes:
    notification = {
        "jsonrpc": "2.0",
        "method": "notifications/elicitation/complete",
        "params": {"elicitationId": elicitation},
    }
    return sse.encode(json.dumps(notification).encode())
