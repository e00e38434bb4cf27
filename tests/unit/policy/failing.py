"""A real `Policy` for each code of `verdict.FAILURES`, before an engine that fails in that way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal

from gateway.model.errors import PolicyInput, PolicyLate, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy.contract import Entrypoint
from gateway.policy.facts import NO_FACTS
from gateway.policy.policy import Policy

_ALLOW: Final[dict[str, Any]] = {
    "version": 1,
    "effect": "allow",
    "reasons": [],
    "obligations": [],
    "policy": {"name": "failing"},
}
_ANSWERS: Final[dict[str, object]] = {
    "policy/undefined": None,
    "policy/malformed": {**_ALLOW, "version": 2},
    "policy/obligation": {**_ALLOW, "obligations": [{"id": "dance", "properties": {}}]},
    "policy/stale": _ALLOW,
    "policy/unavailable": PolicyUnavailable("the engine is away", "start it"),
    "policy/late": PolicyLate("the engine is late", "wait"),
    "policy/input": PolicyInput("the input is too large", "send less"),
}


class _Engine:
    kind: Literal["embedded", "opa"] = "opa"
    name = "failing"
    revision = "r1"
    problem = None
    ready = True
    current = 0.0
    plan = None
    compiled = None
    authorities = None
    facts = NO_FACTS

    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def open(self) -> None: ...

    async def look(self) -> bool:
        return False

    async def evaluate(self, _entrypoint: Entrypoint, _document: JsonObject, /) -> object:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def malformed_rule(self, _document: JsonObject, /) -> str | None:
        return None

    async def aclose(self) -> None: ...


def failing_policy(code: str, clock: Callable[[], float] = time.time) -> Policy:
    """Return a policy whose every decision fails with this code."""
    return Policy(
        _Engine(_ANSWERS[code]),
        supported=frozenset(),
        clock=clock,
        interval=3600,
        stale_after=0 if code == "policy/stale" else float("inf"),
    )
