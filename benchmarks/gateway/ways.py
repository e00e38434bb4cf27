"""A gateway without history, and one without the search for credentials, to be measured beside the real one.

The stand-ins have what the pipeline asks of the parts in whose place they are, no more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, cast

from gateway.history import History, Reservation
from gateway.inspection import follow
from gateway.inspection.arguments import analyse
from gateway.inspection.inspector import Inspector
from gateway.inspection.results import ResultInspector, ResultWords
from gateway.model import Call, CallContent, Sensitivity, Task, UpstreamReply, UpstreamRequest
from gateway.visit import Gateway

WAYS: Final = ("neither", "history", "both")


class Upstream:
    """Answers with what it was told to answer with, at once."""

    answer: bytes = b""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        return UpstreamReply(200, ((b"content-type", b"application/json"),), self._chunks(), self._close)

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield self.answer

    async def _close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True, slots=True)
class Words:
    """Looks for what history needs, and for no credentials."""

    key: bytes = field(repr=False)

    def call(self, call: Call, task: Task, *about: object) -> CallContent:
        return analyse(call, key=self.key, goal=task.goal, contract=task.contract)

    def result(self, call: Call, task: Task) -> ResultInspector:
        links = follow.sends(call, task.goal)
        return ResultInspector(ResultWords(self.key, trusted=call.target.trust == "trusted", links=links))


class _NoResult:
    def feed(self, chunk: bytes) -> None:
        """Nothing is looked for."""

    def finish(self) -> None:
        """Nothing is looked for."""


class Nothing:
    """Looks for nothing."""

    def call(self, call: Call, task: Task, *about: object) -> CallContent:
        return CallContent()

    def result(self, call: Call, task: Task) -> ResultInspector:
        return cast("ResultInspector", _NoResult())


class Forgetful:
    """Stands where history stands, keeps nothing, and says of each call that it is the first."""

    def __init__(self, task: Task, first: Reservation) -> None:
        self._task = task
        self._reservation = replace(first, fields={})

    def task(self, *about: object) -> Task:
        return self._task

    def seen(self, task: Task) -> Mapping[str, frozenset[int]]:
        return {}

    def reserve(self, *about: object, depth: int) -> Reservation:
        return self._reservation

    def observe(self, *about: object, label: Sensitivity) -> None:
        """Nothing is kept."""

    def release(self, *about: object, denied: bool) -> None:
        """Nothing was kept."""

    def settle(self, *about: object) -> None:
        """Nothing was kept."""


def ways(gateway: Gateway, first: Reservation, task: Task) -> dict[str, Gateway]:
    """The same gateway in each way."""
    words = cast("Inspector", Words(gateway.inspector.key))
    nothing = cast("Inspector", Nothing())
    forgetful = cast("History", Forgetful(task, first))
    return {
        "neither": replace(gateway, history=forgetful, inspector=nothing),
        "history": replace(gateway, inspector=words),
        "both": gateway,
    }
