"""What `opagate check` says of the isolation of stdio servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.model.errors import GatewayError
from gateway.surfaces.cli.upstream_checks import look_at_isolation as look
from tests.unit.configuring import parse


def said(more: str, base: Path, identity: str = "[]") -> list[tuple[str, bool]]:
    text = f"identity: {identity}\nupstreams: {{files: {{audience: files, {more}}}, web: {{url: 'http://x', audience: x}}}}"
    found = list(look(parse(text, base)))
    assert {what for what, _ in found} == {"isolation of files"}
    return [
        (told.message, True) if isinstance(told, GatewayError) else (told.found, told.is_warning) for _, told in found
    ]


def test_a_sandbox_is_named_with_its_open_ways(tmp_path: Path):
    ((found, is_warning),) = said(f"command: [cat], files: {{write: [{tmp_path / 'drop'}]}}", tmp_path / "own")[:1]

    assert "filter of system calls" in found
    assert f"it may change {tmp_path / 'drop'}" in found
    assert not is_warning


def test_a_named_path_without_access_is_told(tmp_path: Path):
    _, (found, is_warning) = said("command: [ls, /tmp, /etc]", tmp_path)

    assert (found.split(",")[0], is_warning) == ("the command names /tmp", True)
    assert "which the server does not see" in found


def test_a_server_that_can_call_the_gateway_as_anybody_is_told(tmp_path: Path):
    trusting = "[{kind: development}]"
    for network, is_told in (("true", True), ("[8080]", True), ("[443]", False), ("false", False)):
        found = said(f"command: [cat], network: {network}", tmp_path, trusting)
        assert any("trusts each process" in text for text, _ in found) is is_told, network
    assert not any("trusts each" in text for text, _ in said("command: [cat], network: true", tmp_path))


def test_a_program_that_fetches_packages_without_the_network_is_told(tmp_path: Path):
    (tmp_path / "npx").write_text("#!/bin/sh\n")
    (tmp_path / "npx").chmod(0o755)
    command = f"command: [{tmp_path / 'npx'}, -y, server@1.0.0]"

    assert any("fetches packages, and has no network" in text for text, _ in said(command, tmp_path / "own"))
    assert not any("no network" in text for text, _ in said(f"{command}, network: [443]", tmp_path / "own"))


def test_no_isolation_warns_with_the_name_and_the_date(tmp_path: Path):
    kind = "isolation: {kind: none, accepted_by: ada, until: 2999-01-01}"
    ((found, is_warning),) = said(f"command: [cat], {kind}", tmp_path)

    assert found.startswith("nothing: ada accepts that until 2999-01-01. Open: each key")
    assert is_warning


def test_an_expired_acceptance_is_a_failure(tmp_path: Path):
    ((found, _),) = said("command: [cat], isolation: {kind: none, accepted_by: ada, until: 2020-01-01}", tmp_path)

    assert "which ada accepted until 2020-01-01" in found


@pytest.mark.parametrize("isolation", ["", ", isolation: {kind: none, accepted_by: ada, until: 2999-01-01}"])
def test_a_missing_program_is_told(isolation: str, tmp_path: Path):
    told = "it cannot be started: no-such-program: no such program on the PATH"
    assert (told, True) in said(f"command: [no-such-program]{isolation}", tmp_path)
