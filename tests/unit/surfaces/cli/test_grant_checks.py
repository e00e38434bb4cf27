from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.surfaces.cli.policy_checks import find_ends, find_unmatched, read_grants, warnings


def grant(*tools: str, id: str = "g") -> dict[str, Any]:  # noqa: A002 - the field's own name
    return {"id": id, "tools": list(tools)}


@pytest.mark.parametrize("grants", [{}, {"other": [grant("x")]}, {"files": []}])
def test_grants_that_open_no_upstream_are_warned_about(grants: dict[str, Any]):
    assert "nobody may call anything" in next(warnings(grants, ["files"])).found


@pytest.mark.parametrize("grants", [{"files": [grant("x")]}, {"*": [grant("x")]}])
def test_grants_that_open_an_upstream_are_no_warning(grants: dict[str, Any]):
    assert list(warnings(grants, ["files", "mail"])) == []


def test_a_configuration_without_upstreams_is_not_warned_about_grants():
    assert list(warnings({}, [])) == []


def test_a_grant_of_an_upstream_that_is_missing_names_the_nearest_one():
    (warned,) = warnings({"files": [grant("x")], "tikets": [grant("x"), grant("y")]}, ["files", "tickets"])

    assert warned.found == "2 grants for 'tikets', and no upstream has this name; did you mean 'tickets'?"


def test_an_empty_list_of_grants_for_a_missing_upstream_is_no_warning():
    assert list(warnings({"files": [grant("x")], "old": []}, ["files"])) == []


LISTED = {"files": frozenset({"read_file", "list_files"}), "mail": frozenset({"send"})}


def test_a_pattern_that_matches_no_tool_names_the_nearest_one():
    (warned,) = find_unmatched({"files": [grant("read_file", "list_flies", id="reads")]}, LISTED, complete=True)

    assert "grant 'reads' of 'files' names the tool 'list_flies'" in warned.found
    assert "did you mean 'list_files'?" in warned.found


@pytest.mark.parametrize("pattern", ["*", "read_*", "*_files", "read*file", "list_files"])
def test_a_pattern_that_matches_a_tool_is_no_warning(pattern: str):
    assert list(find_unmatched({"files": [grant(pattern)]}, LISTED, complete=True)) == []


@pytest.mark.parametrize("pattern", ["write_*", "read_file*file", "*e*", "READ_FILE", ""])
def test_a_pattern_is_compared_as_policy_compares_it(pattern: str):
    assert len(list(find_unmatched({"files": [grant(pattern)]}, LISTED, complete=True))) == 1


def test_grants_for_all_upstreams_are_compared_with_the_tools_of_all():
    assert list(find_unmatched({"*": [grant("send")]}, LISTED, complete=True)) == []
    assert len(list(find_unmatched({"*": [grant("sned")]}, LISTED, complete=True))) == 1


def test_what_an_unlisted_upstream_offers_is_not_guessed():
    assert list(find_unmatched({"*": [grant("x")], "down": [grant("x")]}, LISTED, complete=False)) == []


@pytest.mark.parametrize(
    "data", [{}, {"gateway": {}}, {"gateway": {"grants": {"upstreams": []}}}, {"gateway": {"grants": {"upstreams": 1}}}]
)
def test_data_without_readable_grants_count_as_none(data: dict[str, Any]):
    assert read_grants(json.dumps(data)) == {}


def test_a_grant_that_is_malformed_is_left_to_the_load_of_the_policy():
    data = {"gateway": {"grants": {"upstreams": {"files": [7, {"id": "a", "tools": "x"}], "mail": "all"}}}}
    grants = read_grants(json.dumps(data))

    assert grants == {"files": [{"id": "a", "tools": "x"}], "mail": []}
    assert list(find_unmatched(grants, LISTED, complete=True)) == []


def test_a_grant_that_has_ended_or_ends_within_a_week_is_warned_about():
    now = 1_796_083_200.0  # 2026-12-01
    ends = ("2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z", "2026-12-07T23:59:59.5Z", "2026-12-08T00:00:01Z")
    found = list(find_ends({"files": [{"id": end, "until": end, "owner": "ana"} for end in ends], "mail": [{}]}, now))

    assert ["has ended" in warned.found for warned in found] == [True, True, False]
    assert found[2].found == f"the grant {ends[2]!r} of 'files' ends soon: until {ends[2]} (ana owns it)"
