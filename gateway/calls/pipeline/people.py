"""The parts with which a call that a person has to approve is held and released, and its client is notified. Built by `app`."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Generator, Hashable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from gateway.authority.approvals.desk import Desk
from gateway.authority.approvals.endorsements import Endorsements
from gateway.authority.approvals.index import PER_CALLER
from gateway.authority.approvals.office import Office
from gateway.authority.approvals.rules import Admission
from gateway.authority.approvals.seal import TicketSeal
from gateway.identity.identities import Identities
from gateway.model.call import Call
from gateway.model.caller import Principal, User
from gateway.model.facts import SessionFacts
from gateway.model.wire import JsonObject
from gateway.record.journal.redaction import KnownCredentials
from gateway.wire.http.limits import ConcurrencyLimit
from gateway.wire.protocol import sse

if TYPE_CHECKING:
    from gateway.authority.approvals.model import Approval
    from gateway.authority.connections.model import ConnectionLink

# --- notices ---------------------------------------------------------------------------------------------


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


# --- holds -----------------------------------------------------------------------------------------------


HELD_PER_CALLER: Final = 16
HELD: Final = 256


class Hold:
    """A request that may have to wait for a person. Its client can take it back at any time."""

    __slots__ = ("_woken", "is_taken_back")

    def __init__(self) -> None:
        self.is_taken_back = False
        self._woken: asyncio.Future[None] | None = None

    def wake_with(self, woken: asyncio.Future[None]) -> None:
        """Give `woken` a result when the client takes the request back."""
        self._woken = woken

    def take_back(self) -> None:
        """End the wait: the client wants no answer any more."""
        self.is_taken_back = True
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


RequestName: TypeAlias = tuple[Hashable, ...]
"""The name of a request among all that are held."""


class _OpenHold(Hold):
    """A hold under its name, for the length of a block. Each call of the handshake era has one, so it takes a microsecond."""

    __slots__ = ("_open", "_request", "earlier")

    def __init__(self, open_holds: dict[RequestName, _OpenHold], request: RequestName) -> None:
        # Not by `super`: each call of the handshake era pays for it.
        self.is_taken_back = False
        self._woken = None
        self._open = open_holds
        self._request = request
        self.earlier: _OpenHold | None = None

    def __enter__(self) -> Hold:
        self.earlier = self._open.get(self._request)
        self._open[self._request] = self
        return self

    def __exit__(self, *_error: object) -> None:
        last = self._open[self._request]
        if last is not self:
            last.leave_out(self)
        elif self.earlier is None:
            del self._open[self._request]
        else:
            self._open[self._request] = self.earlier

    def leave_out(self, hold: Hold) -> None:
        """Forget an earlier hold of the same name: a client used an id twice."""
        later = self
        while later.earlier is not None and later.earlier is not hold:
            later = later.earlier
        if later.earlier is not None:
            later.earlier = later.earlier.earlier


class Holds:
    """Requests that wait for a person at the same time: bounded for each caller and in all."""

    def __init__(self, per_caller: int = HELD_PER_CALLER, in_all: int = HELD) -> None:
        self._of_caller = ConcurrencyLimit(per_caller)
        self._left = in_all
        self._open: dict[RequestName, _OpenHold] = {}

    @contextmanager
    def enter(self, caller: str) -> Generator[bool]:
        """Yield whether a request may wait, and count the request while it waits."""
        if not self._left or not self._of_caller.admit(caller):
            yield False
            return
        self._left -= 1
        try:
            yield True
        finally:
            self._left += 1
            self._of_caller.leave(caller)

    def open(self, request: RequestName) -> AbstractContextManager[Hold]:
        """Give the hold of a request that can be taken back under this name meanwhile."""
        return _OpenHold(self._open, request)

    def take_back(self, request: RequestName) -> None:
        """Take back the requests of this name."""
        hold = self._open.get(request)
        while hold is not None:
            hold.take_back()
            hold = hold.earlier


@dataclass(frozen=True, slots=True)
class TokenPeople:
    """The people of a role who prove themselves by a token over HTTP.

    `admit` returns the person for an operation, or the reason against one. A login older than `fresh` seconds permits no change.
    """

    identities: Identities
    admit: Callable[[Principal, User], Any]
    fresh: float | None = None


@dataclass(frozen=True, slots=True)
class People:
    """The way to people. `page_url` is the address of the page of a question, without its id. `describe` returns the arguments of a
    call without credentials, as far as they are shown whole."""

    desk: Desk
    endorsements: Endorsements
    office: Office
    tickets: TicketSeal
    page_url: str
    describe: Callable[[Call, SessionFacts, KnownCredentials | None, bool], JsonObject]
    notices: CompletionNotices
    admission: Admission
    holds: Holds = field(default_factory=Holds)
