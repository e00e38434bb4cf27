from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
import yaml

from gateway.config import InvalidSettings
from tests.unit.configuring import UPSTREAM, parse, problems


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
        ("listen: 8080", "listen: it should be text; put it in quotes"),
        ("identity: {kind: anonymous}", "identity: it should be a list; write each item after a dash"),
        ("policy: {path: 3}", "policy.path: it should be a path; put it in quotes"),
        ("policy: {path: ''}", "policy.path: it is empty; give it a value"),
        ("limits: {connect: []}", "limits.connect: it is not a duration; write it like 250ms, 5s or 10m"),
        ("limits: {connect: yes}", "limits.connect: it is not a duration; write it like 250ms, 5s or 10m"),
        ("limits: {request_bytes: []}", "limits.request_bytes: it is not a size; write it like 4MiB or 512KiB"),
        ("limits: {request_bytes: yes}", "limits.request_bytes: it is not a size; write it like 4MiB or 512KiB"),
        ("limits: {in_flight: yes}", "limits.in_flight: it should be a whole number"),
        ("limits: {in_flight: 1.5}", "limits.in_flight: it should be a whole number"),
        (f"upstreams: {{a: {UPSTREAM}, tenant: ''}}}}", "upstreams.a.tenant: it is empty; give it a value"),
        (f"upstreams: {{a: {UPSTREAM}, environment: ''}}}}", "upstreams.a.environment: it is empty; give it a value"),
        (
            f"upstreams: {{a: {UPSTREAM}, tools: {{x: {{egress: perhaps}}}}}}}}",
            "upstreams.a.tools.x.egress: it should be true or false",
        ),
        (
            "identity: [{kind: spiffe, trust_domain: 'spiffe://corp', bundle: 'file:b'}]",
            "identity.0.trust_domain: it is no trust domain; write it like corp.example, without spiffe://",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_its_field(text: str, said: str):
    assert problems(text) == (said,)


def test_everything_that_is_wrong_is_told_at_once():
    assert len(problems("lisen: x\nerrors: loud\nlimits: {connect: 1}")) == 3


FULL = """
listen: 127.0.0.1:8080
public_url: https://gateway.example
tls: {certificate: a.pem, key: a.key, client_ca: ca.pem}
identity:
  - {kind: jwt, issuer: 'https://idp.example', audience: a, jwks: 'https://idp.example/keys', algorithms: [RS256],
     required_scopes: [a], require_bound: true, claims: {groups: groups}}
  - {kind: spiffe, trust_domain: corp, bundle: 'file:bundle.json', x509: true}
policy: {engine: {kind: opa, url: 'unix:///run/opa.sock', deadline: 250ms}, path: rego}
upstreams:
  web:
    url: https://mcp.example/
    audience: web
    trust: trusted
    tenant: acme
    environment: production
    credential: {kind: none}
    tools: {'create_*': {effect: write, egress: true, sensitivity: internal, roles: {/title: content}}}
  child: {command: [npx, -y], audience: files, cwd: .}
journal: {path: journal, segment: 1MiB, fsync: always}
limits: {request_bytes: 4MiB, connect: 5s, in_flight: 10}
"""
MISTAKES = [None, "", "x y\0", -1, 0, True, 1.5, float("inf"), float("nan"), [], {}, [None], {"a": 1}, {1: 2}, 10**30]
JARGON = re.compile(
    r"tuple|timedelta|pathlib|class '|regex|pattern|[Ii]nput|instance|NoneType|boolean|string|integer|valid "
)


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    match value:
        case dict():
            items = [*cast("dict[Any, object]", value).items()]
        case list():
            items = [*enumerate(cast("list[object]", value))]
        case _:
            items = []
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


@pytest.mark.parametrize("place", [*places(yaml.safe_load(FULL))], ids=lambda place: ".".join(map(str, place)))
def test_whatever_is_in_the_place_of_a_value_is_told_of_that_place_in_plain_words(place: tuple[Any, ...]):
    told: list[str] = []
    for mistake in MISTAKES:
        document = yaml.safe_load(FULL)
        put(document, place, mistake)
        try:
            parse(yaml.safe_dump(document))
        except InvalidSettings as error:
            told += error.problems

    here, above = (".".join(map(str, steps)) for steps in (place, place[:-1]))
    assert told
    assert [text for text in told if JARGON.search(text.partition(": ")[2])] == []
    assert [text for text in told if not text.startswith((here, f"{above}: ", "the file: "))] == []


def put(document: Any, place: tuple[Any, ...], value: object) -> None:
    *steps, last = place
    for step in steps:
        document = document[step]
    document[last] = value
