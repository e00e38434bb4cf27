"""Grants in a folder of files, and the short form of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config import PolicySettings
from gateway.model.errors import PolicyBroken
from gateway.policy.folder import bundle, folders
from gateway.policy.folder.folders import PolicyFolders, find_shipped
from gateway.policy.folder.shadowing import require
from gateway.surfaces.explain.grants import places

ONE = 'upstreams:\n  files:\n    - {id: a, agents: ["*"], issuers: ["*"], tools: [x]}\n'
OTHER = '{"upstreams": {"files": [{"id": "b", "agents": ["*"], "issuers": ["*"], "tools": ["y"]}], "mail": []}}'


@pytest.fixture
def grants(tmp_path: Path) -> Path:
    folder = tmp_path / "grants"
    folder.mkdir()
    (folder / "10-triage.yaml").write_text(ONE, "utf-8")
    (folder / "20-other.json").write_text(OTHER, "utf-8")
    (folder / ".hidden.yaml").write_text("upstreams: {secret: []}", "utf-8")
    (folder / "README.md").write_text("no grants", "utf-8")
    return folder


def upstreams(grants: Path) -> Any:
    return json.loads(bundle.read_folder(find_shipped(), grants).data)["gateway"]["grants"]["upstreams"]


def test_the_files_of_a_folder_count_together_in_their_order(grants: Path):
    found = upstreams(grants)

    assert {name: [grant["id"] for grant in listed] for name, listed in found.items()} == {
        "files": ["a", "b"],
        "mail": [],
    }


def test_each_grant_of_a_folder_has_its_own_file_and_line(grants: Path):
    found = places(PolicySettings(grants=grants))

    assert (Path(found["files", "a"].file).name, found["files", "a"].line) == ("10-triage.yaml", 3)
    assert found["files", 1] == found["files", "b"]
    assert Path(found["files", "b"].file).name == "20-other.json"


def test_a_changed_a_new_and_a_removed_file_are_noticed(grants: Path):
    policy = PolicyFolders(find_shipped(), grants)
    seen = [folders.fingerprint(policy)]
    revisions = [folders.read_policy(policy).revision]
    for change in (
        lambda: (grants / "30-new.yml").write_text("upstreams: {}\n", "utf-8"),
        lambda: (grants / "30-new.yml").write_text("upstreams: {mail: []}\n", "utf-8"),
        (grants / "10-triage.yaml").unlink,
    ):
        change()
        seen.append(folders.fingerprint(policy))
        revisions.append(folders.read_policy(policy).revision)

    assert len(set(seen)) == len(set(revisions)) == 4


def test_one_line_grants_the_reads_of_an_upstream(tmp_path: Path):
    file = tmp_path / "grants.yaml"
    file.write_text("upstreams:\n  files: reads\n  mail: []\n", "utf-8")
    found = upstreams(file)

    (grant,) = found["files"]
    assert (grant["id"], grant["effects"], grant["tools"], "sensitivity" in grant) == (
        "reads-of-files",
        ["read"],
        ["*"],
        False,
    )
    assert places(PolicySettings(grants=file))["files", 0].line == 2


def test_reads_and_further_grants_of_two_files_are_one_list(grants: Path):
    (grants / "00-reads.yaml").write_text("upstreams: {files: reads}\n", "utf-8")

    assert [grant["id"] for grant in upstreams(grants)["files"]] == ["reads-of-files", "a", "b"]
    assert Path(places(PolicySettings(grants=grants))["files", 2].file).name == "20-other.json"


@pytest.mark.parametrize(
    "text", ["upstreams: {files: write}\n", "upstreams: {files: {a: 1}}\n", "upstreams: {files: Reads}\n"]
)
def test_another_word_in_the_place_of_a_list_is_no_grant(tmp_path: Path, text: str):
    (tmp_path / "grants.yaml").write_text(text, "utf-8")

    assert not isinstance(upstreams(tmp_path / "grants.yaml")["files"], list)


def test_a_folder_without_files_and_a_file_with_more_than_grants_are_refused(grants: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PolicyBroken, match=r"has no \.yaml"):
        bundle.read_folder(find_shipped(), tmp_path / "empty")
    (grants / "10-triage.yaml").write_text(f"{ONE}granted: at once\n", "utf-8")
    found = bundle.read_folder(find_shipped(), grants)
    with pytest.raises(PolicyBroken, match="does not belong in a grants file"):
        require((), {}, found.sources, found.decoded_data())


@pytest.mark.parametrize("name", ["00-first.yaml", "90-last.yaml"])
@pytest.mark.parametrize("given", ["files: {}", "files:", "files: read", ""])
def test_no_file_takes_the_place_of_the_grants_of_another(grants: Path, name: str, given: str):
    (grants / name).write_text(f"upstreams:\n  {given}\n", "utf-8")

    with pytest.raises(PolicyBroken, match="another grants file gives"):
        upstreams(grants)
