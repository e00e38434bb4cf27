from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import bundle

Tree = Callable[[dict[str, str]], Path]


def test_a_folder_is_read_as_opa_reads_a_bundle(tree: Tree):
    folder = tree(
        {
            "gateway/decision/decision_test.rego": "not rego",
            "gateway/settings/data.json": '{"x": 1}',
            "gateway/settings/other.yaml": "ignored: no\n",
            "data.yml": "gateway: {top: 1}\n",
            "gateway/a/data.json": '{"x": 1}',
            "gateway/data.yaml": "a: {z: 2}\n",
            ".regal/rules/rule.rego": "not rego",
            "gateway/.hidden/data.yaml": "x: 1\n",
            "README.md": "x",
        }
    )

    found = bundle.read_folder(folder)

    assert [name for name, _ in found.modules] == [
        "gateway/decision/decision.rego",
        "gateway/visibility/visibility.rego",
    ]
    assert json.loads(found.data) == {
        "gateway": {
            "top": 1,
            "a": {"x": 1, "z": 2},
            "settings": {"x": 1},
            "grants": {"upstreams": {"agents": ["spiffe://corp/agent/triage"]}},
        }
    }
    assert found.roots == ("",)
    assert bundle.sources(folder) == dict(found.modules)


def test_the_revision_is_that_of_what_decides(tree: Tree):
    before = bundle.read_folder(tree({})).revision

    assert len(before) == 16
    assert bundle.read_folder(tree({"a_test.rego": "package a_test", "README.md": "x"})).revision == before
    assert bundle.read_folder(tree({"gateway/grants/data.yaml": "upstreams: {agents: []}\n"})).revision != before
    assert bundle.read_folder(tree({"b.rego": "package b"})).revision != before


def test_a_revision_of_the_manifest_is_kept_beside_the_hash(tree: Tree):
    one = bundle.read_folder(tree({".manifest": '{"revision": "v7", "roots": ["gateway"]}'}))
    other = bundle.read_folder(tree({"gateway/grants/data.yaml": "upstreams: {agents: []}\n"}))

    assert one.revision.startswith("v7+")
    assert len(one.revision) == len("v7+") + 8
    assert one.revision != other.revision
    assert one.roots == ("gateway",)


@pytest.mark.parametrize("name", ["data.yaml", "data.json", "data.yml"])
def test_a_grants_file_takes_the_place_of_the_folders_own(tree: Tree, tmp_path: Path, name: str):
    folder = tree({"gateway/grants/data.yaml": "", f"gateway/grants/{name}": '{"more": ["you"]}'})
    grants = tmp_path / "grants.yaml"
    grants.write_text("agents: [me]\n", encoding="utf-8")
    without = bundle.read_folder(folder)

    found = bundle.read_folder(folder, grants)

    assert json.loads(found.data)["gateway"]["grants"] == {"agents": ["me"]}
    assert found.revision != without.revision
    assert bundle.fingerprint([folder], [grants])[-1][0] == str(grants)


def test_a_problem_in_the_grants_file_names_that_file(tree: Tree, tmp_path: Path):
    grants = tmp_path / "grants.yaml"
    grants.write_text("agents: no\n", encoding="utf-8")

    with pytest.raises(PolicyBroken, match=f"^{grants}:1: "):
        bundle.read_folder(tree({}), grants)


def test_a_missing_grants_file_is_named(tree: Tree, tmp_path: Path):
    with pytest.raises(PolicyBroken, match="nowhere"):
        bundle.read_folder(tree({}), tmp_path / "nowhere.yaml")
    with pytest.raises(PolicyBroken, match="nowhere"):
        bundle.fingerprint([tree({})], [tmp_path / "nowhere.yaml"])


def test_a_link_out_of_the_folder_is_refused(tree: Tree, tmp_path: Path):
    folder = tree({})
    (tmp_path / "outside.rego").write_text("package outside", encoding="utf-8")
    (folder / "in.rego").symlink_to(tmp_path / "outside.rego")

    with pytest.raises(PolicyBroken, match=r"in\.rego is a link that leaves"):
        bundle.read_folder(folder)


def test_a_linked_folder_outside_is_refused(tree: Tree, tmp_path: Path):
    folder = tree({})
    (tmp_path / "outside").mkdir()
    (folder / "more").symlink_to(tmp_path / "outside")

    with pytest.raises(PolicyBroken, match="more is a link that leaves"):
        bundle.fingerprint([folder])


def test_links_within_the_folder_are_followed_as_kubernetes_mounts_them(tree: Tree):
    folder = tree({})
    (folder / "..2026").mkdir()
    (folder / "gateway").rename(folder / "..2026/gateway")
    (folder / "..data").symlink_to("..2026")
    (folder / "gateway").symlink_to("..data/gateway")

    assert len(bundle.read_folder(folder).modules) == 2


@pytest.mark.parametrize("name", ["a.rego", "gateway/more"])
def test_a_link_to_itself_is_told(tree: Tree, name: str):
    folder = tree({})
    (folder / name).symlink_to(folder / name)

    with pytest.raises(PolicyBroken, match=f"{name} is a link that leads to itself"):
        bundle.read_folder(folder)


def test_a_link_to_a_parent_ends(tree: Tree):
    folder = tree({})
    (folder / "gateway/loop").symlink_to(folder)

    with pytest.raises(PolicyBroken, match="nested more than"):
        bundle.read_folder(folder)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"gateway/settings/data.yaml": "- a\n"}, r"gateway/settings/data\.yaml is not a mapping"),
        ({"gateway/data.json": '{"grants": {"upstreams": {"agents": []}}}'}, "another data file gives 'agents'"),
        ({"gateway/data.json": '{"grants": 1}'}, r"gateway/grants/data\.yaml meets a value"),
        ({".manifest": "{"}, r"\.manifest"),
        ({".manifest": "[]"}, r"\.manifest"),
        ({".manifest": '{"roots": "gateway"}'}, "roots is not a list"),
        ({".manifest": '{"roots": [1]}'}, "roots is not a list"),
        ({".manifest": '{"revision": 7}'}, "revision is not text"),
        ({".manifest": '{"roots": ["gateway/decision"]}'}, r"data\.gateway\.grants is outside the roots"),
        ({".manifest": '{"roots": ["gate"]}'}, r"data\.gateway is outside the roots"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(tree: Tree, files: dict[str, str], problem: str):
    with pytest.raises(PolicyBroken, match=problem) as raised:
        bundle.read_folder(tree(files))

    assert raised.value.remedy


def test_a_folder_without_rego_is_refused(tmp_path: Path):
    with pytest.raises(PolicyBroken, match="holds no Rego"):
        bundle.read_folder(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(PolicyBroken, match="nowhere cannot be read: No such file"):
        bundle.read_folder(tmp_path / "nowhere")


def test_text_that_is_not_utf8_is_named_by_line(tree: Tree):
    folder = tree({})
    (folder / "bad.rego").write_bytes(b"package bad\n# \xff\n")

    with pytest.raises(PolicyBroken, match=r"^bad\.rego:2: not UTF-8"):
        bundle.read_folder(folder)


def test_a_pipe_in_the_place_of_a_file_is_refused(tree: Tree):
    folder = tree({})
    os.mkfifo(folder / "pipe.rego")

    with pytest.raises(PolicyBroken, match=r"pipe\.rego is not a file"):
        bundle.read_folder(folder)


@pytest.mark.parametrize(("bound", "value"), [("MAX_FILES", 2), ("MAX_BYTES", 100), ("MAX_BYTES", 600)])
def test_a_folder_beyond_the_bounds_is_refused(tree: Tree, monkeypatch: pytest.MonkeyPatch, bound: str, value: int):
    monkeypatch.setattr(bundle, bound, value)

    with pytest.raises(PolicyBroken, match="is larger than"):
        bundle.read_folder(tree({}))


def test_a_file_that_goes_between_two_looks_is_named(tree: Tree):
    folder = tree({})
    (folder / "gone.rego").symlink_to("missing.rego")

    with pytest.raises(PolicyBroken, match=r"gone\.rego cannot be read"):
        bundle.fingerprint([folder])


def test_a_changed_file_changes_the_fingerprint(tree: Tree):
    before = bundle.fingerprint([tree({})])

    assert bundle.fingerprint([tree({"gateway/grants/data.yaml": "upstreams: {agents: []}\n"})]) != before


def longer(path: Path) -> None:
    path.write_text(path.read_text("utf-8") + " ", "utf-8")


def another(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def rewritten(path: Path) -> None:
    path.write_text(path.read_text("utf-8").swapcase(), "utf-8")


@pytest.mark.parametrize("change", [longer, another, rewritten])
def test_a_change_that_keeps_the_time_of_a_file_changes_the_fingerprint(tree: Tree, change: Callable[[Path], None]):
    folder = tree({})
    path = folder / "gateway/grants/data.yaml"
    before, status = bundle.fingerprint([folder]), path.stat()
    change(path)
    while path.stat().st_ctime_ns == status.st_ctime_ns:  # the file system's clock may tick once in some milliseconds
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert bundle.fingerprint([folder]) != before


def test_a_change_that_keeps_the_size_of_a_file_changes_the_fingerprint(tree: Tree):
    folder = tree({})
    path = folder / "gateway/grants/data.yaml"
    before, status = bundle.fingerprint([folder]), path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))

    assert bundle.fingerprint([folder]) != before


def test_a_file_that_cannot_be_opened_is_named(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    folder = tree({})
    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(PolicyBroken, match=r"gateway/decision/decision\.rego cannot be read: Permission denied"):
        bundle.read_folder(folder)


@pytest.mark.parametrize(
    "name", ["a\nimport os.rego", "a\x1b[2J.rego", "a\u202e.rego", "a\u2028b/c.rego", "a\x7f/data.yaml"]
)
def test_a_name_with_a_character_that_does_not_print_is_refused_and_spelled_out(tree: Tree, name: str):
    with pytest.raises(PolicyBroken, match="does not print") as raised:
        bundle.read_folder(tree({name: "package a\n"}))

    assert raised.value.message.isprintable()
    assert "rename" in raised.value.remedy
