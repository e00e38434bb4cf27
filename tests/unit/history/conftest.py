"""Callers, calls and contents for the tests of history."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.config import HistorySettings
from gateway.history import History, Store, build_history
from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.target import Effect, Labels, Target
from tests.unit.clock import Clock
from tests.unit.history.agents import Agent
from tests.unit.history.recording import KEY, Gateway, Record, new_history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


IDLE = 60.0
"""Seconds after which the `history` of these tests forgets a task."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, KEY)


@pytest.fixture
def gateway(store: Store) -> Gateway:
    """One that writes its snapshots there."""
    made = Gateway(new_history(), Record())
    made.history.states.attach(store)
    return made


@pytest.fixture
def make_call() -> Callable[..., Call]:
    def make(
        audience: str = "github",
        effect: Effect = Effect.READ,
        tenant: str | None = "acme",
        environment: str | None = "staging",
        *,
        trusted: bool = False,
    ) -> Call:
        trust = "trusted" if trusted else "untrusted"
        target = Target("tool", audience, "use", audience, tenant, environment, trust, Labels(effect=effect))
        return Call("tools/call", target, {})

    return make


@pytest.fixture
def make_principal() -> Callable[..., Principal]:
    def make(name: str = "agent", token: str = "token-1") -> Principal:
        return Principal(name, "https://idp.example", AuthMethod.JWT, token_id=token)

    return make


@pytest.fixture
def make_content() -> Callable[..., CallContent]:
    def make(
        tokens: Iterable[int] = (), credentials: Iterable[str] = (), destinations: Iterable[int] = (), **rest: object
    ) -> CallContent:
        return CallContent(
            destinations={digest: f"d{digest}" for digest in destinations},
            sightings=tuple(Sighting(name, "jwt", "/x") for name in credentials),
            tokens=frozenset(tokens),
            **rest,  # type: ignore[arg-type] - fields of the content
        )

    return make


@pytest.fixture
def make_result() -> Callable[..., ResultContent]:
    def make(tokens: Iterable[int] = (), credentials: Iterable[str] = (), *, complete: bool = True) -> ResultContent:
        return ResultContent(tuple(Sighting(name, "jwt") for name in credentials), frozenset(tokens), complete)

    return make


@pytest.fixture
def agent(make_call: Callable[..., Call]) -> Agent:
    return Agent(make_call)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def history(clock: Clock) -> History:
    numbers = itertools.count(1)
    return build_history(
        HistorySettings(idle=timedelta(seconds=IDLE), tasks=4, tasks_per_caller=3),
        clock=clock,
        new_id=lambda: f"task-{next(numbers)}",
    )
