"""An agent that makes calls of one task, as history sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.history.events import Released, Settled
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.new_events import build_observation, build_reservation
from gateway.history.state import TaskState
from gateway.model.content import CallContent, ResultContent
from gateway.model.facts import SessionFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.call import Call


class Agent:
    """Makes calls of one task, one after another."""

    def __init__(self, make_call: Callable[..., Call]) -> None:
        self.state = TaskState()
        self.make_call = make_call
        self.count = 0

    def begin(self, audience: str, content: CallContent | None = None, **labels: Any) -> tuple[str, SessionFacts]:
        self.count += 1
        call_id, content = f"c{self.count}", content if content is not None else CallContent()
        apply(
            self.state, build_reservation(self.state, call_id, self.make_call(audience, **labels), content, self.count)
        )
        return call_id, facts(self.state, self.count, call=call_id, content=content)

    def call(
        self, audience: str, content: CallContent | None = None, result: ResultContent | None = None, **labels: Any
    ) -> SessionFacts:
        call_id, known = self.begin(audience, content, **labels)
        apply(self.state, build_observation(self.state, call_id, result or ResultContent()))
        apply(self.state, Settled(call_id))
        return known

    def refused(self, audience: str, content: CallContent | None = None, **labels: Any) -> SessionFacts:
        call_id, known = self.begin(audience, content, **labels)
        apply(self.state, Released(call_id, denied=True))
        return known
