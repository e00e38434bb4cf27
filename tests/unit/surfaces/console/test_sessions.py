"""Sessions and links of the console: bounded in number and time, and good once."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.authority.approvals.model import Person
from gateway.authority.approvals.rules import Accounts
from gateway.base.control.line_socket import Account
from gateway.base.control.operations import OperatorAccounts, OperatorName
from gateway.base.keys.key_ring import KeyRing
from gateway.base.store.records import SealedStore
from gateway.model.decision import Reason
from gateway.surfaces.console.feed import PER_SESSION, STREAMS, Feed, View
from gateway.surfaces.console.sessions import (
    LINK_SECONDS,
    LINKS,
    PER_PERSON,
    LinkRegister,
    SessionRegister,
    Visitor,
    find_visitor,
)
from tests.unit.base.store.engines import open_store
from tests.unit.base.store.keeping import KEY, edit, sealed_store
from tests.unit.clock import Clock


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the file or the address of records that two gateways share."""
    return str(tmp_path / "records.db") if request.param == "sqlite" else request.getfixturevalue("schema_url")


def visitor(name: str = "alice") -> Visitor:
    return Visitor(Person(name, "https://idp.example"), frozenset({"approver"}), "oidc", 0.0)


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> SealedStore:
    return sealed_store(tmp_path, clock=clock)


def register(store: SealedStore, clock: Clock, *, limit: int = 10, terms: str = "") -> SessionRegister:
    return SessionRegister(store, lifetime=100.0, idle=30.0, limit=limit, now=clock, terms=terms)


async def test_a_session_ends_by_a_pause_and_by_its_lifetime(store: SealedStore, clock: Clock):
    sessions = register(store, clock)
    cookie, _ = await sessions.open(visitor())
    for _ in range(4):
        clock.now += 24
        assert await sessions.find(cookie) is not None
    clock.now += 5
    assert await sessions.find(cookie) is None

    cookie, _ = await sessions.open(visitor())
    clock.now += 20
    assert await sessions.find(cookie, is_use=False) is not None
    clock.now += 11
    assert await sessions.find(cookie) is None


async def test_a_person_with_too_many_sessions_ends_none_of_others(store: SealedStore, clock: Clock):
    sessions = register(store, clock, limit=20)
    other, _ = await sessions.open(visitor("bob"))
    cookies: list[str] = []
    for _ in range(PER_PERSON + 3):
        clock.now += 0.01
        cookies.append((await sessions.open(visitor()))[0])

    assert [await sessions.find(cookie) is None for cookie in cookies] == [True] * 3 + [False] * PER_PERSON
    assert await sessions.find(other) is not None


async def test_beyond_the_limit_the_oldest_session_ends(store: SealedStore, clock: Clock):
    sessions = register(store, clock, limit=3)
    cookies: list[str] = []
    for number in range(4):
        clock.now += 0.01
        cookies.append((await sessions.open(visitor(f"p{number}")))[0])

    assert [await sessions.find(cookie) is None for cookie in cookies] == [True, False, False, False]


async def test_no_other_cookie_opens_a_session(store: SealedStore, clock: Clock):
    sessions = register(store, clock)
    cookie, session = await sessions.open(visitor())

    assert await sessions.find(None) is None
    assert await sessions.find("") is None
    assert await sessions.find(cookie[:-1]) is None
    assert await sessions.find("\ud800") is None
    assert session.id not in cookie
    await sessions.close(cookie)
    assert await sessions.find(cookie) is None


async def test_a_session_is_known_and_ended_at_all_gateways(place: str, clock: Clock):
    engines = [open_store(place, clock) for _ in range(2)]
    a, b = (register(SealedStore(engine, KeyRing(KEY)), clock) for engine in engines)
    cookie, session = await a.open(visitor())
    found = await b.find(cookie)
    assert found is not None
    assert (found.id, found.csrf, found.visitor) == (session.id, session.csrf, session.visitor)
    clock.now += 20
    # A use at one gateway ends the pause at the other.
    assert await b.find(cookie) is not None
    clock.now += 20
    assert await a.find(cookie) is not None
    uses = await asyncio.gather(*(each.find(cookie) for each in (a, b) for _ in range(3)))
    assert all(use is not None for use in uses)
    ended = await asyncio.gather(a.close(cookie), *(b.find(cookie) for _ in range(5)))
    assert ended[0] is None
    assert await a.find(cookie) is None
    assert await b.find(cookie) is None
    for engine in engines:
        engine.close()
    await asyncio.sleep(0)


async def test_a_session_under_other_settings_of_roles_is_none(store: SealedStore, clock: Clock):
    cookie, _ = await register(store, clock, terms="before").open(visitor())
    assert await register(store, clock, terms="after").find(cookie) is None


async def test_a_copy_of_the_records_gives_no_cookie_away(store: SealedStore, clock: Clock, tmp_path: Path):
    cookie, session = await register(store, clock).open(visitor())
    token = await LinkRegister(store, now=clock).make(visitor())
    rows = str(edit(tmp_path, "select kind, id, value from records"))
    assert not any(secret in rows for secret in (cookie, session.csrf, token, "alice"))


async def test_a_link_works_once_and_for_its_time(store: SealedStore, clock: Clock):
    links = LinkRegister(store, now=clock)
    token = await links.make(visitor())

    assert await links.find(token) == await links.find(token) == visitor()
    assert await links.use(token) == visitor()
    assert await links.use(token) is None
    late = await links.make(visitor())
    clock.now += LINK_SECONDS
    assert await links.use(late) is None


async def test_of_racing_uses_of_a_link_at_two_gateways_one_counts(place: str, clock: Clock):
    engines = [open_store(place, clock) for _ in range(2)]
    both = [LinkRegister(SealedStore(engine, KeyRing(KEY)), now=clock) for engine in engines]
    for _ in range(10):
        token = await both[0].make(visitor())
        found = await asyncio.gather(*(each.use(token) for each in both for _ in range(4)))
        assert sum(one is not None for one in found) == 1
    for engine in engines:
        engine.close()
    await asyncio.sleep(0)


async def test_links_are_bounded(store: SealedStore, clock: Clock):
    links, tokens = LinkRegister(store, now=clock), list[str]()
    for _ in range(LINKS + 1):
        clock.now += 0.01
        tokens.append(await links.make(visitor()))

    assert await links.find(tokens[0]) is None
    assert await links.find(tokens[1]) is not None


OPERATORS = OperatorAccounts(500, {1000: OperatorName("alice"), 1002: OperatorName("olga", "https://idp.example")})
ACCOUNTS = Accounts({uid: Person("alice", "https://idp.example", ("sre",)) for uid in (1000, 1001)}, OPERATORS)


def visit(accounts: Accounts, uid: int, *, has_terminal: bool = True) -> Visitor | Reason:
    return find_visitor(accounts, Account(uid, has_terminal), 7.0)


def test_an_account_may_do_as_much_as_over_the_sockets():
    both, peer, olga, root = (visit(ACCOUNTS, uid) for uid in (1000, 1001, 1002, 0))

    assert isinstance(peer, Visitor)
    assert (peer.person, peer.roles) == (
        Person("alice", "https://idp.example", ("sre",), "peer", "console"),
        {"approver"},
    )
    assert peer.person.logged_in is None
    assert isinstance(both, Visitor)
    assert (both.person, both.roles) == (peer.person, {"approver", "viewer", "operator"})
    assert isinstance(olga, Visitor)
    assert (olga.name, olga.person.issuer, olga.roles) == ("olga", "https://idp.example", {"viewer", "operator"})
    assert olga.person.groups == ()
    assert isinstance(root, Visitor)
    assert root.roles == olga.roles
    assert isinstance(visit(ACCOUNTS, 1003), Reason)


@pytest.mark.parametrize("has_terminal", [True, False])
def test_the_gateways_own_account_is_nobody_in_production(*, has_terminal: bool):
    assert isinstance(visit(ACCOUNTS, 500, has_terminal=has_terminal), Reason)


def test_the_owner_approves_in_development_alone():
    accounts = Accounts({}, OperatorAccounts(500, is_development=True))
    found = visit(accounts, 500)

    assert isinstance(visit(accounts, 500, has_terminal=False), Reason)
    assert isinstance(found, Visitor)
    assert found.roles == {"viewer", "operator", "approver"}
    assert found.person.id == "developer"


async def never(_view: View) -> str:
    raise AssertionError("nobody asked for a list")


async def test_many_open_pages_hear_less_often():
    feed = Feed(never)
    with ExitStack() as stack:
        for number in range(100):
            stack.enter_context(feed.subscribe(View("decisions"), str(number)))
        assert feed.pause == 5.0
    assert feed.pause == 0.5


async def test_open_pages_are_bounded_for_a_login_and_in_all():
    feed = Feed(never)
    with ExitStack() as stack:
        for _ in range(PER_SESSION):
            assert feed.has_room("alice")
            stack.enter_context(feed.subscribe(View("decisions"), "alice"))
        assert not feed.has_room("alice")
        assert feed.has_room("bob")
        for number in range(STREAMS - PER_SESSION):
            stack.enter_context(feed.subscribe(View("decisions"), str(number)))
        assert not feed.has_room("bob")
    assert feed.has_room("alice")
