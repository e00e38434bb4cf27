"""Requests and answers under way: the end of a lease, a signal about a caller, and an operator's stop end these too.

The gateway closes a stream that waits for news at any end, and the client opens another. The cause of the end says by
`authority.leases` if a call under way is cut or may finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from gateway.calls.response.stream import ENDED, STOPPED
from gateway.model.errors import CallStopped, CredentialEnded

if TYPE_CHECKING:
    from gateway.authority.model import Cause, Lease
    from gateway.calls.response.stream import ResponseStream
    from gateway.model.caller import Principal
    from gateway.model.task import TaskEnd

Manner: TypeAlias = Literal["cut", "finish"]
Reply = TypeVar("Reply")

ADVERSE: Final[frozenset[Cause]] = frozenset(
    {"signal", "operator", "revoked", "policy-changed", "pin-changed", "journal-outage", "connection-removed"}
)
"""Causes that take a right away. The others are the planned ends of a task or of a lease."""


class OpenAnswer:
    """One request under way. `lease` is the id of its lease; a token of one call has none. `task` has made the call.

    `is_lent`: the call has a lent credential, so the end of its task is its end.
    """

    __slots__ = (
        "_answers",
        "_end",
        "_fault",
        "_timer",
        "is_cut",
        "is_idle",
        "is_lent",
        "lease",
        "principal",
        "task",
        "upstream",
    )

    def __init__(
        self,
        answers: OpenAnswers,
        principal: Principal,
        upstream: str,
        lease: str | None,
        task: str | None,
        *,
        is_lent: bool,
        is_idle: bool,
    ) -> None:
        self._answers = answers
        self._end: Callable[[], object] = _do_nothing
        self._fault = CredentialEnded(*ENDED)
        self._timer: asyncio.TimerHandle | None = None
        self.is_cut = False
        self.is_idle = is_idle
        self.is_lent = is_lent
        self.lease = lease
        self.principal = principal
        self.task = task
        self.upstream = upstream

    async def send(self, work: Awaitable[Reply]) -> Reply:
        """Do the work until the answer begins. Raises `CredentialEnded` if the answer is cut meanwhile."""
        worker = asyncio.current_task()
        if worker is not None:
            self._end = worker.cancel
        try:
            return await work
        except asyncio.CancelledError:
            if not self.is_cut or worker is None or worker.uncancel() > 0:
                raise
            raise self._fault from None
        finally:
            self._end = _do_nothing

    def follow(self, stream: ResponseStream) -> ResponseStream:
        """Cut an answer from now on, until it is settled."""
        self._end = lambda: stream.cut(self._fault)
        stream.leaves.append(self.leave)
        return stream

    def cut(self, *, is_stopped: bool = False) -> None:
        """End the request and its answer now. Several causes may come at once: the first one ends it."""
        if not self.is_cut:
            self.is_cut = True
            if is_stopped:
                self._fault = CallStopped(*STOPPED)
            self._end()

    def finish(self, seconds: float) -> None:
        """Let the answer go on for at most so many seconds."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.cut)

    def leave(self) -> None:
        """Forget an ended answer."""
        if self._timer is not None:
            self._timer.cancel()
        self._answers.forget(self)


class OpenAnswers:
    """The answers under way. `grace` is the time in seconds that a finishing answer may take."""

    def __init__(self, *, on_signal: Manner = "cut", on_completed: Manner = "finish", grace: float = 30.0) -> None:
        self._on_signal: Manner = on_signal
        self._on_completed: Manner = on_completed
        self._grace = grace
        self._open: set[OpenAnswer] = set()
        self._of_lease: dict[str, set[OpenAnswer]] = {}
        self._ended: asyncio.Event | None = None
        """Set at each end, once somebody has waited for ends."""

    def __len__(self) -> int:
        return len(self._open)

    def enter(
        self,
        principal: Principal,
        upstream: str,
        lease: str | None,
        task: str | None,
        *,
        is_lent: bool = False,
        is_idle: bool = False,
    ) -> OpenAnswer:
        """Note a request before its sending. `leave` must follow."""
        answer = OpenAnswer(self, principal, upstream, lease, task, is_lent=is_lent, is_idle=is_idle)
        self._open.add(answer)
        if lease is not None:
            self._of_lease.setdefault(lease, set()).add(answer)
        return answer

    def forget(self, answer: OpenAnswer) -> None:
        """Forget an answer."""
        self._open.discard(answer)
        if self._ended is not None:
            self._ended.set()
        if answer.lease is not None and (others := self._of_lease.get(answer.lease)) is not None:
            others.discard(answer)
            if not others:
                del self._of_lease[answer.lease]

    def end_lease(self, lease: Lease, cause: Cause) -> None:
        """End the answers under an ending lease."""
        manner = self._on_signal if cause in ADVERSE else self._on_completed
        self._end(tuple(self._of_lease.get(lease.id, ())), manner)

    def end_task(self, task: str, _how: TaskEnd) -> None:
        """End the answers to calls of a task with tokens of their own."""
        ended = tuple(each for each in self._open if each.task == task and each.is_lent and each.lease is None)
        self._end(ended, self._on_completed)

    def end_callers(self, is_chosen: Callable[[Principal], bool]) -> None:
        """End the answers of the callers in a signal."""
        self._end(tuple(each for each in self._open if is_chosen(each.principal)), self._on_signal)

    def cut(self, is_chosen: Callable[[OpenAnswer], bool]) -> int:
        """Cut the answers that an operator stops, whatever the configuration says of other ends. Return their number."""
        chosen = tuple(each for each in self._open if is_chosen(each))
        for answer in chosen:
            answer.cut(is_stopped=True)
        return len(chosen)

    def of_upstreams(self, upstreams: Container[str]) -> frozenset[OpenAnswer]:
        """Return the answers of upstreams."""
        return frozenset(each for each in self._open if each.upstream in upstreams)

    async def wait_for(self, answers: AbstractSet[OpenAnswer]) -> None:
        """Wait until these answers have ended."""
        while not self._open.isdisjoint(answers):
            self._ended = self._ended or asyncio.Event()
            self._ended.clear()
            await self._ended.wait()

    def _end(self, answers: tuple[OpenAnswer, ...], manner: Manner) -> None:
        for answer in answers:
            if answer.is_idle or manner == "cut":
                answer.cut()
            else:
                answer.finish(self._grace)


def _do_nothing() -> None:
    """Do nothing."""
