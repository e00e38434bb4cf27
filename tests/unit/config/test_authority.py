from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.authority import AuthoritySettings
from gateway.config.values import UnresolvedSecret

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
