"""A policy folder kept in force: looked at, tried, compiled, and swapped whole, or left as it was.

A changed folder is loaded once it has been still for one look: a copy under way is no policy. A policy stays out if it cannot
be loaded or read in full, is too slow, or fails a fixture or a test. Then `problem` says why, the last good policy stays in
force, and `current` keeps the time at which that policy was last the newest.

Files are read in a thread, and the policy is tried in a process (`trial.py`). It is compiled on the event loop, in steps
between which the policy before decides calls: an engine belongs to the thread that made it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeVar

from gateway.background import in_thread
from gateway.errors import PolicyBroken, PolicyError, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy import fixtures, folders
from gateway.policy.bundle import Bundle, Fingerprint
from gateway.policy.compiled import Compiled
from gateway.policy.embedded import Embedded, Entrypoint
from gateway.policy.folders import PolicyFolders
from gateway.policy.plan.loading import Plans
from gateway.policy.problems import DATA_FILES, GRANTS, DataFile
from gateway.policy.selftest import Suite
from gateway.policy.trial import Trial

_Read = TypeVar("_Read")
_Suites = tuple[Suite, ...]
_FAILED: Final = "the gateway failed while loading the policy; report this as a defect; the log has its place"


class PolicyFolder:
    """The embedded engine on the folders of a policy. `deadline` is in seconds of `thread_time`, and `monotonic` times looks."""

    kind: Literal["embedded", "opa"] = "embedded"

    def __init__(
        self,
        place: PolicyFolders,
        *,
        deadline: float,
        monotonic: Callable[[], float],
        thread_time: Callable[[], float] = time.thread_time,
        trial: Callable[[Trial], Awaitable[None]] | None = None,
        require_tests: bool = True,
        plans: Plans | None = None,
    ) -> None:
        """Take the folders, and what tries a policy. `trial` raises `PolicyBroken`; without a trial the policy is checked here,
        and its speed and tests are not looked at. Without `plans` regorus answers."""
        self._folders = place
        self._deadline = deadline
        self._thread_time = thread_time
        self._monotonic = monotonic
        self._trial = trial
        self._require_tests = require_tests
        self._plans = plans
        self._engine: Embedded | None = None
        self._compiled: Compiled | None = None
        self.detour: str | None = None
        self._loaded: Fingerprint = ()
        self._seen: Fingerprint = ()
        self._tests = 0
        """The hash of the tests that the policy in force has passed."""
        self._flaw: str | None = None
        """What is wrong with the policy that the folder had last; a problem of looking is over when one can look."""
        self.name = ""
        self.problem: str | None = None
        self.current = monotonic()

    @property
    def ready(self) -> bool:
        return self._engine is not None

    @property
    def evaluator(self) -> Literal["plan", "regorus", "opa"]:
        return "regorus" if self._compiled is None else "plan"

    @property
    def revision(self) -> str:
        return self._engine.revision if self._engine else ""

    async def open(self) -> None:
        """Load for the first time. Raise `PolicyError`."""
        seen, found, suites = await self._read()
        if self._trial is None:
            # Nothing waits yet. A thread would keep the memory that the checks take.
            await self._replace(Embedded(found, deadline=self._deadline, thread_time=self._thread_time), found)
        else:
            await self._replace(await self._tried(found, suites), found)
        self._loaded = self._seen = seen
        self._tests = hash(found.tests)

    async def look(self) -> bool:
        """Look once; whether another policy came into force. What is wrong is told in `problem`."""
        try:
            return await self._looked()
        except PolicyError as error:
            self.problem = _told(error)
            return False

    async def _looked(self) -> bool:
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
        changed = found.revision != self.revision
        await self._try(found, suites)
        self.problem, self._flaw, self.current = None, None, begun
        return changed

    async def _try(self, found: Bundle, suites: _Suites) -> None:
        """Put a changed policy into force, or remember what is wrong with it or with changed tests. Raise `PolicyError`."""
        try:
            if found.revision != self.revision:
                await self._replace(await self._tried(found, suites), found)
            elif self._require_tests and hash(found.tests) != self._tests:
                await self._require_trial(found, suites)
            if self._compiled is None and self._engine is not None:
                # A plan may have come for the policy in force.
                self._compiled, self.detour = await self._compile(self._engine, found)
        except PolicyUnavailable:
            self._loaded = ()  # the next look tries again
            raise
        except PolicyError as error:
            self._flaw = _told(error)
            raise
        self._tests = hash(found.tests)

    async def _tried(self, found: Bundle, suites: _Suites) -> Embedded:
        """Return an engine with a policy that has been tried. Raise `PolicyError`."""
        await self._require_trial(found, suites)
        is_checked = self._trial is not None
        return await Embedded.gradually(
            found, deadline=self._deadline, thread_time=self._thread_time, is_checked=is_checked
        )

    async def _require_trial(self, found: Bundle, suites: _Suites) -> None:
        if self._trial is None:
            return
        places = {file.name: self._place(file) for file in DATA_FILES}
        await self._trial(Trial(found, suites if self._require_tests else (), self._deadline / 2, places))

    async def evaluate(self, entrypoint: Entrypoint, document: JsonObject) -> object:
        if self._compiled is not None:
            return self._compiled.evaluate(entrypoint, document)
        if self._engine is None:
            raise PolicyUnavailable("no policy is loaded", "wait until the gateway is ready")
        return await self._engine.evaluate(entrypoint, documents.encode(document))

    async def malformed_rule(self, document: bytes) -> str | None:
        """Return the rule of a family that gives a finding without a code, `None` if no family does."""
        return None if self._engine is None else self._engine.malformed_rule(document)

    async def aclose(self) -> None:
        self._engine = self._compiled = None

    async def _read(self) -> tuple[Fingerprint, Bundle, _Suites]:
        seen = await read_in_thread(folders.fingerprint, self._folders)
        return seen, *await read_in_thread(folders.read_with_suites, self._folders)

    def _place(self, file: DataFile) -> str:
        own = self._folders.grants if file is GRANTS else None
        return str(own or self._folders.policy / file.path)

    async def _replace(self, engine: Embedded, found: Bundle) -> None:
        try:
            if self._trial is None:
                for file in DATA_FILES:
                    file.require(engine.problems(file), self._place(file))
            name = await fixtures.require(_Patient(engine))
        except PolicyBroken:
            raise
        except PolicyError as error:
            raise PolicyBroken(f"the policy fails on a fixture: {error.message}", error.remedy) from None
        compiled, detour = await self._compile(engine, found)
        self._engine, self._compiled, self.detour, self.name = engine, compiled, detour, name

    async def _compile(self, engine: Embedded, found: Bundle) -> tuple[Compiled | None, str | None]:
        """Return the compiled form of a policy, or the reason for having none. Raise `PolicyBroken` if it answers differently."""
        if self._plans is None:
            return None, None
        loaded = await self._plans.load(found, self._folders.planned)
        if loaded.program is None:
            return None, loaded.reason
        compiled = Compiled(loaded.program, deadline=self._deadline, thread_time=self._thread_time)
        await compiled.require_agreement(engine, found)
        return compiled, None


async def read_in_thread(read: Callable[[PolicyFolders], _Read], places: PolicyFolders) -> _Read:
    """Return the result of reading in a thread. Raise `PolicyBroken`.

    A thread keeps its work for a moment, and the frames of its exceptions; an engine in them would end in the wrong thread. So
    the work knows the folders alone, and the exception is made anew here.
    """

    def outcome() -> _Read | PolicyBroken:
        try:
            return read(places)
        except PolicyBroken as error:
            return error

    found = await in_thread(outcome)
    if isinstance(found, PolicyBroken):
        raise PolicyBroken(found.message, found.remedy)
    return found


def _told(error: PolicyError) -> str:
    return f"{error.message}; {error.remedy}"


class _Patient:
    """Fixtures are about answers, not about time: the first evaluation on a busy machine is slow. Calls go on between."""

    def __init__(self, engine: Embedded) -> None:
        self._engine = engine

    async def evaluate(self, entrypoint: Entrypoint, document: bytes) -> object:
        await asyncio.sleep(0)
        return self._engine.answer(entrypoint, document)
