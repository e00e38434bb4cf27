"""Questions and endorsements as operations of the control interface, for approvers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct, structs

from gateway.authority.approvals.digest import CODE_LENGTH, code_of
from gateway.authority.approvals.endorsement import EndorsementSelection
from gateway.authority.approvals.model import SCOPES, Approval, Question, Scope, Vote
from gateway.authority.approvals.rendering import (
    CountedVote,
    ListedEndorsement,
    ListedQuestion,
    ShownQuestion,
    describe,
    describe_endorsement,
    summarize,
)
from gateway.authority.approvals.rules import spell_groups
from gateway.base.control.operations import Operation
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.authority.approvals.desk import Desk
    from gateway.authority.approvals.endorsements import Endorsements
    from gateway.authority.approvals.passkeys import Passkeys
    from gateway.authority.approvals.rendering import ListedEndorsement
    from gateway.authority.approvals.rules import Approver
    from gateway.base.control.operations import Control, NoFields


class SubmittedAnswer(Struct, frozen=True, forbid_unknown_fields=True):
    """A person's answer to a question, as received. `shown` is the digest of the question as shown to the person.

    `answer` is `approve` or `deny`. `end_task`: a no ends the task too.
    """

    id: str
    answer: str
    shown: str
    scopes: list[str] = msgspec.field(default_factory=lambda: ["once"])
    end_task: bool = False


class Office:
    """`end_task` ends the task of a question, and returns whether the task was open."""

    def __init__(
        self,
        desk: Desk,
        endorsements: Endorsements,
        end_task: Callable[[Question], Awaitable[bool]],
        passkeys: Passkeys,
    ) -> None:
        self.desk = desk
        self.passkeys = passkeys
        self._endorsements = endorsements
        self._end_task = end_task

    async def catch_up(self) -> None:
        """Take over what people answered and revoked at other gateways. Raises `StoreError`."""
        if self.desk.is_shared:
            await self.desk.follow()
            await self._endorsements.follow()

    def list(self, _approver: Approver) -> list[ListedQuestion]:
        """Return the open questions and approvals by their task or tree, the one with the oldest question first."""
        found = self.desk.list_open()
        oldest: dict[str, float] = {}
        for one in found:
            oldest.setdefault(one.question.tree or one.question.task, one.question.asked)
        found.sort(
            key=lambda one: (
                oldest[one.question.tree or one.question.task],
                one.question.tree or one.question.task,
                one.question.asked,
            )
        )
        return [self._summarize(approval) for approval in found]

    def _summarize(self, approval: Approval) -> ListedQuestion:
        return summarize(approval, is_in_line=self.desk.waits_in_line(approval))

    def find(self, name: str) -> Approval | None:
        """Return the question with an id, or the only open question with a code of four letters."""
        found = self.desk.get(name)
        if found is not None or len(name) != CODE_LENGTH:
            return found
        with_code = [one for one in self.desk.list_open() if code_of(one.question) == name.upper()]
        return with_code[0] if len(with_code) == 1 else None

    async def show(self, name: str, approver: Approver, *, may_sign: bool = False) -> ShownQuestion | Reason:
        """Return the whole question for a person, by its id or its code. Raises `StoreError`.

        `may_sign`: the person answers at a place where a passkey signs the vote.
        """
        await self.catch_up()
        approval, person = self.find(name), approver.person
        if approval is None:
            return reasons.VOTE_UNKNOWN.reason()
        if may_sign and await self.passkeys.find_signers(person, approval.question):
            person = structs.replace(person, assurance="passkey")
        return describe(approval, await self.desk.describe(approval.id), person, self.desk.now())

    async def vote(
        self, approver: Approver, answer: SubmittedAnswer, signature: str | None = None
    ) -> CountedVote | Reason:
        """Count a person's answer. `signature` is the answer of the browser that signed it with a passkey, in JSON.

        Raises `JournalError` and `StoreError`.
        """
        read = await self._read(approver, answer)
        if isinstance(read, Reason):
            return read
        approval, vote = read
        signed = vote if signature is None else await self.passkeys.sign(approval.question, vote, signature)
        if isinstance(signed, Reason):
            return signed
        counted = await self.desk.vote(approval.id, signed, answer.shown)
        if isinstance(counted, Reason):
            return counted
        ended = answer.end_task and counted.state == "denied" and await self._end_task(counted.question)
        return {**summarize(counted), "task_ended": ended}

    async def begin_signature(self, approver: Approver, answer: SubmittedAnswer) -> dict[str, Any] | Reason:
        """Return the options with which the person's browser signs an answer. Raises `StoreError`."""
        read = await self._read(approver, answer)
        return read if isinstance(read, Reason) else await self.passkeys.begin_vote(read[0].question, read[1])

    async def _read(self, approver: Approver, answer: SubmittedAnswer) -> tuple[Approval, Vote] | Reason:
        """Return the question with the person's vote, or the refusal of an answer that is none."""
        await self.catch_up()
        approval = self.find(answer.id)
        if answer.answer not in {"approve", "deny"}:
            return reasons.VOTE_INVALID_ANSWER.reason()
        scopes: tuple[Scope, ...] = tuple(scope for scope in SCOPES if scope in answer.scopes or scope == "once")
        if not set(answer.scopes) <= set[str](scopes):
            return reasons.VOTE_INVALID_SCOPES.reason(scopes=", ".join(SCOPES))
        if approval is None or (answer.answer == "approve" and await self.desk.describe(approval.id) is None):
            return reasons.VOTE_UNKNOWN.reason()
        return approval, self._vote(approver, approval, answer, scopes)

    def _vote(self, approver: Approver, approval: Approval, answer: SubmittedAnswer, scopes: tuple[Scope, ...]) -> Vote:
        is_yes, person = answer.answer == "approve", spell_groups(approver.person, approval.question.rule)
        return Vote(
            person,
            "approve" if is_yes else "deny",
            self.desk.now(),
            scopes if is_yes else ("once",),
            answer.end_task and not is_yes,
        )

    def list_endorsements(self, _approver: Approver) -> list[ListedEndorsement]:
        """Return the endorsements in force, the oldest first."""
        return [describe_endorsement(one) for one in self._endorsements.list()]

    async def revoke(self, selection: EndorsementSelection, approver: Approver) -> list[ListedEndorsement] | Reason:
        """Take back and return the selected endorsements. Any approver may: the agent then asks again.

        Raises `JournalError` and `StoreError`.
        """
        if selection.is_empty:
            return reasons.ENDORSEMENT_INVALID_EMPTY.reason()
        found = await self._endorsements.revoke(selection, approver.person)
        return [describe_endorsement(one) for one in found] or reasons.ENDORSEMENT_UNKNOWN.reason()

    def watch(self, _approver: Approver, tell: Callable[[ListedQuestion], None]) -> Callable[[], None]:
        """Have `tell` called with the summary of each changed question. Returns a function to end the watch."""

        def told(approval: Approval) -> None:
            tell(self._summarize(approval))

        return self.desk.watch(told)


_NEED: Final = "`approvals:`"


class QuestionName(Struct, frozen=True, forbid_unknown_fields=True):
    """The id of a question, or its code of four letters while the question is open."""

    id: str


class Questions(Struct, frozen=True):
    """The open questions, the oldest first."""

    questions: list[ListedQuestion]


class ListedEndorsements(Struct, frozen=True):
    """Endorsements, the oldest first."""

    endorsements: list[ListedEndorsement]


LIST: Final = Operation(
    "approvals/list", "approver", "List the open questions.", Questions, _NEED, route=("GET", "/api/approvals")
)
SHOW: Final = Operation(
    "approvals/show",
    "approver",
    "Show one question.",
    ShownQuestion,
    _NEED,
    QuestionName,
    ("GET", "/api/approvals/{id}"),
)
VOTE: Final = Operation(
    "approvals/vote",
    "approver",
    "Approve or deny a call.",
    CountedVote,
    _NEED,
    SubmittedAnswer,
    ("POST", "/api/approvals/{id}/vote"),
)
WATCH: Final = Operation(
    "approvals/watch",
    "approver",
    "Show each open question, and each change from then on.",
    ListedQuestion,
    _NEED,
    is_stream=True,
)
LIST_ENDORSEMENTS: Final = Operation(
    "endorsements/list",
    "approver",
    "List the endorsements in force.",
    ListedEndorsements,
    _NEED,
    route=("GET", "/api/endorsements"),
)
REVOKE: Final = Operation(
    "endorsements/revoke",
    "approver",
    "Revoke the endorsements that fit every given field.",
    ListedEndorsements,
    _NEED,
    EndorsementSelection,
    ("POST", "/api/endorsements/revoke"),
)
OPERATIONS: Final = (LIST, SHOW, VOTE, WATCH, LIST_ENDORSEMENTS, REVOKE)


def add_operations(control: Control, office: Office) -> None:
    """Add the operations of a desk."""

    async def show(asked: QuestionName, by: Approver) -> Any:
        return await office.show(asked.id, by)

    async def vote(asked: SubmittedAnswer, by: Approver) -> Any:
        return await office.vote(by, asked)

    control.add(
        {
            LIST: partial(_list, office),
            SHOW: show,
            VOTE: vote,
            LIST_ENDORSEMENTS: partial(_list_endorsements, office),
            REVOKE: partial(_revoke, office),
        }
    )
    control.add_watch(WATCH, lambda by, tell: (office.list(by), office.watch(by, tell)))


async def _list(office: Office, _asked: NoFields, by: Approver) -> Questions:
    await office.catch_up()
    return Questions(office.list(by))


async def _list_endorsements(office: Office, _asked: NoFields, by: Approver) -> ListedEndorsements:
    await office.catch_up()
    return ListedEndorsements(office.list_endorsements(by))


async def _revoke(office: Office, asked: EndorsementSelection, by: Approver) -> ListedEndorsements | Reason:
    revoked = await office.revoke(asked, by)
    return revoked if isinstance(revoked, Reason) else ListedEndorsements(revoked)
