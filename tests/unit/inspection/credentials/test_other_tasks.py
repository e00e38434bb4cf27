"""A call beside tasks that lost count of what a system has shown them may carry one of these credentials."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.base.json.walk import leaves
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.origins import ShownToJob, complete_content
from gateway.model.call import Call
from gateway.model.content import CallContent, Sighting
from gateway.model.target import Target

LOST = {"other task": {"crm"}}
FOUND = Sighting("fp:1", "github-pat", "/x")
KNOWN = {"fp:1": {"crm": 1}}


@pytest.mark.parametrize(
    ("sighting", "systems", "text", "is_unsure"),
    [
        (None, {}, "ok", False),
        (None, {}, "q7Zk-93mW-2tRx", True),
        (FOUND, {}, "ok", True),
        (FOUND, KNOWN, "ok", False),
        (replace(FOUND, handle="crm"), {}, "ok", False),
    ],
    ids=["common words", "an uncommon word", "of unknown origin", "of a known system", "a handle"],
)
def test_a_call_is_unsure_if_it_may_hold_what_was_lost(
    detector: Detector, sighting: Sighting | None, systems: dict[str, dict[str, int]], text: str, *, is_unsure: bool
):
    shown = ShownToJob(systems=systems, tasks={"t": dict.fromkeys(systems, "crm")}, lost=LOST)
    content = CallContent(sightings=() if sighting is None else (sighting,))
    call = Call("tools/call", Target("tool", "wiki", "write", "wiki"), {"x": text})

    found = complete_content(content, call, shown, "t", detector, walked=leaves({"x": text}))

    assert found.unsure == is_unsure
