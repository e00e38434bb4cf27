"""Probes reach the grant that they are for, whichever caller, target and arguments it asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.policy import document
from gateway.policy.folder import bundle
from gateway.policy.folder.folders import find_shipped
from gateway.policy.plan.program import CompiledPolicy
from gateway.policy.trials import speed
from gateway.policy.trials.speed import PlacedGrant, Probe
from tests.compiled_policy import compiled

USUAL: dict[str, Any] = {"id": "g", "agents": ["spiffe://corp/agent/*"], "issuers": ["https://idp.example"]}
TOOL: dict[str, Any] = {**USUAL, "tools": ["send_*"]}
GRANTS: list[dict[str, Any]] = [
    TOOL,
    {**TOOL, "approval": True},
    {**TOOL, "effects": ["write"]},
    {**TOOL, "effects": ["mint", "read"]},
    {**TOOL, "sensitivity": "restricted"},
    {**TOOL, "sensitivity": "public"},
    {**TOOL, "users": ["*@corp.example"], "groups": ["sre", "staff"], "scopes": ["mail.send", "mail.read"]},
    {**TOOL, "auth_methods": ["spiffe-x509"]},
    {**TOOL, "environments": ["production"], "tenants": ["acme"]},
    {**USUAL, "resources": ["file:///notes/*"]},
    {**USUAL, "prompts": ["summary"]},
    {**USUAL, "agents": ["*"], "issuers": ["*"], "tools": ["*"]},
    {**TOOL, "arguments": ["to", "cc"], "when": {"/to": {"present": True}}},
    {**TOOL, "when": {"/a/b": {"one_of": ["x", "y"]}, "/a/c": {"equals": {"d": 1}}, "/~1e": {"equals": None}}},
    {**TOOL, "when": {"/path": {"under": "reports"}, "/url": {"host_in": ["*.corp.example"]}}},
    {**TOOL, "when": {"/n": {"min": 3, "max": 9}, "/m": {"max": 4}, "/force": {"absent": True}}},
]  # fmt: skip


def _policy(grants: Mapping[str, Any]) -> CompiledPolicy:
    policy = bundle.read_folder(find_shipped())
    data = policy.decoded_data()
    data["gateway"]["grants"]["upstreams"] = grants
    return compiled(replace(policy, data=json.dumps(data)))


def _is_granted(policy: CompiledPolicy, probe: Probe) -> bool:
    values = policy.program.values(("data.gateway.grants",), ("granted",), document.plain(probe.input))
    return dict(values).get("data.gateway.grants.granted") in {"at once", "after approval"}


@pytest.mark.parametrize("fields", GRANTS, ids=str)
@pytest.mark.parametrize("upstream", ["mail", "*"])
def test_the_first_call_for_a_grant_is_granted(fields: dict[str, Any], upstream: str):
    policy = _policy({upstream: [fields]})
    calls = [
        item
        for item in speed.probes({upstream: [PlacedGrant(upstream, 0, fields)]})
        if item.grants and item.entrypoint == "decision"
    ]

    assert _is_granted(policy, calls[0])


def test_every_name_of_a_grant_is_called_and_listed():
    fields = {**USUAL, "tools": ["a", "b*"], "resources": ["c"], "prompts": ["d"]}
    found = list(speed.probes({"mail": [PlacedGrant("mail", 0, fields)]}))

    assert [item.words for item in found if item.entrypoint == "decision" and item.grants] == [
        "tools/call of mail/a",
        "tools/call of mail/bx",
        "resources/read of mail/c",
        "prompts/get of mail/d",
    ]
    (listed,) = [item for item in found if item.entrypoint == "visibility"]
    assert len(listed.input["resources"]) == 4  # pyright: ignore[reportArgumentType]


def test_grants_with_more_conditions_come_first_and_upstreams_take_turns():
    def grant(upstream: str, index: int, conditions: int) -> PlacedGrant:
        when = {f"/{number}": {"present": True} for number in range(conditions)}
        return PlacedGrant(upstream, index, {**USUAL, "tools": [f"t{conditions}"], "when": when})

    found = speed.probes({"a": [grant("a", 0, 1), grant("a", 1, 2)], "b": [grant("b", 0, 4)], "*": []})
    words = list(dict.fromkeys(item.words for item in found))

    assert words == [
        "tools/call with many long arguments",
        "tools/call of b/t4",
        "tools/call of a/t2",
        "a list of b",
        "a list of a",
        "tools/call of a/t1",
    ]


def test_a_probe_names_the_grants_of_its_upstream_and_of_all():
    near, far = PlacedGrant("mail", 0, TOOL), PlacedGrant("*", 0, TOOL)
    found = [item for item in speed.probes({"mail": [near], "*": [far]}) if item.words == "tools/call of mail/send_x"]

    assert found[0].grants == (near, far)
    assert str(near) == "'mail', grant 1 (g)"


NO_GRANTS: list[Any] = [
    None,
    {},
    {"gateway": {"grants": {"upstreams": []}}},
    {"gateway": {"grants": {"upstreams": {"a": 1, "b": [1, None, []], "c": {}}}}},
]


@pytest.mark.parametrize("data", NO_GRANTS, ids=str)
def test_data_that_are_no_grants_ask_nothing_of_them(data: object):
    assert [item for item in speed.probes(speed.grants_in(data)) if item.grants] == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": "x", "agents": 3},
        {"tools": ["a"], "when": []},
        {
            "tools": ["a"],
            "when": {"/a": 1, "b": {}, "": {"matches": 1}, "/a/b": {"max_items": "x"}, "/c": {"matches": "("}},
        },
        {"tools": ["a", 1], "effects": ["fly"], "sensitivity": {}, "auth_methods": ["x"], "approval": 1},
        {
            "tools": ["a"],
            "when": {"/a": {"one_of": []}, "/b": {"host_in": [1]}, "/c": {"equals": None}, "/d": {"min": True}},
        },
    ],
    ids=str,
)
def test_a_grant_that_cannot_be_read_is_no_obstacle(fields: dict[str, Any]):
    for probe in speed.probes({"mail": [PlacedGrant("mail", 0, fields)]}):
        assert document.encode(probe.input)


def test_the_shipped_grants_are_all_reached():
    data = json.loads(bundle.read_folder(find_shipped()).data)
    policy = _policy(data["gateway"]["grants"]["upstreams"])
    grants = speed.grants_in(data)
    reached = {
        grant.fields["id"]
        for upstream, listed in grants.items()
        for grant in listed
        if any(_is_granted(policy, item) for item in speed.probes({upstream: [grant]}) if item.grants)
    }

    # No probe has a text that a regular expression matches.
    plain = [grant for listed in grants.values() for grant in listed if "matches" not in json.dumps(grant.fields)]
    assert reached == {grant.fields["id"] for grant in plain}
    assert len(reached) > 5
