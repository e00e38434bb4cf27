"""A policy folder kept in force. A changed folder is tried, compiled, and put into force as a whole, or left out.

A changed folder is loaded once it has been still for one look, since a copy under way is no policy. A policy stays out if it cannot
be loaded or read in full, is too slow, or fails a fixture or a test. Then `problem` says why, and the last good policy stays in
force. `current` keeps the time of the last proof that no policy is newer.

Files are read in a thread. A process tries the policy, and compares its compiled form with the engine (`trial.py`). Where a
compiled form decides, this process has no engine, which would take 16 MB. Otherwise the engine loads on the event loop in
steps, since an engine belongs to its thread. Between the steps the policy before decides calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Literal, TypeVar

from gateway import free_memory
from gateway.background import in_thread
from gateway.errors import PolicyBroken, PolicyError, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy import folders, load_checks
from gateway.policy.bundle import Bundle, Fingerprint
from gateway.policy.embedded import Embedded, Entrypoint
from gateway.policy.engine import EvaluatorName
from gateway.policy.evaluator_agreement import require_agreement
from gateway.policy.folders import PolicyFolders
from gateway.policy.plan.loading import Loaded, Plans
from gateway.policy.plan.program import CompiledPolicy
from gateway.policy.plan.values import read_json
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
        self._bundle: Bundle | None = None
        """The policy in force."""
        self._engine: Embedded | None = None
        """The engine. Where a compiled form decides, there is none until a malformed answer needs it."""
        self.compiled: CompiledPolicy | None = None
        self.detour: str | None = None
        self.plan: str | None = None
        self._loaded: Fingerprint = ()
        self._seen: Fingerprint = ()
        self._tests = 0
        """The hash of the tests that the policy in force has passed."""
        self._flaw: str | None = None
        """What is wrong with the policy that the folder had last; a problem of looking is over when one can look."""
        self.name = ""
        self.revision = ""
        self.problem: str | None = None
        self.current = monotonic()

    @property
    def ready(self) -> bool:
        return self._bundle is not None

    @property
    def evaluator(self) -> EvaluatorName:
        return "regorus" if self.compiled is None else "plan"

    async def open(self) -> None:
        """Load for the first time. Raise `PolicyError`."""
        seen, found, suites = await self._read()
        await self._adopt(found, suites, await self._load(found))
        self._loaded = self._seen = seen
        self._tests = hash(found.tests)

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
            is_new = found.revision != self.revision
            loaded = await self._load(found) if is_new or self.compiled is None else Loaded(None)
            if is_new or loaded.program is not None:
                await self._adopt(found, suites, loaded)
            elif self._require_tests and hash(found.tests) != self._tests:
                await self._require_trial(found, suites, Loaded(None))
            if self.compiled is None:
                self.detour = loaded.reason or None
        except PolicyUnavailable:
            self._loaded = ()  # the next look tries again
            raise
        except PolicyError as error:
            self._flaw = _sentence(error)
            raise
        self._tests = hash(found.tests)

    async def _load(self, found: Bundle) -> Loaded:
        return Loaded(None) if self._plans is None else await self._plans.load(found, self._folders.planned)

    async def _adopt(self, found: Bundle, suites: _Suites, loaded: Loaded) -> None:
        """Put a policy into force, once it has been tried. Raise `PolicyError`."""
        await self._require_trial(found, suites, loaded)
        compiled = self._with_deadline(loaded)
        needs_engine = compiled is None or self._trial is None
        engine = await self._start_engine(found) if needs_engine else None
        name = await self._check_answers(engine, compiled, found)
        self._bundle = replace(found, tests=(), sources=())
        self._engine, self.compiled = engine, compiled
        self.name, self.revision = name, found.revision
        self.detour, self.plan = loaded.reason or None, loaded.digest or None
        free_memory.give_back()

    def _with_deadline(self, loaded: Loaded) -> CompiledPolicy | None:
        if loaded.program is None:
            return None
        return CompiledPolicy(loaded.program, deadline=self._deadline, thread_time=self._thread_time)

    async def _start_engine(self, found: Bundle) -> Embedded:
        """Return an engine with a policy. Raise `PolicyError`."""
        if self._trial is None and self._bundle is None:
            # Nothing waits yet. A thread would keep the memory that the checks take.
            return Embedded(found, deadline=self._deadline, thread_time=self._thread_time)
        is_checked = self._trial is not None
        return await Embedded.gradually(
            found, deadline=self._deadline, thread_time=self._thread_time, is_checked=is_checked
        )

    async def _require_trial(self, found: Bundle, suites: _Suites, loaded: Loaded) -> None:
        if self._trial is None:
            return
        places = {file.name: self._place(file) for file in DATA_FILES}
        is_own = not self._folders.are_shipped
        tests = suites if is_own and self._require_tests else ()
        limit = self._deadline / 2 if is_own else None
        await self._trial(Trial(found, tests, limit, places, loaded.code))

    async def evaluate(self, entrypoint: Entrypoint, document: JsonObject) -> object:
        if self.compiled is not None:
            return self.compiled.evaluate(entrypoint, document)
        if self._engine is None:
            raise PolicyUnavailable("no policy is loaded", "wait until the gateway is ready")
        return await self._engine.evaluate(entrypoint, documents.encode(document))

    async def malformed_rule(self, document: bytes) -> str | None:
        """Return the rule of a family that gives a finding without a code, `None` if no family does."""
        if self._bundle is None:
            return None
        found, engine = self._bundle, self._engine
        if engine is None:
            engine = await self._start_engine(found)
            if self._bundle is found:
                self._engine = engine
        return engine.malformed_rule(document)

    async def aclose(self) -> None:
        self._bundle = self._engine = self.compiled = None
        self.revision = ""

    async def _read(self) -> tuple[Fingerprint, Bundle, _Suites]:
        seen = await read_in_thread(folders.fingerprint, self._folders)
        return seen, *await read_in_thread(folders.read_with_suites, self._folders)

    def _place(self, file: DataFile) -> str:
        own = self._folders.grants if file is GRANTS else None
        return str(own or self._folders.policy / file.path)

    async def _check_answers(self, engine: Embedded | None, compiled: CompiledPolicy | None, found: Bundle) -> str:
        """Return the name of a policy, after the checks that no trial made. Raise `PolicyBroken`."""
        try:
            if self._trial is None and engine is not None:
                for file in DATA_FILES:
                    file.require(engine.problems(file), self._place(file))
            name = await load_checks.require(_Patient(engine or compiled))
        except PolicyBroken:
            raise
        except PolicyError as error:
            raise PolicyBroken(f"the policy fails on a fixture: {error.message}", error.remedy) from None
        if self._trial is None and engine is not None and compiled is not None:
            await require_agreement(compiled, engine, found)
        return name


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


def _sentence(error: PolicyError) -> str:
    return f"{error.message}; {error.remedy}"


class _Patient:
    """Fixtures are about answers, not about time: the first evaluation on a busy machine is slow. Calls go on between."""

    def __init__(self, evaluator: Embedded | CompiledPolicy | None) -> None:
        self._evaluator = evaluator

    async def evaluate(self, entrypoint: Entrypoint, document: bytes) -> object:
        await asyncio.sleep(0)
        if isinstance(self._evaluator, CompiledPolicy):
            return self._evaluator.answer(entrypoint, read_json(document.decode()))
        return None if self._evaluator is None else self._evaluator.answer(entrypoint, document)
