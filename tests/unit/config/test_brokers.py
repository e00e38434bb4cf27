"""The settings of brokers, and the references of upstreams to them."""

from __future__ import annotations

import pytest

from gateway.config.brokers import ExchangeBroker
from tests.unit.configuring import parse, problems

EXCHANGE = """
brokers:
  idp:
    kind: exchange
    issuer: https://idp.example
    client_id: gw
    client_auth: {client_secret: '${GATEWAY_SECRET}'}
"""


OPENBAO = """
brokers:
  bao: {kind: openbao, url: 'unix:///run/bao.sock', auth: {token: '${GATEWAY_SECRET}'}, policies: [tasks]}
"""


def upstream(credential: str) -> str:
    return f"upstreams: {{crm: {{url: 'https://crm.example/mcp', audience: crm, credential: {{{credential}}}}}}}"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    monkeypatch.setenv("GATEWAY_SECRET", "s3cret")


def test_an_upstream_names_its_broker():
    configuration = parse(EXCHANGE + upstream("kind: exchange, broker: idp, scopes: {read: [crm.read]}"))
    assert isinstance(configuration.brokers["idp"], ExchangeBroker)
    assert "s3cret" not in repr(configuration)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            EXCHANGE + upstream("kind: exchange, broker: idq"),
            "upstreams.crm.credential.broker: there is no broker 'idq'; did you mean 'idp'?",
        ),
        (EXCHANGE + upstream("kind: exchange, broker: aws"), "there is no broker 'aws'; known here: idp"),
        (upstream("kind: exchange, broker: idp"), "there is no broker 'idp'; add it to brokers"),
        (EXCHANGE.replace("https:", "http:"), "it would carry credentials over an open network"),
        (EXCHANGE.replace("client_secret: '${GATEWAY_SECRET}'", ""), "give either private_key_jwt or client_secret"),
        (EXCHANGE.replace("'}", "', key_id: k}"), "key_id names the key of private_key_jwt, which is missing"),
        (EXCHANGE.replace("'${GATEWAY_SECRET}'", "s3cret"), "a literal secret is refused"),
        (
            OPENBAO + upstream("kind: exchange, broker: bao"),
            "upstreams.crm.credential: broker 'bao' is of kind 'openbao'; name one of kind 'exchange'",
        ),
        (OPENBAO.replace("unix:///run/bao.sock", "http://bao"), "it would carry credentials over an open network"),
        (OPENBAO.replace("}, pol", ", role: r}, pol"), "jwt and approle need role; token has none"),
        (OPENBAO.replace("token: '${GATEWAY_SECRET}'", ""), "give one of token, jwt and approle"),
        (OPENBAO + upstream("kind: openbao, broker: bao, path: '../sys'"), "upstreams.crm.credential.path"),
        (EXCHANGE.replace("idp:", "IdP:"), "brokers.IdP"),
        (EXCHANGE.replace("idp:", "gateway:"), "brokers.gateway: the gateway has this name itself"),
        (
            EXCHANGE + "upstreams: {crm: {command: [crm], audience: crm, credential: {kind: exchange, broker: idp}}}",
            "a stdio upstream has no headers",
        ),
    ],
)
def test_what_cannot_work_is_named(text: str, problem: str):
    found = problems(text)
    assert any(problem in item for item in found), found
    assert "s3cret" not in str(found)
