"""A comparison of two policies on the same inputs, in a process of its own.

The process reads a `ComparisonJob` from standard input, and writes a `Compared`. It has its own loop, a lower priority, and bounds
on its processor time and memory, as that of a trial. A policy is put into force by no comparison.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import Struct, structs

from gateway.base import own_process
from gateway.config import EmbeddedEngine, PolicySettings, TaskLimit
from gateway.config.policy import AgentClass
from gateway.model.errors import PolicyBroken, PolicyError, PolicyUnavailable
from gateway.policy.folder import overlay
from gateway.policy.policy import Policy, PolicyEvent
from gateway.policy.trials.child_process import ask_process
from gateway.policy.trials.trial_process import NICENESS, bound, end_with_the_gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gateway.model.decision import Decision
    from gateway.model.wire import JsonObject


PATIENCE: Final = 120.0
"""Seconds until a comparison that gets no processor time is given up."""


class PolicyFiles(Struct, frozen=True):
    """The files of a policy. `limits` are the operator's numbers for limits, by their names, and `classes` those of
    gateway.yaml. `plan_keys` are the public keys whose signatures on compiled rules count."""

    path: str | None = None
    grants: str | None = None
    overlay: str | None = None
    limits: dict[str, dict[str, int]] = {}
    classes: tuple[dict[str, Any], ...] = ()
    plan_keys: tuple[str, ...] = ()

    @classmethod
    def configured(cls, settings: PolicySettings) -> PolicyFiles:
        """Return the files of a configuration, with the operator's limits."""
        paths = (None if path is None else str(path) for path in (settings.path, settings.grants, settings.overlay))
        limits = {name: limit.model_dump(exclude_none=True) for name, limit in settings.limits.items()}
        classes = tuple(entry.model_dump(by_alias=True) for entry in settings.classes)
        return cls(*paths, limits=limits, classes=classes, plan_keys=settings.plan_keys)

    def with_folder(self, folder: Path) -> PolicyFiles:
        """Return the files with a folder in the place of the policy, or of the overlay. Its `grants.yaml` takes the place of the grants.

        What `opagate policy build` wrote is whole: it has its overlay, its grants, its limits and its classes.
        """
        if (folder / "data.json").is_file() and (folder / overlay.SLOT).is_file():
            return PolicyFiles(str(folder), plan_keys=self.plan_keys)
        grants = folder / "grants.yaml"
        files = structs.replace(self, grants=str(grants)) if grants.is_file() else self
        if (folder / "gateway").is_dir() or not folder.is_dir():
            return structs.replace(files, path=str(folder))
        has_rules = next(folder.rglob("*.rego"), None) is not None
        return structs.replace(files, overlay=str(folder)) if has_rules or files is self else files

    def settings(self, *, deadline: timedelta, reload: timedelta) -> PolicySettings:
        """Return the settings of a policy that decides no call of its own: its tests do not run."""
        path, grants, own = (None if one is None else Path(one) for one in (self.path, self.grants, self.overlay))
        settings = PolicySettings(
            engine=EmbeddedEngine(deadline=deadline),
            path=path,
            grants=grants,
            overlay=own,
            classes=tuple(map(AgentClass.model_validate, self.classes)),
            plan_keys=self.plan_keys,
            reload=reload,
            require_tests=False,
        )
        limits = {name: TaskLimit.model_validate(numbers) for name, numbers in self.limits.items()}
        return settings.with_limits(limits)


class ComparisonJob(Struct, frozen=True):
    """Two policies and the inputs. `supported` has the obligations that the gateway carries out. `seconds` bounds the processor time, and `memory` the bytes of the process."""

    first: PolicyFiles
    second: PolicyFiles
    inputs: tuple[msgspec.Raw, ...]
    supported: tuple[str, ...]
    seconds: int = 60
    memory: int = 2 * 2**30


class ComparedVerdict(NamedTuple):
    """The effect and the codes of a decision."""

    effect: str
    codes: tuple[str, ...]


class Compared(Struct, frozen=True):
    """The answers of both policies to each input, and their revisions. With a `problem`, a policy could not be loaded."""

    revisions: tuple[str, str] = ("", "")
    answers: tuple[tuple[ComparedVerdict, ComparedVerdict], ...] = ()
    problem: str | None = None
    remedy: str = ""


async def compare(
    first: PolicyFiles, second: PolicyFiles, inputs: Sequence[JsonObject], supported: Collection[str]
) -> Compared:
    """Ask two policies about the same inputs. Raise `PolicyBroken` and `PolicyUnavailable`."""
    encoded = tuple(msgspec.Raw(msgspec.json.encode(one)) for one in inputs)
    job = ComparisonJob(first, second, encoded, tuple(supported))
    question, module = msgspec.json.encode(job), "gateway.policy.trials.comparison"
    try:
        answer = await ask_process(module, question, seconds=PATIENCE, work="compares policies")
    except TimeoutError:
        raise PolicyUnavailable(f"the comparison took more than {PATIENCE:.0f} s", "compare fewer decisions") from None
    try:
        compared = msgspec.json.decode(answer.written, type=Compared)
    except msgspec.MsgspecError:
        raise PolicyUnavailable(
            f"the process that compares policies ended with status {answer.status}",
            "look at the rules of the candidate: they take too long or too much memory",
        ) from None
    if compared.problem is not None:
        raise PolicyBroken(compared.problem, compared.remedy)
    if len(compared.answers) != len(inputs):
        raise PolicyUnavailable("the process that compares policies left answers out", "try again")
    return compared


_FOREVER = timedelta(days=3650)
_PATIENT = timedelta(seconds=10)


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
        compared = asyncio.run(answer_both(job))
    except PolicyError as error:
        compared = Compared(problem=error.message, remedy=error.remedy)
    except MemoryError:
        os.abort()
    sys.stdout.buffer.write(msgspec.json.encode(compared))


async def answer_both(job: ComparisonJob) -> Compared:
    """Ask both policies about each input. Raise `PolicyError`."""
    async with AsyncExitStack() as stack:
        policies: list[Policy] = []
        for files in (job.first, job.second):
            policies.append(await start_policy(files, job.supported, deadline=_PATIENT, reload=_FOREVER))
            stack.push_async_callback(policies[-1].stop)
        first, second = policies
        answers: list[tuple[ComparedVerdict, ComparedVerdict]] = []
        for raw in job.inputs:
            asked = msgspec.json.decode(raw)
            answers.append((_answer(await first.decide(asked)), _answer(await second.decide(asked))))
        return Compared((first.status().revision, second.status().revision), tuple(answers))


async def start_policy(
    files: PolicyFiles,
    supported: tuple[str, ...],
    *,
    deadline: timedelta,
    reload: timedelta,
    on_event: Callable[[PolicyEvent], None] | None = None,
) -> Policy:
    """Return a policy that decides no call of its own. Raise `PolicyError`."""
    settings = files.settings(deadline=deadline, reload=reload)
    policy = Policy.build(
        settings, supported=frozenset(supported), clock=time.time, is_for_calls=False, on_event=on_event
    )
    await policy.start()
    return policy


def _answer(decision: Decision) -> ComparedVerdict:
    return ComparedVerdict(decision.effect, tuple(reason.code for reason in decision.reasons))


if __name__ == "__main__":
    main()
