from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.surfaces.cli.conftest import Status

CLIENT: dict[str, Any] = {
    "mcpServers": {
        "files": {"command": "other-files"},
        "crm": {"url": "https://crm.example/mcp", "headers": {"Authorization": "Bearer s3cret-marker"}},
    }
}


@pytest.fixture
def client(tmp_path: Path) -> Path:
    path = tmp_path / "client.json"
    path.write_text(json.dumps(CLIENT), "utf-8")
    return path


def test_a_second_file_is_merged_into_what_init_wrote(
    status: Status, client: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    assert status("init") == 0
    before = Path("gateway.yaml").read_text("utf-8")

    assert status("init", "--from", str(client)) == 0

    text = Path("gateway.yaml").read_text("utf-8")
    assert text.startswith(before)
    assert sorted(yaml.safe_load(text)["upstreams"]) == ["crm", "files", "files-2"]
    assert yaml.safe_load(text)["upstreams"]["crm"]["credential"]["value"] == "${CRM_AUTHORIZATION}"
    grants = yaml.safe_load(Path("grants.yaml").read_text("utf-8"))["upstreams"]
    assert [grant["id"] for grant in grants["crm"]] == ["crm-reads", "crm-asks"]
    assert grants["files"] != grants["files-2"]
    said = capsys.readouterr()
    assert "CRM_AUTHORIZATION" in said.out
    assert "s3cret-marker" not in said.out + said.err + text


def test_a_file_keeps_its_rights_and_no_link_leads_it_elsewhere(
    status: Status, client: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    assert status("init") == 0
    for name in ("gateway.yaml", "grants.yaml"):
        Path(name).chmod(0o640)

    assert status("init", "--from", str(client)) == 0

    assert {Path(name).stat().st_mode & 0o777 for name in ("gateway.yaml", "grants.yaml")} == {0o640}
    Path(f".gateway.yaml.{os.getpid()}").symlink_to("elsewhere")
    assert status("init", "--force") == 2
    assert not Path("elsewhere").exists()


def test_the_grants_are_added_to_the_file_that_the_configuration_names(
    status: Status, client: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    Path("etc").mkdir()
    assert status("init", "-o", "etc/gateway.yaml") == 0
    Path("rights").mkdir()
    Path("etc/grants.yaml").rename("rights/mine.yaml")
    written = Path("etc/gateway.yaml").read_text("utf-8").replace("grants: grants.yaml", "grants: ../rights/mine.yaml")
    Path("etc/gateway.yaml").write_text(written, "utf-8")

    assert status("init", "--from", str(client), "-o", "etc/gateway.yaml") == 0

    assert yaml.safe_load(Path("rights/mine.yaml").read_text("utf-8"))["upstreams"]["crm"]
    assert not Path("etc/grants.yaml").exists()
    assert "there is no" not in capsys.readouterr().err


def test_a_file_that_was_added_twice_is_there_twice_under_other_names(
    status: Status, client: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    assert status("init", "--from", str(client)) == 0

    assert status("init", "--from", str(client)) == 0

    names = sorted(yaml.safe_load(Path("gateway.yaml").read_text("utf-8"))["upstreams"])
    assert names == ["crm", "crm-2", "files", "files-2"]


def test_an_existing_configuration_is_overwritten_by_force_alone(
    status: Status, client: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    assert status("init") == 0
    before = Path("gateway.yaml").read_text("utf-8")

    assert status("init") == 2
    assert "add servers with --from" in capsys.readouterr().err
    assert Path("gateway.yaml").read_text("utf-8") == before
    assert status("init", "--from", str(client), "--force") == 0
    assert sorted(yaml.safe_load(Path("gateway.yaml").read_text("utf-8"))["upstreams"]) == ["crm", "files"]


def test_an_existing_file_without_upstreams_stays_as_it_was(
    status: Status, client: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    Path("gateway.yaml").write_text("listen: 127.0.0.1:1\n\xff: [", "utf-8")

    assert status("init", "--from", str(client)) == 2
    assert Path("gateway.yaml").read_text("utf-8") == "listen: 127.0.0.1:1\n\xff: ["
