"""Questions about tokens that another gateway has minted, over one real store for each engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from gateway.authority.brokers.minted import MintedBroker
from gateway.authority.introspection import (
    INACTIVE,
    ActiveTokens,
    IntrospectingUpstream,
    Introspector,
    describe_token,
    digest_secret,
)
from gateway.authority.leases import Lent
from gateway.authority.minting import MintedToken, bind_call
from gateway.authority.shared_tokens import SharedTokens, find_token
from gateway.base.store.engine import Engine
from gateway.model.errors import StoreError
from tests.minted import Minter, decoded
from tests.unit.authority.lending import Lending
from tests.unit.base.store.engines import open_store
from tests.unit.clock import Clock

CRM = IntrospectingUpstream("crm", digest_secret("crm-secret"), frozenset({"https://crm.example"}))
NOW = 1000.0


class Minting:
    """A gateway that mints tokens for tasks and calls, and answers questions about them."""

    def __init__(self, minter: Minter, engine: Engine, folder: Path, name: str, living: set[str]) -> None:
        self.minter = minter
        self.tokens = ActiveTokens(on_end=self._note_end)
        broker = MintedBroker(minter.mint, self.tokens, clock=lambda: NOW, name="bao")
        self.lending = Lending(folder, broker, engine=engine, name=name, living=living)  # pyright: ignore[reportArgumentType]
        self.shared = SharedTokens(
            self.lending.records,
            self.lending.store,
            self.lending.replica,
            list_living=self._list_living,
            fingerprint=lambda value: f"fp-{value}",
            others=self.lending.leases.others,
        )
        self.introspector = Introspector([CRM], self.tokens)

    def _note_end(self, jti: str) -> None:
        self.shared.end(jti)

    async def _list_living(self) -> frozenset[str]:
        return frozenset(self.lending.living)

    async def lend(self) -> str:
        lent = await self.lending.leases.lend("bao", self.lending.request(1))
        assert isinstance(lent, Lent)
        return lent.credential.value

    async def mint_call(self, jti: str = "d1") -> str:
        binding = bind_call("tools/call", {"name": "look"}, decision=jti, policy="p@1")
        token = self.minter.mint.mint_call(self.lending.request(9), binding, jti=jti, now=NOW)
        assert isinstance(token, MintedToken)
        assert self.tokens.add(token, NOW)
        await self.shared.add(token)
        return token.value

    async def find(self, token: str, now: float = NOW) -> MintedToken | None:
        return await find_token(self.introspector, self.shared, token, now)

    async def is_active(self, token: str, now: float = NOW) -> bool:
        answer = describe_token(CRM, await self.find(token, now))
        assert answer == INACTIVE or json.loads(answer) == {
            "active": True,
            "token_type": "Bearer",
            **decoded(token.split(".")[1]),
        }
        return answer != INACTIVE


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "records.db") if request.param == "sqlite" else request.getfixturevalue("schema_url")


@pytest.fixture
async def start(place: str, tmp_path: Path) -> AsyncGenerator[Callable[[str], Minting]]:
    minter, living, engines = Minter(), set[str](), list[Engine]()

    def start_one(name: str) -> Minting:
        engines.append(open_store(place, Clock(NOW)))
        return Minting(minter, engines[-1], tmp_path, name, living)

    yield start_one
    for engine in engines:
        engine.close()
    await asyncio.sleep(0)


async def test_a_token_of_a_task_is_active_at_each_gateway_until_its_lease_ends(start: Callable[[str], Minting]):
    a, b = start("a"), start("b")
    token = await a.lend()
    assert await b.is_active(token)
    assert await a.is_active(token)
    assert not await b.is_active(token, NOW + 60)

    a.lending.leases.end_task("t1", "task-completed")
    await a.lending.leases.drain(30.0)
    assert not await b.is_active(token)
    assert not await a.is_active(token)


async def test_a_token_whose_end_the_store_did_not_take_is_inactive_all_the_same(
    start: Callable[[str], Minting], monkeypatch: pytest.MonkeyPatch
):
    a, b = start("a"), start("b")
    token = await a.lend()

    async def fail(*_changes: object) -> None:
        raise StoreError("away", "wait")

    with monkeypatch.context() as away:
        away.setattr(a.lending.records, "change", fail)
        a.lending.leases.end_task("t1", "task-completed")
        await a.lending.leases.drain(30.0)
    assert not await a.is_active(token)
    await a.lending.leases.catch_up()
    assert not await b.is_active(token)
    assert await a.lending.store.look() == ({}, frozenset())


async def test_a_token_whose_end_was_ordered_is_inactive_there_at_once(start: Callable[[str], Minting]):
    a, b = start("a"), start("b")
    token = await a.lend()
    found = await b.find(token)
    assert found is not None
    assert found.owner == a.lending.leases.own()[0].owner
    await b.lending.fleet.end(lambda lease: lease.id == found.jti, "revoked")
    assert not await b.is_active(token)
    await a.lending.fleet.look()
    await a.lending.leases.drain(30.0)
    assert not await a.is_active(token)


async def test_a_token_of_a_call_is_active_at_each_gateway_until_its_answer(start: Callable[[str], Minting]):
    a, b = start("a"), start("b")
    token = await a.mint_call()
    assert await b.is_active(token)
    assert await a.is_active(token)

    a.tokens.end("d1")
    assert not await a.is_active(token)
    await a.shared.flush()
    assert not await b.is_active(token)


async def test_a_revoked_token_of_a_call_is_inactive_where_it_was_minted_too(start: Callable[[str], Minting]):
    a, b = start("a"), start("b")
    token = await a.mint_call()
    await b.shared.revoke("d1")
    assert not await a.is_active(token)
    assert not await b.is_active(token)


async def test_the_tokens_of_the_calls_of_a_dead_gateway_are_inactive(start: Callable[[str], Minting]):
    a, b = start("a"), start("b")
    token = await a.mint_call()
    a.lending.living.discard("a1")
    assert not await b.is_active(token)


@pytest.mark.parametrize("kind", ["task", "call"])
async def test_no_other_text_is_active_elsewhere(start: Callable[[str], Minting], kind: str):
    a, b = start("a"), start("b")
    token = await (a.lend() if kind == "task" else a.mint_call())
    head, claims, signature = token.split(".")
    another = (await a.mint_call("d2")).split(".")
    for forged in (
        f"{head}.{claims}.{another[2]}",
        f"{head}.{claims}.",
        f"{another[0]}.{another[1]}.{signature}",
        f"{head}.{claims}.{signature}=",
        f" {token}",
        f"{head}.{claims}A.{signature}",
        f"x{head}.{claims}.{signature}",
    ):
        assert not await b.is_active(forged)


async def test_an_unwritten_end_is_tried_again(start: Callable[[str], Minting], monkeypatch: pytest.MonkeyPatch):
    a, b = start("a"), start("b")
    token = await a.mint_call()
    a.tokens.end("d1")
    a.tokens.end("d1")

    async def fail(*_changes: object) -> None:
        raise StoreError("away", "wait")

    monkeypatch.setattr(a.lending.records, "change", fail)
    with pytest.raises(StoreError):
        await a.shared.flush()
    monkeypatch.undo()
    await a.shared.flush()
    assert not await b.is_active(token)
