import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey
from structlog.testing import capture_logs

from gateway.model.caller import Actor, AuthMethod, Principal, User
from tests.unit.identity.tokens import (
    ISSUER,
    MCP,
    NOW,
    Clock,
    Signer,
    accepted,
    b64,
    bearer,
    configuration,
    jwt_identity,
    raw_token,
    refused,
    running,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.identity.identities import Identities


P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
async def identities(tmp_path: Path, signer: Signer) -> "AsyncIterator[Identities]":
    path = tmp_path / "keys.json"
    path.write_bytes(signer.jwks())
    async with running(configuration(tmp_path, jwt_identity(path)), Clock()) as identities:
        yield identities


async def test_a_good_token_is_its_agent(identities: "Identities", signer: Signer):
    token = signer.token(scope="mcp:call", client_id="agent-1", sub="alice", groups=["dev"])
    assert accepted(await identities.identify(bearer(token), "10.0.0.1")) == Principal(
        id="agent-1",
        issuer=ISSUER,
        method=AuthMethod.JWT,
        scopes=frozenset({"mcp:call"}),
        user=User("alice", ("dev",)),
        token_id="t-1",
    )


async def test_a_token_whose_signature_is_written_in_another_way_is_the_same_token(
    identities: "Identities", signer: Signer
):
    """Of ECDSA, s and n - s are both good (SEC 1 section 4.1.4): nobody gets a second task out of one token."""
    token = signer.token(jti=None)
    signed, _, signature = token.rpartition(".")
    data = base64.urlsafe_b64decode(signature + "==")
    other = P256_ORDER - int.from_bytes(data[32:], "big")
    again = f"{signed}.{b64(data[:32] + other.to_bytes(32, 'big'))}"

    found = [accepted(await identities.identify(bearer(text), None)) for text in (token, again)]

    assert token != again
    assert found[0].token_id == found[1].token_id


async def test_a_delegated_token_is_its_actor(identities: "Identities", signer: Signer):
    token = signer.token(sub="alice", act={"sub": "b", "aud": MCP, "act": {"sub": "a", "aud": "b"}})
    principal = accepted(await identities.identify(bearer(token), None))
    assert (principal.id, principal.user) == ("b", User("alice"))
    assert principal.delegation == (Actor("b", None), Actor("a", None))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": NOW - 11}, "identity/expired"),
        ({"nbf": NOW + 11}, "identity/expired"),
        ({"iat": NOW + 11}, "identity/expired"),
        ({"exp": None}, "identity/claims"),
        ({"iat": None}, "identity/claims"),
        ({"sub": None}, "identity/claims"),
        ({"sub": "a\nb"}, "identity/claims"),
        ({"aud": None}, "identity/claims"),
        ({"aud": 7}, "identity/claims"),
        ({"aud": "https://other.example/mcp"}, "identity/audience"),
        ({"aud": ["https://other.example/mcp"]}, "identity/audience"),
        ({"aud": f"{MCP}/"}, "identity/audience"),
        ({"aud": f"{MCP}/github"}, "identity/audience"),
        ({"iss": None}, "identity/issuer"),
        ({"iss": "https://evil.example"}, "identity/issuer"),
        ({"iss": f"{ISSUER}/"}, "identity/issuer"),
        ({"iss": [ISSUER]}, "identity/issuer"),
        ({"nonce": "n"}, "identity/claims"),
        ({"htm": "POST", "htu": MCP}, "identity/claims"),
        ({"typ": "Refresh"}, "identity/claims"),
        ({"scope": 7}, "identity/claims"),
        ({"cnf": {"jwk": {}}}, "identity/proof"),
        ({"cnf": {"jkt": "x"}}, "identity/proof"),
        ({"act": {}}, "identity/delegation"),
        ({"act": {"sub": "b", "act": {"sub": "a", "aud": "c"}}}, "identity/delegation"),
        ({"act": {"sub": "b"}, "may_act": {"sub": "a"}}, "identity/delegation"),
    ],
)
async def test_a_token_that_does_not_hold_is_refused(
    identities: "Identities", signer: Signer, changes: dict[str, Any], code: str
):
    refusal = refused(await identities.identify(bearer(signer.token(**changes)), "10.0.0.1"), code)
    assert refusal.status == 401
    assert refusal.challenge
    assert "resource_metadata" in refusal.challenge


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"alg": "none"}, "identity/signature"),
        ({"alg": "HS256"}, "identity/signature"),
        ({"alg": "ES384"}, "identity/signature"),
        ({"alg": "RS256"}, "identity/signature"),
        ({"kid": "unknown"}, "identity/signature"),
        ({"kid": 7}, "identity/malformed"),
        ({"kid": "../../dev/null"}, "identity/signature"),
        ({"crit": ["x"], "x": 1}, "identity/signature"),
        ({"jku": "https://evil.example/keys"}, "identity/signature"),
        ({"x5u": "https://evil.example/cert"}, "identity/signature"),
        ({"typ": "dpop+jwt"}, "identity/claims"),
        ({"typ": "logout+jwt"}, "identity/claims"),
    ],
)
async def test_a_token_with_a_hostile_header_is_refused(
    identities: "Identities", signer: Signer, header: dict[str, object], code: str
):
    refused(await identities.identify(bearer(signer.token(header=header)), "10.0.0.1"), code)


async def test_a_token_that_brings_its_own_key_is_refused(identities: "Identities"):
    evil = Signer()
    token = evil.token(header={"jwk": evil.jwk()})
    refused(await identities.identify(bearer(token), "10.0.0.1"), "identity/signature")


async def test_a_token_of_another_signer_under_a_known_key_id_is_refused(identities: "Identities"):
    refused(await identities.identify(bearer(Signer().token()), "10.0.0.1"), "identity/signature")


async def test_a_changed_or_unsigned_token_is_refused(identities: "Identities", signer: Signer):
    head, payload, signature = signer.token().split(".")
    for token in (
        f"{head}.{payload}.",
        f"{head}.{payload}.{signature[:-4]}AAAA",
        f"{head}.{signer.token(sub='other').split('.')[1]}.{signature}",
        raw_token({"alg": "none"}, signer.claims(), b""),
    ):
        refused(await identities.identify(bearer(token), "10.0.0.1"), "identity/signature")


async def test_a_claim_given_twice_is_refused_although_it_is_signed(identities: "Identities", signer: Signer):
    payload = json.dumps(signer.claims())[:-1] + ', "sub": "admin"}'
    refused(await identities.identify(bearer(signer.sign(payload.encode())), None), "identity/malformed")


async def test_expiry_is_never_infinite(identities: "Identities", signer: Signer):
    payload = json.dumps(signer.claims()).replace(f"{NOW + 300}", "1e999")
    refused(await identities.identify(bearer(signer.sign(payload.encode())), None), "identity/claims")


async def test_a_missing_or_plain_typ_is_an_access_token_unless_its_claims_say_otherwise(
    identities: "Identities", signer: Signer
):
    for typ in (None, "JWT"):
        accepted(await identities.identify(bearer(signer.token(header={"typ": typ})), None))
        refused(
            await identities.identify(bearer(signer.token(header={"typ": typ}, nonce="n")), None), "identity/claims"
        )


async def test_undeclared_claims_are_reported_by_name_only(identities: "Identities", signer: Signer):
    with capture_logs() as logs:
        accepted(await identities.identify(bearer(signer.token(x_new="secret-marker")), None))
    assert [(entry["event"], entry["names"]) for entry in logs] == [("identity.unaccounted-claims", ["x_new"])]
    assert "secret-marker" not in repr(logs)


async def test_settings_of_an_identity_are_followed(tmp_path: Path):
    signer = Signer(alg="ES384", key=ECKey.generate_key("P-384"))
    path = tmp_path / "keys.json"
    path.write_bytes(signer.jwks())
    identity = jwt_identity(
        path,
        audience="api://gateway",
        algorithms=["ES384"],
        claims={"groups": "teams"},
        leeway="60s",
        required_scopes=["s"],
    )
    async with running(configuration(tmp_path, identity), Clock()) as identities:
        token = signer.token(aud="api://gateway", sub="alice", azp="a", teams=["x"], scope="s", exp=NOW - 50)
        assert accepted(await identities.identify(bearer(token), None)).user == User("alice", ("x",))
        refused(await identities.identify(bearer(signer.token(scope="s")), None), "identity/audience")
        es256 = Signer().token(aud="api://gateway")
        refused(await identities.identify(bearer(es256), None), "identity/signature")
