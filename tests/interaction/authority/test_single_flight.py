"""A thousand parallel calls of a task at a real Keycloak: one exchange for each task, and no stampede after a failure."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from msgspec import structs

from gateway.authority.leases import Lent
from gateway.authority.model import BrokerRefusal, Scope
from tests.interaction.authority.test_keycloak import broker
from tests.servers.holding import Holding, holding
from tests.servers.keycloak import SECRETS, Keycloak
from tests.unit.authority.brokers.asking import lease_request
from tests.unit.authority.lending import Lending

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from gateway.authority.model import LeaseRequest

pytestmark = pytest.mark.timeout(300)
CALLS = 1_000


@pytest.fixture
def relay(keycloak: Keycloak, monkeypatch: pytest.MonkeyPatch) -> Generator[Holding]:
    monkeypatch.setenv("INTROSPECT_SECRET", SECRETS["gw-introspect"])
    with holding(keycloak.origin) as found:
        yield found


class Office:
    """Leases over the broker of a real Keycloak, and a user with a token."""

    def __init__(self, keycloak: Keycloak, relay: Holding, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.issuer, self.relay = Keycloak(relay.url), relay
        self.token = self.issuer.token(keycloak.new_person())
        self.lending = Lending(folder, broker=cast("Any", broker(self.issuer, monkeypatch)), now=time.time())

    def requests(self, task: str, name: str) -> list[LeaseRequest]:
        """Return the requests of a thousand calls."""
        one = lease_request(issuer=self.issuer.issuer, subject=self.token, scope=Scope(("tickets.read",)), task=task)
        one = structs.replace(one, asked=self.lending.now, expires=self.lending.now + 60)
        return [structs.replace(one, id=f"{name}-{number}") for number in range(CALLS)]

    async def lend(self, *requests: LeaseRequest) -> list[Lent | BrokerRefusal]:
        return await asyncio.gather(*(self.lending.leases.lend("idp", request) for request in requests))

    def exchanges(self) -> int:
        return sum(b"token-exchange" in received.text for received in self.relay.received)


@pytest.fixture
def office(keycloak: Keycloak, relay: Holding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    return Office(keycloak, relay, tmp_path, monkeypatch)


async def test_a_thousand_calls_of_each_of_two_tasks_are_two_exchanges(office: Office):
    found = await office.lend(*office.requests("t1", "one"), *office.requests("t2", "two"))

    values = [lent.credential.value for lent in found if isinstance(lent, Lent)]
    assert (len(values), len(set(values[:CALLS])), len(set(values))) == (2 * CALLS, 1, 2)
    assert office.exchanges() == 2
    assert await office.lending.leases.drain(30) == ()
    assert [office.issuer.is_active(value) for value in set(values)] == [False, False]


async def test_a_failed_exchange_is_not_kept_and_causes_no_stampede(office: Office):
    lending, relay = office.lending, office.relay
    relay.faults["/token"] = "busy"
    for failure in range(1, 4):
        refused = await office.lend(*office.requests("t1", f"failed-{failure}"))
        # All of them hear of the one failure, or that it was a moment ago.
        assert {each.code for each in refused if isinstance(each, BrokerRefusal)} == {"credential/unavailable"}
        again = await office.lend(*office.requests("t1", f"at-once-{failure}"))
        assert all(isinstance(each, BrokerRefusal) and each.may_retry for each in again)
        assert office.exchanges() == failure, "a call within the pause asks nobody"
        lending.now += 40
        lending.elapsed += 40
    del relay.faults["/token"]

    found = await office.lend(*office.requests("t1", "healed"))
    assert len({lent.credential.value for lent in found if isinstance(lent, Lent)}) == 1
    assert not [each for each in found if isinstance(each, BrokerRefusal)]
    assert office.exchanges() == 4
    # A busy server may have issued a token all the same. Only time ends that.
    assert all(lease.waits for lease in await office.lending.leases.drain(30))
