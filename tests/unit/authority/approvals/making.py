"""Questions, votes and desks for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import structs

from gateway.authority.approvals import Desk, Times
from gateway.authority.approvals.endorsement import Endorsement
from gateway.authority.approvals.endorsement_store import EndorsementStore
from gateway.authority.approvals.endorsements import Endorsements
from gateway.authority.approvals.model import ApproverRule, Binding, Person, Question, Requester, ShownReason, Vote
from gateway.authority.approvals.passkeys import Passkeys
from gateway.authority.approvals.store import ApprovalStore
from gateway.model.errors import JournalError
from tests.unit.base.store.keeping import sealed_store
from tests.unit.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model.wire import JsonObject

KEY = b"k" * 32
ALICE = Person("alice", "https://idp.example", ("sre",), "login", "test")
BOB = Person("bob", "https://idp.example", ("sre",), "mfa", "test")
DESCRIPTION = {"target": "files/delete", "arguments": {"mode": "full", "value": {"path": "a"}}}


def question(identifier: str = "q1", **changes: Any) -> Question:
    asked = Question(
        id=identifier,
        call=f"sha256:call-{identifier}",
        operation=f"sha256:operation-{identifier}",
        subject="subject",
        shown=f"sha256:shown-{identifier}",
        decision="d1",
        task="t1",
        target="files/delete",
        requester=Requester("k1", "agent", "https://idp.example", "ursula", ("relay",)),
        rule=ApproverRule(seconds=900.0, scopes=("once", "destination", "limit")),
        reasons=(ShownReason("approval/effect", "It cannot be taken back."),),
        asked=1_000.0,
        expires=1_900.0,
    )
    return structs.replace(asked, **changes)


def yes(person: Person = BOB, at: float = 1_001.0, **more: Any) -> Vote:
    return Vote(person, "approve", at, **more)


def no(person: Person = BOB, at: float = 1_001.0, **more: Any) -> Vote:
    return Vote(person, "deny", at, **more)


@dataclass
class Recorder:
    """Stands where the journal does, and keeps what it is told."""

    entries: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    failing: bool = False

    async def append(self, kind: str, fields: JsonObject) -> None:
        if self.failing:
            raise JournalError("the disk is full")
        self.entries.append({"kind": kind, **fields})

    @property
    def events(self) -> list[str]:
        return [entry["event"] for entry in self.entries]


def endorsement(identifier: str = "e1", *, binding: dict[str, str] | None = None, **changes: Any) -> Endorsement:
    bound = Binding("k1", "weekly-report", "mail/send", "sha256:definition", f"hmac-sha256:{identifier}")
    given = Endorsement(
        id=identifier,
        binding=structs.replace(bound, **(binding or {})),
        agent="agent",
        user="ursula",
        votes=(Vote(BOB, "approve", 999.0, ("once", "recurring")),),
        approval="q1",
        pointers=("/to",),
        granted=1_000.0,
        expires=2_000.0,
        shown={"/to": ["boss@corp.example"]},
    )
    return structs.replace(given, **changes)


def make_endorsements(folder: Path, recorder: Recorder, clock: Clock, ticks: Clock | None = None) -> Endorsements:
    return Endorsements(
        EndorsementStore(sealed_store(folder)),
        key=KEY,
        append=recorder.append,
        clock=clock,
        monotonic=ticks or Clock(0.0),
    )


def make_passkeys(folder: Path) -> Passkeys:
    clock = Clock(900.0)
    store = sealed_store(folder, clock=clock)
    return Passkeys(store, "https://gateway.example", append=Recorder().append, now=clock)


def make_desk(folder: Path, recorder: Recorder, clock: Clock, **changes: Any) -> Desk:
    times = Times(900.0, 300.0, 0.05)
    return Desk(times, ApprovalStore(sealed_store(folder)), append=recorder.append, clock=clock, **changes)
