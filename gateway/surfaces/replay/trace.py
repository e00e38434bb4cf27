"""A recorded session: a task, its upstreams, and its calls in order. Pure; docs/replay.md has the format. `head` and
`step` make `Trace` and `Step` from JSON objects, and name the field of a fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictFloat, StrictInt, TypeAdapter, ValidationError

from gateway.config import ToolLabels
from gateway.config.values import Domain
from gateway.history.events import CallEnd
from gateway.inspection.destinations.directory import EMPTY, Directory, DirectoryEntry, directory_of
from gateway.inspection.inspector import Inspector
from gateway.inspection.label_cases import labelled_for_call
from gateway.model import reasons
from gateway.model.call import SignalType
from gateway.model.caller import Actor, AuthMethod, Principal, User
from gateway.model.errors import GatewayError
from gateway.model.target import SHORTEST_LIFE, CredentialKind, Pin, Target, TargetCredential
from gateway.model.task import Contract, Task, TaskApprover
from gateway.model.wire import Json, JsonObject
from gateway.policy.contract import Assurance, Scope
from gateway.surfaces.replay.secrets import UnknownSecret, fill
from gateway.upstreams.catalogue.labels import labels_for, selects_records

BEGINNING: Final = 1767225600.0
"""2026-01-01T00:00:00Z, when each trace begins."""
LATEST: Final = 10 * 366 * 86400.0
"""Seconds after the beginning that a step can be at most."""


class TraceInvalid(GatewayError):
    """An unreadable trace: the message names file, line and field."""

    code = reasons.TRACE_INVALID.code


class Flaw(ValueError):
    """A fault of a part of a trace, with its field."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}" if place else problem)


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected outcome of a step: an effect, and possibly a code among the reasons."""

    effects: frozenset[str]
    code: str | None = None


@dataclass(frozen=True, slots=True)
class StepApproval:
    """An approval for the question of a step. Without `answers` the persons saw all codes of the question."""

    approvers: tuple[JsonObject, ...]
    scopes: tuple[str, ...] = ("once",)
    answers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class StepEndorsement:
    """Values of a step approved in an earlier task of the same kind. `facts` are pointers of arguments in the policy
    input."""

    approvers: tuple[JsonObject, ...]
    facts: tuple[str, ...]
    age_seconds: int = 0


@dataclass(frozen=True, slots=True)
class StepSignal:
    """An open fact of an identity provider about the caller of a step. `age_seconds`: from the event to the call."""

    type: SignalType
    age_seconds: float
    level: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A call. `at` is in seconds since the beginning of the trace; `result` is the answer of the upstream,
    and `end` what the call did."""

    upstream: str
    tool: str
    arguments: JsonObject
    at: float
    result: Json = None
    expect: Expectation | None = None
    approve: StepApproval | None = None
    labels: ToolLabels | None = None
    """In place of the labels of the tool."""
    endorsed: StepEndorsement | None = None
    signals: tuple[StepSignal, ...] = ()
    end: CallEnd = "done"
    agent: str | None = None
    """Another agent than that of the trace, with a task of its own."""
    user: str | None = None
    """Another user than that of the trace."""


@dataclass(frozen=True, slots=True)
class TraceUpstream:
    """An upstream in a trace's description."""

    audience: str
    trust: Literal["trusted", "untrusted"] = "untrusted"
    tenant: str | None = None
    environment: str | None = None
    tools: Mapping[str, ToolLabels] = field(default_factory=dict[str, ToolLabels])
    aggregates: tuple[str, ...] | None = None
    credential: CredentialKind | None = None
    aliases: tuple[str, ...] = ()
    is_agent: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded session. `steps` from a file can be read once. `None` for `directory` and `own_domains` stands for the
    operator's."""

    id: str
    principal: Principal
    task: Task
    upstreams: Mapping[str, TraceUpstream]
    steps: Iterable[Step]
    directory: Directory | None = None
    own_domains: tuple[str, ...] | None = None

    def inspector(self, operator: Inspector) -> Inspector:
        """Return the operator's inspector, with the directory and the own domains of the trace in place of the
        operator's."""
        return replace(
            operator,
            directory=operator.directory if self.directory is None else self.directory,
            own_domains=operator.own_domains if self.own_domains is None else self.own_domains,
            records=operator.records or any(selects_records(site.tools.values()) for site in self.upstreams.values()),
        )

    def caller(self, step: Step) -> Principal:
        """Return the caller of a step."""
        if step.agent is None and step.user is None:
            return self.principal
        user = self.principal.user if step.user is None else User(step.user)
        return replace(self.principal, id=step.agent or self.principal.id, user=user)

    def target(self, step: Step) -> Target:
        """Return the tool of a step with the labels of the call. A tool without any gets the fail-closed defaults."""
        upstream = self.upstreams.get(step.upstream) or TraceUpstream(step.upstream)
        labels = labels_for(step.tool, upstream.tools)
        if step.labels is not None:
            labels = labels_for("this call", {"this call": step.labels})
        target = Target(
            "tool",
            step.upstream,
            step.tool,
            upstream.audience,
            tenant=upstream.tenant,
            environment=upstream.environment,
            trust=upstream.trust,
            labels=labels,
            pin=Pin.UNPINNED,
            aggregates=upstream.aggregates,
            is_agent=upstream.is_agent,
            credential=_credential(upstream.credential),
            aliases=upstream.aliases,
        )
        return labelled_for_call(target, step.arguments)


# --- the form --------------------------------------------------------------------------------------

_Name = Annotated[str, Field(min_length=1, max_length=256)]


class _TraceForm(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _FlowForm(_TraceForm):
    source: _Name = Field(alias="from")
    to: _Name


class _ContractForm(_TraceForm):
    audiences: frozenset[_Name] | None = None
    tools: tuple[_Name, ...] | None = None
    destinations: tuple[_Name, ...] | None = None
    credential_flows: tuple[_FlowForm, ...] = ()
    limits: dict[_Name, StrictInt] = {}
    effects: dict[Literal["destructive", "mint"], tuple[_Name, ...]] = {}


class _StepApprover(_TraceForm):
    id: _Name
    issuer: _Name = "urn:opagate:trace"
    groups: tuple[_Name, ...] = ()
    assurance: Assurance = "login"
    login_age_seconds: Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)] | None = None


class _TaskForm(_TraceForm):
    goal: str | None = None
    kind: _Name | None = None
    risk: Literal["low", "medium", "high"] | None = None
    tenant: _Name | None = None
    environment: _Name | None = None
    contract: _ContractForm | None = None
    approved_by: tuple[_StepApprover, ...] = ()
    agent: _Name = "dev"
    user: _Name | None = None
    groups: tuple[_Name, ...] = ()
    scopes: frozenset[_Name] = frozenset()
    issuer: _Name | None = None
    delegation: tuple[_Name, ...] = ()


class _UpstreamForm(_TraceForm):
    audience: _Name | None = None
    trust: Literal["trusted", "untrusted"] = "untrusted"
    tenant: _Name | None = None
    environment: _Name | None = None
    tools: dict[_Name, ToolLabels] = {}
    aggregates: tuple[_Name, ...] | None = None
    credential: CredentialKind | None = None
    aliases: tuple[_Name, ...] = ()
    agent: bool = False


class _HeadForm(_TraceForm):
    id: _Name
    task: _TaskForm = _TaskForm()
    upstreams: dict[_Name, _UpstreamForm] = {}
    directory: tuple[_Name, ...] | None = None
    own_domains: tuple[Domain, ...] | None = None


class _ExpectationForm(_TraceForm):
    effect: Annotated[str, Field(pattern=r"^(allow|deny|ask)(\|(allow|deny|ask)){0,2}$")]
    code: _Name | None = None


class _ApprovalForm(_TraceForm):
    approvers: Annotated[tuple[_StepApprover, ...], Field(min_length=1)]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)] = ("once",)
    answers: tuple[_Name, ...] | None = None


class _EndorsementForm(_TraceForm):
    approvers: Annotated[tuple[_StepApprover, ...], Field(min_length=1)]
    facts: Annotated[tuple[_Name, ...], Field(min_length=1)]
    age_seconds: Annotated[StrictInt, Field(ge=0)] = 0


class _SignalForm(_TraceForm):
    type: SignalType
    age_seconds: Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)] = 0.0
    level: _Name | None = None


class _StepForm(_TraceForm):
    upstream: Annotated[str, Field(pattern=r"^[^/]{1,256}$")]
    tool: _Name
    arguments: dict[str, JsonValue] = {}
    result: JsonValue = None
    expect: _ExpectationForm | None = None
    approve: _ApprovalForm | None = None
    endorsed: _EndorsementForm | None = None
    signals: tuple[_SignalForm, ...] = ()
    labels: ToolLabels | None = None
    end: CallEnd = "done"
    agent: _Name | None = None
    user: _Name | None = None
    at: Annotated[StrictFloat, Field(ge=0, le=LATEST, allow_inf_nan=False)] | None = None


_HEAD: Final = TypeAdapter(_HeadForm)
_STEP: Final = TypeAdapter(_StepForm)


def head(members: Mapping[str, Any], steps: Iterable[Step]) -> Trace:
    """Return a trace from its members but `steps`. Raises `Flaw`."""
    try:
        read = _HEAD.validate_python(members)
        task = read.task
        goal = fill(task.goal, read.id)
        contract = None if task.contract is None else _contract(task.contract, read.id)
    except ValidationError as error:
        raise _flaw("", error) from None
    except UnknownSecret as error:
        raise Flaw("task", str(error)) from None
    declared = any(
        item is not None for item in (task.goal, task.kind, task.risk, task.tenant, task.environment, contract)
    )
    return Trace(
        id=read.id,
        principal=_principal(task),
        task=Task(
            id=read.id,
            kind="declared" if declared else "implicit",
            opened=BEGINNING,
            goal=goal if isinstance(goal, str) else None,
            risk=task.risk,
            tenant=task.tenant,
            environment=task.environment,
            contract=contract,
            approved_by=tuple(
                TaskApprover(one.id, one.issuer, one.groups, one.assurance, one.login_age_seconds)
                for one in task.approved_by
            ),
            declared_kind=task.kind,
        ),
        upstreams={name: _upstream(name, upstream) for name, upstream in read.upstreams.items()},
        steps=steps,
        directory=None if read.directory is None else _directory(read.directory),
        own_domains=read.own_domains,
    )


def _directory(entries: tuple[str, ...]) -> Directory:
    if not entries:
        return EMPTY
    try:
        return directory_of(DirectoryEntry(text) for text in entries)
    except ValueError as error:
        raise Flaw("directory", str(error)) from None


def step(value: object, number: int, trace: str, after: float | None) -> Step:
    """Return a step from its JSON object. `number` counts from 0; `after` is the time of the step before, if any.

    Raises `Flaw`.
    """
    try:
        read = _STEP.validate_python(value)
        at = read.at if read.at is not None else 0.0 if after is None else after + 1.0
        if after is not None and at < after:
            raise Flaw(f"steps[{number}].at", f"it is before the step before it, at {after:g}")
        arguments = fill(read.arguments, trace)
        result = fill(read.result, trace)
    except ValidationError as error:
        raise _flaw(f"steps[{number}]", error) from None
    except UnknownSecret as error:
        raise Flaw(f"steps[{number}]", str(error)) from None
    expect = None if read.expect is None else Expectation(frozenset(read.expect.effect.split("|")), read.expect.code)
    given = arguments if isinstance(arguments, dict) else {}
    approve = None if read.approve is None else _approval(read.approve)
    endorsed = None if read.endorsed is None else _endorsement(read.endorsed)
    signals = tuple(StepSignal(one.type, one.age_seconds, one.level) for one in read.signals)
    return Step(
        read.upstream,
        read.tool,
        given,
        at,
        result,
        expect,
        approve,
        read.labels,
        endorsed,
        signals,
        read.end,
        read.agent,
        read.user,
    )


# --- small parts -----------------------------------------------------------------------------------


def _principal(task: _TaskForm) -> Principal:
    """Return the caller of a trace, with the best proof of its kind, since a trace does not try identity.

    A SPIFFE workload has a certificate, and a caller of a named issuer a bound token. Any other is as in development.
    """
    issuer, method, bound = "urn:opagate:development", AuthMethod.DEVELOPMENT, False
    if task.agent.startswith("spiffe://"):
        issuer, method, bound = "/".join(task.agent.split("/")[:3]), AuthMethod.SPIFFE_X509, True
    if task.issuer is not None:
        issuer = task.issuer
        if method is AuthMethod.DEVELOPMENT:
            method, bound = AuthMethod.JWT, True
    return Principal(
        task.agent,
        issuer,
        method,
        scopes=task.scopes,
        user=None if task.user is None else User(task.user, task.groups),
        delegation=tuple(Actor(actor, issuer) for actor in task.delegation),
        bound=bound,
    )


def _contract(contract: _ContractForm, trace: str) -> Contract:
    destinations = fill(list(contract.destinations), trace) if contract.destinations is not None else None
    return Contract(
        audiences=contract.audiences,
        tools=contract.tools,
        destinations=tuple(map(str, destinations)) if isinstance(destinations, list) else None,
        credential_flows=tuple((flow.source, flow.to) for flow in contract.credential_flows),
        limits=contract.limits,
        effects={**contract.effects},
    )


def _approval(read: _ApprovalForm) -> StepApproval:
    return StepApproval(_people(read.approvers), read.scopes, read.answers)


def _endorsement(read: _EndorsementForm) -> StepEndorsement:
    return StepEndorsement(_people(read.approvers), read.facts, read.age_seconds)


def _people(approvers: tuple[_StepApprover, ...]) -> tuple[JsonObject, ...]:
    return tuple(
        {"id": item.id, "issuer": item.issuer, "groups": list(item.groups), "assurance": item.assurance}
        | ({} if item.login_age_seconds is None else {"login_age_seconds": item.login_age_seconds})
        for item in approvers
    )


def _upstream(name: str, upstream: _UpstreamForm) -> TraceUpstream:
    return TraceUpstream(
        upstream.audience or name,
        upstream.trust,
        upstream.tenant,
        upstream.environment,
        upstream.tools,
        upstream.aggregates,
        upstream.credential,
        upstream.aliases,
        upstream.agent,
    )


def _credential(kind: CredentialKind | None) -> TargetCredential | None:
    """Return the credential of a kind, ended at its issuer as early as the kind can be."""
    if kind is None:
        return None
    return TargetCredential(kind, "never") if kind == "standing" else TargetCredential(kind, "at_once", SHORTEST_LIFE)


def _flaw(place: str, error: ValidationError) -> Flaw:
    """Return the first problem with its field. No value is quoted: a value may be a secret."""
    found = error.errors(include_url=False, include_input=False)[0]
    for part in found["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    message = found["msg"]
    match found["type"]:
        case "missing":
            message = "it is missing"
        case "extra_forbidden":
            message = "there is no such field"
        case _:
            message = message[:1].lower() + message[1:]
    return Flaw(place, message)
