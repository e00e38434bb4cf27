"""The fatigue of approvers, from the journal: the number of questions, the answers, and their speed. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.authority.approvals.model import ApproverRule, Question, Requester, ShownReason
from gateway.authority.approvals.suggestions import suggest_settings

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

QUICK_SECONDS: Final = 2.0
"""Nobody reads a question in less."""
WARN_SHARE: Final = 0.9
"""Share of approved questions above which people no longer decide."""
_RULES: Final = 5
_LEAST: Final = 10
"""Answers from which a share says anything."""


@dataclass(slots=True)
class Fatigue:
    """Counts over the added `approval` entries."""

    asked: Counter[str] = field(default_factory=Counter[str])  # task → questions
    codes: Counter[str] = field(default_factory=Counter[str])
    targets: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])  # code → targets
    ends: Counter[str] = field(default_factory=Counter[str])
    seconds: list[float] = field(default_factory=list[float])

    def add(self, entry: JsonObject) -> None:
        """Count an `approval` entry of the journal."""
        event = cast("str", entry["event"])
        if event == "asked":
            self.asked[cast("str", entry["task"])] += 1
            for code in cast("list[str]", entry["reasons"]):
                self.codes[code] += 1
                self.targets.setdefault(code, Counter())[cast("str", entry["target"])] += 1
        elif event != "vote":
            self.ends[event] += 1
        if "vote" in entry:
            self.seconds.append(cast("float", entry["seconds"]))

    def describe(self) -> dict[str, Any]:
        """Return the report: shares are between 0 and 1, and `None` without an answer."""
        answered = self.ends["granted"] + self.ends["denied"]
        quick = sum(second < QUICK_SECONDS for second in self.seconds)
        approved = self.ends["granted"] / answered if answered else None
        return {
            "questions": self.asked.total(),
            "tasks": len(self.asked),
            "questions_per_task": round(self.asked.total() / len(self.asked), 2) if self.asked else None,
            "answered": answered,
            "approved_share": None if approved is None else round(approved, 3),
            "expired": self.ends["expired"],
            "median_seconds": round(median(self.seconds), 1) if self.seconds else None,
            "quick_share": round(quick / len(self.seconds), 3) if self.seconds else None,
            "rules": [self._rule(code, count) for code, count in self.codes.most_common(_RULES)],
            "warning": _WARNING if answered >= _LEAST and approved is not None and approved > WARN_SHARE else None,
        }

    def _rule(self, code: str, count: int) -> dict[str, Any]:
        ((target, times),) = self.targets[code].most_common(1)
        found = suggest_settings(_question(code, target), {})
        instead = [{"where": one.where, "yaml": one.yaml} for one in found]
        return {"code": code, "questions": count, "most_for": target, "times": times, "instead": instead}


def _question(code: str, target: str) -> Question:
    """Return a question with one reason code, for `suggest_settings`."""
    nobody = Requester("", "", "")
    return Question("", "", "", "", "", "", "", target, nobody, ApproverRule(), (ShownReason(code, ""),), 0.0, 0.0)


_WARNING: Final = (
    "More than 90 % of the questions were approved: people may no longer read them. End the questions that recur, with the"
    " settings above."
)
