"""A policy folder kept in force. A changed folder is judged, compiled, tried, and put into force as a whole, or left out.

A changed folder is loaded once it has been still for one look, since a copy under way is no policy. A policy stays out if it cannot
be loaded or read in full, is too slow, or fails a fixture or a test. Then `problem` says why, and the last good policy stays in
force. `current` keeps the time of the last proof that no policy is newer.

Files are read in a thread. OPA judges own rules (`plan/loading.py`), and a process tries the compiled policy (`trial.py`).
Meanwhile the policy before decides calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Final, Literal, TypeVar

from gateway.base import own_process
from gateway.base.concurrency.background import in_thread
from gateway.model.errors import PolicyBroken, PolicyError, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy.contract import Entrypoint
from gateway.policy.facts import NO_FACTS, read_facts
from gateway.policy.folder import folders, shadowing
from gateway.policy.folder.bundle import Bundle, Fingerprint, Suite
from gateway.policy.folder.data_files import DATA_FILES, GRANTS, DataFile
from gateway.policy.folder.folders import LimitChange, PolicyFolders
from gateway.policy.plan.loading import Loaded, Plans
from gateway.policy.plan.program import CompiledPolicy
from gateway.policy.trials import load_checks
from gateway.policy.trials.trial import Trial

_Read = TypeVar("_Read")
_Suites = tuple[Suite, ...]
_FAILED: Final = "the gateway failed while loading the policy; report this as a defect; the log has its place"


class PolicyFolder:
    """The folders of a policy, evaluated here. `deadline` is in seconds of `thread_time`, and `monotonic` times looks."""

    kind: Literal["embedded", "opa"] = "embedded"
    authorities: None = None
    """A folder is read without TLS."""

    def __init__(
        self,
        place: PolicyFolders,
        *,
        deadline: float,
        monotonic: Callable[[], float],
        plans: Plans | None = None,
        thread_time: Callable[[], float] = time.thread_time,
        trial: Callable[[Trial], Awaitable[None]] | None = None,
        require_tests: bool = True,
    ) -> None:
        """Take the folders, and what tries a policy. `trial` raises `PolicyBroken`; without a trial the policy is checked here,
        and its speed is not looked at."""
        self._folders = place
        self._deadline = deadline
        self._thread_time = thread_time
        self._monotonic = monotonic
        self._trial = trial
        self._require_tests = require_tests
        self._plans = plans or Plans()
        self.compiled: CompiledPolicy | None = None
        self.plan: str | None = None
        self.facts = NO_FACTS
        self._loaded: Fingerprint = ()
        self._seen: Fingerprint = ()
        self._flaw: str | None = None
        """What is wrong with the policy that the folder had last; a problem of looking is over when one can look."""
        self.name = ""
        self.revision = ""
        self.problem: str | None = None
        self.current = monotonic()

    @property
    def ready(self) -> bool:
        return self.compiled is not None

    async def open(self) -> None:
        """Load for the first time. Raise `PolicyError`."""
        seen, found, suites = await self._read()
        await self._adopt(found, await self._load(found, suites))
        self._loaded = self._seen = seen

    def adopt_limits(self, limits: tuple[LimitChange, ...]) -> None:
        """Take other limits of tasks. The next looks try the policy with them, and put it into force."""
        self._folders = replace(self._folders, limits=limits)
        self._loaded = self._seen = ()

    async def look(self) -> bool:
        """Look once; whether another policy came into force. What is wrong is told in `problem`."""
        try:
            return await self._look_once()
        except PolicyError as error:
            self.problem = _sentence(error)
            return False

    async def _look_once(self) -> bool:
        begun = self._monotonic()
        seen = await read_in_thread(folders.fingerprint, self._folders)
        still, self._seen = seen == self._seen, seen
        if seen == self._loaded:
            self.problem = self._flaw
            if self._flaw is None:
                self.current = begun
            return False
        if not still:
            return False
        seen, found, suites = await self._read()
        if seen != self._seen:
            return False
        self._loaded, self._flaw = seen, _FAILED
        before = self.revision, self.plan
        await self._try(found, suites)
        self.problem, self._flaw, self.current = None, None, begun
        return before != (self.revision, self.plan)

    async def _try(self, found: Bundle, suites: _Suites) -> None:
        """Put a changed policy into force, or remember what is wrong with it or with changed tests. Raise `PolicyError`."""
        try:
            loaded = await self._load(found, suites)
            if (found.revision, loaded.digest) != (self.revision, self.plan):
                await self._adopt(found, loaded)
        except PolicyUnavailable:
            self._loaded = ()  # the next look tries again
            raise
        except PolicyError as error:
            self._flaw = _sentence(error)
            raise

    async def _load(self, found: Bundle, suites: _Suites) -> Loaded:
        own = self._folders.planned
        return await self._plans.load(found, own, suites if own and self._require_tests else ())

    async def _adopt(self, found: Bundle, loaded: Loaded) -> None:
        """Put a policy into force, once it has been tried. Raise `PolicyError`."""
        compiled = CompiledPolicy(loaded.program, deadline=self._deadline, thread_time=self._thread_time)
        facts = read_facts(found.decoded_data(), loaded.program.holds)
        if self._trial is not None:
            await self._trial(self._make_trial(found, loaded))
        else:
            self._check_data(compiled, found)
        name = await _check_answers(compiled)
        self.compiled, self.plan, self.facts = compiled, loaded.digest, facts
        self.name, self.revision = name, found.revision
        own_process.give_back()

    def _make_trial(self, found: Bundle, loaded: Loaded) -> Trial:
        limit = None if self._folders.are_shipped else self._deadline / 2
        places = {file.name: self._place(file) for file in DATA_FILES}
        return Trial(loaded.code, found.data, found.sources, limit, places)

    async def evaluate(self, entrypoint: Entrypoint, document: JsonObject) -> object:
        if self.compiled is None:
            raise PolicyUnavailable("no policy is loaded", "wait until the gateway is ready")
        return self.compiled.evaluate(entrypoint, document)

    async def malformed_rule(self, document: JsonObject) -> str | None:
        """Return the rule of a family that gives a finding without a code, `None` if no family does."""
        return None if self.compiled is None else self.compiled.malformed_rule(document)

    async def aclose(self) -> None:
        self.compiled = None
        self.revision = ""

    async def _read(self) -> tuple[Fingerprint, Bundle, _Suites]:
        seen = await read_in_thread(folders.fingerprint, self._folders)
        return seen, *await read_in_thread(folders.read_with_suites, self._folders)

    def _place(self, file: DataFile) -> str:
        own = self._folders.grants if file is GRANTS else None
        return str(own or self._folders.policy / file.path)

    def _check_data(self, compiled: CompiledPolicy, found: Bundle) -> None:
        """Make the checks of data that a trial makes. Raise `PolicyError`."""
        shadowing.require(compiled.program.rules, compiled.program.reads, found.sources, found.decoded_data())
        for file in DATA_FILES:
            file.require(compiled.problems(file), self._place(file))


async def _check_answers(compiled: CompiledPolicy) -> str:
    """Return the name of a policy, once it has answered the fixtures. Raise `PolicyBroken`."""
    try:
        return await load_checks.require(partial(_answer, compiled))
    except PolicyBroken:
        raise
    except PolicyError as error:
        raise PolicyBroken(f"the policy fails on a fixture: {error.message}", error.remedy) from None


async def _answer(compiled: CompiledPolicy, entrypoint: Entrypoint, document: JsonObject) -> object:
    """Answer without a deadline: the first evaluation on a busy machine is slow. Calls go on between."""
    await asyncio.sleep(0)
    return compiled.answer(entrypoint, document)


async def read_in_thread(read: Callable[[PolicyFolders], _Read], places: PolicyFolders) -> _Read:
    """Return the result of reading in a thread. Raise `PolicyBroken`."""
    return await in_thread(partial(read, places))


def _sentence(error: PolicyError) -> str:
    return f"{error.message}; {error.remedy}"
