"""The claim of a gateway on a database: one at a time, taken over after its end, and without a late write of the former."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import AsyncGenerator, Callable

import pytest

from gateway.base.store.engine import Change
from gateway.base.store.postgresql import PostgresStore
from gateway.base.store.postgresql_claim import HELD, STEADY, PostgresClaim
from gateway.base.store.postgresql_connection import Server
from gateway.model.errors import StoreError
from tests.unit.base.store.postgresql_server import USER, PostgresServer
from tests.unit.clock import Clock

OVER = "update opagate_gateways set until = now() - interval '1 second'"
"""Lets the time of each claim run out."""
SILENT = "update opagate_gateways set until = now() + interval '7 seconds'"
"""Lets each gateway have been silent for 5 s, as after a crash."""

Claims = Callable[..., PostgresClaim]


@pytest.fixture
async def claims(schema_url: str, clock: Clock) -> AsyncGenerator[Claims]:
    """Give a way to make claims on one database. The argument is the name of a gateway, and the id of its journal."""
    made: list[PostgresClaim] = []

    def make(name: str, *, url: str = schema_url, deployment: str = "") -> PostgresClaim:
        server = Server(url, deadline=30.0)
        made.append(PostgresClaim(server, name, [name], deployment=deployment, monotonic=clock))
        return made[-1]

    yield make
    for claim in made:
        await claim.release()
    await asyncio.sleep(0)


@pytest.fixture
async def engines(schema_url: str) -> AsyncGenerator[Callable[[PostgresClaim], PostgresStore]]:
    """Give a way to open the records of a claim."""
    opened: list[PostgresStore] = []

    def open_one(claim: PostgresClaim) -> PostgresStore:
        opened.append(PostgresStore(Server(schema_url, deadline=30.0), claim=claim.id))
        return opened[-1]

    yield open_one
    for engine in opened:
        engine.close()
    await asyncio.sleep(0)


async def test_a_second_gateway_is_refused_with_the_name_of_the_first_until_that_gives_way(claims: Claims):
    first, second = claims("one", deployment="a"), claims("two", deployment="b")
    await first.take()
    with pytest.raises(StoreError, match="the gateway one uses PostgreSQL"):
        await second.take(wait=0)
    assert first.find_end() is None
    assert second.find_end() is not None
    await first.release()

    await second.take(wait=0)
    assert second.find_end() is None


async def test_one_of_many_gateways_that_start_together_gets_the_claim(claims: Claims):
    found = await asyncio.gather(
        *(claims(f"{n}", deployment=f"{n}").take(wait=0) for n in range(6)), return_exceptions=True
    )

    assert [each for each in found if each is None] == [None]
    assert all(isinstance(each, StoreError) for each in found if each is not None)


async def test_gateways_of_one_deployment_are_no_obstacle_to_each_other(claims: Claims):
    await claims("one").take(wait=0)
    await claims("two").take(wait=0)

    with pytest.raises(StoreError, match="uses PostgreSQL"):
        await claims("three", deployment="c").take(wait=0)


async def be_steady(claim: PostgresClaim, clock: Clock) -> None:
    """Let a gateway renew its claim for so long that it removes the ended claims of others."""
    for _ in range(math.ceil(STEADY)):
        clock.now += 1
        await claim.renew()


async def test_claims_that_ended_together_all_come_back(
    claims: Claims, postgresql: PostgresServer, schema_url: str, clock: Clock
):
    found = [claims(name) for name in ("one", "two", "three")]
    for claim in found:
        await claim.take(wait=0)
        await be_steady(claim, clock)
    await postgresql.execute(OVER, url=schema_url)
    clock.now += 60
    assert all(claim.find_end() for claim in found)
    for claim in found:
        await claim.renew()
        assert (claim.find_problem(), claim.find_end()) == (None, None)
        assert await claim.list_living() == {one.id for one in found}


async def test_a_steady_gateway_removes_a_claim_that_has_ended(
    claims: Claims, postgresql: PostgresServer, schema_url: str, clock: Clock
):
    one, other = claims("one"), claims("two")
    await one.take(wait=0)
    await other.take(wait=0)
    await postgresql.execute(f"{OVER} where name = 'one'", url=schema_url)
    await other.renew()
    assert await other.list_living() == {one.id, other.id}
    await be_steady(other, clock)

    assert await other.list_living() == {other.id}
    with pytest.raises(StoreError, match="took over"):
        await one.list_living()
    await one.renew()
    assert "took over" in str(one.find_end())
    assert (other.find_problem(), other.find_end()) == (None, None)


async def test_a_gateway_that_renews_its_claim_in_time_is_not_removed(claims: Claims, clock: Clock):
    one, other = claims("one"), claims("two")
    await one.take(wait=0)
    await other.take(wait=0)
    await be_steady(other, clock)

    assert await other.list_living() == {one.id, other.id}


async def test_a_gateway_frozen_together_with_others_removes_none_of_them(
    claims: Claims, postgresql: PostgresServer, schema_url: str, clock: Clock
):
    one, other = claims("one"), claims("two")
    await one.take(wait=0)
    await other.take(wait=0)
    await be_steady(other, clock)
    await postgresql.execute(OVER, url=schema_url)
    clock.now += 60
    await other.renew()
    await one.renew()

    assert one.find_end() is None


async def test_a_gateway_with_the_journal_key_of_a_living_one_is_refused(claims: Claims):
    one, twin = claims("one"), claims("one")
    await one.take(wait=0)
    taking = asyncio.create_task(twin.take(wait=0))
    while not taking.done():
        await one.renew()
        await asyncio.sleep(0.1)

    with pytest.raises(StoreError, match="with the `chain` key of this one"):
        await taking
    assert one.find_end() is None


async def test_gateways_tell_each_other_what_they_have_otherwise(claims: Claims):
    one, other = claims("one"), claims("two")
    for claim, revision in ((one, "r1"), (other, "r2")):
        claim.announce({"policy": revision, "settings": "s"})
        await claim.take(wait=0)
    await one.renew()
    assert one.find_differences() == {"two": ("policy",)}
    other.announce({"policy": "r1"})
    await other.renew()
    await one.renew()

    assert (one.find_differences(), other.find_differences()) == ({}, {})


async def test_a_claim_that_ended_alone_comes_back(claims: Claims, postgresql: PostgresServer, schema_url: str):
    claim = claims("one")
    await claim.take(wait=0)
    await postgresql.execute(OVER, url=schema_url)
    await claim.renew()

    assert (claim.find_problem(), claim.find_end()) == (None, None)


async def test_a_gateway_with_other_fingerprints_of_credentials_is_refused(claims: Claims):
    await claims("one", deployment="a").take(wait=0)

    with pytest.raises(StoreError, match="the gateway one uses PostgreSQL"):
        await claims("two", deployment="b").take(wait=0)


async def test_an_earlier_release_with_state_of_its_own_lets_no_other_gateway_beside_it(
    claims: Claims, postgresql: PostgresServer, schema_url: str
):
    await claims("one").take(wait=0)
    await postgresql.execute("update opagate_gateways set is_alone = true", url=schema_url)

    with pytest.raises(StoreError, match="lets no other gateway like this beside it"):
        await claims("two").take(wait=0)


@pytest.mark.parametrize("successor", ["one", "two"])
async def test_a_gateway_whose_claim_was_taken_over_changes_nothing_any_more(
    claims: Claims,
    engines: Callable[[PostgresClaim], PostgresStore],
    postgresql: PostgresServer,
    schema_url: str,
    *,
    clock: Clock,
    successor: str,
):
    first, second = claims("one"), claims(successor)
    await first.take()
    former = engines(first)
    await former.change(Change("k", "a", b"1"))
    await postgresql.execute(SILENT if successor == "one" else OVER, url=schema_url)
    await second.take(wait=0)
    await be_steady(second, clock)

    with pytest.raises(StoreError, match="another gateway took over"):
        await former.change(Change("k", "a", b"2"))
    with pytest.raises(StoreError, match="another gateway took over"):
        await former.change(Change("k", "b", b"2"))
    present = engines(second)
    assert [record.value for record in await present.list("k")] == [b"1"]
    assert await present.change(Change("k", "a", b"3")) is not None
    await first.renew()
    await first.renew()
    assert "took over" in str(first.find_problem())
    assert "took over" in str(first.find_end())
    assert second.find_end() is None


async def test_a_takeover_waits_for_a_transaction_under_way(
    claims: Claims, engines: Callable[[PostgresClaim], PostgresStore], postgresql: PostgresServer, schema_url: str
):
    first, second = claims("one"), claims("one")
    await first.take()
    await postgresql.execute(SILENT, url=schema_url)
    former = engines(first)
    await former.change(Change("k", "a", b"1"), Change("k", "b", b"1"))
    operator = await postgresql.connect(schema_url)
    await operator.execute("begin")
    await operator.execute("select * from opagate_records for update")
    late = asyncio.create_task(former.change(Change("k", "a", b"2")))
    waits = "select count(*) from pg_locks where not granted"
    while not (await postgresql.execute(waits))[0][0]:
        await asyncio.sleep(0)
    taking = asyncio.create_task(second.take(wait=0))
    while (await postgresql.execute(waits))[0][0] < 2:
        await asyncio.sleep(0)
    assert not taking.done()
    await operator.execute("rollback")
    await operator.close()

    assert await late is not None
    await taking
    with pytest.raises(StoreError, match="another gateway took over"):
        await former.change(Change("k", "b", b"2"))


async def test_a_claim_that_nobody_took_comes_back_with_the_server(
    claims: Claims, own_server: PostgresServer, clock: Clock
):
    claim = claims("one", url=own_server.url)
    await claim.take()
    own_server.signal(signal.SIGSTOP)
    clock.now += HELD / 2
    await claim.renew()
    assert "did not answer within" in str(claim.find_problem())
    assert claim.find_end() is None
    clock.now += HELD / 2
    assert "did not answer within" in str(claim.find_end())
    own_server.signal(signal.SIGCONT)
    await claim.renew()

    assert (claim.find_problem(), claim.find_end()) == (None, None)


async def test_a_role_with_rights_on_the_tables_alone_holds_a_claim_and_changes_records(
    claims: Claims, postgresql: PostgresServer, schema_url: str
):
    await claims("one").take()
    schema = schema_url.rpartition("=")[2]
    await postgresql.execute(
        f"create role {schema} login",
        f"grant usage on schema {schema} to {schema}",
        f"grant select, insert, update, delete on all tables in schema {schema} to {schema}",
    )
    url = schema_url.replace(f"{USER}@", f"{schema}@")
    claim = claims("one", url=url)
    await claim.take(wait=0)
    engine = PostgresStore(Server(url, deadline=30.0), claim=claim.id)

    assert await engine.change(Change("k", "a", b"1")) is not None
    await claim.renew()
    assert claim.find_problem() is None
    engine.close()
