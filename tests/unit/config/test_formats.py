"""Texts of a configuration that could not work are refused, with one that would."""

from __future__ import annotations

import pytest

from tests.unit.configuring import problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("public_url: x", "public_url: it is not an http or https URL"),
        ("public_url: 'http://['", "public_url: it is not an http or https URL"),
        ("public_url: 'https://u:p@gw.example'", "public_url: it is not an http or https URL"),
        ("public_url: 'https://gw.example?a'", "public_url: it is not an http or https URL"),
        ("allowed_hosts: ['*']", "allowed_hosts.0: '*' is no host"),
        ("allowed_hosts: ['http://a']", "allowed_hosts.0: 'http://a' is no host"),
        ("allowed_origins: ['*']", "allowed_origins.0: '*' is no origin"),
        ("allowed_origins: [app.example]", "allowed_origins.0: 'app.example' is no origin"),
        ('state: "a\\0"', "state: it has a NUL character"),
        ('upstreams: {a: {command: ["a\\0"], audience: a}}', "upstreams.a.command.0: it has a NUL character"),
        (
            "upstreams: {a: {command: [a], audience: a, env: {'A=B': '${PATH}'}}}",
            "upstreams.a.env.A=B: 'A=B' is no name of an environment variable",
        ),
        ("identity: [{kind: jwt, issuer: 'urn:opagate:gateway'}]", "identity.0.issuer: issuers that begin with"),
        ("identity: [{kind: jwt, issuer: x, algorithms: []}]", "identity.0.algorithms: it is empty"),
        ("identity: [{kind: anonymous, id: ''}]", "identity.0.id: it is empty"),
        ("policy: {engine: {kind: opa, url: 'https://['}}", "policy.engine.url: it would carry decisions"),
        ("limits: {drain: 999999999d}", "limits.drain: '999999999d' is longer than a gateway can wait"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(text: str, said: str):
    (problem,) = problems(text)

    assert problem.startswith(said)
    assert len(problem) < 200


@pytest.mark.parametrize("value", ["", " ", "a\nb", "a\r"])
def test_a_credential_that_cannot_be_sent_is_refused(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("CREDENTIAL", value)
    credential = "credential: {kind: header, value: '${CREDENTIAL}'}"
    (problem,) = problems(f"upstreams: {{a: {{url: 'http://a/mcp', audience: a, {credential}}}}}")

    assert problem.startswith("upstreams.a.credential.value: it is empty, or has a line break")


@pytest.mark.parametrize("name", ["Host", "content-length", "a b", "x_y"])
def test_a_header_that_carries_no_credential_is_refused(name: str):
    credential = f"credential: {{kind: header, name: '{name}', value: '${{PATH}}'}}"
    (problem,) = problems(f"upstreams: {{a: {{url: 'http://a/mcp', audience: a, {credential}}}}}")

    assert problem.startswith("upstreams.a.credential.name: it is no header that takes a credential")


def test_a_long_value_is_not_repeated_whole():
    (problem,) = problems(f"limits: {{drain: {'x' * 5000}}}")

    assert len(problem) < 200
