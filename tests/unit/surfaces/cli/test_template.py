from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config
from gateway.config import PolicySettings
from gateway.policy.folder.data_files import GRANTS
from gateway.surfaces.cli import policy_checks, template
from gateway.surfaces.cli.labels_file import EMPTY_LABELS

IMPORTED = {
    "github": {"url": "https://mcp.github.example/mcp", "audience": "mcp.github.example"},
    "no": {"command": ["npx", "-y", "x: y"], "audience": "no"},
}


def test_the_example_is_a_configuration_whose_upstream_is_this_python(tmp_path: Path):
    settings = config.parse(template.configuration(None), base=tmp_path)

    assert list(settings.upstreams) == ["files"]
    assert settings.upstreams["files"].command == (sys.executable, "-m", "gateway.surfaces.demo.files", "--stdio")
    assert settings.policy.grants == tmp_path / "grants.yaml"


def test_imported_upstreams_are_read_as_they_were_given(tmp_path: Path):
    settings = config.parse(template.configuration(IMPORTED), base=tmp_path)

    assert list(settings.upstreams) == ["github", "no"]
    assert settings.upstreams["github"].url == "https://mcp.github.example/mcp"
    assert settings.upstreams["no"].command == ("npx", "-y", "x: y")


async def find_problems(grants: Path) -> list[str]:
    """Return the shipped policy's complaints about a file of grants."""
    return (await policy_checks.find_data_problems(PolicySettings(grants=grants)))[GRANTS]


@pytest.mark.parametrize("upstreams", [None, {}, {"github": {}, "files": {}}], ids=["example", "none", "imported"])
async def test_grants_can_be_read_in_full(upstreams: dict[str, object] | None, tmp_path: Path):
    path = tmp_path / "grants.yaml"
    path.write_text(template.grants(upstreams), encoding="utf-8")

    assert await find_problems(path) == []


def test_reads_of_an_imported_server_pass_and_a_person_is_asked_about_all_else():
    reads, asks = yaml.safe_load(template.grants({"github": {}}))["upstreams"]["github"]

    assert {"effects", "approval"}.isdisjoint(reads)
    assert (asks["effects"], asks["approval"]) == (["read", "write", "destructive", "mint", "exec"], True)
    assert reads["issuers"] == asks["issuers"] == ["urn:opagate:development"]


@pytest.mark.parametrize("upstreams", [None, IMPORTED])
def test_a_question_of_a_fresh_gateway_has_people_and_a_console(upstreams: dict[str, Any] | None, tmp_path: Path):
    settings = config.parse(template.configuration(upstreams), base=tmp_path)

    assert settings.approvals is not None
    assert settings.approvals.has_watchers
    assert settings.console is not None
    assert settings.is_development


def test_the_settings_of_a_first_start_stand_in_the_configuration(tmp_path: Path):
    source = tmp_path / "a file: with #.json"
    (tmp_path / "labels.yaml").write_text(EMPTY_LABELS, "utf-8")
    first = template.FirstStart(8123, source, date(2099, 1, 31))
    settings = config.parse(template.configuration(IMPORTED, first), base=tmp_path)

    assert (settings.listen, settings.client_file) == ("127.0.0.1:8123", source)
    assert settings.enforce is False
    assert settings.observe_until == datetime(2099, 1, 31, tzinfo=UTC)


def test_no_upstreams_are_still_a_configuration(tmp_path: Path):
    assert config.parse(template.configuration({}), base=tmp_path).upstreams == {}
