"""The process of a trial: it reads a `Trial` from standard input and writes lines of JSON.

A line with `at` names the step that begins. The last line has `good`, or `problem` and `remedy`.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import marshal
import os
import resource
import signal
import sys
import time
from functools import partial
from types import CodeType
from typing import Final, cast

import msgspec

from gateway.base import own_process
from gateway.model.errors import PolicyError
from gateway.model.wire import JsonObject
from gateway.policy.contract import Entrypoint
from gateway.policy.folder import shadowing
from gateway.policy.folder.data_files import DATA_FILES
from gateway.policy.plan.program import CompiledPolicy, Program
from gateway.policy.plan.values import read_json
from gateway.policy.trials import load_checks, speed
from gateway.policy.trials.trial import Trial

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
        os.abort()
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
    """Load a policy, judge its data, and ask its fixtures and probes. Raise `PolicyError`."""
    _at("loading it")
    code = cast("CodeType", marshal.loads(trial.code))  # noqa: S302 - the gateway that started this process runs it too
    program = Program(code, read_json(trial.data))
    policy = CompiledPolicy(program, deadline=trial.seconds, thread_time=time.thread_time)
    _at("its data")
    shadowing.require(program.rules, program.reads, trial.sources, json.loads(trial.data))
    for file in DATA_FILES:
        if file.name in trial.places:
            file.require(policy.problems(file), trial.places[file.name])
    _at("its fixtures")
    await load_checks.require(partial(_answer, policy))
    if trial.limit is not None:
        _at("its probes")
        speed.require(policy, trial.data, trial.limit)


async def _answer(policy: CompiledPolicy, entrypoint: Entrypoint, document: JsonObject) -> object:
    return policy.answer(entrypoint, document)


def _at(place: str) -> None:
    _write({"at": place})


def _write(line: dict[str, object]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
