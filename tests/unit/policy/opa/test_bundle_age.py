from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from gateway.model.errors import PolicyMalformed, PolicyUnavailable
from gateway.policy.opa.contents import BundleAges, BundleState, OpaLabels, Report, read_report

NEVER = datetime(1, 1, 1, tzinfo=UTC)
HOUR = 3600.0


STATE = {
    "name": "gateway",
    "active_revision": "r1",
    "last_successful_activation": "2026-11-27T05:54:08.620889913Z",
    "last_successful_download": "0001-01-01T00:00:00Z",
    "last_successful_request": "2026-11-27T05:54:12.624282485Z",
    "last_request": "2026-11-27T05:54:13.624282485Z",
    "code": "bundle_error",
    "metrics": {"timer_bundle_request_ns": 578806},
}
"""As OPA 1.22.2 writes it."""


def _at(seconds: float) -> datetime:
    """By OPA's clock."""
    return datetime(2026, 11, 27, tzinfo=UTC) + timedelta(seconds=seconds)


FRESH = BundleState(_at(0), _at(0), _at(-HOUR), _at(-HOUR))


def _report(opa: str = "one", **bundles: BundleState) -> Report:
    return Report(OpaLabels(opa), bundles)


def _fetched(at: float) -> BundleState:
    return replace(FRESH, last_request=_at(at), last_successful_request=_at(at))


def _failed(at: float, since: float = 0) -> BundleState:
    """Asked for in vain at that time, and since another."""
    return replace(_fetched(since), last_request=_at(at), code="bundle_error")


def _unusable(at: float) -> BundleState:
    """Fetched, and not activated."""
    return replace(_fetched(at), last_successful_download=_at(at), code="bundle_error")


def _ages(*looks: tuple[float, BundleState]) -> list[float]:
    """After each look at a bundle: how long it has not been known to be the newest. Looks are timed by the gateway."""
    ages = BundleAges()
    return [now - ages.oldest(_report(a=state), frozenset("a"), now)[0] for now, state in looks]


def test_a_bundle_that_is_fetched_again_and_again_is_the_newest():
    assert _ages((5, _fetched(0)), (65, _fetched(60)), (125, _fetched(120))) == [0, 0, 0]


def test_one_that_cannot_be_activated_is_older_at_each_look_also_when_the_clock_of_opa_was_set_back():
    looks = [(5.0 + 60 * look, _unusable(60 * look - 2 * HOUR)) for look in range(1, 4)]
    assert _ages((5, _fetched(0)), *looks) == [0, 60, 120, 180]


def test_one_that_is_not_is_older_at_each_look_whatever_the_clock_of_opa_says():
    assert _ages((5, _fetched(0)), (65, _failed(60)), (125, _failed(3)), (185, _failed(-HOUR))) == [0, 60, 120, 180]
    assert _ages((5, _fetched(0)), (65, _fetched(0)), (125, _fetched(0))) == [0, 60, 120]


def test_a_request_that_succeeded_after_the_clock_of_opa_was_set_back_counts():
    assert _ages((5, _fetched(0)), (65, _failed(60)), (125, _fetched(-HOUR))) == [0, 60, 0]


def test_a_success_between_two_looks_counts_from_when_it_was():
    assert _ages((0, _fetched(0)), (100, _failed(90, since=60)), (160, _failed(150, since=60))) == [0, 30, 90]


def test_what_is_fetched_and_cannot_be_activated_does_not_count_though_its_request_succeeded():
    assert _ages((0, _fetched(0)), (60, _unusable(60)), (120, _unusable(120)), (180, _fetched(180))) == [0, 60, 120, 0]


def test_going_back_to_the_bundle_in_force_is_good_though_another_was_fetched_since_its_activation():
    back = replace(_fetched(120), last_successful_download=_at(60))

    assert _ages((0, _fetched(0)), (60, _unusable(60)), (120, back)) == [0, 60, 0]


@pytest.mark.parametrize(
    ("first", "age"),
    [
        (_fetched(0), 0),
        (_failed(HOUR), HOUR),
        (_unusable(HOUR), 2 * HOUR),
        (replace(_unusable(0), last_request=_at(HOUR)), 2 * HOUR),
        (_failed(-1), math.inf),
        (replace(_failed(0), last_successful_request=NEVER), math.inf),
        (BundleState(NEVER, NEVER, NEVER, _at(0)), math.inf),
    ],
)
def test_how_old_a_bundle_is_at_the_first_look_is_taken_from_the_clock_of_opa(first: BundleState, age: float):
    assert _ages((5, first), (6, first)) == [age, age + 1]


def test_another_opa_and_one_that_was_started_anew_are_looked_at_for_the_first_time():
    ages = BundleAges()
    ages.oldest(_report("one", a=_fetched(0)), frozenset("a"), 100.0)

    assert ages.oldest(_report("two", a=_failed(HOUR)), frozenset("a"), 100.0) == (100.0 - HOUR, "a")


def test_the_oldest_bundle_is_the_one_that_counts():
    ages = BundleAges()

    assert ages.oldest(_report(a=_fetched(0), b=_failed(10)), frozenset("ab"), 0.0) == (-10.0, "b")
    assert ages.oldest(_report(a=_fetched(0), b=_fetched(20)), frozenset("ab"), 5.0) == (0.0, "a")


@pytest.mark.parametrize(
    ("reported", "held", "what"), [("", "", "its policy"), ("", "b", "its bundle 'b'"), ("a", "ab", "its bundle 'b'")]
)
def test_what_opa_does_not_fetch_has_no_age(reported: str, held: str, what: str):
    report = Report(OpaLabels("one"), dict.fromkeys(reported, FRESH))

    with pytest.raises(PolicyUnavailable, match=f"does not report how old {what} is") as raised:
        BundleAges().oldest(report, frozenset(held), 0.0)
    assert "`services` and `bundles`" in raised.value.remedy


def _answer(bundles: object) -> bytes:
    report = {"labels": {"id": "x", "version": "1.22.2"}, "bundles": bundles, "metrics": {}, "plugins": {}}
    return json.dumps({"result": report}).encode()


def test_a_report_is_read():
    found = read_report(_answer({"gateway": STATE}))

    state = found.bundles["gateway"]
    assert (found.labels.id, state.code, state.age, state.last_successful_download) == ("x", "bundle_error", 1.0, NEVER)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"\xff",
        b"[" * 100_000,
        b"{}",
        b'{"result": {"bundles": {}}}',
        _answer({"a": {**STATE, "last_request": "yesterday"}}),
        _answer({"a": {**STATE, "last_request": "2026-11-27T05:54:13"}}),
        _answer({"a": {"name": "a"}}),
    ],
)
def test_a_report_that_cannot_be_read_is_malformed(answer: bytes):
    with pytest.raises(PolicyMalformed, match="report on its bundles"):
        read_report(answer)
