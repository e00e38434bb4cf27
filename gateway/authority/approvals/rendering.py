"""Questions as documents for people's programs: the command line, the API, pages. Pure.

Each document tells apart the words of the agent (`said_by_agent`), and the knowledge of the gateway (all else).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict

from gateway.authority.approvals.digest import code_of
from gateway.authority.approvals.rules import may_vote
from gateway.authority.approvals.sentence import say_openly
from gateway.authority.approvals.suggestions import suggest_settings
from gateway.base.letters import cut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.authority.approvals.endorsement import Endorsement
    from gateway.authority.approvals.model import Approval, Person, Question


_LONGEST_REASON: Final = 400
"""Characters of a reason's message on pages without a login and in messages."""


class QuestionState(TypedDict):
    """A question and its state. `warnings` name the places to look at closely."""

    id: str
    code: str
    state: str
    target: str
    sort: str
    agent: str
    user: str | None
    user_name: str | None
    user_mail: str | None
    asked: str
    expires: str
    votes: str
    warnings: list[str]


class ListedQuestion(QuestionState):
    """A line of a list of questions: a sentence without values, and the codes of the reasons.

    `is_in_line`: the question waits until people have answered earlier questions of its task or tree. `tree` is the root of the
    task's tree; empty outside of a tree.
    """

    reasons: list[str]
    task: str
    tree: str
    sentence: str
    is_in_line: bool


class CountedVote(ListedQuestion):
    """A question after a vote."""

    task_ended: bool


class DescribedReason(TypedDict):
    """A reason of the policy for a question."""

    code: str
    message: str
    facts: list[str]
    limits: Any


class ShownRule(TypedDict):
    """The rule for the people of a question."""

    count: int
    groups: list[str]
    exclude: list[str]
    assurance: str
    scopes: list[str]
    max_age_seconds: int | None


class ShownRecurrence(TypedDict):
    """The values that a yes with the scope `recurring` carries over to later tasks of this kind."""

    kind: str
    seconds: int
    asked: list[str]
    values: dict[str, Any]


class ShownQuestion(QuestionState):
    """A whole question. `shown` is its digest, which a vote repeats."""

    shown: str
    call: dict[str, Any]
    said_by_agent: dict[str, Any]
    is_whole: bool
    reasons: list[DescribedReason]
    rule: ShownRule
    recurs: ShownRecurrence | None
    votes_by: list[dict[str, str]]
    may_approve: bool
    instead: list[dict[str, Any]]
    decision: str
    task: str


class ListedEndorsement(TypedDict):
    """An endorsement. `asked` are pointers of the arguments that ask no more. `values` is `None` if the digest alone is known."""

    id: str
    kind: str
    tool: str
    agent: str
    user: str | None
    principal: str
    asked: list[str]
    values: dict[str, Any] | None
    approved_by: list[dict[str, str]]
    approval: str
    granted: str
    expires: str
    used: str | None


def summarize(approval: Approval, *, is_in_line: bool = False) -> ListedQuestion:
    """Return a line of a list of questions."""
    question = approval.question
    state = _describe_state(approval)
    return {
        **state,
        "reasons": list(question.codes),
        "task": question.task,
        "tree": question.tree,
        "sentence": say_openly(state),
        "is_in_line": is_in_line,
    }


def _describe_state(approval: Approval) -> QuestionState:
    question = approval.question
    return {
        "id": approval.id,
        "code": code_of(question),
        "state": approval.state,
        "target": question.target,
        "sort": question.sort,
        "agent": question.requester.id,
        "user": question.requester.user,
        "user_name": question.requester.user_name,
        "user_mail": question.requester.user_mail,
        "asked": _time(question.asked),
        "expires": _time(approval.until),
        "votes": f"{len(approval.yes)} of {question.rule.count}",
        "warnings": list(question.warnings),
    }


def describe(approval: Approval, description: Mapping[str, Any] | None, person: Person, now: float) -> ShownQuestion:
    """Return all parts of a question for a vote. Without a description no approval is possible."""
    question = approval.question
    shown = dict(description or {})
    said = {
        "arguments": shown.pop("arguments", None),
        "responses": shown.pop("responses", None),
        "beside": shown.pop("beside", None),
        "goal": shown.pop("goal", None),
        "task_kind": shown.pop("declared_kind", None),
        "client": shown.pop("client", None),
    }
    return {
        **_describe_state(approval),
        "shown": question.shown,
        "call": shown,
        "said_by_agent": said,
        "is_whole": _is_whole(said["arguments"]) and _is_shown(said["responses"]) and _is_shown(said["beside"]),
        "reasons": [
            {"code": item.code, "message": item.message, "facts": list(item.facts), "limits": item.limits}
            for item in question.reasons
        ],
        "rule": {
            "count": question.rule.count,
            "groups": list(question.rule.groups),
            "exclude": list(question.rule.exclude),
            "assurance": question.rule.assurance,
            "scopes": list(question.rule.scopes),
            "max_age_seconds": question.rule.max_age,
        },
        "recurs": _describe_recurrence(question),
        "votes_by": [
            {"id": vote.person.id, "known_as": vote.person.known_as, "answer": vote.answer, "at": _time(vote.at)}
            for vote in approval.votes
        ],
        "may_approve": description is not None and may_vote(approval, person, now),
        "instead": [one._asdict() for one in suggest_settings(question, shown)],
        "decision": question.decision,
        "task": question.task,
    }


def describe_openly(approval: Approval) -> dict[str, Any]:
    """Return the parts of a question for a message and for its page: no arguments, no goal, no text of a call."""
    question = approval.question
    target = question.target
    return {
        **_describe_state(approval),
        # Agents choose the addresses of resources.
        "target": target if question.sort != "resource" else f"{target.partition('/')[0]}/(resource)",
        "call": {},
        "said_by_agent": {},
        "reasons": [cut(item.message, _LONGEST_REASON) for item in question.reasons if item.is_general],
    }


def _describe_recurrence(question: Question) -> ShownRecurrence | None:
    """Return the reach of the scope `recurring`: these values together, for later tasks of this kind, for so many seconds."""
    found = question.recurrence
    if found is None:
        return None
    return {"kind": found.binding.kind, "seconds": found.seconds, "asked": list(found.pointers), "values": found.shown}


def describe_endorsement(endorsement: Endorsement) -> ListedEndorsement:
    """Return an endorsement for a list. `values` is `None` if the gateway has their digest alone."""
    binding = endorsement.binding
    return {
        "id": endorsement.id,
        "kind": binding.kind,
        "tool": binding.tool,
        "agent": endorsement.agent,
        "user": endorsement.user,
        "principal": binding.principal,
        "asked": list(endorsement.pointers),
        "values": endorsement.shown,
        "approved_by": [{"id": one.id, "issuer": one.issuer} for one in (vote.person for vote in endorsement.votes)],
        "approval": endorsement.approval,
        "granted": _time(endorsement.granted),
        "expires": _time(endorsement.expires),
        "used": None if endorsement.used is None else _time(endorsement.used),
    }


def _is_whole(arguments: Any) -> bool:
    """Return whether the arguments are shown whole: neither too large nor with a credential in several parts."""
    return isinstance(arguments, dict) and "value" in arguments


def _is_shown(part: Any) -> bool:
    """Return whether a part beside the arguments is shown, or is absent."""
    return part is None or part.get("value") is not None


def _time(seconds: float) -> str:
    """Return a time in RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
