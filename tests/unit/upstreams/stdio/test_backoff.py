"""When a server that keeps dying may be started again."""

from __future__ import annotations

from gateway.upstreams.stdio.spawner import Backoff


def test_the_first_start_is_free():
    assert Backoff().wait(0.0) == 0.0
    assert Backoff().forgettable(0.0)


def test_each_failure_doubles_the_wait_to_thirty_seconds():
    backoff, now, waits = Backoff(), 100.0, list[float]()
    for _ in range(9):
        backoff.failed(started=now, now=now)
        waits.append(backoff.wait(now))
        now += waits[-1]

    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_the_wait_shrinks_as_time_passes():
    backoff = Backoff()
    backoff.failed(started=0.0, now=0.0)

    assert backoff.wait(0.2) == 0.3
    assert backoff.wait(0.5) == 0.0


def test_a_process_that_lived_a_minute_begins_the_count_anew():
    backoff = Backoff()
    for now in (0.0, 1.0, 3.0):
        backoff.failed(started=now, now=now)

    backoff.failed(started=10.0, now=70.0)

    assert backoff.failures == 1
    assert backoff.wait(70.0) == 0.5


def test_of_a_process_that_lived_a_minute_the_failure_counts_though_another_failed_meanwhile():
    backoff = Backoff()
    backoff.failed(started=49.0, now=50.0)
    backoff.failed(started=0.0, now=70.0)

    assert (backoff.failures, backoff.wait(70.0)) == (1, 0.5)


def test_processes_that_ran_together_and_die_together_are_one_failure():
    backoff = Backoff()
    for _ in range(5):
        backoff.failed(started=1.0, now=2.0)

    assert backoff.failures == 1


def test_a_clock_that_is_set_back_does_not_lock_the_upstream():
    backoff = Backoff()
    backoff.failed(started=1000.0, now=1000.0)

    assert backoff.wait(10.0) == 0.0


def test_a_failure_is_forgettable_after_a_minute():
    backoff = Backoff()
    backoff.failed(started=0.0, now=0.0)

    assert not backoff.forgettable(60.0)
    assert backoff.forgettable(60.1)
