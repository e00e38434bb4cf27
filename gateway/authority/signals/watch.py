"""Watch over one stream: questions for a verification event, and the silence after them. Pure: the time is an argument."""

from __future__ import annotations

from typing import Final

_MOST_QUESTIONS: Final = 8
_CLOCKS_APART: Final = 1.0
"""Seconds between the clocks of two gateways on the same records."""


class StreamWatch:
    """The signs of life of one stream. `every` is the time between two questions in seconds, `None` for no questions.

    Each event proves that the stream works, and a verification event answers its question. A stream is silent if a question
    stays without any event until the next one is due.
    """

    def __init__(self, every: float | None, started: float) -> None:
        self._every = every
        self._started = started
        self._asked: dict[str, float] = {}
        self._unanswered: float | None = None
        self._latest_question: float | None = None
        self.last_event: float | None = None
        self.last_verified: float | None = None
        self.last_state: str | None = None
        """The state of the last verification event."""
        self.status = "unknown"
        self.problem: str | None = None
        self.is_silent = False

    def note_event(self, now: float) -> bool:
        """Note an event of the stream. Return whether it ends a silence."""
        self.last_event, self._unanswered = now, None
        was_silent, self.is_silent = self.is_silent, False
        return was_silent

    def note_verified(self, state: str | None, now: float) -> float | None:
        """Note a verification event. Return the seconds since its question, `None` if the gateway did not ask."""
        self.last_verified, self.last_state = now, state
        asked = self._asked.pop(state, None) if state is not None else None
        return None if asked is None else now - asked

    def hear(self, event: float, verified: float | None, state: str | None, status: str) -> bool:
        """Take over the signs that another gateway had. Return whether they end a silence."""
        if self.last_event is not None and event <= self.last_event:
            return False
        self.status = status
        if verified is not None and (self.last_verified is None or verified > self.last_verified):
            self.note_verified(state, verified)
        if self._unanswered is not None and event < self._unanswered - _CLOCKS_APART:
            self.last_event = event
            return False
        return self.note_event(event)

    def is_waiting(self, state: str) -> bool:
        """Return whether a question has no answer yet."""
        return state in self._asked

    def note_question(self, state: str, now: float) -> None:
        """Note a question before it is sent."""
        self._asked[state] = now
        while len(self._asked) > _MOST_QUESTIONS:
            del self._asked[next(iter(self._asked))]
        self._latest_question = now
        if self._unanswered is None:
            self._unanswered = now

    def is_due(self, now: float) -> bool:
        """Return whether it is time for a question."""
        if self._every is None:
            return False
        return self._latest_question is None or not 0 <= now - self._latest_question < self._every

    def falls_silent(self, now: float) -> bool:
        """Return whether a question has stayed without any event for too long. Each missed question tells it once."""
        if self._every is None or self._unanswered is None or now - self._unanswered < self._every:
            return False
        self._unanswered = now
        self.is_silent = True
        return True
