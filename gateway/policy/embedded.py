"""Rego inside the gateway: the regorus engine behind a wrapper that checks each of its answers.

The faults of the engine, and the measures against them:

- Its answer for "undefined" is the text `<undefined>`. The wrapper refuses all but an object.
- After a failed `set_input_json` it keeps the earlier input. After a failure the wrapper throws it away, and clones the pristine engine.
- A panic is a `BaseException`, also for a use from another thread. The wrapper checks the thread first, and raises `PolicyUnavailable`.
- It finds a missing function only at a call. `dialect.py` looks through the policy at load.
- A running evaluation cannot be interrupted, and holds the event loop. `PolicyLate` is raised after its end. The size of the input
  (`MAX_INPUT`) bounds it, with regular expressions in linear time and built-ins of bounded cost. A policy with quadratic loops is quadratic
  here too; the fixtures at load and the metrics show it.

`eval_rule_as_json` costs 20 to 30 µs less than `eval_query_as_json`. For one entrypoint both give the same object.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, Literal

import msgspec

from gateway.background import in_thread
from gateway.errors import PolicyBroken, PolicyError, PolicyInput, PolicyLate, PolicyMalformed, PolicyUnavailable
from gateway.policy import bundle as bundles
from gateway.policy import dialect, findings, path_check, shadowing, syntax, verdict
from gateway.policy.bundle import Bundle
from gateway.policy.engine import Engine, is_failure, new
from gateway.policy.problems import DataFile
from gateway.policy.syntax import Module, Problem

Entrypoint = Literal["decision", "visibility", "leases", "explanation"]
"""The questions. A policy may lack the last two: without `leases`, each new revision ends all leases."""

MAX_INPUT: Final = 8 * 2**20
"""Bytes of one policy input. Twice the default limit of a request."""

_RULES: Final[dict[Entrypoint, str]] = {
    "decision": "data.gateway.decision.result",
    "visibility": "data.gateway.visibility.result",
    "leases": "data.gateway.leases.result",
    "explanation": "data.gateway.explanation.result",
}
_AT_LOAD: Final[tuple[Entrypoint, ...]] = ("decision", "visibility")
_PLACE = re.compile(r"--> (?P<file>.+?):(?P<line>\d+):(?P<column>\d+)")
_PROBLEM = re.compile(r"^error: (?P<text>.+)$", re.MULTILINE)


class Embedded:
    """One loaded policy. The thread of an instance alone uses it. A changed policy is another instance.

    `deadline` is in seconds of `thread_time`, the processor time of the thread. An evaluation waits for nothing, so further time
    belongs to other work of the machine.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        deadline: float,
        thread_time: Callable[[], float] = time.thread_time,
        loaded: _LoadingSteps | None = None,
    ) -> None:
        """Raises `PolicyBroken`, naming file and line, if the policy cannot be loaded."""
        self.revision = bundle.revision
        self._deadline = deadline
        self._thread_time = thread_time
        self._thread = threading.get_ident()
        self._pristine = _load(bundle) if loaded is None else loaded.engine
        self._engine = self._pristine.clone()

    @classmethod
    async def gradually(
        cls,
        bundle: Bundle,
        *,
        deadline: float,
        thread_time: Callable[[], float] = time.thread_time,
        is_checked: bool = False,
    ) -> Embedded:
        """Load a policy in steps, between which the event loop goes on. A thread makes the checks, unless they were made.

        Raise `PolicyBroken`.
        """
        if not is_checked and (fault := await in_thread(partial(_fault, bundle))) is not None:
            raise fault
        steps = _LoadingSteps(bundle)
        for _ in steps:
            await asyncio.sleep(0)
        return cls(bundle, deadline=deadline, thread_time=thread_time, loaded=steps)

    async def evaluate(self, entrypoint: Entrypoint, document: bytes) -> object:
        """Return the engine's answer to one input, decoded: an object, or `None` for undefined.

        Raises `PolicyInput`, `PolicyUnavailable`, `PolicyMalformed` or `PolicyLate`.
        """
        begun = self._thread_time()
        answer = self.answer(entrypoint, document)
        took = self._thread_time() - begun
        if took > self._deadline:
            raise PolicyLate.after(took, self._deadline)
        return answer

    def answer(self, entrypoint: Entrypoint, document: bytes) -> object:
        """Return the same without a deadline."""
        if threading.get_ident() != self._thread:
            raise PolicyUnavailable("the policy engine was used from another thread", "report this as a defect")
        if len(document) > MAX_INPUT:
            raise PolicyInput(f"the policy input is larger than {MAX_INPUT >> 20} MiB", "send smaller arguments")
        rule = _RULES[entrypoint]
        if entrypoint not in _AT_LOAD and rule.removesuffix(".result") not in self._pristine.get_packages():
            return None
        return _decode(self._run(rule, document), rule.removeprefix("data."))

    def problems(self, file: DataFile) -> list[str]:
        """Return the policy's complaints about this data, each in a sentence. Raises a `PolicyError` if it gives no
        answer."""
        if file.package not in self._pristine.get_packages():
            return []
        return file.sentences(msgspec.json.decode(self._run(file.rule, b"{}")))

    def malformed_rule(self, document: bytes) -> str | None:
        """Return the rule of a family that gives a finding without a code on this input."""
        return findings.find_malformed(self._findings(document))

    def _findings(self, document: bytes) -> Iterator[tuple[str, object]]:
        for package in sorted(self._pristine.get_packages()):
            if package.startswith(tuple(f"{place}." for place in findings.PLACES)):
                for name in findings.SETS:
                    with suppress(PolicyUnavailable):  # the package has no such rule
                        yield f"{package}.{name}", msgspec.json.decode(self._run(f"{package}.{name}", document))

    def _run(self, rule: str, document: bytes) -> str:
        try:
            self._engine.set_input_json(document.decode())
            return self._engine.eval_rule_as_json(rule)
        except BaseException as error:  # noqa: BLE001 - a panic is no Exception; what is not the engine's goes on
            self._engine = self._pristine.clone()
            raise _evaluation_failure(error) from None


def trees(modules: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the syntax tree of each module, for `dialect`. Each comes from an engine of its own, which is gone with
    it."""
    for name, text in modules:
        yield _tree(name, text)


def parse(texts: Iterable[tuple[str, str]]) -> tuple[Module, ...]:
    """Return the syntax trees of modules, in any thread, as `_fault` says. Raise `PolicyBroken`, naming file and line."""
    try:
        with _report_failures():
            return syntax.parse_module(trees(texts))
    except PolicyBroken as error:
        fault = PolicyBroken(error.message, error.remedy)
    raise fault


def _tree(name: str, text: str) -> str:
    engine = new()
    try:
        engine.add_policy(name, text)
        return engine.get_ast_as_json()
    finally:
        # An engine must end in the thread that made it. The traceback of a failure may outlive that, with all that is here.
        del engine


def loaded(modules: Iterable[tuple[str, str]], data: str) -> Engine:
    """Return an engine that has modules and data, unchecked. Raise `PolicyBroken`, naming file and line."""
    with _report_failures():
        engine = new()
        for name, text in modules:
            engine.add_policy(name, text)
        engine.add_data_json(data)
    return engine


def value(engine: Engine, rule: str) -> tuple[object, str]:
    """Return the value of a rule, and the engine's failure in words if there is one. No value is `verdict.UNDEFINED`."""
    try:
        return msgspec.json.decode(engine.eval_rule_as_json(rule)), ""
    except BaseException as error:
        if not is_failure(error):
            raise
        place, problem = _explain(error)
        return None, f"{place}: {problem}" if place else problem


def defects(modules: Sequence[Module], bundle: Bundle) -> list[Problem]:
    """Return every problem that the static checks find in the modules of a bundle, and in its data."""
    shadowed = shadowing.problems(modules, bundle.sources)
    return [*shadowed, *dialect.problems(modules), *path_check.problems(modules, json.loads(bundle.data))]


def _load(bundle: Bundle) -> Engine:
    if (fault := _fault(bundle)) is not None:
        raise fault
    steps = _LoadingSteps(bundle)
    for _ in steps:
        pass
    return steps.engine


def _fault(bundle: Bundle) -> PolicyBroken | None:
    """Return why a module cannot be read, or the first of its `defects`.

    Any thread may call this. The error carries no traceback, so that no engine outlives the call in another thread.
    """
    try:
        with _report_failures():
            modules = syntax.parse_module(trees(bundle.modules))
            syntax.require(defects(modules, bundle))
    except PolicyBroken as error:
        return PolicyBroken(error.message, error.remedy)
    return None


class _LoadingSteps:
    """The loading of a policy, step by step, each at most a few milliseconds. `engine` is of use after the last."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.engine = new()

    def __iter__(self) -> Iterator[None]:
        with _report_failures():
            for name, text in self._bundle.modules:
                self.engine.add_policy(name, text)
                yield
            self.engine.add_data_json(self._bundle.data)
            _require_roots(self.engine, self._bundle)
            yield
            # An evaluation on an empty input compiles all rules, and finds unsafe variables, recursion and conflicts
            # that parsing does not. Clones share what was compiled; of an engine that was not, each compiles its own.
            self.engine.set_input_json("{}")
            for entrypoint in _AT_LOAD:
                self.engine.eval_rule_as_json(_RULES[entrypoint])
                yield


@contextmanager
def _report_failures() -> Generator[None]:
    """Raise the engine's failures at load as `PolicyBroken`, with file and line."""
    try:
        yield
    except PolicyError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        place, problem = _explain(error)
        where = f"{place}: " if place else ""
        raise PolicyBroken(f"{where}{problem}", "mend the rule; `opagate policy check` tries it again") from None


def _require_roots(engine: Engine, bundle: Bundle) -> None:
    for package in engine.get_packages():
        path = package.removeprefix("data.").replace(".", "/")
        if not bundles.is_within_roots(path, bundle.roots):
            raise PolicyBroken(f"the package {package} is outside the roots of .manifest", "add it to roots")


def _decode(text: str, rule: str) -> object:
    try:
        answer: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise PolicyMalformed("the policy engine's answer is not JSON", "report this as a defect") from None
    if answer == verdict.UNDEFINED:
        return None
    if not isinstance(answer, dict):
        raise PolicyMalformed(
            f"the value of `{rule}` is not an object", "make `result` follow rego/schemas/result.json"
        )
    return answer  # pyright: ignore[reportUnknownVariableType] - the caller reads it strictly


def _evaluation_failure(error: BaseException) -> BaseException:
    """Return the engine's failure on one input. Its own words are left out: they may quote the input."""
    if not is_failure(error):
        return error
    place, _ = _explain(error)
    where = f"at {place} " if place else ""
    return PolicyUnavailable(f"the policy could not be evaluated {where}on this call", "mend the rule that failed")


def _explain(error: BaseException) -> tuple[str, str]:
    """Return the place as `file:line`, and the problem in one line without the engine's stack backtrace."""
    text = str(error).partition("\nStack backtrace:")[0]
    place, problem = _PLACE.search(text), _PROBLEM.search(text)
    return f"{place['file']}:{place['line']}" if place else "", problem["text"] if problem else " ".join(text.split())
