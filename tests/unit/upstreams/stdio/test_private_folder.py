"""The private folder of handed-over files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.upstreams.stdio import private_folder
from gateway.upstreams.stdio.private_folder import choose_folder, clean, is_in_memory, make_private, write_private


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder that counts as memory."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))

    def is_run(path: Path) -> bool:
        return path == folder

    monkeypatch.setattr(private_folder, "is_in_memory", is_run)
    return folder


def test_the_folder_is_in_memory_and_of_one_gateway(memory: Path, tmp_path: Path):
    one, is_memory = choose_folder(tmp_path / "state")
    other, _ = choose_folder(tmp_path / "other")

    assert is_memory
    assert one.parent == memory
    assert one != other
    assert choose_folder(tmp_path / "state") == (one, True)


@pytest.mark.parametrize("of_another", ["file", "link", "open"])
def test_a_name_that_others_took_is_not_used(memory: Path, tmp_path: Path, of_another: str):
    folder, _ = choose_folder(tmp_path / "state")
    if of_another == "file":
        folder.touch()
    elif of_another == "link":
        folder.symlink_to(tmp_path)
    else:
        folder.mkdir()
        folder.chmod(0o755)

    assert choose_folder(tmp_path / "state") == (tmp_path / "state/handed-over", False)
    with pytest.raises(PermissionError):
        make_private(folder)
    with capture_logs() as logs:
        clean(folder)
    assert [entry["event"] for entry in logs] == ["upstream.file-left"]


def test_only_file_systems_of_the_memory_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"disk / ext4 rw 0 0\ntmpfs {tmp_path}/m tmpfs rw 0 0\ndisk {tmp_path}/m/d ext4 rw 0 0\n")
    monkeypatch.setattr(private_folder, "_MOUNTS", mounts)

    assert [is_in_memory(tmp_path / name) for name in ("m", "m/x", "m/d", "m/d/x", "n")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    monkeypatch.setattr(private_folder, "_MOUNTS", tmp_path / "none")
    assert not is_in_memory(tmp_path / "m")


def test_a_file_is_private_and_replaced_at_once(tmp_path: Path):
    path = tmp_path / "secret"
    write_private(path, b"old")
    with path.open("rb") as reader:
        write_private(path, b"new")
        assert reader.read() == b"old"

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["secret"]


def test_a_file_system_that_is_full_keeps_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "secret"
    write_private(path, b"old")

    def write_half(descriptor: int, content: bytes) -> int:
        return write(descriptor, content[:1])

    write = os.write
    monkeypatch.setattr(private_folder.os, "write", write_half)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"new")

    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("secret", b"old")]


def test_a_start_removes_what_a_power_failure_left(tmp_path: Path):
    folder = tmp_path / "private"
    make_private(folder)
    write_private(folder / "x", b"secret")

    clean(folder)

    assert not folder.exists()
    clean(folder)
