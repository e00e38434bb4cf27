"""Users' connections of two gateways over one real store, once for each engine. The server rotates refresh tokens, and ends
a connection whose refresh token comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.authority.brokers.assertions import Assertion
from gateway.authority.brokers.id_jag import PRESENTED, PresentedAssertions
from gateway.authority.connections.browsers import BROWSERS, Browser, Browsers, LoggedInPerson
from gateway.authority.connections.links import LINKS
from gateway.authority.connections.model import ConnectionLink, RegisteredClient, UserConnection
from gateway.authority.connections.office import ConnectionEnd, Consent, SentAway
from gateway.authority.connections.operators import add_operations
from gateway.authority.connections.store import CONNECTIONS, PLACES, TURN
from gateway.authority.model import BrokerRefusal, Issued, LeaseRequest, NotEnded
from gateway.base.store.engine import Engine
from gateway.model.decision import Reason
from gateway.model.errors import StoreError
from tests.unit.authority.connections.connecting import Connecting, refused
from tests.unit.authority.connections.server import FakeServer, fake_server
from tests.unit.base.store.engines import open_store
from tests.unit.operating import new_control, perform

RACES = 10
ASKED = ("crm", "crm", "https://crm.example")
"""Broker, upstream and audience of a call without a connection."""


class Two(NamedTuple):
    """Two gateways, with the server that their users connect to."""

    a: Connecting
    b: Connecting
    at: FakeServer


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "records.db") if request.param == "sqlite" else request.getfixturevalue("schema_url")


@pytest.fixture
async def two(place: str, tmp_path: Path) -> AsyncGenerator[Two]:
    engines: list[Engine] = []

    def start(at: FakeServer, idp: FakeServer) -> Connecting:
        gateway = Connecting(tmp_path, at, idp)
        engines.append(open_store(place, gateway.now))
        gateway.engine = engines[-1]
        gateway.build()
        return gateway

    async with fake_server() as at, fake_server() as idp:
        a, b = start(at, idp), start(at, idp)
        yield Two(a, b, at)
        for gateway in (a, b):
            await gateway.aclose()
        # A look that was under way may have opened its connection again.
        await asyncio.sleep(0)
        for engine in engines:
            engine.close()
        await asyncio.sleep(0)


async def lend(gateway: Connecting, number: int = 1) -> Issued | BrokerRefusal:
    request: LeaseRequest = gateway.request(number)
    prepared = await gateway.broker.prepare(request)
    return prepared if isinstance(prepared, BrokerRefusal) else await gateway.broker.issue(request, prepared)


async def in_use(gateway: Connecting) -> UserConnection | None:
    return await gateway.connections.find(gateway.owner().key, "crm")


async def test_a_connection_made_at_one_gateway_is_used_at_the_other(two: Two):
    made = await two.a.connect()
    assert await in_use(two.b) == made
    assert isinstance(await lend(two.b), Issued)
    assert isinstance(await lend(two.a), Issued), "with the refresh token that the other gateway was given"


async def test_gateways_that_refresh_one_connection_at_the_same_time_take_turns(two: Two):
    await two.a.connect()
    lent = await asyncio.gather(*(lend(gateway, number) for number in range(RACES) for gateway in (two.a, two.b)))
    assert all(isinstance(each, Issued) for each in lent)
    assert [family.is_dead for family in two.at.families] == [False]


async def test_a_connection_removed_at_one_gateway_is_out_of_use_at_the_other(two: Two):
    made = await two.a.connect()
    assert isinstance(await lend(two.b), Issued)
    told: list[str] = []

    async def note(removed: Any) -> None:
        told.extend(each.id for each in removed)

    two.a.connections.end_elsewhere = note
    assert await two.a.connections.remove([made], "operator") == 1
    assert told == [made.id]
    refused = await lend(two.b)
    assert isinstance(refused, BrokerRefusal)
    assert refused.code == "credential/connect"
    assert [each.id for each in two.b.removed] == [made.id], "its leases end there too"
    assert not two.b.connections.has_met(made.owner.key, "crm")


async def test_one_of_two_gateways_removes_a_connection_and_records_it(two: Two):
    made = await two.a.connect()
    await in_use(two.b)
    removed = await asyncio.gather(*(each.connections.remove([made], "operator") for each in (two.a, two.b)))
    assert sorted(removed) == [0, 1]
    assert [*two.a.events(), *two.b.events()].count("removed") == 1


async def test_an_operator_lists_and_removes_the_connections_of_all_gateways(two: Two):
    made = await two.a.connect()
    control = new_control()
    add_operations(control, two.b.connections)
    assert [each["id"] for each in await perform(control, "connections/list")] == [made.id]
    assert await perform(control, "connections/revoke", id=made.id) == {"removed": 1}
    assert await in_use(two.a) is None


async def test_one_of_two_gateways_ends_a_removed_connection(two: Two):
    made = await two.a.connect()
    await two.a.connections.remove([made], "operator")
    asked: list[str] = []

    async def revoke(_connection: UserConnection, token: str) -> NotEnded | str | None:
        asked.append(token)
        await asyncio.sleep(0)
        return None

    await asyncio.gather(*(each.connections.end_removed(revoke) for each in (two.a, two.b)))
    assert len(asked) == 1
    assert await two.b.connections.all() == ()
    assert [*two.a.events(), *two.b.events()].count("ended") == 1


async def test_of_two_connections_of_a_user_made_at_two_gateways_one_is_in_use(two: Two):
    first = await two.a.connect()
    await in_use(two.a)
    second = await two.b.connect()
    assert second.id != first.id
    assert await in_use(two.a) == second
    assert [each.id for each in two.a.removed] == [first.id]
    assert await two.a.connections.all() == (second,)
    assert two.b.events()[-3:] == ["made", "removed", "ended"]
    assert isinstance(await lend(two.a), Issued)


async def test_the_turn_of_a_killed_gateway_is_over_after_its_time(two: Two):
    made = await two.a.connect()
    held = two.a.connections.refreshing(made)
    await held.__aenter__()
    two.b.ahead = TURN + 1
    assert isinstance(await lend(two.b), Issued)
    two.b.ahead = 0
    async with two.b.connections.refreshing(made):
        await held.__aexit__(None, None, None)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lend(two.a), 0.2)


async def test_two_gateways_register_one_client(two: Two):
    for gateway in (two.a, two.b):
        gateway.settings = {"client": {"dcr": True}}
        gateway.build()
    proofs = await asyncio.gather(*(gateway.servers["crm"].identify() for gateway in (two.a, two.b) for _ in range(3)))
    assert len({getattr(proof, "client_id", None) for proof in proofs}) == 1


async def test_a_client_unknown_at_its_server_takes_no_later_client_along(two: Two):
    fresh = RegisteredClient("fresh", None, two.at.url, "https://gateway.example")
    await two.a.store.clients.put("crm", fresh)
    await two.b.store.drop_client("crm", "stale")
    assert await two.a.store.clients.get("crm") == fresh
    await two.b.store.drop_client("crm", "fresh")
    assert await two.a.store.clients.get("crm") is None


async def test_of_two_gateways_with_one_assertion_one_presents_it(two: Two):
    presented = [PresentedAssertions(each.records.of(PRESENTED)) for each in (two.a, two.b)]
    one = Assertion("text", "jti-1", two.a.now() + 60, frozenset())
    assert sorted(await asyncio.gather(*(each.note("https://idp.example", one) for each in presented))) == [False, True]
    assert await presented[1].note("https://other.example", one), "another provider has names of its own"
    two.b.ahead = 100
    later = Assertion("text", "jti-1", two.b.now() + 60, frozenset())
    assert await presented[1].note("https://idp.example", later)


async def test_connections_of_an_earlier_release_get_their_places(two: Two):
    made = await two.a.connect()
    places = two.a.records.of(PLACES)
    await places.remove(*await places.load())
    assert await in_use(two.b) is None
    await two.b.load()
    assert await in_use(two.a) == made


async def test_a_connection_that_cannot_be_removed_from_the_store_is_out_of_use_here(
    two: Two, monkeypatch: pytest.MonkeyPatch
):
    made = await two.a.connect()

    async def fail(_removed: UserConnection) -> bool:
        raise StoreError("away", "wait")

    monkeypatch.setattr(two.a.store, "remove", fail)
    with pytest.raises(StoreError):
        await two.a.connections.remove([made], "operator")
    assert await in_use(two.a) is None
    assert [each.is_removed for each in await two.a.connections.all()] == [True]
    assert made.id in await two.a.records.of(CONNECTIONS).load()


# --- links, browsers and consents ------------------------------------------------------------------------


async def consent(asked: Connecting, other: Connecting) -> tuple[ConnectionLink, str, str]:
    """Go from a link of one gateway to the callback, each step at the other gateway. Returns link, cookie and query."""
    link = await asked.ask()
    sent = await other.office.open(link.id, None)
    assert isinstance(sent, SentAway)
    back = await asked.office.finish_login(asked.idp.authorize(sent.url), sent.cookie)
    assert isinstance(back, SentAway)
    cookie = back.cookie or ""
    shown = await other.office.open(link.id, cookie)
    assert isinstance(shown, Consent)
    away = await asked.office.answer(link.id, cookie, shown.csrf, "allow")
    assert isinstance(away, SentAway)
    return link, cookie, asked.at.authorize(away.url)


async def test_each_step_from_a_link_to_its_connection_may_be_at_another_gateway(two: Two):
    link, cookie, query = await consent(two.a, two.b)
    assert await two.b.office.finish("crm", query, cookie) == ConnectionEnd(link, made=True)
    assert isinstance(await lend(two.a), Issued)


async def test_of_one_answer_at_two_gateways_one_counts(two: Two):
    _, cookie, query = await consent(two.a, two.b)
    told = await asyncio.gather(*(each.office.finish("crm", query, cookie) for each in (two.a, two.b)))
    assert sorted(type(each).__name__ for each in told) == ["ConnectionEnd", "Reason"]
    refused(next(each for each in told if isinstance(each, Reason)), "connection/browser")
    assert len(two.at.forms("/token")) == 1


async def test_of_two_browsers_with_one_link_at_two_gateways_one_connects(two: Two):
    link, cookie, query = await consent(two.a, two.b)
    again = await two.b.log_in(link)
    later = two.at.authorize(await two.b.agree(link, again))
    told = await asyncio.gather(two.a.office.finish("crm", query, cookie), two.b.office.finish("crm", later, again))
    assert sorted(type(each).__name__ for each in told) == ["ConnectionEnd", "Reason"]
    refused(next(each for each in told if isinstance(each, Reason)), "connection/link")
    assert len(await two.a.connections.all()) == len(two.at.forms("/token")) == 1


async def test_equal_calls_at_two_gateways_give_one_link(two: Two):
    asked = await asyncio.gather(
        *(each.office.ask(each.owner(), ASKED, session="", decision=None) for each in (two.a, two.b) for _ in range(3))
    )
    assert len({each.link.id for each in asked if each is not None}) == 1
    assert [each.is_new for each in asked if each is not None].count(True) == 1


async def test_a_no_at_one_gateway_holds_at_the_other_and_ends_a_wait_there(two: Two):
    told: list[ConnectionLink] = []
    two.a.office.watch(told.append)
    link = await two.a.ask()
    waiting = asyncio.create_task(two.a.office.wait(link.id, 300))
    await two.b.office.decline(link.id)
    assert not waiting.done()
    await two.a.office.look()
    await asyncio.wait_for(waiting, 300)
    await two.a.office.look()
    assert [(each.id, each.state) for each in told] == [(link.id, "declined")]
    assert await two.a.office.ask(two.a.owner(), ASKED, session="", decision=None) is None
    assert await two.b.office.ask(two.b.owner(), ASKED, session="", decision=None) is None


async def test_a_cookie_of_before_the_login_serves_at_no_gateway(two: Two):
    link = await two.a.ask()
    sent = await two.a.office.open(link.id, None)
    assert isinstance(sent, SentAway)
    query = two.a.idp.authorize(sent.url)
    assert isinstance(await two.b.office.finish_login(query, sent.cookie), SentAway)
    refused(await two.a.office.finish_login(query, sent.cookie), "connection/browser")


async def test_another_person_who_takes_the_link_to_another_gateway_is_refused(two: Two):
    link = await two.a.ask("alice")
    two.a.idp.person = "mallory"
    cookie = await two.b.log_in(link)
    for gateway in (two.b, two.a, two.b):
        refused(await gateway.office.open(link.id, cookie), "connection/person")
    assert [*two.a.events(), *two.b.events()].count("refused") == 1


async def test_an_id_that_is_not_that_of_the_link_opens_nothing(two: Two):
    link = await two.a.ask()
    place, secret = link.id[8:40], link.id[41:]
    guess = f"connect-{place}-{'A' * len(secret)}"
    for wrong in (guess, place, f"{link.id}\0", f"{link.id[:-1]}\ud800", f"{link.id}A", ""):
        refused(await two.b.office.open(wrong, "\ud800\0"), "connection/link")
    assert isinstance(await two.b.office.open(link.id, "\ud800\0"), SentAway)


async def test_a_copy_of_the_records_names_no_link_and_no_cookie(two: Two):
    link = await two.a.ask()
    cookie = await two.a.log_in(link)
    links, browsers = two.a.records.of(LINKS), two.a.records.of(BROWSERS)
    rows = [*await links.read_rows(), *await browsers.read_rows()]
    assert len(rows) == 2
    for row in rows:
        assert link.id not in row.id
        assert cookie not in row.id
        assert cookie.encode() not in row.value
        assert link.id.encode() not in row.value


async def test_a_flood_of_opened_links_ends_no_session_of_a_person(two: Two):
    browsers, now = Browsers(two.a.records, two.a.now, capacity=16), two.a.now()
    await browsers.add("person", Browser("csrf", now + 10, LoggedInPerson("https://idp.example", "alice")))
    for number in range(40):
        await browsers.add(f"visitor {number}", Browser("csrf", now + 100))
    assert await two.a.records.of(BROWSERS).count() <= 16
    assert await browsers.find("person") is not None
    assert await browsers.find("visitor 39") is not None


async def test_a_gateway_with_an_earlier_configuration_leaves_connections_of_others(two: Two):
    made = await two.b.connect()
    earlier = {"crm": "https://former.example"}
    await two.a.connections.load(earlier, is_alone=False)
    assert await in_use(two.a) is None, "no token goes to a server that did not give it"
    assert await in_use(two.b) == made

    await two.a.connections.load(earlier, is_alone=True)
    assert await in_use(two.b) is None


async def test_a_link_to_a_broker_that_this_gateway_lacks_is_unknown_here(two: Two):
    link, cookie, query = await consent(two.a, two.b)
    del two.b.servers["crm"]
    refused(await two.b.office.open(link.id, cookie), "connection/link")
    refused(await two.b.office.open(link.id, None), "connection/link")
    refused(await two.b.office.answer(link.id, cookie, "", "allow"), "connection/link")
    refused(await two.b.office.finish("crm", query, cookie), "connection/browser")


async def test_a_code_goes_to_no_other_server_than_the_browser_came_from(two: Two):
    _, cookie, query = await consent(two.a, two.b)
    two.b.servers["crm"].issuer = "https://another.example"
    refused(await two.b.office.finish("crm", query, cookie), "connection/issuer")
    assert two.at.forms("/token") == []
