"""Records of approvals. Pure: frozen values without I/O, clock or randomness. Times are seconds since the epoch."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from gateway.model.caller import name_job

Scope: TypeAlias = Literal["once", "destination", "limit", "recurring"]
"""Extent of a yes: this call once, its shown values for the task, its shown limits for the task, or its shown values for later
tasks of the same kind."""
Excluded: TypeAlias = Literal["requester", "user", "delegates"]
Assurance: TypeAlias = Literal["chat", "peer", "login", "mfa", "passkey"]
State: TypeAlias = Literal[
    "pending", "granted", "used", "denied", "expired", "lapsed", "withdrawn", "void", "superseded", "unreachable"
]

ASSURANCES: Final[tuple[Assurance, ...]] = ("chat", "peer", "login", "mfa", "passkey")
"""From the weakest proof of a person to the strongest."""
SCOPES: Final[tuple[Scope, ...]] = ("once", "destination", "limit", "recurring")
OPEN: Final[frozenset[State]] = frozenset({"pending", "granted"})
CLOCK_SKEW: Final = 10.0
"""Seconds by which the clock of an identity provider may be ahead."""
WARNINGS: Final = {
    "letters": "some words mix alphabets or have look-alike letters: each may look like another word",
    "order": "some letters are written from right to left: a screen may show the parts in another order",
}
"""What people have to look at closely, by name. A message to people has these sentences alone, and no words of the call."""
Notice: TypeAlias = Literal["asked", "closed"]
"""News of a question that people are told: its beginning, or its end."""


class Person(Struct, frozen=True):
    """A verified person. `channel` names the way of the vote, `logged_in` the time of the login, if known. `known_as` has the
    display name and the mail; people read these words beside the id, and nothing decides by these. `mail` is a verified address. It
    gives no right: a person with it is the same person under another id."""

    id: str
    issuer: str
    groups: tuple[str, ...] = ()
    assurance: Assurance = "peer"
    channel: str = "socket"
    logged_in: float | None = None
    known_as: str = ""
    mail: str = ""


class Requester(Struct, frozen=True):
    """The waiting caller. `key` is `Principal.key`; `delegates` are the actors of its delegation chain. `session` is
    the digest of the session with the question's address; empty for other clients."""

    key: str
    id: str
    issuer: str
    user: str | None = None
    delegates: tuple[str, ...] = ()
    session: str = ""
    user_name: str | None = None
    user_mail: str | None = None
    """The display name and the verified mail of the user, where the token had them. The name names nobody in a rule."""

    @property
    def job(self) -> str:
        """Return the name of the job of the caller's tasks: see `Principal.job`."""
        return name_job(self.issuer, self.user or self.id)


class ApproverRule(Struct, frozen=True):
    """Requirements on the approvers. `seconds` is the time for people's answers, and `max_age` the longest time in
    seconds between the login of a person and the vote. `recur_seconds` is the life of values approved with the scope
    `recurring`."""

    count: int = 1
    groups: tuple[str, ...] = ()
    exclude: tuple[Excluded, ...] = ("requester", "user", "delegates")
    assurance: Assurance = "chat"
    seconds: float = 900.0
    scopes: tuple[Scope, ...] = ("once",)
    max_age: int | None = None
    recur_seconds: int | None = None


class ShownReason(Struct, frozen=True):
    """A reason of the policy, in the form for people. An approval answers its code, and raises `limits` if its scope
    says so."""

    code: str
    message: str
    remedy: str = ""
    facts: tuple[str, ...] = ()
    limits: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    is_general: bool = False
    """Whether the message repeats no text of the call, so that a channel may carry it."""


class Binding(Struct, frozen=True):
    """Identity of the calls with the same recurring values. `principal` is `Principal.key`, and `kind` names the task's work.

    `definition` is the digest of the tool's pinned definition. `values` is a keyed digest of all values of authority in the call.
    It covers their arguments and roles, the names of all arguments, and the place of the tool.
    """

    principal: str
    kind: str
    tool: str
    definition: str
    values: str


class Recurrence(Struct, frozen=True):
    """The part of a call carried over by a yes with the scope `recurring`. `pointers` are the arguments in question.
    `shown` has the bound values by pointer, in the form for people."""

    binding: Binding
    seconds: int
    pointers: tuple[str, ...]
    shown: dict[str, Any]


class Question(Struct, frozen=True):
    """A question to people about one call. The description of the call is kept apart, on disk.

    `call` is the digest of the call, `operation` the same without input responses: equal in all rounds of an exchange.
    `subject` is a checksum of the target alone. `shown` is the digest of the whole question to people. `decision` is
    the id of the asking decision. `values` are the digests for the scope `destination`. Without `recurrence` nothing of
    the call can recur.
    """

    id: str
    call: str
    operation: str
    subject: str
    shown: str
    decision: str
    task: str
    target: str
    requester: Requester
    rule: ApproverRule
    reasons: tuple[ShownReason, ...]
    asked: float
    expires: float
    policy: tuple[str, str] = ("unknown", "")
    values: tuple[int, ...] = ()
    outlives_task: bool = False
    """An implicit task ends by itself while people think. Its question stays, for the caller's next implicit task."""
    sort: str = "tool"
    """Type of the target. The caller chooses the name of a resource, and the operator or an upstream that of a tool."""
    recurrence: Recurrence | None = None
    act: str = ""
    """Digest of the call without the parts beside its arguments."""
    warnings: tuple[str, ...] = ()
    """Names of `WARNINGS` about the words of the call."""
    tree: str = ""
    """The root of the task's tree; empty for a task outside of a tree, and for a question of an earlier release."""

    @property
    def line(self) -> str:
        """Return the name of the line in which the question stands: of its tree, of its task, or of a caller without a task."""
        return self.tree or self.task or self.requester.key

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(reason.code for reason in self.reasons))


class PasskeySignature(Struct, frozen=True):
    """A signature by a passkey (WebAuthn): the id of the key, and the parts that the browser gave. All are in base64url."""

    key: str
    authenticator: str
    client: str
    signature: str


class Vote(Struct, frozen=True):
    """A person's answer to a question. `end_task`: a no that ends the task too. `signature`: the person signed it with a passkey."""

    person: Person
    answer: Literal["approve", "deny"]
    at: float
    scopes: tuple[Scope, ...] = ("once",)
    end_task: bool = False
    signature: PasskeySignature | None = None

    @property
    def login_age(self) -> float | None:
        """Return the seconds between the person's login and the vote. A login in the future has no age."""
        if self.person.logged_in is None or self.person.logged_in > self.at + CLOCK_SKEW:
            return None
        return max(0.0, round(self.at - self.person.logged_in, 3))


class UseClaim(Struct, frozen=True):
    """The right of one call to use an approval, while the call is decided. `call` is its decision id, and `gateway` names its gateway.

    `job` names the log of its history; it is empty for a declared task, which no log has under this id.
    """

    gateway: str
    call: str
    job: str = ""


class Approval(Struct, frozen=True):
    """A question with its votes. `until` is the end of its present state. `calls` are the decision ids of its uses.
    `told` and `told_end` name the channels with the question, and with its end, delivered. `is_unreached`: all channels
    have failed so far.
    """

    question: Question
    state: State = "pending"
    votes: tuple[Vote, ...] = ()
    granted: float | None = None
    until: float = 0.0
    calls: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    told_end: tuple[str, ...] = ()
    claim: UseClaim | None = None
    is_unreached: bool = False

    @property
    def id(self) -> str:
        return self.question.id

    @property
    def yes(self) -> tuple[Vote, ...]:
        return tuple(vote for vote in self.votes if vote.answer == "approve")

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Return the scopes chosen by every approver. The scope `once` is always among these."""
        return common_scopes(self.yes)


def common_scopes(votes: tuple[Vote, ...]) -> tuple[Scope, ...]:
    """Return the scopes in every vote. The scope `once` is always among these."""
    return tuple(
        scope for scope in SCOPES if scope == "once" or (votes and all(scope in vote.scopes for vote in votes))
    )
