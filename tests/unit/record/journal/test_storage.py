from __future__ import annotations

import errno
import fcntl
import os
import socket
from typing import TYPE_CHECKING

import pytest

from gateway.model.errors import JournalError
from gateway.record.journal.storage import (
    Disk,
    InUse,
    discard,
    lock,
    prepare_folder,
    segment_path,
    segments,
    set_aside,
    write_all,
)

if TYPE_CHECKING:
    from pathlib import Path


class OneByteDisk(Disk):
    def write(self, fd: int, data: bytes) -> int:
        return super().write(fd, data[:1])


def test_a_segment_is_named_by_its_number(tmp_path: Path):
    assert segment_path(tmp_path, 7) == tmp_path / "00000007.jsonl"


def test_a_file_is_cut_at_a_place(tmp_path: Path):
    fd = Disk().create(tmp_path / "file")
    Disk().write(fd, b"whole")
    Disk().truncate(fd, 3)
    Disk().close(fd)

    assert (tmp_path / "file").read_bytes() == b"who"


def test_segments_are_listed_in_order_and_nothing_else_is(tmp_path: Path):
    for name in ("00000010.jsonl", "00000002.jsonl", "00000002.jsonl.torn", "lock", "2.jsonl", "x00000002.jsonl"):
        (tmp_path / name).touch()

    assert [number for number, _ in segments(tmp_path)] == [2, 10]


def test_a_folder_that_is_not_there_has_no_journal(tmp_path: Path):
    with pytest.raises(JournalError, match="there is no journal") as raised:
        segments(tmp_path / "none")

    assert "--config" in raised.value.remedy


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot be read: Not a directory"):
        segments(tmp_path / "file")


def test_a_new_folder_is_its_owners_only(tmp_path: Path):
    prepare_folder(tmp_path / "a/journal", Disk())

    assert (tmp_path / "a/journal").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o707, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int):
    tmp_path.chmod(mode)

    with pytest.raises(JournalError, match="others may write") as caught:
        prepare_folder(tmp_path, Disk())
    assert f"chmod o-w {tmp_path}" in caught.value.remedy
    tmp_path.chmod(0o755)
    prepare_folder(tmp_path, Disk())


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "journal").touch()

    with pytest.raises(JournalError, match="is not a folder"):
        prepare_folder(tmp_path / "journal", Disk())
    with pytest.raises(JournalError, match="cannot be made"):
        prepare_folder(tmp_path / "journal/below", Disk())


def test_a_second_lock_is_refused_until_the_first_is_given_up(tmp_path: Path):
    first = lock(tmp_path)

    with pytest.raises(JournalError, match="another gateway writes"):
        lock(tmp_path)
    os.close(first)
    os.close(lock(tmp_path))


def test_a_lock_that_another_has_is_told_by_what_it_is_for(tmp_path: Path):
    first = lock(tmp_path, "gateway.lock", "uses the state folder")
    os.close(lock(tmp_path))

    with pytest.raises(InUse, match="another gateway uses the state folder"):
        lock(tmp_path, "gateway.lock", "uses the state folder")
    os.close(first)


def test_a_lock_names_the_process_that_has_it_and_no_earlier_one(tmp_path: Path):
    (tmp_path / "lock").write_text(f"process 1 on {'x' * 200}\n")
    first = lock(tmp_path)

    with pytest.raises(InUse) as caught:
        lock(tmp_path)
    os.close(first)
    assert caught.value.message.endswith(f" (process {os.getpid()} on {socket.gethostname()})")


@pytest.mark.parametrize(
    "content", [b"", b"process 12", b"process 1 on a\nb\n", b"process 1 on \x1b[31m\n", b"\xff" * 4000]
)
def test_a_lock_file_without_a_whole_name_names_nobody(tmp_path: Path, content: bytes):
    first = lock(tmp_path)
    (tmp_path / "lock").write_bytes(content)

    with pytest.raises(InUse) as caught:
        lock(tmp_path)
    os.close(first)
    assert caught.value.message.endswith(str(tmp_path))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_as_that_and_not_as_another_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    def without_locks(_fd: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", without_locks)

    with pytest.raises(JournalError, match=f"cannot be locked: {os.strerror(number)}") as caught:
        lock(tmp_path)
    assert not isinstance(caught.value, InUse)
    assert "flock" in caught.value.remedy


def test_a_lock_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(JournalError, match="cannot be locked"):
        lock(tmp_path)


def test_a_link_is_never_followed(tmp_path: Path):
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with pytest.raises(OSError, match="symbolic links"):
        Disk().open(tmp_path / "link")
    with pytest.raises(FileExistsError):
        Disk().create(tmp_path / "link")
    (tmp_path / "00000001.jsonl.torn").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        set_aside(tmp_path / "00000001.jsonl", b"one", Disk())
    assert (tmp_path / "target").read_bytes() == b""


def test_a_write_in_parts_is_continued(tmp_path: Path):
    fd = Disk().create(tmp_path / "file")
    write_all(OneByteDisk(), fd, b"whole")
    os.close(fd)

    assert (tmp_path / "file").read_bytes() == b"whole"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_what_is_set_aside_is_added_to_what_was(tmp_path: Path):
    set_aside(tmp_path / "00000001.jsonl", b"one", Disk())
    aside = set_aside(tmp_path / "00000001.jsonl", b"two", Disk())

    assert aside.name == "00000001.jsonl.torn"
    assert aside.read_bytes() == b"one\ntwo\n"


def test_discarding_never_fails(tmp_path: Path):
    fd = Disk().create(tmp_path / "file")
    discard(Disk(), fd, tmp_path / "file")
    assert not (tmp_path / "file").exists()

    discard(Disk(), fd, tmp_path / "file")
