"""The process of a shadow policy: it reads a `ShadowJob`, then a policy input a line, and answers each with a line.

A line with `verdict` answers an input. A line with `revision` or `problem` tells of the policy: of one in force, or of one that
cannot be. Until a policy is in force, and for an input that the policy fails on, the verdict is `null`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from gateway.base import own_process
from gateway.base.concurrency.background import Job
from gateway.model.errors import PolicyError
from gateway.policy.trials.comparison import PolicyFiles, start_policy
from gateway.policy.trials.trial_process import bound, end_with_the_gateway

if TYPE_CHECKING:
    from gateway.policy.policy import Policy, PolicyEvent

NICENESS: Final = 15
"""Lower than that of a trial: nobody waits for a shadow."""
LONGEST_LINE: Final = 8 * 2**20
_MEMORY: Final = 2 * 2**30


class ShadowJob(Struct, frozen=True):
    """A shadow policy: the files in force, and the folder that takes the place of some. The numbers are seconds."""

    files: PolicyFiles
    folder: str
    supported: tuple[str, ...]
    reload: float
    deadline: float


class ShadowVerdict(Struct, frozen=True):
    """The effect, the codes and the obligations of a decision."""

    effect: str
    codes: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()


class ShadowLine(Struct, frozen=True, omit_defaults=True):
    """A line of the process: the verdict on an input (`answers`), or news of the policy. `facts` are its declared facts, as in
    `FactBook.files`."""

    answers: bool = False
    verdict: ShadowVerdict | None = None
    name: str = ""
    revision: str = ""
    problem: str | None = None
    facts: dict[str, dict[str, Any]] | None = None


def main() -> None:
    """Answer until the gateway closes standard input."""
    end_with_the_gateway()
    own_process.hide_memory()
    os.nice(NICENESS)
    bound(resource.RLIMIT_DATA, _MEMORY)
    bound(resource.RLIMIT_CORE, 0)
    try:
        asyncio.run(_serve())
    except MemoryError:
        os.abort()


async def _serve() -> None:
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    shadow = _Shadow(msgspec.json.decode(await reader.readline(), type=ShadowJob))
    loading = Job(shadow.load, "loads the shadow policy")
    while line := await reader.readline():
        _write(ShadowLine(answers=True, verdict=await shadow.decide(line)))
    await loading.stop()


class _Shadow:
    """The shadow policy, once it is in force."""

    def __init__(self, job: ShadowJob) -> None:
        self._job = job
        self._policy: Policy | None = None

    async def load(self) -> None:
        """Load the policy, and try again after a pause while it cannot be loaded. Later changes load by themselves."""
        job, told = self._job, None
        while self._policy is None:
            try:
                files = job.files.with_folder(Path(job.folder))
                self._policy = await start_policy(
                    files,
                    job.supported,
                    deadline=timedelta(seconds=job.deadline),
                    reload=timedelta(seconds=job.reload),
                    on_event=self._tell,
                )
                self._write_news()
            except PolicyError as error:
                if told != (told := f"{error.message}; {error.remedy}"):
                    _write(ShadowLine(problem=told))
                await asyncio.sleep(job.reload)

    async def decide(self, line: bytes) -> ShadowVerdict | None:
        """Return the verdict on an input, `None` without one."""
        if self._policy is None:
            return None
        decision = await self._policy.decide(msgspec.json.decode(line))
        if decision.undecided:
            return None
        codes = tuple(reason.code for reason in decision.reasons)
        return ShadowVerdict(decision.effect, codes, tuple(sorted(each.id for each in decision.obligations)))

    def _tell(self, event: PolicyEvent) -> None:
        if event.kind != "failed":  # the verdict tells of a failure
            self._write_news()

    def _write_news(self) -> None:
        """Tell of the policy once it is there. An answer after this line is by these facts."""
        if self._policy is not None:
            status, files = self._policy.status(), self._policy.facts.files
            facts = {place: dict(declared) for place, declared in files.items()}
            _write(ShadowLine(name=status.name, revision=status.revision, problem=status.problem, facts=facts))


def _write(line: ShadowLine) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
