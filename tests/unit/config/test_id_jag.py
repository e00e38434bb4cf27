"""The settings of ID-JAG: a mode of `exchange` that names an identity provider beside the issuer."""

from __future__ import annotations

import pytest

from gateway.config.brokers import ExchangeBroker
from gateway.surfaces.cli.upstream_checks import look_at_credentials as look
from tests.unit.config.test_connections import IDENTITY, LOGIN
from tests.unit.configuring import parse, problems

AUTH = "{client_secret: '${GATEWAY_SECRET}'}"
CLIENT = f"client: {{id: gw, auth: {AUTH}}}"
UPSTREAM = (
    "upstreams: {crm: {url: 'https://crm.example/mcp', audience: crm,"
    " credential: {kind: exchange, broker: crm, scopes: {read: [crm.read]}}}}\n"
)


def broker(given: str = f"idp: 'https://idp.example', {CLIENT}", more: str = "") -> str:
    return (
        f"brokers: {{crm: {{kind: exchange, issuer: 'https://as.example', client_id: gw-there, client_auth: {AUTH}{more},"
        f" id_jag: {{{given}}}}}}}\n"
    )


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    monkeypatch.setenv("GATEWAY_SECRET", "s3cret")


def test_a_broker_of_assertions_is_read_with_careful_defaults():
    found = parse(IDENTITY + LOGIN + broker() + UPSTREAM).brokers["crm"]

    assert isinstance(found, ExchangeBroker)
    assert found.id_jag is not None
    assert (found.id_jag.subject, found.id_jag.scopes) == ("id_token", ("openid", "offline_access"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (IDENTITY + broker(), "add connections.login"),
        (IDENTITY + LOGIN + broker(f"idp: 'https://other.example', {CLIENT}"), "only that provider can vouch"),
        (IDENTITY + LOGIN + broker(f"idp: 'https://as.example', {CLIENT}"), "may take no assertion of its own"),
        (IDENTITY + LOGIN + broker(f"idp: 'http://idp.example', {CLIENT}"), "open network"),
        (IDENTITY + LOGIN + broker("idp: 'https://idp.example', client: {}"), "give one of id, cimd and dcr"),
        (IDENTITY + LOGIN + broker("idp: 'https://idp.example', client: {cimd: true}"), "has to be confidential"),
        (IDENTITY + LOGIN + broker("idp: 'https://idp.example', client: {id: gw}"), "has to be confidential"),
        (IDENTITY + LOGIN + broker(f"idp: 'https://idp.example', {CLIENT}, scopes: [profile]"), "must hold openid"),
        (
            IDENTITY + broker("idp: 'https://idp.example', client: {dcr: true}, subject: caller_token"),
            "needs client.id",
        ),
        (IDENTITY + LOGIN + broker(more=", user_claim: email, actor: /run/a.jwt"), "no use for actor and user_claim"),
        (IDENTITY + LOGIN + broker(f"idp: 'https://idp.example', {CLIENT}, subject: saml"), "subject"),
    ],
)
def test_a_setting_that_cannot_work_is_named(text: str, told: str):
    assert any(told in problem for problem in problems(text)), problems(text)


def test_the_check_tells_who_vouches_and_where_to_register():
    told = [each.found for each in look(parse(IDENTITY + LOGIN + broker() + UPSTREAM))]

    assert any("https://idp.example vouches for users at https://as.example" in text for text in told)
    assert any("users connect at https://idp.example; register" in text for text in told)
    assert any("each user connects once" in text for text in told)


def test_the_check_warns_of_tokens_of_agents_as_the_proof():
    given = broker(f"idp: 'https://idp.example', {CLIENT}, subject: caller_token")
    warned = [each for each in look(parse(IDENTITY + given + UPSTREAM)) if each.is_warning]

    assert len(warned) == 1
    assert "the draft does not name" in warned[0].found
