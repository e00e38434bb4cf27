"""Findings about the disks of state and journal."""

from __future__ import annotations

from pathlib import Path

from gateway import config
from gateway.surfaces.cli.file_checks import FileFinding, look
from tests import machine


def found(folder: Path, text: str) -> list[FileFinding]:
    return [each for each in look(config.parse(text, base=folder)) if each.what == "disk"]


def test_a_full_disk_is_told_once_with_its_path_and_a_remedy(tmp_path: Path):
    with machine.small_disk(tmp_path / "disk", "64k") as disk:
        (disk / "ballast").write_bytes(bytes(48 * 1024))
        (told,) = found(tmp_path, "state: disk/state\n")

    assert told.state == "fail"
    assert told.found == f"state is {disk}/state, and its file system has 16 KiB free; a start writes 1024 KiB"
    assert "set state to a folder on another file system" in told.remedy


def test_a_full_disk_of_the_journal_alone_is_told(tmp_path: Path):
    with machine.small_disk(tmp_path / "disk", "64k") as disk:
        (told,) = found(tmp_path, "state: state\njournal: {path: disk/journal}\n")

    assert told.found.startswith(f"journal.path is {disk}/journal, ")
    assert "set journal.path" in told.remedy


def test_a_disk_without_room_for_files_is_told(tmp_path: Path):
    with machine.small_disk(tmp_path / "disk", "8m,nr_inodes=3") as disk:
        assert found(tmp_path, "state: disk/state\n") == []
        (disk / "one").touch()
        (disk / "two").touch()
        (told,) = found(tmp_path, "state: disk/state\n")

    assert told.found.endswith("its file system has room for no more files")


def test_a_disk_with_room_is_not_told(tmp_path: Path):
    assert found(tmp_path, "state: state\n") == []
