"""The native evaluator of plans gives the answers of the Python that is written for a plan, or fails at the same rule."""

from __future__ import annotations

import copy
import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, cast

import pytest

from gateway.errors import PolicyBroken
from gateway.native.choice import Choice, chosen_core, use
from gateway.native.core import Core
from gateway.policy import folders, probes, trial
from gateway.policy.folders import PolicyFolders
from gateway.policy.plan import compile_process, forms, store, values
from gateway.policy.plan.functions import FUNCTIONS
from gateway.policy.plan.loading import Plans
from gateway.policy.plan.native import load_program
from gateway.policy.plan.program import Program
from gateway.policy.plan.values import EvaluationFailed, U
from gateway.policy.reload import PolicyFolder
from gateway.policy.trial import Trial
from tests.policy.twins import Twins

SHIPPED: Final = PolicyFolders(folders.find_shipped())
_TRUE, _ARRAY, _OBJECT = map(values.key, (True, [], {"a": [1]}))
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2, 2**63, -(2**64), Decimal(0), Decimal("1.0"), Decimal("0.5"), Decimal("1e3")),
    *("", "a", "b", "ab", "Aß", "0", "\U0001f600", "\uffff"),
    *([], [0], [1], [True], ["a"], ["b", "a"], [None], [[]], [Decimal("1.0")], [{"a": 1}], ["a", {"b": set[Any]()}]),
    *({}, {"a": 1}, {"a": True}, {"b": [], "a": "x"}, {0: "a"}, {_TRUE: 1}, {"a": {"b": 2}}, {_OBJECT: 1, "z": 2}),
    *(set[Any](), {"a"}, {"b", "a"}, {0}, {_TRUE}, {_ARRAY, 1}, {None}, {_OBJECT}),
)
_LONE: Final = ("count", "lower", "object.keys", "union", "max", "min", "type_name", "walk", "sum")
_THREE: Final = ("object.get", "substring")
_TWO: Final = tuple(
    sorted(forms.INLINE - {*_LONE, *_THREE} - {name for name in forms.INLINE if name.startswith("is_")})
)


def _local(number: int) -> dict[str, Any]:
    return {"type": "local", "value": number}


class _Plan:
    """A plan in the making: the statements of one rule, which is asked for by its entry."""

    def __init__(self) -> None:
        self.strings: list[str] = []

    def string(self, text: str) -> dict[str, Any]:
        if text not in self.strings:
            self.strings.append(text)
        return {"type": "string_index", "value": self.strings.index(text)}

    def field(self, source: int, name: str, target: int) -> dict[str, Any]:
        return _step("DotStmt", source=_local(source), key=self.string(name), target=target)

    def call(self, name: str, arguments: Sequence[int], result: int) -> dict[str, Any]:
        return _step("CallStmt", func=name, args=[*map(_local, arguments)], result=result)

    def encode(self, *blocks: list[dict[str, Any]], result: int, builtins: Iterable[str] = ()) -> bytes:
        rule = {
            "name": "g0.data.p",
            "params": [0, 1],
            "return": result,
            "path": ["g0", "p"],
            "blocks": [*({"stmts": block} for block in blocks), {"stmts": [_step("ReturnLocalStmt", source=result)]}],
        }
        made = [
            self.call("g0.data.p", (0, 1), 2),
            _step("MakeObjectStmt", target=3),
            _step("ObjectInsertStmt", key=self.string("result"), value=_local(2), object=3),
            _step("ResultSetAddStmt", value=3),
        ]
        plan = {
            "static": {
                "strings": [{"value": text} for text in self.strings],
                "builtin_funcs": [{"name": name} for name in builtins],
                "files": [{"value": "a.rego"}],
            },
            "plans": {"plans": [{"name": "e", "blocks": [{"stmts": made}]}]},
            "funcs": {"funcs": [rule]},
        }
        return json.dumps(plan).encode()


def _step(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "stmt": {**fields, "file": 0, "row": 7, "col": 1}}


def _twins(core: Core, plan: bytes, data: Any = None) -> Twins:
    code = compile_process.compile_plan(plan)
    return Twins(Program(code, data or {}), load_program(core, plan, data or {}))


def _answer(twins: Twins, document: object) -> Any:
    """Return the answer on which both agree, or the place of the failure."""
    try:
        return twins.answer("e", document)
    except EvaluationFailed as error:
        return ("failed", str(error))


def _function(name: str, many: int) -> bytes:
    """Return a plan that calls a function on fields of the input, and tells its value and the type of it."""
    plan = _Plan()
    fields = [plan.field(0, "abc"[place], 10 + place) for place in range(many)]
    wrapped = [
        plan.call(name, range(10, 10 + many), 20),
        plan.call("type_name", [20], 21),
        _step("MakeArrayStmt", capacity=2, target=5),
        _step("ArrayAppendStmt", value=_local(20), array=5),
        _step("ArrayAppendStmt", value=_local(21), array=5),
    ]
    return plan.encode([*fields, *wrapped], result=5, builtins={name, "type_name"})


def _documents(many: int) -> Iterator[dict[str, Any]]:
    chosen = VALUES if many < 3 else VALUES[::3]
    for given in itertools.product(chosen, repeat=many):
        yield dict(zip("abc", given, strict=False))


@pytest.mark.parametrize(
    ("name", "many"),
    [
        *((name, 1) for name in sorted(FUNCTIONS) if name.startswith("is_") or name in _LONE),
        *((name, 2) for name in (*_TWO, "array.concat", "object.remove", "object.filter", "object.union")),
        *((name, 3) for name in _THREE),
    ],
)
def test_a_function_has_the_same_value_on_operands_of_every_type(core: Core, name: str, many: int):
    twins = _twins(core, _function(name, many))

    for document in _documents(many):
        _answer(twins, document)


def _two_of(*steps: Callable[[_Plan], dict[str, Any]]) -> bytes:
    """Return a plan that tells if a block of statements on two fields of the input reaches its end, and with which local 20."""
    plan = _Plan()
    begun = [plan.field(0, "a", 10), plan.field(0, "b", 11), _step("ResetLocalStmt", target=5)]
    inner = [step(plan) for step in steps]
    ended = [
        _step("MakeArrayStmt", capacity=1, target=21),
        _step("ArrayAppendStmt", value=_local(20), array=21),
        _step("AssignVarOnceStmt", source=_local(21), target=5),
    ]
    nothing = [
        _step("IsUndefinedStmt", source=5),
        _step("MakeNullStmt", target=5),
    ]
    return plan.encode([*begun, _step("BlockStmt", blocks=[{"stmts": [*inner, *ended]}, {"stmts": nothing}])], result=5)


def _block(*found: dict[str, Any]) -> dict[str, Any]:
    return {"stmts": list(found)}


_GATHER: Final = (
    _step("ArrayAppendStmt", value=_local(30), array=20),
    _step("ArrayAppendStmt", value=_local(31), array=20),
)
STATEMENTS: Final[dict[str, tuple[Callable[[_Plan], dict[str, Any]], ...]]] = {
    "dot": (lambda _: _step("DotStmt", source=_local(10), key=_local(11), target=20),),
    "equal": (
        lambda _: _step("EqualStmt", a=_local(10), b=_local(11)),
        lambda _: _step("MakeSetStmt", target=20),
        lambda _: _step("SetAddStmt", value=_local(10), set=20),
    ),
    "not equal": (
        lambda _: _step("NotEqualStmt", a=_local(10), b=_local(11)),
        lambda _: _step("MakeObjectStmt", target=20),
        lambda _: _step("ObjectInsertStmt", key=_local(10), value=_local(11), object=20),
        lambda _: _step("ObjectInsertOnceStmt", key=_local(11), value=_local(10), object=20),
    ),
    "insert once": (
        lambda _: _step("MakeObjectStmt", target=20),
        lambda _: _step("ObjectInsertOnceStmt", key=_local(10), value=_local(11), object=20),
        lambda _: _step("ObjectInsertOnceStmt", key=_local(10), value=_local(10), object=20),
    ),
    "merge": (lambda _: _step("ObjectMergeStmt", a=10, b=11, target=20),),
    "length": (
        lambda _: _step("LenStmt", source=_local(10), target=20),
        lambda _: _step("IsArrayStmt", source=_local(11)),
    ),
    "once": (
        lambda _: _step("AssignVarOnceStmt", source=_local(10), target=20),
        lambda _: _step("AssignVarOnceStmt", source=_local(11), target=20),
    ),
    "scan": (
        lambda _: _step("MakeArrayStmt", capacity=0, target=20),
        lambda _: _step("ScanStmt", source=10, key=30, value=31, block=_block(*_GATHER)),
        lambda _: _step(
            "ScanStmt",
            source=11,
            key=30,
            value=31,
            block=_block(_step("EqualStmt", a=_local(30), b=_local(31)), *_GATHER),
        ),
    ),
    "not": (
        lambda _: _step("NotStmt", block=_block(_step("EqualStmt", a=_local(10), b=_local(11)))),
        lambda _: _step("IsObjectStmt", source=_local(10)),
        lambda _: _step("AssignVarStmt", source=_local(11), target=20),
    ),
    "with": (
        lambda plan: _step(
            "WithStmt",
            local=0,
            path=[plan.string("c")["value"], plan.string("d")["value"]],
            value=_local(11),
            block=_block(plan.field(0, "c", 12), _step("AssignVarStmt", source=_local(12), target=20)),
        ),
    ),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_statements_do_the_same_on_values_of_every_type(core: Core, name: str):
    twins = _twins(core, _two_of(*STATEMENTS[name]))

    for document in _documents(2):
        _answer(twins, document)


def test_no_answer_changes_a_constant_or_the_data(core: Core):
    plan = _Plan()
    written = plan.encode(
        [
            _step("MakeArrayStmt", capacity=1, target=10),
            _step("ArrayAppendStmt", value=plan.string("x"), array=10),
            plan.field(1, "d", 11),
            _step("MakeObjectStmt", target=12),
            _step("ObjectMergeStmt", a=11, b=12, target=13),
            _step("MakeArrayStmt", capacity=2, target=5),
            _step("ArrayAppendStmt", value=_local(10), array=5),
            _step("ArrayAppendStmt", value=_local(13), array=5),
        ],
        result=5,
    )
    data = {"d": {"k": ["v"]}}
    program = load_program(core, written, data)

    first = program.answer("e", {})
    kept = copy.deepcopy(first)
    first[0].append("changed")
    first[1]["k"].append("changed")

    assert program.answer("e", {}) == kept
    assert data == {"d": {"k": ["v"]}}


def test_an_input_in_the_place_of_another_is_read_anew(core: Core):
    twins = _twins(core, _two_of(*STATEMENTS["with"]))

    assert _answer(twins, {"a": 0, "b": 1, "c": {"d": 5, "e": 6}}) == [{"d": 1, "e": 6}]
    assert _answer(twins, {"a": 0, "b": 2}) == [{"d": 2}]


def test_answers_to_one_question_do_not_reach_the_next(core: Core):
    twins = _twins(core, _function("count", 1))

    assert [_answer(twins, {"a": ["x"] * size}) for size in (1, 3, 2)] == [[1, "number"], [3, "number"], [2, "number"]]
    assert _answer(twins, {}) is None
    assert _answer(twins, U) is None


def test_a_failure_names_the_rule(core: Core):
    twins = _twins(core, _function("count", 1))

    assert _answer(twins, {"a": 1}) == ("failed", "a.rego:7")


def test_an_endless_evaluation_fails_and_the_next_is_right(core: Core):
    plan = _Plan()
    own = plan.call("g0.data.p", (0, 1), 5)
    written = plan.encode([plan.field(0, "again", 9), own], result=5)
    program = load_program(core, written, {})

    with pytest.raises(EvaluationFailed, match=r"a\.rego:7"):
        program.answer("e", {"again": True})
    assert program.answer("e", {}) is None


def test_deeply_nested_values_fail_and_do_not_end_the_process(core: Core):
    twins = _twins(
        core, _two_of(*STATEMENTS["equal"][:1], lambda _: _step("AssignVarStmt", source=_local(10), target=20))
    )
    a: Any = []
    b: Any = []
    for _ in range(100_000):
        a, b = [a], [b]
    program = load_program(core, _two_of(*STATEMENTS["equal"][:1]), {})

    with pytest.raises(EvaluationFailed):
        program.answer("e", {"a": a, "b": b})
    assert _answer(twins, {"a": 1, "b": 1}) == [1]
    while a:
        a, b = a[0], b[0]


def test_threads_ask_one_program_at_once(core: Core):
    program = load_program(core, _function("walk", 1), {})
    document = {"a": [[index, {"x": [index]}] for index in range(200)]}
    expected = program.answer("e", document)
    found: list[bool] = []

    def ask() -> None:
        found.extend(program.answer("e", document) == expected for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [True] * 80


def _changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    plan = json.loads(_function("count", 1))
    change(plan)
    return json.dumps(plan).encode()


def _first(plan: dict[str, Any]) -> dict[str, Any]:
    return plan["funcs"]["funcs"][0]["blocks"][0]["stmts"][0]


UNKNOWN: Final[dict[str, Callable[[dict[str, Any]], None]]] = {
    "statement": lambda plan: _first(plan).update(type="OtherStmt"),
    "operand": lambda plan: _first(plan)["stmt"]["source"].update(type="number"),
    "string": lambda plan: _first(plan)["stmt"]["key"].update(value=99),
    "negative string": lambda plan: _first(plan)["stmt"]["key"].update(value=-1),
    "local": lambda plan: _first(plan)["stmt"].update(target="x"),
    "function": lambda plan: plan["funcs"]["funcs"][0]["blocks"][0]["stmts"][1]["stmt"].update(func="other"),
    "arguments": lambda plan: plan["plans"]["plans"][0]["blocks"][0]["stmts"][0]["stmt"].update(args=[]),
    "way out": lambda plan: _first(plan).update(type="BreakStmt", stmt={"index": 1}),
    "way out of a loop": lambda plan: _first(plan).update(
        type="ScanStmt", stmt={"source": 0, "key": 3, "value": 4, "block": _block(_step("BreakStmt", index=1))}
    ),
    "field": lambda plan: _first(plan)["stmt"].pop("target"),
    "twin": lambda plan: plan["funcs"]["funcs"].append(plan["funcs"]["funcs"][0]),
    "blocks": lambda plan: plan["funcs"]["funcs"][0].update(blocks=3),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_plan_with_anything_unknown_is_refused(core: Core, name: str):
    with pytest.raises(PolicyBroken, match="native core does not take the plan"):
        load_program(core, _changed(UNKNOWN[name]), {})


@pytest.fixture(scope="module")
def shipped(core: Core) -> Twins:
    plan = bytes(store.unpack(store.SHIPPED.read_bytes(), "shipped.plan").plan)
    data = values.read_json(folders.read_policy(SHIPPED).data)
    return Twins(Program(compile_process.compile_plan(plan), data), load_program(core, plan, data))


def _without_each(document: Any) -> Iterator[Any]:
    """Return an input without each of its fields in turn, and with another type in the place of each."""
    yield document
    for name, item in document.items():
        yield {key: value for key, value in document.items() if key != name}
        for other in (None, True, -1, "", [], {}, ["x"], {"x": 1}):
            yield {**document, name: other}
        if isinstance(item, dict):
            yield from ({**document, name: changed} for changed in _without_each(cast("dict[str, Any]", item)))


def test_the_shipped_policy_answers_as_in_python(shipped: Twins):
    asked = 0
    for probe in probes.of_fixtures():
        entry = f"gateway/{probe.entrypoint}/result"
        for document in itertools.islice(_without_each(probe.input), 0, 400, 7):
            asked += 1
            try:
                shipped.answer(entry, values.plain(document))
            except EvaluationFailed:
                continue
    assert asked > 100


@pytest.fixture
def native(core: Core) -> Iterator[Core]:
    """Have the gateway choose the core."""
    before = chosen_core()
    use(Choice(core))
    yield core
    use(Choice(before))


async def test_a_gateway_that_chose_the_core_decides_with_it(native: Core):
    tried: list[Trial] = []

    async def note(given: Trial) -> None:
        tried.append(given)

    folder = PolicyFolder(SHIPPED, deadline=5.0, monotonic=lambda: 0.0, plans=Plans(), trial=note)
    await folder.open()

    assert (folder.evaluator, folder.detour) == ("native", None)
    (given,) = tried
    assert given.native is not None
    await trial.require(given)
    reversed_effects = given.native.plan.replace(b'{"value":"deny"}', b'{"value":"allow"}')
    assert reversed_effects != given.native.plan
    with pytest.raises(PolicyBroken, match="native evaluator of the policy and regorus differ") as raised:
        await trial.require(replace(given, native=replace(given.native, plan=reversed_effects)))
    assert "core: python" in raised.value.remedy


class _Refusing:
    """A core that takes no plan."""

    def Program(self, *_: object) -> object:  # noqa: N802 - the name of the class in the core
        raise ValueError("the plan has a statement that the native evaluator does not know")


async def test_a_plan_that_the_core_does_not_take_is_evaluated_in_python_and_says_so():
    before = chosen_core()
    use(Choice(cast("Core", _Refusing())))
    try:
        folder = PolicyFolder(SHIPPED, deadline=5.0, monotonic=lambda: 0.0, plans=Plans())
        await folder.open()
    finally:
        use(Choice(before))

    assert folder.evaluator == "plan"
    assert "native core does not take the plan" in (folder.detour or "")
