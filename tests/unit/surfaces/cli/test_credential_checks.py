"""What `opagate check` says of the credentials of upstreams."""

from functools import partial
from pathlib import Path

import pytest

from gateway import config
from gateway.surfaces.cli import upstream_checks
from gateway.surfaces.cli.upstream_checks import look_at_credentials as look
from tests.unit.configuring import BASE, parse


def said(credential: str) -> list[tuple[str, bool]]:
    configuration = parse(
        f"upstreams: {{crm: {{url: 'http://127.0.0.1/mcp', audience: crm, credential: {credential}}}}}"
    )
    return [(told.found, told.is_warning) for told in look(configuration)]


def test_no_credential_is_nothing_to_tell():
    assert said("{kind: none}") == []


def test_a_fixed_header_is_standing_and_lives_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAT", "Bearer ghp_x81Qf7LzVn40kTd2")
    ((found, is_warning),) = said("{kind: header, value: '${PAT}'}")

    assert found == "crm: a standing credential; it lives for ever, and no end of a task revokes it (OWASP NHI7)"
    assert is_warning


@pytest.mark.parametrize(
    ("value", "is_told"), [("Bearer admin", True), ("s3cret", True), ("Bearer kTd2-Vn40-x81Qf7Lz", False)]
)
def test_a_value_that_cannot_be_told_from_ordinary_text_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str, *, is_told: bool
):
    monkeypatch.setenv("PAT", value)
    found = [text for text, is_warning in said("{kind: header, value: '${PAT}'}") if is_warning]
    assert any("credential.value is too short or too ordinary" in text for text in found) is is_told


def test_of_an_environment_the_variables_named_as_secrets_are_looked_at(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHORT", "postgres")
    env = "{PGPASSWORD: '${SHORT}', PGUSER: '${SHORT}', PGTOKEN: '${MISSING}'}"
    text = f"upstreams: {{db: {{command: [x], audience: db, env: {env}}}}}"
    configuration = config.parse(text, base=BASE, secrets=False)
    assert [told.found.split(" is too")[0] for told in look(configuration)] == ["db: env.PGPASSWORD"]


def test_a_leased_credential_without_scopes_serves_no_call():
    assert said("{kind: gateway}") == [("crm: no effect has scopes, so every call is refused (credential/scope)", True)]


def test_a_leased_credential_names_the_effects_that_it_serves():
    assert said("{kind: gateway, scopes: {write: [a], read: [b]}}") == [
        ("crm: leased (gateway) for tools that read, write", False)
    ]


def _choose(folder: Path, is_in_memory: bool, _state: Path) -> tuple[Path, bool]:  # noqa: FBT001 - as the real one answers
    return folder, is_in_memory


def test_a_hand_over_tells_its_folder_and_its_renewal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for is_in_memory in (True, False):
        chosen = partial(_choose, tmp_path, is_in_memory)
        monkeypatch.setattr(upstream_checks, "choose_folder", chosen)
        text = "{kind: gateway, bind: task, scopes: {read: [a]}, hand_over: {file: TOKEN_FILE}}"
        configuration = parse(f"upstreams: {{crm: {{command: [x], audience: crm, credential: {text}}}}}")
        _, told = look(configuration)
        assert told.is_warning is not is_in_memory
        assert told.found.startswith(
            f"crm: handed over in a file of {tmp_path}, for a process for each task; a renewal replaces it"
        )


def test_a_hand_over_in_a_variable_tells_that_a_renewal_starts_a_process():
    text = "{kind: gateway, bind: task, scopes: {read: [a]}, hand_over: {env: TOKEN}}"
    _, told = look(parse(f"upstreams: {{crm: {{command: [x], audience: crm, credential: {text}}}}}"))

    assert told.found == "crm: handed over to a process for each task; a renewal starts another process"
