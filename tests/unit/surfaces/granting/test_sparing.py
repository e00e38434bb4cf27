"""Lines of gateway.yaml that spare questions about observed calls."""

from __future__ import annotations

from typing import Any

import yaml

from gateway.model.decision import Reason
from gateway.model.reasons.policy_codes import APPROVAL_EFFECT, FAN_OUT_AUDIENCES, FAN_OUT_UNNAMED, UNGROUNDED
from gateway.surfaces.granting.sparing import Spared, find_spared, merge_spared
from tests.unit.surfaces.granting.test_narrowing import observed

AUDIENCES = Reason(FAN_OUT_AUDIENCES, "", limits={"audiences": 6})
UNNAMED = Reason(FAN_OUT_UNNAMED, "")
EFFECT = Reason(APPROVAL_EFFECT, "")
URL = Reason(UNGROUNDED, "", facts=("/session/labels/untrusted", "/arguments/url"))
DOCUMENT: dict[str, Any] = {"session": {"unnamed_systems": ["a", "b"], "known_destinations": ["ours.example"]}}


def fetching(url: Any, **more: Any) -> Any:
    return observed("fetch", values={"url": url}, roles={"/url": "destination"}, **more)


def test_the_limits_of_a_question_are_the_numbers_that_the_call_reached():
    assert find_spared(observed(), DOCUMENT, [AUDIENCES, UNNAMED]) == Spared({"audiences": 6, "unnamed_systems": 2}, ())


def test_a_limit_over_tasks_is_the_number_that_was_reached_under_its_owner():
    reason = Reason("limit/amount", "", limits={"user.amount": 900}, facts=("/facts/party_amount",))
    spared = find_spared(observed(), DOCUMENT | {"facts": {"party_amount": 600.5}}, [AUDIENCES, reason])

    assert spared == Spared({"audiences": 6, "user.amount": 601}, ())
    assert spared is not None
    assert yaml.safe_load("\n".join(merge_spared([("1", spared)]).lines())) == {
        "limits": {"task": {"audiences": {"soft": 6}}, "user": {"amount": {"soft": 601}}}
    }


def test_a_question_with_a_reason_that_no_setting_spares_has_no_setting():
    assert find_spared(observed(), DOCUMENT, [AUDIENCES, EFFECT]) is None


def test_the_host_of_a_read_page_is_an_entry_and_a_known_one_is_none():
    found = find_spared(fetching(["https://docs.example/a", "https://ours.example/b"]), DOCUMENT, [URL])

    assert found is not None
    assert found.entries == ("docs.example",)


def test_a_receiver_of_a_write_is_never_an_entry():
    assert find_spared(fetching("eve@evil.example", effect="write"), DOCUMENT, [URL]) is None


def test_a_value_that_is_not_recorded_or_no_destination_is_no_entry():
    assert find_spared(fetching("x")._replace(values=None), DOCUMENT, [URL]) is None
    assert find_spared(fetching("x")._replace(roles={"/url": "command"}), DOCUMENT, [URL]) is None


def test_the_settings_of_a_day_are_the_highest_limits_and_each_entry_once():
    found = merge_spared(
        [
            ("1", Spared({"audiences": 6}, ("docs.example",))),
            ("2", Spared({"audiences": 8, "spread": 2}, ("docs.example",))),
            ("3", Spared({"audiences": 7}, ())),
        ]
    )

    assert (found.calls, found.entries) == (3, {"docs.example": "1"})
    assert yaml.safe_load("\n".join(found.lines())) == {
        "limits": {"task": {"audiences": {"soft": 8}, "spread": {"soft": 2}}},
        "directory": {"entries": ["docs.example"]},
    }


def test_a_day_with_many_strange_places_is_no_pattern():
    found = merge_spared([(str(number), Spared({}, (f"{number}.example",))) for number in range(30)])

    assert (len(found.entries), found.calls) == (20, 20)
