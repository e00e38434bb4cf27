"""A gateway without history, and one without the search for credentials, to be measured beside the real one.

What the stand-ins do not do they leave to the real parts, whose place they take.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from typing import Final, cast

from msgspec import structs

from gateway.calls.composition import Gateway
from gateway.config import HistorySettings
from gateway.history import History, Reservation, TaskLedger, build_history
from gateway.history.exposure import Exposures, OriginReporter
from gateway.history.log import JournalAsLog
from gateway.inspection.inspector import Inspector, Terms, analyse
from gateway.inspection.results import ResultInspector
from gateway.model.call import Call
from gateway.model.content import EVERYTHING, CallContent, Relevance
from gateway.model.task import Task
from gateway.model.wire import UpstreamReply, UpstreamRequest

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


class Words(Inspector):
    """Looks for what history needs, and for no credentials."""

    __slots__ = ()

    def call(
        self, call: Call, task: Task, *about: object, relevance: Relevance = EVERYTHING, **more: object
    ) -> CallContent:
        return analyse(call, Terms(self.key, task.goal, task.contract, relevance))

    def result(self, call: Call, task: Task, *about: object, words: bool = True, **more: object) -> ResultInspector:
        return ResultInspector(super().result(call, task, words=words).words)


class Unread:
    """Looks at nothing of a result."""

    def feed(self, chunk: bytes) -> None:
        """Nothing is looked for."""

    def finish(self, chunk: bytes = b"") -> None:
        """Nothing is looked for."""

    finish_credentials = finish_words = feed


class Nothing(Inspector):
    """Looks for nothing."""

    __slots__ = ()

    def call(self, call: Call, task: Task, *about: object, **more: object) -> CallContent:
        return CallContent()

    def result(self, call: Call, task: Task, *about: object, **more: object) -> ResultInspector:
        return cast("ResultInspector", Unread())


class Forgetful(TaskLedger):
    """Keeps nothing of what tasks have done, and says of each call that it is the first."""

    def __init__(self, first: Reservation) -> None:
        history = build_history(HistorySettings(), clock=time.time)
        self.tasks, self.states = history.tasks, history.states
        log = JournalAsLog(self.states)
        super().__init__(self.tasks, self.states, OriginReporter(None), Exposures(), log, clock=time.time)
        self._first = structs.replace(first, fields={})

    def reserve(self, *about: object, **more: object) -> Reservation:
        return self._first

    def observe(self, *about: object, **more: object) -> None:
        """Nothing is kept."""

    def let_pass(self, *about: object, **more: object) -> None:
        """Nothing is kept."""

    def release(self, *about: object, **more: object) -> None:
        """Nothing was kept."""

    def settle(self, *about: object, **more: object) -> None:
        """Nothing was kept."""


def ways(gateway: Gateway, first: Reservation) -> dict[str, Gateway]:
    """The same gateway in each way. `first` is what history says of the first call of a task."""
    empty = Forgetful(first)
    parts = {item.name: getattr(gateway.inspector, item.name) for item in fields(Inspector)}
    return {
        "neither": replace(gateway, history=History(empty.tasks, empty, empty.states), inspector=Nothing(**parts)),
        "history": replace(gateway, inspector=Words(**parts)),
        "both": gateway,
    }
