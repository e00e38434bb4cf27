"""Sessions and links of the console: bounded in number and time, and good once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from gateway.authority.approvals.model import Person
from gateway.authority.approvals.rules import Accounts
from gateway.base.control.line_socket import Account
from gateway.base.control.operations import OperatorAccounts, OperatorName
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


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def visitor(name: str = "alice") -> Visitor:
    return Visitor(Person(name, "https://idp.example"), frozenset({"approver"}), "oidc", 0.0)


def register(clock: Clock, **changes: float) -> SessionRegister:
    settings = {"lifetime": 100.0, "idle": 30.0, "limit": 10} | changes
    return SessionRegister(
        lifetime=settings["lifetime"], idle=settings["idle"], limit=int(settings["limit"]), monotonic=clock
    )


def test_a_session_ends_by_a_pause_and_by_its_lifetime():
    clock = Clock()
    sessions = register(clock)
    cookie, _ = sessions.open(visitor())
    for _ in range(4):
        clock.now += 24
        assert sessions.find(cookie) is not None
    clock.now += 5
    assert sessions.find(cookie) is None

    cookie, _ = sessions.open(visitor())
    clock.now += 20
    assert sessions.find(cookie, is_use=False) is not None
    clock.now += 11
    assert sessions.find(cookie) is None


def test_a_person_with_too_many_sessions_ends_none_of_others():
    sessions = register(Clock(), limit=20)
    other, _ = sessions.open(visitor("bob"))
    cookies = [sessions.open(visitor())[0] for _ in range(PER_PERSON + 3)]

    assert [sessions.find(cookie) is None for cookie in cookies] == [True] * 3 + [False] * PER_PERSON
    assert sessions.find(other) is not None


def test_beyond_the_limit_the_oldest_session_ends():
    sessions = register(Clock(), limit=3)
    cookies = [sessions.open(visitor(f"p{number}"))[0] for number in range(4)]

    assert [sessions.find(cookie) is None for cookie in cookies] == [True, False, False, False]


def test_no_other_cookie_opens_a_session():
    sessions = register(Clock())
    cookie, session = sessions.open(visitor())

    assert sessions.find(None) is None
    assert sessions.find("") is None
    assert sessions.find(cookie[:-1]) is None
    assert sessions.find("\ud800") is None
    assert session.id not in cookie
    sessions.close(cookie)
    assert sessions.find(cookie) is None


def test_a_link_works_once_and_for_its_time():
    clock = Clock()
    links = LinkRegister(monotonic=clock)
    token = links.make(visitor())

    assert links.find(token) == links.find(token) == visitor()
    assert links.use(token) == visitor()
    assert links.use(token) is None
    late = links.make(visitor())
    clock.now += LINK_SECONDS
    assert links.use(late) is None


def test_links_are_bounded():
    links = LinkRegister(monotonic=Clock())
    tokens = [links.make(visitor()) for _ in range(LINKS + 1)]

    assert links.find(tokens[0]) is None
    assert links.find(tokens[1]) is not None


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
