"""The switch of operators, made from the configuration, with its clockwork."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from gateway.authority.stops.model import Parties, StopRegister
from gateway.authority.stops.switch import STOPS, StopSwitch, add_operations
from gateway.base.concurrency.background import Job
from gateway.calls.pipeline.revocation import StopEnder, Stops
from gateway.model import reasons
from gateway.model.errors import GatewayError
from gateway.upstreams.stdio import StdioUpstream

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from gateway.authority.lending import Authority
    from gateway.authority.stops.model import Selection
    from gateway.base.store.records import SealedStore
    from gateway.calls.pipeline.people import People
    from gateway.calls.response.open_answers import OpenAnswers
    from gateway.history import History
    from gateway.model.caller import Principal
    from gateway.model.decision import Reason
    from gateway.surfaces.app.people import DeskParts
    from gateway.upstreams.served import ServedUpstreams

log = structlog.get_logger("gateway.stops")

_LOOK_SECONDS: Final = 0.5
"""Between two looks for stops whose time is over."""


class StopMemory:
    """The stops in force, before the switch: no credential is lent for a stopped request from the first moment."""

    def __init__(self, store: SealedStore) -> None:
        self.register = StopRegister()
        self.records = store.of(STOPS)

    @classmethod
    async def open(cls, store: SealedStore) -> StopMemory:
        """Take over the stops of the gateway before this one. Raises `StoreError`."""
        memory = cls(store)
        for stop in (await memory.records.load()).values():
            memory.register.put(stop)
        return memory


StoppedParts = tuple["OpenAnswers", "Authority | None", "People | None", "ServedUpstreams"]
"""The parts with work under way: answers, leases, held calls, and processes."""


async def open_stops(stack: AsyncExitStack, parts: DeskParts, memory: StopMemory, stopped: StoppedParts) -> Stops:
    """Take stops of operators until the stack ends. Raises `GatewayError`."""
    switch = StopSwitch(
        memory.register,
        memory.records,
        parts.journal.append,
        clock=parts.clock,
        elapsed=parts.monotonic,
        end=_build_ender(stopped, parts.history).end,
        find_problem=partial(_find_problem, parts, stopped[3]),
    )
    await switch.begin()
    _sweep(stack, switch, is_shared=parts.configuration.store is not None)
    add_operations(parts.control, switch)
    return Stops(memory.register, switch)


def _build_ender(stopped: StoppedParts, history: History) -> StopEnder:
    """Return the end of all that a stop covers."""
    answers, authority, people, upstreams = stopped
    desk = None if people is None else people.desk

    async def end_processes(chosen: Selection) -> int:
        served = [
            (name, server) for name, server in upstreams.current.transports.items() if isinstance(server, StdioUpstream)
        ]
        return sum(await asyncio.gather(*(server.end_processes(_test(chosen, name)) for name, server in served)))

    def list_below(task: str) -> list[str]:
        return [kept.task.id for kept in history.tasks.trees.list_below(task)]

    return StopEnder(answers, authority, desk, end_processes, list_below)


def _test(chosen: Selection, upstream: str) -> Callable[[Principal], bool]:
    """Return the test whether a stop covers all calls of a caller to an upstream."""
    return lambda principal: chosen.covers(Parties.of(principal), upstream)


def _find_problem(parts: DeskParts, upstreams: ServedUpstreams, chosen: Selection) -> Reason | None:
    """Return the reason against the name of an upstream or a task that the gateway does not know."""
    if chosen.scope == "upstream":
        is_known = chosen.name in upstreams.current.transports
    elif chosen.scope == "task":
        # The task may be in use at another gateway alone.
        is_known = parts.history.ledger.log.is_shared or parts.history.tasks.find(chosen.name) is not None
    else:
        return None
    return None if is_known else reasons.STOP_TARGET.reason(scope=chosen.scope)


def _sweep(stack: AsyncExitStack, switch: StopSwitch, *, is_shared: bool) -> None:
    """End the stops whose time is over, and follow other gateways, again and again, until the stack ends."""

    async def sweep() -> None:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            if is_shared:
                await switch.follow()
            await switch.sweep()
        except GatewayError as error:
            log.warning("stops.unswept", problem=error.message)

    stack.push_async_callback(Job.begin_repeating(sweep, "stops").stop)
