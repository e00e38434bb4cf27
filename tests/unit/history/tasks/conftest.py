"""A caller, another one, and a key, for the tests of tasks."""

from __future__ import annotations

import pytest
from joserfc.jwk import ECKey

from gateway.model.caller import AuthMethod, Principal


@pytest.fixture(scope="session")
def key() -> ECKey:
    return ECKey.generate_key("P-256")


@pytest.fixture
def me() -> Principal:
    return Principal("agent", "https://idp.example", AuthMethod.JWT, token_id="t1")


@pytest.fixture
def you() -> Principal:
    return Principal("other", "https://idp.example", AuthMethod.JWT, token_id="t2")
