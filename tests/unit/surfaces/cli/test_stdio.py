from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.identity import jose
from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli.stdio import DevelopmentTokens


class Clock:
    """A clock that a test sets."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(tmp_path: Path, clock: Clock) -> DevelopmentTokens:
    settings = config.parse("identity: [{kind: development}]\nstate: state\n", base=tmp_path)
    return DevelopmentTokens(settings, "gateway.yaml", "desktop", clock=clock)


def test_a_token_is_used_until_shortly_before_its_end(tokens: DevelopmentTokens, clock: Clock):
    first = tokens.find()
    clock.now += 3000
    assert tokens.find() == first

    clock.now += 301
    assert tokens.find() != first


def test_a_token_that_the_gateway_refused_is_replaced(tokens: DevelopmentTokens):
    assert tokens.find() != tokens.find(anew=True)


def test_a_token_names_the_agent_and_the_gateway(tokens: DevelopmentTokens):
    read = jose.read_jws(tokens.find())

    assert isinstance(read, jose.Jws)
    assert (read.claims["sub"], read.claims["aud"]) == ("desktop", "http://127.0.0.1:8080/mcp")


def test_a_gateway_without_development_tokens_is_named(tmp_path: Path):
    settings = config.parse("identity: [{kind: anonymous}]\n", base=tmp_path)

    with pytest.raises(ConfigurationError, match=r"gateway\.yaml does not accept development tokens"):
        DevelopmentTokens(settings, "gateway.yaml", "desktop", clock=Clock()).find()
