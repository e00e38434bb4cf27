"""`opagate journal export` for a SIEM: an event for each call, and a cursor that neither repeats nor leaves out any."""

from __future__ import annotations

import json
from typing import Any

from tests.interaction.cli.conftest import Done, Opagate


def export(opagate: Opagate, *arguments: str) -> list[dict[str, Any]]:
    done = opagate("journal", "export", *arguments)
    assert done.status == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_each_call_of_the_record_is_one_event_for_a_siem(tour: Done, opagate: Opagate):
    calls = export(opagate, "--kind", "call")
    events = export(opagate, "--format", "ocsf")

    found = [event["metadata"]["correlation_uid"] for event in events if event["class_uid"] == 6003]
    assert sorted(found) == sorted(call["id"] for call in calls) != []


def test_a_timer_exports_what_follows_its_cursor_and_nothing_twice(tour: Done, opagate: Opagate):
    events = export(opagate, "--format", "ocsf")
    numbers = [event["metadata"]["sequence"] for event in events]
    cursor = numbers[len(numbers) // 2]

    rest = export(opagate, "--format", "ocsf", "--after", str(cursor))
    entries = export(opagate, "--after", str(cursor))

    assert rest == [event for event in events if event["metadata"]["sequence"] > cursor]
    assert entries[0]["seq"] == cursor + 1
    assert export(opagate, "--format", "ocsf", "--after", str(numbers[-1])) == []


def test_options_that_do_not_go_together_are_refused(tour: Done, opagate: Opagate):
    assert opagate("journal", "export", "--format", "ocsf", "--kind", "call").status == 2
    assert opagate("journal", "export", "--format", "trace", "--after", "3").status == 2
    assert opagate("journal", "export", "--after", "-1").status == 2
