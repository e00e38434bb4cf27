import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey
from structlog.testing import capture_logs

from gateway.identity import development
from gateway.identity.claims import FOREIGN, USED, VERIFIED
from gateway.identity.dpop import PROOFS, SharedProofs
from gateway.identity.identities import Identities
from gateway.identity.keys import FORCED_INTERVAL, MAX_AGE
from gateway.model.caller import Credentials
from gateway.model.decision import Refusal
from gateway.model.errors import IdentityUnavailable
from tests.unit.base.store.keeping import sealed_store
from tests.unit.identity.tokens import (
    BASE,
    ISSUER,
    MCP,
    NOW,
    Clock,
    Signer,
    accepted,
    bearer,
    configuration,
    dpop,
    jwt_identity,
    proof,
    refused,
    running,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = ECKey.generate_key("P-256")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def path(tmp_path: Path, signer: Signer) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(signer.jwks())
    return path


@pytest.fixture
async def identities(tmp_path: Path, path: Path, clock: Clock) -> "AsyncIterator[Identities]":
    async with running(configuration(tmp_path, jwt_identity(path)), clock) as identities:
        yield identities


async def test_no_credentials_are_a_401_that_says_where_to_get_a_token(identities: Identities):
    refusal = refused(await identities.identify(Credentials("POST", f"{MCP}/github"), None), "identity/missing")
    assert refusal.status == 401
    metadata = f'resource_metadata="{BASE}/.well-known/oauth-protected-resource/mcp/github"'
    assert metadata in (refusal.challenge or "")


async def test_a_refusal_asks_for_the_scheme_that_was_used(identities: Identities, signer: Signer):
    token = signer.token(exp=NOW - 60)
    by_bearer = refused(await identities.identify(bearer(token), None), "identity/expired")
    by_dpop = refused(await identities.identify(dpop(token, proof(KEY, token)), None), "identity/expired")

    assert (by_bearer.challenge or "").startswith("Bearer error=")
    assert (by_dpop.challenge or "").startswith("DPoP algs=")


async def test_a_gateway_without_identities_lets_nobody_in(tmp_path: Path, signer: Signer):
    async with running(configuration(tmp_path), Clock()) as identities:
        refused(await identities.identify(Credentials("POST", MCP), "127.0.0.1"), "identity/missing")
        refused(await identities.identify(bearer(signer.token()), "127.0.0.1"), "identity/issuer")
        assert identities.status() == ()


async def test_two_authorization_headers_are_refused(identities: Identities, signer: Signer):
    token = f"Bearer {signer.token()}"
    refused(await identities.identify(Credentials("POST", MCP, (token, token)), None), "identity/malformed")


@pytest.mark.parametrize("form", ["{0}, Bearer {0}", "{0} {0}", "{0}\n", "{0} ", "{0}=", '"{0}"', "\t{0}", "{0},"])
async def test_a_token_with_anything_around_it_is_refused_also_when_it_was_just_seen(
    identities: Identities, signer: Signer, form: str
):
    token = signer.token()
    accepted(await identities.identify(bearer(token), None))
    refused(await identities.identify(bearer(form.format(token)), None), "identity/malformed")


async def test_the_issuer_chooses_the_keys(tmp_path: Path, path: Path, signer: Signer):
    other = Signer(issuer="https://other.example")
    (tmp_path / "other.json").write_bytes(other.jwks())
    second: dict[str, object] = {"kind": "jwt", "issuer": other.issuer, "jwks": f"file:{tmp_path}/other.json"}
    async with running(configuration(tmp_path, jwt_identity(path), second), Clock()) as identities:
        assert accepted(await identities.identify(bearer(signer.token()), None)).issuer == ISSUER
        assert accepted(await identities.identify(bearer(other.token()), None)).issuer == other.issuer
        crossed = bearer(signer.token(iss=other.issuer))
        refused(await identities.identify(crossed, None), "identity/signature")


# --- audience --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aud", "asked"),
    [
        (MCP, "/mcp"),
        (MCP, "/mcp/github"),
        (["x", MCP], "/mcp"),
        (f"{MCP}/github", "/mcp/github"),
        (["x", f"{MCP}/github"], "/mcp/github"),
    ],
)
async def test_an_audience_that_is_this_gateway_passes(identities: Identities, signer: Signer, aud: Any, asked: str):
    accepted(await identities.identify(bearer(signer.token(aud=aud), url=f"{BASE}{asked}"), None))


async def test_a_token_for_one_upstream_is_good_for_that_one_only(identities: Identities, signer: Signer):
    token = signer.token(aud=f"{MCP}/github")
    accepted(await identities.identify(bearer(token, url=f"{MCP}/github"), None))
    for url in (MCP, f"{MCP}/files", f"{MCP}/github//", f"{MCP}/github/x", f"{BASE}/github", f"{BASE}/tasks"):
        refused(await identities.identify(bearer(token, url=url), None), "identity/audience")


async def test_an_upstream_that_does_not_exist_is_no_audience(identities: Identities, signer: Signer):
    token = signer.token(aud=f"{MCP}/nothing")
    refused(await identities.identify(bearer(token, url=f"{MCP}/nothing"), None), "identity/audience")


# --- memory ----------------------------------------------------------------------------------------


async def test_a_verified_token_is_believed_without_verifying_it_again(
    identities: Identities, signer: Signer, monkeypatch: pytest.MonkeyPatch
):
    token = signer.token()
    first = accepted(await identities.identify(bearer(token), None))
    monkeypatch.setattr("gateway.identity.jose.read_jws", None)
    assert await identities.identify(bearer(token), None) is first


async def test_a_token_that_ends_is_not_believed_from_memory(identities: Identities, signer: Signer, clock: Clock):
    token = signer.token(exp=NOW + 20)
    accepted(await identities.identify(bearer(token), None))
    clock.now += 30
    refused(await identities.identify(bearer(token), None), "identity/expired")


async def test_a_token_whose_key_was_rotated_away_is_not_believed_from_memory(
    identities: Identities, signer: Signer, path: Path
):
    token = signer.token()
    accepted(await identities.identify(bearer(token), None))
    successor = Signer("k2")
    await asyncio.to_thread(path.write_bytes, successor.jwks())
    accepted(await identities.identify(bearer(successor.token()), None))
    refusal = refused(await identities.identify(bearer(token), None), "identity/signature")
    assert "does not publish" in refusal.reason.message


async def test_a_token_is_not_believed_from_memory_longer_than_its_keys(
    identities: Identities, signer: Signer, clock: Clock, path: Path
):
    clock.now += MAX_AGE - 10
    token = signer.token(exp=clock.now + 300)
    accepted(await identities.identify(bearer(token), None))
    await asyncio.to_thread(path.unlink)
    clock.now += 20
    with pytest.raises(IdentityUnavailable):
        await identities.identify(bearer(token), None)


async def test_a_refusal_is_not_remembered(identities: Identities, signer: Signer, clock: Clock):
    token = signer.token(nbf=NOW + 30)
    refused(await identities.identify(bearer(token), None), "identity/expired")
    clock.now += 30
    accepted(await identities.identify(bearer(token), None))


async def test_the_tokens_of_an_issuer_without_keys_are_unavailable_not_refused(tmp_path: Path, clock: Clock):
    settings = configuration(tmp_path, jwt_identity(tmp_path / "none.json"))
    signer = Signer()
    async with running(settings, clock) as identities:
        assert [status.ready for status in identities.status()] == [False]
        with pytest.raises(IdentityUnavailable, match=r"https://idp\.example"):
            await identities.identify(bearer(signer.token()), None)
        (tmp_path / "none.json").write_bytes(signer.jwks())
        clock.now += FORCED_INTERVAL
        accepted(await identities.identify(bearer(signer.token()), None))
        assert [status.ready for status in identities.status()] == [True]


# --- possession ------------------------------------------------------------------------------------


async def test_a_bound_token_with_a_proof_is_bound_and_each_proof_works_once(identities: Identities, signer: Signer):
    token = signer.token(cnf={"jkt": KEY.thumbprint()})
    assert accepted(await identities.identify(dpop(token, proof(KEY, token)), None)).bound
    refusal = refused(await identities.identify(dpop(token, proof(KEY, token)), None), "identity/replay")
    assert (refusal.challenge or "").startswith("DPoP algs=")
    accepted(await identities.identify(dpop(token, proof(KEY, token, jti="proof-2")), None))


async def test_a_bound_token_is_not_taken_as_bearer_although_it_was_just_verified(
    identities: Identities, signer: Signer
):
    token = signer.token(cnf={"jkt": KEY.thumbprint()})
    accepted(await identities.identify(dpop(token, proof(KEY, token)), None))
    refused(await identities.identify(bearer(token), None), "identity/proof")
    refused(await identities.identify(dpop(token), None), "identity/proof")


async def test_a_proof_is_for_the_url_that_was_asked(identities: Identities, signer: Signer):
    token = signer.token(cnf={"jkt": KEY.thumbprint()})
    asked = dpop(token, proof(KEY, token), url=f"{MCP}/github")
    refused(await identities.identify(asked, None), "identity/proof")


async def test_where_binding_is_required_a_plain_token_is_refused(tmp_path: Path, path: Path, signer: Signer):
    settings = configuration(tmp_path, jwt_identity(path, require_bound=True))
    async with running(settings, Clock()) as identities:
        refusal = refused(await identities.identify(bearer(signer.token()), None), "identity/unbound")
        assert (refusal.challenge or "").startswith("DPoP algs=")
        token = signer.token(cnf={"jkt": KEY.thumbprint()})
        accepted(await identities.identify(dpop(token, proof(KEY, token)), None))


# --- scopes ----------------------------------------------------------------------------------------


async def test_all_missing_scopes_are_named_in_one_403(tmp_path: Path, path: Path, signer: Signer):
    settings = configuration(tmp_path, jwt_identity(path, required_scopes=["a", "b", "c"]))
    async with running(settings, Clock()) as identities:
        refusal = refused(await identities.identify(bearer(signer.token(scope="b x")), None), "identity/scope")
        assert refusal.status == 403
        assert 'error="insufficient_scope"' in (refusal.challenge or "")
        assert 'scope="a c"' in (refusal.challenge or "")
        accepted(await identities.identify(bearer(signer.token(scope="a b c")), None))
        missing = refused(await identities.identify(Credentials("POST", MCP), None), "identity/missing")
        assert 'scope="a b c"' in (missing.challenge or "")
        token = signer.token(cnf={"jkt": KEY.thumbprint()})
        by_dpop = refused(await identities.identify(dpop(token, proof(KEY, token)), None), "identity/scope")
        assert (by_dpop.challenge or "").startswith("DPoP error=")


# --- secrecy ---------------------------------------------------------------------------------------

MARKER = "MARKERsecretMARKER"


def marked(signer: Signer) -> list[Credentials]:
    """Requests with the marker in every field of a token, of a proof and of the headers, alone and all together."""
    claims = sorted(VERIFIED | USED | FOREIGN | {"groups", "x_new"})
    values: list[Any] = [MARKER, [MARKER], {MARKER: MARKER, "sub": f"{MARKER}\n"}]
    tokens = [signer.token(**{name: value}) for name in claims for value in values]
    tokens += [signer.token(act={"sub": "a", name: MARKER}) for name in ("iss", "aud", "act", "x")]
    tokens += [
        signer.token(may_act={"sub": MARKER}),
        signer.token(cnf={"jkt": MARKER}),
        signer.token(cnf={MARKER: "x"}),
    ]
    tokens += [signer.token(header={name: MARKER}) for name in ("alg", "kid", "typ", "jku", "crit", "jwk", "x")]
    tokens += [f"{MARKER}.{MARKER}.{MARKER}", MARKER, f"{signer.token()}{MARKER}", MARKER * 2000]
    requests = [bearer(token) for token in tokens]
    bound = signer.token(cnf={"jkt": KEY.thumbprint()})
    proofs: list[dict[str, Any]] = [{name: MARKER} for name in ("htm", "htu", "iat", "ath")]
    requests += [dpop(bound, proof(KEY, bound, **changes)) for changes in proofs]
    requests += [dpop(bound, proof(KEY, bound, header={name: MARKER})) for name in ("typ", "alg", "jwk", "kid")]
    requests += [dpop(bound, MARKER), dpop(MARKER, MARKER)]
    return [*requests, Credentials("POST", MCP, (f"Basic {MARKER}",)), Credentials("POST", MCP, (MARKER, MARKER))]


async def test_no_part_of_a_credential_is_in_any_refusal_log_or_output(
    identities: Identities, signer: Signer, capsys: pytest.CaptureFixture[str]
):
    refusals = 0
    with capture_logs() as logs:
        for credentials in marked(signer):
            outcome = await identities.identify(credentials, "10.0.0.1")
            if isinstance(outcome, Refusal):
                refusals += 1
                assert MARKER not in repr(outcome)
    assert refusals > 60
    assert MARKER not in repr(logs)
    assert MARKER not in "".join(capsys.readouterr())


async def test_no_part_of_a_key_document_is_in_any_log(tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]):
    documents: list[object] = [MARKER, [MARKER], {"keys": MARKER}, {"keys": [MARKER]}, {"keys": [{"kty": MARKER}]}]
    documents += [
        {"keys": [{**Signer().jwk(), name: MARKER}]} for name in ("x", "y", "crv", "use", "key_ops", "alg", "d")
    ]
    with capture_logs() as logs:
        for document in documents:
            await asyncio.to_thread(path.write_text, json.dumps(document))
            async with running(configuration(tmp_path, jwt_identity(path)), Clock()) as identities:
                identities.status()
                assert MARKER not in repr(identities.status())
    assert logs
    assert MARKER not in repr(logs)
    assert MARKER not in "".join(capsys.readouterr())


@pytest.mark.parametrize("kind", ["anonymous", "development"])
async def test_whoever_a_proxy_passes_on_is_not_of_this_machine(tmp_path: Path, kind: str):
    settings = configuration(tmp_path, {"kind": kind})
    audience = f"{settings.base_url}/mcp"
    token = development.issue(
        development.load_key(settings.state), agent="me", audience=audience, ttl=60, clock=Clock()
    )
    shown = (f"Bearer {token}",) if kind == "development" else ()
    code = "identity/issuer" if kind == "development" else "identity/missing"
    async with running(settings, Clock()) as identities:
        accepted(await identities.identify(Credentials("POST", MCP, shown), "127.0.0.1"))
        refused(await identities.identify(Credentials("POST", MCP, shown, passed_on=True), "127.0.0.1"), code)


async def test_a_proof_that_one_gateway_has_accepted_is_a_replay_at_another(
    tmp_path: Path, path: Path, clock: Clock, signer: Signer
):
    settings = configuration(tmp_path, jwt_identity(path))
    gateways = [
        Identities.build(settings, clock=clock, proofs=SharedProofs(sealed_store(tmp_path, clock=clock).of(PROOFS)))
        for _ in range(2)
    ]
    token = signer.token(cnf={"jkt": KEY.thumbprint()})
    for each in gateways:
        await each.start()
    try:
        asked = dpop(token, proof(KEY, token, iat=int(clock.now) + 2))
        found = await asyncio.gather(*(each.identify(asked, None) for each in gateways))
        assert len([each for each in found if isinstance(each, Refusal)]) == 1
        refused(next(each for each in found if isinstance(each, Refusal)), "identity/replay")
        accepted(await gateways[1].identify(dpop(token, proof(KEY, token, jti="2", iat=int(clock.now) + 2)), None))
    finally:
        for each in gateways:
            await each.stop()


async def test_a_proof_that_cannot_be_noted_is_refused(tmp_path: Path, path: Path, clock: Clock, signer: Signer):
    (tmp_path / "records.db").mkdir()
    proofs = SharedProofs(sealed_store(tmp_path, clock=clock).of(PROOFS))
    identities = Identities.build(configuration(tmp_path, jwt_identity(path)), clock=clock, proofs=proofs)
    token = signer.token(cnf={"jkt": KEY.thumbprint()})
    await identities.start()
    try:
        asked = dpop(token, proof(KEY, token, iat=int(clock.now) + 2))
        assert refused(await identities.identify(asked, None), "records/unavailable").status == 503
    finally:
        await identities.stop()
