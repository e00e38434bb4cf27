"""The identity phase against a real OAuth server, `oidc-provider`: discovery, tokens, DPoP, rotation, outage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey

from gateway.model.caller import Actor, AuthMethod, Credentials, User
from gateway.model.errors import IdentityUnavailable
from tests.interaction.identity.server import OAuthServer
from tests.unit.identity.tokens import BASE, MCP, Clock, accepted, bearer, configuration, dpop, proof, refused, running

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from gateway.identity.identities import Identities

pytestmark = pytest.mark.node


class RealClock(Clock):
    """The wall clock, which can be put forward."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def __call__(self) -> float:
        return time.time() + self.now


@pytest.fixture
def clock() -> RealClock:
    return RealClock()


@pytest.fixture
async def identities(server: OAuthServer, clock: RealClock, tmp_path: Path) -> AsyncGenerator[Identities]:
    async with running(configuration(tmp_path, {"kind": "jwt", "issuer": server.issuer}), clock) as identities:
        yield identities


def fresh(**changes: object) -> dict[str, Any]:
    """What changes in a proof that is made by the wall clock."""
    return {"iat": int(time.time()), "jti": f"proof-{time.monotonic_ns()}", **changes}


async def test_a_token_of_the_server_is_its_client(server: OAuthServer, identities: Identities):
    token = await server.token(MCP, scope="mcp:call mcp:list")
    principal = accepted(await identities.identify(bearer(token), "10.0.0.1"))
    assert (principal.id, principal.user, principal.method) == ("agent-1", None, AuthMethod.JWT)
    assert principal.issuer == server.issuer
    assert principal.scopes == {"mcp:call", "mcp:list"}
    assert not principal.bound
    assert [(s.issuer, s.ready, s.problem) for s in identities.status()] == [(server.issuer, True, None)]


async def test_a_token_for_another_resource_is_refused(server: OAuthServer, identities: Identities):
    token = await server.token("https://other.example/mcp")
    refused(await identities.identify(bearer(token), "10.0.0.1"), "identity/audience")


async def test_a_token_for_one_upstream_is_good_for_that_one_only(server: OAuthServer, identities: Identities):
    token = await server.token(f"{MCP}/github")
    accepted(await identities.identify(bearer(token, url=f"{MCP}/github"), None))
    refused(await identities.identify(bearer(token, url=f"{MCP}/files"), None), "identity/audience")
    refused(await identities.identify(bearer(token), None), "identity/audience")


async def test_a_bound_token_needs_a_proof_by_its_key(server: OAuthServer, identities: Identities):
    key, thief = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    token = await server.token(MCP, key=key)
    good = dpop(token, proof(key, token, **fresh()))
    assert accepted(await identities.identify(good, None)).bound
    refused(await identities.identify(good, None), "identity/replay")
    refused(await identities.identify(bearer(token), None), "identity/proof")
    refused(await identities.identify(dpop(token, proof(thief, token, **fresh())), None), "identity/proof")
    elsewhere = dpop(token, proof(key, token, url=f"{BASE}/mcp/github", **fresh()))
    refused(await identities.identify(elsewhere, None), "identity/proof")


async def test_a_proof_for_the_token_endpoint_is_no_proof_and_no_token(server: OAuthServer, identities: Identities):
    key = ECKey.generate_key("P-256")
    token = await server.token(MCP, key=key)
    at_server = proof(key, token, url=f"{server.issuer}/token", **fresh())
    refused(await identities.identify(dpop(token, at_server), None), "identity/proof")
    refused(await identities.identify(bearer(proof(key, token, **fresh())), None), "identity/issuer")


async def test_a_delegation_chain_signed_by_the_server_is_read(server: OAuthServer, identities: Identities):
    now = int(time.time())
    claims = {"iss": server.issuer, "sub": "alice", "aud": MCP, "iat": now, "exp": now + 60, "groups": ["dev"]}
    act = {"sub": "agent-2", "iss": server.issuer, "act": {"sub": "agent-1", "aud": "agent-2"}}
    principal = accepted(await identities.identify(bearer(await server.sign({**claims, "act": act})), None))
    assert (principal.id, principal.user) == ("agent-2", User("alice", ("dev",)))
    assert principal.delegation == (Actor("agent-2", server.issuer), Actor("agent-1", None))
    spliced = {"sub": "agent-2", "act": {"sub": "agent-1", "aud": "agent-3"}}
    token = await server.sign({**claims, "act": spliced})
    refused(await identities.identify(bearer(token), None), "identity/delegation")


async def test_a_rotation_is_followed_without_a_restart_and_the_old_key_is_gone(
    server: OAuthServer, identities: Identities
):
    old = await server.token(MCP)
    accepted(await identities.identify(bearer(old), None))
    await server.rotate()
    accepted(await identities.identify(bearer(await server.token(MCP)), None))
    refused(await identities.identify(bearer(old), None), "identity/signature")


async def test_an_outage_keeps_known_callers_in_and_new_keys_out(
    server: OAuthServer, identities: Identities, clock: RealClock
):
    token = await server.token(MCP)
    accepted(await identities.identify(bearer(token), None))
    port = server.port
    server.stop()
    clock.now += 120
    accepted(await identities.identify(bearer(token), None))
    usurper = OAuthServer(server.node, server.modules, port, server.log)
    usurper.start()
    try:
        foreign = await usurper.token(MCP)
    finally:
        usurper.stop()
    with pytest.raises(IdentityUnavailable, match="ConnectError"):
        await identities.identify(bearer(foreign), None)
    accepted(await identities.identify(bearer(token), None))


async def test_a_gateway_that_starts_before_its_server_lets_callers_in_later(
    server: OAuthServer, clock: RealClock, tmp_path: Path
):
    server.stop()
    settings = configuration(tmp_path, {"kind": "jwt", "issuer": server.issuer})
    async with running(settings, clock) as identities:
        assert [status.ready for status in identities.status()] == [False]
        server.start()
        clock.now += 11
        accepted(await identities.identify(bearer(await server.token(MCP)), None))
        assert [status.ready for status in identities.status()] == [True]


async def test_metadata_of_another_issuer_is_not_believed(server: OAuthServer, clock: RealClock, tmp_path: Path):
    """The same server under another name: what it says of itself does not match what is configured."""
    settings = configuration(tmp_path, {"kind": "jwt", "issuer": f"http://localhost:{server.port}"})
    async with running(settings, clock) as identities:
        (status,) = identities.status()
        assert not status.ready
        assert "is the metadata of another issuer" in (status.problem or "")
        refused(await identities.identify(bearer(await server.token(MCP)), None), "identity/issuer")


async def test_a_caller_without_a_token_is_told_where_the_server_is(server: OAuthServer, identities: Identities):
    refusal = refused(await identities.identify(Credentials("POST", MCP), None), "identity/missing")
    assert f'resource_metadata="{BASE}/.well-known/oauth-protected-resource/mcp"' in (refusal.challenge or "")
