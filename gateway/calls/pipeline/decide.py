"""The verdict of policy on a call, from its arguments and the history of its task. The journal has the verdict before
the gateway sends anything.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from gateway.authority.approvals.endorsement import Endorsement
from gateway.base.concurrency.worker_thread import AT_ONCE
from gateway.base.json.walk import Leaves, leaves
from gateway.calls.pipeline.completion import run_for_result
from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.calls.pipeline.effects import EffectStage, tell_repeat
from gateway.calls.pipeline.releasing import Release, Releases, find_endorsement
from gateway.calls.pipeline.spans import record_decision_span
from gateway.history import Reservation, TaskLedger
from gateway.history.facts import depth_of
from gateway.inspection.data_taint import DATA_TAINT
from gateway.model.call import Call, Context, RepeatedEffect
from gateway.model.content import CallContent
from gateway.model.decision import Decision, Reason, Refusal
from gateway.model.error_codes import REFUSED
from gateway.model.errors import HistoryError, JournalError
from gateway.model.facts import SessionFacts
from gateway.model.target import ASSUMABLE, Effect, Labels, Target
from gateway.policy import document
from gateway.policy.observing import let_pass
from gateway.record.journal.writer import QueuedEntry

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection

    from gateway.authority.effects import Claim
    from gateway.authority.lending import Authority
    from gateway.authority.signals.register import SignalRegister
    from gateway.base.concurrency.worker_thread import WorkerThread
    from gateway.calls.pipeline.context import RequestContext
    from gateway.calls.pipeline.credentials import CallerCredentials, CredentialChain
    from gateway.calls.pipeline.prepare import PreparedCall
    from gateway.calls.pipeline.record import CallRecord
    from gateway.inspection.credentials.finding import StandIn
    from gateway.inspection.inspector import Inspector
    from gateway.policy.observing import ObserveMode
    from gateway.policy.policy import Policy
    from gateway.policy.shadow import ShadowPolicy
    from gateway.record.telemetry.metrics import Metrics

# --- missing labels --------------------------------------------------------------------------------------


_PROPERTIES: Final = "/resource/properties/"
_WRITTEN: Final = "/session/write_audiences"
_SAID: Final = {
    "effect": "counts as `{}`",
    "egress": "counts as one by which data leaves",
    "sensitivity": "counts as `{}`",
}
"""A label → the words for its fail-closed value."""
_NAMED: Final = 5
"""Systems that a reason names."""


def name_assumed_labels(decision: Decision, target: Target, assumed_writes: Collection[str] = ()) -> Decision:
    """Return a decision whose reasons name each label that the gateway assumed and the reason rests on, these reasons first.

    `assumed_writes` are the systems that only calls without a label for their effect have written to.
    """
    if decision.allowed or not (target.labels.assumed or assumed_writes):
        return decision
    named = [_name_labels(reason, target, sorted(assumed_writes)) for reason in decision.reasons]
    # Sorting is stable, so that all else stays in the order of the policy.
    named.sort(key=lambda pair: not pair[1])
    return structs.replace(decision, reasons=tuple(reason for reason, _ in named))


def _name_labels(reason: Reason, target: Target, assumed_writes: list[str]) -> tuple[Reason, bool]:
    """Return a reason with its missing labels, and whether it rests on any."""
    labels = [name for name in ASSUMABLE if name in target.labels.assumed and f"{_PROPERTIES}{name}" in reason.facts]
    others = [name for name in assumed_writes if name != target.audience] if _WRITTEN in reason.facts else []
    if not labels and not others:
        return reason, False
    causes = ([_tell_call(target, labels)] if labels else []) + ([_tell_history(others)] if others else [])
    message = " ".join([*(cause for cause, _ in causes), reason.message])
    remedy = " ".join([*(advice for _, advice in causes), reason.remedy])
    return replace(reason, message=message, remedy=remedy), True


def _tell_call(target: Target, labels: list[str]) -> tuple[str, str]:
    said = " and ".join(_say(name, target.labels) for name in labels)
    named = " and ".join(f"`{name}`" for name in labels)
    return (
        f"The tool {target.id} has no label {named}, so it {said}.",
        f"An operator can set its {named} under upstreams.{target.upstream}.tools: `opagate catalogue label {target.upstream}`.",
    )


def _tell_history(systems: list[str]) -> tuple[str, str]:
    more = f" and {len(systems) - _NAMED} more" if len(systems) > _NAMED else ""
    shown = f"{', '.join(systems[:_NAMED])}{more}"
    return (
        f"Earlier calls had no label `effect`, so {shown} count as written to.",
        f"An operator can set `effect` for the tools of {shown}.",
    )


def _say(name: str, labels: Labels) -> str:
    return _SAID[name].format(getattr(labels, name))


# --- the decision ----------------------------------------------------------------------------------------


_NO_STAND_INS: Final[dict[str, StandIn]] = {}


class Ruling(Struct, frozen=True):
    """A recorded decision on a call, with the facts and the content behind the decision."""

    decision: Decision
    facts: SessionFacts
    content: CallContent


class _Recorded(Struct, frozen=True):
    """A decision on a counted call, with its entry on the way to the journal."""

    decision: Decision
    counted: Reservation
    entry: QueuedEntry
    claimed: Release | None
    endorsement: Endorsement | None
    asked: float
    """The time of the question to policy, in monotonic seconds."""
    seconds: float
    """Seconds that the policy took."""


class CallInspection(Struct, frozen=True):
    """The inspection of calls for credentials, destinations and words."""

    inspector: Inspector
    ledger: TaskLedger
    chain: CredentialChain
    worker: WorkerThread

    async def inspect_arguments(self, context: RequestContext, prepared: PreparedCall) -> tuple[CallContent, Leaves]:
        """Return the content of the arguments, with the credentials that other tasks of the job were shown, and their leaves."""
        call, task, principal = prepared.call, prepared.task, prepared.request.principal
        size, seen, handles = len(prepared.message.body), self.ledger.seen(task), prepared.handles
        suppressions = self.inspector.suppressions
        look = partial(
            self.inspector.call,
            call,
            task,
            seen,
            handles.stand_ins() if handles.held else _NO_STAND_INS,
            suppressions=suppressions.of(call.target, context.arrived) if suppressions.rules else None,
            index=self.chain.index(task, seen) if seen else None,
            relevance=self.ledger.relevance(task, call.target),
            caller=principal,
        )
        if size <= AT_ONCE:
            walked = leaves(call.arguments)
            content = look(walked=walked)
        else:
            content, walked = await self.worker.run(size, partial(_walk_and_look, call, look))
        if self.chain.origins.of(principal.job) is not None:
            content = await self.chain.add_other_tasks(principal.job, task, call, content, walked=walked, size=size)
        return content, walked


def _walk_and_look(call: Call, look: Callable[..., CallContent]) -> tuple[CallContent, Leaves]:
    walked = leaves(call.arguments)
    return look(walked=walked), walked


class PolicyQuestions(Struct, frozen=True):
    """The questions to policy about calls. `authority` is `None` without leased credentials, `releases` without people, `shadow` without
    a shadow policy."""

    policy: Policy
    signals: SignalRegister
    authority: Authority | None
    releases: Releases | None
    observing: ObserveMode
    shadow: ShadowPolicy | None = None

    async def ask_policy(
        self,
        context: RequestContext,
        prepared: PreparedCall,
        counted: Reservation,
        release: Release | None,
        endorsement: Endorsement | None,
        *,
        repeats: RepeatedEffect | None = None,
    ) -> tuple[Context, Decision]:
        """Return the policy's decision on a counted call, and the circumstances given to the policy."""
        principal, call, facts = prepared.request.principal, prepared.call, counted.facts
        approved = endorsed = leases = None
        if self.releases is not None and (release is not None or endorsement is not None):
            approved, endorsed = self.releases.describe(release, endorsement)
        if self.authority is not None:
            leases = self.authority.leases.count(prepared.task.id)
        told = Context(
            time=context.arrived,
            trace_id=context.trace.trace_id,
            client_ip=context.exchange.client_ip,
            client_name=prepared.message.client_name,
            task=prepared.task,
            supported_obligations=SUPPORTED_OBLIGATIONS,
            approval=approved,
            endorsement=endorsed,
            signals=self.signals.facts(principal) if self.signals.signals else (),
            leases=leases,
            repeats=repeats,
            enforced=not self.observing.is_on(call.target.upstream),
        )
        asked = document.decision(principal, call, told, facts, counted.declared)
        decision = await self.policy.decide(asked)
        if self.shadow is not None:
            shown = asked if counted.shadowed is None else document.replace_declared(asked, counted.shadowed)
            self.shadow.note(context.id, shown, decision, size=len(prepared.message.body), counted=counted.book.tables)
        if decision.effect != "allow":
            decision = name_assumed_labels(decision, call.target, facts.assumed_write_audiences)
            decision = tell_repeat(decision, repeats, call.target)
            if not told.enforced:
                is_guarded = self.observing.is_guarded(facts.confidential_systems)
                decision = let_pass(decision, SUPPORTED_OBLIGATIONS, is_guarded=is_guarded)
        if prepared.handles.held:
            decision = prepared.handles.enforce_audience(decision, call.target.audience)
        return told, decision


class Decider(Struct, frozen=True):
    """The stage that decides on calls, and records each decision before its call goes on."""

    inspection: CallInspection
    questions: PolicyQuestions
    record: CallRecord
    known: CallerCredentials
    ledger: TaskLedger
    metrics: Metrics
    monotonic: Callable[[], float]
    effects: EffectStage | None = None

    async def decide(self, context: RequestContext, prepared: PreparedCall, release: Release | None = None) -> Ruling:
        """Return the policy's decision on a call, after the record has it. `release` is a person's approval of an equal call.

        A counted call is decided also if its caller leaves: a caller could take a denial back by leaving otherwise.
        """
        claim = None
        if self.effects is not None and prepared.call.target.labels.effect_key:
            claim = await self.effects.claim(prepared, context.id)
        if claim is None or self.effects is None:
            return await self._decide(context, prepared, release, None)
        return await self._decide_once(context, prepared, release, claim, self.effects)

    async def _decide_once(
        self,
        context: RequestContext,
        prepared: PreparedCall,
        release: Release | None,
        claim: Claim,
        effects: EffectStage,
    ) -> Ruling:
        """Return the decision on a call with a claim on its effect, which a call that does not pass gives back."""
        passes = False
        try:
            ruling = await self._decide(context, prepared, release, claim.repeats)
            passes = ruling.decision.allowed
        finally:
            if not passes:
                await effects.conclude(claim, passes=False)
        if passes and claim.earlier is not None:
            try:
                await effects.conclude(claim, passes=True)
            except BaseException:
                effects.register.settle(context.id, "failed")
                self.record.record_cancelled(context, prepared)
                raise
        return ruling

    async def _decide(
        self, context: RequestContext, prepared: PreparedCall, release: Release | None, repeats: RepeatedEffect | None
    ) -> Ruling:
        content, walked = await self.inspection.inspect_arguments(context, prepared)
        recorded, left = await run_for_result(
            self._decide_and_record(context, prepared, (content, walked), release, repeats)
        )
        decision, claimed, releases = recorded.decision, recorded.claimed, self.questions.releases
        try:
            left = await recorded.entry.outlast() or left
            if decision.effect != "allow":
                left = await self._outlast_refusal(prepared) or left
        except BaseException:
            if decision.effect == "allow":
                self._take_back(context, prepared, claimed)
            elif claimed is not None and releases is not None:
                releases.give_back(claimed, context.id)
            raise
        self._conclude(context, prepared, recorded)
        if claimed is not None and releases is not None:
            try:
                _, late = await run_for_result(releases.settle(context.id, prepared.task, decision, claimed))
            except JournalError:
                self.record.record_cancelled(context, prepared)
                raise
            left = late or left
        if decision.effect == "allow" and content.tokens and prepared.call.target.labels.effect is not Effect.READ:
            left = await self._note_written(context, prepared, content) or left
        if left is not None:
            if decision.effect == "allow":
                self.record.record_cancelled(context, prepared)
            raise left
        return Ruling(decision, recorded.counted.facts, content)

    async def _note_written(
        self, context: RequestContext, prepared: PreparedCall, content: CallContent
    ) -> asyncio.CancelledError | None:
        """Keep the foreign text of an allowed call. Return the cancellation meanwhile. Raises `HistoryError`."""
        ledger = self.ledger
        try:
            return (await run_for_result(ledger.note_written(prepared.task, context.id, content, context.arrived)))[1]
        except HistoryError:
            self.record.record_cancelled(context, prepared)
            raise

    async def _decide_and_record(
        self,
        context: RequestContext,
        prepared: PreparedCall,
        inspected: tuple[CallContent, Leaves],
        release: Release | None,
        repeats: RepeatedEffect | None,
    ) -> _Recorded:
        """Decide a call, and queue its entry. The call is counted first, so that parallel calls cannot race a limit."""
        content, walked = inspected
        principal, call, task = prepared.request.principal, prepared.call, prepared.task
        releases, ask_policy = self.questions.releases, self.questions.ask_policy
        claimed = (
            None if release is None or releases is None else await releases.claim(release, context.id, principal.job)
        )
        above = () if task.parent is None else task.parent.agents
        depth, meta = depth_of(principal, call.target, above), prepared.message.params.get("_meta")
        try:
            counted = await self.ledger.count(
                task,
                context.id,
                call,
                content,
                context.arrived,
                depth=depth,
                principal=principal,
                taint=meta[DATA_TAINT] if isinstance(meta, dict) and DATA_TAINT in meta else None,
            )
        except BaseException:
            if claimed is not None and releases is not None:
                releases.give_back(claimed, context.id)
            raise
        try:
            endorsement = None
            if releases is not None:
                endorsement = find_endorsement(releases.endorsements, prepared, counted.facts, content)
            asked = self.monotonic()
            decided = await ask_policy(context, prepared, counted, claimed, endorsement, repeats=repeats)
            seconds = self.monotonic() - asked
            known = None
            # Asked after the policy: another call of the job may have shown a credential meanwhile.
            seen = self.ledger.seen(task)
            if content.sightings or seen or self.inspection.chain.origins.of(principal.job) is not None:
                known = self.known.find_known(principal.job, task, content.sightings)
            arguments = await self.record.describe_arguments(prepared, counted, walked, known)
            if endorsement is not None and releases is not None and not await releases.is_in_force(endorsement):
                endorsement = None
                decided = await ask_policy(context, prepared, counted, claimed, None, repeats=repeats)
            approval = None if claimed is None else claimed.approval.id
            entry = self.record.begin(context, prepared, decided, counted, arguments, known=known, approval=approval)
        except BaseException:
            self._take_back(context, prepared, claimed)
            raise
        decision = decided[1]
        if decision.effect != "allow":
            # At once: other calls of this turn of the loop would find a refused call in flight until the write.
            codes = tuple(reason.code for reason in decision.reasons) if decision.is_denial else ()
            asked_people = decision.effect == "ask"
            self.ledger.release(task, context.id, denied=decision.is_denial, asked=asked_people, codes=codes)
        return _Recorded(decision, counted, entry, claimed, endorsement, asked, seconds)

    async def _outlast_refusal(self, prepared: PreparedCall) -> asyncio.CancelledError | None:
        """Wait until other gateways count a refusal. Without them it is a refusal too."""
        with suppress(HistoryError):
            # Begun at the release, so mostly over by now.
            return (await run_for_result(self.ledger.log.confirm(prepared.request.principal.job)))[1]

    def _take_back(self, context: RequestContext, prepared: PreparedCall, claimed: Release | None) -> None:
        """Uncount a call without a recorded decision, and let another call have its approval."""
        self.ledger.release(prepared.task, context.id, denied=False)
        if claimed is not None and self.questions.releases is not None:
            self.questions.releases.give_back(claimed, context.id)

    def _conclude(self, context: RequestContext, prepared: PreparedCall, recorded: _Recorded) -> None:
        """Let a recorded call pass. A refused call counts no more, except as a denial."""
        decision, target, releases = recorded.decision, prepared.call.target, self.questions.releases
        if decision.effect == "allow":
            self.ledger.let_pass(prepared.task, context.id)
            if recorded.endorsement is not None and releases is not None:
                releases.endorsements.note_use(recorded.endorsement.id)
        code = decision.reasons[0].code if decision.reasons else "allowed"
        if self.questions.shadow is not None:
            self.questions.shadow.confirm(context.id)
        effect = decision.effect if decision.would is None else f"would-{decision.would}"
        self.metrics.count_decision(target.upstream, prepared.call.action, effect, code, recorded.seconds)
        if context.trace.recording is not None:
            record_decision_span(
                context, prepared.message, target, decision, asked=recorded.asked, seconds=recorded.seconds
            )


def refuse_denied(decision: Decision) -> Refusal:
    """Return the refusal of a call that the policy denied."""
    return Refusal(200, decision.reasons[0], REFUSED, decision=decision)
