"""What `opagate check` says of the credentials of upstreams."""

import pytest

from gateway.cli.credential_checks import look
from tests.unit.configuring import parse


def said(credential: str) -> list[tuple[str, bool]]:
    configuration = parse(
        f"upstreams: {{crm: {{url: 'http://127.0.0.1/mcp', audience: crm, credential: {credential}}}}}"
    )
    return [(told.found, told.is_warning) for told in look(configuration)]


def test_no_credential_is_nothing_to_tell():
    assert said("{kind: none}") == []


def test_a_fixed_header_is_standing_and_lives_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAT", "Bearer ghp_x")
    ((found, is_warning),) = said("{kind: header, value: '${PAT}'}")

    assert found == "crm: a standing credential; it lives for ever, and no end of a task revokes it (OWASP NHI7)"
    assert is_warning


def test_a_leased_credential_without_scopes_serves_no_call():
    assert said("{kind: gateway}") == [("crm: no effect has scopes, so every call is refused (credential/scope)", True)]


def test_a_leased_credential_names_the_effects_that_it_serves():
    assert said("{kind: gateway, scopes: {write: [a], read: [b]}}") == [
        ("crm: leased (gateway) for tools that read, write", False)
    ]
