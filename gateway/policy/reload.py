"""A policy folder kept in force: looked at, compiled, tried, and swapped whole, or left as it was.

A changed folder is loaded once it has been still for one look, so that a copy under way is not taken for a policy. What
cannot be loaded, has data that cannot be read in full, or answers a fixture badly is told as the `problem`; the last
good policy stays in force, and `current` stays when that was last the newest. Reading is done in a thread. Compiling is
not: an engine belongs to the thread that made it. It is done on the event loop in steps, between which calls are decided
by the policy before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Literal, TypeVar

from gateway.errors import PolicyBroken, PolicyError, PolicyUnavailable
from gateway.policy import fixtures, folders
from gateway.policy.bundle import Bundle, Fingerprint
from gateway.policy.embedded import Embedded, Entrypoint
from gateway.policy.folders import PolicyFolders
from gateway.policy.problems import DATA_FILES, GRANTS, DataFile

_Read = TypeVar("_Read")
_FAILED: Final = "the gateway failed while loading the policy; report this as a defect; the log has its place"


class PolicyFolder:
    """The embedded engine on a folder. `deadline` is in seconds of `thread_time`, and `monotonic` times looks."""

    kind: Literal["embedded", "opa"] = "embedded"

    def __init__(
        self,
        place: PolicyFolders,
        *,
        deadline: float,
        monotonic: Callable[[], float],
        thread_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._folders = place
        self._deadline = deadline
        self._thread_time = thread_time
        self._monotonic = monotonic
        self._engine: Embedded | None = None
        self._loaded: Fingerprint = ()
        self._seen: Fingerprint = ()
        self._flaw: str | None = None
        """What is wrong with the policy that the folder had last; a problem of looking is over when one can look."""
        self.name = ""
        self.problem: str | None = None
        self.current = monotonic()

    @property
    def ready(self) -> bool:
        return self._engine is not None

    @property
    def revision(self) -> str:
        return self._engine.revision if self._engine else ""

    async def open(self) -> None:
        """Load for the first time. Raises `PolicyBroken`."""
        seen, found = await self._read()
        # Nobody waits yet, and what a thread takes for it is memory that it would keep.
        await self._replace(Embedded(found, deadline=self._deadline, thread_time=self._thread_time))
        self._loaded = self._seen = seen

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
        seen, found = await self._read()
        if seen != self._seen:
            return False
        self._loaded, self._flaw = seen, _FAILED
        changed = found.revision != self.revision
        if changed:
            await self._try(found)
        self.problem, self._flaw, self.current = None, None, begun
        return changed

    async def _try(self, found: Bundle) -> None:
        """Put a policy into force, or remember what is wrong with it. Raises `PolicyError`."""
        try:
            await self._replace(await Embedded.gradually(found, deadline=self._deadline, thread_time=self._thread_time))
        except PolicyError as error:
            self._flaw = _told(error)
            raise

    async def evaluate(self, entrypoint: Entrypoint, document: bytes) -> object:
        if self._engine is None:
            raise PolicyUnavailable("no policy is loaded", "wait until the gateway is ready")
        return await self._engine.evaluate(entrypoint, document)

    async def malformed_rule(self, document: bytes) -> str | None:
        """Return the rule of a family that gives a finding without a code, `None` if no family does."""
        return None if self._engine is None else self._engine.malformed_rule(document)

    async def aclose(self) -> None:
        self._engine = None

    async def _read(self) -> tuple[Fingerprint, Bundle]:
        seen = await read_in_thread(folders.fingerprint, self._folders)
        return seen, await read_in_thread(folders.read, self._folders)

    def _place(self, file: DataFile) -> str:
        own = self._folders.grants if file is GRANTS else None
        return str(own or self._folders.policy / file.path)

    async def _replace(self, engine: Embedded) -> None:
        try:
            for file in DATA_FILES:
                file.require(engine.problems(file), self._place(file))
            name = await fixtures.require(_Patient(engine))
        except PolicyBroken:
            raise
        except PolicyError as error:
            raise PolicyBroken(f"the policy fails on a fixture: {error.message}", error.remedy) from None
        self._engine, self.name = engine, name


async def read_in_thread(read: Callable[[PolicyFolders], _Read], places: PolicyFolders) -> _Read:
    """Return the result of reading in a thread. Raise `PolicyBroken`.

    The exception is made anew here. A thread keeps its exceptions for a moment, with all frames of their tracebacks. An
    engine in a frame would end in the wrong thread.
    """

    def outcome() -> _Read | PolicyBroken:
        try:
            return read(places)
        except PolicyBroken as error:
            return error

    found = await asyncio.to_thread(outcome)
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
