"""The questions and refusals of a policy on recorded sessions, and the settings to avoid both. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, cast

from gateway.inspection.arguments import at
from gateway.inspection.destinations.find import links, listed, texts
from gateway.model.decision import Reason
from gateway.model.reasons import policy_codes
from gateway.model.target import Role
from gateway.surfaces.replay.engine import StepOutcome
from gateway.surfaces.replay.report import place

Where = Literal["gateway.yaml", "the grants file", "the contract of the task"]

_LIMITS: Final[Mapping[str, tuple[str, ...]]] = {
    policy_codes.FAN_OUT_AUDIENCES: ("audiences",),
    policy_codes.FAN_OUT_BURST: ("audiences_in_window",),
    policy_codes.FAN_OUT_WRITES: ("write_audiences",),
    policy_codes.FAN_OUT_DESTINATIONS: (
        "destinations",
        "call_destinations",
        "own_destinations",
        "call_own_destinations",
    ),
    policy_codes.FAN_OUT_SPREAD: ("spread",),
    policy_codes.FAN_OUT_DEPTH: ("depth",),
    policy_codes.FAN_OUT_TENANTS: ("tenants",),
    policy_codes.FAN_OUT_ENVIRONMENTS: ("environments",),
}
"""Code → the limits of a contract that raise its number."""


_LABELLED: Final = frozenset({policy_codes.APPROVAL_EFFECT, policy_codes.NOT_GRANTED, policy_codes.EXFILTRATION})
_LABELS: Final = frozenset({"/resource/properties/effect", "/resource/properties/egress"})


class Setting(NamedTuple):
    """A setting against a question: its place, and its lines of YAML."""

    where: Where
    yaml: str


@dataclass(slots=True)
class RuleCost:
    """The questions and refusals of a code. `settings` counts the steps settled by each setting."""

    asked: int = 0
    refused: int = 0
    tasks: int = 0
    first: str = ""
    last: str = ""
    settings: Counter[Setting] = field(default_factory=Counter[Setting])
    without: int = 0
    """Steps that no setting is known to end."""


@dataclass(slots=True)
class PolicyCost:
    """The cost of a policy over all added steps."""

    steps: int = 0
    tasks: int = 0
    asked_tasks: int = 0
    refused_tasks: int = 0
    questions: int = 0
    rules: dict[str, RuleCost] = field(default_factory=dict[str, RuleCost])
    _asked_in: str = ""
    _refused_in: str = ""

    def add(self, outcome: StepOutcome) -> None:
        """Count a step. The steps of a task come in order."""
        self.steps += 1
        if outcome.number == 0:
            self.tasks += 1
            self._asked_in = self._refused_in = ""
        if outcome.decision.effect == "ask":
            self.questions += 1
            self.asked_tasks += self._asked_in != outcome.trace
            self._asked_in = outcome.trace
        elif outcome.decision.effect == "deny":
            self.refused_tasks += self._refused_in != outcome.trace
            self._refused_in = outcome.trace
        for reason in outcome.decision.reasons:
            self._add_rule(outcome, reason)

    def _add_rule(self, outcome: StepOutcome, reason: Reason) -> None:
        rule = self.rules.setdefault(reason.code, RuleCost(first=place(outcome)))
        rule.asked += outcome.decision.effect == "ask"
        rule.refused += outcome.decision.effect == "deny"
        if rule.last != outcome.trace or outcome.number == 0:
            rule.tasks += 1
            rule.last = outcome.trace
        found = set(settings_for(outcome, reason))
        rule.settings.update(found)
        rule.without += not found


def settings_for(outcome: StepOutcome, reason: Reason) -> Iterator[Setting]:
    """Yield the settings against a reason of a step, if any."""
    code = reason.code
    if code == policy_codes.UNGROUNDED:
        yield from map(_entry, _unknown_places(outcome, reason))
    elif code == policy_codes.EXFILTRATION:
        yield from map(_entry, _unknown_destinations(outcome))
    elif code == policy_codes.NOT_GRANTED:
        yield _grant(outcome)
    elif code == policy_codes.CREDENTIAL_PRESENTED:
        yield from _flows(outcome)
    elif code == policy_codes.FAN_OUT_UNNAMED:
        yield Setting("the contract of the task", f"audiences: [{_quote(outcome.call.target.audience)}]")
    elif code in _LIMITS:
        yield from _limits(outcome, code)
    if outcome.call.target.labels.assumed and (code in _LABELLED or _LABELS.intersection(reason.facts)):
        yield _label(outcome)


def _entry(destination: str) -> Setting:
    return Setting("gateway.yaml", f"directory: {{entries: [{_quote(destination)}]}}")


def _unknown_places(outcome: StepOutcome, reason: Reason) -> Iterator[str]:
    """Yield the destinations, and the hosts of links, at the pointers of a reason."""
    known = _known_places(outcome)
    for fact in reason.facts:
        pointer = fact.removeprefix("/arguments")
        role = outcome.call.target.labels.roles.get(pointer)
        reader = {Role.DESTINATION: listed, Role.CONTENT: links}.get(role) if role is not None else None
        if reader is None:
            continue
        for text in texts(at(outcome.call.arguments, pointer)):
            yield from (found.value for found in reader(text) if found.value not in known)


def _unknown_destinations(outcome: StepOutcome) -> Iterator[str]:
    known = _known_places(outcome)
    yield from (name for name in _list(outcome, "call_destinations") if name not in known)


def _known_places(outcome: StepOutcome) -> frozenset[str]:
    return frozenset(_list(outcome, "known_destinations"))


def _list(outcome: StepOutcome, name: str) -> Sequence[str]:
    found = outcome.facts.get(name)
    return cast("Sequence[str]", found) if isinstance(found, list | tuple) else ()


def _grant(outcome: StepOutcome) -> Setting:
    target = outcome.call.target
    lines = [
        "upstreams:",
        f"  {target.upstream}:",
        f"    - id: {target.upstream}-{target.name}",
        f"      agents: [{_quote(outcome.principal.id)}]",
        f"      issuers: [{_quote(outcome.principal.issuer)}]",
        f"      tools: [{_quote(target.name)}]",
        f"      effects: [{target.labels.effect.value}]",
    ]
    return Setting("the grants file", "\n".join(lines))


def _label(outcome: StepOutcome) -> Setting:
    target = outcome.call.target
    labels = ", ".join(f"{name}: …" for name in sorted(target.labels.assumed))
    return Setting("gateway.yaml", f"upstreams: {{{target.upstream}: {{tools: {{{target.name}: {{{labels}}}}}}}}}")


def _flows(outcome: StepOutcome) -> Iterator[Setting]:
    credentials = cast("Sequence[Mapping[str, Any]]", outcome.facts.get("credentials") or ())
    for credential in credentials:
        source = credential["origin"].get("audience")
        if source is not None and source != outcome.call.target.audience:
            yield Setting(
                "the contract of the task",
                f"credential_flows: [{{from: {_quote(source)}, to: {_quote(outcome.call.target.audience)}}}]",
            )


def _limits(outcome: StepOutcome, code: str) -> Iterator[Setting]:
    """Yield a contract's limit in the place of a soft limit; a hard limit has no such place."""
    if outcome.decision.effect != "ask":
        return
    named = {fact.removeprefix("/session/") for reason in outcome.decision.reasons for fact in reason.facts}
    for name in _LIMITS[code]:
        size = outcome.facts.get(name)
        number = len(size) if isinstance(size, list | tuple) else size
        if name in named and isinstance(number, int):
            yield Setting("the contract of the task", f"limits: {{{name}: {number}}}")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
