"""The pace of messages about one caller."""

from __future__ import annotations

from gateway.authority.approvals.channels.sender import _SWEPT, BURST, SECONDS, CallerThrottle


def test_a_caller_has_a_burst_and_then_one_message_at_a_time():
    throttle = CallerThrottle()

    assert [throttle.take("a", 0.0) for _ in range(BURST + 1)] == [0.0] * BURST + [SECONDS]
    assert throttle.take("b", 0.0) == 0.0
    assert throttle.take("a", SECONDS - 1) == 1.0
    assert throttle.take("a", SECONDS) == 0.0
    assert throttle.take("a", SECONDS) == SECONDS
    later = 10 * SECONDS
    assert [throttle.take("a", later) for _ in range(BURST + 1)] == [0.0] * BURST + [SECONDS]


def test_callers_that_ask_no_more_take_no_memory():
    throttle = CallerThrottle()
    for number in range(_SWEPT + 1):
        throttle.take(f"early-{number}", 0.0)
    throttle.take("late", SECONDS)

    assert set(throttle._full_at) == {"late"}
