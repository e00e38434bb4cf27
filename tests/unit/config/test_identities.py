"""Which callers and which keys a configuration may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import OpaEngine
from tests.unit.configuring import parse, problems


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "localhost:1", "'[::1]:1'", "127.9.9.9:1"])
@pytest.mark.parametrize("kind", ["development", "anonymous"])
def test_development_and_anonymous_callers_are_for_loopback(listen: str, kind: str):
    assert parse(f"listen: {listen}\nidentity: [{{kind: {kind}}}]").loopback


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:1", "10.0.0.1:1", "'[::]:1'", "gateway.example:1", "localhost.evil.example:1"]
)
@pytest.mark.parametrize("kind", ["development", "anonymous"])
def test_development_and_anonymous_callers_are_refused_elsewhere(listen: str, kind: str):
    (said,) = problems(f"listen: {listen}\nidentity: [{{kind: {kind}}}]")

    assert said.startswith(f"the file: identity kind '{kind}' is for loopback only")


def test_development_callers_may_be_at_private_addresses_where_it_is_configured():
    assert not parse("listen: 0.0.0.0:1\nidentity: [{kind: development, from: private}]").loopback


@pytest.mark.parametrize(
    "identity",
    ["{kind: anonymous, from: private}", "{kind: development, from: anywhere}", "{kind: development, reach: private}"],
)
def test_no_other_callers_are_let_in_from_elsewhere(identity: str):
    assert problems(f"listen: 0.0.0.0:1\nidentity: [{identity}]")


def test_the_remedy_for_a_container_is_named():
    (said,) = problems("listen: 0.0.0.0:1\nidentity: [{kind: development}]")
    assert said.endswith("in a container, write `from: private`")
    assert "did you mean 'from'?" in problems("identity: [{kind: development, form: private}]")[0]


@pytest.mark.parametrize("kind", ["development", "anonymous"])
def test_development_and_anonymous_callers_are_refused_at_a_public_address(kind: str):
    """Whoever comes by a proxy on this machine looks like a caller from this machine."""
    (said,) = problems(f"public_url: https://gw.example\nidentity: [{{kind: {kind}}}]")

    assert said.startswith(
        f"the file: identity kind '{kind}' is for loopback only, and public_url is 'https://gw.example'"
    )
    assert parse(f"public_url: http://localhost:9000\nidentity: [{{kind: {kind}}}]").loopback


@pytest.mark.parametrize("url", ["https://x/", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]:1/"])
def test_keys_and_decisions_travel_over_tls_or_loopback(url: str):
    assert parse(f"identity: [{{kind: jwt, issuer: x, jwks: '{url}'}}]").identity
    engine = parse(f"policy: {{engine: {{kind: opa, url: '{url}'}}}}").policy.engine
    assert isinstance(engine, OpaEngine)
    assert engine.url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://x/",
        "http://localhost:1@evil.example/",
        "http://127.0.0.1@evil.example/",
        "ftp://localhost/",
        "http://[x/",
        "http://",
    ],
)
def test_keys_and_decisions_do_not_travel_openly(url: str):
    assert problems(f"identity: [{{kind: jwt, issuer: x, jwks: '{url}'}}]")[0].startswith(
        "identity.0.jwks: it is no place for keys"
    )
    assert problems(f"policy: {{engine: {{kind: opa, url: '{url}'}}}}")[0].startswith(
        "policy.engine.url: it would carry decisions"
    )


def test_keys_may_come_from_a_file_and_decisions_from_a_socket(tmp_path: Path):
    (identity,) = parse("identity: [{kind: jwt, issuer: x, jwks: 'file:keys.json'}]", tmp_path).identity
    assert identity.kind == "jwt"
    assert identity.jwks == f"file:{tmp_path / 'keys.json'}"
    assert parse("policy: {engine: {kind: opa, url: 'unix:///run/opa.sock'}}").policy.engine.kind == "opa"


def test_what_is_no_place_for_keys_at_all_is_refused():
    assert problems("identity: [{kind: jwt, issuer: x, jwks: 5}]") == (
        "identity.0.jwks: it should be text; put it in quotes",
    )


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        ("kind: jwt, issuer: x, algorithms: [HS256]", "identity.0.algorithms: 'HS256' is not an accepted signature"),
        ("kind: jwt, issuer: x, algorithms: [none]", "identity.0.algorithms: 'none' is not an accepted signature"),
        (
            "kind: spiffe, trust_domain: 'spiffe://corp', bundle: 'file:b'",
            "identity.0.trust_domain: it is no trust domain",
        ),
        ("kind: spiffe, trust_domain: Corp, bundle: 'file:b'", "identity.0.trust_domain: it is no trust domain"),
    ],
)
def test_an_identity_that_nobody_could_prove_is_refused(identity: str, said: str):
    (problem,) = problems(f"identity: [{{{identity}}}]")

    assert problem.startswith(said)
