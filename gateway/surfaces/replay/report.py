"""The result of a replay: totals, in memory bounded by the reason codes, and the differences of two policies."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from gateway.model.wire import JsonObject
from gateway.surfaces.replay.engine import StepOutcome


@dataclass(slots=True)
class Tally:
    """The count of a code with an effect, the number of its traces, and its first place."""

    steps: int = 0
    traces: int = 0
    first: str = ""
    last: str = ""


@dataclass(slots=True)
class Totals:
    """Counts of all added outcomes. `expected` are the steps with an expectation."""

    steps: int = 0
    traces: int = 0
    expected: int = 0
    unmet: int = 0
    effects: Counter[str] = field(default_factory=Counter[str])
    codes: dict[tuple[str, str], Tally] = field(default_factory=dict[tuple[str, str], Tally])

    def add(self, outcome: StepOutcome) -> None:
        effect = outcome.decision.effect
        self.steps += 1
        self.traces += outcome.number == 0
        self.expected += outcome.expect is not None
        self.unmet += not outcome.met
        self.effects[effect] += 1
        for code in outcome.codes:
            tally = self.codes.setdefault((effect, code), Tally(first=place(outcome)))
            tally.steps += 1
            if tally.last != outcome.trace or outcome.number == 0:
                tally.traces += 1
                tally.last = outcome.trace


@dataclass(frozen=True, slots=True)
class DecisionDifference:
    """Step with different decisions of two policies."""

    one: StepOutcome
    other: StepOutcome


async def compare(
    one: AsyncIterator[StepOutcome], other: AsyncIterator[StepOutcome]
) -> AsyncIterator[DecisionDifference]:
    """Yield the steps with another effect or other codes, of two replays of the same traces. Each replay has its own
    history: a step refused by a policy has no result there, and changes the history of the steps after."""
    async for first in one:
        second = await anext(other)
        if (first.decision.effect, first.codes) != (second.decision.effect, second.codes):
            yield DecisionDifference(first, second)


def place(outcome: StepOutcome) -> str:
    return f"{outcome.trace}[{outcome.number}]"


def row(outcome: StepOutcome) -> JsonObject:
    """Return an object of a step, for programs."""
    return {
        "trace": outcome.trace,
        "step": outcome.number,
        "effect": outcome.decision.effect,
        "codes": outcome.codes,
        "facts": outcome.facts,
    }


def describe_expected(outcome: StepOutcome) -> str:
    """Return the expected outcome of a step, for people."""
    if outcome.expect is None:
        return ""
    effects = " or ".join(sorted(outcome.expect.effects))
    return f"{effects} {outcome.expect.code}" if outcome.expect.code else effects
