"""No caller, and no number of identities of one party, takes the room of the others."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from gateway.history.registry import ISSUERS, NEWCOMERS, Quota
from gateway.model.caller import AuthMethod, Principal, User

LIMIT = 20_000
PER_CALLER = 5_000


def principal(agent: object, user: object = None, issuer: str = "https://idp.example") -> Principal:
    return Principal(str(agent), issuer, AuthMethod.JWT, user=None if user is None else User(str(user)))


def takes(room: Quota, who: Principal, amount: int = 1) -> bool:
    """Whether there was room; then it is taken."""
    if room.find_reached_limit(who.key, who.parties, amount) is not None:
        return False
    room.add(who.key, who.parties, amount)
    return True


def take_all(room: Quota, who: Principal, most: int = LIMIT) -> int:
    """Take one by one, until there is no room for this caller."""
    return next((count for count in range(most) if not takes(room, who)), most)


@pytest.fixture
def room() -> Quota:
    return Quota(LIMIT, PER_CALLER)


def test_a_caller_has_its_own_limit(room: Quota):
    assert take_all(room, principal("a")) == PER_CALLER
    assert room.find_reached_limit(principal("a").key, principal("a").parties, 1) == "caller"
    assert takes(room, principal("b"))


def test_callers_with_tasks_leave_the_last_quarter(room: Quota):
    hoarders = [principal(f"hoarder-{number}") for number in range(100)]
    taken = sum(take_all(room, who) for who in hoarders)

    assert taken <= LIMIT - LIMIT // NEWCOMERS + len(hoarders)
    assert room.find_reached_limit(hoarders[0].key, hoarders[0].parties, 1) == "caller"
    assert room.find_reached_limit(hoarders[-1].key, hoarders[-1].parties, 1) == "shared"
    assert all(takes(room, principal(f"newcomer-{number}")) for number in range(2_000))


def test_an_agent_with_20000_users_leaves_room_for_other_agents(room: Quota):
    taken = sum(takes(room, principal("shared", user)) for user in range(20_000))

    assert taken == LIMIT - LIMIT // NEWCOMERS
    assert all(takes(room, principal(f"other-{number}", f"user-{number}")) for number in range(2_000))


def test_a_user_with_20000_agents_leaves_room_for_other_users(room: Quota):
    taken = sum(takes(room, principal(agent, "mallory")) for agent in range(20_000))

    assert taken == LIMIT - LIMIT // NEWCOMERS
    assert all(takes(room, principal(f"other-{number}", f"user-{number}")) for number in range(2_000))


def test_several_agents_with_any_number_of_users_leave_room(room: Quota):
    """Each of twenty agents has 20,000 users of its own."""
    for agent in range(20):
        for user in range(20_000):
            if not takes(room, principal(f"agent-{agent}", f"{agent}-{user}")):
                break

    assert all(takes(room, principal(f"newcomer-{number}", f"user-{number}")) for number in range(100))


def test_20000_identities_of_an_issuer_leave_room_for_other_issuers(room: Quota):
    taken = sum(takes(room, principal(f"agent-{number}", f"user-{number}")) for number in range(30_000))

    assert taken == LIMIT - LIMIT // ISSUERS
    others = [principal(f"agent-{number}", f"user-{number}", "https://other.example") for number in range(1_000)]
    assert all(takes(room, who) for who in others)


def test_all_of_the_room_can_be_used(room: Quota):
    callers = (principal(f"agent-{number}", None, f"https://issuer-{number % 4}") for number in itertools.count())

    assert sum(takes(room, who) for who in itertools.islice(callers, LIMIT + 10)) == LIMIT


def test_room_that_comes_free_can_be_taken_again(room: Quota):
    hoarder, newcomer = principal("hoarder"), principal("newcomer")
    take_all(room, hoarder)
    room.add(hoarder.key, hoarder.parties, -PER_CALLER)

    assert (room.used, room.held(hoarder.key)) == (0, 0)
    assert take_all(room, newcomer) == PER_CALLER


def test_an_amount_is_shared_as_places_are():
    room = Quota(1_000, 400)

    assert takes(room, principal("a"), 400)
    assert not takes(room, principal("b"), 401)
    assert takes(room, principal("b"), 350)
    assert room.find_reached_limit(principal("b").key, principal("b").parties, 1) == "shared"
    assert not takes(room, principal("c"), 250)
    assert takes(room, principal("c", issuer="https://other.example"), 250)
    assert room.find_reached_limit(principal("d").key, principal("d").parties, 1) == "shared"


def test_whatever_is_taken_and_given_back_the_sums_agree():
    random, room = Random(7), Quota(200, 50)
    held: list[tuple[Principal, int]] = []
    for _ in range(5_000):
        if held and random.random() < 0.4:
            who, amount = held.pop(random.randrange(len(held)))
            room.add(who.key, who.parties, -amount)
            continue
        who, amount = principal(random.randrange(9), random.randrange(5)), random.randrange(1, 9)
        if takes(room, who, amount):
            held.append((who, amount))
        assert room.used == sum(amount for _, amount in held) <= room.limit
        assert room.held(who.key) == sum(amount for other, amount in held if other.key == who.key) <= 50
