"""What one rule alone stops and costs. Its findings are taken out of every decision, and the rest decides. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.corpora.findings import Findings
from benchmarks.corpora.measure import Measured, Ruling


@dataclass(frozen=True, slots=True)
class RuleShare:
    """Counts for one rule, or one family. `attacks` and `tasks` are those with a finding of it; `alone` are those that
    nothing else stops. `questions` and `denials` are calls of benign tasks that it asks about, or refuses; `spared` are
    the questions and denials that would be gone without it."""

    rule: str
    attacks: int
    attacks_alone: int
    tasks: int
    tasks_alone: int
    questions: int
    questions_spared: int
    denials: int
    denials_spared: int

    def counts(self) -> dict[str, Any]:
        return asdict(self)


def shares(measured: Measured) -> list[RuleShare]:
    """Return the share of each code that was found, with the share of its family before it if that has several."""
    codes = sorted({code for ruling in _rulings(measured) for code in ruling.findings.codes})
    families: dict[str, list[str]] = {}
    for code in codes:
        families.setdefault(code.partition("/")[0], []).append(code)
    found: list[RuleShare] = []
    for family, members in families.items():
        if len(members) > 1:
            found.append(_share(f"{family}/*", measured, members.__contains__))
        found += [_share(code, measured, code.__eq__) for code in members]
    return found


def _rulings(measured: Measured) -> list[Ruling]:
    stops = [ruling for verdict in measured.attacks for ruling in verdict.stops]
    return stops + [ruling for verdict in measured.benign for ruling in verdict.gates]


def _share(name: str, measured: Measured, rule: Callable[[str], bool]) -> RuleShare:
    stops = [[ruling.findings for ruling in verdict.stops] for verdict in measured.attacks]
    gates = [[ruling.findings for ruling in verdict.gates] for verdict in measured.benign]
    calls = [found for one in gates for found in one]
    left = [found.without(rule) for found in calls]
    return RuleShare(
        name,
        attacks=sum(_meets(one, rule) for one in stops),
        attacks_alone=sum(_needs(one, rule) for one in stops),
        tasks=sum(_meets(one, rule) for one in gates),
        tasks_alone=sum(_needs(one, rule) for one in gates),
        questions=sum(any(map(rule, found.questions)) for found in calls if not found.denials),
        questions_spared=_questions(calls) - _questions(left),
        denials=sum(any(map(rule, found.denials)) for found in calls),
        denials_spared=sum(bool(found.denials) for found in calls) - sum(bool(found.denials) for found in left),
    )


def _questions(calls: Sequence[Findings]) -> int:
    return sum(bool(found.questions) for found in calls if not found.denials)


def _meets(calls: Sequence[Findings], rule: Callable[[str], bool]) -> bool:
    """Return whether a rule finds something on one of the calls."""
    return any(rule(code) for found in calls for code in found.codes)


def _needs(calls: Sequence[Findings], rule: Callable[[str], bool]) -> bool:
    """Return whether no call would be held without the rule."""
    return bool(calls) and not any(found.without(rule).codes for found in calls)
