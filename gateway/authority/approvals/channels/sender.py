"""The queue of one channel: news of each caller in turn, with retries.

A hanging channel holds up neither a call nor another channel, since each has its own places and its own deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from gateway.authority.approvals.channels.channel import UndeliveredError
from gateway.authority.approvals.channels.notice import compose

if TYPE_CHECKING:
    from gateway.authority.approvals.channels.channel import ApprovalChannel
    from gateway.authority.approvals.channels.notice import NoticeMessage, QuestionNews

log = structlog.get_logger("gateway.approvals")

ATTEMPTS: Final = 9
"""To deliver one message, over some four minutes."""
ATTEMPT_SECONDS: Final = 10.0
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_PLACES: Final = 4
"""Messages of one channel that are sent at once."""


BURST: Final = 3
"""Messages about one caller's questions at once. Further news of the same caller are gathered in a digest."""
SECONDS: Final = 20.0
"""Between messages after that."""
_SWEPT: Final = 1_000
"""Callers from which on those with a full bucket are forgotten."""


class CallerThrottle:
    """A token bucket for each caller. Callers with a full bucket take no memory."""

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}

    def take(self, caller: str, now: float) -> float:
        """Take the right to one message, and return 0; or return the seconds until the next right."""
        full_at = max(self._full_at.get(caller, now), now)
        missing = full_at + SECONDS - now - BURST * SECONDS
        if missing > 0:
            return missing
        self._full_at[caller] = full_at + SECONDS
        if len(self._full_at) > _SWEPT:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        return 0.0


class DeliveryListener(Protocol):
    """Hears how deliveries go on: `notifier.Notifier`."""

    def is_current(self, item: QuestionNews) -> bool: ...
    async def note_delivered(self, channel: ApprovalChannel, message: NoticeMessage) -> None: ...
    async def note_failed(
        self, channel: ApprovalChannel, message: NoticeMessage, problem: str, *, is_final: bool
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Time and chance of the retries. `clock` and `sleep` count seconds, `chance` returns a number from 0 to 1."""

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    chance: Callable[[], float]
    attempt: float = ATTEMPT_SECONDS


class Sender:
    """Sends the news of one channel."""

    def __init__(self, channel: ApprovalChannel, report: DeliveryListener, timing: Timing) -> None:
        self.channel = channel
        self._report = report
        self._timing = timing
        self._throttle = CallerThrottle()
        self._waiting: dict[str, dict[tuple[str, str], QuestionNews]] = {}
        self._places = asyncio.Semaphore(_PLACES)
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, caller: str, item: QuestionNews) -> None:
        """Send news of a caller's question soon. Meanwhile more news under the same name `caller` go along."""
        waiting = self._waiting.get(caller)
        if waiting is None:
            self._waiting[caller] = waiting = {}
            self._start(self._serve(caller))
        waiting[item.id, item.notice] = item

    async def stop(self) -> None:
        """Stop sending. Whoever has the duty next sends the rest."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._waiting.clear()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"channel {self.channel.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, caller: str) -> None:
        while (seconds := self._throttle.take(caller, self._timing.clock())) > 0:
            await self._timing.sleep(seconds)
        items = tuple(item for item in self._waiting.pop(caller).values() if self._report.is_current(item))
        if items:
            await self._deliver(compose(self.channel.name, items))

    async def _deliver(self, message: NoticeMessage) -> None:
        for number in range(1, ATTEMPTS + 1):
            failure = await self._attempt(message)
            if failure is None:
                await self._report.note_delivered(self.channel, message)
                return
            is_final = failure.is_final or number == ATTEMPTS
            await self._report.note_failed(self.channel, message, failure.problem, is_final=is_final)
            if is_final:
                return
            await self._timing.sleep(max(failure.after, pause_before(number, self._timing.chance())))
            if not any(map(self._report.is_current, message.items)):
                return

    async def _attempt(self, message: NoticeMessage) -> UndeliveredError | None:
        """Return the failure of an attempt; `None` if the message was delivered. A long wait for a place counts as a failure."""
        try:
            async with asyncio.timeout(self._timing.attempt):
                await self._places.acquire()
        except TimeoutError:
            return UndeliveredError(f"{self.channel.place} keeps {_PLACES} other messages waiting")
        try:
            await self.channel.send(message, self._timing.attempt)
        except UndeliveredError as error:
            return error
        except Exception:
            log.exception("defect", channel=self.channel.name)
            return UndeliveredError("the gateway has a defect, and its log has the details")
        finally:
            self._places.release()
        return None


def pause_before(number: int, chance: float) -> float:
    """Return the seconds after a failed attempt: twice as long each time, and between half and all of that by chance."""
    return min(_FIRST_PAUSE * 2 ** (number - 1), _LONGEST_PAUSE) * (0.5 + chance / 2)
