"""Background work for one stream of signals: polls for events, and checks that the stream is alive."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog

from gateway.authority.signals.set import SetFault
from gateway.model.errors import GatewayError

if TYPE_CHECKING:
    from gateway.authority.signals.transmitter import Polled, Transmitter
    from gateway.authority.signals.watch import StreamWatch

log = structlog.get_logger("gateway.signals")

SHORTEST_POLL: Final = 1.0
"""Seconds for a poll without events: some transmitters answer at once where they could wait."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds between polls that fail. Each pause is twice as long as the one before, with up to a quarter more or less."""
TICK: Final = 1.0
"""Seconds between two looks at the silence of a stream."""


class Poller:
    """Fetches the events of one stream. `take` returns a fault for a refused event, and raises `GatewayError` for one to come again."""

    def __init__(
        self,
        transmitter: Transmitter,
        name: str,
        take: Callable[[bytes], Awaitable[SetFault | None]],
        watch: StreamWatch,
        monotonic: Callable[[], float],
    ) -> None:
        self._transmitter = transmitter
        self._name = name
        self._take = take
        self._watch = watch
        self._monotonic = monotonic
        self._taken: list[str] = []
        self._refused: dict[str, SetFault] = {}
        self._pause = FIRST_PAUSE
        self._has_more = False

    async def step(self) -> None:
        """Poll once, take the events, and wait before the next poll where it is due."""
        began = self._monotonic()
        # An event is acknowledged by the next poll, so a poll with acknowledgements does not wait.
        is_idle = not self._has_more and not self._taken and not self._refused
        found = await self._transmitter.poll(self._taken, self._refused, wait=is_idle)
        if isinstance(found, str):
            self._note_problem(found)
            await self._back_off()
            return
        self._note_problem(None)
        self._taken, self._refused, self._has_more = [], {}, found.has_more
        is_whole = await self._take_all(found)
        if not is_whole:
            await self._back_off()
            return
        self._pause = FIRST_PAUSE
        if not found.tokens and is_idle:
            await asyncio.sleep(max(0.0, SHORTEST_POLL - (self._monotonic() - began)))

    async def _take_all(self, found: Polled) -> bool:
        """Take the events of an answer. Return whether all of them were taken or refused."""
        is_whole = True
        for jti, token in found.tokens.items():
            try:
                fault = await self._take(token.encode("ascii", "replace"))
            except GatewayError as error:
                # Without an acknowledgement, the transmitter gives it again.
                self._note_problem(error.message)
                is_whole = False
                continue
            if fault is None:
                self._taken.append(jti)
            else:
                log.warning("signals.refused", stream=self._name, err=fault.err, problem=fault.description)
                self._refused[jti] = fault
        return is_whole

    def _note_problem(self, problem: str | None) -> None:
        if problem is not None and problem != self._watch.problem:
            log.warning("signals.poll-failed", stream=self._name, problem=problem)
        self._watch.problem = problem

    async def _back_off(self) -> None:
        await asyncio.sleep(self._pause * random.uniform(0.75, 1.25))  # noqa: S311 - spreads the load, and hides nothing
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


class Verifier:
    """Asks for verification events, and notices the silence of a stream."""

    def __init__(
        self,
        transmitter: Transmitter,
        name: str,
        watch: StreamWatch,
        *,
        clock: Callable[[], float],
        new_state: Callable[[], str],
        on_silence: Callable[[], Awaitable[None]],
    ) -> None:
        self._transmitter = transmitter
        self._name = name
        self._watch = watch
        self._clock = clock
        self._new_state = new_state
        self._on_silence = on_silence

    async def step(self) -> None:
        """Look once: at the silence first, then at the next question."""
        await self.look()
        await asyncio.sleep(TICK)

    async def look(self) -> None:
        """Tell of a silence, and ask if a question is due."""
        if self._watch.falls_silent(self._clock()):
            log.error("signals.silent", stream=self._name, problem=self._watch.problem or "no event came")
            await self._on_silence()
        if self._watch.is_due(self._clock()):
            problem = await self.ask(self._new_state())
            if problem is not None:
                log.warning("signals.verification-failed", stream=self._name, problem=problem)

    async def ask(self, state: str) -> str | None:
        """Ask for a verification event with this state. Return the problem, if any."""
        self._watch.note_question(state, self._clock())
        problem = await self._transmitter.ask_verification(state)
        self._watch.problem = problem
        return problem
