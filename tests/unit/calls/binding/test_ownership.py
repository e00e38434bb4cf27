"""Task ids and request states: remembered for whom they were given to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.calls.binding.ownership import LIFETIME, PER_PRINCIPAL, Ownership
from gateway.model.call import PastCall
from gateway.model.caller import AuthMethod, Principal
from gateway.model.target import Sensitivity, Target
from gateway.model.task import Task
from tests.unit.clock import Clock

OWNER = Principal(id="agent", issuer="https://idp", method=AuthMethod.JWT)
THIEF = replace(OWNER, id="thief")


def test_a_handle_belongs_to_whom_it_was_given_to():
    ownership = Ownership(Clock())
    ownership.deliver("files", "t1", OWNER)

    assert ownership.renew_if_owner("files", "t1", OWNER)
    assert not ownership.renew_if_owner("files", "t1", THIEF)
    assert not ownership.renew_if_owner("mail", "t1", OWNER)
    assert not ownership.renew_if_owner("files", "t2", OWNER)


def test_a_handle_is_forgotten_after_its_lifetime_unless_it_is_used():
    clock = Clock()
    ownership = Ownership(clock)
    ownership.deliver("files", "used", OWNER)
    ownership.deliver("files", "unused", OWNER)
    clock.now += LIFETIME - 1
    assert ownership.renew_if_owner("files", "used", OWNER)
    clock.now += 2

    assert ownership.renew_if_owner("files", "used", OWNER)
    assert not ownership.renew_if_owner("files", "unused", OWNER)


def test_many_handles_of_one_principal_push_out_only_its_own():
    ownership = Ownership(Clock())
    ownership.deliver("files", "mine", OWNER)
    for number in range(PER_PRINCIPAL + 1):
        ownership.deliver("files", f"t{number}", THIEF)

    assert ownership.renew_if_owner("files", "mine", OWNER)
    assert not ownership.renew_if_owner("files", "t0", THIEF)
    assert ownership.renew_if_owner("files", "t1", THIEF)


def principal(number: int) -> Principal:
    return replace(OWNER, id=f"agent-{number}")


def held(ownership: Ownership) -> int:
    return sum(map(len, ownership._owned.values()))


def test_all_together_do_not_hold_more_than_there_is_room_for():
    ownership = Ownership(Clock(), in_all=80)
    for number in range(1_000):
        ownership.deliver("files", f"t{number}", principal(number % 7))
        assert held(ownership) <= 80
        # An eighth becomes free at once: to make room for each would take long.
        assert number != 80 or held(ownership) == 70
        assert ownership.renew_if_owner("files", f"t{number}", principal(number % 7))


@pytest.mark.parametrize("crowd", [1, 5])
def test_who_holds_many_values_pushes_out_none_of_those_who_hold_few(crowd: int):
    ownership = Ownership(Clock(), in_all=80)
    mine = [f"m{number}" for number in range(10)]
    for value in mine:
        ownership.deliver("files", value, OWNER)
    for number in range(1_000):
        ownership.deliver("files", f"t{number}", principal(number % crowd))

    assert all(ownership.renew_if_owner("files", value, OWNER) for value in mine)
    assert not ownership.renew_if_owner("files", "t0", principal(0))
    assert ownership.renew_if_owner("files", "t999", principal(999 % crowd))


def test_of_too_many_principals_those_are_forgotten_that_were_idle_for_longest():
    ownership = Ownership(Clock(), in_all=80)
    for number in range(1_000):
        ownership.deliver("files", "t", principal(number))
        assert held(ownership) == len(ownership._owned) <= 80
        assert ownership.renew_if_owner("files", "t", principal(0))

    assert not ownership.renew_if_owner("files", "t", principal(1))
    assert ownership.renew_if_owner("files", "t", principal(999))


def test_one_value_of_each_is_kept_while_there_is_room_for_all_principals():
    ownership = Ownership(Clock(), in_all=80)
    for number in range(70):
        for value in range(2):
            ownership.deliver("files", f"t{value}", principal(number))

    assert all(ownership.renew_if_owner("files", "t1", principal(number)) for number in range(70))


def test_what_is_forgotten_makes_room():
    clock = Clock()
    ownership = Ownership(clock, in_all=80)
    for _ in range(5):
        for number in range(80):
            ownership.deliver("files", f"t{number}", principal(number % 3))
        assert all(ownership.renew_if_owner("files", f"t{number}", principal(number % 3)) for number in range(80))
        clock.now += LIFETIME
        ownership.expire()
        assert held(ownership) == 0


def test_a_value_that_is_used_is_not_the_oldest_any_more():
    ownership = Ownership(Clock())
    for number in range(PER_PRINCIPAL):
        ownership.deliver("files", f"t{number}", OWNER)
    assert ownership.renew_if_owner("files", "t0", OWNER)
    ownership.deliver("files", "one more", OWNER)

    assert ownership.renew_if_owner("files", "t0", OWNER)
    assert not ownership.renew_if_owner("files", "t1", OWNER)


def test_expired_handles_leave_memory():
    clock = Clock()
    ownership = Ownership(clock)
    ownership.deliver("files", "old", OWNER)
    ownership.deliver("files", "old", THIEF)
    clock.now += LIFETIME
    ownership.deliver("files", "new", THIEF)
    ownership.expire()

    assert list(ownership._owned) == [THIEF.key]
    assert len(ownership._owned[THIEF.key]) == 1
    assert ownership.renew_if_owner("files", "new", THIEF)


def past_call(call: str) -> PastCall:
    task = Task("t", "implicit", 0.0)
    return PastCall(task, call, 1, Target("tool", "files", "read", "files"), Sensitivity.INTERNAL)


def test_the_call_that_a_handle_came_of_is_remembered():
    ownership = Ownership(Clock())
    ownership.deliver("files", "t1", OWNER, past_call("c1"))

    assert ownership.renew_if_owner("files", "t1", OWNER)
    ownership.deliver("files", "t1", OWNER)
    assert ownership.past_call("files", "t1", OWNER) == past_call("c1")
    assert ownership.past_call("files", "t1", THIEF) is None
    assert ownership.past_call("files", "t2", OWNER) is None
    ownership.deliver("files", "t1", OWNER, past_call("c2"))
    assert ownership.past_call("files", "t1", OWNER) == past_call("c2")


def test_nobody_knows_what_one_came_of_that_was_to_be_given_once():
    ownership = Ownership(Clock())
    for call in ("c1", "c2", "c3"):
        ownership.deliver("files", "id", OWNER, past_call(call), once=True)
        assert ownership.past_call("files", "id", OWNER) == (past_call("c1") if call == "c1" else None)
