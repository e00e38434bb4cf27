"""Open requests and questions between callers and a server without sessions. Such a server knows a request by the id of
its client's choice, and a question by a counted number. A caller with a guessed id could cancel another caller's
request, or answer another caller's question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from gateway.model.wire import RequestId

QUESTIONS: Final = 64
"""Questions on one stream that wait for their answers; beyond it the oldest is forgotten, and cannot be answered."""


@dataclass(slots=True, eq=False)
class _Open:
    """A request, or a stream without a request (`None`), with the questions on it. Ids are told apart by type: 1 is not
    "1"."""

    request: str | None
    questions: dict[str, None] = field(default_factory=dict[str, None])


class SessionlessExchanges:
    """Open requests and questions outside of a session, by upstream and caller."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], list[_Open]] = {}

    def begin(self, upstream: str, principal: str, request: RequestId | None) -> Callable[[], None]:
        """Note a request, or a stream. Return a function to call at its end."""
        key, opened = (upstream, principal), _Open(None if request is None else repr(request), {})
        self._open.setdefault(key, []).append(opened)
        return partial(self._end, key, opened)

    def note_question(self, upstream: str, principal: str, request: RequestId | None, question: RequestId) -> None:
        """Note a question on the stream of a request."""
        for opened in self._open.get((upstream, principal), ()):
            if opened.request == _name(request):
                opened.questions[repr(question)] = None
                if len(opened.questions) > QUESTIONS:
                    del opened.questions[next(iter(opened.questions))]
                return

    def is_open(self, upstream: str, principal: str, request: object) -> bool:
        """Return whether the id names an open request of the caller."""
        if not isinstance(request, str | int):
            return False
        name = _name(request)
        return any(opened.request == name for opened in self._open.get((upstream, principal), ()))

    def is_asked(self, upstream: str, principal: str, question: RequestId | None) -> bool:
        """Return whether the caller has an open question of this id."""
        name = repr(question)
        return any(name in opened.questions for opened in self._open.get((upstream, principal), ()))

    def close_question(self, upstream: str, principal: str, question: RequestId | None) -> None:
        """Close the question of this id: the caller has answered it."""
        name = repr(question)
        for opened in self._open.get((upstream, principal), ()):
            if name in opened.questions:
                del opened.questions[name]
                return

    def _end(self, key: tuple[str, str], opened: _Open) -> None:
        left = self._open[key]
        left.remove(opened)
        if not left:
            del self._open[key]


def _name(request: RequestId | None) -> str | None:
    return None if request is None else repr(request)
