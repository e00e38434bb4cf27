from __future__ import annotations

import pytest

from tests.unit.configuring import UPSTREAM, problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lisen: x", "the top level: there is no setting 'lisen'; did you mean 'listen'?"),
        ("limits: {conect: 1s}", "limits: there is no setting 'conect'; did you mean 'connect'?"),
        (
            f"upstreams: {{opa: {UPSTREAM}, truts: trusted}}}}",
            "upstreams.opa: there is no setting 'truts'; did you mean 'trust'?",
        ),
        (
            f"upstreams: {{none: {UPSTREAM}, credential: {{kind: header, value: '${{PATH}}', valu: x}}}}}}",
            "upstreams.none.credential: there is no setting 'valu'; did you mean 'value'?",
        ),
        (
            f"upstreams: {{jwt: {UPSTREAM}, tools: {{header: {{efect: read}}}}}}}}",
            "upstreams.jwt.tools.header: there is no setting 'efect'; did you mean 'effect'?",
        ),
        ("identity: [{kind: anonymous, di: x}]", "identity.0: there is no setting 'di'; did you mean 'id'?"),
        (
            "identity: [{kind: jwt, isuer: x, issuer: y}]",
            "identity.0: there is no setting 'isuer'; did you mean 'issuer'?",
        ),
        (
            "policy: {engine: {kind: opa, url: 'unix:///x', tokn: x}}",
            "policy.engine: there is no setting 'tokn'; did you mean 'token'?",
        ),
        (
            "tls: {certificate: a, key: b, zzz: 1}",
            "tls: there is no setting 'zzz'; known here: certificate, client_ca, key",
        ),
        ("policy: {engine: opaa}", "policy.engine: there is no kind 'opaa'; did you mean 'opa'?"),
        (
            "identity: [{kind: zzz}]",
            "identity.0: there is no kind 'zzz'; known here: anonymous, development, jwt, spiffe",
        ),
        ("identity: [{issuer: x}]", "identity.0: kind is missing; it is one of anonymous, development, jwt, spiffe"),
    ],
)
def test_what_is_not_known_is_told_with_what_is(text: str, said: str):
    assert problems(text) == (said,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("upstreams: {opa: {url: 'https://x/'}}", "upstreams.opa.audience: it is missing"),
        ("limits:", "limits: it is empty; leave the key out, or give it a value"),
        ("upstreams:", "upstreams: it is empty; leave the key out, or give it a value"),
        ("identity:", "identity: it is empty; leave the key out, or give it a value"),
        ("limits: 3", "limits: it should be a mapping of settings"),
        ("upstreams: []", "upstreams: it should be a mapping of settings"),
        ("limits: {in_flight: 0}", "limits.in_flight: it should be greater than 0"),
        ("errors: loud", "errors: it should be 'result' or 'protocol'"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_its_field(text: str, said: str):
    assert problems(text) == (said,)


def test_everything_that_is_wrong_is_told_at_once():
    assert len(problems("lisen: x\nerrors: loud\nlimits: {connect: 1}")) == 3
