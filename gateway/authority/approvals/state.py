"""The states of an approval and their entries in the journal. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

import msgspec
from msgspec import structs

from gateway.authority.approvals.model import OPEN, Approval, Notice, Question, State, UseClaim, Vote, common_scopes
from gateway.authority.approvals.rules import object_to_vote
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

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
    is_open = approval.state in OPEN
    return structs.replace(approval, state=state, until=now, claim=None) if is_open else approval


def claim_use(approval: Approval, claim: UseClaim, now: float, earlier: str | None = None) -> Approval | None:
    """Return the approval as claimed by one call, `None` if the call may not have it.

    `earlier` is the decision id of the previous round of an upstream's exchange; a round has one next round.
    """
    is_next = approval.state == "used" and earlier is not None and approval.calls[-1:] == (earlier,)
    if approval.claim is not None or now >= approval.until or not (approval.state == "granted" or is_next):
        return None
    return structs.replace(approval, claim=claim)


def give_back(approval: Approval, gateway: str, call: str) -> Approval | None:
    """Return the approval without the claim of a call, `None` if it has another claim or none."""
    found = approval.claim
    has_claim = found is not None and (found.gateway, found.call) == (gateway, call)
    return structs.replace(approval, claim=None) if has_claim else None


def use(approval: Approval, decision: str) -> Approval:
    """Return the approval as used by an allowed call."""
    return structs.replace(approval, state="used", calls=(*approval.calls, decision), claim=None)


def use_once(approval: Approval, decision: str) -> Approval | None:
    """Return the approval as used by an allowed call, `None` if it has the use."""
    return None if decision in approval.calls else use(approval, decision)


def note_told(approval: Approval, channel: str, notice: Notice) -> Approval:
    """Return the approval with another channel of delivered news."""
    if notice == "asked":
        return structs.replace(approval, told=_with(approval.told, channel), is_unreached=False)
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


KIND: Final = "approval"


def asked_entry(approval: Approval) -> JsonObject:
    """Return the fields of an `asked` entry: the question without the description of the call."""
    question = approval.question
    return {
        "id": question.id,
        "event": "asked",
        "at": question.asked,
        "call": question.call,
        "shown": question.shown,
        "decision": question.decision,
        "task": question.task,
        "owner": question.requester.key,
        "target": question.target,
        "reasons": list(question.codes),
        "rule": msgspec.to_builtins(question.rule),
        "expires": question.expires,
    }


def changed_entry(approval: Approval, now: float, *, vote: Vote | None = None, cause: str = "") -> JsonObject:
    """Return the fields of the entry for a changed approval. `vote` is the vote behind the change, `cause` another
    cause."""
    event = "vote" if approval.state == "pending" else approval.state
    fields: dict[str, Any] = {
        "id": approval.id,
        "event": event,
        "at": now,
        "task": approval.question.task,
        "until": approval.until,
        "seconds": round(now - approval.question.asked, 3),
    }
    if vote is not None:
        fields["vote"] = msgspec.to_builtins(vote)
    if cause:
        fields["cause"] = cause
    return fields


def overtaken_entry(approval: Approval, now: float) -> JsonObject:
    """Return the fields of the entry that takes the entry before it back: another gateway was first with a change."""
    return {"id": approval.id, "event": "overtaken", "at": now, "task": approval.question.task}


class NoticeDelivery(NamedTuple):
    """News of a question on one channel. `message` is the id of the message; a message may tell of several
    questions."""

    channel: str
    notice: Notice
    message: str


def delivery_entry(approval: Approval, now: float, delivery: NoticeDelivery, *, problem: str = "") -> JsonObject:
    """Return the fields of the entry for a delivered message, or for a message given up because of `problem`."""
    fields: dict[str, Any] = {
        "id": approval.id,
        "event": "unsent" if problem else "sent",
        "at": now,
        "task": approval.question.task,
        "unsent" if problem else "sent": [delivery.channel],
        "notice": delivery.notice,
        "message": delivery.message,
    }
    return {**fields, "problem": problem} if problem else fields


def fold_entry(approval: Approval, fields: JsonObject) -> Approval:
    """Return the approval after an entry of its own. An entry already in the approval changes nothing.

    Raises `ValueError` and `KeyError` for a damaged entry.
    """
    event = cast("str", fields["event"])
    if event in {"asked", "unsent", "overtaken"}:
        return approval
    if event == "sent":
        (channel,) = cast("list[str]", fields["sent"])
        return note_told(approval, channel, cast("Notice", fields["notice"]))
    votes, at = approval.votes, cast("float", fields["at"])
    if "vote" in fields:
        vote = msgspec.convert(fields["vote"], Vote)
        votes = votes if vote in votes else (*votes, vote)
    state = cast("State", "pending" if event == "vote" else event)
    if approval.state == "used" or (state == "pending" and approval.state != "pending"):
        return approval
    granted = at if state == "granted" else approval.granted
    until = cast("float", fields["until"])
    return structs.replace(approval, votes=votes, state=state, granted=granted, until=until)


def fold_call(approval: Approval, fields: JsonObject) -> Approval:
    """Return the approval after its `call` entry: used, if the policy allowed."""
    decision = cast("str", fields["id"])
    if fields.get("effect") != "allow" or decision in approval.calls:
        return approval
    return use(approval, decision)


def fold_task(approval: Approval, fields: JsonObject) -> Approval:
    """Return the approval after its `task` entry: used by the opened task."""
    task = cast("str", fields["task"])
    return approval if task in approval.calls else use(approval, task)


def read_fact(entries: Sequence[JsonObject], written: Callable[[float], str]) -> JsonObject | None:
    """Return a granted approval in the form for policy, from the `approval` entries with its id; `None` if some are
    missing.

    `written` gives a time in RFC 3339. Raises `ValueError` and `KeyError` for a damaged entry.
    """
    changes = _without_overtaken(entry for entry in entries if entry["kind"] == KIND)
    events = {cast("str", entry["event"]): entry for entry in changes}
    votes = _votes(entry for entry in changes if "vote" in entry)
    if not votes or not {"asked", "granted"} <= events.keys():
        return None
    asked = events["asked"]
    return {
        "id": asked["id"],
        "digest": asked["call"],
        "approvers": describe_approvers(votes),
        "granted": written(votes[-1].at),
        "scopes": common_scopes(votes),
        "answers": asked["reasons"],
    }


def _without_overtaken(entries: Iterable[JsonObject]) -> list[JsonObject]:
    """Return the entries without those that were taken back: another gateway was first with a change."""
    kept: list[JsonObject] = []
    for entry in entries:
        if entry["event"] == "overtaken":
            del kept[-1:]
        else:
            kept.append(entry)
    return kept


def _votes(entries: Iterable[JsonObject]) -> tuple[Vote, ...]:
    found = (msgspec.convert(entry["vote"], Vote) for entry in entries)
    return tuple(vote for vote in found if vote.answer == "approve")
