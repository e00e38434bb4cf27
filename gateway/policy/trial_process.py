"""The process of a trial: it reads a `Trial` from standard input and writes lines of JSON.

A line with `at` names the step that begins. The last line has `good`, or `problem` and `remedy`.
"""

from __future__ import annotations

import asyncio
import ctypes
import marshal
import os
import resource
import signal
import sys
import time
from types import CodeType
from typing import Final, cast

import msgspec

from gateway import own_process
from gateway.errors import PolicyBroken, PolicyError, PolicyUnavailable
from gateway.policy import load_checks, selftest, speed
from gateway.policy.embedded import Embedded, Entrypoint
from gateway.policy.evaluator_agreement import require_agreement
from gateway.policy.plan.program import CompiledPolicy, Program
from gateway.policy.plan.values import read_json
from gateway.policy.problems import DATA_FILES, GRANTS, DataFile
from gateway.policy.selftest import Suite
from gateway.policy.trial import Trial

NICENESS: Final = 5
_PR_SET_PDEATHSIG: Final = 1
"""From prctl(2)."""


def main() -> None:
    """Try the policy on standard input."""
    end_with_the_gateway()
    own_process.hide_memory()
    os.nice(NICENESS)
    trial = msgspec.json.decode(sys.stdin.buffer.read(), type=Trial)
    bound(resource.RLIMIT_CPU, trial.seconds)
    bound(resource.RLIMIT_DATA, trial.memory)
    bound(resource.RLIMIT_CORE, 0)
    try:
        asyncio.run(require(trial))
    except PolicyError as error:
        _write({"problem": error.message, "remedy": error.remedy})
    except MemoryError:
        os.abort()  # as the engine does
    else:
        _write({"good": True})


def end_with_the_gateway() -> None:
    """Have Linux end the process of a trial with the gateway. Other systems end it at its bound of processor time."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def bound(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


async def require(trial: Trial) -> None:
    """Load a policy, judge its data, ask its fixtures and probes, and run its tests. Raise `PolicyError`."""
    _at("loading it")
    engine = Embedded(trial.policy, deadline=trial.seconds)
    _at("its data")
    for file in DATA_FILES:
        if file.name in trial.places:
            _require_readable(file, engine, trial)
    _at("its fixtures")
    await load_checks.require(_Untimed(engine))
    if trial.limit is not None:
        _at("its probes")
        speed.require(engine, trial.policy, trial.limit)
    if trial.code:
        _at("its compiled form")
        await require_agreement(_load_compiled(trial), engine, trial.policy)
    for suite in trial.suites:
        _require_passed(suite)


def _load_compiled(trial: Trial) -> CompiledPolicy:
    code = cast("CodeType", marshal.loads(trial.code))  # noqa: S302 - the gateway that started this process runs it too
    program = Program(code, read_json(trial.policy.data))
    return CompiledPolicy(program, deadline=trial.seconds, thread_time=time.thread_time)


def _require_readable(file: DataFile, engine: Embedded, trial: Trial) -> None:
    place = trial.places[file.name]
    try:
        file.require(engine.problems(file), place)
    except PolicyUnavailable:
        if file is GRANTS and (found := speed.refused_expression(trial.policy)):
            raise PolicyBroken(f"{place}: {found}", "write a smaller regular expression") from None
        raise


def _require_passed(suite: Suite) -> None:
    _at("loading its tests")
    tests = selftest.run(suite, starting=lambda name, place: _at(f"the test {name} ({place})"))
    failed = [test for test in tests if not test.passed]
    if failed:
        first, more = failed[0], f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise PolicyBroken(
            f"{first.place}: the test {first.name} fails: {first.detail}{more}",
            "mend the rule or the test; `opagate policy test` runs all of them",
        )


class _Untimed:
    def __init__(self, engine: Embedded) -> None:
        self._engine = engine

    async def evaluate(self, entrypoint: Entrypoint, document: bytes) -> object:
        return self._engine.answer(entrypoint, document)


def _at(place: str) -> None:
    _write({"at": place})


def _write(line: dict[str, object]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
