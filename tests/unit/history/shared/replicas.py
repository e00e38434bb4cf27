"""Gateways with one shared history, as the pipeline uses it, and a policy with one hard limit."""

from __future__ import annotations

import hmac
import itertools
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.base.keys.key_ring import KeyRing
from gateway.base.store.records import SealedStore
from gateway.config import HistorySettings
from gateway.history import build_history
from gateway.history.shared import SharedLog
from gateway.model.call import Call
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.errors import HistoryError
from gateway.model.target import Effect, Labels, Target
from gateway.model.task import Task
from tests.unit.history.recording import AGENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.base.store.engine import Engine
    from gateway.history import Reservation
    from gateway.model.caller import Principal

LIMIT: Final = 5
"""Systems that a task may reach."""
PATIENCE: Final = 30.0
"""Seconds that a call waits: these tests are about results, and their machine may be busy."""
KEY: Final = b"k" * 32
NOTHING: Final = CallContent()


def target_of(audience: str) -> Target:
    return Target("tool", audience, "use", audience, labels=Labels(Effect.WRITE), trust="trusted")


class Replica:
    """One gateway. `engine` is its own connection to the store that all share."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        clock: Callable[[], float] = lambda: 1000.0,
        *,
        key: bytes = KEY,
        patience: float = PATIENCE,
    ) -> None:
        self.name = name
        self.living = {"a", "b", "c"}
        self.engine = engine
        self.clock = clock
        store = SealedStore(engine, KeyRing(key))
        self.log = SharedLog(store, key, name, clock=clock, deadline=patience, list_living=self._list_living)
        settings = HistorySettings(idle=timedelta(minutes=10), lifetime=timedelta(days=1))
        new_ids = (f"{name}-{number}" for number in itertools.count(1))
        self.history = build_history(
            settings, clock=clock, new_id=lambda: next(new_ids), conceal=lambda goal, _kept: goal, log=self.log
        )
        self.log.attach(self.history)

    async def close(self) -> None:
        """Write down what waits, and close the store. A test that leaves a replica open leaves its timers and writers behind."""
        await self.log.close()
        self.engine.close()

    async def _list_living(self) -> frozenset[str]:
        return frozenset(self.living)

    async def enter(self, principal: Principal = AGENT) -> Task:
        """Return the implicit task of a request."""
        await self.history.ledger.enter(principal, self.clock(), names_task=False)
        return self.history.tasks.open_implicit(principal, self.clock())

    async def reserve(
        self, audience: str, content: CallContent = NOTHING, task: Task | None = None
    ) -> tuple[str, Task, Reservation]:
        task = await self.enter() if task is None else task
        call = secrets.token_hex(8)
        wanted = Call("tools/call", target_of(audience), {})
        return call, task, await self.history.ledger.count(task, call, wanted, content, self.clock(), depth=0)

    async def call(self, audience: str, content: CallContent = NOTHING, shows: ResultContent | None = None) -> bool:
        """Make a whole call, and return whether the policy allowed it."""
        return (await self.call_numbered(audience, content, shows))[0]

    async def call_numbered(
        self, audience: str, content: CallContent = NOTHING, shows: ResultContent | None = None
    ) -> tuple[bool, int]:
        """Make a whole call, and return whether the policy allowed it, with its number in the task."""
        call, task, counted = await self.reserve(audience, content)
        ledger = self.history.ledger
        number = counted.fields["number"]
        assert isinstance(number, int)
        raises = counted.fields.get("raises", {})
        assert isinstance(raises, dict)
        raised = raises.get("audiences", 0)
        assert isinstance(raised, int)
        if raised > LIMIT:
            ledger.release(task, call, denied=True)
            with suppress(HistoryError):
                await self.log.confirm(AGENT.job)
            return False, number
        ledger.let_pass(task, call)
        if shows is not None:
            await ledger.commit(AGENT.job, lambda: ledger.observe(task, call, shows))
        ledger.settle(task, call)
        return True, number

    async def facts(self, task: Task | None = None) -> dict[str, object]:
        """Return what this gateway knows of a task after a look at the log."""
        task = await self.enter() if task is None else task
        await self.log.catch_up(AGENT.job)
        found = self.history.ledger.facts(task, self.clock())
        return {name: getattr(found, name) for name in ("calls", "in_flight", "denials", "audiences")}


def digest_of(owner: str) -> bytes:
    """The name of an owner in the store."""
    return hmac.digest(KEY, b"owner " + owner.encode(), "sha256")[:16]


def shown(fingerprint: str) -> ResultContent:
    """A result that shows a credential."""
    return ResultContent((Sighting(fingerprint, "jwt", shingles=frozenset({1, 2, 3})),))


def another(name: str) -> Principal:
    return replace(AGENT, id=name)
