from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.config.approvals import ApproverIdentity
from gateway.identity import assembly
from gateway.identity.identities import Identities
from gateway.model.caller import Principal
from gateway.model.errors import ConfigurationError
from tests.unit.identity.tokens import Clock, Signer, bearer, configuration, jwt_identity

TLS = {"certificate": "c.pem", "key": "k.pem", "client_ca": "ca.pem"}


def test_each_identity_becomes_its_authenticators(tmp_path: Path):
    settings = configuration(
        tmp_path,
        jwt_identity(tmp_path / "k"),
        {"kind": "jwt", "issuer": "https://other.example"},
        {"kind": "jwt", "issuer": "urn:third", "jwks": "https://third.example/keys"},
        {"kind": "spiffe", "trust_domain": "corp", "bundle": f"file:{tmp_path}/b", "x509": True},
        {"kind": "development"},
        {"kind": "anonymous"},
        tls=TLS,
    )
    parts = assembly.assemble(settings, clock=Clock())
    assert [type(part).__name__ for part in parts.authenticators] == [
        "JwtAuthenticator",
        "JwtAuthenticator",
        "JwtAuthenticator",
        "SpiffeAuthenticator",
        "X509Authenticator",
        "DevelopmentAuthenticator",
        "AnonymousAuthenticator",
    ]
    assert [part.issuer for part in parts.authenticators] == [
        "https://idp.example",
        "https://other.example",
        "urn:third",
        "spiffe://corp",
        "spiffe://corp",
        "urn:opagate:development",
        "urn:opagate:anonymous",
    ]
    assert [keys.issuer for keys in parts.keys] == [
        "https://idp.example",
        "https://other.example",
        "urn:third",
        "spiffe://corp",
    ]


def test_an_issuer_that_is_configured_twice_is_refused(tmp_path: Path):
    settings = configuration(tmp_path, jwt_identity(tmp_path / "k"), jwt_identity(tmp_path / "other"))
    with pytest.raises(ConfigurationError, match="configured twice"):
        assembly.assemble(settings, clock=Clock())


@pytest.mark.parametrize("issuer", ["urn:idp", "http://idp.example", "https://user@idp.example"])
def test_an_issuer_that_cannot_be_discovered_needs_its_keys_named(tmp_path: Path, issuer: str):
    settings = configuration(tmp_path, {"kind": "jwt", "issuer": issuer})
    with pytest.raises(ConfigurationError, match="cannot be discovered") as raised:
        assembly.assemble(settings, clock=Clock())
    assert "jwks" in raised.value.remedy


@pytest.mark.parametrize("url", ["https://user:secret-marker@idp.example/keys", "https://idp.example/keys#part"])
def test_a_place_that_keys_must_not_come_from_is_refused_without_showing_it(tmp_path: Path, url: str):
    settings = configuration(tmp_path, {"kind": "jwt", "issuer": "urn:idp", "jwks": url})
    with pytest.raises(ConfigurationError, match="no place to take keys from") as raised:
        assembly.assemble(settings, clock=Clock())
    assert "secret-marker" not in str(raised.value)


def test_a_chain_may_be_made_out_to_any_audience_of_this_gateway(tmp_path: Path):
    settings = configuration(tmp_path, jwt_identity(tmp_path / "k", audience="api://gateway"))
    assert assembly.find_audiences(settings) == {
        "https://gateway.example/mcp",
        "https://gateway.example/mcp/github",
        "https://gateway.example/mcp/files",
        "api://gateway",
    }


@pytest.mark.parametrize(
    ("named", "audience"), [({}, "https://gateway.example/api/approvals"), ({"audience": "api://desk"}, "api://desk")]
)
async def test_approvers_present_tokens_for_approvals_or_for_the_audience_that_is_named(
    tmp_path: Path, named: dict[str, str], audience: str
):
    signer, clock = Signer(), Clock()
    (tmp_path / "keys").write_bytes(signer.jwks())
    settings = configuration(tmp_path, {"kind": "anonymous"})
    identity = ApproverIdentity.model_validate(jwt_identity(tmp_path / "keys", groups=["sre"], **named))
    approvers = Identities.build_people(settings, identity, clock=clock)
    await approvers.start()

    for aud in ("https://gateway.example/mcp", "api://other", audience):
        found = await approvers.identify(bearer(signer.token(aud=aud)), None)
        assert isinstance(found, Principal) == (aud == audience), aud

    await approvers.stop()


@pytest.mark.parametrize("audience", ["https://gateway.example/mcp", "https://gateway.example/mcp/github", "api://all"])
def test_a_token_of_a_caller_approves_nothing(tmp_path: Path, audience: str):
    settings = configuration(tmp_path, jwt_identity(tmp_path / "k", audience="api://all"))
    identity = ApproverIdentity.model_validate(jwt_identity(tmp_path / "k", groups=["sre"], audience=audience))

    with pytest.raises(ConfigurationError, match="is that of callers"):
        assembly.assemble_people(settings, identity, clock=Clock())


SIGN_IN: dict[str, object] = {"client_id": "agents", "scopes": ["api://gateway/call"]}
WITHOUT_SCOPES: dict[str, object] = {"client_id": "agents", "scopes": []}
NOTHING: dict[str, object] = {}


@pytest.mark.parametrize(
    ("identities", "more", "problem"),
    [
        (
            [{"sign_in": SIGN_IN}, {"sign_in": SIGN_IN, "issuer": "https://b.example"}],
            NOTHING,
            "two issuers have sign_in",
        ),
        ([{"sign_in": SIGN_IN}], {"public_url": "http://gateway.example"}, "over an open network"),
        ([{"sign_in": WITHOUT_SCOPES}], NOTHING, "scopes"),
    ],
)
def test_a_sign_in_that_would_not_serve_is_refused(
    tmp_path: Path, identities: list[dict[str, object]], more: dict[str, object], problem: str
):
    found = [jwt_identity(tmp_path / "k", **identity) for identity in identities]
    with pytest.raises(ValidationError, match=problem):
        configuration(tmp_path, *found, **{"public_url": "https://gateway.example", **more})


def test_people_with_a_role_do_not_sign_in_at_the_gateway(tmp_path: Path):
    with pytest.raises(ValidationError, match="sign_in is for agents alone"):
        ApproverIdentity.model_validate(jwt_identity(tmp_path / "k", groups=["sre"], sign_in=SIGN_IN))
