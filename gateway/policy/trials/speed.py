"""The processor time that a policy takes for its probes, and the slowest rule of a policy that takes too long.

The thread's processor time is measured, and the best of several runs counts: other work on the machine adds to neither.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from gateway.model import reasons
from gateway.model.errors import PolicyBroken, PolicyError
from gateway.policy import verdict
from gateway.policy.plan.program import FILE, CompiledPolicy
from gateway.policy.trials import probes
from gateway.policy.trials.probes import Probe

_RUNS: Final = 3
_CLEARLY: Final = 8
"""Times the limit at which one run is enough to know."""
_BUDGET: Final = 5.0
"""Seconds of processor time for the first look at all probes."""
_CLOSELY: Final = 5
"""So many of the slowest probes, and of those about the most conditions, are measured closely."""
_FAULTS: Final = frozenset({reasons.POLICY_MALFORMED.code, reasons.POLICY_OBLIGATION.code})


@dataclass(frozen=True, slots=True)
class _Cost:
    seconds: float
    probe: Probe


def require(policy: CompiledPolicy, data: str, limit: float) -> None:
    """Raise `PolicyBroken` if a probe takes longer than `limit` seconds of processor time, or gets a malformed answer."""
    costs: list[_Cost] = []
    end = time.thread_time() + _BUDGET
    for probe in probes.probes(probes.grants_in(json.loads(data))):
        costs.append(_Cost(_measure_once(policy, probe), probe))
        if costs[-1].seconds > limit:
            _require_within(costs[-1], policy, limit)
        if time.thread_time() > end:
            break
    for cost in _to_measure_closely(costs):
        _require_within(cost, policy, limit)
    for probe in probes.of_fixtures():
        if (seconds := _measure_once(policy, probe)) > limit:
            _require_within(_Cost(seconds, probe), policy, limit)


def _to_measure_closely(costs: Sequence[_Cost]) -> Iterable[_Cost]:
    slowest = sorted(costs, key=lambda cost: -cost.seconds)[:_CLOSELY]
    most = sorted(costs, key=lambda cost: -sum(map(probes.conditions, cost.probe.grants)))
    return [*slowest, *most[:_CLOSELY]]


def _require_within(cost: _Cost, policy: CompiledPolicy, limit: float) -> None:
    seconds = cost.seconds
    if seconds < _CLEARLY * limit:
        seconds = min(_measure_once(policy, cost.probe) for _ in range(_RUNS))
    if seconds > limit:
        raise PolicyBroken(
            f"the policy takes {seconds * 1000:.0f} ms of processor time for {cost.probe.words}, and may take"
            f" {limit * 1000:.0f} ms, half of policy.engine.deadline; {_describe_slowest(policy, cost.probe)}",
            "simplify it, have fewer grants and conditions for one target, or raise policy.engine.deadline",
        )


def _measure_once(policy: CompiledPolicy, probe: Probe) -> float:
    """Return the seconds of one answer. Raise `PolicyBroken` for an answer that would refuse every call."""
    answer: object = None
    begun = time.thread_time()
    try:
        answer = policy.answer(probe.entrypoint, probe.input)
    except PolicyError:
        return time.thread_time() - begun
    seconds = time.thread_time() - begun
    if probe.entrypoint == "decision" and probe.input:
        for reason in verdict.read_decision(answer, verdict.KNOWN).reasons:
            if reason.code in _FAULTS:
                raise PolicyBroken(f"for {probe.words}, {reason.message}", reason.remedy)
    return seconds


def _describe_slowest(policy: CompiledPolicy, probe: Probe) -> str:
    """Return the rule that takes the most time itself, and the grants that the probe is about, in words."""
    profile = cProfile.Profile(time.thread_time)
    profile.runcall(_measure_once, policy, probe)
    found: Any = pstats.Stats(profile)
    rules = cast("dict[tuple[str, int, str], tuple[int, int, float, float, Any]]", found.stats)
    times = {name: timed[2] for (file, _, name), timed in rules.items() if file == FILE}
    slowest = max(times, key=lambda name: times[name], default="")
    place = policy.program.place(slowest) or "no rule takes a good part of it alone"
    if not probe.grants:
        return f"the slowest rule is at {place}"
    most, count = max(probe.grants, key=probes.conditions), len(probe.grants)
    looked = "one grant" if count == 1 else f"{count} grants"
    return (
        f"the slowest rule is at {place}; it looks at {looked}; the grant with the most conditions is upstream {most}"
    )
