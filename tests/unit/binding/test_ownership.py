"""Task ids and request states: remembered for whom they were given to."""

from __future__ import annotations

from dataclasses import replace

from gateway.binding.ownership import LIFETIME, PER_PRINCIPAL, Ownership
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

    assert ownership.belongs("files", "t1", OWNER)
    assert not ownership.belongs("files", "t1", THIEF)
    assert not ownership.belongs("mail", "t1", OWNER)
    assert not ownership.belongs("files", "t2", OWNER)


def test_a_handle_is_forgotten_after_its_lifetime_unless_it_is_used():
    clock = Clock()
    ownership = Ownership(clock)
    ownership.deliver("files", "used", OWNER)
    ownership.deliver("files", "unused", OWNER)
    clock.now += LIFETIME - 1
    assert ownership.belongs("files", "used", OWNER)
    clock.now += 2

    assert ownership.belongs("files", "used", OWNER)
    assert not ownership.belongs("files", "unused", OWNER)


def test_many_handles_of_one_principal_push_out_only_its_own():
    ownership = Ownership(Clock())
    ownership.deliver("files", "mine", OWNER)
    for number in range(PER_PRINCIPAL + 1):
        ownership.deliver("files", f"t{number}", THIEF)

    assert ownership.belongs("files", "mine", OWNER)
    assert not ownership.belongs("files", "t0", THIEF)
    assert ownership.belongs("files", "t1", THIEF)


def test_a_value_that_is_used_is_not_the_oldest_any_more():
    ownership = Ownership(Clock())
    for number in range(PER_PRINCIPAL):
        ownership.deliver("files", f"t{number}", OWNER)
    assert ownership.belongs("files", "t0", OWNER)
    ownership.deliver("files", "one more", OWNER)

    assert ownership.belongs("files", "t0", OWNER)
    assert not ownership.belongs("files", "t1", OWNER)


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
    assert ownership.belongs("files", "new", THIEF)


def past_call(call: str) -> PastCall:
    task = Task("t", "implicit", 0.0)
    return PastCall(task, call, 1, Target("tool", "files", "read", "files"), Sensitivity.INTERNAL)


def test_the_call_that_a_handle_came_of_is_remembered():
    ownership = Ownership(Clock())
    ownership.deliver("files", "t1", OWNER, past_call("c1"))

    assert ownership.belongs("files", "t1", OWNER)
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
