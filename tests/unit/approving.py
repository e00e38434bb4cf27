"""The desk of a whole gateway in this process, and votes at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.authority.approvals.model import Approval, Person, Vote
from gateway.model.decision import PolicyRevision

if TYPE_CHECKING:
    from gateway.authority.approvals import Desk
    from tests.unit.harness import Bench

QUICK = "approvals: {hold: 20ms}\n"
HOLDING = "approvals: {hold: 20s}\n"
REVISION = PolicyRevision("test", "1")
BOB = Person("bob", "https://idp.example", ("sre",), "login", "test")


def desk(there: Bench) -> Desk:
    assert there.gateway.people is not None
    return there.gateway.people.desk


def pending(there: Bench) -> Approval:
    (found,) = [one for one in desk(there).list_open() if one.state == "pending"]
    return found


async def vote(there: Bench, approval: Approval, person: Person = BOB, answer: Any = "approve", **more: Any) -> Any:
    cast = Vote(person, answer, desk(there).now(), **more)
    return await desk(there).vote(approval.id, cast, approval.question.shown)


async def approve(there: Bench, person: Person = BOB, **more: Any) -> Approval:
    granted = await vote(there, pending(there), person, **more)
    assert isinstance(granted, Approval)
    return granted


def events(there: Bench) -> list[str]:
    return [entry["event"] for entry in there.entries("approval")]
