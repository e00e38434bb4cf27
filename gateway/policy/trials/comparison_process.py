"""The process of a comparison: it reads a `ComparisonJob` from standard input, and writes a `Compared`."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.base import own_process
from gateway.config import EmbeddedEngine, PolicySettings, TaskLimit
from gateway.model.errors import PolicyError
from gateway.policy.policy import Policy
from gateway.policy.trials.comparison import Compared, ComparedVerdict, ComparisonJob, PolicyFiles
from gateway.policy.trials.trial_process import NICENESS, bound, end_with_the_gateway

if TYPE_CHECKING:
    from gateway.model.decision import Decision

_FOREVER = timedelta(days=3650)


def main() -> None:
    """Compare the policies on standard input."""
    end_with_the_gateway()
    own_process.hide_memory()
    os.nice(NICENESS)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=ComparisonJob)
    bound(resource.RLIMIT_CPU, job.seconds)
    bound(resource.RLIMIT_DATA, job.memory)
    bound(resource.RLIMIT_CORE, 0)
    try:
        compared = asyncio.run(compare(job))
    except PolicyError as error:
        compared = Compared(problem=error.message, remedy=error.remedy)
    except MemoryError:
        os.abort()
    sys.stdout.buffer.write(msgspec.json.encode(compared))


async def compare(job: ComparisonJob) -> Compared:
    """Ask both policies about each input. Raises `PolicyError`."""
    async with AsyncExitStack() as stack:
        first, second = [await _start(stack, files, job.supported) for files in (job.first, job.second)]
        answers: list[tuple[ComparedVerdict, ComparedVerdict]] = []
        for raw in job.inputs:
            asked = msgspec.json.decode(raw)
            answers.append((_answer(await first.decide(asked)), _answer(await second.decide(asked))))
        return Compared((first.status().revision, second.status().revision), tuple(answers))


async def _start(stack: AsyncExitStack, files: PolicyFiles, supported: tuple[str, ...]) -> Policy:
    engine = EmbeddedEngine(deadline=timedelta(seconds=10))
    path, grants, overlay = (None if one is None else Path(one) for one in (files.path, files.grants, files.overlay))
    settings = PolicySettings(
        engine=engine,
        path=path,
        grants=grants,
        overlay=overlay,
        plan_keys=files.plan_keys,
        reload=_FOREVER,
        require_tests=False,
    )
    limits = {name: TaskLimit.model_validate(numbers) for name, numbers in files.limits.items()}
    settings = settings.with_task_limits(limits)
    policy = Policy.build(settings, supported=frozenset(supported), clock=time.time, is_for_calls=False)
    await policy.start()
    stack.push_async_callback(policy.stop)
    return policy


def _answer(decision: Decision) -> ComparedVerdict:
    return ComparedVerdict(decision.effect, tuple(reason.code for reason in decision.reasons))


if __name__ == "__main__":
    main()
