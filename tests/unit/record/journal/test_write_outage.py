"""What is told of a time in which nothing could be written."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.record.journal.segment import Pending
from gateway.record.journal.write_outage import WriteOutage, abandoned


def outcome(call: str) -> Pending:
    return Pending("outcome", b"{}", closes=call)


def told(outage: WriteOutage) -> list[tuple[str, Any]]:
    return [(entry.kind, msgspec.json.decode(entry.fields)) for entry in outage.entries()]


def test_what_was_lost_is_told_once_and_each_call_that_lost_its_outcome_after_it():
    outage = WriteOutage("10:00")
    outage.lose([outcome("a"), Pending("decision", b"{}"), outcome("b")])
    outage.lose([outcome("a")])

    assert outage.lost == 4
    assert told(outage) == [
        ("resumed", {"since": "10:00", "lost": {"outcome": 3, "decision": 1}}),
        ("abandoned", {"id": "a"}),
        ("abandoned", {"id": "b"}),
    ]


def test_what_was_written_of_it_is_not_told_again():
    for written, left in ((0, ["a", "b"]), (1, ["a", "b"]), (2, ["b"]), (3, [])):
        outage = WriteOutage("10:00")
        outage.lose([outcome("a"), outcome("b")])
        outage.recorded(written, "10:05")

        first, *calls = told(outage)
        since, lost = ("10:05", {}) if written else ("10:00", {"outcome": 2})
        assert first == ("resumed", {"since": since, "lost": lost})
        assert calls == [("abandoned", {"id": call}) for call in left]


def test_the_outcome_that_closes_an_abandoned_call_closes_no_other():
    assert (abandoned("a").closes, abandoned("a").kind) == ("a", "abandoned")
