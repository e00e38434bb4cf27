"""All parts of a running gateway, and the stages of requests built from them. No stage imports this module: each names its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.authority.lending import Authority
from gateway.base.concurrency.loop_turns import LoopTurns
from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.control.operations import Control
from gateway.base.store.engine import Claim
from gateway.base.store.records import SealedStore
from gateway.calls.binding.ownership import Ownership, SessionlessExchanges, Sessions
from gateway.calls.binding.shared_values import SharedValues
from gateway.calls.binding.vault import Vault
from gateway.calls.pipeline.admit import Admission
from gateway.calls.pipeline.approve import CallApproval
from gateway.calls.pipeline.asking import Questions, TaskApprovals
from gateway.calls.pipeline.connecting import ConnectionStage, UserConnections
from gateway.calls.pipeline.credentials import CallerCredentials, CredentialChain, ExposureGuard
from gateway.calls.pipeline.decide import CallInspection, Decider, PolicyQuestions
from gateway.calls.pipeline.effects import EffectStage
from gateway.calls.pipeline.forward import CallParts, Forwarder
from gateway.calls.pipeline.issue import Issuer
from gateway.calls.pipeline.people import People, TokenPeople
from gateway.calls.pipeline.pinned_lists import PinnedLists
from gateway.calls.pipeline.pipeline import Pipeline
from gateway.calls.pipeline.prepare import CurrentTasks, Preparation
from gateway.calls.pipeline.record import ArgumentsForm, CallRecord
from gateway.calls.pipeline.refuse import Refuser
from gateway.calls.pipeline.releasing import Releases
from gateway.calls.pipeline.revocation import Signals, Stops
from gateway.calls.pipeline.visibility import HiddenTools, ShownLists, Visibility
from gateway.calls.response.build import AnswerParts
from gateway.calls.response.open_answers import OpenAnswers
from gateway.calls.response.recent_lists import RecentLists
from gateway.history import History
from gateway.history.tasks.endpoints import TaskEndpoints
from gateway.history.tasks.tokens import TaskTokens
from gateway.identity.identities import Identities
from gateway.inspection.credentials.caller_tokens import CallerTokens
from gateway.inspection.credentials.live_values import LiveValues
from gateway.inspection.inspector import Inspector
from gateway.inspection.schemas import ToolSchemas
from gateway.model.task import Task
from gateway.policy.observing import ObserveMode
from gateway.policy.policy import Policy
from gateway.policy.shadow import ShadowPolicy
from gateway.record.journal.records import ResultRecord
from gateway.record.journal.refusal_sampler import RefusalSampler
from gateway.record.journal.writer import Journal
from gateway.record.telemetry.metrics import Metrics
from gateway.record.telemetry.tracing import Tracing
from gateway.upstreams.catalogue.catalogue import Catalogue
from gateway.upstreams.served import ServedUpstreams
from gateway.wire.http.limits import RequestPlaces
from gateway.wire.http.tls_files import TlsWatch
from gateway.wire.protocol.replies import RefusalForm


@dataclass(frozen=True, slots=True)
class Gateway:
    """All parts of a gateway, for probes, pages and the console. `pipeline` is built from them."""

    identities: Identities
    catalogue: Catalogue
    history: History
    policy: Policy
    observing: ObserveMode
    """The upstreams for which policy is not enforced."""
    journal: Journal
    flood: RefusalSampler
    """The sample of refusals of unknown callers: the journal and the log have so many a minute."""
    served: ServedUpstreams
    sessions: Sessions
    ownership: Ownership
    """The owners of request states and protocol tasks of upstreams."""
    unanswered: Ownership
    """The calls of sessions: their answers may come on another stream than their own."""
    vault: Vault
    metrics: Metrics
    tracing: Tracing
    places: RequestPlaces
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    """Seconds of a clock that changes of the time of day leave alone."""
    new_id: Callable[[], str]
    arguments_form: ArgumentsForm
    """The form of a call's arguments in the record."""
    tasks: TaskEndpoints
    task_tokens: TaskTokens
    inspector: Inspector
    worker: WorkerThread
    credential_chain: CredentialChain
    caller_tokens: CallerTokens
    live: LiveValues
    """The values that the gateway issued or holds: no answer shows them, and no argument carries them elsewhere."""
    store: SealedStore
    """The durable records."""
    result_record: Callable[[], ResultRecord | None]
    """Makes the record of a result; `None`: the record has no results."""
    refusal_form: RefusalForm
    """The form of refusals, with the address of the decisions at the console."""
    people: People | None = None
    """The way to people who approve calls; `None`: a call that needs a person is refused."""
    shadow: ShadowPolicy | None = None
    """The policy that decides each call too, and counts for nothing."""
    authority: Authority | None = None
    """The credentials lent to calls; `None`: no upstream has a leased credential."""
    schemas: ToolSchemas = field(default_factory=ToolSchemas)
    """The compiled schemas of tools."""
    user_connections: UserConnections | None = None
    """The way to users who have to connect; `None`: no upstream is used through users' own connections."""
    signals: Signals = field(default_factory=Signals)
    """The signals of identity providers: ended logins, and open facts about callers."""
    stops: Stops = field(default_factory=Stops)
    """The stops of operators."""
    answers: OpenAnswers = field(default_factory=OpenAnswers)
    """The answers that end with a lease, at a signal, or at a stop."""
    effects: EffectStage | None = None
    """The effects of calls that happen once; `None`: no effect is kept."""
    tls: TlsWatch = field(default_factory=TlsWatch)
    """The TLS files, which are looked at again and again."""
    control: Control = field(default_factory=Control)
    """The operations for approvers and operators."""
    sessionless_exchanges: SessionlessExchanges = field(default_factory=SessionlessExchanges)
    """Open requests between callers and upstreams without sessions."""
    turns: LoopTurns = field(default_factory=LoopTurns)
    hidden_tools: HiddenTools = field(default_factory=HiddenTools)
    token_people: Mapping[str, TokenPeople] = field(default_factory=dict[str, TokenPeople])
    """The people with a token for these operations over HTTP, by their role."""
    known: CallerCredentials = field(init=False)
    pipeline: Pipeline = field(init=False)
    task_approvals: TaskApprovals = field(init=False)

    @property
    def claim(self) -> Claim | None:
        """Return the right to use a database of records; `None`: the records are in the state folder."""
        return self.store.claim

    def __post_init__(self) -> None:
        """Build the stages, also of a copy with other parts."""
        known = CallerCredentials(
            self.history.tasks,
            self.history.ledger,
            self.credential_chain,
            self.caller_tokens,
            self.task_tokens,
            self.inspector.detector,
            self.live,
        )
        spots = self.inspector.spots
        object.__setattr__(self, "known", known)
        object.__setattr__(self, "pipeline", build_pipeline(self))
        object.__setattr__(self, "task_approvals", TaskApprovals(self.people, known, spots, self.journal, self.new_id))


def build_pipeline(parts: Gateway) -> Pipeline:
    """Return the stages of requests."""
    tasks = CurrentTasks(parts.history.tasks, parts.task_tokens)
    preparation = Preparation(parts.catalogue, tasks, parts.vault, parts.schemas, parts.stops)
    record = CallRecord(
        parts.journal, parts.metrics, parts.history.ledger, parts.worker, parts.arguments_form, parts.monotonic
    )
    decider = _build_decider(parts, record)
    connecting = None
    if parts.user_connections is not None and parts.authority is not None:
        connecting = ConnectionStage(parts.user_connections, parts.authority)
    waited = parts.people or parts.user_connections
    shared_values = _share_values(parts)
    visibility = _build_visibility(parts, shared_values)
    answers = _build_answer_parts(parts, tasks, visibility, shared_values)
    return Pipeline(
        admission=_build_admission(parts),
        exposure=_build_exposure_guard(parts, tasks),
        preparation=preparation,
        decider=decider,
        approval=_build_approval(parts, preparation, decider, connecting),
        connecting=connecting,
        # Both parts have the same seal: a call may wait for people first, and then for its user's connection.
        tickets=None if waited is None else waited.tickets,
        exchanges=parts.sessionless_exchanges,
        visibility=visibility,
        pinned_lists=PinnedLists(answers),
        forwarder=_build_forwarder(parts, record, connecting, answers),
        refuser=_build_refuser(parts),
        stops=parts.stops,
        claim=parts.claim,
        clock=parts.clock,
        monotonic=parts.monotonic,
        shared_values=shared_values,
    )


def _share_values(parts: Gateway) -> SharedValues | None:
    """Return the opaque values of all gateways; `None` for a gateway with its records in the state folder."""
    if parts.claim is None:
        return None

    def find_task(identifier: str) -> Task | None:
        kept = parts.history.tasks.find(identifier)
        return None if kept is None else kept.task

    return SharedValues(
        parts.store,
        parts.ownership,
        find_task=find_task,
        find_target=parts.catalogue.target,
        clock=parts.clock,
    )


def _build_admission(parts: Gateway) -> Admission:
    return Admission(
        parts.identities,
        parts.places,
        parts.sessions,
        parts.ownership,
        parts.known,
        parts.tracing,
        parts.served,
    )


def _build_visibility(parts: Gateway, shared_values: SharedValues | None) -> Visibility:
    return Visibility(
        parts.catalogue,
        parts.history.tasks,
        parts.history.ledger,
        parts.policy,
        parts.ownership,
        parts.signals.register,
        parts.hidden_tools,
        parts.turns,
        ShownLists(),
        parts.observing,
        shared_values,
    )


def _build_refuser(parts: Gateway) -> Refuser:
    return Refuser(
        parts.flood, parts.journal, parts.metrics, parts.known, parts.tracing, parts.new_id, parts.refusal_form
    )


def _build_exposure_guard(parts: Gateway, tasks: CurrentTasks) -> ExposureGuard:
    return ExposureGuard(
        parts.catalogue,
        parts.credential_chain,
        parts.caller_tokens,
        parts.history.ledger,
        tasks,
        parts.journal,
        parts.worker,
        parts.inspector.detector.fingerprints,
        parts.live,
    )


def _build_decider(parts: Gateway, record: CallRecord) -> Decider:
    releases, people = None, parts.people
    if people is not None:
        releases = Releases(
            people.desk, people.endorsements, parts.history.ledger, parts.journal, parts.metrics, parts.new_id
        )
    return Decider(
        CallInspection(parts.inspector, parts.history.ledger, parts.credential_chain, parts.worker),
        PolicyQuestions(parts.policy, parts.signals.register, parts.authority, releases, parts.observing, parts.shadow),
        record,
        parts.known,
        parts.history.ledger,
        parts.metrics,
        parts.monotonic,
        parts.effects,
    )


def _build_approval(
    parts: Gateway, preparation: Preparation, decider: Decider, connecting: ConnectionStage | None
) -> CallApproval | None:
    if parts.people is None:
        return None
    questions = Questions(
        parts.people, parts.known, parts.history.ledger, parts.inspector.spots, parts.journal, parts.new_id
    )
    return CallApproval(
        parts.people,
        questions,
        preparation,
        decider,
        parts.ownership,
        connecting,
        parts.clock,
        parts.monotonic,
        parts.new_id,
    )


def _build_answer_parts(
    parts: Gateway, tasks: CurrentTasks, visibility: Visibility, shared_values: SharedValues | None
) -> AnswerParts:
    asking = parts.people or parts.user_connections
    return AnswerParts(
        visibility=visibility,
        catalogue=parts.catalogue,
        tasks=tasks,
        ledger=parts.history.ledger,
        inspector=parts.inspector,
        credential_chain=parts.credential_chain,
        live=parts.live,
        vault=parts.vault,
        sessions=parts.sessions,
        ownership=parts.ownership,
        unanswered=parts.unanswered,
        sessionless_exchanges=parts.sessionless_exchanges,
        notices=None if asking is None else asking.notices,
        lists=RecentLists(),
        journal=parts.journal,
        metrics=parts.metrics,
        worker=parts.worker,
        turns=parts.turns,
        clock=parts.clock,
        monotonic=parts.monotonic,
        effects=parts.effects,
        shared_values=shared_values,
    )


def _build_forwarder(
    parts: Gateway, record: CallRecord, connecting: ConnectionStage | None, answers: AnswerParts
) -> Forwarder:
    issuer = Issuer(parts.authority, connecting, parts.catalogue, parts.policy)
    calls = CallParts(
        answers,
        record,
        parts.known,
        parts.authority,
        parts.result_record,
        parts.schemas,
        parts.refusal_form,
        parts.effects,
    )
    return Forwarder(parts.served, issuer, parts.signals, parts.stops, parts.answers, calls)
