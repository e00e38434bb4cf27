"""States of an approval. Pure: each function returns the next value and changes nothing.

pending ── yes of enough people ──▶ granted ── its call, decided again: allow ──▶ used
   │ one no ─▶ denied                  │ policy: deny ─▶ void · policy: further reasons ─▶ superseded
   │ time over ─▶ expired              │ time over ─▶ lapsed
   ├ task ended ─▶ withdrawn           └ task ended ─▶ withdrawn
   └ no channel delivers ─▶ unreachable
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import structs

from gateway.authority.approvals.model import OPEN, Approval, Notice, Question, State, Vote
from gateway.authority.approvals.rules import object_to_vote
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model.wire import JsonObject

End = Literal["withdrawn", "void", "superseded", "unreachable"]


def ask(question: Question) -> Approval:
    """Return the approval of a new question."""
    return Approval(question, until=question.expires)


def count_vote(approval: Approval, vote: Vote, shown: str, *, grant: float, remember: float) -> Approval | Reason:
    """Return the approval with a vote, or the reason against the vote. `shown` is the digest shown to the person.
    `grant` is the time in seconds for the approved call to come. `remember` is the time in seconds for a no to answer
    the same call.
    """
    if approval.state != "pending" or vote.at >= approval.until:
        return reasons.VOTE_CLOSED.reason(state=end_of_time(approval, vote.at).state)
    if shown != approval.question.shown:
        return reasons.VOTE_CHANGED.reason()
    if (objection := object_to_vote(approval, vote)) is not None:
        return objection
    votes = (*approval.votes, vote)
    if vote.answer == "deny":
        return structs.replace(approval, votes=votes, state="denied", until=vote.at + remember)
    counted = structs.replace(approval, votes=votes)
    if len(counted.yes) < approval.question.rule.count:
        return counted
    return structs.replace(counted, state="granted", granted=vote.at, until=vote.at + grant)


def end_of_time(approval: Approval, now: float) -> Approval:
    """Return the approval in its state at `now`: its time may be over."""
    if approval.state not in OPEN or now < approval.until:
        return approval
    state: State = "expired" if approval.state == "pending" else "lapsed"
    return structs.replace(approval, state=state)


def end(approval: Approval, state: End, now: float) -> Approval:
    """Return an open approval as ended for another cause than time."""
    return structs.replace(approval, state=state, until=now) if approval.state in OPEN else approval


def use(approval: Approval, decision: str) -> Approval:
    """Return the approval as used by an allowed call."""
    return structs.replace(approval, state="used", calls=(*approval.calls, decision))


def note_told(approval: Approval, channel: str, notice: Notice) -> Approval:
    """Return the approval with another channel of delivered news."""
    if notice == "asked":
        return structs.replace(approval, told=_with(approval.told, channel))
    return structs.replace(approval, told_end=_with(approval.told_end, channel))


def _with(channels: tuple[str, ...], channel: str) -> tuple[str, ...]:
    return channels if channel in channels else (*channels, channel)


_BY_STATE: Final[dict[State, Reason]] = {
    "pending": reasons.APPROVAL_PENDING.reason(),
    "denied": reasons.APPROVAL_DENIED.reason(),
    "expired": reasons.APPROVAL_EXPIRED.reason(),
    "withdrawn": reasons.APPROVAL_WITHDRAWN.reason(),
    "unreachable": reasons.APPROVAL_UNREACHABLE.reason(),
}


def reason_of(approval: Approval) -> Reason:
    """Return the reason for a waiting caller in this state."""
    return _BY_STATE.get(approval.state, _BY_STATE["pending"])


def describe_approvers(votes: Iterable[Vote]) -> list[JsonObject]:
    """Return the persons behind votes in the form for policy."""
    return [
        {
            "id": vote.person.id,
            "issuer": vote.person.issuer,
            "groups": vote.person.groups,
            "assurance": vote.person.assurance,
            **({} if vote.login_age is None else {"login_age_seconds": vote.login_age}),
        }
        for vote in votes
    ]


def fact_of(approval: Approval, granted: str) -> JsonObject:
    """Return the approval in the form for policy (`context.approval`). `granted` is its time in RFC 3339."""
    return {
        "id": approval.id,
        "digest": approval.question.call,
        "approvers": describe_approvers(approval.yes),
        "granted": granted,
        "scopes": approval.scopes,
        "answers": approval.question.codes,
    }
