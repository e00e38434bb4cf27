"""Conditions from observed values, and grants from observed calls."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.policy.folder.data_files import parse_data
from gateway.surfaces.granting.narrowing import find_condition, narrow
from gateway.surfaces.granting.observed import ObservedCall
from gateway.surfaces.granting.proposal import propose, write_yaml


@pytest.mark.parametrize(
    ("values", "condition"),
    [
        (["main", "main"], {"one_of": ["main"]}),
        (["a", "b", "a", "b"], {"one_of": ["a", "b"]}),
        ([True, True], {"one_of": [True]}),
        ([1, True, 1, True], {"one_of": [1, True]}),
        (["seen once"], {}),
        (["one query", "another query"], {}),
        ([1, 7, 3], {"min": 1, "max": 7}),
        ([5], {}),
        (["ana@corp.example", "ben@corp.example"], {"matches": r"[A-Za-z0-9._+-]+@corp\.example"}),
        (["ana@corp.example", "ben@b.example"], {"matches": r"[A-Za-z0-9._+-]+@(b\.example|corp\.example)"}),
        (["https://a.example/x", "https://b.example/y?z=1"], {"host_in": ["a.example", "b.example"]}),
        (["ftp://a.example/x"], {}),
        (["/data/a/x.txt", "/data/b/y.txt"], {"under": "/data"}),
        (["notes/x.txt"], {"under": "notes"}),
        (["/x", "/y"], {}),
        (["/data/x", "data/y"], {}),
        (["notes/../secrets/x", "notes/y"], {}),
        (
            [["ana@corp.example"], ["ben@corp.example", "c@corp.example"]],
            {"matches": r"[A-Za-z0-9._+-]+@corp\.example", "max_items": 2},
        ),
        ([["ana@corp.example"]], {"matches": r"[A-Za-z0-9._+-]+@corp\.example"}),
        ([[], ["a@b.example"]], {}),
        ([{"a": 1}, {"a": 1}], {}),
        ([None, None], {}),
        (["x" * 300, "x" * 300], {}),
        (["fp:github-pat:0123456789abcdef01234567"] * 3, {}),
        ([f"{number}@{number}.example" for number in range(6)], {}),
    ],
)
def test_a_condition_is_the_pattern_of_the_values(values: list[Any], condition: dict[str, Any]):
    assert find_condition(values) == condition


def test_an_argument_that_some_calls_lack_is_optional_and_contents_are_left_alone():
    calls = [{"a/b~c": "x", "body": "hello"}, {"a/b~c": "x", "body": "hello"}, {"body": "hello"}]

    assert narrow(calls, {"/body": "content"}) == {"/a~1b~0c": {"one_of": ["x"], "optional": True}}


def observed(name: str = "read", **more: Any) -> ObservedCall:
    fields: dict[str, Any] = {
        "id": "1", "time": "2026-12-01T00:00:00Z", "agent": "spiffe://corp/agent/Triage", "issuer": "spiffe://corp",
        "user": None, "upstream": "files", "kind": "tool", "name": name, "effect": "read", "sensitivity": "internal",
        "roles": {}, "names": (), "values": {}, "is_approved": False,
    }  # fmt: skip
    return ObservedCall(**(fields | more))


def test_equal_grants_are_one_and_ids_are_unique():
    calls = [observed("read"), observed("list"), observed("read", names=("a",), values={"a": "x"})]
    other = observed("stat", names=("b",), values={"b": "y"})
    grants = propose([*calls, other])

    assert [grant.fields["id"] for grant in grants] == [
        "triage-read-files",
        "triage-read-files-2",
        "triage-read-files-3",
    ]
    assert [grant.fields["tools"] for grant in grants] == [["list"], ["read"], ["stat"]]
    assert [grant.calls for grant in grants] == [1, 2, 1]


def test_an_approved_call_is_granted_after_approval_alone():
    approved, plain = propose([observed(is_approved=True, effect="write"), observed()])

    assert sorted((grant.fields["effects"], grant.fields.get("approval")) for grant in (approved, plain)) == [
        (["read"], None),
        (["write"], True),
    ]


def test_many_resources_are_granted_by_their_folder():
    uris = [f"file:///notes/{number}.txt" for number in range(9)]
    (grant,) = propose([observed(uri, kind="resource", names=None, values=None) for uri in uris])

    assert grant.fields["resources"] == ["file:///notes/*"]


def test_no_pattern_of_resources_holds_for_a_whole_host_or_scheme():
    """Else six pages of an agent would grant it all pages of all hosts."""
    hosts = [f"https://{number}.example/page" for number in range(9)]
    roots = [f"file:///{number}.txt" for number in range(9)] + [f"memo:{number}" for number in range(9)]
    (grant,) = propose([observed(uri, kind="resource", names=None, values=None) for uri in (*hosts, *roots)])

    assert sorted(grant.fields["resources"]) == sorted([*hosts, *roots])


def test_what_a_grant_allows_beyond_its_calls_is_written_beside_it():
    calls = [observed(user=f"u{number}", names=None, values=None, is_approved=True) for number in range(9)]
    written = write_yaml(propose(calls), ())

    assert "# It allows more: any user: 9 were seen." in written
    assert "# It allows more: any arguments." in written
    assert "# It allows more: one person approves" in written


def test_several_users_are_named_until_they_are_many():
    few = propose([observed(user=f"u{number}") for number in range(3)])
    many = propose([observed(user=f"u{number}") for number in range(9)])

    assert (few[0].fields["users"], "users" in many[0].fields) == (["u0", "u1", "u2"], False)


@pytest.mark.parametrize(
    "name",
    ["yes", "1:30", "a: b", "# x", "ünï\u2028", '"', "null", "-", "a\x85b", "a\u2028--- b", "\x7f\x80\ufeff\ufffe"],
)
def test_any_name_is_the_same_for_each_reader_of_the_file(name: str):
    grants = propose([observed(name, upstream="0x1f", values={"on": "off"}, names=("on",))])
    read = parse_data(write_yaml(grants, ["Proposed."]), "grants.yaml")

    assert read["upstreams"]["0x1f"][0]["tools"] == [name]
