"""The policy of an OPA, evaluated here: OPA fetches and keeps a signed bundle, and the gateway evaluates the plan in it.

Every nth decision is put to OPA as well. An answer of OPA under the same revision must be the same. After a difference the stricter
answer holds for the call, and a setting says what decides until another bundle comes. Without OPA the gateway goes on with the
bundle that it has verified.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from gateway.base.concurrency.background import in_thread
from gateway.config import OpaEngine
from gateway.model.errors import PolicyBroken, PolicyError, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy.contract import Entrypoint
from gateway.policy.facts import NO_FACTS, read_facts
from gateway.policy.folder.data_files import DATA_FILES
from gateway.policy.opa.client import OpaClient
from gateway.policy.opa.remote import RemotePolicy
from gateway.policy.opa.signed_bundle import BundleKey, SignedBundle, read_bundle, read_key
from gateway.policy.plan.loading import Loaded, Plans
from gateway.policy.plan.program import CompiledPolicy
from gateway.policy.plan.values import equal, plain
from gateway.policy.trials import load_checks
from gateway.policy.trials.trial import Trial
from gateway.wire.http.tls_files import TlsFiles

CheckResult: TypeAlias = Literal["agreed", "differed", "failed", "skipped"]
"""What a check gave. OPA did not answer (`failed`), or it has another revision (`skipped`)."""
_RANKS: Final = {"deny": 0, "ask": 1, "allow": 2}
_REFUSED: Final = "see /readyz or the log, which say why; bring a bundle whose plan OPA itself made"

_Mark: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """The comparison of one decision with OPA's. `revision` and `plan` name the policy in force."""

    result: CheckResult
    revision: str
    plan: str


class _CountedPolicy(CompiledPolicy):
    """A compiled policy that counts its decisions since the last check."""

    decisions = 0

    def evaluate(self, entrypoint: str, document: JsonObject) -> object:
        self.decisions += entrypoint == "decision"
        return super().evaluate(entrypoint, document)


class HerePolicy:
    """A policy from OPA's signed bundle, evaluated in this process."""

    kind: Literal["embedded", "opa"] = "opa"

    def __init__(
        self,
        settings: OpaEngine,
        server: OpaClient,
        remote: RemotePolicy,
        plans: Plans,
        *,
        monotonic: Callable[[], float],
        trial: Callable[[Trial], Awaitable[None]] | None = None,
        on_check: Callable[[PolicyCheck], None] | None = None,
    ) -> None:
        """Take the settings, and the ways to OPA and to plans. `trial` tries a bundle, and raises a `PolicyError`."""
        self._settings = settings
        self._server = server
        self._remote = remote
        self._plans = plans
        self._trial = trial
        self._monotonic = monotonic
        self._on_check = on_check
        self._bundle: SignedBundle | None = None
        """The bundle in force."""
        self._held: _CountedPolicy | None = None
        self._key: BundleKey | None = None
        self._seen: _Mark | None = None
        self._fault: tuple[str, str] | None = None
        """What is wrong with the file that was read last."""
        self._flaw: str | None = "the bundle of OPA has not been read yet"
        self._difference: str | None = None
        self.name = ""
        self.revision = ""
        self.plan: str | None = None
        self.facts = NO_FACTS
        self.current = monotonic()

    @property
    def ready(self) -> bool:
        return self._held is not None

    @property
    def problem(self) -> str | None:
        if self._flaw or self._difference or self._remote.problem:
            return self._flaw or self._difference or self._remote.problem
        if self._remote.revision != self.revision:
            return (
                f"OPA holds the revision {self._remote.revision!r} and the bundle here is {self.revision!r}, so no decision is"
                " checked; have OPA keep its bundle on disk (`persist: true`) where policy.engine.bundle points"
            )
        return None

    @property
    def compiled(self) -> CompiledPolicy | None:
        """Return the policy that answers at once; `None` if `evaluate` has to answer the next question."""
        held = self._held
        if held is None or held.decisions >= self._settings.check_every - 1 or not self._is_trusted:
            return None
        return held

    @property
    def _is_trusted(self) -> bool:
        return self._difference is None or self._settings.on_difference == "log"

    async def open(self) -> None:
        """Load for the first time. Raise `PolicyBroken` for a key that cannot be used; a bundle may come later."""
        self._key = await in_thread(partial(read_key, cast("Path", self._settings.bundle_key)))
        await self.look()

    async def look(self) -> bool:
        """Look once; whether another policy came into force. What is wrong is told in `problem`."""
        begun = self._monotonic()
        await self._remote.look()
        try:
            changed = await self._load()
        except PolicyError as error:
            self._flaw = f"{error.message}; {error.remedy}"
            return False
        self._flaw = None
        if self._remote.problem is None and self._remote.revision == self.revision:
            self.current = begun
        return changed

    async def _load(self) -> bool:
        """Return whether another bundle came into force. Raise a `PolicyError` for one that is left out."""
        path, key = cast("Path", self._settings.bundle), cast("BundleKey", self._key)
        seen = await in_thread(partial(_mark, path))
        if seen == self._seen:
            if self._fault is not None:
                raise PolicyBroken(*self._fault)
            return False
        try:
            bundle = await in_thread(partial(read_bundle, path, key))
            is_other = bundle != self._bundle
            if is_other:
                loaded = await self._plans.load_plan(bundle.plan, bundle.data)
                await self._adopt(bundle, loaded)
        except PolicyBroken as error:
            # The file stays as it is. Another error may pass, so the next look tries again.
            self._seen, self._fault = seen, (error.message, error.remedy)
            raise
        self._seen, self._fault = seen, None
        return is_other

    async def _adopt(self, bundle: SignedBundle, loaded: Loaded) -> None:
        """Put a bundle into force. Raise a `PolicyError` for one that answers badly."""
        deadline = self._settings.deadline.total_seconds()
        if self._trial is not None:
            places = {file.name: f"{file.path} of the bundle" for file in DATA_FILES}
            await self._trial(Trial(loaded.code, bundle.data, limit=deadline / 2, places=places))
        held = _CountedPolicy(loaded.program, deadline=deadline, thread_time=time.thread_time)
        self.name = await load_checks.require(partial(_answer, held))
        held.decisions = 0
        self.facts = read_facts(json.loads(bundle.data), loaded.program.holds)
        self._bundle, self._held, self._difference = bundle, held, None
        self.revision, self.plan = bundle.revision, loaded.digest

    async def evaluate(self, entrypoint: Entrypoint, document: JsonObject) -> object:
        """Return the answer to one input. Raise a `PolicyError`, always so without a verified bundle."""
        held = self._held
        if held is None:
            raise PolicyUnavailable(
                "the gateway has no verified bundle of OPA", "see /readyz or the log, which say why"
            )
        if not self._is_trusted and self._settings.on_difference == "ask":
            return await self._remote.evaluate(entrypoint, document)
        if not self._is_trusted:
            raise PolicyUnavailable("OPA and the plan of its bundle have differed", _REFUSED)
        if entrypoint != "decision":
            return held.evaluate(entrypoint, document)
        held.decisions = -1  # this decision is the check itself
        own = held.evaluate(entrypoint, document)
        return await self._check(held, document, own)

    async def _check(self, held: _CountedPolicy, document: JsonObject, own: object) -> object:
        """Return the answer to a decision after OPA was asked too: the stricter one of two that differ."""
        revision, plan = self.revision, self.plan or ""
        try:
            told, of = await self._server.evaluate_of_revision("decision", documents.encode(document))
        except PolicyError:
            return self._note("failed", revision, plan, own)
        if of != revision:
            return self._note("skipped", revision, plan, own)
        if equal(plain(own), plain(told)):
            return self._note("agreed", revision, plan, own)
        if self._held is held:
            self._difference = (
                f"OPA and the plan of its bundle {revision!r} gave different answers to one decision; bring a bundle whose plan"
                " OPA itself made, and report this with both versions"
            )
        return self._note("differed", revision, plan, own if _rank(own) <= _rank(told) else told)

    def _note(self, result: CheckResult, revision: str, plan: str, answer: object) -> object:
        if self._on_check is not None:
            self._on_check(PolicyCheck(result, revision, plan))
        return answer

    async def malformed_rule(self, document: JsonObject) -> str | None:
        """Return the rule of a family that gives a finding without a code. Raise a `PolicyError`."""
        return await self._remote.malformed_rule(document)

    @property
    def authorities(self) -> TlsFiles | None:
        """Return the certificate authorities that OPA's certificate is verified with."""
        return self._remote.authorities

    async def aclose(self) -> None:
        await self._remote.aclose()


async def _answer(held: CompiledPolicy, entrypoint: Entrypoint, document: JsonObject) -> object:
    return held.evaluate(entrypoint, document)


def _mark(path: Path) -> _Mark:
    """Return what a change of a file changes. Raise `PolicyBroken` without the file."""
    try:
        found = path.stat()
    except OSError as error:
        raise PolicyBroken(
            f"policy.engine.bundle cannot be read: {error}",
            "have OPA keep its bundle there (`persist: true`), or wait until OPA has it",
        ) from None
    return found.st_size, found.st_ino, found.st_mtime_ns


def _rank(answer: object) -> int:
    """Return how much an answer permits. An answer of another form permits nothing."""
    effect = cast("JsonObject", answer).get("effect") if isinstance(answer, dict) else None
    return _RANKS.get(effect, 0) if isinstance(effect, str) else 0
