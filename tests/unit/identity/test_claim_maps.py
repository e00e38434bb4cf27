"""Presets read the tokens of each identity provider, in the shapes of its documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from gateway.authority.signals.subjects import caller_keys, index_keys, names, read_subject
from gateway.config.identities import ClaimSettings
from gateway.identity import claims
from gateway.identity.claim_maps import PRESETS, map_of
from gateway.identity.outcomes import CredentialFault
from gateway.model.caller import AuthMethod, Principal, User

if TYPE_CHECKING:
    from gateway.config.identities import Preset

ISSUER = "https://idp.example"
TRUST = claims.Trust(frozenset({ISSUER}), frozenset())


def read(settings: dict[str, Any], token: dict[str, Any]) -> Principal | CredentialFault:
    used = map_of(ClaimSettings.model_validate(settings))
    return claims.principal(token, claims.Rules(ISSUER, AuthMethod.JWT, TRUST, used), digest="d")


@dataclass(frozen=True)
class Shape:
    """A token as a provider's documentation shows it, and the caller behind it."""

    preset: Preset
    token: dict[str, Any]
    agent: str
    user: str | None
    known_as: str = ""
    groups: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


# https://www.keycloak.org/docs/latest/server_admin/ (protocol mappers; service accounts have the scope `service_account`)
KEYCLOAK: dict[str, Any] = {
    "jti": "onrtro:6f1c",
    "sub": "9c1e8d3e-0b2a-4a3f-8b36-8f6a2f1f2f10",
    "typ": "Bearer",
    "azp": "triage",
    "sid": "5d4b",
    "scope": "openid profile email mcp",
    "email_verified": True,
    "name": "Ursula Example",
    "preferred_username": "ursula",
    "given_name": "Ursula",
    "family_name": "Example",
    "email": "ursula@corp.example",
    "groups": ["/sre"],
}
KEYCLOAK_SERVICE = {
    "sub": "b0a9c5a0-7e7e-4d62-9f0b-6a3c2c9f3a11",
    "typ": "Bearer",
    "azp": "triage",
    "scope": "mcp",
    "clientHost": "10.0.0.7",
    "clientAddress": "10.0.0.7",
    "client_id": "triage",
    "preferred_username": "service-account-triage",
}
# https://developer.okta.com/docs/api/openapi/okta-oauth/guides/overview/ (access token; `uid` is absent without a user)
OKTA: dict[str, Any] = {
    "ver": 1,
    "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
    "sub": "ursula@corp.example",
    "cid": "nmdP1fcyvdVO11AL7ECm",
    "uid": "00ujmkLgagxeRrAg20g3",
    "scp": ["openid", "email", "mcp"],
    "auth_time": 1467145094,
}
OKTA_SERVICE = {"ver": 1, "jti": "AT.9", "sub": "nmdP1fcyvdVO11AL7ECm", "cid": "nmdP1fcyvdVO11AL7ECm", "scp": ["mcp"]}
# https://learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference
ENTRA_1 = {
    "aio": "AXQAi/8I",
    "amr": ["pwd"],
    "appid": "00001111-aaaa-2222-bbbb-3333cccc4444",
    "appidacr": "0",
    "family_name": "Example",
    "given_name": "Ursula",
    "ipaddr": "192.0.2.7",
    "name": "Ursula Example",
    "oid": "00aa00aa-bb11-cc22-dd33-44ee44ee44ee",
    "rh": "I",
    "scp": "call",
    "sub": "5mJSyf46",
    "tid": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
    "unique_name": "ursula@corp.example",
    "upn": "ursula@corp.example",
    "uti": "fqii",
    "ver": "1.0",
}
ENTRA_2 = {
    "aio": "AXQAi/8T",
    "azp": "00001111-aaaa-2222-bbbb-3333cccc4444",
    "azpacr": "0",
    "name": "Ursula Example",
    "oid": "00aa00aa-bb11-cc22-dd33-44ee44ee44ee",
    "preferred_username": "ursula@corp.example",
    "rh": "I",
    "scp": "call",
    "sub": "HKZpfaHy",
    "tid": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
    "uti": "fqii",
    "ver": "2.0",
}
# https://learn.microsoft.com/en-us/answers/questions/256281/: without `scp`, and with `idtyp` only where it was asked for
ENTRA_2_SERVICE = {
    "azp": "00001111-aaaa-2222-bbbb-3333cccc4444",
    "azpacr": "1",
    "oid": "99ff",
    "sub": "99ff",
    "roles": ["API.WRITER"],
    "ver": "2.0",
}
ENTRA_1_SERVICE = {
    "appid": "00001111-aaaa-2222-bbbb-3333cccc4444",
    "appidacr": "1",
    "idtyp": "app",
    "oid": "99ff",
    "sub": "99ff",
    "ver": "1.0",
}
# https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles
AUTH0 = {"sub": "auth0|123456", "azp": "my_client_id", "scope": "openid profile read:patients", "my_custom_claim": "x"}
AUTH0_RFC9068 = {
    "sub": "auth0|123456",
    "client_id": "my_client_id",
    "jti": "73Wa",
    "https://corp.example/teams": ["sre"],
}
AUTH0_SERVICE = {"sub": "my_client_id@clients", "azp": "my_client_id", "gty": "client-credentials"}
AUTH0_RFC9068_SERVICE = {"sub": "my_client_id@clients", "client_id": "my_client_id", "jti": "73Wb"}
# https://cloud.google.com/docs/authentication/token-types (ID tokens of service accounts)
GOOGLE = {
    "azp": "107517467455664443766",
    "sub": "107517467455664443766",
    "email": "triage@corp.iam.gserviceaccount.com",
    "email_verified": True,
}
BOTH = "Ursula Example, ursula@corp.example"
ENTRA_AGENT, OID = "00001111-aaaa-2222-bbbb-3333cccc4444", "00aa00aa-bb11-cc22-dd33-44ee44ee44ee"
SHAPES = [
    Shape("keycloak", KEYCLOAK, "triage", KEYCLOAK["sub"], BOTH, ("/sre",)),
    Shape("keycloak", KEYCLOAK_SERVICE, "triage", None, "service-account-triage"),
    Shape("okta", OKTA, OKTA["cid"], "00ujmkLgagxeRrAg20g3", "ursula@corp.example"),
    Shape("okta", OKTA_SERVICE, OKTA["cid"], None),
    Shape("entra-v1", ENTRA_1, ENTRA_AGENT, OID, BOTH),
    Shape("entra-v1", ENTRA_1_SERVICE, ENTRA_AGENT, None),
    Shape("entra-v2", ENTRA_2, ENTRA_AGENT, OID, BOTH),
    Shape("entra-v2", ENTRA_2_SERVICE, ENTRA_AGENT, None),
    Shape("auth0", AUTH0, "my_client_id", "auth0|123456"),
    Shape(
        "auth0",
        AUTH0_RFC9068,
        "my_client_id",
        "auth0|123456",
        "",
        ("sre",),
        {"groups": "https://corp.example/teams"},
    ),
    Shape("auth0", AUTH0_SERVICE, "my_client_id", None),
    Shape("auth0", AUTH0_RFC9068_SERVICE, "my_client_id", None),
    Shape("google", GOOGLE, "107517467455664443766", None, "triage@corp.iam.gserviceaccount.com"),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.preset}-{shape.user or 'alone'}")
def test_a_preset_names_agent_user_and_words_for_people(shape: Shape):
    found = read({"preset": shape.preset, **shape.settings}, shape.token)

    assert isinstance(found, Principal), found
    assert (found.id, found.known_as) == (shape.agent, shape.known_as)
    assert found.user == (None if shape.user is None else User(shape.user, shape.groups))


def test_every_preset_has_a_shape():
    assert {shape.preset for shape in SHAPES} | {"generic"} == set(PRESETS)


@pytest.mark.parametrize(("token", "client"), [(OKTA, "cid"), (ENTRA_1, "appid")])
def test_a_user_is_no_agent_without_a_preset(token: dict[str, Any], client: str):
    found = read({}, token)

    assert isinstance(found, Principal)
    assert (found.id, found.user) == (token[client], User(token["sub"]))


@pytest.mark.parametrize(
    ("settings", "token", "party"),
    [
        ({"agent": ["client"]}, AUTH0, "no usable client, which name the agent"),
        ({"preset": "okta"}, ENTRA_2, "no usable cid, which name the agent"),
        ({"user": ["employee", "oid"]}, AUTH0, "no usable employee or oid, which name the user"),
        ({"preset": "entra-v2"}, {**ENTRA_2, "oid": 7}, "no usable oid, which name the user"),
    ],
)
def test_a_map_that_does_not_fit_says_what_the_token_has(settings: dict[str, Any], token: dict[str, Any], party: str):
    found = read(settings, token)

    assert isinstance(found, CredentialFault)
    assert (found.code, party in found.detail) == ("identity/claims", True), found.detail
    assert found.detail.endswith(f"it has: {', '.join(sorted(token))}")
    assert not [
        value for value in token.values() if isinstance(value, str) and len(value) > 4 and value in found.detail
    ]


def test_an_error_names_few_claims_and_no_hidden_words():
    found = read(
        {"preset": "okta"}, {"sub": "a", "x\u202e": 1, "y\n": 2, "z" * 500: 3, **dict.fromkeys(map(str, range(90)), 1)}
    )

    assert isinstance(found, CredentialFault)
    assert len(found.detail) < 1_000
    assert found.detail.isprintable()


@pytest.mark.parametrize(
    ("token", "known_as"),
    [
        ({"name": "Ursula Example", "email": "u@corp.example"}, "Ursula Example, u@corp.example"),
        ({"name": "boss@corp.example", "preferred_username": "ursula"}, "ursula"),
        ({"name": "boss\uff20corp.example", "email": "boss\ufe6bcorp.example"}, ""),
        ({"name": "Ursula, boss@corp.example", "email": "u@corp.example"}, "u@corp.example"),
        ({"name": "Ursula", "email": "boss@corp.example", "email_verified": False}, "Ursula"),
        ({"name": "Ursula", "email": "boss@corp.example", "email_verified": "false"}, "Ursula"),
        ({"name": "Ursula", "email": "u@corp.example", "email_verified": "true"}, "Ursula, u@corp.example"),
        ({"name": "Ursula", "email": "boss@corp.example", "email_verified": None}, "Ursula"),
        ({"name": "Ursula", "email": "boss@corp.example", "email_verified": ["x"]}, "Ursula"),
        ({"name": "Ursula\u202egnissob", "email": "no address"}, ""),
        ({"name": "  Ursula   Example "}, "Ursula Example"),
        ({"name": 7, "email": ["u@corp.example"]}, ""),
    ],
)
def test_a_display_name_cannot_pass_for_an_address(token: dict[str, Any], known_as: str):
    found = read({}, {"sub": "u-1", "azp": "triage", **token})

    assert isinstance(found, Principal)
    assert found.known_as == known_as


LONG_MAIL = f"{'u' * 200}@corp.example"


@pytest.mark.parametrize(
    "token",
    [{"email": "Ann@corp.example", "email_verified": False}, {"email": LONG_MAIL}, {"email": "ann@corp.example"}],
)
def test_a_signal_names_a_caller_by_the_whole_address_in_the_token(token: dict[str, Any]):
    found = read({}, {"sub": "u-1", "azp": "triage", **token})
    subject = read_subject({"format": "email", "email": token["email"]})

    assert isinstance(found, Principal)
    assert subject is not None
    assert set(index_keys(subject)) <= set(caller_keys(found))
    assert names(subject, found, frozenset({ISSUER}))
    assert len(found.known_as) < 200


@pytest.mark.parametrize("name", ["u-1", "ursula@corp.example"])
def test_a_signal_names_a_user_by_the_subject_of_the_token_too(name: str):
    settings = {"agent": ["azp"], "user": ["employee"]}
    found = read(settings, {"sub": "u-1", "azp": "triage", "employee": "ursula@corp.example"})
    subject = read_subject({"format": "iss_sub", "iss": ISSUER, "sub": name})

    assert isinstance(found, Principal)
    assert subject is not None
    assert set(index_keys(subject)) <= set(caller_keys(found))
    assert names(subject, found, frozenset({ISSUER}))


def test_a_display_name_is_bounded_and_changes_no_caller():
    plain = read({}, {"sub": "u-1", "azp": "triage"})
    named = read({}, {"sub": "u-1", "azp": "triage", "name": "n" * 2_000, "email": "m@x.example"})

    assert isinstance(plain, Principal)
    assert isinstance(named, Principal)
    assert len(named.known_as) < 200
    assert (plain, plain.key, plain.parties) == (named, named.key, named.parties)


def test_a_person_who_takes_the_name_of_a_service_account_stays_a_person():
    taken = {**KEYCLOAK, "preferred_username": "service-account-triage"}
    found = read({"preset": "keycloak"}, taken)

    assert isinstance(found, Principal)
    assert found.user is not None


def test_marks_of_a_token_without_a_person_are_settings():
    settings = {"agent": ["app"], "no_user": {"kind": "machine", "sub": "svc:{agent}"}}
    for token, user in (
        ({"app": "a", "sub": "u"}, "u"),
        ({"app": "a", "sub": "u", "kind": "machine"}, None),
        ({"app": "a", "sub": "svc:a"}, None),
        ({"app": "a", "sub": "svc:b"}, "svc:b"),
    ):
        found = read(settings, token)
        assert isinstance(found, Principal)
        assert found.user == (None if user is None else User(user))
