from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from gateway.authority.brokers.minted import MintedBroker
from gateway.authority.introspection import ActiveTokens
from gateway.authority.model import BrokerRefusal, Issued, Lease, LeaseRequest, Proof, Scope

if TYPE_CHECKING:
    from gateway.authority.broker import Broker
    from gateway.authority.minting import Mint


@pytest.fixture
def register() -> ActiveTokens:
    return ActiveTokens()


@pytest.fixture
def broker(mint: Mint, register: ActiveTokens) -> MintedBroker:
    return MintedBroker(mint, register, clock=lambda: 1000.5)


def lease_of(request: LeaseRequest, handle: dict[str, str]) -> Lease:
    return Lease(
        request.id,
        request.task,
        request.principal.key,
        "ann",
        "agent",
        request.upstream,
        request.audience,
        "gateway",
        "gateway",
        request.scope,
        request.asked,
        request.expires,
        request.expires,
        handle=handle,
    )


async def test_a_lease_is_active_until_its_end_is_proven(
    broker: Broker, register: ActiveTokens, request_: LeaseRequest
):
    assert await broker.prepare(request_) == {}
    issued = await broker.issue(request_, {})
    assert isinstance(issued, Issued)
    assert issued.expires <= request_.expires
    assert (issued.scope, issued.handle) == (request_.scope.names, {"jti": "lease-1"})
    assert register.find("lease-1", 1000.5) is not None

    proof = await broker.end(lease_of(request_, issued.handle), issued.credential)

    assert proof == Proof("own", 1000.5, "introspection answers: inactive")
    assert register.find("lease-1", 1000.5) is None


async def test_a_lease_whose_value_is_lost_ends_too(broker: Broker, register: ActiveTokens, request_: LeaseRequest):
    await broker.issue(request_, {})

    for _ in range(2):
        assert isinstance(await broker.end(lease_of(request_, {}), None), Proof)
    assert register.find("lease-1", 1000.5) is None


async def test_a_lease_that_was_never_issued_ends(broker: Broker, request_: LeaseRequest):
    assert isinstance(await broker.end(lease_of(request_, {}), None), Proof)


async def test_a_full_register_lends_nothing(mint: Mint, request_: LeaseRequest):
    broker = MintedBroker(mint, ActiveTokens(capacity=0), clock=lambda: 1000.0)

    refused = await broker.issue(request_, {})

    assert isinstance(refused, BrokerRefusal)
    assert (refused.code, refused.may_retry) == ("credential/room", True)


async def test_a_refused_token_is_not_registered(broker: Broker, register: ActiveTokens, request_: LeaseRequest):
    long = structs.replace(request_, scope=Scope(tuple(f"{number:099}" for number in range(100))))

    refused = await broker.issue(long, {})

    assert isinstance(refused, BrokerRefusal)
    assert refused.code == "credential/size"
    assert len(register) == 0


def test_the_kind_promises_an_end_at_once(broker: Broker):
    assert (broker.name, broker.kind, broker.revocable, broker.min_ttl) == ("gateway", "gateway", "at_once", 1.0)
