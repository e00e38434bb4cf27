"""The stdio upstream: HTTP on this side, processes on the other.

A process serves a single principal. With a leased credential a process serves a single task, and ends with the lease.
The gateway runs the configured command and nothing of a request; a process gets the message, and nothing of the
request's headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import structs

from gateway.base.concurrency.background import Job
from gateway.config import Limits, Upstream
from gateway.config.authority import LeasedCredential
from gateway.model.errors import UpstreamUnreachable
from gateway.model.wire import Era, Kind, Message, UpstreamReply, UpstreamRequest
from gateway.upstreams.http import is_for_news, make_stalled
from gateway.upstreams.stdio import replies
from gateway.upstreams.stdio.pool import Pool
from gateway.upstreams.stdio.session import StdioSession
from gateway.upstreams.stdio.spawner import Conceal, Spawner, shown_as_is
from gateway.upstreams.stdio.split_session import SplitSession
from gateway.upstreams.stdio.stream import StreamResponse
from gateway.wire.protocol.headers import value_of

if TYPE_CHECKING:
    from gateway.model.caller import Principal
    from gateway.model.wire import HandedCredential
    from gateway.upstreams.stdio.child import ServerProcess
    from gateway.upstreams.stdio.isolation.description import Isolation
    from gateway.upstreams.stdio.isolation.launch import Launcher

SESSION_IDLE: Final = 30 * 60.0
"""Seconds after which a session without a connected client ends. Most clients never send DELETE."""
SPARE_SESSION: Final = 60.0
"""Seconds after which such a session may be ended to make room for a new one of the same principal."""
CHILD_IDLE: Final = 5 * 60.0
"""Seconds after which an unused child of the stateless era ends; a new request starts another."""
REAP_EVERY: Final = 30.0
_REFUSAL_SECONDS: Final = 8.0
"""How long a session waits for a process that has not answered `server/discover` yet: it may still start."""
_MARGIN: Final = 0.01
"""Seconds by which a timer may be early."""

_SESSION_ID: Final = b"mcp-session-id"
_NO_SESSION: Final = (
    "there is no such session at this gateway: its process has ended, or another gateway runs it. Initialize a new one."
    " Several gateways need a balancer that keeps a session at its gateway."
)
_PRIMING_SINCE: Final = "2025-11-25"
"""Older clients parse the empty `data` of a priming event as JSON, and fail."""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the processes. `failures` counts failed processes in a row, and `retry_seconds` is the time without
    new processes, both for the worst caller."""

    processes: int
    sessions: int
    in_flight: int
    failures: int
    retry_seconds: float


class StdioUpstream:
    """A configured upstream with a `command`. Interchangeable with the HTTP upstream.

    `clock` counts seconds. `new_id` gives session ids: visible ASCII, not to be guessed. `conceal` is given a `Principal.job`, and takes credentials
    out of a process's standard error, before the log. `folder` is private, for credentials in files. `launcher` starts
    the processes apart from the gateway.
    """

    def __init__(
        self,
        name: str,
        settings: Upstream,
        limits: Limits,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        environ: Mapping[str, str] | None = None,
        conceal: Conceal = shown_as_is,
        folder: Path = Path(),
        launcher: Launcher | None = None,
    ) -> None:
        self._name = name
        self.adopt_limits(limits)
        self._clock = clock
        self._new_id = new_id

        def conceal_of(principal: str, line: str) -> str:
            caller = self._callers.get(principal)
            return conceal(principal if caller is None else caller.job, line)

        self._spawner = Spawner(
            name, settings, clock=clock, environ=environ, conceal=conceal_of, folder=folder, launcher=launcher
        )
        credential = settings.credential
        self._hands_over = isinstance(credential, LeasedCredential) and credential.hand_over is not None
        self._sessions: dict[str, StdioSession | SplitSession] = {}
        self._pools: dict[tuple[str, str], Pool] = {}
        self._callers: dict[str, Principal] = {}
        """The callers with processes, by their keys."""
        self._reaper: Job | None = None
        self._closed = False
        self._making_room = asyncio.Lock()

    def adopt_limits(self, limits: Limits) -> None:
        """Take these limits for sessions and processes to come."""
        self._first_byte = limits.first_byte.total_seconds()
        self._idle = limits.idle_answer.total_seconds()

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Answer as a streamable HTTP server would. Raises `UpstreamUnreachable` (no process could be started),
        `UpstreamTimeout` (no beginning of an answer) or `UpstreamBroken` (the process ended)."""
        reply = await self._answer(request)
        if isinstance(reply.chunks, StreamResponse) and not is_for_news(request):
            reply.chunks.stall = self._idle, make_stalled(self._name, self._idle)
        return reply

    async def _answer(self, request: UpstreamRequest) -> UpstreamReply:
        if self._closed:
            raise UpstreamUnreachable("the gateway is shutting down", "try again when it is up again")
        if self._reaper is None:
            self._reaper = Job.begin_repeating(self._reap_in_time, f"reaper of {self._name}")
        message = request.message
        self._callers[request.principal.key] = request.principal
        if message is not None and message.era is Era.STATELESS:
            return await self._stateless(request.principal.key, message, request.handed)
        if message is not None and message.method == "initialize" and request.session is None:
            begin = self._initialize_split if self._hands_over else self._initialize
            return await begin(request, message)
        asked = message.id if message is not None and message.kind is Kind.REQUEST else None
        if request.session is None:
            needed = "this request needs a session: send the Mcp-Session-Id of one, or initialize"
            return replies.refusal(400, needed, request=asked)
        session = self._sessions.get(request.session)
        if session is None or session.principal != request.principal.key:
            return replies.refusal(404, _NO_SESSION, request=asked)
        return await self._in_session(session, request)

    async def withdraw(self, lease: str) -> bool | None:
        """End each process with the credential of a lease. Return whether all are proven gone, `None` if there was
        none."""
        return await self._spawner.withdraw(lease)

    async def end_processes(self, is_chosen: Callable[[Principal], bool]) -> int:
        """End the processes of chosen callers, with all calls there. Return the number of processes."""
        return await self._spawner.end_processes({key for key, caller in self._callers.items() if is_chosen(caller)})

    async def aclose(self) -> None:
        """End all processes, and take no more requests. Returns when all are gone."""
        self._closed = True
        if self._reaper is not None:
            await self._reaper.stop()
        await self._spawner.aclose()

    def require_isolation(self) -> None:
        """Raise `ConfigurationError` if the configured isolation is not to be had, and log the isolation."""
        self._spawner.require_isolation()

    @property
    def isolation(self) -> Isolation:
        return self._spawner.isolation

    def status(self) -> Status:
        """Return its status for metrics."""
        return Status(
            processes=self._spawner.running,
            sessions=len(self._sessions),
            in_flight=sum(owner.in_flight for owner in (*self._sessions.values(), *self._pools.values())),
            failures=self._spawner.failures,
            retry_seconds=self._spawner.retry_seconds(),
        )

    def reap(self) -> None:
        """End unused processes and sessions. Runs by itself every half minute while the upstream is in use."""
        now = self._clock()
        for session in list(self._sessions.values()):
            if not session.busy and (session.refused or now - session.touched > SESSION_IDLE):
                self._end(session, "ended a session that was not used")
            elif isinstance(session, SplitSession):
                session.reap(CHILD_IDLE)
        for pool in self._pools.values():
            pool.reap(CHILD_IDLE)
        self._pools = {key: pool for key, pool in self._pools.items() if not pool.empty}
        served = self._spawner.principals
        self._callers = {key: caller for key, caller in self._callers.items() if key in served}
        self._spawner.forget()

    # --- the stateless era -----------------------------------------------------------------------------

    async def _stateless(self, principal: str, message: Message, credential: HandedCredential | None) -> UpstreamReply:
        if message.kind is Kind.RESPONSE:
            return replies.refusal(400, "clients send no responses in this protocol revision")
        if message.kind is Kind.NOTIFICATION:
            # There are none over HTTP in this revision, and a cancellation could hit another client's request.
            return replies.empty(202)
        key = (principal, "" if credential is None else credential.terms)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(
                lambda credential: self._spawn(principal, credential),
                self._spawner.stop,
                upstream=self._name,
                first_byte=self._first_byte,
                clock=self._clock,
                renew=self._spawner.renew,
            )
        return await pool.request(message, credential)

    # --- the handshake era -----------------------------------------------------------------------------

    async def _initialize(self, request: UpstreamRequest, message: Message) -> UpstreamReply:
        principal = request.principal.key
        child = await self._begin_process(principal, None)
        session = StdioSession(
            self._new_id(), principal, child, upstream=self._name, first_byte=self._first_byte, clock=self._clock
        )
        child.attach(session.receive, lambda reason: self._note_end(session, reason))
        sending = session.request(
            message, prime=_primes(request), grace=self._first_byte, headers=((_SESSION_ID, session.key.encode()),)
        )
        return await self._begin_session(session, sending)

    async def _initialize_split(self, request: UpstreamRequest, message: Message) -> UpstreamReply:
        principal = request.principal.key
        session = SplitSession(
            self._new_id(),
            principal,
            upstream=self._name,
            first_byte=self._first_byte,
            clock=self._clock,
            spawn=lambda credential: self._begin_process(principal, credential),
            renew=self._spawner.renew,
            stop=self._spawner.stop,
        )
        sending = session.initialize(
            message, request.handed, prime=_primes(request), headers=((_SESSION_ID, session.key.encode()),)
        )
        return await self._begin_session(session, sending)

    async def _begin_session(
        self, session: StdioSession | SplitSession, sending: Awaitable[UpstreamReply]
    ) -> UpstreamReply:
        """Return the answer to `initialize`, and keep the session unless it failed."""
        self._sessions[session.key] = session
        try:
            reply = await sending
        except BaseException:
            self._end(session, "could not be initialized")
            raise
        if session.refused:
            self._end(session, "refused to initialize")
            return structs.replace(reply, headers=tuple(h for h in reply.headers if h[0] != _SESSION_ID))
        return reply

    async def _in_session(self, session: StdioSession | SplitSession, request: UpstreamRequest) -> UpstreamReply:
        if request.method == "DELETE":
            self._end(session, "ended the session at the client's wish")
            return replies.empty(200)
        if request.message is None:
            return session.listen(value_of(request.headers, b"last-event-id"), prime=_primes(request))
        if request.message.kind is not Kind.REQUEST:
            return await session.tell(request.message)
        if isinstance(session, SplitSession):
            return await session.request(request.message, request.handed, prime=_primes(request))
        return await session.request(request.message, prime=_primes(request))

    # --- processes -------------------------------------------------------------------------------------

    async def _begin_process(self, principal: str, credential: HandedCredential | None) -> ServerProcess:
        """Return a process for a session: the process that refused `server/discover`, or a new process. After a process that
        ended at `server/discover`, the session waits until a process may start again."""
        pool = self._pools.get((principal, "")) if credential is None else None
        refusing = None if pool is None else await pool.give_up_refusing(_REFUSAL_SECONDS)
        if pool is not None and pool.forget_ended():
            await asyncio.sleep(min(self._spawner.wait_seconds(principal) + _MARGIN, _REFUSAL_SECONDS))
        return refusing or await self._spawn(principal, credential)

    async def _spawn(self, principal: str, credential: HandedCredential | None) -> ServerProcess:
        if self._spawner.full_for(principal):
            # Another call may take a place as soon as it is free. One at a time, since two would end the same process.
            async with self._making_room:
                while self._spawner.full_for(principal) and await self._make_room(principal):
                    pass
        return await self._spawner.spawn(principal, credential)

    async def _make_room(self, principal: str) -> bool:
        """End the longest unused process with a credential, or session, of this principal. Return whether there was one."""
        pools = [pool for key, pool in self._pools.items() if key[0] == principal and key[1] and pool.is_idle]
        splits = [each for each in self._sessions.values() if isinstance(each, SplitSession)]
        parts = [part for session in splits if session.principal == principal for part in session.idle_parts()]
        if pools or parts:
            oldest = min([*pools, *parts], key=lambda each: each.touched)
            await (oldest.child.stop() if isinstance(oldest, StdioSession) else oldest.aclose())
            return True
        spare = [
            session
            for session in self._sessions.values()
            if session.principal == principal and not session.busy and self._clock() - session.touched > SPARE_SESSION
        ]
        if spare:
            oldest = min(spare, key=lambda session: session.touched)
            children = oldest.children()
            self._end(oldest, "ended an unused session to make room")
            await asyncio.gather(*(child.stop() for child in children))
        return bool(spare)

    def _end(self, session: StdioSession | SplitSession, reason: str) -> None:
        children = session.children()
        self._note_end(session, reason)
        for child in children:
            self._spawner.stop(child)

    def _note_end(self, session: StdioSession | SplitSession, reason: str) -> None:
        self._sessions.pop(session.key, None)
        session.end(reason)

    async def _reap_in_time(self) -> None:
        await asyncio.sleep(REAP_EVERY)
        self.reap()


def _primes(request: UpstreamRequest) -> bool:
    """Return whether the client understands priming events. Revisions are dates, so they compare as text."""
    return (value_of(request.headers, b"mcp-protocol-version") or "") >= _PRIMING_SINCE
