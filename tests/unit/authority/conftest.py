"""A mint, its key, and the terms of leases, for the tests of minted tokens."""

from __future__ import annotations

import pytest
from joserfc.jwk import ECKey

from gateway.authority.minting import Mint
from gateway.authority.model import LeaseRequest, Scope
from gateway.base.keys import signing_keys
from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.model.caller import Actor, AuthMethod, Principal, User

ISSUER = "https://gateway.example"
AUDIENCE = "https://tickets.example"
IDP = "https://idp.example"


@pytest.fixture(scope="session")
def tokens_key() -> ECKey:
    return ECKey.generate_key("P-256")


@pytest.fixture(scope="session")
def key(tokens_key: ECKey) -> ECKey:
    return signing_keys.derive(tokens_key, "access tokens")


@pytest.fixture(scope="session")
def mint(key: ECKey) -> Mint:
    return Mint(KeyRing(SigningKey(key)), ISSUER)


@pytest.fixture
def request_(delegate: Principal) -> LeaseRequest:
    scope = Scope(("tickets:read", "tickets:write"))
    return LeaseRequest("lease-1", "task-1", delegate, "tickets", AUDIENCE, scope, 1000.2, 1060.9, "the-callers-token")


@pytest.fixture
def delegate() -> Principal:
    """An agent that acts for a user, called by another agent."""
    chain = (Actor("agent", IDP), Actor("planner", None))
    return Principal("agent", IDP, AuthMethod.JWT, user=User("ann", ("sre",)), delegation=chain, token_id="t1")
