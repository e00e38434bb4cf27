"""All that the shipped policy finds against a call. A decision names the reasons of its effect alone: beside a denial it
leaves out the questions, which matter when one rule is taken away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from gateway.model.decision import Decision
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy.folder.bundle import Bundle
from gateway.policy.policy import Policy
from tests.compiled_policy import compiled

Decide = Callable[[JsonObject], Awaitable[Decision]]


@dataclass(frozen=True, slots=True)
class Findings:
    """Reason codes: `denials` refuse the call, `questions` need a person."""

    denials: frozenset[str]
    questions: frozenset[str]

    @property
    def codes(self) -> frozenset[str]:
        return self.denials | self.questions

    def without(self, rule: Callable[[str], bool]) -> Findings:
        """Return the findings of all codes but those that `rule` holds for."""
        return Findings(
            *(frozenset(code for code in codes if not rule(code)) for codes in (self.denials, self.questions))
        )


NOTHING: Final = Findings(frozenset(), frozenset())


class FindingsReader:
    """The same policy, compiled. It evaluates the rules that `gateway.decision` decides from."""

    def __init__(self, bundle: Bundle) -> None:
        self._program = compiled(bundle).program

    def read(self, document: JsonObject, decision: Decision) -> Findings:
        """Return what holds against a call. Raise `ValueError` if the decision does not follow from it."""
        if decision.allowed:
            return NOTHING
        denials = _codes(self._evaluate("data.gateway.decision", "denials", document))
        questions = _codes(self._evaluate("data.gateway.approvals", "required", document))
        decided = frozenset(reason.code for reason in decision.reasons)
        if decided != (denials if decision.effect == "deny" else questions):
            raise ValueError(f"the policy decided {decision.effect} for {sorted(decided)}, and its rules say otherwise")
        return Findings(denials, questions)

    def _evaluate(self, package: str, rule: str, document: JsonObject) -> Any:
        return dict(self._program.values((package,), (rule,), documents.plain(document)))[f"{package}.{rule}"]


class ObservedPolicy:
    """A policy whose findings on each call are kept until they are taken."""

    def __init__(self, policy: Policy, reader: FindingsReader) -> None:
        self._policy = policy
        self._reader = reader
        self._found = NOTHING

    async def decide(self, document: JsonObject) -> Decision:
        decision = await self._policy.decide(document)
        self._found = self._reader.read(document, decision)
        return decision

    def take(self) -> Findings:
        """Return the findings on the last call."""
        return self._found


def _codes(found: Iterable[Any]) -> frozenset[str]:
    return frozenset(finding["code"] for finding in found)
