"""Callers and calls for the tests of history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.model import AuthMethod, Call, Effect, Labels, Principal, Target

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def make_call() -> Callable[..., Call]:
    def make(
        audience: str = "github",
        effect: Effect = Effect.READ,
        tenant: str | None = "acme",
        environment: str | None = "staging",
    ) -> Call:
        target = Target("tool", audience, "use", audience, tenant, environment, labels=Labels(effect=effect))
        return Call("tools/call", target, {})

    return make


@pytest.fixture
def make_principal() -> Callable[..., Principal]:
    def make(name: str = "agent", token: str = "token-1") -> Principal:
        return Principal(name, "https://idp.example", AuthMethod.JWT, token_id=token)

    return make
