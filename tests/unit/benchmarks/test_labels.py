"""The proposals of labels against a person's, on the lists of real servers in benchmarks/labels."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.labels.__main__ import PAGE, Judged, judge, report
from benchmarks.labels.collect import read_lists, shorten


@pytest.fixture(scope="module")
def alone() -> list[Judged]:
    return [*judge(with_library=False)]


def test_each_listed_tool_has_one_label_of_a_person(alone: list[Judged]):
    listed = Counter((server, tool["name"]) for server, tools in read_lists().items() for tool in tools)

    assert Counter((one.server, one.tool) for one in alone) == listed


def test_the_library_has_the_labels_of_the_person():
    known = [one for one in judge(with_library=True) if one.group not in {"fourth", "fifth"}]

    assert len(known) == 770
    assert [(one.server, one.tool) for one in known if one.wrong] == []


def test_proposals_alone_are_mostly_right_and_seldom_weaker(alone: list[Judged]):
    assert sum(one.wrong for one in alone) <= 0.1 * 2 * len(alone)
    assert sum(one.is_weaker for one in alone) <= 0.01 * len(alone)


def test_no_hint_alone_makes_a_tool_weaker_than_a_read(alone: list[Judged]):
    """Nothing that servers say makes a proposal of less than `read`, or a public answer."""
    assert {one.proposal.sensitivity.value.value for one in alone} == {"internal", "confidential"}


def test_the_page_is_what_the_code_measures():
    assert PAGE.read_text("utf-8") == report()


def test_a_list_keeps_what_proposals_read():
    tool = {
        "name": "a",
        "title": "A",
        "inputSchema": {
            "properties": {
                "type": {"type": "string", "description": "x"},
                "b": {"anyOf": [{"format": "uri", "title": "B"}]},
            },
            "required": ["type"],
        },
    }

    assert shorten(tool) == {
        "name": "a",
        "inputSchema": {"properties": {"type": {"type": "string"}, "b": {"anyOf": [{"format": "uri"}]}}},
    }
