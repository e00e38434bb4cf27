"""Remembers which policies have passed their trial, and the plans and code of rules, so that tests do not try, judge and
compile the same policy for each gateway."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.policy.plan.store import StoredPlan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from gateway.policy.folder.bundle import Bundle, Suite
    from gateway.policy.trials.trial import Trial


class Passed(Protocol):
    """The digests of trials that passed."""

    def __contains__(self, digest: object, /) -> bool: ...
    def add(self, digest: str, /) -> None: ...


class PassedInFolder:
    """Digests as empty files, which gateways of one test worker share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, digest: object, /) -> bool:
        return (self._folder / str(digest)).exists()

    def add(self, digest: str, /) -> None:
        (self._folder / digest).touch()


class RememberedTrials:
    """Stands in the place of the module `trial`. `attempt` tries a policy that is new."""

    def __init__(self, passed: Passed, attempt: Callable[[Trial], Awaitable[None]]) -> None:
        self._passed = passed
        self._attempt = attempt

    async def require(self, trial: Trial) -> None:
        """Try a policy unless the same content has passed. Raise `PolicyError`."""
        digest = digest_of(trial)
        if digest not in self._passed:
            await self._attempt(trial)
            self._passed.add(digest)


class Made:
    """Files by the digest of their origin, which gateways of one test worker share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, digest: str) -> bytes | None:
        path = self._folder / digest
        return path.read_bytes() if path.exists() else None

    def keep(self, digest: str, content: bytes) -> None:
        fresh = self._folder / f".{os.getpid()}-{digest}"
        fresh.write_bytes(content)
        fresh.replace(self._folder / digest)


class RememberedPlans:
    """Stands in the place of `authoring.judge` and of the process that compiles. Problems are found anew each time."""

    def __init__(
        self, made: Made, judge: Callable[..., StoredPlan], compile_plan: Callable[[bytes], Awaitable[bytes]]
    ) -> None:
        self._made = made
        self._judge = judge
        self._compile = compile_plan

    def judge(self, policy: Bundle, suites: Sequence[Suite], judged: StoredPlan | None = None) -> StoredPlan:
        """Return the plan of rules that passed with these tests and data before, or judge them. Raise `PolicyBroken`."""
        tests = [(suite.below, suite.policy.modules, suite.policy.tests, suite.policy.data) for suite in suites]
        content = msgspec.json.encode((policy.modules, policy.data, tests))
        digest = f"plan-{hashlib.sha256(content).hexdigest()}"
        if (found := self._made.find(digest)) is not None:
            return msgspec.json.decode(found, type=StoredPlan)
        stored = self._judge(policy, suites, judged)
        self._made.keep(digest, msgspec.json.encode(stored))
        return stored

    async def compile(self, plan: bytes) -> bytes:
        """Return the code of a plan. Raise `PolicyBroken`."""
        digest = f"code-{hashlib.sha256(plan).hexdigest()}"
        code = self._made.find(digest)
        if code is None:
            code = await self._compile(plan)
            self._made.keep(digest, code)
        return code


def digest_of(trial: Trial) -> str:
    """Return a digest of the content that a trial judges; the names of files on this machine are left out."""
    contents = (hashlib.sha256(trial.code).hexdigest(), trial.data, [(one.at, one.value) for one in trial.sources])
    bounds = (trial.limit, trial.seconds, trial.memory)
    return hashlib.sha256(msgspec.json.encode((contents, bounds, sorted(trial.places)))).hexdigest()
