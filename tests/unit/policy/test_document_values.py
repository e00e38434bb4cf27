"""Times, leases and values without JSON, in the policy input."""

from __future__ import annotations

import json
import math

import pytest

from gateway.model.call import Context, HeldLease
from gateway.model.caller import AuthMethod, Principal
from gateway.model.facts import SessionFacts
from gateway.model.target import Target
from gateway.model.task import Task
from gateway.policy import document

ADA = Principal("ada", "https://idp.example", AuthMethod.JWT)
TARGET = Target("tool", "github", "create_issue", "https://api.github.example")
CONTEXT = Context(0.0, "trace", None, None, Task("t", "implicit", 0.0))
NONE = frozenset[str]()
FACTS = SessionFacts(1, 1, NONE, NONE, NONE, NONE, 0)


def test_a_value_that_is_not_json_is_a_type_error():
    with pytest.raises(TypeError, match="object"):
        document.encode({"context": object()})  # type: ignore[dict-item] - the point


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (1e300, "9999-12-31T23:59:59Z"),
        (-5.0, "1970-01-01T00:00:00Z"),
        (math.nan, "1970-01-01T00:00:00Z"),
        (0.25, "1970-01-01T00:00:00.250000Z"),
    ],
)
def test_a_time_that_the_calendar_cannot_write_becomes_its_nearest_end(seconds: float, written: str):
    assert document.timestamp(seconds) == written


def test_a_question_about_leases_has_each_with_its_target():
    held = HeldLease("lease-1", TARGET, "https://api.github.example", ("repo",), "gateway", 1_500_000_060.0)
    read = json.loads(document.encode(document.leases(ADA, (held,), CONTEXT, FACTS)))

    (lease,) = read["leases"]
    assert (lease["id"], lease["resource"]["id"], lease["scope"]) == ("lease-1", "github/create_issue", ["repo"])
    assert lease["expires"] == "2017-07-14T02:41:00Z"
