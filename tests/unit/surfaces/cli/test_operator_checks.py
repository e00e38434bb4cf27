"""Findings about operators: who they are, and which accounts are listed for nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli import people_checks
from gateway.surfaces.cli.people_checks import look_at_operators as look

JWT = {"kind": "jwt", "issuer": "https://idp.example"}
DEVELOPMENT = {"kind": "development"}
OTHER = os.getuid() + 1


def told(identity: dict[str, Any], uids: list[int], **more: Any) -> list[str]:
    """Return the findings, each warning with a star."""
    accounts = [{"uid": uid, "id": f"p{uid}"} for uid in uids]
    document = {"identity": [identity], "operators": {"accounts": accounts}, **more}
    return [
        f"{'* ' if one.is_warning else ''}{one.found}" for one in look(config.parse(json.dumps(document), base=Path()))
    ]


def test_operators_are_named():
    assert told(JWT, [OTHER]) == [f"over the socket: p{OTHER} ({OTHER}), and root"]
    assert told(JWT, []) == []


def test_a_console_without_a_login_needs_operators_in_production():
    (found,) = told(JWT, [], console={})

    assert found.startswith("* root alone operates")
    assert told(DEVELOPMENT, [], console={}) == []


def test_the_gateways_own_account_is_listed_for_nothing_in_production():
    _, found = told(JWT, [os.getuid()])

    assert found.startswith(f"* the account {os.getuid()} runs this command")
    assert len(told(DEVELOPMENT, [os.getuid()])) == 1


def approvals(**settings: Any) -> list[str]:
    document = {"identity": [JWT], "approvals": settings}
    settings_of = config.parse(json.dumps(document), base=Path())
    return [one.found for one in people_checks.look(settings_of) if one.is_warning]


def test_a_listed_approver_without_a_group_of_approvers_is_named():
    peers = [
        {"uid": 1, "id": "ann", "groups": ["sre"]},
        {"uid": 2, "id": "ben", "groups": ["SRE"]},
        {"uid": 3, "id": "eve"},
    ]
    people = {"issuer": "https://idp.example", "groups": ["\uff53re"]}

    assert approvals(peers=peers) == []
    found = approvals(peers=peers, people=people)
    assert [one.partition(" of")[0] for one in found] == ["the account 2 (ben)", "the account 3 (eve)"]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"approvals": {"people": {"issuer": "https://idp.example"}}}, "every token of the issuer would serve"),
        ({"approvals": {"people": {"issuer": "https://idp.example", "groups": []}}}, "it is empty"),
        ({"approvals": {"people": {"issuer": "https://idp.example", "groups": [" "]}}}, "it is blank"),
        (
            {"console": {"login": {"issuer": "https://idp.example", "client_id": "c", "roles": {"approver": ["sre"]}}}},
            "move the groups to approvals.people.groups",
        ),
    ],
)
def test_the_start_says_where_the_groups_of_approvers_are_named(document: dict[str, Any], problem: str):
    with pytest.raises(ConfigurationError, match=problem):
        config.parse(json.dumps(document), base=Path())
