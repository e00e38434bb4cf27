"""Each step of a trace decided as the gateway would decide it: the same fold, the same facts, the same policy input and
the same reading of the answer as for a live call. What is not there is the wire, and the upstream: the trace says what
it answered.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

from gateway.history.events import Opened, Released, Settled, shown
from gateway.history.facts import facts
from gateway.history.state import TaskState, apply, observed, reserved, says_nothing
from gateway.inspection import arguments
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.stream import Scanner
from gateway.inspection.results import ResultInspector, ResultWords
from gateway.model import Call, Context, Decision, Json, JsonObject, ResultContent, Sensitivity
from gateway.policy import document
from gateway.replay.trace import BEGINNING, Expectation, Step, Trace
from gateway.visit import SUPPORTED_OBLIGATIONS

Assume = Literal["refused", "forwarded"]
"""What is taken to happen after a step that was not allowed: it ends there and has no result, or it goes on all the
same, so that later steps show every rule that would have held."""

Decide = Callable[[JsonObject], Awaitable[Decision]]

KEY: Final = b"opagate replay: nothing that it digests is kept"
"""Of the digests and fingerprints of a replay, so that two runs have the same output."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """A step and what was decided. `number` counts from 0; `facts` is `session` of the policy input."""

    trace: str
    number: int
    tool: str
    decision: Decision
    facts: JsonObject
    expect: Expectation | None

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(reason.code for reason in self.decision.reasons)

    @property
    def met(self) -> bool:
        """Whether it is what was expected, if anything was."""
        if self.expect is None:
            return True
        return self.decision.effect in self.expect.effects and self.expect.code in {None, *self.codes}


async def replay(
    traces: Iterable[Trace], decide: Decide, *, assume: Assume = "refused", detector: Detector | None = None
) -> AsyncIterator[StepOutcome]:
    """The outcome of each step, in order. `decide` is that of a `Policy`; `detector` finds credentials, by our rules
    unless another is given. What is kept is the state of one task.

    Raises `TraceInvalid` when it comes to what is wrong in a file.
    """
    looking = detector or Detector(ruleset.load(), Fingerprints(KEY))
    for trace in traces:
        run = _Run(trace, assume, looking)
        for number, step in enumerate(trace.steps):
            yield await run.take(number, step, decide)


class _Run:
    """One task from its beginning."""

    def __init__(self, trace: Trace, assume: Assume, detector: Detector) -> None:
        self._trace = trace
        self._assume = assume
        self._detector = detector
        self._state = apply(TaskState(), _opened(trace, detector))

    async def take(self, number: int, step: Step, decide: Decide) -> StepOutcome:
        trace, state, call_id, now = self._trace, self._state, str(number), BEGINNING + step.at
        call = Call("tools/call", trace.target(step), step.arguments)
        content = arguments.analyse(
            call,
            key=KEY,
            goal=trace.task.goal,
            contract=trace.task.contract,
            detector=self._detector,
            known=state.shingles or None,
        )
        apply(state, reserved(state, call_id, call, content, now))
        depth = len(trace.principal.delegation)
        known = facts(state, now, call=call_id, content=content, depth=depth)
        context = Context(now, f"{number:032x}", None, None, trace.task, SUPPORTED_OBLIGATIONS)
        asked = document.decision(trace.principal, call, context, known)
        decision = await decide(asked)
        if decision.allowed or self._assume == "forwarded":
            self._answer(call_id, call, step.result, _label(decision))
            apply(state, Settled(call_id))
        else:
            apply(state, Released(call_id, denied=True))
        session = cast("JsonObject", asked["session"])
        return StepOutcome(trace.id, number, call.target.id, decision, session, step.expect)

    def _answer(self, call_id: str, call: Call, result: Json, label: Sensitivity) -> None:
        """Take in what the upstream answered, as the gateway does before it passes it on."""
        words = ResultWords(KEY, trusted=call.target.trust == "trusted")
        inspector = ResultInspector(words, Scanner(self._detector))
        for content in (inspector.feed(_written(result)), inspector.finish(), ResultContent()):
            if content is not None:
                event = observed(self._state, call_id, content, label)
                if not says_nothing(self._state, event):
                    apply(self._state, event)


def _opened(trace: Trace, detector: Detector) -> Opened:
    """What the user gave with the goal and the contract."""
    contract = trace.task.contract
    given = [trace.task.goal or "", *((contract.destinations or ()) if contract is not None else ())]
    inspector = ResultInspector(ResultWords(KEY, trusted=True), Scanner(detector))
    found = [content for content in (inspector.feed(_encoded("\n".join(given))), inspector.finish()) if content]
    known = frozenset(token for content in found for token in content.tokens)
    return Opened(known, shown(sighting for content in found for sighting in content.sightings))


def _written(result: Json) -> bytes:
    """The answer to a `tools/call` as an upstream would write it. A text is one block of text, an object without
    `content` is structured content, and an object with it is the result as it is."""
    if result is None:
        shaped: Json = {"content": []}
    elif isinstance(result, str):
        shaped = {"content": [{"type": "text", "text": result}]}
    elif isinstance(result, Mapping) and "content" in result:
        shaped = result
    else:
        shaped = {"content": [], "structuredContent": result}
    return _encoded(json.dumps({"jsonrpc": "2.0", "id": 1, "result": shaped}, ensure_ascii=False))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _label(decision: Decision) -> Sensitivity:
    """The highest confidentiality that policy lays on the result."""
    ranks = list(Sensitivity)
    named = [
        Sensitivity(str(item.properties["confidentiality"])) for item in decision.obligations if item.id == "label"
    ]
    return max(named, key=ranks.index, default=Sensitivity.PUBLIC)
