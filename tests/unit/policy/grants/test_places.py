from __future__ import annotations

import pytest

from gateway.policy.grants import find_grants

TEXT = """\
# a comment
upstreams:
  files:
    - id: reads
      agents: ["*"]
      tools: [read_file]
      when:
        /path:
          under: reports
        /n: {max: 3}

    - agents: ["*"]
  "*":
    - {id: all, agents: ["*"]}
"""


def test_each_grant_and_each_part_has_its_line():
    places = find_grants(TEXT, "grants.yaml")

    reads = places["files", "reads"]
    assert (reads.file, reads.line) == ("grants.yaml", 4)
    assert reads is places["files", 0]
    assert reads.of("agents") == "grants.yaml:5"
    assert reads.of("when /path") == "grants.yaml:8"
    assert reads.of("when /n") == "grants.yaml:10"
    assert reads.of("when /other") == "grants.yaml:7"
    assert reads.of("users") == "grants.yaml:4"
    assert places["files", 1].line == 12
    assert places["*", "all"].line == 14


def test_json_is_read_too():
    assert find_grants('{"upstreams":\n {"a": [\n  {"id": "x"}]}}', "data.json")["a", "x"].line == 3


def test_a_file_may_be_put_above_the_grants():
    text = "gateway:\n  grants:\n    upstreams:\n      a:\n        - id: x\n"

    assert find_grants(text, "data.yaml", ())["a", "x"].line == 5
    assert find_grants(text.replace("gateway:\n  grants", "grants:\n  other"), "data.yaml", ("gateway",)) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "upstreams",
        "upstreams: 1",
        "upstreams: {a: 1}",
        "upstreams: {a: {b: 1}}",
        "upstreams: [a]",
        "a: &x 1\nb: *x",
        "{",
        "- a",
    ],
)
def test_what_has_no_grants_has_no_places(text: str):
    assert find_grants(text, "data.yaml") == {}


def test_grants_that_are_no_mappings_have_a_line():
    assert find_grants("upstreams:\n  a:\n    - 1\n    - {id: [x]}\n", "f")["a", 1].line == 4


def test_other_data_has_no_grants():
    assert find_grants(TEXT, "data.yaml", ("gateway", "settings")) == {}
