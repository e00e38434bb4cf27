from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.identity import anonymous, development
from gateway.model.caller import Actor, AuthMethod, Principal, User
from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli.caller import CallerNames, find_principal

JWT = "{kind: jwt, issuer: 'https://idp.example', claims: {groups: roles}}"
SPIFFE = "{kind: spiffe, trust_domain: corp, bundle: 'file:bundle.json'}"
X509 = "{kind: spiffe, trust_domain: corp, bundle: 'file:bundle.json', x509: true}"
DEVELOPMENT, ANONYMOUS = "{kind: development}", "{kind: anonymous}"


def settings(*identities: str) -> config.Configuration:
    tls = "tls: {certificate: a, key: b, client_ca: c}\n" if X509 in identities else ""
    return config.parse(f"{tls}identity: [{', '.join(identities)}]\n", base=Path("/tmp"))


def test_a_development_caller_is_what_its_token_would_make_it():
    made = find_principal(settings(DEVELOPMENT), CallerNames("triage", user="ana", groups=("ops",), scopes=("a", "b")))

    assert made == Principal(
        "triage",
        development.ISSUER,
        AuthMethod.DEVELOPMENT,
        frozenset({"a", "b"}),
        User("ana", ("ops",)),
        (Actor("triage", None),),
        token_id="none",
    )
    assert find_principal(settings(DEVELOPMENT), CallerNames("triage")).user is None


def test_a_caller_of_an_issuer_is_the_client_of_its_user():
    made = find_principal(settings(JWT), CallerNames("triage", user="ana", groups=("ops",), bound=True))

    assert (made.id, made.issuer, made.method, made.bound) == ("triage", "https://idp.example", AuthMethod.JWT, True)
    assert (made.user, made.delegation) == (User("ana", ("ops",)), ())


def test_what_an_issuer_demands_of_every_token_is_there():
    demanding = "{kind: jwt, issuer: 'https://idp.example', required_scopes: [mcp], require_bound: true}"
    made = find_principal(settings(demanding), CallerNames("triage", scopes=("x",)))

    assert (made.scopes, made.bound) == ({"mcp", "x"}, True)


@pytest.mark.parametrize(("identity", "method", "bound"), [(SPIFFE, "spiffe-jwt", False), (X509, "spiffe-x509", True)])
def test_a_workload_is_verified_by_its_trust_domain(identity: str, method: str, *, bound: bool):
    made = find_principal(settings(JWT, DEVELOPMENT, identity), CallerNames("spiffe://corp/a"))

    assert (made.issuer, made.method, made.bound) == ("spiffe://corp", method, bound)


def test_the_first_identity_that_fits_is_taken_and_anonymous_last():
    assert find_principal(settings(ANONYMOUS, DEVELOPMENT), CallerNames("dev")).issuer == development.ISSUER
    assert find_principal(settings(ANONYMOUS), CallerNames("dev")).method is AuthMethod.ANONYMOUS
    assert find_principal(settings(JWT, DEVELOPMENT), CallerNames("a")).issuer == "https://idp.example"
    assert find_principal(settings(JWT, DEVELOPMENT), CallerNames("a", development.ISSUER)).issuer == development.ISSUER
    assert (
        find_principal(settings(ANONYMOUS, DEVELOPMENT), CallerNames("dev", anonymous.ISSUER)).method
        is AuthMethod.ANONYMOUS
    )


@pytest.mark.parametrize(
    ("identities", "named"),
    [
        ([], CallerNames("a")),
        ([ANONYMOUS], CallerNames("other")),
        ([ANONYMOUS], CallerNames("dev", user="ana")),
        ([ANONYMOUS], CallerNames("dev", scopes=("a",))),
        ([SPIFFE], CallerNames("a")),
        ([SPIFFE], CallerNames("spiffe://other/a")),
        ([SPIFFE], CallerNames("spiffe://corp/a", user="ana")),
        ([DEVELOPMENT], CallerNames("a", "https://idp.example")),
        ([DEVELOPMENT], CallerNames("")),
        ([DEVELOPMENT], CallerNames("spiffe://corp/../a")),
        ([DEVELOPMENT], CallerNames("a\nb")),
        ([DEVELOPMENT], CallerNames("a", scopes=('"',))),
    ],
)
def test_a_caller_that_no_identity_would_verify_is_refused(identities: list[str], named: CallerNames):
    with pytest.raises(ConfigurationError, match="no identity of the configuration would verify") as refused:
        find_principal(settings(*identities), named)

    assert "--issuer" in refused.value.remedy
