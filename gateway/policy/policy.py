"""The policy in force: one question per call, one answer, and never an exception.

Whatever fails becomes a denial with its own code. `build` chooses the engine, `start` loads, and a task looks for
changes every `reload`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from gateway.config import EmbeddedEngine, PolicySettings
from gateway.errors import PolicyBroken, PolicyError
from gateway.model.decision import Decision, PolicyRevision
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy import verdict
from gateway.policy.embedded import Entrypoint
from gateway.policy.opa_client import OpaClient
from gateway.policy.reload import PolicyFolder
from gateway.policy.remote import RemotePolicy

_DEFECT: Final = "the gateway failed while asking for a decision", "report this as a defect; the log has its place"


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """`since` is when the policy in force came into force, in seconds since the epoch, 0.0 if none has. `problem` is
    what keeps a newer one out, or what keeps this one from answering."""

    ready: bool
    name: str
    revision: str
    engine: Literal["embedded", "opa"]
    problem: str | None
    since: float


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """For logs and metrics. `problem` is told once, when it arises; `mended` when it is over and no other policy came of it."""

    kind: Literal["loaded", "problem", "mended", "failed"]
    status: PolicyStatus
    error: BaseException | None = None


class Source(Protocol):
    """An engine with a policy in it."""

    @property
    def kind(self) -> Literal["embedded", "opa"]: ...
    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def problem(self) -> str | None: ...
    @property
    def ready(self) -> bool: ...
    async def open(self) -> None: ...
    async def look(self) -> bool: ...
    async def evaluate(self, entrypoint: Entrypoint, document: bytes, /) -> object: ...
    async def aclose(self) -> None: ...


class Policy:
    def __init__(
        self,
        source: Source,
        *,
        supported: frozenset[str],
        clock: Callable[[], float],
        interval: float,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        on_event: Callable[[PolicyEvent], None] | None = None,
    ) -> None:
        """`supported` are the obligations that the caller carries out; `clock` gives seconds since the epoch;
        `interval` is in seconds."""
        self._source = source
        self._supported = supported
        self._clock = clock
        self._interval = interval
        self._sleep = sleep
        self._on_event = on_event
        self._since = 0.0
        self._on_change: Callable[[], object] = lambda: None
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    def build(
        cls,
        settings: PolicySettings,
        *,
        supported: frozenset[str],
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        on_event: Callable[[PolicyEvent], None] | None = None,
    ) -> Policy:
        """Raises `PolicyBroken` for settings that contradict each other. Nothing is loaded before `start`."""
        return cls(
            _source(settings, monotonic),
            supported=supported,
            clock=clock,
            interval=settings.reload.total_seconds(),
            on_event=on_event,
        )

    async def start(self) -> None:
        """Load the policy. Raises `PolicyBroken` if the embedded engine cannot; an OPA may come later."""
        await self._source.open()
        if self._source.ready:
            self._since = self._clock()
        self._tell("loaded" if self._source.ready else "problem")
        self._watch = asyncio.get_running_loop().create_task(self._watching(), name="policy-watch")

    async def stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await self._source.aclose()

    def on_change(self, told: Callable[[], object]) -> None:
        """Have `told` called whenever another policy has come into force."""
        self._on_change = told

    async def decide(self, document: JsonObject) -> Decision:
        """The decision on one call (`document.decision`). Never raises: what fails is a denial with its own code."""
        try:
            answer = await self._source.evaluate("decision", documents.encode(document))
            return self._named(verdict.read(answer, self._supported))
        except PolicyError as error:
            return self._named(verdict.refused(error.code, error.message, error.remedy))
        except Exception as error:  # noqa: BLE001 - a defect here must be a denial, and be seen
            self._tell("failed", error)
            return self._named(verdict.refused("policy/unavailable", *_DEFECT))

    async def visible(self, document: JsonObject, asked: frozenset[str]) -> frozenset[str]:
        """Which of `asked` may be shown (`document.visibility`). Never raises: what fails hides everything."""
        try:
            return verdict.read_visible(await self._source.evaluate("visibility", documents.encode(document)), asked)
        except PolicyError:
            return frozenset()
        except Exception as error:  # noqa: BLE001 - a defect here must hide everything, and be seen
            self._tell("failed", error)
            return frozenset()

    def status(self) -> PolicyStatus:
        source = self._source
        return PolicyStatus(source.ready, source.name, source.revision, source.kind, source.problem, self._since)

    def _named(self, decision: Decision) -> Decision:
        """With the revision that the engine is known to hold, which Rego itself cannot know (see `bundle.py`)."""
        policy = decision.policy
        name = self._source.name if policy == verdict.UNKNOWN_POLICY and self._source.name else policy.name
        revision = self._source.revision or policy.revision or "unknown"
        return Decision(decision.effect, decision.reasons, decision.obligations, PolicyRevision(name, revision))

    async def _watching(self) -> None:
        problem = self._source.problem
        while True:
            await self._sleep(self._interval)
            try:
                changed = await self._source.look()
                if changed:
                    self._came_into_force()
            except Exception as error:  # noqa: BLE001 - the watch must outlive a defect, and the defect be seen
                self._tell("failed", error)
                continue
            if self._source.problem not in {None, problem}:
                self._tell("problem")
            elif self._source.problem is None and problem is not None and not changed:
                self._tell("mended")
            problem = self._source.problem

    def _came_into_force(self) -> None:
        self._since = self._clock()
        self._tell("loaded")
        self._on_change()

    def _tell(self, kind: Literal["loaded", "problem", "mended", "failed"], error: BaseException | None = None) -> None:
        if self._on_event is not None:
            with suppress(Exception):  # a log that fails must not turn a denial into an exception
                self._on_event(PolicyEvent(kind, self.status(), error))


def shipped() -> Path:
    """The policy folder that comes with opagate: in a wheel, inside the package; else the repository's `rego/`."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_rego"
    return installed if installed.is_dir() else package.parent / "rego"


def _source(settings: PolicySettings, monotonic: Callable[[], float]) -> Source:
    engine = settings.engine
    if isinstance(engine, EmbeddedEngine):
        return PolicyFolder(
            settings.path or shipped(),
            settings.grants,
            deadline=engine.deadline.total_seconds(),
            monotonic=monotonic,
        )
    if settings.grants is not None:
        raise PolicyBroken(
            "policy.grants cannot be given to an OPA that loads its own data",
            "put the grants into OPA's bundle, at gateway/grants/data.yaml, and leave policy.grants out",
        )
    return RemotePolicy(OpaClient(engine))
