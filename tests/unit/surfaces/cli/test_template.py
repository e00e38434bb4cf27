from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from gateway import config
from gateway.config import PolicySettings
from gateway.policy.folder.data_files import GRANTS
from gateway.surfaces.cli import policy_checks, template

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


def test_nobody_may_call_what_was_imported():
    assert yaml.safe_load(template.grants({"github": {}, "files": {}})) == {"upstreams": {"github": [], "files": []}}


async def test_the_grants_that_are_proposed_can_be_put_into_force_as_the_file_says(tmp_path: Path):
    path = tmp_path / "grants.yaml"
    text = template.grants({"github": {}, "files": {}}).replace(": []\n", ":\n")
    head, upstreams, body = text.partition("upstreams:\n")
    path.write_text(head + upstreams + re.sub(r"(?m)^  # (?! *In)", "  ", body), encoding="utf-8")

    grants = yaml.safe_load(path.read_text("utf-8"))["upstreams"]
    assert [grant["id"] for items in grants.values() for grant in items] == ["github-reads", "files-reads"]
    assert await find_problems(path) == []


def test_no_upstreams_are_still_a_configuration(tmp_path: Path):
    assert config.parse(template.configuration({}), base=tmp_path).upstreams == {}
