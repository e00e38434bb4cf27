from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway import config
from gateway.config.authority import AuthoritySettings, GatewayCredential
from gateway.config.values import UnresolvedSecret
from gateway.model.errors import ConfigurationError

CLIENT = {"id": "tickets", "secret": "${TICKETS_SECRET}", "audiences": ["https://tickets.example"]}


def settings_of(*clients: dict[str, Any], secrets: bool = True) -> AuthoritySettings:
    return AuthoritySettings.model_validate({"introspection": {"clients": list(clients)}}, context={"secrets": secrets})


def test_a_client_has_a_secret_and_audiences(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TICKETS_SECRET", "s" * 32)
    (client,) = settings_of(CLIENT).introspection.clients

    assert (client.id, client.secret.get_secret_value()) == ("tickets", "s" * 32)
    assert client.audiences == ("https://tickets.example",)
    assert "sss" not in repr(client)


@pytest.mark.parametrize(
    ("clients", "problem"),
    [
        ([{**CLIENT, "secret": "s" * 40}], "a literal secret is refused"),
        ([{**CLIENT, "audiences": []}], "at least 1 item"),
        ([CLIENT, CLIENT], "the same id"),
        ([{**CLIENT, "secret": "${SHORT}"}], "shorter than 32"),
    ],
)
def test_a_client_that_could_be_guessed_or_confused_is_refused(
    monkeypatch: pytest.MonkeyPatch, clients: list[dict[str, Any]], problem: str
):
    monkeypatch.setenv("TICKETS_SECRET", "s" * 32)
    monkeypatch.setenv("SHORT", "s" * 31)

    with pytest.raises(ValidationError, match=problem):
        settings_of(*clients)


def test_a_check_without_secrets_leaves_them_unresolved(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TICKETS_SECRET", raising=False)

    assert isinstance(settings_of(CLIENT, secrets=False).introspection.clients[0].secret, UnresolvedSecret)


def test_an_audience_that_no_upstream_has_is_a_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TICKETS_SECRET", "s" * 32)
    text = "upstreams: {t: {url: 'http://127.0.0.1:1/mcp', audience: https://ticket.example}}\nauthority: "

    with pytest.raises(ConfigurationError, match="no upstream has it"):
        config.parse(text + json.dumps({"introspection": {"clients": [CLIENT]}}), base=tmp_path)


def test_a_tool_needs_scopes_that_its_upstream_gives():
    given = {"kind": "gateway", "scopes": {"read": ["a:read"]}}

    assert GatewayCredential.model_validate({**given, "tool_scopes": {"find_*": ["a:read"]}}).tool_scopes
    with pytest.raises(ValidationError, match="names a:raed, which scopes gives no effect"):
        GatewayCredential.model_validate({**given, "tool_scopes": {"find_*": ["a:raed"]}})
