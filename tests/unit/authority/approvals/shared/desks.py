"""Desks of gateways on the same records, each with a history in the shared log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.authority.approvals import Desk, Times
from gateway.authority.approvals.model import Approval, Requester
from gateway.authority.approvals.register import Fleet
from gateway.authority.approvals.store import ApprovalStore
from gateway.base.keys.key_ring import KeyRing
from gateway.base.store.duty import Duty
from gateway.base.store.records import SealedStore
from gateway.model.call import Call
from gateway.model.errors import HistoryError
from tests.unit.authority.approvals.making import BOB, DESCRIPTION, KEY, Recorder, question, yes
from tests.unit.history.recording import AGENT
from tests.unit.history.shared.replicas import NOTHING, Replica, target_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.base.store.duty import Replicas
    from gateway.base.store.engine import Engine

ASKER = Requester(AGENT.key, "agent", "https://idp.example", "ursula", ("relay",))
"""The caller of the questions, whose history the log has."""


class Neighbours:
    """The gateways as one of them sees the others. The set of living ones is the test's."""

    def __init__(self, name: str, living: set[str]) -> None:
        self.id = name
        self.living = living

    def find_end(self) -> None:
        """Return nothing: this gateway goes on."""

    async def list_living(self) -> frozenset[str]:
        return frozenset(self.living)


class ReplicaDesk:
    """The desk of one gateway. `replicas` are its claim and the others."""

    def __init__(self, engine: Engine, clock: Callable[[], float], replicas: Replicas) -> None:
        self.name = replicas.id
        self.replica = Replica(replicas.id, engine, clock)
        self.recorder = Recorder()
        self.store = SealedStore(engine, KeyRing(KEY))
        self.desk = Desk(
            Times(900.0, 300.0, 5.0),
            ApprovalStore(self.store),
            append=self.recorder.append,
            clock=clock,
            fleet=Fleet(replicas, self.replica.log.has_reserved),
        )
        self.duty = Duty(self.store, "messages", replicas)
        self._clock = clock

    async def ask(self, identifier: str = "q1", **changes: Any) -> Approval:
        asked = await self.desk.ask(question(identifier, **{"requester": ASKER, **changes}), DESCRIPTION)
        assert isinstance(asked, Approval)
        return asked

    async def grant(self, identifier: str = "q1") -> Approval:
        granted = await self.desk.vote(identifier, yes(BOB), f"sha256:shown-{identifier}")
        assert isinstance(granted, Approval)
        return granted

    async def get(self, identifier: str = "q1") -> Approval:
        """Return an approval as the records have it."""
        await self.desk.follow()
        found = self.desk.get(identifier)
        assert found is not None
        return found

    async def reserve(self, call: str) -> None:
        """Count a call in the shared history."""
        task = await self.replica.enter()
        wanted = Call("tools/call", target_of("files"), {})
        await self.replica.history.ledger.count(task, call, wanted, NOTHING, self._clock(), depth=0)

    async def pass_once(self, identifier: str, call: str) -> bool:
        """Release a call as the pipeline does: claim, count, use. A call that loses each race for the history gives its claim back."""
        if not await self.desk.claim(identifier, call, job=AGENT.job):
            return False
        try:
            await self.reserve(call)
        except HistoryError:
            self.desk.give_back(identifier, call)
            return False
        await self.desk.use(identifier, call)
        return True
