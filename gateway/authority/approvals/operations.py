"""The desk as operations of the control interface, for approvers. Each handler gets an `Approver`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from gateway.authority.approvals.endorsement import EndorsementSelection
from gateway.authority.approvals.office import Office, SubmittedAnswer
from gateway.authority.approvals.rendering import CountedVote, ListedEndorsement, ListedQuestion, ShownQuestion
from gateway.base.control.operations import Operation
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.authority.approvals.admission import Approver
    from gateway.base.control.operations import Control, NoFields

_NEED: Final = "`approvals:`"


class QuestionName(Struct, frozen=True, forbid_unknown_fields=True):
    """The id of a question."""

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
    return Questions(office.list(by))


async def _list_endorsements(office: Office, _asked: NoFields, by: Approver) -> ListedEndorsements:
    return ListedEndorsements(office.list_endorsements(by))


async def _revoke(office: Office, asked: EndorsementSelection, by: Approver) -> ListedEndorsements | Reason:
    revoked = await office.revoke(asked, by)
    return revoked if isinstance(revoked, Reason) else ListedEndorsements(revoked)
