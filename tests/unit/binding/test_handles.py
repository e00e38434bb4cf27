"""Task ids and request states: remembered for whom they were given to."""

from __future__ import annotations

from dataclasses import replace

from gateway.binding.handles import LIFETIME, PER_PRINCIPAL, Handles
from gateway.model.call import Made
from gateway.model.caller import AuthMethod, Principal
from gateway.model.target import Sensitivity, Target
from gateway.model.task import Task
from tests.unit.clock import Clock

OWNER = Principal(id="agent", issuer="https://idp", method=AuthMethod.JWT)
THIEF = replace(OWNER, id="thief")


def test_a_handle_belongs_to_whom_it_was_given_to():
    handles = Handles(Clock())
    handles.deliver("files", "t1", OWNER)

    assert handles.belongs("files", "t1", OWNER)
    assert not handles.belongs("files", "t1", THIEF)
    assert not handles.belongs("mail", "t1", OWNER)
    assert not handles.belongs("files", "t2", OWNER)


def test_a_handle_is_forgotten_after_its_lifetime_unless_it_is_used():
    clock = Clock()
    handles = Handles(clock)
    handles.deliver("files", "used", OWNER)
    handles.deliver("files", "unused", OWNER)
    clock.now += LIFETIME - 1
    assert handles.belongs("files", "used", OWNER)
    clock.now += 2

    assert handles.belongs("files", "used", OWNER)
    assert not handles.belongs("files", "unused", OWNER)


def test_many_handles_of_one_principal_push_out_only_its_own():
    handles = Handles(Clock())
    handles.deliver("files", "mine", OWNER)
    for number in range(PER_PRINCIPAL + 1):
        handles.deliver("files", f"t{number}", THIEF)

    assert handles.belongs("files", "mine", OWNER)
    assert not handles.belongs("files", "t0", THIEF)
    assert handles.belongs("files", "t1", THIEF)


def test_expired_handles_leave_memory():
    clock = Clock()
    handles = Handles(clock)
    handles.deliver("files", "old", OWNER)
    clock.now += LIFETIME
    handles.deliver("files", "new", THIEF)
    handles.expire()

    assert list(handles._owned) == [THIEF.key]


def made(call: str) -> Made:
    task = Task("t", "implicit", 0.0)
    return Made(task, call, 1, Target("tool", "files", "read", "files"), Sensitivity.INTERNAL)


def test_the_call_that_a_handle_came_of_is_remembered():
    handles = Handles(Clock())
    handles.deliver("files", "t1", OWNER, made("c1"))

    assert handles.belongs("files", "t1", OWNER)
    handles.deliver("files", "t1", OWNER)
    assert handles.made("files", "t1", OWNER) == made("c1")
    assert handles.made("files", "t1", THIEF) is None
    assert handles.made("files", "t2", OWNER) is None
    handles.deliver("files", "t1", OWNER, made("c2"))
    assert handles.made("files", "t1", OWNER) == made("c2")


def test_nobody_knows_what_one_came_of_that_was_to_be_given_once():
    handles = Handles(Clock())
    for call in ("c1", "c2", "c3"):
        handles.deliver("files", "id", OWNER, made(call), once=True)
        assert handles.made("files", "id", OWNER) == (made("c1") if call == "c1" else None)
