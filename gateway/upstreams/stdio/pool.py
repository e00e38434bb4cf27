"""Children of the stateless era (2026-07-28): a few for a principal, shared by all its clients. A message on a child's
standard output names its client only by a request id, a progress token, or a subscription id. So a request goes only to
a child with none of these in use. A cancelled id stays in use until its late response has come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.model.error_codes import METHOD_NOT_FOUND
from gateway.model.errors import UpstreamBroken, UpstreamError, UpstreamUnreachable
from gateway.model.wire import HandedCredential, Kind, Message, RequestId, UpstreamReply
from gateway.upstreams.stdio import replies, wire
from gateway.upstreams.stdio.child import ServerProcess, is_power_of_two
from gateway.upstreams.stdio.stream import Backlog, MessageStream
from gateway.wire.protocol.methods import TABLE

log = structlog.get_logger("gateway.upstream.stdio")

POOL_SIZE: Final = 4
"""Children of one principal. Clients count their ids from 0 or 1, so this is about how many clients of one principal
can be in the middle of a call at once with the same id."""
MAX_CANCELLED: Final = 32
"""Ids that wait for a late response. A child with more takes no new requests and is replaced when it is idle."""

_DISCOVER: Final = "server/discover"
_LISTEN: Final = "subscriptions/listen"


@dataclass(frozen=True, slots=True)
class _PooledCall:
    stream: MessageStream
    token: RequestId | None
    logs: bool
    listens: bool


class Worker:
    """A child with its requests."""

    def __init__(self, child: ServerProcess, *, upstream: str, first_byte: float, clock: Callable[[], float]) -> None:
        self.child = child
        self.touched = clock()
        self._upstream = upstream
        self._first_byte = first_byte
        self._clock = clock
        self._calls: dict[RequestId, _PooledCall] = {}
        self._cancelled: dict[RequestId, _PooledCall] = {}
        self._dropped = 0
        self._is_used = False
        self._is_idle = asyncio.Event()
        child.attach(self._receive, self._fail_calls)

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    @property
    def worn(self) -> bool:
        return len(self._cancelled) > MAX_CANCELLED

    def accepts(self, message: Message) -> bool:
        """Return whether this request shares no id or token with requests in flight here."""
        token = wire.progress_token(message.params)
        heard = [*self._calls.values(), *self._cancelled.values()]
        logs = wire.wants_logs(message.params) and any(call.logs for call in heard)
        return (
            self.child.usable
            and not self.worn
            and not logs
            and message.id not in self._calls
            and message.id not in self._cancelled
            and (token is None or all(call.token != token for call in heard))
        )

    def reserve(self, request: RequestId, message: Message) -> MessageStream:
        """Take the place just promised by `accepts`."""
        self.touched = self._clock()
        self._is_used = self._is_used or message.method != _DISCOVER
        self._is_idle.clear()
        stream = MessageStream(0, Backlog(), resumable=False, request=request)
        self._calls[request] = _PooledCall(
            stream,
            wire.progress_token(message.params),
            logs=wire.wants_logs(message.params),
            listens=message.method == _LISTEN,
        )
        return stream

    async def has_refused(self, patience: float) -> bool:
        """Return whether the child has refused `server/discover` and had no other request. A pending answer is waited for."""
        if not self._is_used:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._is_idle.wait()
        return self.child.usable and not (self._is_used or self._calls or self._cancelled)

    @property
    def has_ended_unused(self) -> bool:
        """Return whether the child ended by itself, without an answer to anything but `server/discover`."""
        return not (self.child.usable or self._is_used)

    async def carry(self, request: RequestId, message: Message, stream: MessageStream) -> UpstreamReply:
        """Forward a request, and return the answer.

        If the caller is cancelled, or the answer's stream is closed early, the request is cancelled in the child.
        Raises `UpstreamError`.
        """
        try:
            await self.child.write(wire.one_line(message.body), self._first_byte)
            return await replies.answer(
                stream,
                upstream=self._upstream,
                first_byte=self._first_byte,
                grace=replies.GRACE,
                late=lambda failure: self._late(request, stream, failure),
                left=lambda: self._cancel(request, stream, "the client closed the response stream"),
                status=replies.stateless_status,
            )
        except BaseException:
            self._cancel(request, stream, "the client closed the request")
            raise

    # --- from the child --------------------------------------------------------------------------------

    def _receive(self, message: wire.Inbound) -> None:
        if message.kind is Kind.REQUEST:
            self._refuse(message)
        elif message.kind is Kind.RESPONSE and message.id is not None:
            self._respond(message.id, message)
        elif message.method == "notifications/cancelled":
            self._torn_down(message.about)
        elif (call := self._addressee(message)) is not None:
            call.stream.publish(message.line)
        else:
            self._note("upstream.unattributed", message.method)

    def _respond(self, request: RequestId, message: wire.Inbound) -> None:
        call = self._calls.pop(request, None)
        self.touched = self._clock()
        self._is_used = self._is_used or message.error is None
        if not self._calls:
            self._is_idle.set()
        if call is not None:
            call.stream.publish(message.line, last=True, error=message.error)
        elif request in self._cancelled:
            del self._cancelled[request]
        else:
            self._note("upstream.unknown-response", None)

    def _refuse(self, message: wire.Inbound) -> None:
        """Refuse the server's request, forbidden in this era, so the server does not wait."""
        self._note("upstream.forbidden-request", message.method)
        text = "clients take no requests in this protocol revision; answer with an input-required result"
        with contextlib.suppress(UpstreamError):
            self.child.post(wire.error(message.id, METHOD_NOT_FOUND, text))

    def _torn_down(self, request: RequestId | None) -> None:
        """End the stream of a subscription ended by the server: over HTTP, the end of the stream is the message."""
        call = self._calls.get(request) if request is not None else None
        if request is None or call is None or not call.listens:
            self._note("upstream.unknown-subscription", None)
            return
        self._forget(request, call)
        call.stream.finish()

    def _addressee(self, message: wire.Inbound) -> _PooledCall | None:
        """Return the call of this notification; `None` if unknown, since a guess would show the notification to another
        client."""
        if message.subscription is not None:
            call = self._calls.get(message.subscription)
            return call if call is not None and call.listens else None
        if message.method == "notifications/progress":
            calls = self._calls.values()
            return next((call for call in calls if call.token is not None and call.token == message.token), None)
        possible = [call for call in (*self._calls.values(), *self._cancelled.values()) if not call.listens]
        if message.method == "notifications/message":
            possible = [call for call in possible if call.logs] or possible
        return possible[0] if len(possible) == 1 and possible[0] in self._calls.values() else None

    def _fail_calls(self, reason: str) -> None:
        calls, self._calls = self._calls, {}
        self._is_idle.set()
        for call in calls.values():
            call.stream.fail(
                UpstreamBroken(
                    f"upstream {self._upstream} {reason}", "try again; whether the call was carried out is not known"
                )
            )

    # --- the end of a request --------------------------------------------------------------------------

    def _cancel(self, request: RequestId, stream: MessageStream, reason: str) -> None:
        self._take_back(request, stream, reason)
        stream.abandon()

    def _late(self, request: RequestId, stream: MessageStream, failure: UpstreamError) -> None:
        stream.fail(failure)
        self._take_back(request, stream, "no answer in time")

    def _take_back(self, request: RequestId, stream: MessageStream, reason: str) -> None:
        """Cancel the request in the child, unless already over."""
        call = self._calls.get(request)
        if call is not None and call.stream is stream:
            self._forget(request, call)
            with contextlib.suppress(UpstreamError):
                self.child.post(wire.cancelled_line(request, reason))

    def _forget(self, request: RequestId, call: _PooledCall) -> None:
        del self._calls[request]
        self._cancelled[request] = call
        self.touched = self._clock()

    def _note(self, what: str, method: str | None) -> None:
        self._dropped += 1
        if is_power_of_two(self._dropped):
            # The upstream's own words could be anything.
            known = method if method in TABLE else None
            log.warning(what, upstream=self._upstream, method=known, so_far=self._dropped)


class Pool:
    """The children of a principal. With a leased credential, the children of a task. `renew` gives a credential to a
    running child, and returns `False` if only another child can have the credential.
    """

    def __init__(
        self,
        spawn: Callable[[HandedCredential | None], Awaitable[ServerProcess]],
        stop: Callable[[ServerProcess], None],
        *,
        upstream: str,
        first_byte: float,
        clock: Callable[[], float],
        renew: Callable[[ServerProcess, HandedCredential | None], bool] = lambda _child, _credential: True,
    ) -> None:
        self._spawn = spawn
        self._stop = stop
        self._renew = renew
        self._upstream = upstream
        self._first_byte = first_byte
        self._clock = clock
        self._workers: list[Worker] = []
        self._choosing = asyncio.Lock()

    @property
    def in_flight(self) -> int:
        return sum(worker.in_flight for worker in self._workers)

    @property
    def empty(self) -> bool:
        return not self._workers and not self._choosing.locked()

    @property
    def is_idle(self) -> bool:
        """Return whether the pool has child processes and none has an open request."""
        return bool(self._workers) and self.in_flight == 0 and not self._choosing.locked()

    @property
    def touched(self) -> float:
        """Return when a child was last in use, for a pool with children."""
        return max(worker.touched for worker in self._workers)

    async def request(self, message: Message, credential: HandedCredential | None = None) -> UpstreamReply:
        """Forward a request to a child with the credential, and without another request of this id. Raises
        `UpstreamError`."""
        if message.id is None:
            return replies.refusal(400, "a request needs an id")
        async with self._choosing:
            worker = await self._choose(message, credential)
            stream = worker.reserve(message.id, message)
        return await worker.carry(message.id, message, stream)

    async def give_up_refusing(self, patience: float) -> ServerProcess | None:
        """Take a child out of the pool that has only refused `server/discover`; `None` without such a child.

        A server of the handshake era then expects `initialize` (2026-07-28/basic/versioning.mdx, "Backward Compatibility").
        """
        async with self._choosing:  # a child may be starting
            workers = tuple(self._workers)
        for worker in workers:
            if await worker.has_refused(patience) and worker in self._workers:
                self._workers.remove(worker)
                return worker.child
        return None

    def forget_ended(self) -> bool:
        """Leave out the children that ended unused. Return whether there were any."""
        ended = [worker for worker in self._workers if worker.has_ended_unused]
        self._workers = [worker for worker in self._workers if worker not in ended]
        return bool(ended)

    async def aclose(self) -> None:
        """End the idle children. Returns when all are gone."""
        idle = [worker for worker in self._workers if worker.in_flight == 0]
        self._retire(lambda _worker: True)
        await asyncio.gather(*(worker.child.stop() for worker in idle))

    def reap(self, idle: float) -> None:
        """End the children that were unused for `idle` seconds."""
        self._retire(lambda worker: worker.worn or self._clock() - worker.touched > idle)

    async def _choose(self, message: Message, credential: HandedCredential | None) -> Worker:
        held = {worker for worker in self._workers if worker.child.usable and self._renew(worker.child, credential)}
        self._retire(lambda worker: worker.worn or worker not in held)
        for worker in [worker for worker in self._workers if worker in held]:
            if worker.accepts(message):
                return worker
        if len(self._workers) >= POOL_SIZE:
            self._retire(lambda worker: worker.in_flight == 0)
        if len(self._workers) >= POOL_SIZE:
            raise UpstreamUnreachable(
                f"upstream {self._upstream} already works on a request with this id or progress token in each of its"
                f" {POOL_SIZE} processes for this caller",
                "try again, or let each client of this identity begin its ids at a random number",
            )
        worker = Worker(
            await self._spawn(credential), upstream=self._upstream, first_byte=self._first_byte, clock=self._clock
        )
        self._workers.append(worker)
        return worker

    def _retire(self, which: Callable[[Worker], bool]) -> None:
        """End the idle children, and leave out children already ended by themselves."""
        kept: list[Worker] = []
        for worker in self._workers:
            if worker.child.usable and not (worker.in_flight == 0 and which(worker)):
                kept.append(worker)
            elif worker.child.usable:
                self._stop(worker.child)
        self._workers = kept
