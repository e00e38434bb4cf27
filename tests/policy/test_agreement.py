"""The compiled policy and a real OPA give the same answers: on generated policies, requests of the corpus, and changed fixtures.

A plan may fail where OPA does not: it asks a built-in function before a reference beside it, and OPA after it.
"""

from __future__ import annotations

import copy
import json
import random
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.model.decision import Decision
from gateway.model.wire import JsonObject
from gateway.policy import verdict
from gateway.surfaces.replay import replay
from tests.policy import compiled
from tests.policy.conftest import Engines, at, cases, put, take
from tests.policy.disguises import Raw, decisive, disguised
from tests.policy.test_fixtures import is_base, places
from tests.policy.test_incidents import TRACES, loaded, named

CASES = cases()

_POLICIES: Final = 150
_INPUTS: Final = 12
_REFS: Final = (
    "input.a",
    "input.b",
    "input.l",
    "input.o",
    "input.k",
    "input.o.x",
    "input.l[0]",
    "input.o[input.k]",
    "data.lib.d.x",
)
_LITERALS: Final = (
    "0",
    "1",
    "1.0",
    "true",
    "false",
    "null",
    '"x"',
    '""',
    "[]",
    "{}",
    "[1]",
    '{"x": 1}',
    "{1}",
    "set()",
    '{"x", 1}',
)
_LEAVES: Final[tuple[Any, ...]] = (None, True, False, 0, 1, 1.0, -1, 2, "", "x", "y", 0.5)


class _Writer:
    """Writes a random policy. Rules refer to rules before them."""

    def __init__(self, chance: random.Random, package: str) -> None:
        self._chance = chance
        self._package = package
        self._rules: list[str] = []
        self._functions: list[str] = []
        self._variables = 0

    def module(self) -> str:
        written = [self._rule(f"r{number}") for number in range(self._chance.randint(3, 7))]
        results = [f'out["{name}"] := {name}' for name in self._rules]
        return "\n\n".join([f"package {self._package}", "default never := false", *written, *results]) + "\n"

    def _rule(self, name: str) -> str:
        kind = self._chance.choice(["complete", "set", "object", "function", "default", "else", "several", "constant"])
        if kind == "function":
            self._functions.append(name)
            bodies = [
                f"{name}(x) := {self._term('x')} if {{ {self._body('x')} }}" for _ in range(self._chance.randint(1, 2))
            ]
            return "\n\n".join(bodies)
        written = getattr(self, f"_{kind}")(name)
        self._rules.append(name)
        return written

    def _complete(self, name: str) -> str:
        return f"{name} := {self._term()} if {{ {self._body()} }}"

    def _several(self, name: str) -> str:
        return "\n\n".join(f"{name} if {{ {self._body()} }}" for _ in range(3))

    def _constant(self, name: str) -> str:
        return f"{name} := {self._chance.choice(_LITERALS)}"

    def _set(self, name: str) -> str:
        return "\n\n".join(f"{name} contains {self._term()} if {{ {self._body()} }}" for _ in range(2))

    def _object(self, name: str) -> str:
        return f"{name}[x] := y if {{ some x, y in {self._term()}; {self._body('x')} }}"

    def _default(self, name: str) -> str:
        return f"default {name} := {self._chance.choice(_LITERALS[:9])}\n\n{self._complete(name)}"

    def _else(self, name: str) -> str:
        return f"{self._complete(name)} else := {self._term()} if {{ {self._body()} }} else := 7"

    def _body(self, *bound: str) -> str:
        return "; ".join(self._expression(*bound) for _ in range(self._chance.randint(1, 3)))

    def _term(self, *bound: str) -> str:
        wrapped = [f'object.get(input, "none", {found})' for found in (*_LITERALS, *self._rules)]
        found = [*_REFS, *_REFS, *_REFS, *wrapped, *bound, *bound, *bound]
        term = self._chance.choice(found)
        if self._chance.random() < 0.15:
            inner = self._fresh()
            return self._chance.choice(
                [
                    f"[{inner} | some {inner} in {term}]",
                    f"{{{inner} | some {inner} in {term}}}",
                    f"{{{inner}: {term} | some {inner} in input.l}}",
                    f"[{term}, {self._chance.choice(found)}]",
                    f'{{"x": {term}}}',
                    f"count({term})",
                    f"object.get(input, {term}, 3)",
                ]
            )
        return term

    def _fresh(self) -> str:
        self._variables += 1
        return f"v{self._variables}"

    def _expression(self, *bound: str) -> str:
        a, b, item, value = self._term(*bound), self._term(*bound), self._fresh(), self._fresh()
        called = f"{self._chance.choice(self._functions)}({a})" if self._functions else a
        named = self._chance.choice(self._rules or ["never"])
        return self._chance.choice(
            [
                f"{a} == {b}",
                f"{a} != {b}",
                f"{a} < {b}",
                f"{a} >= {b}",
                a,
                f"not {a}",
                f"not {a} == {b}",
                f"not {called}",
                called,
                f"{item} := {called}; {item} == {b}",
                f"some {item} in {a}; {item} == {b}",
                f"some {item}, {value} in {a}; {value} != {item}",
                f"every {item} in {a} {{ {item} != {b} }}",
                f"{a} in {b}",
                f"{item} := {a}[_]; {item} == {b}",
                f"{a}[{item}] == {b}",
                f"not {named}",
                f"{named} == {b} with input.a as {a}",
                f"{a} == {named}",
                f"not {named} with input as {{}}",
                f"walk({a}, [{item}, {value}]); {value} == {b}",
                f"count({a}) > 0",
                f"is_array({a})",
                f"not is_string({a})",
                f"[{item}, {value}] = {a}; {item} == {value}",
                f'{{"x": {item}}} = {a}; {item} == {b}',
            ]
        )


def _document(chance: random.Random, depth: int = 0) -> Any:
    draw = chance.random()
    if depth == 0:
        return {name: _document(chance, 1) for name in ("a", "b", "l", "o", "k") if chance.random() < 0.9}
    if depth > 2 or draw < 0.5:
        return chance.choice(_LEAVES)
    if draw < 0.75:
        return [_document(chance, depth + 1) for _ in range(chance.randint(0, 3))]
    return {chance.choice(["x", "y", "a", ""]): _document(chance, depth + 1) for _ in range(chance.randint(0, 3))}


@pytest.mark.opa
def test_generated_policies_answer_as_in_opa(opa_path: Path, tmp_path: Path):
    chance = random.Random(20261128)
    folder = tmp_path / "policy"
    for number in range(_POLICIES):
        target = folder / f"c{number}"
        target.mkdir(parents=True)
        (target / "policy.rego").write_text(_Writer(chance, f"c{number}").module(), "utf-8")
    (folder / "lib").mkdir()
    (folder / "lib/data.json").write_text('{"lib": {"d": {"x": [1, "x", null]}}}', "utf-8")
    (folder / "lib/data.json").rename(folder / "data.json")
    (folder / "lib").rmdir()
    good = sorted(name for name in compiled.keep_good(opa_path, folder) if name.startswith("c"))
    plan, data = compiled.plan_of(opa_path, folder, [f"{name}/out" for name in good])

    differing: list[tuple[str, object, object, object]] = []
    with compiled.serving(opa_path, folder, compiled.compiled(plan, data)) as both:
        for name in good:
            for _ in range(_INPUTS):
                document = _document(chance)
                answers = both.opa(f"{name}/out", document), both.plan(f"{name}/out", document)
                if not compiled.same(*answers) and answers[1] != compiled.ERROR:
                    differing.append((name, document, *answers))

    assert differing == [], (folder / f"{differing[0][0]}/policy.rego").read_text("utf-8")
    assert len(good) > _POLICIES / 2


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-10, 10)
    | st.sampled_from(
        ["", "*", "..", "a/../b", "http://127.0.0.1/", "http://0x7f.1/x", "//h", "1:2", "[::", "a@b", "%2e%2e/"]
    )
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.opa
@pytest.mark.parametrize("trace", TRACES, ids=named)
async def test_both_agree_on_each_request_of_the_corpus(trace: Raw, engines: dict[str, Engines]):
    """Documents are made as for a call: by the inspector, the history and `document.decision`."""
    asked, supported = 0, frozenset(SUPPORTED_OBLIGATIONS)

    async def decide(document: JsonObject) -> Decision:
        nonlocal asked
        asked += 1
        return verdict.read_decision(await engines["shipped"].both("decision", dict(document)), supported)

    variants = [trace] if decisive(trace) is None else [trace, *(made for _, made in disguised(trace))]
    for assume in ("refused", "forwarded"):
        async for _ in replay(map(loaded, variants), decide, assume=assume):
            pass

    assert asked >= 2 * len(variants)


@pytest.mark.opa
async def test_both_agree_on_every_missing_fact(engines: dict[str, Engines]):
    """Each value of each place is taken from the first call that has it: most calls share all values but a few."""
    taken = set[tuple[str, str, str]]()
    for case in CASES:
        if case.name.startswith(("allow", "ask", "visible: what")):
            for pointer in places(case.input):
                fact = (case.policy, pointer, json.dumps(at(case.input, pointer)))
                if fact not in taken:
                    taken.add(fact)
                    document = copy.deepcopy(case.input)
                    take(document, pointer)
                    await engines[case.policy].both(case.entrypoint, document)


@pytest.mark.opa
@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
async def test_both_agree_on_mutated_inputs(engines: dict[str, Engines], data: st.DataObject):
    case = data.draw(st.sampled_from(CASES))
    document = copy.deepcopy(case.input)
    for _ in range(data.draw(st.integers(1, 3))):
        pointer = data.draw(st.sampled_from(sorted(places(document))))
        put(document, pointer, data.draw(ANYTHING))

    answer = await engines[case.policy].both(case.entrypoint, document, typed=False)

    assert answer is not None


@pytest.mark.opa
async def test_both_agree_on_replaced_facts(engines: dict[str, Engines]):
    """Each field of one allowed call for each effect gets two of eight values"""
    eight: list[Any] = [None, True, 0, -1.5, "", "x", {}, []]
    values = cycle(eight)
    for base in ("read", "write", "mail"):
        case = next(case for case in CASES if case.name.startswith("allow") and is_base(case, base))
        for pointer in places(case.input):
            for value in islice(values, 2):
                document = copy.deepcopy(case.input)
                put(document, pointer, value)
                await engines[case.policy].both(case.entrypoint, document, typed=False)
