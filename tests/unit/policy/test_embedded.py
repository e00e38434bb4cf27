from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.errors import PolicyBroken, PolicyError, PolicyInput, PolicyLate, PolicyMalformed, PolicyUnavailable
from gateway.policy import bundle, embedded
from gateway.policy.embedded import Embedded
from gateway.policy.folders import find_shipped

FIGURES = logging.getLogger("figures")
Tree = Callable[[dict[str, str]], Path]

AGENT = b'{"subject": {"id": "spiffe://corp/agent/triage"}}'
STRANGER = b'{"subject": {"id": "spiffe://corp/agent/other"}}'


def _engine(folder: Path, *, deadline: float = 60.0, ticks: tuple[float, ...] = ()) -> Embedded:
    times = iter(ticks)
    return Embedded(bundle.read_folder(folder), deadline=deadline, thread_time=lambda: next(times, 0.0))


def _decision(result: str) -> dict[str, str]:
    return {"gateway/decision/decision.rego": f"package gateway.decision\n\n{result}\n"}


async def _effect(engine: Embedded, document: bytes) -> object:
    return cast("dict[str, Any]", await engine.evaluate("decision", document))["effect"]


async def test_it_answers_both_questions(tree: Tree):
    engine = _engine(tree({}))

    assert await _effect(engine, AGENT) == "allow"
    assert await _effect(engine, STRANGER) == "deny"
    assert await engine.evaluate(
        "visibility", b'{"subject": {"id": "spiffe://corp/agent/triage"}, "resources": [{"id": "a"}]}'
    ) == {"version": 1, "visible": ["a"]}
    assert engine.revision == bundle.read_folder(tree({})).revision


async def test_undefined_is_no_answer(tree: Tree):
    engine = _engine(tree(_decision('result := {"effect": "allow"} if input.arguments.nope')))

    assert await engine.evaluate("decision", AGENT) is None


@pytest.mark.parametrize("value", ['"allow"', "true", "null", "1", '["allow"]', '{"allow", "deny"}'])
async def test_anything_but_an_object_is_malformed(tree: Tree, value: str):
    engine = _engine(tree(_decision(f"result := {value}")))

    with pytest.raises(PolicyMalformed, match="not an object"):
        await engine.evaluate("decision", AGENT)


FAMILY = """package gateway.denials.tickets

denials contains finding if some finding in input.arguments.findings

asks contains finding if some finding in input.arguments.asks
"""


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ('{"findings": [{"code": "a/b"}], "asks": [{"code": "a/b"}]}', None),
        ('{"findings": [{"code": "a/b"}, {"facts": []}]}', "denials"),
        ('{"findings": ["a/b"]}', "denials"),
        ('{"asks": [{"code": 7}]}', "asks"),
        ('{"asks": [{"code": "b"}]}', "asks"),
    ],
)
def test_the_rule_that_gives_a_finding_without_a_code_is_known(tree: Tree, arguments: str, rule: str | None):
    findings = "union({data.gateway.denials.tickets.denials, data.gateway.denials.tickets.asks})"
    family = {"gateway/denials/tickets/tickets.rego": FAMILY, "gateway/denials/other/other.rego": LIMITED}
    engine = _engine(
        tree(_decision(f'result := {{"findings": {findings}, "more": data.gateway.denials.other.denials}}') | family)
    )

    found = engine.malformed_rule(f'{{"arguments": {arguments}}}'.encode())

    assert found == (rule and f"data.gateway.denials.tickets.{rule}")


LIMITED = 'package gateway.denials.other\n\ndenials contains {"code": "other/x"} if input.session.calls > 3\n'


async def test_the_text_that_means_undefined_is_no_answer_either(tree: Tree):
    engine = _engine(tree(_decision('result := "<undefined>"')))

    assert await engine.evaluate("decision", AGENT) is None


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"\xff", b'{"x": NaN}', b'{"x": "\\ud800"}', b"[" * 200 + b"]" * 200, AGENT + b"x"],
)
async def test_after_a_refused_input_nothing_of_the_input_before_is_left(tree: Tree, document: bytes):
    engine = _engine(tree({}))
    assert await _effect(engine, AGENT) == "allow"

    with pytest.raises(PolicyUnavailable, match="could not be evaluated"):
        await engine.evaluate("decision", document)

    assert await _effect(engine, b"{}") == "deny"
    assert await _effect(engine, AGENT) == "allow"


async def test_a_failed_evaluation_names_the_rule_and_quotes_nothing_of_the_call(tree: Tree):
    rule = 'result := {"a": time.parse_rfc3339_ns(input.arguments.secret)}'
    engine = _engine(tree(_decision('default result := {"effect": "deny"}\n\n' + rule + " if input.arguments.secret")))

    with pytest.raises(PolicyUnavailable) as raised:
        await engine.evaluate("decision", b'{"arguments": {"secret": "hunter2"}}')

    assert "hunter2" not in f"{raised.value.message} {raised.value.remedy}"
    assert "backtrace" not in raised.value.message
    assert await _effect(engine, b"{}") == "deny"


async def test_two_values_of_one_rule_are_a_failure_and_named_by_line(tree: Tree):
    conflict = (
        'result := {"a": 1} if input.arguments.x\n\nresult := {"a": 2} if input.arguments.x\n\ndefault result := {}'
    )
    engine = _engine(tree(_decision(conflict)))

    with pytest.raises(PolicyUnavailable, match=r"at gateway/decision/decision\.rego:\d+ on this call"):
        await engine.evaluate("decision", b'{"arguments": {"x": 1}}')


async def test_an_answer_after_the_deadline_is_late(tree: Tree):
    engine = _engine(tree({}), deadline=0.25, ticks=(10.0, 10.25, 20.0, 20.3))

    assert await _effect(engine, AGENT) == "allow"
    with pytest.raises(PolicyLate, match="took 300 ms of processor time, longer than its 250 ms"):
        await engine.evaluate("decision", AGENT)


@pytest.mark.parametrize(("seconds", "late"), [(0.0, False), (0.3, True)])
async def test_only_the_work_of_the_engine_counts_and_not_the_wait_for_a_processor(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, seconds: float, *, late: bool
):
    """A machine that is busy with something else makes no call late."""
    engine = Embedded(bundle.read_folder(tree({})), deadline=0.25)
    run = engine._run

    def slow(rule: str, document: bytes) -> str:
        threading.Event().wait(0.3)
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass
        return run(rule, document)

    monkeypatch.setattr(engine, "_run", slow)
    if late:
        with pytest.raises(PolicyLate, match="of processor time"):
            await engine.evaluate("decision", AGENT)
    else:
        assert await _effect(engine, AGENT) == "allow"


async def test_an_input_beyond_the_bound_is_refused_before_the_engine_sees_it(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(embedded, "MAX_INPUT", len(AGENT))
    engine = _engine(tree({}))

    assert await _effect(engine, AGENT) == "allow"
    with pytest.raises(PolicyInput, match="larger than"):
        await engine.evaluate("decision", AGENT + b" ")


def test_a_module_that_cannot_be_read_leaves_no_engine_behind_for_another_thread_to_end(
    monkeypatch: pytest.MonkeyPatch,
):
    class Unreadable:
        @staticmethod
        def add_policy(path: str, rego: str) -> None:
            raise RuntimeError("expecting `package`")

    made: list[weakref.ref[Unreadable]] = []

    def new() -> Unreadable:
        engine = Unreadable()
        made.append(weakref.ref(engine))
        return engine

    monkeypatch.setattr(embedded, "new", new)
    with pytest.raises(RuntimeError) as caught:
        list(embedded.trees([("broken.rego", "foo {")]))

    assert caught.tb is not None
    assert [engine() for engine in made] == [None]


async def test_another_thread_is_refused_and_the_engine_lives_on(tree: Tree):
    engine = _engine(tree({}))
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(engine.evaluate("decision", AGENT))  # type: ignore[arg-type] - a coroutine it is
        except BaseException as error:  # noqa: BLE001 - a panic would be no Exception
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()

    assert [type(error) for error in caught] == [PolicyUnavailable]
    assert await _effect(engine, AGENT) == "allow"


class PanicException(BaseException):
    """By the name of the engine's own, which cannot be imported."""


@pytest.mark.parametrize("error", [PanicException("assertion failed: hunter2"), RuntimeError("x"), TypeError("x")])
async def test_a_panic_is_a_refusal_and_the_engine_is_replaced(tree: Tree, error: BaseException):
    engine = _engine(tree({}))
    _replace(engine, error)

    with pytest.raises(PolicyUnavailable) as raised:
        await engine.evaluate("decision", AGENT)

    assert "hunter2" not in raised.value.message
    assert await _effect(engine, AGENT) == "allow"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError(), MemoryError()])
async def test_what_is_not_the_engines_failure_goes_on(tree: Tree, error: BaseException):
    engine = _engine(tree({}))
    _replace(engine, error)

    with pytest.raises(type(error)):
        await engine.evaluate("decision", AGENT)

    assert await _effect(engine, AGENT) == "allow"


async def test_an_answer_that_is_not_json_is_malformed(tree: Tree):
    engine = _engine(tree({}))
    _replace(engine, None)

    with pytest.raises(PolicyMalformed, match="not JSON"):
        await engine.evaluate("decision", AGENT)


def _replace(engine: Embedded, error: BaseException | None) -> None:
    cast("Any", engine)._engine = _Failing(error)


class _Failing:
    """Stands for an engine in a state that no input reaches today."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    def set_input_json(self, _: str) -> None:
        if self._error is not None:
            raise self._error

    def eval_rule_as_json(self, _: str) -> str:
        return "rubbish"

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (_decision("result := "), r"gateway/decision/decision\.rego:\d+: expecting expression"),
        (_decision("result := x"), r"gateway/decision/decision\.rego:3: .*unsafe"),
        (_decision("result := y if { y := a }\n\na := result"), "."),
        (_decision('result := http.send({"url": "x"})'), r"decision\.rego:3: the built-in function http\.send"),
        (_decision('result := {"a": 1} if { input.a } { input.b }'), "second body"),
        ({"gateway/decision/decision.rego": ""}, "valid rule path"),
        ({"gateway/visibility/visibility.rego": ""}, "valid rule path"),
        ({".manifest": '{"roots": ["gateway"]}', "other.rego": "package other\n\nx := 1\n"}, "outside the roots"),
        ({"old.rego": "package gateway.old\n\nx { true }\n"}, r"old\.rego:3"),
    ],
)
def test_a_policy_that_cannot_be_put_into_force_is_refused_at_load(tree: Tree, files: dict[str, str], problem: str):
    with pytest.raises(PolicyBroken, match=problem) as raised:
        _engine(tree(files))

    assert "backtrace" not in raised.value.message
    assert "\n" not in raised.value.message
    assert raised.value.remedy
    assert isinstance(raised.value, PolicyError)


def test_what_is_not_the_engines_failure_goes_on_at_load(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded.syntax, "parse_module", interrupted)

    with pytest.raises(KeyboardInterrupt):
        _engine(tree({}))


async def test_the_answer_is_the_same_document_whatever_was_asked_before(tree: Tree):
    engine = _engine(tree({}))
    first = json.dumps(await engine.evaluate("decision", STRANGER))

    for document in (AGENT, b"{}", AGENT):
        await engine.evaluate("decision", document)

    assert json.dumps(await engine.evaluate("decision", STRANGER)) == first


async def test_what_is_loaded_gradually_is_what_is_loaded_at_once(tree: Tree):
    folder = tree({})
    gradual = await Embedded.gradually(bundle.read_folder(folder), deadline=60.0)

    assert gradual.revision == _engine(folder).revision
    assert [await _effect(gradual, document) for document in (AGENT, STRANGER)] == ["allow", "deny"]
    for broken in (_decision("result := "), _decision("result := x"), _decision('result := http.send({"url": "x"})')):
        with pytest.raises(PolicyBroken, match=r"decision\.rego:\d") as raised:
            await Embedded.gradually(bundle.read_folder(tree(broken)), deadline=60.0)
        assert raised.value.remedy


def test_no_step_of_loading_the_shipped_policy_keeps_calls_waiting_for_long():
    """Seconds of this thread, so that a busy machine says nothing."""
    steps = iter(embedded._LoadingSteps(bundle.read_folder(find_shipped())))
    took: list[float] = []
    done = False
    while not done:
        begun = time.thread_time()
        done = next(steps, StopIteration) is StopIteration
        took.append(time.thread_time() - begun)

    FIGURES.info("the policy is loaded in %d steps, the longest %.1f ms", len(took), 1000 * max(took))
    assert max(took) < 0.1
