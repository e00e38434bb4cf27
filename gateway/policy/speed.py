"""The processor time that a policy takes for its probes, and the slowest part of a policy that takes too long.

The thread's processor time is measured, and the best of several runs counts: other work on the machine adds to neither. The
engine keeps the regular expressions that it compiled last; they are displaced before a run, as other calls displace them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import msgspec

from gateway import reasons
from gateway.errors import PolicyBroken, PolicyError
from gateway.policy import document, embedded, probes, verdict
from gateway.policy.bundle import Bundle
from gateway.policy.embedded import Embedded
from gateway.policy.engine import Engine
from gateway.policy.probes import Probe
from gateway.policy.references import ReferenceGraph

_RUNS: Final = 3
_CLEARLY: Final = 8
"""Times the limit at which one run is enough to know."""
_BUDGET: Final = 5.0
"""Seconds of processor time for the first look at all probes."""
_NAMING: Final = 5.0
"""Seconds of processor time to find the slowest part."""
_CLOSELY: Final = 5
"""So many of the slowest probes, and of those about the most conditions, are measured closely."""
_EXPRESSIONS: Final = 300
"""More regular expressions than the engine keeps."""
_FAULTS: Final = frozenset({reasons.POLICY_MALFORMED.code, reasons.POLICY_OBLIGATION.code})

_DISPLACING: Final = (
    'package displacing\n\nfound contains text if {\n\tsome text in input\n\tregex.match(text, "")\n}\n'
)
_TRYING: Final = "package trying\n\nvalid := regex.is_valid(input)\n"
_HOLDING: Final = (
    "package opagate_trial\n\nimport data.gateway.lib.conditions\n\n"
    "holds if conditions.hold(input.grant, input.arguments)\n"
)
_CONDITIONS: Final = ("data", "gateway", "lib", "conditions", "hold")


@dataclass(frozen=True, slots=True)
class _Cost:
    seconds: float
    probe: Probe


def require(engine: Embedded, policy: Bundle, limit: float) -> None:
    """Raise `PolicyBroken` if a probe takes longer than `limit` seconds of processor time, or gets a malformed answer."""
    clock = _Clock(engine)
    costs: list[_Cost] = []
    end = time.thread_time() + _BUDGET
    for probe in probes.probes(probes.grants_in(msgspec.json.decode(policy.data))):
        costs.append(_Cost(clock.once(probe), probe))
        if costs[-1].seconds > limit:
            _require_within(costs[-1], clock, policy, limit)
        if time.thread_time() > end:
            break
    for cost in _to_measure_closely(costs):
        _require_within(cost, clock, policy, limit)
    for probe in probes.of_fixtures():
        if (seconds := clock.once(probe)) > limit:
            _require_within(_Cost(seconds, probe), clock, policy, limit)


def _to_measure_closely(costs: Sequence[_Cost]) -> Iterable[_Cost]:
    slowest = sorted(costs, key=lambda cost: -cost.seconds)[:_CLOSELY]
    most = sorted(costs, key=lambda cost: -sum(map(probes.conditions, cost.probe.grants)))
    return [*slowest, *most[:_CLOSELY]]


def _require_within(cost: _Cost, clock: _Clock, policy: Bundle, limit: float) -> None:
    seconds = cost.seconds
    if seconds < _CLEARLY * limit:
        seconds = min(clock.displaced(cost.probe) for _ in range(_RUNS))
    if seconds > limit:
        raise PolicyBroken(
            f"the policy takes {seconds * 1000:.0f} ms of processor time for {cost.probe.words}, and may take"
            f" {limit * 1000:.0f} ms, half of policy.engine.deadline; {_slowest(cost.probe, policy, seconds)}",
            "simplify it, have fewer grants and conditions for one target, or raise policy.engine.deadline",
        )


class _Clock:
    """The processor time of an engine's answers."""

    def __init__(self, engine: Embedded) -> None:
        self._engine = engine
        self._displacer = embedded.loaded([("displacing.rego", _DISPLACING)], "{}")
        self._round = 0

    def once(self, probe: Probe) -> float:
        """Return the seconds of one answer. Raise `PolicyBroken` for an answer that would refuse every call."""
        asked, answer = document.encode(probe.input), cast("object", None)
        begun = time.thread_time()
        try:
            answer = self._engine.answer(probe.entrypoint, asked)
        except PolicyError:
            return time.thread_time() - begun
        seconds = time.thread_time() - begun
        if probe.entrypoint == "decision" and probe.input:
            for reason in verdict.read_decision(answer, verdict.KNOWN).reasons:
                if reason.code in _FAULTS:
                    raise PolicyBroken(f"for {probe.words}, {reason.message}", reason.remedy)
        return seconds

    def displaced(self, probe: Probe) -> float:
        """Return the same with no expression of the policy compiled before."""
        self._round += 1
        texts = [f"{self._round % 2}x{number}" for number in range(_EXPRESSIONS)]
        self._displacer.set_input_json(msgspec.json.encode(texts).decode())
        self._displacer.eval_rule_as_json("data.displacing.found")
        return self.once(probe)


def refused_expression(policy: Bundle) -> str:
    """Return the first grant with a regular expression that the engine does not take, in words; empty if there is none."""
    engine = embedded.loaded([("trying.rego", _TRYING)], "{}")
    for grants in probes.grants_in(msgspec.json.decode(policy.data)).values():
        for grant in grants:
            for pointer, expression in probes.expressions(grant):
                engine.set_input_json(msgspec.json.encode(expression).decode())
                if failure := embedded.value(engine, "data.trying.valid")[1]:
                    return f"upstream {grant}: when {pointer}: {failure}"
    return ""


# --- the slowest part --------------------------------------------------------------------------------


def _slowest(probe: Probe, policy: Bundle, seconds: float) -> str:
    """Return the slowest grant in words, if the grants take the time, else the slowest rule."""
    graph = ReferenceGraph(embedded.parse(policy.modules))
    if probe.grants and _time_without_grants(probe, policy) < seconds / 2:
        return _slowest_grant(probe, policy, graph)
    return _slowest_rule(probe, policy, graph, seconds)


def _time_without_grants(probe: Probe, policy: Bundle) -> float:
    data = msgspec.json.decode(policy.data)
    data["gateway"]["grants"]["upstreams"] = {}
    engine = embedded.loaded(policy.modules, msgspec.json.encode(data).decode())
    return min(_measure_once(engine, probe.input, f"data.gateway.{probe.entrypoint}.result") for _ in range(_RUNS))


def _slowest_grant(probe: Probe, policy: Bundle, graph: ReferenceGraph) -> str:
    count = "it looks at one grant" if len(probe.grants) == 1 else f"it looks at {len(probe.grants)} grants"
    if probe.entrypoint == "visibility" or _CONDITIONS not in graph.rules:
        return count
    engine = embedded.loaded([*policy.modules, ("opagate_trial.rego", _HOLDING)], policy.data)
    arguments = probe.input.get("arguments", {})
    _measure_once(engine, {}, "data.opagate_trial.holds")  # compiles the policy
    end = time.thread_time() + _NAMING
    slowest, most = "", 0.0
    for grant in probe.grants:
        took = _measure_once(engine, {"grant": grant.fields, "arguments": arguments}, "data.opagate_trial.holds")
        if took > most:
            slowest, most = f"{count}; the slowest is upstream {grant}: {took * 1000:.1f} ms", took
        if time.thread_time() > end:
            break
    return slowest


def _slowest_rule(probe: Probe, policy: Bundle, graph: ReferenceGraph, seconds: float) -> str:
    """Describe the first rule that takes over half of `seconds`, or else the slowest. Called rules come before callers."""
    engine = embedded.loaded(policy.modules, policy.data)
    _measure_once(engine, {}, f"data.gateway.{probe.entrypoint}.result")  # compiles the policy
    end = time.thread_time() + _NAMING
    slowest, most = "no rule takes a good part of it alone", 0.0
    for path in reversed(graph.callers_first(graph.rules)):
        rule = graph.rules[path][0]
        if rule.kind == "Func" or time.thread_time() > end:
            continue
        took = _measure_once(engine, probe.input, ".".join(path))
        if took > most:
            slowest, most = f"the slowest rule is {'.'.join(path)} ({rule.place}): {took * 1000:.0f} ms", took
        if took > seconds / 2:
            break
    return slowest


def _measure_once(engine: Engine, given: object, rule: str) -> float:
    engine.set_input_json(msgspec.json.encode(given).decode())
    begun = time.thread_time()
    embedded.value(engine, rule)
    return time.thread_time() - begun
