"""The policy contract, version 1, as types: the questions to Rego and its possible answers. Pure. `tools/generate.py`
writes `rego/schemas/input.json` and `rego/schemas/decision/result.json` from `Input` and `Result`. OPA type-checks the rules
with both: a misspelt field in Rego is an error at build time. `document.py` makes an `Input`; `verdict.py` reads a
`Result`. An absent field is `UNSET` here."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.model.call import ActionName, SignalType
from gateway.model.caller import AuthMethod
from gateway.model.facts import Count, Positive, SessionFacts
from gateway.model.target import Assumable, CredentialKind, Effect, Pin, Revocable, Role, Sensitivity

Text = Annotated[str, Meta(min_length=1)]
Time = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$")]
Pointer = Annotated[str, Meta(pattern=r"^(/([^~/]|~[01])*)*$")]
"""A JSON pointer, RFC 6901."""
Assurance = Literal["chat", "peer", "login", "mfa", "passkey"]
"""Authentication of an approver, from weak to strong."""
Scope = Literal["once", "destination", "limit", "recurring"]
"""Reach of an approval: this call; its destinations, or the limits that it was shown, for the rest of the task; its
values for later tasks of the same kind."""
Excluded = Literal["requester", "user", "delegates"]
"""Parties to a call that may not approve it: the agent, the user of its task, the agents of its delegation chain."""


class Closed(Struct, forbid_unknown_fields=True):
    """An object that has these fields and no others."""


# --- input -----------------------------------------------------------------------------------------


class UserInput(Closed):
    id: str
    groups: list[str]


class DelegationLink(Closed):
    """One link of a delegation chain (RFC 8693, `act`)."""

    id: str
    issuer: str | UnsetType = UNSET


class SubjectProperties(Closed):
    issuer: str
    auth_method: AuthMethod
    bound: bool
    scopes: list[str]
    user: UserInput | None
    delegation: list[DelegationLink]
    delegation_depth: Count


class SubjectInput(Closed):
    type: Literal["agent"]
    id: str
    properties: SubjectProperties


class Action(Closed):
    name: ActionName


class ShownCredential(Closed):
    """The credential that the gateway shows to the upstream. `standing`: a fixed header. The other kinds are leased.

    `revocable` is the earliest end at the issuer, `min_ttl_seconds` the shortest life of a lease."""

    kind: CredentialKind
    revocable: Revocable
    min_ttl_seconds: Positive | UnsetType = UNSET


class ResourceProperties(Closed):
    upstream: str
    audience: str
    effect: Effect
    egress: bool
    sensitivity: Sensitivity
    trust: Literal["trusted", "untrusted"]
    roles: dict[str, Role]
    annotations: dict[str, Any]
    tool: str | UnsetType = UNSET
    tenant: str | UnsetType = UNSET
    environment: str | UnsetType = UNSET
    pin: Pin | UnsetType = UNSET
    sandbox: bool | UnsetType = UNSET
    assumed: list[Assumable] | UnsetType = UNSET
    credential: ShownCredential | UnsetType = UNSET


class Resource(Closed):
    type: Literal["tool", "resource", "prompt"]
    id: str
    properties: ResourceProperties


class ClientInput(Closed):
    ip: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class FlowInput(Closed):
    """A permitted way of a credential in a task: from its original audience to its recipient."""

    source: str = field(name="from")
    to: str


class DeclaredEffects(Closed):
    """Lasting effects of the task, each with patterns of tools."""

    destructive: list[str] | UnsetType = UNSET
    mint: list[str] | UnsetType = UNSET


class TaskContract(Closed):
    """Bounds of a declared task. An absent list narrows nothing. `effects` count once the task is approved."""

    credential_flows: list[FlowInput]
    limits: dict[str, Count]
    audiences: list[str] | UnsetType = UNSET
    tools: list[str] | UnsetType = UNSET
    destinations: list[str] | UnsetType = UNSET
    effects: DeclaredEffects | UnsetType = UNSET


class Approver(Closed):
    """Person who approved. `assurance` names the strength of the authentication. `login_age_seconds` is the time from the
    login to the vote, if the token says when the person logged in."""

    id: Text
    issuer: Text
    groups: list[str]
    assurance: Assurance
    login_age_seconds: Annotated[float, Meta(ge=0)] | UnsetType = UNSET


class TaskLeases(Closed):
    """Credentials lent to the task: `open` until their end is proven, and of these `stuck`. Absent without any."""

    open: Positive
    stuck: Count


class TaskInput(Closed):
    """The task of the call. `agents` are those of the tasks above a child, the root's first."""

    id: str
    kind: Literal["declared", "implicit"]
    opened: Time
    expires: Time | UnsetType = UNSET
    goal: str | UnsetType = UNSET
    declared_kind: str | UnsetType = UNSET
    risk: Literal["low", "medium", "high"] | UnsetType = UNSET
    tenant: str | UnsetType = UNSET
    environment: str | UnsetType = UNSET
    contract: TaskContract | UnsetType = UNSET
    approved_by: list[Approver] | UnsetType = UNSET
    agents: list[str] | UnsetType = UNSET
    leases: TaskLeases | UnsetType = UNSET


class ApprovalInput(Closed):
    """Approval of this very call. `digest` is that of the call. `answers` are the reason codes that each approver saw, and
    `scopes` are the reach of the approval."""

    id: Text
    digest: Text
    approvers: Annotated[list[Approver], Meta(min_length=1)]
    granted: Time
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    answers: list[str]


class EndorsementInput(Closed):
    """Values of this call that persons approved for later tasks of its kind. `facts` are the pointers of the arguments that
    the persons were asked about."""

    id: Text
    digest: Text
    kind: Text
    approvers: Annotated[list[Approver], Meta(min_length=1)]
    granted: Time
    age_seconds: Count
    scopes: list[Literal["recurring"]]
    facts: list[str]


class SignalInput(Closed):
    """Open fact about the user, the session or the agent of the call, from an identity provider (CAEP 1.0). `at` is the time of
    the event. `level` is the present level of risk or assurance, the status of the device, or the change of the credential."""

    type: SignalType
    at: Time
    level: Text | UnsetType = UNSET


class RepeatedEffectInput(Closed):
    """Earlier call with the same effect, by the label `effect_key` of the tool: still open, done, or of unknown outcome."""

    call: Text
    state: Literal["open", "done", "unknown"]
    at: Time


class Circumstances(Closed, kw_only=True):
    """The circumstances of a call that are new for each."""

    time: Time
    trace_id: str
    client: ClientInput
    supported_obligations: list[str]
    signals: list[SignalInput] | UnsetType = UNSET
    enforced: bool | UnsetType = UNSET
    """`false` in observe mode: the gateway lets denied calls pass. Absent where it enforces."""


class ContextInput(Circumstances, kw_only=True):
    task: TaskInput
    approval: ApprovalInput | None
    endorsement: EndorsementInput | UnsetType = UNSET
    repeats: RepeatedEffectInput | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET
    """Headers of the caller that the operator lets through to the upstream, by name in lower case."""
    params: dict[str, Any] | UnsetType = UNSET
    """Members of the request's `params`, and of their `_meta`, that neither MCP nor the arguments explain."""


class LeaseInput(Closed):
    """A lease of the task. `resource` is the target whose call needed the credential. For messages without a decision it stands for the
    upstream itself: its id ends after the name of the upstream and a slash."""

    id: Text
    resource: Resource
    audience: str
    scope: list[str]
    kind: CredentialKind
    expires: Time


class Input(Closed):
    """The `input` of a rule. A call has `action`, `resource` and `arguments`; a list has `resources`; a question about leases has
    `leases`."""

    version: Literal[1]
    subject: SubjectInput
    context: ContextInput
    session: SessionFacts
    action: Action | UnsetType = UNSET
    resource: Resource | UnsetType = UNSET
    arguments: dict[str, Any] | UnsetType = UNSET
    resources: list[Resource] | UnsetType = UNSET
    leases: list[LeaseInput] | UnsetType = UNSET
    facts: dict[str, int | float | str] | UnsetType = UNSET
    """The facts of `facts.yaml` that the call has, with the call itself counted as open. Absent without any."""
    facts_before: dict[str, int | float | str] | UnsetType = UNSET
    """The same without the call."""
    facts_incomplete: list[str] | UnsetType = UNSET
    """The names of facts whose memory lacks something; absent if none."""


# --- result ----------------------------------------------------------------------------------------


class ResultReason(Struct):
    """Reason of an answer. An approval of the code holds for the task up to the numbers in `limits`. Further fields are
    ignored: a later policy may say more."""

    code: Annotated[str, Meta(pattern=r"^[a-z0-9_-]+(/[a-z0-9_-]+)+$")]
    message: Text
    remedy: str = ""
    controls: list[str] = []
    facts: list[str] = []
    limits: dict[str, Count] = {}


class ResultObligation(Struct):
    id: Text
    properties: dict[str, Any]


class ResultPolicy(Struct):
    """The policy behind an answer. The gateway fills in a `revision` unknown to Rego."""

    name: Text
    revision: str = ""


class BesideDenial(Struct):
    """The unsaid part of a denial, for observe mode: the questions to people, and the obligations of the call if it passes."""

    asks: list[ResultReason]
    obligations: list[ResultObligation]


class Result(Struct):
    """The answer to one call. `unenforced` comes with a denial if the question says that the gateway does not enforce."""

    version: Literal[1]
    effect: Literal["allow", "deny", "ask"]
    reasons: list[ResultReason]
    obligations: list[ResultObligation]
    policy: ResultPolicy
    unenforced: BesideDenial | UnsetType = UNSET


class Visible(Struct):
    """The answer to a list."""

    version: Literal[1]
    visible: list[str]


class KeptLeases(Struct):
    """The policy's answer about open leases. `keep` has the ids of the leases that stay open."""

    version: Literal[1]
    keep: list[str]


# --- obligations -----------------------------------------------------------------------------------


class IssueCredential(Closed):
    """Narrower terms of the call's credential than the configuration gives. Several merge to the strictest.

    `scope` is a list with spaces between (RFC 6749 section 3.3), `details` are authorization details (RFC 9396)."""

    audience: Text | UnsetType = UNSET
    scope: Text | UnsetType = UNSET
    ttl_seconds: Positive | UnsetType = UNSET
    bind: Literal["call", "task"] | UnsetType = UNSET
    details: Annotated[list[dict[str, Any]], Meta(min_length=1)] | UnsetType = UNSET


class ConcealCredentials(Closed):
    pass


class Redact(Closed):
    pointers: Annotated[list[Pointer], Meta(min_length=1)]


class Label(Closed):
    confidentiality: Sensitivity


class RequireApprovers(Closed):
    """Condition on an approval. Several merge to the strictest: highest `count` and `assurance`, least `expires_seconds`
    and `max_age_seconds`.
    The approvers need every `group`, `exclude` adds up, and a scope has to be in all `scopes`. Values approved with the
    scope `recurring` hold for the least `recur_seconds`."""

    count: Positive
    group: Text | UnsetType = UNSET
    exclude: list[Excluded] | UnsetType = UNSET
    assurance: Assurance | UnsetType = UNSET
    expires_seconds: Positive | UnsetType = UNSET
    recur_seconds: Positive | UnsetType = UNSET
    scopes: Annotated[list[Scope], Meta(min_length=1)] | UnsetType = UNSET
    max_age_seconds: Positive | UnsetType = UNSET


class Limit(Closed):
    """Bounds of an answer, at least one. `verdict` refuses an empty obligation."""

    timeout_seconds: Annotated[float, Meta(gt=0)] | UnsetType = UNSET
    max_bytes: Positive | UnsetType = UNSET


OBLIGATIONS: dict[str, type[Closed]] = {
    "issue_credential": IssueCredential,
    "conceal_credentials": ConcealCredentials,
    "redact": Redact,
    "label": Label,
    "require_approvers": RequireApprovers,
    "limit": Limit,
}
"""Obligation id → the exact shape of its properties. An unknown property would be something left undone."""


def schemas() -> dict[str, dict[str, Any]]:
    """Return path → JSON Schema, for `rego/schemas/`. `opa test rego/` loads the files as data: two in one folder conflict."""
    return {"input.json": _schema(Input), "decision/result.json": _schema(Result)}


def _schema(model: type[Struct]) -> dict[str, Any]:
    schema = msgspec.json.schema(model)
    definitions: dict[str, Any] = schema.pop("$defs")
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_inline_references(schema, definitions)}


def _inline_references(node: Any, definitions: dict[str, Any]) -> Any:
    """Return the schema without references: OPA's type checker follows few of them, and none here is recursive."""
    if isinstance(node, list):
        return [_inline_references(item, definitions) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    mapping = cast("dict[str, Any]", node)
    if "$ref" in mapping:
        return _inline_references(definitions[mapping["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in mapping and mapping.get("default", "") is None:
        # An unknown fact is absent, so its `null` is never in an input.
        (mapping,) = (one for one in mapping["anyOf"] if one != {"type": "null"})
        return _inline_references(mapping, definitions)
    return {key: _inline_references(value, definitions) for key, value in mapping.items() if key not in _SAYS_NOTHING}


_SAYS_NOTHING: Final = frozenset({"title", "default", "uniqueItems"})
"""The parts of a schema that tell a type checker nothing."""


Entrypoint: TypeAlias = Literal["decision", "visibility", "leases", "explanation"]
"""The questions. A policy may lack the last two: without `leases`, each new revision ends all leases."""
