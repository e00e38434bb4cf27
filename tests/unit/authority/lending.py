"""Leases over a broker that plays a script, a journal in memory and a store on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.authority.ending import LeaseEnder, LeaseRecord
from gateway.authority.fleet import Fleet
from gateway.authority.leases import LeaseFunctions, Leases
from gateway.authority.model import (
    BrokerRefusal,
    Credential,
    Issued,
    Lease,
    LeaseRequest,
    NotEnded,
    Proof,
    Scope,
)
from gateway.authority.register import LeaseRegister
from gateway.authority.store import LEASES, VALUES, LeaseStore
from gateway.base.keys.key_ring import KeyRing
from gateway.base.store.engine import Engine
from gateway.base.store.records import SealedStore
from gateway.model.caller import AuthMethod, Principal
from gateway.model.errors import JournalError
from gateway.model.target import Revocable
from tests.unit.base.store.keeping import KEY, sealed_store

AGENT = Principal(id="agent", issuer="https://idp.example", method=AuthMethod.JWT)


@dataclass
class ScriptedBroker:
    """Issues `secret-1`, `secret-2` and so on. `answers` and `ends` replace the next answers."""

    name: str = "bao"
    kind: str = "exchange"
    revocable: Revocable = "at_once"
    min_ttl: float = 1.0
    prepared: dict[str, str] = field(default_factory=dict[str, str])
    answers: list[Issued | BrokerRefusal | Exception] = field(default_factory=list[Any])
    ends: list[Proof | NotEnded | Exception] = field(default_factory=list[Any])
    gate: asyncio.Event | None = None
    asked: int = 0
    ended: list[tuple[str, Credential | None]] = field(default_factory=list[tuple[str, "Credential | None"]])

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        return self.prepared

    async def issue(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:
        self.asked += 1
        number = self.asked
        if self.gate is not None:
            await self.gate.wait()
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return Issued(Credential(f"secret-{number}"), request.expires, request.scope.names, {"number": str(number)})

    async def end(self, lease: Lease, credential: Credential | None) -> Proof | NotEnded:
        self.ended.append((lease.id, credential))
        if self.ends:
            result = self.ends.pop(0)
            if isinstance(result, Exception):
                raise result
            return result
        return Proof("lookup", 0.0, "the accessor is unknown")

    async def aclose(self) -> None:
        pass


async def know_all(_task: str) -> None:
    """Know of no other gateway."""


@dataclass
class Lending:
    """A gateway's leases in a test. With an `engine` its records are shared, and `living` are the gateways that have not ended. `now` is the time of the clock, `elapsed` the time that passes, `open_tasks` are the open tasks, `entries` the journal."""

    folder: Path
    broker: ScriptedBroker = field(default_factory=ScriptedBroker)
    now: float = 1000.0
    elapsed: float = 50.0
    entries: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    open_tasks: set[str] = field(default_factory=lambda: {"t1", "t2"})
    is_journal_down: Callable[[str], bool] = lambda _event: False
    keeps_values: bool = False
    withdraw: Callable[[Lease], Awaitable[bool | None]] | None = None
    engine: Engine | None = None
    name: str = "a"
    living: set[str] = field(default_factory=set[str])
    catch_up: Callable[[str], Awaitable[None]] = know_all

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Build the leases, as a start of the gateway does."""
        self._starts = getattr(self, "_starts", 0) + 1
        replica = f"{self.name}{self._starts}"
        self.living.add(replica)
        self.records = sealed_store(self.folder) if self.engine is None else SealedStore(self.engine, KeyRing(KEY))
        self.store = LeaseStore(self.records)
        self.register = LeaseRegister()
        record = LeaseRecord(self.store, self._append, keeps_values=self.keeps_values)
        brokers = {self.broker.name: self.broker}
        hooks = LeaseFunctions(
            clock=lambda: self.now,
            is_open=lambda task, _now: task in self.open_tasks,
            fingerprint=lambda value: f"fp-{value}",
            elapsed=lambda: self.elapsed,
            catch_up=self.catch_up,
            replica=replica,
        )
        self.leases = Leases(
            self.register,
            brokers,
            record,
            lambda now: LeaseEnder(self.register, brokers, record, now=now, stuck_after=60.0, withdraw=self.withdraw),
            hooks,
            others=LeaseRegister(),
        )
        self.replica = replica
        self.fleet = Fleet(self.leases, self.store, replica, self._list_living)

    async def stored(self) -> tuple[Lease, ...]:
        """Return the stored leases of all gateways."""
        return tuple((await self.records.of(LEASES).load()).values())

    async def stored_values(self) -> dict[str, Credential]:
        """Return the kept values."""
        return await self.records.of(VALUES).load()

    async def restore(self) -> int:
        """Take over the leases of the gateways before this one, as a start of the gateway does."""
        self.living.intersection_update({self.replica})
        await self.store.drop_values()
        return await self.fleet.look()

    async def _list_living(self) -> frozenset[str]:
        return frozenset(self.living)

    async def _append(self, kind: str, fields: Any) -> None:
        if self.is_journal_down(fields["event"]):
            raise JournalError("the disk is full", "make room")
        assert not fields.keys() & {"kind", "seq", "time"}
        self.entries.append({"kind": kind, **fields})

    def request(
        self,
        number: int = 1,
        *,
        task: str = "t1",
        seconds: float = 60.0,
        scope: tuple[str, ...] = ("read",),
        early: float = 0.0,
    ) -> LeaseRequest:
        return LeaseRequest(
            id=f"l{number}",
            task=task,
            principal=AGENT,
            upstream="crm",
            audience="https://crm.example",
            scope=Scope(scope),
            asked=self.now,
            expires=self.now + seconds,
            renew_early=early,
        )

    def events(self) -> list[str]:
        return [entry["event"] for entry in self.entries]
