"""The settings of users' connections: who can log in, and how a server knows the gateway."""

from __future__ import annotations

import pytest

from gateway.config.brokers import UserOAuthBroker
from gateway.surfaces.cli.upstream_checks import look_at_credentials as look
from tests.unit.configuring import parse, problems

IDENTITY = "identity: [{kind: jwt, issuer: 'https://idp.example', audience: gw}]\n"
LOGIN = "connections: {login: {issuer: 'https://idp.example', client_id: gw}}\n"
UPSTREAM = (
    "upstreams: {crm: {url: 'https://crm.example/mcp', audience: crm,"
    " credential: {kind: user_oauth, broker: crm, scopes: {read: [crm.read]}}}}\n"
)


def broker(client: str = "{id: gw}", more: str = "") -> str:
    return f"brokers: {{crm: {{kind: user_oauth, issuer: 'https://as.example', client: {client}{more}}}}}\n"


def test_a_broker_of_users_is_read_with_careful_defaults():
    found = parse(IDENTITY + LOGIN + broker() + UPSTREAM).brokers["crm"]

    assert isinstance(found, UserOAuthBroker)
    assert (found.narrows, found.revoke, found.max_life.total_seconds()) == (True, "none", 3600)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (IDENTITY + broker(), "add connections.login"),
        (LOGIN + broker(), "no identity of kind 'jwt' has the issuer"),
        (IDENTITY + LOGIN.replace("idp.example", "other.example") + broker(), "no identity of kind 'jwt'"),
        (IDENTITY + LOGIN + broker("{cimd: true}"), "has to be https"),
        (IDENTITY + LOGIN + broker("{}"), "give one of id, cimd and dcr"),
        (IDENTITY + LOGIN + broker("{id: gw, dcr: true}"), "give one of id, cimd and dcr"),
        (IDENTITY + LOGIN + broker("{dcr: true, auth: {client_secret: '${GATEWAY_SECRET}'}}"), "auth is the key"),
        (IDENTITY + LOGIN + broker(more=", scopes: ['two words']"), "scopes"),
        (IDENTITY + LOGIN.replace("https:", "http:") + broker(), "open network"),
    ],
)
def test_a_setting_that_cannot_work_is_named(text: str, told: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GATEWAY_SECRET", "s3cret")

    assert any(told in problem for problem in problems(text)), problems(text)


def test_the_check_tells_of_users_lists_and_of_the_redirect_uri():
    configuration = parse(IDENTITY + LOGIN + broker() + UPSTREAM + "public_url: https://gateway.example\n")
    told = [each.found for each in look(configuration)]

    assert any("lists tools without a user" in text for text in told)
    assert any("register https://gateway.example/oauth/callback/crm there" in text for text in told)
