"""Task ids, request states and rounds of two gateways over one real store, once for each engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.base.keys.key_ring import KeyRing
from gateway.base.store.engine import Engine
from gateway.base.store.postgresql import PostgresStore
from gateway.base.store.records import SealedStore
from gateway.base.store.sqlite import SqliteStore
from gateway.calls.binding.ownership import LIFETIME, Ownership, find_round, name_round
from gateway.calls.binding.shared_values import SharedValues
from gateway.model.call import PastCall
from gateway.model.caller import AuthMethod, Principal
from gateway.model.target import Sensitivity, Target
from gateway.model.task import Task
from gateway.model.wire import Disposition, Era, Kind, Message
from gateway.upstreams.catalogue.catalogue import TargetType
from tests.unit.base.store.engines import open_store
from tests.unit.base.store.keeping import KEY
from tests.unit.clock import Clock

OWNER = Principal(id="agent", issuer="https://idp", method=AuthMethod.JWT)
THIEF = replace(OWNER, id="thief")
CALL = PastCall(
    Task("t-1", "implicit", 5.0), "d1", 3, Target("tool", "files", "read", "files"), Sensitivity.INTERNAL, ("f",), 99
)


class Gateway(NamedTuple):
    """The values of one gateway."""

    ownership: Ownership
    shared: SharedValues


class Two(NamedTuple):
    """Two gateways on the same records."""

    a: Gateway
    b: Gateway
    clock: Clock


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "records.db") if request.param == "sqlite" else request.getfixturevalue("schema_url")


@pytest.fixture
async def two(place: str) -> AsyncGenerator[Two]:
    clock, engines = Clock(1_000.0), list[Engine]()

    def find_target(upstream: str, type: TargetType, name: str) -> Target:  # noqa: A002 - as the catalogue has it
        return Target(type, upstream, name, upstream)

    def start() -> Gateway:
        engines.append(open_store(place, clock))
        ownership = Ownership(clock)
        store = SealedStore(engines[-1], KeyRing(KEY))
        shared = SharedValues(store, ownership, find_task=lambda _: None, find_target=find_target, clock=clock)
        return Gateway(ownership, shared)

    yield Two(start(), start(), clock)
    for engine in engines:
        engine.close()
    await asyncio.sleep(0)


def presenting(**params: object) -> Message:
    found = {"name": "pay", **params}
    return Message(Kind.REQUEST, Era.STATELESS, Disposition.DECIDE, b"", "tools/call", 7, found)  # type: ignore[arg-type]


async def may_use(gateway: Gateway, value: str, principal: Principal, upstream: str = "files") -> bool:
    await gateway.shared.fetch_named(upstream, presenting(requestState=value), principal)
    return gateway.ownership.renew_if_owner(upstream, value, principal)


async def test_a_value_of_one_gateway_serves_its_caller_at_the_other(two: Two):
    await two.a.shared.note("files", "state", OWNER, CALL)
    assert await may_use(two.b, "state", OWNER)
    assert two.b.ownership.past_call("files", "state", OWNER) == CALL


async def test_another_caller_another_upstream_and_another_value_find_nothing(two: Two):
    await two.a.shared.note("files", "state", OWNER, CALL)
    assert not await may_use(two.b, "state", THIEF)
    assert not await may_use(two.b, "state", OWNER, "mail")
    assert not await may_use(two.b, "state2", OWNER)
    assert two.b.ownership.past_call("files", "state", THIEF) is None


async def test_a_value_without_its_call_keeps_the_call_of_before(two: Two):
    await two.a.shared.note("files", "task", OWNER, CALL)
    await two.b.shared.note("files", "task", OWNER)
    two.clock.now += LIFETIME / 2 + 1
    await two.b.shared.note("files", "task", OWNER)
    two.clock.now += LIFETIME / 2
    assert await may_use(two.a, "task", OWNER), "each delivery extends the time of the value"
    assert two.a.ownership.past_call("files", "task", OWNER) == CALL


async def test_a_value_ends_with_its_time(two: Two):
    await two.a.shared.note("files", "state", OWNER, CALL)
    two.clock.now += LIFETIME
    assert not await may_use(two.b, "state", OWNER)


async def test_a_round_without_a_state_goes_on_at_the_other_gateway(two: Two):
    named = name_round("bank", presenting(), ["who"])
    assert named is not None
    await two.a.shared.note(*named, OWNER, replace(CALL, target=Target("tool", "bank", "pay", "bank")))
    retry = presenting(inputResponses={"who": {}})
    for principal, found in ((THIEF, None), (OWNER, "d1")):
        await two.b.shared.fetch_named("bank", retry, principal)
        earlier = find_round(two.b.ownership, "bank", principal, retry)
        assert (None if earlier is None else earlier.call) == found
    assert not await may_use(two.b, named[1], OWNER, "bank"), "a round is no state of the upstream"


async def test_values_with_one_place_in_common_live_beside_each_other(two: Two, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.calls.binding.shared_values._PLACE", 1)
    for number in range(12):
        await two.a.shared.note("files", f"state {number}", OWNER, CALL)
    await two.a.shared.note("files", "theirs", THIEF, CALL)
    for number in range(200):
        await two.a.shared.note("files", f"flood {number}", OWNER)
    assert await may_use(two.b, "theirs", THIEF), "a flood hurts its own caller alone"
    assert await may_use(two.b, "flood 199", OWNER)
    assert len([n for n in range(200) if await may_use(two.b, f"flood {n}", OWNER)]) <= 32


async def test_equal_values_noted_at_both_gateways_at_once_are_one(two: Two):
    await asyncio.gather(
        *(each.shared.note("files", f"state {n}", OWNER, CALL) for each in (two.a, two.b) for n in range(5))
    )
    assert all([await may_use(each, f"state {n}", OWNER) for each in (two.a, two.b) for n in range(5)])


async def test_names_that_no_database_takes_are_values_as_others(two: Two):
    for value in ("\0", "\ud800", "", "é" * 5000):
        assert not await may_use(two.b, value, OWNER)


async def test_an_upstream_is_concealed_for_its_caller_at_each_gateway(two: Two):
    await two.a.shared.note_concealed(OWNER.key, "files")
    assert await two.b.shared.is_concealed(OWNER.key, "files")
    assert not await two.b.shared.is_concealed(THIEF.key, "files")
    two.clock.now += LIFETIME
    assert not await two.b.shared.is_concealed(OWNER.key, "files")


async def test_many_values_of_a_message_are_one_query(two: Two, monkeypatch: pytest.MonkeyPatch):
    names = [f"task-{number}" for number in range(40)]
    for name in names[::2]:
        await two.a.shared.note("files", name, OWNER, CALL)
    asked = list[int]()

    def count(read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def read_counted(*values: Any) -> Any:
            asked.append(len(values))
            return await read(*values)

        return read_counted

    for engine in (PostgresStore, SqliteStore):
        for method in ("read", "read_some", "list"):
            monkeypatch.setattr(engine, method, count(getattr(engine, method)))
    await two.b.shared.fetch("files", names, OWNER)
    await two.b.shared.fetch("files", names[::2], OWNER)

    assert [two.b.ownership.is_owner("files", name, OWNER) for name in names] == [True, False] * 20
    assert len(asked) == 1
