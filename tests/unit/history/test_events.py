from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.history.events import Released, Reserved, Settled, TaskState, Touch, apply, touch
from gateway.model import Effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Call

READ = Touch("github", write=False, tenant="acme", environment="staging")
WRITE = Touch("github", write=True, tenant="acme", environment="staging")


def test_a_reserved_call_is_open():
    assert apply(TaskState(), Reserved(READ)) == TaskState(open=(READ,))


def test_a_settled_call_leaves_its_mark():
    state = apply(apply(TaskState(), Reserved(READ)), Settled(READ))

    assert state == TaskState(settled=1, touched=frozenset({READ}))


def test_a_call_to_a_known_system_is_counted_and_marked_once():
    state = TaskState()
    for _ in range(3):
        state = apply(apply(state, Reserved(READ)), Settled(READ))

    assert state == TaskState(settled=3, touched=frozenset({READ}))


def test_a_denied_call_leaves_a_denial_and_nothing_else():
    state = apply(apply(TaskState(), Reserved(WRITE)), Released(WRITE, denied=True))

    assert state == TaskState(denials=1)


def test_a_call_that_did_not_go_on_for_another_reason_leaves_nothing():
    state = apply(apply(TaskState(), Reserved(WRITE)), Released(WRITE, denied=False))

    assert state == TaskState()


def test_one_of_two_equal_open_calls_ends():
    state = apply(apply(TaskState(), Reserved(READ)), Reserved(READ))

    assert apply(state, Settled(READ)).open == (READ,)


@pytest.mark.parametrize("event", [Settled(WRITE), Released(WRITE, denied=True)])
def test_the_end_of_a_call_that_was_not_reserved_is_an_error(event: Settled | Released):
    state = apply(TaskState(), Reserved(READ))

    with pytest.raises(ValueError, match="no open call to 'github'"):
        apply(state, event)


@pytest.mark.parametrize("effect", list(Effect))
def test_everything_but_a_read_counts_as_a_write(effect: Effect, make_call: Callable[..., Call]):
    assert touch(make_call("mail", effect, None, "production")) == Touch(
        "mail", effect is not Effect.READ, None, "production"
    )
