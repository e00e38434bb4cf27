import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.model.caller import AuthMethod
from tests.unit.identity.tokens import (
    NOW,
    Clock,
    Signer,
    accepted,
    bearer,
    configuration,
    jwt_identity,
    refused,
    running,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.identity.identities import Identities

AGENT = "spiffe://corp/agent/triage"


@pytest.fixture
def signer() -> Signer:
    return Signer("svid-1")


@pytest.fixture
def other() -> Signer:
    return Signer("idp-1")


@pytest.fixture
async def identities(tmp_path: Path, signer: Signer, other: Signer) -> "AsyncIterator[Identities]":
    bundle = tmp_path / "bundle.json"
    bundle.write_text(json.dumps({"keys": [signer.jwk(use="jwt-svid")]}))
    (tmp_path / "keys.json").write_bytes(other.jwks())
    spiffe: dict[str, object] = {"kind": "spiffe", "trust_domain": "corp", "bundle": f"file:{bundle}"}
    async with running(configuration(tmp_path, spiffe, jwt_identity(tmp_path / "keys.json")), Clock()) as identities:
        yield identities


def svid(signer: Signer, *, header: dict[str, object] | None = None, **changes: Any) -> str:
    return signer.token(header={"typ": "JWT", **(header or {})}, **{"iss": None, "sub": AGENT, "jti": None, **changes})


@pytest.mark.parametrize("changes", [{}, {"iat": None}, {"iss": "spiffe://corp"}, {"iss": "https://spire.corp"}])
async def test_a_jwt_svid_is_its_workload(identities: "Identities", signer: Signer, changes: dict[str, Any]):
    principal = accepted(await identities.identify(bearer(svid(signer, **changes)), None))
    assert (principal.id, principal.issuer, principal.method) == (AGENT, "spiffe://corp", AuthMethod.SPIFFE_JWT)
    assert principal.user is None
    assert len(principal.token_id) == 64


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sub": "spiffe://other/agent"}, "identity/issuer"),
        ({"sub": "spiffe://corp.evil.example/agent"}, "identity/issuer"),
        ({"sub": "spiffe://corp"}, "identity/claims"),
        ({"sub": "spiffe://corp/a/../b"}, "identity/claims"),
        ({"sub": None}, "identity/issuer"),
        ({"sub": [AGENT]}, "identity/issuer"),
        ({"aud": "https://other.example/mcp"}, "identity/audience"),
        ({"aud": None}, "identity/claims"),
        ({"exp": None}, "identity/claims"),
        ({"exp": NOW - 11}, "identity/expired"),
        ({"act": {"sub": "a"}}, "identity/delegation"),
        ({"may_act": {"sub": AGENT}}, "identity/delegation"),
        ({"client_id": "a"}, "identity/delegation"),
        ({"azp": "a"}, "identity/delegation"),
    ],
)
async def test_a_jwt_svid_that_does_not_hold_is_refused(
    identities: "Identities", signer: Signer, changes: dict[str, Any], code: str
):
    refused(await identities.identify(bearer(svid(signer, **changes)), None), code)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"typ": "at+jwt"}, "identity/claims"),
        ({"alg": "EdDSA"}, "identity/signature"),
        ({"kid": "x"}, "identity/signature"),
    ],
)
async def test_a_jwt_svid_with_a_wrong_header_is_refused(
    identities: "Identities", signer: Signer, header: dict[str, object], code: str
):
    refused(await identities.identify(bearer(svid(signer, header=header)), None), code)


async def test_typ_of_a_jwt_svid_is_jwt_jose_or_absent(identities: "Identities", signer: Signer):
    for typ in ("JWT", "JOSE", None):
        accepted(await identities.identify(bearer(svid(signer, header={"typ": typ})), None))


async def test_a_key_of_another_issuer_cannot_make_a_jwt_svid(identities: "Identities", other: Signer):
    refused(await identities.identify(bearer(svid(other)), None), "identity/signature")


async def test_a_token_that_names_a_configured_issuer_is_for_that_one(
    identities: "Identities", signer: Signer, other: Signer
):
    """Whatever its subject looks like: the bundle's keys do not verify it."""
    refused(await identities.identify(bearer(svid(signer, iss=other.issuer)), None), "identity/signature")
    principal = accepted(await identities.identify(bearer(svid(other, iss=other.issuer)), None))
    assert principal.issuer == other.issuer


async def test_an_audience_that_is_configured_is_the_one_that_is_asked_for(tmp_path: Path, signer: Signer):
    (tmp_path / "bundle.json").write_text(json.dumps({"keys": [signer.jwk(use="jwt-svid")]}))
    spiffe: dict[str, object] = {"kind": "spiffe", "trust_domain": "corp", "bundle": f"file:{tmp_path}/bundle.json"}
    async with running(configuration(tmp_path, {**spiffe, "audience": "gateway"}), Clock()) as identities:
        accepted(await identities.identify(bearer(svid(signer, aud="gateway")), None))
        refused(await identities.identify(bearer(svid(signer)), None), "identity/audience")
