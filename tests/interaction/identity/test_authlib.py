"""Tokens made by Authlib: delegation chains (RFC 8693) by another hand than ours."""

from __future__ import annotations

import importlib
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from gateway.model.caller import Actor, User
from tests.unit.identity.tokens import ISSUER, MCP, accepted, bearer, configuration, jwt_identity, refused, running

with warnings.catch_warnings():
    # Authlib recommends joserfc, which is what is tested here: its own signer is wanted for being another one.
    # Importing `deprecate` puts a filter of its own in place, which ours must come after.
    importlib.import_module("authlib.deprecate")
    warnings.simplefilter("ignore")
    # Typed as `Any`: Authlib has no types.
    authlib: Any = importlib.import_module("authlib.jose")

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from gateway.identity.identities import Identities

KEY: Any = authlib.JsonWebKey.generate_key("RSA", 2048, {"kid": "rsa-1", "use": "sig", "alg": "RS256"}, is_private=True)


@pytest.fixture
async def identities(tmp_path: Path) -> AsyncGenerator[Identities]:
    path = tmp_path / "keys.json"
    path.write_text(authlib.JsonWebKey.import_key_set({"keys": [KEY.as_dict(is_private=False)]}).as_json())
    async with running(configuration(tmp_path, jwt_identity(path)), time.time) as identities:
        yield identities


def exchanged(**changes: Any) -> str:
    """A token as a token exchange would issue it."""
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "alice", "aud": [MCP], "iat": now, "nbf": now, "exp": now + 60, "client_id": "sts"}
    return authlib.jwt.encode({"alg": "RS256", "kid": "rsa-1", "typ": "at+jwt"}, {**claims, **changes}, KEY).decode()


async def test_a_chain_of_three_actors_is_read(identities: Identities):
    act = {"sub": "c", "act": {"sub": "b", "act": {"sub": "spiffe://corp/agent/a"}}}
    principal = accepted(await identities.identify(bearer(exchanged(act=act, may_act={"sub": "c"})), None))
    assert (principal.id, principal.user) == ("c", User("alice"))
    assert principal.delegation == (Actor("c", None), Actor("b", None), Actor("spiffe://corp/agent/a", None))


@pytest.mark.parametrize(
    "changes",
    [
        {"act": {"sub": "b"}, "may_act": {"sub": "a"}},
        {"act": {"sub": "b", "iss": "https://evil.example"}},
        {"act": {"sub": "b", "act": {"sub": "a", "aud": "c"}}},
        {"act": {"act": {"sub": "a"}}},
        {"act": "b"},
    ],
)
async def test_a_chain_that_does_not_hold_is_refused(identities: Identities, changes: dict[str, Any]):
    refused(await identities.identify(bearer(exchanged(**changes)), None), "identity/delegation")


async def test_an_exchanged_token_without_an_actor_is_its_client_for_the_subject(identities: Identities):
    principal = accepted(await identities.identify(bearer(exchanged()), None))
    assert (principal.id, principal.user) == ("sts", User("alice"))
