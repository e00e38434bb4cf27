from __future__ import annotations

import json
from pathlib import Path

import pytest
from joserfc import jwt

from benchmarks.gateway import agentgateway


def test_the_binary_is_taken_from_the_variable_or_from_the_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    named, kept = tmp_path / "named", tmp_path / "bench/agentgateway"
    named.touch()
    monkeypatch.delenv(agentgateway.VARIABLE, raising=False)
    assert agentgateway.find_binary(tmp_path) is None
    kept.parent.mkdir()
    kept.touch()
    assert agentgateway.find_binary(tmp_path) == kept
    monkeypatch.setenv(agentgateway.VARIABLE, str(named))
    assert agentgateway.find_binary(tmp_path) == named


def test_a_named_binary_that_is_missing_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(agentgateway.VARIABLE, str(tmp_path / "elsewhere"))
    assert agentgateway.find_binary(tmp_path) is None


def test_the_configuration_has_the_public_key_alone_and_it_verifies_the_token():
    key = agentgateway.make_key()
    settings = json.loads(agentgateway.configuration(1, "http://127.0.0.1:2/mcp", 3, key, (4, 5, 6)))
    policies = settings["binds"][0]["listeners"][0]["routes"][0]["policies"]
    (public,) = json.loads(policies["jwtAuth"]["jwks"])["keys"]
    assert "d" not in public
    token = jwt.decode(agentgateway.issue(key), key, algorithms=["ES256"])
    assert token.header["kid"] == public["kid"]
    assert token.claims["iss"] == policies["jwtAuth"]["issuer"]
