"""The check of configurations under which a person could have two ids, or under which nobody can answer a question."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.surfaces.cli.people_checks import look

ENTRA = "https://login.microsoftonline.com/tenant/v2.0"


def warnings(issuer: str, agents: str, people: str, *, at: str = "approvals") -> list[str]:
    shared = f"issuer: '{issuer}', groups: [sre]"
    text = f"""
listen: 127.0.0.1:8080
public_url: https://gateway.example
tls: {{certificate: a.pem, key: a.key}}
identity: [{{kind: jwt, issuer: '{issuer}', claims: {agents}}}]
approvals: {{people: {{{shared}, claims: {people if at == "approvals" else agents}}}}}
console: {{login: {{issuer: '{issuer}', client_id: c, roles: {{}}, claims: {people if at == "console" else agents}}}}}
"""
    return [one.found for one in look(config.parse(text, base=Path("/tmp"))) if one.is_warning]


@pytest.mark.parametrize("issuer", [ENTRA, "https://sts.windows.net/t/", "https://corp.okta.com/oauth2/default"])
def test_a_provider_with_several_ids_of_a_person_needs_a_preset(issuer: str):
    found = warnings(issuer, "{}", "{}")

    assert [("approve their own calls" in one) for one in found] == [True, True]


@pytest.mark.parametrize(("at", "place"), [("approvals", "approvals.people"), ("console", "console.login")])
def test_the_claims_of_approvers_and_of_users_have_to_name_the_same_id(at: str, place: str):
    (found,) = warnings(ENTRA, "{preset: entra-v2}", "{}", at=at)

    assert found.startswith(f"{place} names people by sub, and the identity of {ENTRA} by oid")


@pytest.mark.parametrize(
    ("issuer", "claims"),
    [(ENTRA, "{preset: entra-v2}"), ("https://idp.example", "{}"), ("https://okta.com.evil.example", "{}")],
)
def test_one_id_for_each_person_is_no_finding(issuer: str, claims: str):
    assert warnings(issuer, claims, claims) == []


@pytest.mark.parametrize(
    ("identity", "more", "environment", "effect", "is_told"),
    [
        ("kind: development", "", "", "destructive", True),
        ("kind: development", "", "environment: prod", "exec", True),
        ("kind: development", "", "environment: test", "destructive", False),
        ("kind: development", "", "", "write", False),
        ("kind: development", "approvals: null", "", "destructive", False),
        ("kind: jwt, issuer: 'https://idp.example', require_bound: true", "approvals: {}", "", "mint", False),
        ("kind: jwt, issuer: 'https://idp.example'", "approvals: {}", "", "mint", True),
        (
            "kind: jwt, issuer: 'https://idp.example'",
            "approvals: {people: {issuer: 'https://idp.example', groups: [sre]}}",
            "",
            "mint",
            False,
        ),
    ],
)
def test_a_question_that_needs_a_login_needs_people_with_one(
    identity: str, more: str, environment: str, effect: str, *, is_told: bool
):
    text = f"""
listen: 127.0.0.1:8080
identity: [{{{identity}}}]
upstreams:
  files:
    audience: files
    url: http://127.0.0.1:9000/mcp
    {environment}
    tools: {{drop: {{effect: {effect}}}}}
{more}
"""
    found = [one.found for one in look(config.parse(text, base=Path("/tmp"))) if one.is_warning]

    assert any("nobody can approve a lasting effect in files" in one for one in found) is is_told
