"""The processor time that a policy takes for its probes, and the slowest rule of a policy that takes too long.

A probe asks for a grant's own target as the grant's own caller. Arguments that fit all conditions of the grant reach the last
condition. Long arguments that fit no regular expression reach all grants of the target. A list is asked for each upstream.
The thread's processor time is measured, and the best of several runs counts: other work on the machine adds to neither.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, cast

from msgspec import structs

from gateway.base.json.walk import split_pointer
from gateway.model import reasons
from gateway.model.call import ActionName, Call, Context
from gateway.model.caller import AuthMethod, Principal, User
from gateway.model.errors import PolicyBroken, PolicyError
from gateway.model.facts import SessionFacts, TaskLabels
from gateway.model.target import Effect, Labels, Pin, Role, Sensitivity, Target
from gateway.model.task import Task
from gateway.model.wire import Json, JsonObject
from gateway.policy import document, verdict
from gateway.policy.plan.program import FILE, CompiledPolicy
from gateway.policy.trials import load_checks

LIST_LENGTH: Final = 64
"""Entries of a list that the gateway asks about at a time."""
_LONG: Final = "~" * 512
"""A text that hardly any expression matches."""
_ITEMS: Final = 4
"""Items of a list argument."""
_POINTERS: Final = 32
"""Arguments of a call for all grants of an upstream."""
_KINDS: Final[Mapping[str, tuple[Literal["tool", "resource", "prompt"], ActionName]]] = {
    "tools": ("tool", "tools/call"),
    "resources": ("resource", "resources/read"),
    "prompts": ("prompt", "prompts/get"),
}
_CONTEXT: Final = Context(0.0, "0" * 32, "192.0.2.1", "probe", Task("probe", "implicit", opened=0.0))


@dataclass(frozen=True, slots=True)
class PlacedGrant:
    """A grant and its place: the upstream under which it stands, and its number there, from 0."""

    upstream: str
    index: int
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.upstream!r}, grant {self.index + 1} ({self.fields.get('id', 'without an id')})"


@dataclass(frozen=True, slots=True)
class Probe:
    """A question, in words and as a policy input. `grants` are the grants that it could be about."""

    words: str
    entrypoint: Literal["decision", "visibility", "leases"]
    input: JsonObject
    grants: tuple[PlacedGrant, ...] = ()


def grants_in(data: object) -> dict[str, list[PlacedGrant]]:
    """Return the grants in the data of a policy, by upstream. Entries that are no mappings are left out."""
    upstreams: object = data
    for key in ("gateway", "grants", "upstreams"):
        upstreams = cast("dict[str, object]", upstreams).get(key) if isinstance(upstreams, dict) else None
    listed = cast("dict[str, object]", upstreams) if isinstance(upstreams, dict) else {}
    return {
        name: [
            PlacedGrant(name, index, cast("dict[str, Any]", item))
            for index, item in enumerate(cast("list[object]", found))
            if isinstance(item, dict)
        ]
        for name, found in listed.items()
        if isinstance(found, list)
    }


def probes(grants: Mapping[str, Sequence[PlacedGrant]]) -> Iterator[Probe]:
    """Return the questions about grants: a call with much of everything, then calls for each grant.

    Upstreams take turns, and grants with many conditions come first.
    """
    yield _full_call()
    order = sorted(grants, key=lambda name: -sum(map(conditions, grants[name])))
    waiting = [_of_upstream(name, grants) for name in order]
    while waiting:
        left: list[Iterator[Probe]] = []
        for upstream in waiting:
            probe = next(upstream, None)
            if probe is not None:
                yield probe
                left.append(upstream)
        waiting = left


def of_fixtures() -> Iterator[Probe]:
    """Return the questions that a gateway asks on its event loop before a policy comes into force."""
    for asked in load_checks.CALLS:
        yield Probe("a call of the fixtures", "decision", asked)
    yield Probe("a list of the fixtures", "visibility", load_checks.LIST)
    yield Probe("a call on an empty input", "decision", load_checks.HOSTILE)
    yield Probe("a list on an empty input", "visibility", load_checks.HOSTILE)
    # A new revision asks about each task with leases, on the event loop.
    yield Probe("a question about leases", "leases", load_checks.LEASES)


def conditions(grant: PlacedGrant) -> int:
    """Return how many conditions a grant has."""
    when = grant.fields.get("when")
    return len(cast("dict[str, Any]", when)) if isinstance(when, dict) else 0


def _of_upstream(upstream: str, grants: Mapping[str, Sequence[PlacedGrant]]) -> Iterator[Probe]:
    near = (*grants[upstream], *(grants.get("*", ()) if upstream != "*" else ()))
    shared = _shared_arguments(near)
    for number, grant in enumerate(sorted(grants[upstream], key=conditions, reverse=True)):
        for action, target in _targets(grant):
            yield from _of_calls(grant, action, target, near, shared)
        if number == 0:
            yield from _of_lists(upstream, near)


def _of_calls(
    grant: PlacedGrant, action: ActionName, target: Target, near: tuple[PlacedGrant, ...], shared: JsonObject
) -> Iterator[Probe]:
    seen: list[JsonObject] = []
    for arguments in (_arguments(grant, _holding), _arguments(grant, _failing), shared):
        if arguments not in seen:
            seen.append(arguments)
            asked = document.decision(_caller(grant), Call(action, target, arguments), _CONTEXT, _FACTS)
            yield Probe(f"{action} of {target.id}", "decision", asked, near)


def _of_lists(upstream: str, near: tuple[PlacedGrant, ...]) -> Iterator[Probe]:
    targets = {target.id: target for grant in near for _, target in _targets(replace(grant, upstream=upstream))}
    if targets:
        asked = document.visibility(_caller(near[0]), tuple(targets.values())[:LIST_LENGTH], _CONTEXT, _FACTS)
        yield Probe(f"a list of {upstream}", "visibility", asked, near)


def _full_call() -> Probe:
    arguments: JsonObject = {f"a{number}": [_LONG] * _ITEMS for number in range(_POINTERS)}
    roles = {f"/a{number}": role for number, role in enumerate(Role)}
    target = Target("tool", "probe", "probe", "probe", labels=Labels(effect=Effect.WRITE, roles=roles), pin=Pin.MATCH)
    names = frozenset(f"probe-{number}" for number in range(_POINTERS))
    facts = structs.replace(
        _FACTS,
        audiences=names,
        write_audiences=names,
        audiences_in_window=names,
        call_destinations=tuple(sorted(names)),
        ungrounded=tuple(roles),
    )
    asked = document.decision(_caller(_NO_GRANT), Call("tools/call", target, arguments), _CONTEXT, facts)
    return Probe("tools/call with many long arguments", "decision", asked)


# --- who and what ------------------------------------------------------------------------------------

_FACTS: Final = SessionFacts(
    calls=1,
    in_flight=1,
    audiences=frozenset({"probe"}),
    write_audiences=frozenset(),
    tenants=frozenset(),
    environments=frozenset({"development"}),
    denials=0,
    audiences_in_window=frozenset({"probe"}),
    destinations=0,
    call_destinations=(),
    depth=0,
    spread=0,
    credentials=(),
    labels=TaskLabels(untrusted=False, confidentiality=Sensitivity.PUBLIC),
    ungrounded=(),
    followed=(),
    approvals_used=0,
)


_NO_GRANT: Final = PlacedGrant("probe", 0, {})


def _caller(grant: PlacedGrant) -> Principal:
    """Return a caller for whom the grant is."""
    method = AuthMethod.JWT
    with suppress(ValueError):
        method = AuthMethod(_first(grant, "auth_methods", "jwt"))
    user = User(_name_of(_first(grant, "users", "probe")), tuple(_texts(grant, "groups"))[:1])
    return Principal(
        _name_of(_first(grant, "agents", "probe")),
        _name_of(_first(grant, "issuers", "probe")),
        method,
        scopes=frozenset(_texts(grant, "scopes")),
        user=user,
        bound=True,
    )


def _targets(grant: PlacedGrant) -> Iterator[tuple[ActionName, Target]]:
    """Return targets that a grant names, one for each of its patterns, and the action on each."""
    upstream = "probe" if grant.upstream == "*" else grant.upstream
    effect, sensitivity = Effect.READ, Sensitivity.INTERNAL
    with suppress(ValueError):
        effect = Effect(_first(grant, "effects", "read"))
    with suppress(ValueError):
        sensitivity = Sensitivity(str(grant.fields.get("sensitivity", "internal")))
    for field, (kind, action) in _KINDS.items():
        for pattern in _texts(grant, field):
            target = Target(
                kind,
                upstream,
                _name_of(pattern),
                "probe",
                tenant=_first(grant, "tenants", "") or None,
                environment=_first(grant, "environments", "development"),
                labels=Labels(effect=effect, egress=False, sensitivity=sensitivity),
                pin=None if kind == "resource" else Pin.MATCH,
            )
            yield action, target


def _texts(grant: PlacedGrant, field: str) -> Iterator[str]:
    found = grant.fields.get(field)
    yield from (
        item for item in cast("list[object]", found if isinstance(found, list) else []) if isinstance(item, str)
    )


def _first(grant: PlacedGrant, field: str, default: str) -> str:
    return next(_texts(grant, field), default)


def _name_of(pattern: str) -> str:
    """Return a name that a pattern names."""
    return pattern.replace("*", "x", 1)


# --- arguments ---------------------------------------------------------------------------------------


def _shared_arguments(near: Sequence[PlacedGrant]) -> JsonObject:
    """Return long arguments at the places that the grants of an upstream look at."""
    arguments: dict[str, Json] = {}
    for grant in near:
        for pointer, condition in _conditions_of(grant):
            if len(arguments) < _POINTERS:
                _put(arguments, pointer, _failing(condition))
    return arguments


def _arguments(grant: PlacedGrant, value: Callable[[Mapping[str, Any]], Json]) -> JsonObject:
    arguments: dict[str, Json] = {}
    for pointer, condition in _conditions_of(grant):
        if "absent" not in condition:
            _put(arguments, pointer, value(condition))
    return arguments


def _conditions_of(grant: PlacedGrant) -> Iterator[tuple[str, Mapping[str, Any]]]:
    when = grant.fields.get("when")
    for pointer, condition in cast("dict[str, Any]", when if isinstance(when, dict) else {}).items():
        if isinstance(condition, dict):
            yield pointer, cast("dict[str, Any]", condition)


def _put(arguments: dict[str, Json], pointer: str, value: Json) -> None:
    """Put a value at the place of a JSON pointer, into objects. Where another value stands, nothing changes."""
    steps = split_pointer(pointer)
    here = arguments
    for step in steps[:-1]:
        inner = here.setdefault(step, {})
        if not isinstance(inner, dict):
            return
        here = inner
    if steps:
        here.setdefault(steps[-1], value)


def _failing(condition: Mapping[str, Any]) -> Json:
    """Return a long value that the condition hardly holds for: as many items as it lets pass."""
    limit = condition.get("max_items", _ITEMS)
    return [_LONG] * max(1, min(limit, _ITEMS)) if isinstance(limit, int) else _LONG


def _holding(condition: Mapping[str, Any]) -> Json:
    """Return a value that the condition holds for, as far as its tests agree."""
    if "equals" in condition:
        return condition["equals"]
    listed, pattern, folder, hosts = (condition.get(name) for name in ("one_of", "matches", "under", "host_in"))
    if isinstance(listed, list) and listed:
        return cast("list[Json]", listed)[0]
    if isinstance(pattern, str):
        return _LONG
    if isinstance(folder, str):
        return f"{folder.rstrip('/')}/probe"
    if isinstance(hosts, list) and hosts and isinstance(host := cast("list[object]", hosts)[0], str):
        return f"https://{_name_of(host)}/"
    bound = condition.get("min", condition.get("max", "probe"))
    return bound if isinstance(bound, int | float) else "probe"


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
    for probe in probes(grants_in(json.loads(data))):
        costs.append(_Cost(_measure_once(policy, probe), probe))
        if costs[-1].seconds > limit:
            _require_within(costs[-1], policy, limit)
        if time.thread_time() > end:
            break
    for cost in _to_measure_closely(costs):
        _require_within(cost, policy, limit)
    for probe in of_fixtures():
        if (seconds := _measure_once(policy, probe)) > limit:
            _require_within(_Cost(seconds, probe), policy, limit)


def _to_measure_closely(costs: Sequence[_Cost]) -> Iterable[_Cost]:
    slowest = sorted(costs, key=lambda cost: -cost.seconds)[:_CLOSELY]
    most = sorted(costs, key=lambda cost: -sum(map(conditions, cost.probe.grants)))
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
    most, count = max(probe.grants, key=conditions), len(probe.grants)
    looked = "one grant" if count == 1 else f"{count} grants"
    return (
        f"the slowest rule is at {place}; it looks at {looked}; the grant with the most conditions is upstream {most}"
    )
