"""Decides each step of a trace as the gateway decides a live call: with the same fold, facts, policy input and reading of answers.

There is no wire and no upstream. The trace has the answers.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, cast

from msgspec import structs

from gateway.base.json.walk import leaves
from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.calls.response.stream import read_label
from gateway.config import Configuration
from gateway.history.carried import NOTHING, Carried, add_job_words
from gateway.history.declared.accounts import FactAccounts
from gateway.history.declared.marks import FactReader, Subject
from gateway.history.events import Endorsed, JobMark, Passed, Released, Settled, list_shown, make_opening, pack
from gateway.history.exposure import Exposures, OriginReporter
from gateway.history.facts import depth_of, facts, keeps_words, relevance_of
from gateway.history.fold import apply
from gateway.history.jobs import Jobs
from gateway.history.new_events import build_observation, build_reservation, changes_nothing
from gateway.history.returning import MAX_KEEP, ResultPlace, ReturnedText, ReturningText, find_written
from gateway.history.state import TaskState, higher
from gateway.history.task_history import TaskHistory
from gateway.inspection.credentials import origins, ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Suppression, Suppressions
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.origins import KnownOrigins
from gateway.inspection.destinations.directory import load_directory
from gateway.inspection.inspector import Inspector
from gateway.model.call import Call, Context, SignalFact
from gateway.model.caller import Principal
from gateway.model.content import CallContent, ResultContent
from gateway.model.decision import Decision
from gateway.model.facts import NO_DECLARED_FACTS
from gateway.model.target import Effect, Sensitivity
from gateway.model.task import Task
from gateway.model.wire import Json, JsonObject
from gateway.policy import document
from gateway.policy.facts import NO_FACTS, FactBook
from gateway.surfaces.replay.trace import BEGINNING, Expectation, Step, StepApproval, StepEndorsement, Trace
from gateway.upstreams.catalogue.labels import selects_records

KEY: Final = b"opagate replay: nothing that it digests is kept"
"""Of the digests and fingerprints of a question, so that two runs have the same output."""


def inspector_of(configuration: Configuration) -> Inspector:
    """Return an inspector with the configured rules, suppressions, directory and own domains.

    Raises `ConfigurationError` for unreadable rules or an unreadable directory.
    """
    settings, directory = configuration.inspection, configuration.directory
    rules = [
        Suppression(rule.upstream, rule.ends, rule.tool, rule.detector, rule.pointer) for rule in settings.suppressions
    ]
    detector = Detector(ruleset.load(*settings.rules), Fingerprints(KEY))
    known = load_directory(directory.entries, directory.files)
    records = any(selects_records(upstream.tools.values()) for upstream in configuration.upstreams.values())
    return Inspector(KEY, detector, Suppressions(rules), known, configuration.history.own_domains, records)


def ask(
    principal: Principal,
    call: Call,
    task: Task,
    content: CallContent,
    state: TaskState,
    *,
    number: int,
    now: float,
    signals: tuple[SignalFact, ...] = (),
    enforced: bool = True,
    declared: DeclaredHistory | None = None,
    inherited: tuple[JobMark, ...] = (),
    before: Carried = NOTHING,
) -> JsonObject:
    """Return the policy input for one call, and count the call in the state of its task, and in its declared facts.

    `number` is the place of the call in the task; `now` is in seconds since the epoch. `inherited` are the marks of the job that the
    task takes over. `before` has the words that the job has read.
    """
    call_id = str(number)
    depth = depth_of(principal, call.target)
    event = build_reservation(state, call_id, call, content, now, depth=depth, carried=before)
    if inherited:
        event = structs.replace(event, inherited=inherited)
    if declared is None:
        apply(state, event)
        counted = NO_DECLARED_FACTS
    else:
        looked = declared.reader.look(Subject(principal, call, task.id, content))
        event = looked.mark(event)
        apply(state, event)
        declared.accounts.reserve(event)
        counted = looked.read(state.declared, declared.accounts, call_id, now)
    known = facts(state, now, call=call_id, content=content, depth=depth, carried=before)
    trace = f"{number:032x}"
    context = Context(now, trace, None, None, task, SUPPORTED_OBLIGATIONS, signals=signals, enforced=enforced)
    return document.decision(principal, call, context, known, counted)


@dataclass(frozen=True, slots=True)
class DeclaredHistory:
    """The declared facts of a run: their reader, and the accounts of its parties."""

    reader: FactReader
    accounts: FactAccounts = field(default_factory=FactAccounts)

    @classmethod
    def begin(cls, facts: Callable[[], FactBook]) -> DeclaredHistory | None:
        """Return an empty history for the facts of a policy; `None` for a policy without any."""
        return cls(FactReader(KEY, facts)) if facts().all else None


Assume = Literal["refused", "forwarded"]
"""What is taken to happen after a step that was not allowed: it ends there and has no result, or it goes on all the
same, so that later steps show every rule that would have held."""

Decide = Callable[[JsonObject], Awaitable[Decision]]


@dataclass(frozen=True, slots=True)
class _AgentTask:
    """The task of one agent in a trace."""

    principal: Principal
    kept: TaskHistory
    state: TaskState

    @property
    def job(self) -> str:
        """Return the name of the job of the task."""
        return self.kept.job

    @property
    def task(self) -> Task:
        """Return the task."""
        return self.kept.task


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """A step and its decision. `number` counts from 0; `facts` is `session` of the policy input."""

    trace: str
    number: int
    principal: Principal
    call: Call
    decision: Decision
    facts: JsonObject
    expect: Expectation | None

    @property
    def tool(self) -> str:
        return self.call.target.id

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(reason.code for reason in self.decision.reasons)

    @property
    def met(self) -> bool:
        """Return whether the outcome is as expected, or nothing is expected."""
        if self.expect is None:
            return True
        return self.decision.effect in self.expect.effects and self.expect.code in {None, *self.codes}


async def replay(
    traces: Iterable[Trace],
    decide: Decide,
    *,
    assume: Assume = "refused",
    inspector: Inspector | None = None,
    facts: Callable[[], FactBook] = lambda: NO_FACTS,
    jobs: Callable[[], Jobs] = Jobs,
    returning: ReturningText | None = None,
) -> AsyncIterator[StepOutcome]:
    """Yield the outcome of each step, in order. Keep the state of one task at a time.

    `decide` is the method of a `Policy`, and `facts` gives the facts that it declares; each trace begins with empty accounts. `jobs` gives the marks of jobs before
    each trace, by default none. `returning` has the written texts of all traces; by default those of a trace count in it alone. `inspector` has the operator's rules, directory and own domains
    (`asking.inspector_of`). The default has the shipped rules alone. A replay suppresses no credential.

    Raises `TraceInvalid` at the fault in a file.
    """
    inspector = inspector or Inspector(KEY, Detector(ruleset.load(), Fingerprints(KEY)))
    for trace in traces:
        texts = ReturningText(MAX_KEEP) if returning is None else returning
        run = _Run(trace, assume, inspector, DeclaredHistory.begin(facts), (jobs(), texts))
        for number, step in enumerate(trace.steps):
            yield await run.take(number, step, decide)


class _Run:
    """The tasks of a trace from their beginning: one for each agent."""

    def __init__(
        self,
        trace: Trace,
        assume: Assume,
        inspector: Inspector,
        declared: DeclaredHistory | None,
        memories: tuple[Jobs, ReturningText],
    ) -> None:
        self._declared = declared
        self._trace = trace
        self._assume = assume
        self._inspector = trace.inspector(inspector)
        self._origins = KnownOrigins()
        self._teller = OriginReporter(self._origins)
        self._exposures = Exposures()
        self._jobs, self._returning = memories
        given = inspector.declared(trace.task.goal, trace.task.contract)
        self._opening = make_opening(given.tokens, list_shown(given.sightings))
        self._tasks: dict[str, _AgentTask] = {}

    def _task_of(self, step: Step) -> _AgentTask:
        """Return the task of the caller of a step. Each agent has the goal and the contract of the trace."""
        principal, task = self._trace.caller(step), self._trace.task
        found = self._tasks.get(principal.key)
        if found is None:
            if principal is not self._trace.principal:
                task = replace(task, id=f"{task.id}@{principal.id}")
            kept = TaskHistory(task, principal.key, principal.parties, BEGINNING, job=principal.job, agent=principal.id)
            found = _AgentTask(principal, kept, apply(TaskState(), self._opening))
            self._tasks[principal.key] = found
        return found

    async def take(self, number: int, step: Step, decide: Decide) -> StepOutcome:
        trace, agent, call_id, now = self._trace, self._task_of(step), str(number), BEGINNING + step.at
        state, task = agent.state, agent.task
        call = Call("tools/call", trace.target(step), step.arguments)
        content = self._inspect(agent, call)
        signals = tuple(SignalFact(one.type, now - one.age_seconds, one.level) for one in step.signals)
        asked = ask(
            agent.principal,
            call,
            task,
            content,
            state,
            number=number,
            now=now,
            signals=signals,
            declared=self._declared,
            inherited=self._jobs.find_new(agent.kept, state, now),
            before=add_job_words(NOTHING, self._jobs.find_words(agent.kept.job, now)),
        )
        if step.endorsed is not None:
            asked = with_endorsement(asked, step.endorsed, f"{trace.id}/{number}")
        decision = await decide(asked)
        if step.approve is not None and decision.effect == "ask":
            question, asked = decision, with_approval(asked, step.approve, decision, f"{trace.id}/{number}")
            decision = await decide(asked)
            if decision.allowed:
                apply(state, endorse(step.approve, question, content, asked))
        if decision.allowed or self._assume == "forwarded":
            apply(state, Passed(call_id))
            self._note_written(agent, call_id, content, now)
            self._answer(agent, call_id, call, step.result, read_label(decision))
            self._jobs.follow(agent.kept, state, Settled(call_id, step.end), now)
            self._end(state, Settled(call_id, step.end))
        else:
            codes = tuple(reason.code for reason in decision.reasons) if decision.is_denial else ()
            self._end(state, Released(call_id, decision.is_denial, decision.effect == "ask", codes))
        session = cast("JsonObject", asked["session"])
        return StepOutcome(trace.id, number, agent.principal, call, decision, session, step.expect)

    def _inspect(self, agent: _AgentTask, call: Call) -> CallContent:
        """Return what the arguments of a call hold, with the credentials that the tasks of the trace were shown."""
        state, task, walked = agent.state, agent.task, leaves(call.arguments)
        relevance = relevance_of(state, call.target)
        if call.target.labels.effect is not Effect.READ:
            relevance = relevance._replace(words="all")
        content = self._inspector.call(
            call,
            task,
            state.shingles,
            relevance=relevance,
            caller=agent.principal,
            walked=walked,
        )
        if (shown := self._origins.of(agent.job)) is not None:
            content = origins.complete_content(content, call, shown, task.id, self._inspector.detector, walked=walked)
        return self._exposures.complete(agent, state, call.target, content)

    def _note_written(self, agent: _AgentTask, call_id: str, content: CallContent, now: float) -> None:
        """Keep the foreign text that a call writes."""
        kept, state = agent.kept, agent.state
        foreign = self._jobs.find_foreign(kept.job, now)
        text = find_written(kept, state, state.open[call_id], content, before=NOTHING, foreign=foreign)
        if text is not None:
            self._returning.add(f"{self._trace.id} {call_id}", text)

    def _end(self, state: TaskState, event: Settled | Released) -> None:
        apply(state, event)
        if self._declared is not None:
            self._declared.accounts.close(event)

    def _answer(self, agent: _AgentTask, call_id: str, call: Call, result: Json, least: Sensitivity) -> None:
        """Take in the upstream's answer as the gateway does before the answer goes on."""
        state, task = agent.state, agent.task
        looks = self._returning.may_return(call.target)
        inspector = self._inspector.result(call, task, words=keeps_words(state, call.target), looks=looks)
        for content in (inspector.feed(_write_answer(result)), inspector.finish(), ResultContent()):
            if content is not None:
                returned = self._find_returned(agent, call_id, content, least)
                event = build_observation(state, call_id, content, least, returned=returned)
                if not changes_nothing(state, event):
                    self._jobs.follow(agent.kept, state, event, 0.0)
                    apply(state, event)
                    self._teller.tell(agent.job, task.id, state, event.credentials)

    def _find_returned(
        self, agent: _AgentTask, call_id: str, content: ResultContent, least: Sensitivity
    ) -> ReturnedText:
        """Return the text of other calls that returns in a part of an answer."""
        source = agent.state.open[call_id]
        place = ResultPlace(source.tenant, source.trusted, higher(source.sensitivity, least))
        known = self._jobs.find_foreign(agent.kept.job, source.at).confidential
        return self._returning.read(agent.state, known, place, content.words, source.at)


def with_approval(asked: JsonObject, approval: StepApproval, question: Decision, name: str) -> JsonObject:
    """Return the policy input of the release: the question's input with the approval as a fact."""
    context = cast("JsonObject", asked["context"])
    codes = [reason.code for reason in question.reasons] if approval.answers is None else approval.answers
    fact: JsonObject = {
        "id": name,
        "digest": f"replay:{name}",
        "approvers": approval.approvers,
        "granted": context["time"],
        "scopes": approval.scopes,
        "answers": list(codes),
    }
    return {**asked, "context": {**context, "approval": fact}}


def with_endorsement(asked: JsonObject, endorsement: StepEndorsement, name: str) -> JsonObject:
    """Return the policy input of a step with values approved in an earlier task of the same kind."""
    context = cast("Mapping[str, Any]", asked["context"])
    fact: JsonObject = {
        "id": name,
        "digest": f"replay:{name}",
        "kind": context["task"].get("declared_kind", ""),
        "approvers": endorsement.approvers,
        "granted": context["time"],
        "age_seconds": endorsement.age_seconds,
        "scopes": ["recurring"],
        "facts": endorsement.facts,
    }
    return {**asked, "context": {**context, "endorsement": fact}}


def endorse(approval: StepApproval, question: Decision, content: CallContent, asked: JsonObject) -> Endorsed:
    """Return the event of a used approval, with its values and limits for the rest of the task."""
    session = cast("Mapping[str, Sequence[str]]", asked["session"])
    values = {digest for pointer in session.get("ungrounded", ()) for digest in content.authority.get(pointer, ())}
    limits = {name: number for reason in question.reasons for name, number in reason.limits.items()}
    return Endorsed(
        pack(values) if "destination" in approval.scopes else b"",
        limits if "limit" in approval.scopes else {},
    )


def _write_answer(result: Json) -> bytes:
    """Return the answer to a `tools/call` in an upstream's form. A text is one block of text. An object without
    `content` is structured content. An object with `content` is the result itself."""
    if result is None:
        shaped: Json = {"content": []}
    elif isinstance(result, str):
        shaped = {"content": [{"type": "text", "text": result}]}
    elif isinstance(result, Mapping) and "content" in result:
        shaped = result
    else:
        shaped = {"content": [], "structuredContent": result}
    return _encode(json.dumps({"jsonrpc": "2.0", "id": 1, "result": shaped}, ensure_ascii=False))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
