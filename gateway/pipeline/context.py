"""The input of every stage: the gateway's parts, and the circumstances of the request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from msgspec import Struct

from gateway.authority.lending import Authority
from gateway.binding.ownership import Ownership
from gateway.binding.sessionless_exchanges import SessionlessExchanges
from gateway.binding.sessions import Sessions
from gateway.binding.vault import Vault
from gateway.catalogue.catalogue import Catalogue
from gateway.credentials.caller_tokens import CallerTokens
from gateway.history import History
from gateway.http.exchange import Exchange
from gateway.identity.identities import Identities
from gateway.inspection.inspector import Inspector
from gateway.journal.flood import Flood
from gateway.journal.redaction import KnownCredentials
from gateway.journal.results import ResultRecord
from gateway.journal.writer import Journal
from gateway.loop_turns import LoopTurns
from gateway.model.call import Call, Context
from gateway.model.facts import SessionFacts
from gateway.model.lease import OpenLeases
from gateway.model.signal import SignalFact
from gateway.model.task import Task
from gateway.model.wire import JsonObject, Message, UpstreamTransport
from gateway.pipeline.credential_chain import CredentialChain
from gateway.pipeline.hidden_tools import HiddenTools
from gateway.pipeline.people import People
from gateway.pipeline.places import RequestPlaces
from gateway.pipeline.signals import Signals
from gateway.pipeline.user_connections import UserConnections
from gateway.policy.policy import Policy
from gateway.response.open_answers import OpenAnswers
from gateway.tasks.endpoints import TaskEndpoints
from gateway.tasks.tokens import TaskTokens
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import TraceContext, Tracing
from gateway.worker_thread import WorkerThread

SUPPORTED_OBLIGATIONS: Final = ("conceal_credentials", "issue_credential", "label", "limit")
"""The obligations that this gateway carries out. Any other makes an `allow` a refusal."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything that a request meets on its way. Built by `app`."""

    identities: Identities
    catalogue: Catalogue
    history: History
    policy: Policy
    journal: Journal
    flood: Flood
    """Which refusals of callers that nobody knows are recorded and logged one by one."""
    upstreams: Mapping[str, UpstreamTransport]
    sessions: Sessions
    ownership: Ownership
    """To whom upstreams gave which request states and protocol tasks."""
    sessionless_exchanges: SessionlessExchanges
    """What is open between callers and upstreams without sessions."""
    unanswered: Ownership
    """The calls of sessions: their answers may come on another stream than their own."""
    vault: Vault
    metrics: Metrics
    tracing: Tracing
    places: RequestPlaces
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    """Seconds for how long something takes, whatever becomes of the time of day meanwhile."""
    new_id: Callable[[], str]
    record: Callable[[Call, SessionFacts, KnownCredentials | None, bool], JsonObject]
    """Makes the record of a call's arguments without known credentials; true says that pieces of credentials are among them."""
    tasks: TaskEndpoints
    task_tokens: TaskTokens
    inspector: Inspector
    worker: WorkerThread
    turns: LoopTurns
    hidden_tools: HiddenTools
    credential_chain: CredentialChain
    caller_tokens: CallerTokens
    result_record: Callable[[], ResultRecord | None]
    """What is kept of a result, if anything is."""
    style: Literal["result", "protocol"]
    people: People | None = None
    """The way to people who approve calls; `None`: a call that needs a person is refused."""
    authority: Authority | None = None
    """The credentials lent to calls; `None`: no upstream has a leased credential."""
    standing: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]], repr=False)
    """The texts of standing credentials, by upstream. No answer shows them."""
    user_connections: UserConnections | None = None
    """The way to users who have to connect; `None`: no upstream is used through users' own connections."""
    signals: Signals = field(default_factory=Signals)
    """The signals of identity providers: ended logins, and open facts about callers."""
    answers: OpenAnswers = field(default_factory=OpenAnswers)
    """The answers that end with a lease or at a signal."""


class Visit(Struct, frozen=True):
    """Circumstances of one request. `id` becomes the decision id. `arrived` is in seconds since the epoch, `began` the
    same moment on the monotonic clock. `upstream` is the name of a configured upstream: logs and traces do not repeat
    an unknown name from the path."""

    id: str
    exchange: Exchange
    arrived: float
    began: float
    trace: TraceContext
    upstream: str | None = None

    def seconds(self, monotonic: float) -> float:
        """Return the time that the request has taken at this monotonic time, in seconds."""
        return monotonic - self.began

    def context(
        self,
        message: Message | None,
        task: Task,
        approval: JsonObject | None = None,
        endorsement: JsonObject | None = None,
        *,
        signals: tuple[SignalFact, ...] = (),
        leases: OpenLeases | None = None,
    ) -> Context:
        """Return the circumstances of the request, as policy and the record are told of them."""
        return Context(
            time=self.arrived,
            trace_id=self.trace.trace_id,
            client_ip=self.exchange.client_ip,
            client_name=message.client_name if message else None,
            task=task,
            supported_obligations=SUPPORTED_OBLIGATIONS,
            approval=approval,
            endorsement=endorsement,
            signals=signals,
            leases=leases,
        )
