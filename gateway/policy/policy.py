"""The policy in force: one question per call, one answer, and never an exception.

Whatever fails becomes a refusal with its own code. `build` chooses the engine, `start` loads, and a task looks for
changes every `reload`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, cast

from msgspec import structs

from gateway.base.concurrency.background import Job, Pause
from gateway.config import EmbeddedEngine, PolicySettings
from gateway.model import reasons
from gateway.model.decision import Decision, PolicyRevision
from gateway.model.errors import PolicyBroken, PolicyError, PolicyStale
from gateway.model.wire import JsonObject
from gateway.policy import grants as grant_fits
from gateway.policy import verdict
from gateway.policy.contract import Entrypoint
from gateway.policy.facts import NO_CHANGE, FactBook, FactChange, compare
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.folder.reload import PolicyFolder
from gateway.policy.grants import Fit
from gateway.policy.opa.client import OpaClient
from gateway.policy.opa.here import HerePolicy, PolicyCheck
from gateway.policy.opa.remote import Agreement, RemotePolicy
from gateway.policy.plan.loading import Plans
from gateway.policy.plan.program import CompiledPolicy
from gateway.policy.plan.store import PlanTrust
from gateway.policy.trials import trial
from gateway.policy.trials.trial import Trial
from gateway.wire.http.tls_files import TlsFiles

_DEFECT: Final = "the gateway failed while asking for a decision", "report this as a defect; the log has its place"
_STALE: Final = (
    "the policy is stale: for longer than policy.stale_after a newer one was kept out, or nobody could tell if there is one",
    "have an operator look at /readyz or the log, which say why",
)

_GRACE_LOOKS: Final = 3
"""Looks for which an OPA may still be loading a changed folder."""

EventKind = Literal["started", "loaded", "problem", "stale", "mended", "failed"]


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """The state of the policy. `since` is the start of the policy in force, in seconds since the epoch, 0.0 without
    one. `problem` keeps a newer policy out, or keeps this one from answering."""

    ready: bool
    name: str
    revision: str
    engine: Literal["embedded", "opa"]
    problem: str | None
    since: float
    plan: str | None = None
    """The digest of the plan that decides, `None` if an OPA does."""


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """An event for logs and metrics. `facts` is the change of declared facts. `problem` comes once when a problem arises, and `stale` when calls are refused for
    it. `mended` comes after its end without another policy."""

    kind: EventKind
    status: PolicyStatus
    error: BaseException | None = None
    facts: FactChange = NO_CHANGE


class _Permission(NamedTuple):
    """A permission without conditions: the answer, the decision, and the name and revision of the policy."""

    answer: JsonObject
    decision: Decision
    name: str
    revision: str


class PolicySource(Protocol):
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
    @property
    def current(self) -> float:
        """Return the time when the policy in force was last known to be the newest, in monotonic seconds."""
        ...

    async def open(self) -> None: ...
    async def look(self) -> bool: ...
    @property
    def plan(self) -> str | None:
        """Return the digest of the plan in force."""
        ...

    @property
    def facts(self) -> FactBook:
        """Return the facts that the policy in force declares."""
        ...

    @property
    def compiled(self) -> CompiledPolicy | None:
        """Return the compiled policy in force, which answers at once. Without a compiled policy, ask `evaluate`."""
        ...

    @property
    def authorities(self) -> TlsFiles | None:
        """Return the certificate authorities for the way to an OPA, if there are any."""
        ...

    async def evaluate(self, entrypoint: Entrypoint, document: JsonObject, /) -> object: ...
    async def malformed_rule(self, document: JsonObject, /) -> str | None:
        """Return the rule of a family that gives a finding without a code on this input."""
        ...

    async def aclose(self) -> None: ...


class Policy:
    def __init__(
        self,
        source: PolicySource,
        *,
        supported: frozenset[str],
        clock: Callable[[], float],
        interval: float,
        stale_after: float = math.inf,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] | None = None,
        on_event: Callable[[PolicyEvent], None] | None = None,
    ) -> None:
        """Take the source of the policy. `supported` are the obligations that the caller carries out; `clock` gives seconds since the epoch;
        `interval` and `stale_after` are in seconds."""
        self._source = source
        self._supported = supported
        self._clock = clock
        self._interval = interval
        self._stale_after = stale_after
        self._monotonic = monotonic
        self._pause = Pause()
        self._sleep = sleep or self._pause.rest
        self._on_event = on_event
        self._since = 0.0
        self._listeners: list[Callable[[], object]] = []
        self._watch: Job | None = None
        self._permission: _Permission | None = None

    @classmethod
    def build(
        cls,
        settings: PolicySettings,
        *,
        supported: frozenset[str],
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        on_event: Callable[[PolicyEvent], None] | None = None,
        is_for_calls: bool = True,
        plans: Plans | None = None,
        try_policy: Callable[[Trial], Awaitable[None]] | None = None,
        on_check: Callable[[PolicyCheck], None] | None = None,
    ) -> Policy:
        """Return a policy, not yet loaded. Raise `PolicyBroken` for settings that contradict each other.

        A policy that serves no calls (`is_for_calls`) is neither timed nor tested. Without `plans`, no file keeps its code.
        """
        return cls(
            _source(settings, monotonic, plans, (try_policy or trial.require) if is_for_calls else None, on_check),
            supported=supported,
            clock=clock,
            interval=settings.reload.total_seconds(),
            stale_after=_stale_after(settings),
            monotonic=monotonic,
            on_event=on_event,
        )

    async def start(self) -> None:
        """Load the policy. Raise `PolicyBroken` for a folder that cannot be loaded; an OPA may come later."""
        await self._source.open()
        if self._source.ready:
            self._since = self._clock()
        self._tell("started" if self._source.ready else "problem")
        self._watch = Job(self._watch_source, "policy-watch")

    async def stop(self) -> None:
        if self._watch is not None:
            await self._watch.stop()
        await self._source.aclose()

    @property
    def authorities(self) -> TlsFiles | None:
        """Return the certificate authorities for the way to an OPA, if there are any."""
        return self._source.authorities

    def look_now(self) -> None:
        """Look for changes at once, in the place of waiting for the next look."""
        self._pause.end()

    def adopt_limits(self, settings: PolicySettings) -> None:
        """Try the policy with other limits, and put it into force. An OPA has its own limits."""
        if isinstance(self._source, PolicyFolder):
            self._source.adopt_limits(PolicyFolders.configured(settings).limits)
            self.look_now()

    def on_change(self, told: Callable[[], object]) -> None:
        """Have `told` called too whenever another policy has come into force."""
        self._listeners.append(told)

    async def decide(self, document: JsonObject) -> Decision:
        """Return the decision on one call (`document.decision`). Never raises: a failure is a refusal with its own
        code."""
        try:
            answer = await self._ask_source("decision", document)
            kept, source = self._permission, self._source
            # Python takes `true` and 1.0 for 1, so the version has to be of the same type.
            if (
                kept is not None
                and kept.answer == answer
                and type(cast("JsonObject", answer)["version"]) is int
                and kept.name == source.name
                and kept.revision == source.revision
            ):
                return kept.decision
            return await self._read_answer(answer, document)
        except PolicyError as error:
            return self._name_policy(verdict.refuse(error.code, error.message, error.remedy))
        except Exception as error:  # noqa: BLE001 - a defect here must be a denial, and be seen
            self._tell("failed", error)
            return self._name_policy(verdict.refuse(reasons.POLICY_UNAVAILABLE.code, *_DEFECT))

    async def _read_answer(self, answer: object, document: JsonObject) -> Decision:
        """Return the decision in an answer. Keep a permission without conditions, since most answers are equal to it."""
        decision = self._name_policy(await self._blame(verdict.read_decision(answer, self._supported), document))
        if decision.allowed and verdict.is_plain_permission(answer):
            kept = cast("JsonObject", answer)
            self._permission = _Permission(kept, decision, self._source.name, self._source.revision)
        return decision

    @property
    def facts(self) -> FactBook:
        """Return the facts that the policy in force declares."""
        return self._source.facts

    @property
    def in_force(self) -> object | None:
        """Return what decides, another object for each policy; `None` if answers may change with the same, as answers of an OPA."""
        is_stale = self._stale_after != math.inf and self._is_stale()
        return None if is_stale else self._source.compiled

    async def visible(self, document: JsonObject, asked: frozenset[str]) -> frozenset[str]:
        """Return the visible part of `asked` (`document.visibility`). Never raises: a failure hides everything."""
        try:
            return verdict.read_visible(await self._ask_source("visibility", document), asked)
        except PolicyError:
            return frozenset()
        except Exception as error:  # noqa: BLE001 - a defect here must hide everything, and be seen
            self._tell("failed", error)
            return frozenset()

    async def kept(self, document: JsonObject, asked: frozenset[str]) -> frozenset[str]:
        """Return the part of `asked` that the policy keeps (`document.leases`). Never raises: a failure keeps none."""
        try:
            return verdict.read_kept(await self._ask_source("leases", document), asked)
        except PolicyError:
            return frozenset()
        except Exception as error:  # noqa: BLE001 - a defect here must end every lease, and be seen
            self._tell("failed", error)
            return frozenset()

    async def fits(self, document: JsonObject) -> tuple[Fit, ...] | None:
        """Return how far each grant holds for a call; `None` if the policy does not say. For people, never for a call."""
        try:
            return grant_fits.read_fits(await self._ask_source("explanation", document))
        except PolicyError:
            return None

    def status(self) -> PolicyStatus:
        source = self._source
        return PolicyStatus(
            source.ready,
            source.name,
            source.revision,
            source.kind,
            self._problem(),
            self._since,
            source.plan,
        )

    async def _blame(self, decision: Decision, document: JsonObject) -> Decision:
        """Return a decision; if it is malformed, with the rule that gave a finding without a code."""
        if not decision.undecided or decision.reasons[0].code != reasons.POLICY_MALFORMED.code:
            return decision
        try:
            return verdict.blame(decision, await self._source.malformed_rule(document))
        except PolicyError:
            return decision

    async def _ask_source(self, entrypoint: Entrypoint, document: JsonObject) -> object:
        if self._stale_after != math.inf and self._is_stale():
            raise PolicyStale(*_STALE)
        compiled = self._source.compiled
        if compiled is not None:
            return compiled.evaluate(entrypoint, document)
        return await self._source.evaluate(entrypoint, document)

    def _is_stale(self) -> bool:
        """Return whether the policy is too old by the clock: a look may hang."""
        return self._monotonic() - self._source.current > self._stale_after

    def _problem(self) -> str | None:
        stale, problem = self._is_stale(), self._source.problem
        if stale:
            return f"{problem or _STALE[0]}; until that is mended, every call is refused (policy/stale)"
        if problem is not None and self._source.kind == "embedded":
            return f"{problem}; the policy before it stays in force"
        return problem

    def _name_policy(self, decision: Decision) -> Decision:
        """Return the decision with the engine's revision of the policy, which Rego cannot know (see `bundle.py`)."""
        policy = decision.policy
        name = self._source.name if policy == verdict.UNKNOWN_POLICY and self._source.name else policy.name
        revision = self._source.revision or policy.revision or "unknown"
        return structs.replace(decision, policy=PolicyRevision(name, revision))

    async def _watch_source(self) -> None:
        told, stale = None if self._source.ready else self._problem(), self._is_stale()
        while True:
            await self._sleep(self._interval)
            try:
                before = self._source.facts
                changed = await self._source.look()
                if changed:
                    self._came_into_force(before)
            except Exception as error:  # noqa: BLE001 - the watch must outlive a defect, and the defect be seen
                self._tell("failed", error)
                continue
            problem = self._problem()
            if problem not in {None, told}:
                self._tell("stale" if self._is_stale() else "problem")
            elif problem is None and told is not None and not changed:
                self._tell("mended")
            told = problem
            if stale != (stale := self._is_stale()) and not changed:
                # Lists are empty for as long.
                self.tell_listeners()

    def _came_into_force(self, before: FactBook) -> None:
        self._since = self._clock()
        self._tell("loaded", facts=compare(before, self._source.facts))
        self.tell_listeners()

    def tell_listeners(self) -> None:
        """Tell all that asked `on_change`: answers of policy may differ from now on."""
        for told in self._listeners:
            told()

    def _tell(self, kind: EventKind, error: BaseException | None = None, facts: FactChange = NO_CHANGE) -> None:
        if self._on_event is not None:
            with suppress(Exception):  # a log that fails must not turn a denial into an exception
                self._on_event(PolicyEvent(kind, self.status(), error, facts))


def _stale_after(settings: PolicySettings) -> float:
    return math.inf if settings.stale_after is None else settings.stale_after.total_seconds()


def _source(
    settings: PolicySettings,
    monotonic: Callable[[], float],
    plans: Plans | None,
    try_policy: Callable[[Trial], Awaitable[None]] | None,
    on_check: Callable[[PolicyCheck], None] | None,
) -> PolicySource:
    engine = settings.engine
    if isinstance(engine, EmbeddedEngine):
        folders = PolicyFolders.configured(settings)
        return PolicyFolder(
            folders,
            deadline=engine.deadline.total_seconds(),
            monotonic=monotonic,
            trial=try_policy,
            require_tests=settings.require_tests and try_policy is not None,
            plans=plans or Plans(trust=PlanTrust(settings.plan_keys)),
        )
    server, stale_after = OpaClient(engine), _stale_after(settings)
    if engine.evaluate == "here":
        if settings.limits:
            raise PolicyBroken(
                "with `evaluate: here` the limits of tasks, users and agents stand in the bundle",
                "leave `limits.task`, `limits.user` and `limits.agent` out, and write them into the policy's settings",
            )
        remote = RemotePolicy(server, stale_after=stale_after, monotonic=monotonic)
        ways = server, remote, plans or Plans()
        return HerePolicy(engine, *ways, monotonic=monotonic, trial=try_policy, on_check=on_check)
    agreement = None
    if settings.has_files:
        grace = _GRACE_LOOKS * settings.reload.total_seconds()
        agreement = Agreement(server, PolicyFolders.configured(settings), grace=grace, monotonic=monotonic)
    return RemotePolicy(server, stale_after=stale_after, monotonic=monotonic, agreement=agreement)
