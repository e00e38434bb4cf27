"""Entries of the journal about approvals, and their replay after a crash. Pure.

| event | when |
|---|---|
| `asked` | a question was made |
| `vote` | a person answered, and more people have to |
| `granted`, `denied` | a person answered, and so decided the question |
| `expired`, `lapsed` | the time for an answer, or for the approved call, was over |
| `withdrawn`, `void`, `superseded` | the task ended, or the policy decided otherwise at the release |
| `unreachable` | no channel could tell people about the question |
| `sent`, `unsent` | a channel delivered news of the question, or gave up; no change of its state |

The use of an approval is no event. The `call` entry of the allowed call, or the `task` entry of the opened task, has
the field `approval`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec
from msgspec import structs

from gateway.authority.approvals.model import Approval, Notice, State, Vote, common_scopes
from gateway.authority.approvals.state import describe_approvers, note_told, use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.model.wire import JsonObject

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
    if event in {"asked", "unsent"}:
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
    events = {cast("str", entry["event"]): entry for entry in entries if entry["kind"] == KIND}
    votes = _votes(entry for entry in entries if entry["kind"] == KIND and "vote" in entry)
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


def _votes(entries: Iterable[JsonObject]) -> tuple[Vote, ...]:
    found = (msgspec.convert(entry["vote"], Vote) for entry in entries)
    return tuple(vote for vote in found if vote.answer == "approve")
