"""Counts of recent decisions: the index says what a reading of all lines says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.record.journal.columns import ALLOWED, DENIED, EFFECTS, REFUSED
from tests.unit.record.journal.written import Written, fill


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    with closing(Written(tmp_path / "journal")) as found:
        yield found


def test_counts_are_those_of_all_lines(written: Written):
    fill(written)
    found = written.index().count_recent(0, most=99)

    decisions = [entry for _, entry in written.lines if entry["kind"] in {"call", "refused"}]
    kinds = Counter(EFFECTS[entry.get("effect", "refused")] for entry in decisions)
    assert found.hours == {(0, kind): count for kind, count in kinds.items()}
    stopped = [entry for entry in decisions if entry.get("effect", "refused") in {"deny", "refused"}]
    agents = Counter(entry["principal"]["id"] for entry in stopped if "principal" in entry)
    codes = Counter(reason["code"] for entry in stopped for reason in entry["reasons"])
    assert dict(found.agents) == agents
    assert dict(found.codes) == codes
    assert found.is_whole
    assert [one.calls for one in found.codes] == sorted(codes.values(), reverse=True)


def test_only_the_time_since_an_hour_counts(written: Written):
    written.seq = 7_200  # a line's time is its number in seconds
    written.call("early", effect="deny", codes=["a/one"])
    written.begin()
    written.seq = 10_800
    written.call("late", effect="deny", codes=["a/two"])
    found = written.index().count_recent(3)

    assert found.hours == {(3, DENIED): 1}
    assert [one.name for one in found.codes] == ["a/two"]


def test_an_index_that_lacks_segments_says_so(written: Written):
    fill(written)

    assert not written.index().count_recent(0, budget=1).is_whole


def test_a_stored_index_counts_as_a_new_one(written: Written):
    fill(written)
    first = written.index().count_recent(0)

    assert written.index().count_recent(0) == first
    assert first.hours[0, ALLOWED] > first.hours[0, REFUSED] > 0


def test_an_edited_line_gives_no_name(written: Written):
    written.call("denied", effect="deny", agent="ann", codes=["a/one"])
    index = written.index()
    assert [one.name for one in index.count_recent(0).agents] == ["ann"]
    path = written.path()
    path.write_bytes(path.read_bytes().replace(b'"ann"', b'"eve"'))

    assert index.count_recent(0).agents == []
    assert index.broken_lines() == 1
